"""What every local server refuses in one form, ``{"error": "…"}``: unknown addresses, methods and parameters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from activetune.base.errors import UsageError

TOKEN = "token"  # which the guards have read


def refuse_others(request: Request, *known: str) -> None:
    """Refuse a parameter in the address that the request does not have: most likely it is mistyped.

    Raises:
        UsageError: there is one.
    """
    if others := [name for name in request.query_params if name not in (TOKEN, *known)]:
        allowed = f"known: {', '.join(known)}" if known else "it has none"
        raise UsageError(f"{request.url.path} has no parameter {others[0]!r}; {allowed}")


def refusals(advice: Mapping[int, str]) -> dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]:
    """The application's handlers of what its routes refuse: an unknown address, a method, a form that is none.

    Args:
        advice: what to do instead, by status.
    """

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        what = error.detail.lower().rstrip(".") if error.status_code in advice else error.detail
        told = "; ".join(part for part in (what, advice.get(error.status_code)) if part)
        return JSONResponse({"error": told}, error.status_code, headers=error.headers)

    return {HTTPException: refused}
