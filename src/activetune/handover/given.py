"""What is handed over: answers, a selection that is still to be labelled, or a model's predictions, by what lies there.

| at the path | |
|---|---|
| a folder of ``select`` (with the answers in its ``labels.csv``), or a table with ids alone | images to label |
| what ``predict`` writes: a table with ``probability``, COCO's results, a folder with ``masks.csv`` | predictions |
| all that ``activetune.read_annotations`` and ``activetune.read_labels`` read | answers |
"""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.artefact import MANIFEST
from activetune.base.errors import ActivetuneError, UsageError, some, unknown_name
from activetune.base.files import parse_json, read_json
from activetune.base.names import as_known
from activetune.base.progress import note
from activetune.base.tables import Columns, header_of, read_table
from activetune.data.annotations import TASKS, annotations_of, box_table, controls_at, read_annotations, tasks_at
from activetune.data.ids import ids_of, refuse_foreign_ids
from activetune.data.kinds import Boxes, Mask, Names, Sentences
from activetune.data.labels import Labels, answers_of, labels_of, pool_labels
from activetune.data.pool import Pool
from activetune.data.presence import names_of
from activetune.selection.artefact import ANSWERS, SELECTION_FILES, load_selection

CLASSIFICATION = "classification"
TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
OTHER_ANSWERS = {"labels", "objects", "captions", "mask", "image"}  # columns of tables that hold other kinds
LARGEST_SIDE = 1e9  # pixels
RESULT = {"image_id", "category", "bbox", "score"}  # the names that each of COCO's results has here


@dataclass(frozen=True)
class Given:
    """What is to be handed over.

    Attributes:
        task: of the answers. ids: all images, in order. answers: by id, of those that are answered.
        classes: in order. scores: of predictions; None: people's answers.
    """

    task: str
    ids: Sequence[str]
    answers: Mapping[str, Any] = field(default_factory=dict)
    classes: Sequence[str] = ()
    scores: Mapping[str, Sequence[float]] | None = None


def given_at(
    path: Path,
    pool: Pool,
    task: str | None,
    classes: Sequence[str] | None,
    quiet: bool,
    *,
    unanswered: str = CLASSIFICATION,
) -> Given:
    """What lies at a path, for images of a pool.

    Args:
        task: of the answers; None: as they tell. classes: in order; None: as they tell.
        unanswered: the task of a selection whose images nobody has answered, where none is asked for.

    Raises:
        UsageError: nothing that is known, or ids that the pool does not have.
    """
    if task is not None and task not in (CLASSIFICATION, *TASKS):
        raise unknown_name("task", task, (CLASSIFICATION, *TASKS))
    found = _selected(path, pool, task, unanswered, quiet) or _predicted(path, pool, quiet)
    found = found or _table(path, pool, task, unanswered, quiet) or _annotated(path, pool, task, classes, quiet)
    if task is not None and task != found.task and found.answers:
        raise UsageError(f"{path} holds answers of {found.task}, not of {task}; leave --task out")
    return _with_classes(found, pool, classes)


def given_in_memory(
    labels: Labels | Mapping[str, Any], pool: Pool, task: str | None, classes: Sequence[str] | None
) -> Given:
    """Answers that are given in Python: their kind tells the task.

    Raises:
        UsageError: answers of no kind that is known, of another task, or of items that the pool does not have.
    """
    if task is not None and task not in (CLASSIFICATION, *TASKS):
        raise unknown_name("task", task, (CLASSIFICATION, *TASKS))
    answers = labels.answers if isinstance(labels, Labels) else list(labels.values())
    told = task or _task_of(next((answer for answer in answers if answer is not None), ""))
    if told == CLASSIFICATION:
        found = labels_of(labels, pool)
    else:
        found = annotations_of(labels, pool, told, None if told == "multilabel" else classes)
    return _with_classes(_of_labels(found, told), pool, classes)


def _task_of(answer: Any) -> str:
    """The task that an answer is of."""
    kinds = (("detection", Boxes), ("captioning", Sentences), ("segmentation", Mask | np.ndarray))
    several = isinstance(answer, Names | list | tuple | set | frozenset)
    return next((task for task, kind in kinds if isinstance(answer, kind)), "multilabel" if several else CLASSIFICATION)


def _with_classes(found: Given, pool: Pool, classes: Sequence[str] | None) -> Given:
    """The same with the classes that are asked for, or else those that are known; those that occur are among them.

    The names of a pool's folders are classes where the answers name no others: else they may be days or cameras.
    """
    occurring = {name for answer in found.answers.values() for name in names_of(answer)}
    of_pool = _of_pool(found.task, pool) if classes is None and not found.classes else []
    known = list(classes) if classes is not None else list(found.classes)
    known = known or (of_pool if occurring <= set(of_pool) else [])
    missing = sorted(occurring - set(known))
    if classes is not None and missing:
        raise UsageError(f"the answers name {missing[0]!r}, which --classes does not; give all classes")
    return Given(found.task, found.ids, found.answers, [*known, *missing], found.scores)


