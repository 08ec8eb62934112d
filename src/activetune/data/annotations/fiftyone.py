"""FiftyOne's dataset folder: ``metadata.json``, ``samples.json`` and the images in ``data``.

Boxes are ``[x, y, width, height]`` in shares of the image; masks, of images or of what a box holds, are PNGs in
``fields``, or arrays in ``samples.json``.
Each sample has its id in the field ``activetune_id``.
"""

from __future__ import annotations

import base64
import io
import json
import posixpath
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from activetune.base.errors import RejectedImage, UsageError, first_line, some
from activetune.base.files import parse_json, write_bytes
from activetune.base.numpy_files import array_in
from activetune.data.annotations._answers import answers_of
from activetune.data.annotations._files import Files
from activetune.data.annotations._legend import LARGEST, VOID_VALUE, Legend, legend_of_targets, values_of
from activetune.data.annotations._listed import Asked, Found, Listed, Thing, crowd_from, size_from
from activetune.data.annotations._masks import as_pool, decode_mask, encoded_array, encoded_mask, mask_labels
from activetune.data.annotations._matching import match
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._shapes import Box, Inset, Polygons, polygon
from activetune.data.annotations._sheet import Sheet, stem_of
from activetune.data.answers import class_name
from activetune.data.identity import Place
from activetune.data.images import MAX_PIXELS
from activetune.data.labels import Labels
from activetune.data.pool import ImageSource

ABOUT = "FiftyOne: a dataset's folder with samples.json and metadata.json"
TASKS = ("detection", "multilabel", "segmentation")
WRITES = ("classification", "detection", "multilabel", "segmentation")
SAMPLES, METADATA, IMAGES, MASKS = "samples.json", "metadata.json", "data", "fields"
PARTS = (METADATA, SAMPLES, IMAGES, MASKS)
FIELDS = ("ground_truth", "predictions")  # that answers are read from, the preferred one first
ID = "activetune_id"
MOST = 8 * MAX_PIXELS  # bytes of a mask that stands in samples.json
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
        return _masks(files, named, field, asked)
    masks = _Masks(files) if asked.task == "segmentation" else None
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


def _has_mask(entry: Any) -> bool:
    return isinstance(entry, dict) and (entry.get("mask") is not None or bool(entry.get("mask_path")))


def _field(samples: Sequence[Mapping[str, Any]], kinds: Collection[str]) -> str:
    """The field with labels of these kinds; empty where none has some. Boxes without masks draw nothing."""

    def counts(label: Any) -> bool:
        kind = _kind(label, kinds)
        return bool(kind) and (kind != "Detections" or kinds != DRAWN or any(map(_has_mask, _entries(label))))

    names = dict.fromkeys((*FIELDS, *(name for sample in samples for name in sample)))
    return next((name for name in names if any(counts(sample.get(name)) for sample in samples)), "")


