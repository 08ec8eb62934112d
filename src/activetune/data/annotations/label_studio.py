"""Label Studio's tasks: JSON with results per annotation, and JSON_MIN with a row per annotation.

Places are in percent of the image. The id of an image is the field ``item`` of a task's ``data``. What a model has said
(``predictions``) is never read as an answer. Several annotators of one task: see :func:`_chosen`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from activetune.base.errors import UsageError
from activetune.base.files import parse_json
from activetune.base.progress import note
from activetune.data.annotations._answers import answers_of
from activetune.data.annotations._files import Files
from activetune.data.annotations._listed import Asked, Found, Listed, sentence
from activetune.data.annotations._matching import before_upload
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._studio_controls import (
    CHOICES_TYPE,
    PLACED,
    PLACED_TASKS,
    about_task,
    by_control,
    described,
)
from activetune.data.annotations._studio_page import BESIDE as BESIDE
from activetune.data.annotations._studio_page import FILE as FILE
from activetune.data.annotations._studio_page import NAME
from activetune.data.annotations._studio_page import WRITES as WRITES
from activetune.data.annotations._studio_page import companions as companions
from activetune.data.annotations._studio_page import write as write
from activetune.data.annotations._studio_results import (
    CHOICES,
    IMAGE,
    ITEM,
    KINDS,
    TEXTS,
    WITHOUT_PLACE,
    image_name,
    is_list_of_tasks,
    things,
)
from activetune.data.labels import Labels

ABOUT = "Label Studio: its export as JSON or JSON_MIN, a .json with a list of tasks"
TASKS = ("captioning", "detection", "multilabel", "segmentation")
ALSO = ("label-studio",)  # as 'label --in' has it
EITHER = "either"  # the mark of a text that may be a choice as well
SENTENCE = 4  # words; texts that are longer as a rule are no names of classes


def find(files: Files, task: str) -> bool:
    """Whether there is a list of tasks."""
    return bool(_candidates(files))


def _candidates(files: Files) -> list[str]:
    """The files with a list of tasks: JSON lists, so that no other format's JSON is taken."""
    return [name for name in files.ending(".json") if is_list_of_tasks(files.peek(name))]


def holds(files: Files) -> Sequence[str]:
    """The tasks whose answers there are, the likeliest first, by the results that occur."""
    met: Counter[str] = Counter()
    several, spoken = False, 0
    for task in _tasks(files, Problems("")):
        for answer in _answers(task):
            for result in answer["result"]:
                met[str(result.get("type"))] += 1
                if result.get(EITHER):
                    spoken += 1 if len(result["value"]["text"][0].split()) >= SENTENCE else -1
                chosen = (result.get("value") or {}).get("choices") if isinstance(result.get("value"), dict) else None
                several |= isinstance(chosen, list) and len(chosen) != 1
            several |= not answer["result"]
    found = [task for kind, task in KINDS.items() if kind in met]
    if "choices" in met and not several:  # beside boxes, which come first, choices are about them or an aside
        found.insert(len(found) if not met.keys().isdisjoint(PLACED) else 1 if spoken > 0 else 0, "classification")
    return list(dict.fromkeys(found))


def why_not(files: Files) -> str:
    """Why there is no answer where a model alone has said something; empty where a person has, or nobody."""
    return _why_not(_tasks(files, Problems(""))) if _candidates(files) else ""


def _why_not(tasks: Sequence[Mapping[str, Any]]) -> str:
    guessed = sum(bool(task.get("predictions")) for task in tasks)
    if not guessed or any(_answers(task) for task in tasks):
        return ""
    return (
        f"a model has said something of {guessed:,} of its {len(tasks):,} tasks (predictions), and no person of any: "
        "what a model says is never an answer; accept or correct it in Label Studio (Submit), and export once more"
    )


def read(files: Files, asked: Asked) -> Labels:
    """The annotations of all tasks; a task that nobody has annotated is not answered."""
    tasks = _tasks(files, asked.problems)
    if why := _why_not(tasks):
        raise UsageError(f"{asked.problems.where} holds no answer: {why}")
    found = _by_image(tasks, asked)
    counted = {name: _counted(place, answers, asked) for name, (place, answers) in found.items()}
    _refuse_choices_alone(found.values(), asked)
    told = described(by_control(result for results in counted.values() for result in results or ()), asked.classes)
    if told and asked.task != "captioning":
        note(f"{asked.problems.where}: one list of classes is made {told}", asked.quiet)
    images = [_listed(name, found[name][0], results, asked) for name, results in counted.items()]
    return answers_of(Found(images), asked)