def _of_pool(task: str, pool: Pool) -> list[str]:
    """The classes that a pool knows, where its items have one each."""
    try:
        return list(pool_labels(pool).classes) if task == CLASSIFICATION else []
    except UsageError:
        return []


def _selected(path: Path, pool: Pool, task: str | None, unanswered: str, quiet: bool) -> Given | None:
    """The picks of a folder of ``select``, with the answers that it holds by now."""
    if not path.is_dir() or not (path / MANIFEST).is_file():
        return None
    try:
        if read_json(path / MANIFEST).get("kind") != "selection":
            return None
    except ActivetuneError:
        if (path / SELECTION_FILES[0]).is_file():
            raise
        return None
    ids = _known(load_selection(path).to_label, path, pool)
    answers: dict[str, Any] = {}
    columns = read_table(path / ANSWERS) if (path / ANSWERS).is_file() else {}
    if task in (None, "multilabel") and {"id", "labels"} <= columns.keys() and any(columns["labels"]):
        several = read_annotations(path / ANSWERS, pool, "multilabel", quiet=True)
        named = dict(zip(several.ids, several.answers, strict=True))
        return Given("multilabel", ids, {item: named[item] for item in ids if item in named}, several.classes)
    if task in (None, CLASSIFICATION) and {"id", "label"} <= columns.keys():
        columns = {**columns, "id": as_known(ids_of(columns["id"]), pool.position)}
        told = answers_of(columns, path / ANSWERS, quiet=quiet)
        answers = {item: told[item] for item in ids if told.get(item) is not None}
    return Given(task or (CLASSIFICATION if answers else unanswered), ids, answers)


def _known(ids: Sequence[str], path: Path, pool: Pool) -> list[str]:
    """Distinct ids as the pool spells them."""
    found = list(dict.fromkeys(as_known(ids, pool.position)))
    refuse_foreign_ids(found, pool, path)
    return found


# Tables ---------------------------------------------------------------------------------------------------------------


def _table(path: Path, pool: Pool, task: str | None, unanswered: str, quiet: bool) -> Given | None:
    """A table with one class per image, or with ids alone; rows without a class are images to label."""
    if path.suffix.lower() not in TABLES or not path.is_file() or task not in (None, CLASSIFICATION):
        ids_alone = path.suffix.lower() in TABLES and path.is_file() and _ids_alone(path)
        return Given(str(task), _known(ids_of(read_table(path)["id"]), path, pool)) if ids_alone else None
    header = set(header_of(path)) if path.suffix.lower() in (".csv", ".parquet") else set(read_table(path))
    if "id" not in header or header & OTHER_ANSWERS or (path.suffix.lower() == ".parquet" and _ours(path)):
        return None
    if ("caption" in header and "label" not in header) or box_table.is_one(path):
        return None
    columns = read_table(path)
    ids = _known(ids_of(columns["id"]), path, pool)
    told = answers_of({**columns, "id": as_known(ids_of(columns["id"]), pool.position)}, path, quiet=quiet)
    answers = {item: told[item] for item in ids if told[item] is not None}
    return Given(CLASSIFICATION if answers or task else unanswered, ids, answers)


def _ids_alone(path: Path) -> bool:
    """Whether a table has ids and no answers of any kind."""
    columns = set(read_table(path))
    return "id" in columns and not columns & {*OTHER_ANSWERS, "label", "caption"}


