"""Labelling in a running Label Studio: images are pushed as tasks, answers are pulled back.

The first call makes a project of a selection's picks, and remembers it in ``SEL/label_studio.json``; where it was cut
off the next call goes on; each later one pulls what people have answered since.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.files import parse_json, read_json, replacing, write_json
from activetune.base.locks import locked_output
from activetune.base.progress import note, progress
from activetune.base.tables import read_table, write_csv
from activetune.data.answers import is_missing
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.handover.exchange import IN_CSV, export_labels, import_labels, local_folder, refuse_target
from activetune.labelling.desk import answered_by_people
from activetune.labelling.journal import JOURNAL
from activetune.labelling.label import PROJECT, names_of
from activetune.labelling.studio_server import TOKEN, Server
from activetune.selection.artefact import ANSWERS, load_selection
from activetune.selection.images import pool_of
from activetune.studies.rounds.answered import classes_of
from activetune.studies.rounds.project import project_around

PIECE = 250  # tasks that are sent at a time
SERVING = "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED"  # environment variables of the server
ROOT = "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"


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


def label_in_studio(
    selection: str | os.PathLike[str],
    *,
    pool: Pool | str | os.PathLike[str] | None = None,
    url: str,
    out: str | os.PathLike[str] | None = None,
    token: str | None = None,
    task: str = "classification",
    classes: Sequence[str] | str | os.PathLike[str] | None = None,
    suggestions: str | os.PathLike[str] | None = None,
    image_url: str | None = None,
    quiet: bool = False,
) -> Studio:
    """Push the picks of a selection to a running Label Studio, or pull the answers where they were pushed before.

    Images are shown from the pool's folder, or that of its table, which the project gets as a local storage; a note
    says what to do where the server can't show them.

    Args:
        selection: a folder of ``select``. pool: its images; None: where they were embedded. url: of the server,
            ``http://127.0.0.1:8080``.
        out: the folder of the project's file and the answers; None: the selection's.
        token: an access token; None: that of the environment variable ``LABEL_STUDIO_API_KEY``.
        classes: their names, or the folder of a model that has them; None: those of the project, in a round of one.
        task, suggestions, image_url: as in :func:`activetune.export_labels`.

    Returns:
        What was done. Answers lie in ``labels.csv``, those of other kinds in ``annotations.parquet``.

    Raises:
        UsageError: no token, an address that is none, a project of another server, answers on the local page, images
            that have no address. ActivetuneError: the server can't be reached, or refuses.
    """
    folder = Path(out if out is not None else selection)
    asked: dict[str, Any] = {"classes": classes, "suggestions": suggestions, "image_url": image_url, "quiet": quiet}
    with locked_output(folder, "selection" if out is None else "out", folder=True):
        return _pushed_or_pulled(Path(selection), folder, pool, url, token, task, asked)


def _pushed_or_pulled(
    selection: Path,
    folder: Path,
    pool: Pool | str | os.PathLike[str] | None,
    url: str,
    token: str | None,
    task: str,
    asked: dict[str, Any],
) -> Studio:
    """See :func:`label_in_studio`; the folder is this call's."""
    image_url, quiet = asked["image_url"], asked["quiet"]
    if answered_by_people(folder / JOURNAL):
        raise UsageError(
            f"{folder} has answers of the local page, which writes {ANSWERS} too; select into another folder, or "
            f"remove {JOURNAL} to go on in Label Studio alone"
        )
    server = Server.at(url, token if token is not None else os.environ.get(TOKEN, ""))
    pool = _opened(selection, pool, quiet)
    about = _remembered(folder, server)
    if about is not None and about.get("sent", about.get("tasks")) == about.get("tasks"):
        return _pull(server, about, folder, pool, quiet)
    chosen = load_selection(selection).to_label
    images = local_folder(pool, chosen) if image_url is None else None
    task = task if about is None else str(about.get("task", task))
    names = _classes_of_project(selection) if asked["classes"] is None else names_of(asked["classes"])
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "tasks"
        made = export_labels(
            selection, pool=pool, format="label_studio", out=place, task=task, **asked | {"classes": names}
        )
        tasks = parse_json((made / "tasks.json").read_bytes())
        config = (made / "config.xml").read_text(encoding="utf-8")
    title = f"activetune {folder.name} ({len(chosen):,} images)"[:50]
    if about is None:
        number = _number(server.ask("POST", "/api/projects", {"title": title, "label_config": config}), server)
        about = {"url": server.url, "project": number, "task": task, "tasks": len(tasks), "sent": 0}
        write_json(folder / PROJECT, about)
    else:
        about["sent"] = max(int(about["sent"]), _held(server, about["project"], len(tasks)))
    _push(server, about, tasks, folder, quiet)
    if images is not None:
        _show_images(server, about["project"], images, tasks, quiet)
    return Studio(server.page(about["project"]), len(tasks), 0, None)


def _classes_of_project(selection: Path) -> list[str] | None:
    """The classes of the project that a selection is a round of; None where there is none, or it knows none yet."""
    project = project_around(selection)
    return None if project is None else classes_of(project) or None


