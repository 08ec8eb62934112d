"""``export`` and ``import``: answers, selections and predictions in the formats of annotation tools, and back."""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any, Unpack

from activetune.base.errors import UsageError, some
from activetune.base.files import prepare_file, write_unless_there
from activetune.base.locks import holds_output
from activetune.base.printing import counted
from activetune.base.progress import note
from activetune.base.run import FULL_PRECISION, NO_CHANCE, ONE_PROCESS, PROCESSOR_ONLY, Idle, Run, RunOptions
from activetune.base.tables import header_of, write_csv
from activetune.data.annotations import (
    TASKS,
    Sheet,
    format_called,
    formats,
    read_annotations,
    save_annotations,
    tasks_at,
    write_sheet,
)
from activetune.data.answers import lost_in_csv
from activetune.data.label_notes import describe_predicted
from activetune.data.labels import Labels
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.data.presence import Presence
from activetune.data.several import cell_of_names
from activetune.handover.given import CLASSIFICATION, Given, given_at, given_in_memory, one_name, own_folders

MORE_THAN_ANSWERS = frozenset({"rank", "probability", "state", "source", "score"})  # of selections, predictions, pages
NONE_IS_AN_ANSWER = ("multilabel", "detection")
IN_CSV = {CLASSIFICATION: "label", "multilabel": "labels", "captioning": "caption"}  # the column of the answers
LOCAL_FILES = "/data/local-files/?d="  # of Label Studio, in front of a path below its document root
ADDRESSED = "label_studio"  # the format whose tasks name images by an address, and show a model's suggestions


def export_labels(
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str],
    *,
    pool: Pool | str | os.PathLike[str],
    format: str,
    out: str | os.PathLike[str],
    task: str | None = None,
    classes: Sequence[str] | None = None,
    suggestions: str | os.PathLike[str] | None = None,
    image_url: str | None = None,
    link: bool = False,
    **run_options: Unpack[RunOptions],
) -> Path:
    """Write answers, a selection or predictions in the format of another tool; :func:`import_labels` reads them back.

    Args:
        labels: answers, also as labels or ``{id: answer}``, or what holds them in any form that activetune reads; a
            selection, whose images are then tasks to label; or what ``predict`` wrote.
        pool: the images. format: see ``activetune list formats``.
        out: a file with the format's suffix, or a folder; formats with images in them need a folder.
        task: of the answers; None: as they tell, and of a selection without answers what the format asks first.
        classes: all of them, in order; None: those of the answers, or else of the pool.
        suggestions: what ``predict`` wrote, shown beside the tasks (Label Studio alone).
        image_url: what stands in front of the id in an image's address (Label Studio alone); None: its local files,
            which need images that are files under their ids, in the pool's folder or beside its table.
        link: link image files where the format has images, in place of copies.
        run_options: see :class:`activetune.RunOptions`; of these ``overwrite``, ``resume`` (a finished export of the
            same answers is kept) and ``quiet``.

    Returns:
        The file or folder.

    Raises:
        UsageError: a format that can't hold such answers, ids that the pool does not have, images that have no address,
            an output that is there.

    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> from activetune import export_labels, import_labels
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "images").mkdir()
    >>> Image.new("RGB", (64, 48)).save(folder / "images/1.jpg")
    >>> _ = (folder / "labels.csv").write_text("id,label\\n1.jpg,cat\\n")
    >>> given = {"pool": folder / "images", "format": "cvat", "quiet": True}
    >>> made = export_labels(folder / "labels.csv", out=folder / "cvat.xml", **given)
    >>> import_labels(made, **given).answers
    ['cat']
    """
    asked = Asked(task, classes, suggestions, image_url, link)
    return export(labels, asked, pool=pool, format=format, out=out, **run_options)[0]


@dataclass(frozen=True)
class Asked:
    """What an export is told beside the answers; see :func:`export_labels`."""

    task: str | None = None
    classes: Sequence[str] | None = None
    suggestions: str | os.PathLike[str] | None = None
    image_url: str | None = None
    link: bool = False


