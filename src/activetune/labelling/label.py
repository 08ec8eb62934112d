"""Selection -> labels: a local page on which a person gives them."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from activetune.base.artefact import MANIFEST
from activetune.base.errors import ActivetuneError, UsageError, repeated, some
from activetune.base.files import is_file
from activetune.base.fingerprint import digest
from activetune.base.locks import holds_output
from activetune.base.progress import note
from activetune.base.run import Idle, Run, RunOptions
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.labelling.desk import Desk
from activetune.labelling.features import features_of
from activetune.labelling.journal import JOURNAL
from activetune.labelling.pictures import Pictures
from activetune.labelling.requests import new_name
from activetune.labelling.server import Page
from activetune.labelling.suggestions import Show, Suggestions
from activetune.selection.artefact import ANSWERS, Selection, load_selection
from activetune.selection.images import pool_of
from activetune.serving.guards import new_token
from activetune.serving.listening import address, bind, run_server
from activetune.studies.rounds.answered import classes_of
from activetune.studies.rounds.project import project_around

if TYPE_CHECKING:
    from activetune.evaluation.model import Model

PROJECT = "label_studio.json"  # in a selection's folder: its images were pushed to Label Studio
FIRST_PORT = 49152  # from here on ports are nobody's (RFC 6335)
REASONS = ("another class", "several classes", "nothing to see", "bad image", "not relevant")
GOES_ON = Idle("goes on with the answers that are there", (True,))
REPLACES_NOTHING = Idle("replaces no answer; remove labels.csv and labels.sqlite to begin again")
NO_PROCESSES = Idle("works in one process", (0, 1))


@holds_output("selection", folder=True)
def label(
    selection: str | os.PathLike[str],
    *,
    classes: Sequence[str] | str | os.PathLike[str] | None = None,
    model: Model | str | os.PathLike[str] | None = None,
    embeddings: str | os.PathLike[str] | None = None,
    pool: Pool | str | os.PathLike[str] | None = None,
    multilabel: bool = False,
    suggestions: bool = True,
    port: int = 0,
    browser: bool = True,
    **run_options: Unpack[RunOptions],
) -> Path:
    """Serve a page on this machine on which a person labels the selected images, until Ctrl-C or SIGTERM ends it.

    Every answer is on disk before the page says so; a run that was killed goes on where it was.

    Args:
        selection: a folder of ``select``; ``labels.csv`` in it gets the answers, its journal is ``labels.sqlite``.
        classes: their names, in the order of their keys; or a model's folder, whose classes are meant; None: those of
            an earlier start, then those of the project where the selection is a round of one, then those of ``model``.
            More can be added on the page.
        model: a finetuned model that suggests classes; None: a probe on the answers so far does, where the
            selection's embeddings are found: in ``embeddings``, beside the selection, or in the cache.
        pool: where the images are; None: where they were embedded.
        multilabel: an image may have several of the classes, or none; in a project whose task is so, it may anyway.
        suggestions: False shows none: people tend to agree with what they are shown.
        port: of 127.0.0.1; 0 takes the selection's usual one, or else a free one. The address, with the token that it
            asks for, is printed first.
        browser: open the page in the browser, where there is a desktop.
        run_options: see :class:`activetune.RunOptions`; ``seed`` orders the clusters, ``device`` and ``precision`` are
            the model's.

    Returns:
        The path of ``labels.csv``; from a program, end the page with KeyboardInterrupt.

    Raises:
        UsageError: no selection, one that was pushed to Label Studio, no pool, a class name that is none, a model that
            knows none of the classes, a port that is taken, a damaged journal.
        KeyboardInterrupt: the signal that ended it, where the command line answers signals.

    Example:
        >>> activetune.label("sel", classes=["leaf", "sky"])  # until Ctrl-C  # doctest: +SKIP
        http://127.0.0.1:41873/?token=…
        PosixPath('sel/labels.csv')
    """
    run = Run.of("label", run_options, overwrite=REPLACES_NOTHING, resume=GOES_ON, workers=NO_PROCESSES)
    folder = Path(selection)
    asked = Asked(classes, model, embeddings, pool, multilabel, suggestions)
    with _listening(folder, port) as listener, page_of(folder, asked, run) as page:
        token = new_token()
        url = address(listener, token)
        run_server(page.app(token), listener, url, kept="no answer is lost", then=_open if browser else None)
    return folder / ANSWERS


def _listening(folder: Path, port: int) -> socket.socket:
    """The port that is asked for; of 0 the same at each start, where it is free.

    A browser keeps what could not be sent under the page's address: at another one it would not be found again.
    """
    if not port:
        usual = FIRST_PORT + int(digest(str(folder.resolve()))[:8], 16) % (2**16 - FIRST_PORT)
        with contextlib.suppress(ActivetuneError):
            return bind(usual)
    return bind(port)


@dataclass(frozen=True)
class Asked:
    """What the page is made from beside the selection; see :func:`label`."""

    classes: Sequence[str] | str | os.PathLike[str] | None = None
    model: Model | str | os.PathLike[str] | None = None
    embeddings: str | os.PathLike[str] | None = None
    pool: Pool | str | os.PathLike[str] | None = None
    multilabel: bool = False
    suggestions: bool = True


@contextlib.contextmanager
def page_of(folder: Path, asked: Asked, run: Run) -> Iterator[Page]:
    """The page of a selection, with its answers taken up; at the end the label file is written.

    Raises:
        UsageError, ActivetuneError: see :func:`label`.
    """
    selected = load_selection(folder)
    if (folder / PROJECT).is_file():
        raise UsageError(
            f"{folder} is labelled in Label Studio, where its images were pushed to: go on there, or pull the answers "
            f"with --in label-studio, and remove {PROJECT} to go on here alone"
        )
    if asked.model is not None and not asked.suggestions:
        raise UsageError("a model is there to suggest classes, and suggestions are off; leave one of both out")
    model = None if asked.model is None else _model(asked.model)
    names, pool = names_of(asked.classes or ()), _pool_of(selected, asked.pool, run.quiet)
    project = project_around(folder)
    usual = [] if project is None else classes_of(project)
    multilabel = asked.multilabel or (project is not None and project.settings.multilabel)
    given_features = None if asked.embeddings is None else features_of(selected, folder, asked.embeddings)
    desk = Desk(folder / JOURNAL, folder / ANSWERS, selected.to_label)
    shown = Suggestions(desk.known, probing=asked.suggestions, seed=run.seed)
    try:
        by_model = () if model is None else names_of(list(model.classes))
        desk.begin(names, usual=usual, of_model=by_model, multilabel=multilabel, told=shown.tell, quiet=run.quiet)
        shown.multilabel = desk.sheet.multilabel
        shown.find = lambda: given_features or features_of(selected, folder)
        if model is not None:
            shown.model = _asks(model, pool, selected, shown, run)
        key, picks = str(selected.manifest["picks"])[:16], len(selected.ids)
        page = Page(folder.absolute().name, key, desk, shown, Pictures(pool), REASONS, picks)
        shown.start()
        try:
            yield page
        finally:
            shown.end()
            page.end()
            done = sum(desk.sheet.answer(item).done for item in selected.to_label)
            note(f"{folder / ANSWERS}: {done:,} of {len(selected.to_label):,} items are answered", run.quiet)
    finally:
        desk.end()


def _asks(model: Model, pool: Pool, selected: Selection, shown: Suggestions, run: Run) -> Callable[[Show], None]:
    from activetune.labelling.model_suggestions import by_model

    return by_model(model, pool, selected.to_label, run, multilabel=shown.multilabel, ended=lambda: shown.ended)


def _model(given: Model | str | os.PathLike[str]) -> Model:
    """A model that can suggest; torch is loaded for it alone, so that the page is there at once without."""
    from activetune.labelling.model_suggestions import model_that_suggests

    return model_that_suggests(given)


def names_of(given: Sequence[str] | str | os.PathLike[str]) -> list[str]:
    """The names of classes: listed, or those of a model's folder.

    Raises:
        UsageError: no folder of a model; names that are none, or repeated.
    """
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        if not is_file(path / MANIFEST):
            raise UsageError(f"classes are {str(given)!r}, which is no model's folder; give a list of names")
        given = list(_model(path).classes)
    names = [new_name(name) for name in given]
    if twice := repeated(names):
        raise UsageError(f"classes must be distinct; repeated: {some(twice)}")
    return names


def _pool_of(selection: Selection, given: Pool | str | os.PathLike[str] | None, quiet: bool) -> Pool:
    """Where the images are.

    Raises:
        UsageError: no pool there, or one that has none of the picks.
    """
    if given is not None:
        pool = given if isinstance(given, Pool) else open_pool(given, quiet=quiet)
    else:
        try:
            pool = pool_of(selection)
        except UsageError as error:
            raise UsageError(f"the images can't be shown: {error}; give --pool") from None
    missing = [item for item in selection.to_label if item not in pool.position]
    told = f"{len(missing):,} of the {len(selection.to_label):,} items are not in {pool.name} ({some(missing)})"
    if missing and len(missing) == len(selection.to_label):
        raise UsageError(f"{told}; give the pool that they were selected from: --pool POOL")
    if missing:
        note(f"{told}: the page has no picture of them", quiet)
    return pool


def _open(url: str) -> None:
    """Open the page in a window; a browser in the terminal would take the terminal."""
    desktop = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if desktop:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
