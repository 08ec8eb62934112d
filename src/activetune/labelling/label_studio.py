"""Labelling in a running Label Studio: images are pushed as tasks, answers are pulled back.

The first call makes a project of a selection's picks and remembers it in ``SEL/label_studio.json``; each later one
pulls what people have answered since. It speaks Label Studio's HTTP API: ``POST /api/projects``, ``POST
/api/projects/ID/import``, ``GET /api/projects/ID/export``, and ``POST /api/token/refresh`` for personal access tokens.
"""

from __future__ import annotations

import json
import os
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from activetune.base.errors import ActivetuneError, UsageError, first_line
from activetune.base.files import parse_json, read_json, write_json
from activetune.base.locks import holds_output
from activetune.base.progress import note, progress
from activetune.base.tables import read_table, write_csv
from activetune.data.labels import answers_of
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.handover.exchange import export_labels, import_labels
from activetune.labelling.journal import JOURNAL
from activetune.selection.artefact import ANSWERS, load_selection
from activetune.selection.images import pool_of

TOKEN = "LABEL_STUDIO_API_KEY"  # the environment variable with the access token
PROJECT = "label_studio.json"  # in the selection's folder
PIECE = 250  # tasks that are sent at a time
TIMEOUT = 120  # seconds that an answer may take
MOST = 2**30  # bytes of an answer


@dataclass(frozen=True)
class Studio:
    """What a call of :func:`label_in_studio` has done.

    Attributes:
        address: of the project's page. pushed: tasks that were sent. answered: images with an answer, which lie in
            ``file``; None: nobody has answered yet.
    """

    address: str
    pushed: int
    answered: int
    file: Path | None


@holds_output(folder=True)
def label_in_studio(
    selection: str | os.PathLike[str],
    *,
    pool: Pool | str | os.PathLike[str] | None = None,
    url: str,
    out: str | os.PathLike[str] | None = None,
    token: str | None = None,
    task: str = "classification",
    classes: Sequence[str] | None = None,
    suggestions: str | os.PathLike[str] | None = None,
    image_url: str | None = None,
    quiet: bool = False,
) -> Studio:
    """Push the picks of a selection to a running Label Studio, or pull the answers where they were pushed before.

    Args:
        selection: a folder of ``select``. pool: its images; None: where they were embedded. url: of the server, ``http://127.0.0.1:8080``.
        out: the folder of the project's file and the answers; None: the selection's.
        token: an access token; None: that of the environment variable ``LABEL_STUDIO_API_KEY``.
        task, classes, suggestions, image_url: as in :func:`activetune.export_labels`.

    Returns:
        What was done. Answers lie in ``labels.csv``, those of other kinds in ``annotations.parquet``.

    Raises:
        UsageError: no token, an address that is none, a project of another server. ActivetuneError: the server can't
            be reached, or refuses.
    """
    folder = Path(out if out is not None else selection)
    if (folder / JOURNAL).is_file():
        raise UsageError(
            f"{folder} has answers of the local page, which writes {ANSWERS} too; select into another folder, or "
            f"remove {JOURNAL} to go on in Label Studio alone"
        )
    server = Server.at(url, token if token is not None else os.environ.get(TOKEN, ""))
    pool = _opened(selection, pool, quiet)
    if (folder / PROJECT).is_file():
        about = read_json(folder / PROJECT)
        if about.get("url") != server.url:
            raise UsageError(
                f"{folder / PROJECT} names a project at {about.get('url')}, not at {server.url}; give that --url, or "
                "remove the file to push the selection again"
            )
        return _pull(server, about, folder, pool, quiet)
    shown: dict[str, Any] = {"classes": classes, "suggestions": suggestions, "image_url": image_url, "quiet": quiet}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "tasks"
        made = export_labels(selection, pool=pool, format="label_studio", out=place, task=task, **shown)
        tasks = parse_json((made / "tasks.json").read_bytes())
        config = (made / "config.xml").read_text(encoding="utf-8")
    title = f"activetune {folder.name} ({len(load_selection(Path(selection)).to_label):,} images)"[:50]
    number = _push(server, title, config, tasks, quiet)
    write_json(folder / PROJECT, {"url": server.url, "project": number, "task": task, "tasks": len(tasks)})
    return Studio(server.page(number), len(tasks), 0, None)


