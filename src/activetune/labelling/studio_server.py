"""A running Label Studio: what it is asked over HTTP, and what its refusals mean.

It speaks ``POST /api/projects``, ``POST /api/projects/ID/import``, ``GET /api/projects/ID/export``, ``POST
/api/storages/localfiles``, and ``POST /api/token/refresh`` for personal access tokens.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from activetune.base.errors import ActivetuneError, UsageError, first_line
from activetune.base.files import parse_json

TOKEN = "LABEL_STUDIO_API_KEY"  # the environment variable with the access token
TIMEOUT = 120  # seconds that an answer may take
MOST = 2**30  # bytes of an answer


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, which would take the token to another server."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse it."""


@dataclass(frozen=True)
class Server:
    """A running Label Studio.

    Attributes:
        url: without a slash at its end. header: what tells who asks; not shown.
    """

    url: str
    header: str = field(repr=False)

    @classmethod
    def at(cls, url: str, token: str) -> Server:
        """A server by its address and an access token: a legacy one, or a personal one, which is exchanged first.

        Raises:
            UsageError: no address of a server, or no token. ActivetuneError: it can't be reached, or refuses the token.
        """
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise UsageError(f"{url!r} is no address of a server; give one such as http://127.0.0.1:8080")
        if not token or not token.isascii() or not token.isprintable():
            raise UsageError(f"Label Studio asks for an access token: copy it from Account & Settings, and set {TOKEN}")
        plain = cls(url.rstrip("/"), "")
        if token.count(".") != 2:
            return cls(plain.url, f"Token {token}")
        found = plain.ask("POST", "/api/token/refresh", {"refresh": token})
        access = found.get("access") if isinstance(found, dict) else None
        if not isinstance(access, str):
            raise ActivetuneError(f"{plain.url} gives no access for the token in {TOKEN}; copy it again")
        return cls(plain.url, f"Bearer {access}")

    def page(self, project: int) -> str:
        """The address of a project's page."""
        return f"{self.url}/projects/{project}"

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """What the server answers to a request, from JSON.

        Raises:
            ActivetuneError: it can't be reached, or refuses.
        """
        try:
            with self._open(method, path, content) as answer:
                return parse_json(answer.read(MOST) or b"null")
        except urllib.error.HTTPError as error:
            raise ActivetuneError(_refusal(error, f"{self.url}{path}")) from None
        except (OSError, HTTPException) as error:
            reason = first_line(getattr(error, "reason", error))
            raise ActivetuneError(f"{self.url} can't be reached ({reason}); is Label Studio running there?") from None
        except ValueError as error:
            raise ActivetuneError(f"{self.url}{path} answers with no JSON ({error}); is it Label Studio?") from None

    def shows(self, path: str) -> bool:
        """Whether an image lies at a path of the server."""
        try:
            with self._open("GET", path) as answer:
                return str(answer.headers.get("Content-Type", "")).startswith("image/")
        except (OSError, HTTPException):
            return False

    def _open(self, method: str, path: str, content: Any = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, method=method)
        request.add_header("Content-Type", "application/json")
        if self.header:
            request.add_header("Authorization", self.header)
        return urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT)


def _refusal(error: urllib.error.HTTPError, address: str) -> str:
    """Why a server refuses, in a sentence."""
    if error.code in (401, 403):
        return (
            f"{address} refuses the access token ({error.code}); copy it again from Account & Settings, and set {TOKEN}"
        )
    if error.code == 404:
        return f"{address} is not there (404); was the project deleted, or is it no Label Studio?"
    if 300 <= error.code < 400:
        return (
            f"{address} leads on to {error.headers.get('Location')}, which is not followed; give that address as --url"
        )
    told = " ".join(error.read(2000).decode("utf-8", "replace").split())
    return f"{address} refuses with {error.code}: {told[:300] or error.reason}"
