"""Answers beyond one class per image, from files: read by their content in any known format, and written in one form.

A module of this folder is a format: it defines ``ABOUT`` (its line in ``activetune list formats``), ``TASKS`` (the
tasks whose answers it may hold), ``find(files, task) -> bool`` (whether a path holds it), ``read(files, asked) ->
Labels`` and ``holds(files)`` (the tasks that a path answers, the likeliest first). One that is written too has
``WRITES`` (the tasks) and ``write(sheet, path)``, with ``FILE`` where it is one file (and ``BESIDE``, ``companions``
for what belongs beside it), or ``PARTS`` where it is a folder; ``OFFERS_CLASSES`` where a person then chooses from the
classes that it names. One of a tool that may ask several things of an image has ``asks(files)``, which names them;
one that a model's answers look alike has ``why_not(files)``, which says so. One that another command writes has
``MADE_BY``. A new file is a new format.
``docs/annotations.md`` says what becomes of damaged or doubtful answers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from activetune.base.discovery import modules_of
from activetune.base.errors import UsageError, some, unknown_name
from activetune.base.printing import counted
from activetune.data.annotations import masks
from activetune.data.annotations._columns import SomeRows, column_answers, column_for
from activetune.data.annotations._export import Export, exported
from activetune.data.annotations._files import Files, files_at
from activetune.data.annotations._in_memory import KINDS, labels_in_memory
from activetune.data.annotations._legend import is_void as is_void
from activetune.data.annotations._listed import Asked
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._sheet import Sheet as Sheet
from activetune.data.annotations._writing import format_called as format_called
from activetune.data.annotations._writing import how_written as how_written
from activetune.data.annotations._writing import write_sheet as write_sheet
from activetune.data.annotations.normal import save_annotations as save_annotations
from activetune.data.formats import is_image_name, suffix_of
from activetune.data.labels import Labels
from activetune.data.pool import Pool

TASKS = tuple(KINDS)
JPEG = (".jpg", ".jpeg")


def formats() -> dict[str, ModuleType]:
    """The modules of all formats by name."""
    return modules_of(__name__)


def read_annotations(
    path: str | os.PathLike[str],
    pool: Pool,
    task: str,
    *,
    classes: Sequence[str] | None = None,
    format: str | None = None,
    quiet: bool = False,
) -> Labels:
    """Answers to items of a pool from a file, folder or zip, of whatever format it holds.

    What can't be used is left out; a sentence on stderr for each kind says what, where, how many, and the first one.
    Images of the pool that the file does not list are not answered; those that it lists without any object are.

    Args:
        path: COCO ``.json``; a folder of Pascal VOC ``.xml``, of YOLO ``.txt``, or of masks; a table; Hugging Face
            Parquet; ``annotations.parquet``.
        pool: the images. task: multilabel, segmentation, detection or captioning.
        classes: the classes in order, all others are left out; None takes those of the file.
        format: one of ``activetune list formats``; None: by what lies at the path.
        quiet: no sentences.

    Returns:
        The answers (:mod:`activetune.data.kinds`) of the items that have one, in the order of the file.

    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> from activetune import open_pool
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (64, 48)).save(folder / "1.jpg")
    >>> _ = (folder / "names.csv").write_text("id,labels\\n1.jpg,cat;dog\\n")
    >>> read_annotations(folder / "names.csv", open_pool(folder, quiet=True), "multilabel").answers
    [Names(names=('cat', 'dog'))]

    Raises:
        UsageError: no format that is known, or no answer in it that can be used.
    """
    _check(task)
    files = files_at(path)
    asked = Asked(pool, task, Problems(str(files.path)), classes, quiet, exported(files))
    module, files = _format_of(files, task, format, asked.export)
    try:
        labels: Labels = module.read(files, asked)
    except UsageError as error:
        raise (_of_another_format(files, module) or error) from None
    asked.problems.tell(quiet)
    return labels


def _of_another_format(files: Files, named: ModuleType) -> UsageError | None:
    """The error for a path that holds another format than the one that was named, and not this one."""
    if any(named.find(files, task) for task in named.TASKS):
        return None
    other = next((module for task in TASKS for module in _found(files, task).values()), None)
    if other is None:
        return None
    meant, given = _title(other), _title(named)
    return UsageError(f"{files.path} holds no {given}, but {meant}; leave --from out, or give the files of {given}")


def _format_of(files: Files, task: str, name: str | None, export: Export | None) -> tuple[ModuleType, Files]:
    """The format that answers are in: as it is named, or as an exported folder says, or by what lies there."""
    told = name or (export.written_as if export is not None and export.written_as in formats() else None)
    if told is not None:
        module = format_called(told, formats())
        if task not in module.TASKS:
            raise UsageError(f"{told} holds no answers of {task}, it holds {', '.join(module.TASKS)}")
        return module, the_file(files, module)
    found = _found(files, task)
    if not found:
        raise _unknown(files, task)
    if len(found) > 1:
        raise UsageError(
            f"{files.path} holds answers in several formats ({', '.join(found)}); give the file or folder of one, "
            "or say which with --from"
        )
    return next(iter(found.values())), files


def tasks_at(path: str | os.PathLike[str], format: str | None = None) -> list[str]:
    """The tasks that a file, folder or zip answers, the likeliest first; one class per image is ``classification``.

    Args:
        format: as in :func:`read_annotations`.

    Raises:
        UsageError: no format that is known, or several.
    """
    files = files_at(path)
    export = exported(files)
    if export is not None and export.task and format in (None, export.written_as):
        return [export.task]
    told = {format: format_called(format, formats())} if format is not None else {}
    found = told or {name: module for task in TASKS for name, module in _found(files, task).items()}
    if len(found) > 1:
        raise UsageError(
            f"{path} holds answers in several formats ({', '.join(found)}); give the file or folder of one"
        )
    if not found:
        raise _unknown(files, None)
    if not told and masks in found.values() and masks.hold_colours_alone(files):
        raise UsageError(
            f"{path} holds images in colours, and no classes.txt, .csv or .json says what they stand for if "
            "they are masks; images in folders of their classes are read with --from imagefolder"
        )
    (module,) = found.values()
    tasks = list(module.holds(the_file(files, module)))
    if not tasks:
        why = _why_not(files, [module])
        why = why or f"none of its columns or files is about one; give {module.ABOUT}"
        raise _of_another_format(files, module) or UsageError(f"{path} holds no answers to any task: {why}")
    return tasks


def controls_at(path: str | os.PathLike[str], format: str | None = None) -> str:
    """Which controls an image's several classes come from, where a tool asks several things; empty where it asks one.

    Args:
        format: as in :func:`read_annotations`.
    """
    files = files_at(path)
    found = [format_called(format, formats())] if format is not None else _found(files, "multilabel").values()
    told = [module.asks(the_file(files, module)) for module in found if hasattr(module, "asks")]
    return next(filter(None, told), "")


def the_file(files: Files, module: ModuleType) -> Files:
    """The one file of a format that is one file, where its folder was given as it was exported."""
    single = str(getattr(module, "FILE", ""))
    inside = files.single is None and not files.members and single in files.names
    return files_at(files.path / single) if inside else files


def pool_annotations(pool: Pool, task: str, *, classes: Sequence[str] | None = None, quiet: bool = False) -> Labels:
    """Answers that a pool brings itself.

    These are further columns of its Parquet files, manifest or ``metadata.jsonl``; without such a column they are what
    lies beside the images of a folder or zip in one of the formats, such as ``Annotations/*.xml`` or ``masks/*.png``.

    Args:
        pool, task, classes, quiet: as in :func:`read_annotations`.

    Raises:
        UsageError: it has none for the task.
    """
    _check(task)
    asked = Asked(pool, task, Problems(f"the pool {pool.name}"), classes, quiet)
    rows = None if pool.rows is None else [int(row) for row in pool.rows]
    table = None if pool.further is None else SomeRows(pool.further, rows)
    if table is None or column_for(table, task) is None:
        files = _beside(pool, task)
        if files is not None:
            return read_annotations(files.path, pool, task, classes=classes, quiet=quiet)
    if table is None:
        raise UsageError(
            f"the pool {pool.name} brings no answers for {task}; give a file or folder of them with --labels"
        )
    labels = column_answers(table, pool.ids, asked)
    asked.problems.tell(quiet)
    return labels


def _beside(pool: Pool, task: str) -> Files | None:
    """The folder or zip that a pool was opened from, where answers lie beside its images; None otherwise."""
    try:
        files = files_at(pool.name)
    except UsageError:  # a pattern, or what is not there any more
        return None
    if files.single is not None:
        return None
    found = _found(files, task).keys() - {"huggingface"}  # whose columns were looked at
    return files if found and ("masks" not in found or masks.lie_apart(files)) else None


def _found(files: Files, task: str) -> dict[str, ModuleType]:
    """The formats in which there are answers to a task."""
    return {name: module for name, module in formats().items() if task in module.TASKS and module.find(files, task)}


def annotations_of(
    given: Labels | Mapping[str, Any] | str | os.PathLike[str] | None,
    pool: Pool,
    task: str,
    classes: Sequence[str] | None = None,
    *,
    quiet: bool = False,
) -> Labels:
    """The answers to items of a pool, however they are given: the door of every task but classification.

    Args:
        given: labels, ``{id: answer}`` of :mod:`activetune.data.kinds` or of plain Python (a list of names or
            sentences, an array of positions), a file or folder, or None for the pool's own.
        task, classes, quiet: as in :func:`read_annotations`.

    Raises:
        UsageError: ids that the pool does not have, answers of another task, none at all, or one that is wrong.
    """
    if given is None:
        return pool_annotations(pool, task, classes=classes, quiet=quiet)
    if not isinstance(given, Labels | Mapping):
        return read_annotations(given, pool, task, classes=classes, quiet=quiet)
    return labels_in_memory(given, pool, task, classes)


def _check(task: str) -> None:
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)


def _why_not(files: Files, modules: Iterable[ModuleType]) -> str:
    """Why what looks like one of some formats holds no answers; empty where none of them can tell."""
    return next(filter(None, (module.why_not(files) for module in modules if hasattr(module, "why_not"))), "")


def _unknown(files: Files, task: str | None) -> UsageError:
    """The error for a path that no format knows, or none that answers the task; None: no task was asked for."""
    others = {name: [other for other in TASKS if name in _found(files, other)] for name in formats()}
    for name, tasks in others.items():
        if tasks:
            return UsageError(
                f"{files.path} holds no answers for {task}, but {_title(formats()[name])} with answers for "
                f"{', '.join(tasks)}; give answers of the task, or another task"
            )
    if why := _why_not(files, formats().values()):
        return UsageError(f"{files.path} holds no answers: {why}")
    about = f" for {task}" if task is not None else ""
    if files.single is not None:
        held = f"a file ending in {files.single.suffix or 'nothing'}"
    elif files.names and all(is_image_name(name) for name in files.names):
        held = f"{counted(len(files.names), 'image')} alone"
    else:
        kinds = sorted({suffix_of(name) or "no suffix" for name in files.names})
        held = f"{counted(len(files.names), 'file')} ({some(kinds, 6)})" if files.names else "no file"
    lost = ", and JPEG does not keep the values of masks" if task == "segmentation" and files.ending(*JPEG) else ""
    known = ", ".join(_title(module) for module in formats().values() if task is None or task in module.TASKS)
    return UsageError(
        f"{files.path} holds no answers{about} in a format that is known: it is {held}{lost}. Give one of these: "
        f"{known} ('activetune list formats' says how each looks)"
    )


def _title(module: ModuleType) -> str:
    """What a format is called: its line without how it looks."""
    return str(module.ABOUT).partition(":")[0]
