"""FiftyOne's dataset folder: ``metadata.json``, ``samples.json`` and the images in ``data``.

Boxes are ``[x, y, width, height]`` in shares of the image; masks, of images or of what a box holds, are PNGs in
``fields``, or arrays in ``samples.json``.
Each sample has its id in the field ``activetune_id``.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError, some
from activetune.base.files import parse_json, write_bytes
from activetune.data.annotations._answers import answers_of
from activetune.data.annotations._fiftyone_masks import IMAGES, Masks, has_mask
from activetune.data.annotations._files import Files
from activetune.data.annotations._legend import LARGEST, VOID_VALUE, Legend, legend_of_targets, values_of
from activetune.data.annotations._listed import Asked, Found, Listed, Thing, crowd_from, size_from
from activetune.data.annotations._masks import encoded_mask
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._shapes import Polygons, polygon
from activetune.data.annotations._sheet import Sheet, stem_of
from activetune.data.answers import class_name
from activetune.data.labels import Labels

ABOUT = "FiftyOne: a dataset's folder with samples.json and metadata.json"
TASKS = ("detection", "multilabel", "segmentation")
WRITES = ("classification", "detection", "multilabel", "segmentation")
SAMPLES, METADATA, MASKS = "samples.json", "metadata.json", "fields"
PARTS = (METADATA, SAMPLES, IMAGES, MASKS)
FIELDS = ("ground_truth", "predictions")  # that answers are read from, the preferred one first
ID = "activetune_id"
KINDS = {
    "Classification": "classification",
    "Classifications": "multilabel",
    "Detections": "detection",
    "Segmentation": "segmentation",
}
CLASSES = {task: name for name, task in KINDS.items()}
NAMED = ("Classification", "Classifications", "Detections", "Polylines")
DRAWN = ("Segmentation", "Detections", "Polylines")  # boxes where they have masks


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
    samples, every = _samples(files), (*KINDS, "Polylines")
    field = _field(samples, every)
    kinds = {_kind(sample.get(field), every) for sample in samples}
    found = [task for kind, task in KINDS.items() if kind in kinds]
    if found == ["segmentation"]:
        return found
    if "Polylines" in kinds and "detection" not in found:
        found.append("detection")
    if _field(samples, DRAWN) and "segmentation" not in found:
        found.append("segmentation")
    return [*found, "multilabel"]


def read(files: Files, asked: Asked) -> Labels:
    """The labels of the field ``ground_truth``, or else ``predictions``, or else the first that has some.

    It is one field for all samples: what a model said of those that nobody has labelled is no answer.
    """
    samples = _samples(files)
    kinds = DRAWN if asked.task == "segmentation" else NAMED
    field = _field(samples, kinds)
    named = list(_named(samples, asked))
    if not named:
        raise UsageError(f"{asked.problems.where} lists no samples; write the dataset again")
    if any(_kind(sample.get(field), kinds) == "Segmentation" for _, sample, _ in named):
        legend = _legend(_metadata(files), field, str(files.path), own=any(ID in sample for _, sample, _ in named))
        labels = ((name, sample.get(field), place) for name, sample, place in named)
        return Masks(files, _lists(files)[0]).of_images(labels, legend, asked)
    masks = Masks(files, _lists(files)[0]) if asked.task == "segmentation" else None
    found = [_listed(sample, field, kinds, name, place, masks, asked.problems) for name, sample, place in named]
    return answers_of(Found(found, _classes(_metadata(files))), asked)


def _named(samples: Sequence[dict[str, Any]], asked: Asked) -> Iterator[tuple[str, dict[str, Any], str]]:
    """What each sample's image is called, the sample, and its place in the file."""
    for number, sample in enumerate(samples, start=1):
        place = f"{SAMPLES}, sample {number:,}"
        name, path = sample.get(ID), sample.get("filepath")
        if not (isinstance(name, str) and name):  # FiftyOne has written the dataset anew, without the field
            name = asked.called(path) if isinstance(path, str) else None
        if name:
            yield name, sample, place
        else:
            asked.problems.add("samples without a filepath, left out", place)


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


def _metadata(files: Files) -> Mapping[str, Any]:
    """What the dataset says of itself; nothing where that can't be read."""
    name = posixpath.join(posixpath.dirname(_lists(files)[0]), METADATA)
    try:
        content = parse_json(files.read(name)) if name in files.names else {}
    except (ValueError, UsageError):
        return {}
    about = content if isinstance(content, dict) else {}
    inner = about.get("info")  # where the layout without a version has the same
    return {**(inner if isinstance(inner, dict) else {}), **{name: value for name, value in about.items() if value}}


def _classes(about: Mapping[str, Any]) -> list[str] | None:
    """The dataset's classes in order; None where it lists none."""
    try:
        listed = about.get("default_classes") or next(iter((about.get("classes") or {}).values()), None)
        names = [class_name(value) for value in listed or ()]
    except (AttributeError, TypeError, UsageError):
        return None
    return [str(name) for name in dict.fromkeys(names) if name is not None] or None


def _kind(label: Any, kinds: Collection[str]) -> str:
    """The class of a label, one of those that count; empty for anything else."""
    kind = label.get("_cls") if isinstance(label, dict) else None
    return kind if isinstance(kind, str) and kind in kinds else ""