def _by_image(tasks: Sequence[dict[str, Any]], asked: Asked) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """The place of each image's first task, and the annotations of all: an image that was imported twice has two."""
    named = [(f"task {number:,}", image_name(task), task) for number, task in enumerate(tasks, start=1)]
    before = before_upload([name for _, name, _ in named if name is not None], asked.pool)
    found: dict[str, tuple[str, list[dict[str, Any]]]] = {}
    for place, name, task in named:
        if name is None:
            asked.problems.add("tasks without an image, left out", place)
        else:
            found.setdefault(before[name], (place, []))[1].extend(_answers(task))
    if not found:
        told = asked.problems.told()
        raise UsageError(f"{asked.problems.where} holds no tasks{f'; {told}' if told else ''}")
    return found


def asks(files: Files) -> str:
    """What the controls are called whose choices are joined where an image has several; empty where it is one."""
    said = [answer["result"] for task in _tasks(files, Problems("")) for answer in _answers(task)]
    return described(by_control(result for results in said for result in about_task(results, "multilabel")))


def _refuse_choices_alone(found: Iterable[tuple[str, list[dict[str, Any]]]], asked: Asked) -> None:
    """Raise where boxes or regions are asked for, and people have made choices alone: no image would show anything."""
    kinds = {str(result.get("type")) for _, answers in found for answer in answers for result in answer["result"]}
    if asked.task in PLACED_TASKS and CHOICES_TYPE in kinds and kinds <= {CHOICES_TYPE, *WITHOUT_PLACE}:
        needed = "brushes or polygons" if asked.task == "segmentation" else "boxes"
        raise UsageError(
            f"{asked.problems.where}: people have made choices there and drawn nothing, and {asked.task} needs "
            f"{needed}; give --task classification or multilabel"
        )


def _tasks(files: Files, problems: Problems) -> list[dict[str, Any]]:
    """The tasks of all files, rows of JSON_MIN about one task joined."""
    found: list[dict[str, Any]] = []
    for name in files.names if files.single is not None else _candidates(files):
        try:
            content = parse_json(files.read(name))
            if not isinstance(content, list):
                raise ValueError("it is no list of tasks")
        except ValueError as error:
            if files.single is not None:
                raise UsageError(f"{files.told(name)} is no export of Label Studio ({error})") from None
            problems.add("damaged files, left out", f"{name}, {error}")
            continue
        for number, task in enumerate(content, start=1):
            if isinstance(task, dict):
                found.append(task)
            else:
                problems.add("tasks that are no objects, left out", f"{name}, task {number:,}")
    return _joined(found)