@holds_output(folder=False)
def export(
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str],
    asked: Asked,
    *,
    pool: Pool | str | os.PathLike[str],
    format: str,
    out: str | os.PathLike[str],
    **run_options: Unpack[RunOptions],
) -> tuple[Path, Sheet]:
    """:func:`export_labels`, which also tells what was written: the place, and the images with their answers."""
    run = Run.of("export", run_options, **_idle())
    module = format_called(format, formats(), written=True)
    name = next(own for own, one in formats().items() if one is module)
    _refuse_without_place(name, {"suggestions": asked.suggestions, "image_url": asked.image_url})
    pool = pool if isinstance(pool, Pool) else open_pool(pool, quiet=run.quiet)
    if isinstance(labels, Labels | Mapping):
        given = given_in_memory(labels, pool, asked.task, asked.classes)
    else:
        given = given_at(Path(labels), pool, asked.task, asked.classes, run.quiet, unanswered=_first_task(module))
    guesses, shown = _guessed(asked.suggestions, given, pool, run.quiet)
    local = name == ADDRESSED and asked.image_url is None
    front = local_files(local_folder(pool, given.ids)) if local else asked.image_url or ""
    told: dict[str, Any] = {"link": asked.link, "image_url": front, "suggestions": guesses}
    sheet = Sheet(given.task, pool, given.ids, given.answers, shown, given.scores, quiet=run.quiet, **told)
    sheet.problems.where = str(out)
    written = write_sheet(sheet, module, name, Path(out), overwrite=run.overwrite, resume=run.resume)
    sheet.problems.tell(run.quiet)
    return written, sheet


def _first_task(module: ModuleType) -> str:
    """What a format asks about images that nobody has answered."""
    return next((task for task in (CLASSIFICATION, "detection") if task in module.WRITES), module.WRITES[0])


def _refuse_without_place(name: str, options: Mapping[str, object]) -> None:
    """Refuse options that a format has no place for."""
    for option, value in options.items():
        if value is not None and name != ADDRESSED:
            raise UsageError(
                f"{name} has no place for --{option.replace('_', '-')}, which {ADDRESSED} has; leave it out"
            )


def _guessed(
    suggestions: str | os.PathLike[str] | None, given: Given, pool: Pool, quiet: bool
) -> tuple[Sheet | None, Sequence[str]]:
    """What a model has answered to the items, and the classes with those that it alone has named."""
    if suggestions is None:
        return None, given.classes
    found = given_at(Path(suggestions), pool, given.task, None, quiet)
    shown = [*given.classes, *(one for one in found.classes if one not in given.classes)]
    return Sheet(given.task, pool, given.ids, found.answers, found.classes, found.scores or {}), shown


def local_folder(pool: Pool, ids: Sequence[str]) -> Path:
    """The folder in which images are files that are called as their ids: the pool's own, or that of its table.

    Raises:
        UsageError: some are none, so that no address of Label Studio's local files leads to them.
    """
    place = Path(pool.name).resolve()
    folder = place if place.is_dir() else place.parent
    missing = [item for item in ids if not _lies_in(folder, item)]
    if missing:
        raise UsageError(
            f"{len(missing):,} of {len(ids):,} images are no files under their ids in the folder of {pool.name} "
            f"({some(missing)}), which Label Studio could show; put the images where it can fetch them, and give "
            "--image-url ADDRESS, in front of each id"
        )
    return folder


def _lies_in(folder: Path, item: str) -> bool:
    path = PurePath(item)
    if path.is_absolute() or ".." in path.parts:
        return False
    try:
        return (folder / path).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def local_files(folder: Path) -> str:
    """The address of Label Studio's local files in front of an id, where its document root is the folder's parent."""
    return f"{LOCAL_FILES}{urllib.parse.quote(folder.name)}/"