def _entries(label: Mapping[str, Any]) -> list[Any]:
    """The single objects of a label; None in place of a list that is none."""
    kind = label.get("_cls")
    several = label.get(str(kind).lower())
    if kind == "Classification":
        return [label]
    return several if isinstance(several, list) else [None] if several else []


def _field(samples: Sequence[Mapping[str, Any]], kinds: Collection[str]) -> str:
    """The field with labels of these kinds; empty where none has some. Boxes without masks draw nothing."""

    def counts(label: Any) -> bool:
        kind = _kind(label, kinds)
        return bool(kind) and (kind != "Detections" or kinds != DRAWN or any(map(has_mask, _entries(label))))

    names = dict.fromkeys((*FIELDS, *(name for sample in samples for name in sample)))
    return next((name for name in names if any(counts(sample.get(name)) for sample in samples)), "")


def _listed(
    sample: Mapping[str, Any],
    field: str,
    kinds: Sequence[str],
    name: str,
    place: str,
    masks: Masks | None,
    problems: Problems,
) -> Listed:
    metadata = sample.get("metadata")
    size = size_from(metadata.get("height"), metadata.get("width")) if isinstance(metadata, dict) else None
    image = Listed(name, place, size, relative=True)
    label = sample.get(field)
    kind = _kind(label, kinds)
    if isinstance(label, dict) and not kind:
        problems.add(f"samples with other labels than {', '.join(kinds)}, left out", f"{place}, {label.get('_cls')!r}")
    image.answered = bool(kind)
    for number, entry in enumerate(_entries(label) if isinstance(label, dict) and kind else [], start=1):
        image.add(_thing(entry, kind, f"{place}, label {number:,}", masks, problems))
    return image


def _thing(entry: Any, kind: str, place: str, masks: Masks | None, problems: Problems) -> Thing | None:
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
            box = left, top, left + width, top + height
            shape = masks.inside(entry, box, place, problems) if masks is not None and has_mask(entry) else None
            return Thing(name, box, shape, crowd)
        if kind == "Polylines":
            parts = [polygon([number for corner in part for number in corner]) for part in entry["points"]]
            good = tuple(part for part in parts if part is not None)
            return Thing(name, None, Polygons(good) if good else None, crowd, damaged=not good)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        problems.add("labels whose place can't be read, left out", f"{place}, {error}")
        return Thing(name, damaged=True)
    return Thing(name)


def _legend(about: Mapping[str, Any], field: str, where: str, *, own: bool) -> Legend | None:
    """What the values of a field's masks stand for; None where the dataset does not say.

    Args:
        own: the dataset was written here, and names the background where it is a class.
    """
    of_fields = about.get("mask_targets")
    targets = (of_fields.get(field) if isinstance(of_fields, dict) else None) or about.get("default_mask_targets")
    if not isinstance(targets, dict) or not targets:
        return None
    names = {key: name.get("label") if isinstance(name, dict) else name for key, name in targets.items()}
    return legend_of_targets(names, _classes(about) or (), f"{METADATA} of {where}", background=not own)


# Writing --------------------------------------------------------------------------------------------------------------


def write(sheet: Sheet, folder: Path) -> Mapping[str, str]:
    """Write the folder as ``fiftyone.Dataset.from_dir(…, dataset_type=fiftyone.types.FiftyOneDataset)`` reads it.

    ``metadata.json`` has no version and is thus in the layout that FiftyOne calls legacy, which all versions read.
    """
    sheet.refuse_void_names()
    places = sheet.copied(folder, IMAGES)
    field = FIELDS[0] if sheet.scores is None else FIELDS[1]
    values = values_of(sheet.classes)
    void = VOID_VALUE if max(values, default=0) < VOID_VALUE else LARGEST
    samples: list[dict[str, Any]] = []
    for item, height, width in sheet.sized():
        if item not in places:
            continue
        label = None
        if item in sheet.answers and sheet.task == "segmentation":
            path = posixpath.join(MASKS, field, f"{stem_of(places[item])}.png")
            write_bytes(folder / path, encoded_mask(sheet.answers[item], values, void))
            label = {"_cls": "Segmentation", "mask_path": path}
        elif item in sheet.answers:
            label = _label(sheet, item, (height, width))
        metadata = {"_cls": "ImageMetadata", "width": width, "height": height}
        samples.append({"filepath": places[item], "tags": [], "metadata": metadata, ID: item, field: label})
    embedded = "fiftyone.core.fields.EmbeddedDocumentField"
    content: dict[str, Any] = {
        "media_type": "image",
        "sample_fields": {
            "filepath": "fiftyone.core.fields.StringField",
            "tags": "fiftyone.core.fields.ListField(fiftyone.core.fields.StringField)",
            "metadata": f"{embedded}(fiftyone.core.metadata.ImageMetadata)",
            ID: "fiftyone.core.fields.StringField",
            field: f"{embedded}(fiftyone.core.labels.{CLASSES[sheet.task]})",
        },
        "info": {"default_classes": list(sheet.classes)},
        "classes": {},
        "default_classes": list(sheet.classes),
    }
    if sheet.task == "segmentation":
        named = {str(value): name for value, name in zip(values, sheet.classes, strict=True)}
        content["info"]["default_mask_targets"] = {**named, str(void): "void"}
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
