"""FiftyOne's dataset folder: ``metadata.json``, ``samples.json`` and the images in ``data``.

Boxes are ``[x, y, width, height]`` in shares of the image. Each sample has its id in the field ``activetune_id``.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError, some
from activetune.base.files import parse_json, write_bytes
from activetune.data.annotations._answers import answers_of
from activetune.data.annotations._files import Files
from activetune.data.annotations._listed import Asked, Found, Listed, Thing, crowd_from, size_from
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._shapes import Polygons, polygon
from activetune.data.annotations._sheet import Sheet
from activetune.data.answers import class_name
from activetune.data.labels import Labels

ABOUT = "FiftyOne: a dataset's folder with samples.json and metadata.json"
TASKS = ("detection", "multilabel")
WRITES = ("classification", "detection", "multilabel")
SAMPLES, METADATA, IMAGES = "samples.json", "metadata.json", "data"
PARTS = (METADATA, SAMPLES, IMAGES)
FIELDS = ("ground_truth", "predictions")  # that answers are read from, the preferred one first
ID = "activetune_id"
KINDS = {"Classification": "classification", "Classifications": "multilabel", "Detections": "detection"}
CLASSES = {task: name for name, task in KINDS.items()}
READ = (*KINDS, "Polylines")


def find(files: Files, task: str) -> bool:
    """Whether a folder or zip has a list of samples."""
    return files.single is None and any(b'"samples"' in files.peek(name) for name in _lists(files))


def _lists(files: Files) -> list[str]:
    if files.single is not None:
        return list(files.names) if files.single.name == SAMPLES else []
    named = [name for name in files.names if posixpath.basename(name) == SAMPLES]
    return sorted(named, key=lambda name: (name.count("/"), name))


def holds(files: Files) -> Sequence[str]:
    """The tasks whose answers there are, the likeliest first."""
    samples = _samples(files)
    field = _field(samples)
    kinds = {_kind(sample.get(field)) for sample in samples}
    found = [task for kind, task in KINDS.items() if kind in kinds]
    return [*found, *(["detection"] if "Polylines" in kinds and "detection" not in found else []), "multilabel"]


def read(files: Files, asked: Asked) -> Labels:
    """The labels of the field ``ground_truth``, or else ``predictions``, or else the first that has some.

    It is one field for all samples: what a model said of those that nobody has labelled is no answer.
    """
    samples, found = _samples(files), []
    field = _field(samples)
    for number, sample in enumerate(samples, start=1):
        place = f"{SAMPLES}, sample {number:,}"
        name, path = sample.get(ID), sample.get("filepath")
        if not (isinstance(name, str) and name):  # FiftyOne has written the dataset anew, without the field
            name = asked.called(path) if isinstance(path, str) else None
        if not name:
            asked.problems.add("samples without a filepath, left out", place)
            continue
        found.append(_listed(sample, field, name, place, asked.problems))
    if not found:
        raise UsageError(f"{asked.problems.where} lists no samples; write the dataset again")
    return answers_of(Found(found, _classes(files)), asked)


def _samples(files: Files) -> list[dict[str, Any]]:
    names = _lists(files)
    if not names:
        raise UsageError(
            f"{files.path} has no {SAMPLES}, which a dataset of FiftyOne has; give the folder that holds it"
        )
    if len(names) > 1:
        raise UsageError(
            f"{files.path} holds {len(names):,} data sets of FiftyOne ({some(names)}); give the folder of one"
        )
    try:
        content = parse_json(files.read(names[0]))
    except ValueError as error:
        raise UsageError(f"{files.told(names[0])} is no JSON that can be read ({error})") from None
    samples = content.get("samples") if isinstance(content, dict) else None
    if not isinstance(samples, list):
        raise UsageError(f"{files.told(names[0])} holds no list of samples; write the dataset again")
    return [sample if isinstance(sample, dict) else {} for sample in samples]


def _classes(files: Files) -> list[str] | None:
    """The dataset's classes in order; None where it lists none."""
    name = posixpath.join(posixpath.dirname(_lists(files)[0]), METADATA)
    try:
        content = parse_json(files.read(name)) if name in files.names else {}
        listed = content.get("default_classes") or next(iter((content.get("classes") or {}).values()), None)
        names = [class_name(value) for value in listed or ()]
    except (ValueError, AttributeError, UsageError):
        return None
    return [str(name) for name in dict.fromkeys(names) if name is not None] or None


def _kind(label: Any) -> str:
    """The class of a label, one of ``READ``; empty for anything else."""
    kind = label.get("_cls") if isinstance(label, dict) else None
    return kind if isinstance(kind, str) and kind in READ else ""