def _opened(selection: str | os.PathLike[str], pool: Pool | str | os.PathLike[str] | None, quiet: bool) -> Pool:
    if pool is None:
        return pool_of(load_selection(Path(selection)))
    return pool if isinstance(pool, Pool) else open_pool(pool, quiet=quiet)


def _push(server: Server, title: str, config: str, tasks: Sequence[Any], quiet: bool) -> int:
    """Make a project of tasks; returns its number."""
    project = server.ask("POST", "/api/projects", {"title": title, "label_config": config})
    number = _number(project, server)
    with progress(len(tasks), "sending tasks", quiet=quiet) as meter:
        for start in range(0, len(tasks), PIECE):
            piece = tasks[start : start + PIECE]
            server.ask("POST", f"/api/projects/{number}/import", piece)
            meter.advance(len(piece))
    return number


def _number(project: Any, server: Server) -> int:
    number = project.get("id") if isinstance(project, dict) else None
    if not isinstance(number, int):
        raise ActivetuneError(f"{server.url} has made no project: it answers {str(project)[:100]!r}")
    return number


def _pull(server: Server, about: dict[str, Any], folder: Path, pool: Pool, quiet: bool) -> Studio:
    """Write the answers that a project has by now; an export without one leaves earlier answers as they are."""
    number, task = about.get("project"), str(about.get("task", "classification"))
    if not isinstance(number, int):
        raise UsageError(f"{folder / PROJECT} is damaged; remove it to push the selection again")
    found = server.ask("GET", f"/api/projects/{number}/export?exportType=JSON")
    tasks = found if isinstance(found, list) else []
    answered = [one for one in tasks if isinstance(one, dict) and _finished(one)]
    if not answered:
        note(f"nobody has answered a task of {server.page(number)} yet", quiet)
        return Studio(server.page(number), 0, 0, None)
    target = folder / (ANSWERS if task in ("classification", "multilabel", "captioning") else "annotations.parquet")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "export.json"
        path.write_text(json.dumps(answered), encoding="utf-8")
        earlier = _earlier(target) if task == "classification" else {}
        labels = import_labels(
            path, pool=pool, format="label_studio", out=target, task=task, overwrite=True, quiet=quiet
        )
    kept = {item: name for item, name in earlier.items() if name is not None and item not in set(labels.ids)}
    if kept:
        write_csv(target, ("id", "label"), [*zip(labels.ids, labels.answers, strict=True), *kept.items()])
        note(f"{target}: {len(kept):,} answers that were there before are kept, as nobody gave others", quiet)
    return Studio(server.page(number), 0, len(labels), target)


def _earlier(target: Path) -> dict[str, str | None]:
    """The answers that a file of one class per image holds already."""
    columns = read_table(target) if target.is_file() else {}
    return answers_of(columns, target) if {"id", "label"} <= columns.keys() else {}


def _finished(task: dict[str, Any]) -> bool:
    given = task.get("annotations")
    return any(
        isinstance(one, dict) and not one.get("was_cancelled") for one in (given if isinstance(given, list) else ())
    )


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
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, method=method)
        request.add_header("Content-Type", "application/json")
        if self.header:
            request.add_header("Authorization", self.header)
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=TIMEOUT) as answer:
                return parse_json(answer.read(MOST) or b"null")
        except urllib.error.HTTPError as error:
            raise ActivetuneError(_refusal(error, f"{self.url}{path}")) from None
        except (OSError, HTTPException) as error:
            reason = first_line(getattr(error, "reason", error))
            raise ActivetuneError(f"{self.url} can't be reached ({reason}); is Label Studio running there?") from None
        except ValueError as error:
            raise ActivetuneError(f"{self.url}{path} answers with no JSON ({error}); is it Label Studio?") from None


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
