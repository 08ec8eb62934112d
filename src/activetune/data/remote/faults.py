"""What went wrong in a filesystem of fsspec: it passes, nothing is there, or access is refused.

Each filesystem has its own errors; they are told apart by the HTTP status somewhere in their chain, and otherwise by
their kind. Their own words may hold signed addresses, so that messages are made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from activetune.base.errors import ActivetuneError, ReadingFault, first_line
from activetune.base.urls import without_secrets
from activetune.data.remote.stores import credentials_of

PASSING = frozenset({408, 425, 429, *range(500, 600)}) - {501, 505}
GONE, REFUSED, BEYOND = frozenset({404, 410}), frozenset({401, 403, 407}), 416
CONNECTIONS = {f"{package}.TransportError" for package in ("httpx", "httpx2")}  # the hub's, by its version
CONNECTIONS |= {"aiohttp.ClientError", "botocore.HTTPClientError"}
_CALM = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "ParamValidationError")


class Gone(ReadingFault):
    """Nothing lies at an address, or not any more."""


class Refused(ReadingFault):
    """Access is refused."""


class BeyondError(Exception):
    """The bytes asked for begin behind the end."""


@contextlib.contextmanager
def told_apart(address: str) -> Iterator[None]:
    """Raise what a filesystem raises inside as one of three errors.

    Raises:
        OSError: it may pass. Gone, Refused, ReadingFault: it will not. BeyondError: see there.
    """
    try:
        yield
    except (ActivetuneError, BeyondError):
        raise
    except Exception as error:
        raise _explained(error, address) from None


def _explained(error: Exception, address: str) -> Exception:
    shown, chain = without_secrets(address), list(_chain(error))
    status = next((found for one in chain if (found := _status(one)) is not None), None)
    if status == BEYOND:
        return BeyondError()
    if status in GONE or (status is None and any(isinstance(one, FileNotFoundError) for one in chain)):
        inside = next((one for one in chain if _passes(one)), None) if status is None else None
        if inside is None:
            return Gone(f"nothing lies at {shown}")
        return ConnectionError(_words(inside, None))
    if status in REFUSED or (status is None and any(_is_refusal(one) for one in chain)):
        return Refused(f"{shown} refuses access{_code(status)}; check {credentials_of(address)}")
    if status in PASSING or (status is None and any(_passes(one) for one in chain)):
        return ConnectionError(_words(chain[-1], status))
    if status is not None:
        return ReadingFault(f"{shown} can't be read{_code(status)}; check the address")
    return ReadingFault(f"{shown} can't be read ({_words(error, None)}); check the address")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, the outermost first."""
    found: BaseException | None = error
    for _ in range(8):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error tells: aiohttp's, botocore's, httpx's and requests' each in their own place."""
    answer: Any = getattr(error, "response", None)
    if isinstance(answer, dict):
        answer = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        answer = getattr(answer, "status_code", None)
    own = type(error).__module__.partition(".")[0] != "aiohttp"  # which gives every damaged answer the code 400
    for found in (answer, getattr(error, "status", None), getattr(error, "code", None) if own else None):
        if isinstance(found, int) and 400 <= found < 600:
            return found
    return None


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, PermissionError) or type(error).__name__ in _CALM


def _passes(error: BaseException) -> bool:
    """Whether an error without a status is one of connections: cut off, refused, silent, or with too few bytes."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        return False
    if type(error).__name__ in (*_CALM, "OfflineModeIsEnabled", "InvalidURL"):
        return False
    if isinstance(error, OSError | TimeoutError | asyncio.TimeoutError | EOFError):
        return True
    families = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    return bool(families & CONNECTIONS)


def _words(error: BaseException, status: int | None) -> str:
    if status is not None:
        return f"HTTP {status}"
    if isinstance(error, TimeoutError | asyncio.TimeoutError) or "Timeout" in type(error).__name__:
        return "no answer in time"
    return without_secrets(first_line(error))


def _code(status: int | None) -> str:
    return "" if status is None else f" (HTTP {status})"