@holds_output(folder=False)
def import_labels(
    path: str | os.PathLike[str],
    *,
    pool: Pool | str | os.PathLike[str],
    format: str | None = None,
    out: str | os.PathLike[str] | None = None,
    task: str | None = None,
    classes: Sequence[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> Labels:
    """Answers from another tool, under the ids of the pool.

    Args:
        path: a file, folder or zip as the tool exports it. pool: the images.
        format: see ``activetune list formats``; None: by what lies at the path.
        out: ``.csv`` for one class, several classes or sentences per image; ``.parquet`` for all kinds.
        task: of the answers; None: as they tell.
        classes: in order, all others are left out; None: those that the path names.
        run_options: see :class:`activetune.RunOptions`; of these ``overwrite``, ``resume`` (``out`` is kept where it
            holds these answers) and ``quiet``.

    Returns:
        The answers: class names where each image has one, else those of :mod:`activetune.data.kinds`.

    Raises:
        UsageError: nothing that can be read, ids that the pool does not have, an output that is there already or can't
            hold such answers.
    """
    run = Run.of("import", run_options, **_idle())
    quiet, overwrite, resume = run.quiet, run.overwrite, run.resume
    target = None if out is None else Path(out)
    if target is not None:
        refuse_target(target, overwrite or resume)
    pool = pool if isinstance(pool, Pool) else open_pool(pool, quiet=quiet)
    format = format or own_folders(path, pool)
    told = [] if task else tasks_at(path, format)
    chosen = task or _task_for(path, told, target)
    if chosen not in (CLASSIFICATION, *TASKS):
        raise UsageError(f"there is no task {chosen!r}; give one of {', '.join((CLASSIFICATION, *TASKS))}")
    if target is not None and target.suffix.lower() == ".csv" and chosen not in IN_CSV:
        raise UsageError(
            f"answers of {chosen} are written as .parquet, which {target} is not; --task multilabel gives their classes"
        )
    asked = "multilabel" if chosen == CLASSIFICATION else chosen
    labels = read_annotations(path, pool, asked, classes=classes, format=format, quiet=quiet)
    for sentence in describe_predicted(path):
        note(sentence, quiet)
    if chosen in NONE_IS_AN_ANSWER and len(labels) and not Presence.of(labels, labels.ids).shown_NC.any():
        note(f"none of the {counted(len(labels), 'image')} in {path} shows anything; is it answered yet?", quiet)
    if told and chosen != told[0]:
        note(f"{path} holds answers of {told[0]}, of which {target} keeps the classes; .parquet keeps all", quiet)
    if chosen == CLASSIFICATION:
        several = any(len(answer.names) > 1 for answer in labels.answers)
        chosen = "multilabel" if several and task is None else chosen
        labels = labels if chosen == "multilabel" else one_name(labels, path, format)
        if not len(labels):
            raise UsageError(
                f"{path} holds no answer: none of its {labels.unanswered:,} images has a class; label some first"
            )
    if target is not None:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / target.name
            _write(labels, made, chosen, pool)
            if chosen == CLASSIFICATION and made.suffix.lower() == ".csv" and (lost := lost_in_csv(labels.names)):
                note(f"{target}: {lost}", quiet)
            write_unless_there(target, lambda partial: shutil.copyfile(made, partial), overwrite=overwrite)
    return labels


def _idle() -> dict[str, Idle]:
    """The options of a run that change nothing in either stage."""
    return {"seed": NO_CHANCE, "device": PROCESSOR_ONLY, "precision": FULL_PRECISION, "workers": ONE_PROCESS}


def _task_for(path: str | os.PathLike[str], told: Sequence[str], target: Path | None) -> str:
    """The first of the tasks that are answered at a path, the likeliest first, which the output can hold."""
    if not told:
        raise UsageError(f"{path} holds no answers, nothing was written; if it does, say of what kind with --task")
    held = told if target is None or target.suffix.lower() != ".csv" else [one for one in told if one in IN_CSV]
    if not held:
        raise UsageError(f"{path} holds answers of {some(told)}, which are written as .parquet; choose another --out")
    return held[0]


def refuse_target(target: Path, overwrite: bool) -> None:
    """Refuse an output of another suffix, or one that is there and was not asked to be replaced."""

    def own(path: Path) -> bool:
        header = header_of(path)
        return header[:1] == ("id",) and not MORE_THAN_ANSWERS & set(header)

    prepare_file(target, own=own, suffixes=(".csv", ".parquet"), overwrite=overwrite)


def _write(labels: Labels, target: Path, task: str, pool: Pool) -> None:
    """Write the answers in activetune's own form."""
    if target.suffix.lower() == ".parquet":
        if task == CLASSIFICATION:
            from activetune.data.kinds import Names

            several = [Names((name,)) for name in labels.names]
            labels, task = Labels(labels.ids, several, labels.classes, labels.unanswered), "multilabel"
        save_annotations(labels, target, task=task, pool=pool, overwrite=True)
        return
    pairs, rows = zip(labels.ids, labels.answers, strict=True), list[tuple[str, str]]()
    if task == CLASSIFICATION:
        rows = list(pairs)
    elif task == "multilabel":
        rows = [(item, cell_of_names(answer.names)) for item, answer in pairs]
    else:
        rows = [(item, text) for item, answer in pairs for text in answer.texts]
    write_csv(target, ("id", IN_CSV[task]), rows)
