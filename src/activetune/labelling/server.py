"""The page's server: its files, its pictures, and JSON beside it. Every request has passed the guards.

| request | answer |
|---|---|
| ``GET /`` | the page |
| ``GET /page/NAME`` | its scripts and styles |
| ``GET /image/ROW?size=small\\|large\\|full`` | a picture of an item |
| ``GET /api/items?start=0&count=100`` | ``{"items": [{"id", "label", "suggestion", …}], "total"}``, by rank |
| ``GET /api/state?since=NUMBER&client=…&at=ROW`` | counts, classes, and what has changed since an event |
| ``GET /api/order`` | rows in the order in which like images lie together; empty while that is not known |
| ``GET /api/suggestions`` | those for all items, see :class:`activetune.labelling.suggestions.Suggested` |
| ``POST /api/answers`` | ``{"saved": [1, …]}`` once they are on disk |
| ``POST /api/classes`` | the same for a class that is added, renamed (also back) or removed |
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from activetune.base.errors import ActivetuneError, RejectedImage, UsageError
from activetune.labelling.desk import Desk
from activetune.labelling.journal import Contradiction, Entry
from activetune.labelling.pictures import SIDES, Pictures
from activetune.labelling.requests import read_answers, read_class_change
from activetune.labelling.sheet import Sheet
from activetune.labelling.suggestions import Suggested, Suggestions, by_classes
from activetune.serving.answering import refusals, refuse_others
from activetune.serving.guards import Guards

KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
MOST_ITEMS = 10_000  # of one response
RECENT = 30
ADVICE = {
    404: "there are GET /api/items, /api/state, /api/order and /api/suggestions, POST /api/answers and /api/classes",
    405: "answers are sent by POST, everything else is read by GET",
}
DECODERS = 4  # threads
PRESENT = 10.0  # seconds after which a tab that asks for nothing counts as gone
KEPT = {"Cache-Control": "private, max-age=86400"}  # the address of a picture holds the token: another run has others


class Page:
    """The page of one selection."""

    def __init__(
        self,
        name: str,
        key: str,
        desk: Desk,
        suggestions: Suggestions,
        pictures: Pictures,
        reasons: Sequence[str],
        picks: int,
    ):
        """A page by its name.

        Args:
            key: tells the selection from others. reasons: why an image may show none of the classes.
            picks: how many rows come before those of the audit.
        """
        self.name, self.key, self.picks = name, key, picks
        self.desk, self.suggestions, self.pictures, self.reasons = desk, suggestions, pictures, reasons
        self._at: dict[str, tuple[float, int]] = {}  # when and at which row each tab was last seen
        self._files = page_files()
        self._decoding = ThreadPoolExecutor(DECODERS, thread_name_prefix="pictures")
        self._turns = asyncio.Semaphore(DECODERS)
        self._shown: tuple[tuple[int, int], Suggested] = ((-1, -1), Suggested())

    def app(self, token: str) -> Starlette:
        """The application behind its guards."""
        routes = [
            Route("/", self.page),
            Route("/page/{name}", self.file),
            Route("/image/{row:int}", self.image),
            Route("/api/items", _told(self.items, "start", "count")),
            Route("/api/state", _told(self.state, "since", "client", "at")),
            Route("/api/order", _told(self.order)),
            Route("/api/suggestions", _told(self.suggested)),
            Route("/api/answers", _told(self.answers), methods=["POST"]),
            Route("/api/classes", _told(self.classes), methods=["POST"]),
        ]
        guards = Middleware(Guards, token=token, open_paths=("/page/",))
        return Starlette(routes=routes, middleware=[guards], exception_handlers=refusals(ADVICE))

    def end(self) -> None:
        """Let go of the threads."""
        self._decoding.shutdown(wait=False, cancel_futures=True)

    # Files and pictures -------------------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """The page itself."""
        return Response(self._files["index.html"], media_type=KINDS[".html"])

    async def file(self, request: Request) -> Response:
        """One of its files, which are known by name: no other is looked for."""
        name = request.path_params["name"]
        if name not in self._files:
            return JSONResponse({"error": f"there is no file {name!r}"}, 404)
        return Response(self._files[name], media_type=KINDS[_kind(name)])

    async def image(self, request: Request) -> Response:
        """A picture of an item, or the reason why there is none."""
        row, size = request.path_params["row"], request.query_params.get("size", "large")
        if row >= len(self.desk.sheet.ids) or size not in SIDES:
            return JSONResponse({"error": f"there is no such picture; sizes: {', '.join(SIDES)}"}, 404)
        item = self.desk.sheet.ids[row]
        loop = asyncio.get_running_loop()
        try:
            async with self._turns:
                if await request.is_disconnected():  # scrolled past: others are waited for
                    return Response(status_code=503)
                content, kind = await loop.run_in_executor(self._decoding, self.pictures.picture, item, size)
        except RejectedImage as error:
            return JSONResponse({"error": f"this image can't be shown: {error}"}, 422)
        return Response(content, media_type=kind, headers=KEPT)

    # Reading ------------------------------------------------------------------------------------------------------

    async def items(self, request: Request) -> dict[str, Any]:
        """A part of the items, with what stands for each."""
        start, count = _number(request, "start", 0), _number(request, "count", 100)
        if count > MOST_ITEMS:
            raise UsageError(f"count can't be {count:,}; ask for at most {MOST_ITEMS:,} items at a time")
        with self.desk.lock:
            sheet, suggested = self.desk.sheet, self._today()
            rows = range(min(start, len(sheet.ids)), min(start + count, len(sheet.ids)))
            return {"items": [_item(sheet, suggested, row, self.picks) for row in rows], "total": len(sheet.ids)}

    async def state(self, request: Request) -> dict[str, Any]:
        """What the page shows around the items, and the answers that came after an event."""
        since, client = _number(request, "since", 0), request.query_params.get("client", "")
        others = self._others(client, _number(request, "at", 0)) if client else []
        with self.desk.lock:
            sheet, suggested = self.desk.sheet, self._today()
            renames = [one[1:] for one in sheet.renames if one[0] > since]
            return {
                "name": self.name,
                "key": self.key,
                "number": sheet.number,
                "total": len(sheet.ids),
                "multilabel": sheet.multilabel,
                "classes": [{"name": name, "count": sheet.counts[name]} for name in sheet.classes],
                "states": dict(sheet.states),
                "renames": [{"client": by, "name": name, "to": to} for by, name, to in renames],
                "changes": [_item(sheet, suggested, row, self.picks) for row in sheet.changed_since(since)],
                "recent": sheet.changed_since(0, RECENT),
                "others": others,
                "sequence": self.desk.last_sequence(client),
                "edited": self.desk.edited,
                "suggestions": {"version": suggested.version, "by": suggested.by},
                "ordered": len(self.suggestions.order) > 0,
                "reasons": list(self.reasons),
            }

    def _others(self, client: str, at: int) -> list[int]:
        """The rows that other tabs are at."""
        now = time.monotonic()
        self._at = {name: seen for name, seen in self._at.items() if now - seen[0] < PRESENT}
        self._at[client[:200]] = now, at
        return sorted({row for name, (_, row) in self._at.items() if name != client})

    async def order(self, request: Request) -> dict[str, Any]:
        """Like beside like."""
        return {"rows": list(self.suggestions.order)}

    async def suggested(self, request: Request) -> dict[str, Any]:
        """All suggestions, compactly."""
        with self.desk.lock:
            found = self._today()
        return {
            "version": found.version,
            "by": found.by,
            "classes": list(found.classes),
            "named": [None if named is None else list(named) for named in found.named],
            "probabilities": list(found.probabilities),
        }

    def _today(self) -> Suggested:
        """The suggestions with the classes under the names of today; made once for each state of both."""
        sheet, current = self.desk.sheet, self.suggestions.current
        key = current.version, sheet.reshaped
        if self._shown[0] != key:
            self._shown = key, by_classes(current, {name: sheet.naming.current(name) for name in current.classes})
        return self._shown[1]

    # Writing ------------------------------------------------------------------------------------------------------

    async def answers(self, request: Request) -> dict[str, Any]:
        """Keep answers."""
        return await self._save(read_answers(await request.body()))

    async def classes(self, request: Request) -> dict[str, Any]:
        """Keep a change of a class."""
        return await self._save([read_class_change(await request.body())])

    async def _save(self, entries: Sequence[Entry]) -> dict[str, Any]:
        return {"saved": await asyncio.wrap_future(self.desk.save(entries))}


def page_files() -> dict[str, bytes]:
    """The files that the page consists of, by name."""
    folder = files("activetune.labelling").joinpath("page")
    entries = [*folder.iterdir(), *folder.joinpath("vendor").iterdir()]
    return {entry.name: entry.read_bytes() for entry in entries if "." in entry.name and _kind(entry.name) in KINDS}


def _kind(name: str) -> str:
    return name[name.rindex(".") :]


def _item(sheet: Sheet, suggested: Suggested, row: int, picks: int) -> dict[str, Any]:
    """What stands for the item of a row; behind the first rows, the ``picks``, is the audit."""
    answer, shown = sheet.answer(sheet.ids[row]), suggested.of(row)
    several = sheet.multilabel
    return {
        "row": row,
        "id": sheet.ids[row],
        "label": None if not answer.labels else list(answer.labels) if several else answer.labels[0],
        "suggestion": None if shown is None else list(shown) if several else shown[0],
        "probability": None if shown is None else suggested.probabilities[row],
        "state": answer.state,
        "reason": answer.reason,
        "by": answer.by,
        "client": answer.client,
        "audit": row >= picks,
    }


def _number(request: Request, name: str, default: int) -> int:
    """A whole number of the query, from 0 on."""
    given = request.query_params.get(name, str(default))
    if not (given.isascii() and given.isdigit() and len(given) < 16):
        raise UsageError(f"{name} must be a whole number from 0 on, not {given!r}")
    return int(given)


def _told(
    handle: Callable[[Request], Awaitable[dict[str, Any]]], *parameters: str
) -> Callable[[Request], Awaitable[Response]]:
    """A handler whose result, or whose error in a sentence, is sent as JSON.

    Args:
        parameters: that the address may have.
    """

    async def respond(request: Request) -> Response:
        try:
            refuse_others(request, *parameters)
            return JSONResponse(await handle(request))
        except Contradiction as error:
            return JSONResponse({"error": str(error)}, 409)
        except UsageError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ActivetuneError as error:
            return JSONResponse({"error": str(error)}, 507)

    return respond