def _remembered(folder: Path, server: Server) -> dict[str, Any] | None:
    """The project that a selection was pushed to; None: none yet."""
    if not (folder / PROJECT).is_file():
        return None
    about = read_json(folder / PROJECT)
    if about.get("url") != server.url:
        raise UsageError(
            f"{folder / PROJECT} names a project at {about.get('url')}, not at {server.url}; give that --url, or "
            "remove the file to push the selection again"
        )
    if not isinstance(about.get("project"), int):
        raise UsageError(f"{folder / PROJECT} is damaged; remove it to push the selection again")
    return about


def _opened(selection: str | os.PathLike[str], pool: Pool | str | os.PathLike[str] | None, quiet: bool) -> Pool:
    if pool is None:
        return pool_of(load_selection(Path(selection)))
    return pool if isinstance(pool, Pool) else open_pool(pool, quiet=quiet)


def _push(server: Server, about: dict[str, Any], tasks: Sequence[Any], folder: Path, quiet: bool) -> None:
    """Send the tasks that a project does not have yet, and remember after each piece how many it has."""
    with progress(len(tasks), "sending tasks", quiet=quiet) as meter:
        meter.advance(int(about["sent"]))
        for start in range(int(about["sent"]), len(tasks), PIECE):
            piece = tasks[start : start + PIECE]
            server.ask("POST", f"/api/projects/{about['project']}/import", piece)
            about["sent"] = start + len(piece)
            write_json(folder / PROJECT, about)
            meter.advance(len(piece))


def _held(server: Server, number: int, most: int) -> int:
    """How many tasks a project has: a call that was killed may have sent more than it could note."""
    found = server.ask("GET", f"/api/projects/{number}")
    held = found.get("task_number") if isinstance(found, dict) else None
    return min(held, most) if isinstance(held, int) else 0


def _show_images(server: Server, number: int, images: Path, tasks: Sequence[Any], quiet: bool) -> None:
    """Add the images' folder to a project as a local storage, and say what to do where its images are not shown."""
    storage = {"project": number, "title": images.name, "path": str(images), "use_blob_urls": True}
    why = "their address leads to no image"
    try:
        server.ask("POST", "/api/storages/localfiles", storage)
    except ActivetuneError as error:
        why = str(error)
    if tasks and not server.shows(tasks[0]["data"]["image"]):
        note(
            f"{server.page(number)} can't show the images yet ({why}); start Label Studio with {SERVING}=true and "
            f"{ROOT}={images.parent} where it sees {images}, and add that folder to the project as a local storage; or "
            f"remove {PROJECT} and push again with --image-url",
            quiet,
        )


def _number(project: Any, server: Server) -> int:
    number = project.get("id") if isinstance(project, dict) else None
    if not isinstance(number, int):
        raise ActivetuneError(f"{server.url} has made no project: it answers {str(project)[:100]!r}")
    return number


def _pull(server: Server, about: dict[str, Any], folder: Path, pool: Pool, quiet: bool) -> Studio:
    """Write the answers that a project has by now; an export without one leaves earlier answers as they are."""
    number, task = about["project"], str(about.get("task", "classification"))
    found = server.ask("GET", f"/api/projects/{number}/export?exportType=JSON")
    tasks = found if isinstance(found, list) else []
    answered = [one for one in tasks if isinstance(one, dict) and _finished(one)]
    if not answered:
        note(f"nobody has answered a task of {server.page(number)} yet", quiet)
        return Studio(server.page(number), 0, 0, None)
    target = folder / (ANSWERS if task in IN_CSV else "annotations.parquet")
    if target.name != ANSWERS or not (folder / JOURNAL).is_file():  # else it is the page's, where nobody has answered
        refuse_target(target, overwrite=True)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "export.json"
        path.write_text(json.dumps(answered), encoding="utf-8")
        made = Path(name) / target.name
        labels = import_labels(path, pool=pool, format="label_studio", out=made, task=task, quiet=quiet)
        kept = _with_earlier(made, target, IN_CSV[task]) if task in IN_CSV and target.is_file() else 0
        with replacing(target) as partial:
            shutil.copyfile(made, partial)
    note(f"{target}: {kept:,} answers that were there before are kept, as nobody gave others", quiet or not kept)
    return Studio(server.page(number), 0, len(labels), target)


def _with_earlier(made: Path, target: Path, column: str) -> int:
    """Add to the answers that were pulled those of a table for other items; returns how many."""
    pulled, before = read_table(made), read_table(target)
    named = column if column in before else "label"
    if not {"id", named} <= before.keys():
        return 0
    there = set(map(str, pulled["id"]))
    pairs = zip(map(str, before["id"]), before[named], strict=True)
    kept = [(item, cell) for item, cell in pairs if item not in there and not is_missing(cell) and str(cell).strip()]
    write_csv(made, ("id", column), [*zip(pulled["id"], pulled[column], strict=True), *kept])
    return len(kept)


def _finished(task: dict[str, Any]) -> bool:
    given = task.get("annotations")
    return any(
        isinstance(one, dict) and not one.get("was_cancelled") for one in (given if isinstance(given, list) else ())
    )