def _joined(tasks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tasks with ``data`` as they are; rows of JSON_MIN as tasks, one per image."""
    found: list[dict[str, Any]] = []
    rows: dict[Any, dict[str, Any]] = {}
    for task in tasks:
        if isinstance(task.get("data"), dict):
            found.append(task)
            continue
        key = json.dumps([task.get("id"), image_name({"data": task})])
        if key not in rows:
            rows[key] = {"data": task, "annotations": []}
            found.append(rows[key])
        told = _told(task)
        results = [result for name, value in task.items() for result in _of_row(name, value, told)]
        about = {name: task.get(name) for name in ("updated_at", "created_at", "was_cancelled")}
        if results or task.get("annotation_id") is not None:
            rows[key]["annotations"].append({"result": results, "id": task.get("annotation_id"), **about})
    return found


def _told(row: Mapping[str, Any]) -> str:
    """The column of JSON_MIN with a text that a person has chosen or written.

    It is called as the field of the labelling config, for which people choose any name, but stands between ``id`` and
    ``annotator``, behind all that was imported. Where anything else stands there, none is taken.
    """
    if NAME in row:
        return NAME
    names = list(row)
    if "id" not in row or "annotator" not in row:
        return ""
    between = names[names.index("id") + 1 : names.index("annotator")]
    alone = len(between) == 1 and between[0] not in (IMAGE, ITEM) and isinstance(row[between[0]], str)
    return between[0] if alone else ""


def _of_row(name: str, value: Any, told: str) -> list[dict[str, Any]]:
    """What a column of JSON_MIN says, as results: regions, choices, texts; one text may be either."""
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        kinds = [next((kind for kind in KINDS if kind in one), None) for one in value]
        pairs = zip(kinds, value, strict=True)
        return [{"type": kind, "value": one, **one, "from_name": name} for kind, one in pairs if kind]
    if isinstance(value, dict):
        known = {"choices": "choices", "text": "textarea"}
        given = [kind for key, kind in known.items() if isinstance(value.get(key), list)]
        return [{"type": kind, "value": value, "from_name": name} for kind in given]
    texts = [value] if isinstance(value, str) and value else value if isinstance(value, list) else []
    choice = {"type": "choices", "value": {"choices": texts}, "from_name": name}
    text = {"type": "textarea", "value": {"text": texts}}
    if not texts or name not in {*CHOICES, *TEXTS, told}:
        return []
    if name in CHOICES or name in TEXTS:
        return [choice if name in CHOICES else text]
    return [choice, {**text, EITHER: True}] if isinstance(value, str) else [text]


def _answers(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A task's annotations that somebody has finished, in their order."""
    given = task.get("annotations", task.get("completions"))
    found = []
    for answer in given if isinstance(given, list) else ():
        if isinstance(answer, dict) and not answer.get("was_cancelled") and isinstance(answer.get("result"), list):
            found.append({**answer, "result": [one for one in answer["result"] if isinstance(one, dict)]})
    return found


def _counted(place: str, answers: Sequence[Mapping[str, Any]], asked: Asked) -> list[dict[str, Any]] | None:
    """What the one answer that counts says of the task; None where nobody has answered."""
    return about_task(_chosen(answers, place, asked.problems), asked.task) if answers else None


def _listed(name: str, place: str, results: Sequence[Mapping[str, Any]] | None, asked: Asked) -> Listed:
    """An image with what is said of it."""
    image = Listed(name, place, relative=True, answered=results is not None)
    for number, result in enumerate(results or (), start=1):
        where = f"{place}, result {number:,}"
        if asked.task == "captioning" and result.get("type") == "textarea":
            image.sentences += _sentences(result, where, asked.problems)
        elif asked.task != "captioning":
            for thing in things(result, asked.task, where, asked.problems):
                image.add(thing)
    return image


def _chosen(answers: Sequence[Mapping[str, Any]], place: str, problems: Problems) -> list[dict[str, Any]]:
    """The results that count where several people have annotated a task.

    One that is marked as ground truth comes first; else what most of them say, compared without ids and times; of
    several that are said equally often the one that was changed last. Disagreement is told.
    """
    marked = [answer for answer in answers if answer.get("ground_truth") is True] or list(answers)
    said = [json.dumps(sorted(map(_plain, answer["result"]))) for answer in marked]
    counts = Counter(said)
    if len(counts) > 1:
        problems.add("tasks that people answer differently, what most say or the last one said counts", place)
    most = max(counts.values())
    best = [answer for answer, text in zip(marked, said, strict=True) if counts[text] == most]
    last = max(
        enumerate(best), key=lambda pair: (str(pair[1].get("updated_at") or pair[1].get("created_at") or ""), pair[0])
    )
    results: list[dict[str, Any]] = last[1]["result"]
    return results


def _plain(result: Mapping[str, Any]) -> str:
    """What a result says; choices in whatever order they were made."""
    value = result.get("value")
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        value = {**value, "choices": sorted(map(str, value["choices"]))}
    return json.dumps([result.get("type"), value], sort_keys=True)


def _sentences(result: Mapping[str, Any], place: str, problems: Problems) -> list[str]:
    value = result.get("value")
    texts = value.get("text") if isinstance(value, dict) else None
    try:
        found = [sentence(text) for text in (texts if isinstance(texts, list) else [texts])]
    except UsageError as error:
        problems.add("texts that can't be read, left out", f"{place}, {error}")
        return []
    return [text for text in found if text]