def _listed(
    sample: Mapping[str, Any],
    field: str,
    kinds: Sequence[str],
    name: str,
    place: str,
    masks: _Masks | None,
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


def _thing(entry: Any, kind: str, place: str, masks: _Masks | None, problems: Problems) -> Thing | None:
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
            shape = masks.inside(entry, box, place, problems) if masks is not None and _has_mask(entry) else None
            return Thing(name, box, shape, crowd)
        if kind == "Polylines":
            parts = [polygon([number for corner in part for number in corner]) for part in entry["points"]]
            good = tuple(part for part in parts if part is not None)
            return Thing(name, None, Polygons(good) if good else None, crowd, damaged=not good)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        problems.add("labels whose place can't be read, left out", f"{place}, {error}")
        return Thing(name, damaged=True)
    return Thing(name)


# Masks ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Encoded:
    """Masks that stand in ``samples.json``, encoded, and those in files, as the images of a pool."""

    inline: Mapping[int, bytes]
    files: ImageSource

    @property
    def parallel(self) -> bool:
        """See :class:`ImageSource`."""
        return self.files.parallel

    def read(self, index: int) -> bytes:
        """See :class:`ImageSource`."""
        return self.inline[index] if index in self.inline else self.files.read(index)

    def place(self, index: int) -> Place | None:
        """See :class:`ImageSource`."""
        return None if index in self.inline else self.files.place(index)


class _Masks:
    """The masks inside boxes, in the list or in files of their own."""

    def __init__(self, files: Files):
        self._files, self._known = files, set(files.names)
        self._home = posixpath.dirname(_lists(files)[0])

    def inside(self, entry: Mapping[str, Any], box: Box, place: str, problems: Problems) -> Inset | None:
        """The region that an object's mask makes in its box; None where that can't be used, which is told."""
        try:
            if entry.get("mask") is not None:
                return Inset.of(_array(entry["mask"]), box)
            return Inset.of(decode_mask(self._files.read(_mask_file(self._known, self._home, entry["mask_path"]))), box)
        except (ValueError, RejectedImage, UsageError) as error:
            problems.add("masks of objects that can't be used, their box is void", f"{place}: {error}")
            return None


def _masks(files: Files, named: Sequence[tuple[str, dict[str, Any], str]], field: str, asked: Asked) -> Labels:
    """The masks of the images that the samples are of.

    Args:
        named: as :func:`_named` gives them.
    """
    problems, known, listing = asked.problems, set(files.names), _lists(files)[0]
    matched = match([name for name, *_ in named], asked.pool, problems)
    inline: dict[int, bytes] = {}
    places: list[str] = []  # the file of each mask, or its place in the list
    indices: dict[str, int] = {}
    for name, sample, place in named:
        item, label = matched.get(name), sample.get(field)
        if item is None or label is None:
            continue
        if _kind(label, DRAWN) != "Segmentation":
            problems.add("samples with other labels than Segmentation, left out", place)
            continue
        if item in indices:
            problems.add("images listed twice, the first mask counts", f"{item!r}, {place}")
            continue
        try:
            if label.get("mask") is not None:
                inline[len(places)] = encoded_array(_array(label["mask"]))
            else:
                place = _mask_file(known, posixpath.dirname(listing), label.get("mask_path"))
        except ValueError as error:
            problems.add("masks that can't be used, left out", f"{place}: {error}")
            continue
        indices[item] = len(places)
        places.append(place)
    source = files.source([listing if row in inline else place for row, place in enumerate(places)])
    legend = _legend(_metadata(files), field, str(files.path), own=any(ID in sample for _, sample, _ in named))
    return mask_labels(as_pool(str(files.path), places, _Encoded(inline, source)), indices, legend, asked)


def _array(value: Any) -> npt.NDArray[Any]:
    """The array of a mask that stands in the file: a ``.npy`` file, packed by zlib, in base64.

    Raises:
        ValueError: it is no such text, or unpacks to more than a mask has.
    """
    if isinstance(value, dict):
        value = value.get("$binary")
    if isinstance(value, dict):
        value = value.get("base64")
    if not isinstance(value, str):
        raise ValueError("its mask is no text that holds an array")
    try:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(base64.b64decode(value, validate=True), MOST)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"its mask can't be unpacked ({first_line(error)})") from None
    if not unpacking.eof:
        raise ValueError(f"its mask is cut off, or unpacks to more than {MOST:,} bytes")
    return array_in(io.BytesIO(content), len(content))


def _mask_file(known: Collection[str], home: str, path: Any) -> str:
    """The name of a mask's file, which lies in the dataset's folder; of a path from another machine by its end.

    Args:
        known: the files. home: the folder of the list.

    Raises:
        ValueError: there is none.
    """
    if not isinstance(path, str) or not path:
        raise ValueError("it has neither a mask nor a mask_path")
    parts = posixpath.normpath(path.replace("\\", "/")).split("/")
    ends = (posixpath.join(home, *parts[start:]) for start in range(len(parts)) if parts[start] not in ("", ".."))
    images = posixpath.join(home, IMAGES, "")
    found = next((end for end in ends if end in known and not end.startswith(images)), None)
    if found is None:
        raise ValueError(f"its mask {path!r} is not in the folder")
    return found


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