def _ours(path: Path) -> bool:
    """Whether it is ``annotations.parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return b"activetune" in (pq.read_schema(path).metadata or {})
    except (OSError, ValueError, TypeError, pa.ArrowException):  # reading the table says what is wrong
        return False


# Predictions ----------------------------------------------------------------------------------------------------------


def _predicted(path: Path, pool: Pool, quiet: bool) -> Given | None:
    """What ``predict`` has written; None where it is something else."""
    if path.is_dir() and {"id", "file", "digest"} <= set(header_of(path / "masks.csv")):
        labels = read_annotations(path, pool, "segmentation", format="masks", quiet=quiet)
        return _of_labels(labels, "segmentation", scores={})
    if path.suffix.lower() in (".csv", ".parquet") and path.is_file():
        header = set(header_of(path))
        if {"id", "label", "probability"} <= header:
            return _classes_predicted(read_table(path), path, pool)
        return None
    return _boxes_predicted(path, pool) if path.suffix.lower() == ".json" and path.is_file() else None


def _classes_predicted(columns: Columns, path: Path, pool: Pool) -> Given:
    """A class per image with its probability; or several rows per image, or one without a class: several classes."""
    rows: dict[str, list[tuple[str, float]]] = {}
    several = False
    ids = as_known(ids_of(columns["id"]), pool.position)
    for item, name, probability in zip(ids, columns["label"], columns["probability"], strict=True):
        several |= item in rows or not str(name or "")
        entry = rows.setdefault(item, [])
        if str(name or ""):
            _refuse_twice(item, str(name), entry, path)
            entry.append((str(name), _number(probability, path)))
    found = _known(list(rows), path, pool)
    pairs = {item: sorted(rows[item]) for item in found}
    scores = {item: [score for _, score in pairs[item]] for item in found}
    classes = sorted({name for entries in rows.values() for name, _ in entries})
    if several:
        named = {item: Names.of([name for name, _ in pairs[item]]) for item in found}
        return Given("multilabel", found, named, classes, scores)
    return Given(CLASSIFICATION, found, {item: pairs[item][0][0] for item in found}, classes, scores)


def _refuse_twice(item: str, name: str, entry: Sequence[tuple[str, float]], path: Path) -> None:
    """Refuse a row that another one says already: two of them are no answer of several classes."""
    if any(name == other for other, _ in entry):
        raise UsageError(f"{path} names the class {name!r} of {item!r} in two rows; keep one of them")


def _number(value: Any, path: Path) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{path} holds the probability {reprlib.repr(value)}, which is no number; correct it")
    return number


def _boxes_predicted(path: Path, pool: Pool) -> Given | None:
    """COCO's results; images without an entry are those in which the model finds nothing."""
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, list) or not all(isinstance(one, dict) and one.keys() >= RESULT for one in content):
        return None
    rejected = path.with_name(f"{path.stem}.rejected.csv")
    left_out = set(ids_of(read_table(rejected)["id"])) if header_of(rejected)[:1] == ("id",) else set()
    boxes: dict[str, list[tuple[str, list[float], float]]] = {item: [] for item in pool.ids if item not in left_out}
    numbers: dict[str, int] = {}
    for one in content:
        item, name = as_known([str(one["image_id"])], pool.position)[0], str(one["category"])
        refuse_foreign_ids([item], pool, path)
        boxes.setdefault(item, []).append((name, _corners(one["bbox"], path), _number(one["score"], path)))
        numbers[name] = one.get("category_id", 0)
        if not isinstance(numbers[name], int):
            raise UsageError(f"{path} holds the category_id {numbers[name]!r}, which is no whole number; correct it")
    answers = {item: Boxes.of([box for _, box, _ in rows], [name for name, *_ in rows]) for item, rows in boxes.items()}
    scores = {item: [score for *_, score in rows] for item, rows in boxes.items()}
    return Given("detection", list(boxes), answers, sorted(numbers, key=lambda name: (numbers[name], name)), scores)


def _corners(box: Any, path: Path) -> list[float]:
    """``x, y, width, height`` as corners."""
    sides = box if isinstance(box, list) and len(box) == 4 else [None]
    if not all(isinstance(side, int | float) and abs(side) < LARGEST_SIDE for side in sides):  # not of NaN either
        raise UsageError(f"{path} holds the bbox {reprlib.repr(box)}, which is no box; give x, y, width and height")
    left, top, width, height = map(float, sides)
    return [left, top, left + width, top + height]


# Answers --------------------------------------------------------------------------------------------------------------


def _annotated(path: Path, pool: Pool, task: str | None, classes: Sequence[str] | None, quiet: bool) -> Given:
    """Answers in any format."""
    own = own_folders(path, pool)
    told = "the answers are the names of its folders; give images to label as a selection, or as a table of ids"
    note(f"{path} is the pool itself: {told}", quiet or own is None)
    try:
        asked = task or tasks_at(path, own)[0]
    except UsageError as error:
        if not path.is_dir():
            raise
        raise UsageError(f"{error}; give images to label as a selection or a table of ids") from None
    read: dict[str, Any] = {"classes": classes, "format": own, "quiet": quiet}
    if asked != CLASSIFICATION:
        return _of_labels(read_annotations(path, pool, asked, **read), asked)
    return _of_labels(one_name(read_annotations(path, pool, "multilabel", **read), path, own), asked)


def own_folders(path: str | os.PathLike[str], pool: Pool) -> str | None:
    """The format of a pool's own folders where these name classes: its images are no masks, whatever their kind."""
    if pool.labels is None or not Path(path).is_dir() or os.path.realpath(path) != os.path.realpath(pool.name):
        return None
    return "imagefolder"


def one_name(labels: Labels, path: str | os.PathLike[str], format: str | None) -> Labels[str]:
    """Labels of several classes as those of one; images with none are not answered.

    Args:
        path: what they were read from. format: that it was read as, None: by its content.

    Raises:
        UsageError: an image has several.
    """
    pairs = zip(labels.ids, labels.answers, strict=True)
    item, names = next(((item, one.names) for item, one in pairs if len(one.names) > 1), ("", ()))
    if names:
        controls = controls_at(path, format)
        told = f", {controls}" if controls else ""
        raise UsageError(f"{item!r} has several classes ({some(names)}){told}; give --task multilabel to keep all")
    rows = [(item, answer.names[0]) for item, answer in zip(labels.ids, labels.answers, strict=True) if answer.names]
    none = len(labels) - len(rows) + labels.unanswered
    return Labels([item for item, _ in rows], [name for _, name in rows], labels.classes, none)


def _of_labels(labels: Labels, task: str, scores: Mapping[str, Sequence[float]] | None = None) -> Given:
    answers = dict(zip(labels.ids, labels.answers, strict=True))
    if task == "captioning":
        assert all(isinstance(answer, Sentences) for answer in answers.values())
    return Given(task, list(labels.ids), answers, list(labels.classes), scores)