def _field(samples: Sequence[Mapping[str, Any]]) -> str:
    """The field with the labels of the samples; empty where none has some."""
    names = dict.fromkeys((*FIELDS, *(name for sample in samples for name in sample)))
    return next((name for name in names if any(_kind(sample.get(name)) for sample in samples)), "")


def _listed(sample: Mapping[str, Any], field: str, name: str, place: str, problems: Problems) -> Listed:
    metadata = sample.get("metadata")
    size = size_from(metadata.get("height"), metadata.get("width")) if isinstance(metadata, dict) else None
    image = Listed(name, place, size, relative=True)
    label = sample.get(field)
    kind = _kind(label)
    if isinstance(label, dict) and not kind:
        problems.add(f"samples with other labels than {', '.join(READ)}, left out", f"{place}, {label.get('_cls')!r}")
    image.answered = bool(kind)
    entries = {"Classification": [label]}.get(kind) or (label or {}).get(kind.lower()) or []
    for number, entry in enumerate(entries if isinstance(entries, list) else [None], start=1):
        image.add(_thing(entry, kind, f"{place}, label {number:,}", problems))
    return image


def _thing(entry: Any, kind: str, place: str, problems: Problems) -> Thing | None:
    try:
        name = class_name(entry["label"])
    except (UsageError, KeyError, TypeError):
        name = None
    if name is None:
        problems.add("labels without a name, left out", place)
        return None
    crowd = crowd_from(entry.get("iscrowd"))
    try:
        if kind == "Detections":
            left, top, width, height = map(float, entry["bounding_box"])
            return Thing(name, (left, top, left + width, top + height), None, crowd)
        if kind == "Polylines":
            parts = [polygon([number for corner in part for number in corner]) for part in entry["points"]]
            good = tuple(part for part in parts if part is not None)
            return Thing(name, None, Polygons(good) if good else None, crowd, damaged=not good)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        problems.add("labels whose place can't be read, left out", f"{place}, {error}")
        return Thing(name, damaged=True)
    return Thing(name)


# Writing --------------------------------------------------------------------------------------------------------------


def write(sheet: Sheet, folder: Path) -> Mapping[str, str]:
    """Write the folder as ``fiftyone.Dataset.from_dir(…, dataset_type=fiftyone.types.FiftyOneDataset)`` reads it.

    ``metadata.json`` has no version and is thus in the layout that FiftyOne calls legacy, which all versions read.
    """
    places = sheet.copied(folder, IMAGES)
    field = FIELDS[0] if sheet.scores is None else FIELDS[1]
    samples: list[dict[str, Any]] = []
    for item, height, width in sheet.sized():
        if item not in places:
            continue
        label = _label(sheet, item, (height, width)) if item in sheet.answers else None
        metadata = {"_cls": "ImageMetadata", "width": width, "height": height}
        samples.append({"filepath": places[item], "tags": [], "metadata": metadata, ID: item, field: label})
    embedded = "fiftyone.core.fields.EmbeddedDocumentField"
    content = {
        "media_type": "image",
        "sample_fields": {
            "filepath": "fiftyone.core.fields.StringField",
            "tags": "fiftyone.core.fields.ListField(fiftyone.core.fields.StringField)",
            "metadata": f"{embedded}(fiftyone.core.metadata.ImageMetadata)",
            ID: "fiftyone.core.fields.StringField",
            field: f"{embedded}(fiftyone.core.labels.{CLASSES[sheet.task]})",
        },
        "info": {},
        "classes": {},
        "default_classes": list(sheet.classes),
    }
    write_bytes(folder / SAMPLES, json.dumps({"samples": samples}, ensure_ascii=False).encode())
    write_bytes(folder / METADATA, json.dumps(content, ensure_ascii=False, indent=2).encode())
    return places


def _label(sheet: Sheet, item: str, size: tuple[int, int]) -> dict[str, Any]:
    """An image's answer as a label of FiftyOne."""
    scores: Sequence[float | None] = sheet.score(item) or [None] * len(sheet.names(item))
    if sheet.task != "detection":
        found = [
            {"_cls": "Classification", "label": name} | ({} if score is None else {"confidence": score})
            for name, score in zip(sheet.names(item), scores, strict=True)
        ]
        return found[0] if sheet.task == "classification" else {"_cls": "Classifications", "classifications": found}
    height, width = size
    boxes = []
    for name, (left, top, right, bottom), crowd, score in sheet.boxes(item):
        box = [left / width, top / height, (right - left) / width, (bottom - top) / height]
        entry: dict[str, Any] = {"_cls": "Detection", "label": name, "bounding_box": box}
        boxes.append(entry | ({} if score is None else {"confidence": score}) | ({"iscrowd": 1} if crowd else {}))
    return {"_cls": "Detections", "detections": boxes}
