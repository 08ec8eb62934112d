"""Answers in every format, for every task that it may hold."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from activetune.base.errors import ActivetuneError
from activetune.data.annotations import TASKS, Sheet, formats, read_annotations, tasks_at, write_sheet
from activetune.data.annotations.normal import save_annotations
from activetune.data.labels import read_labels
from activetune.features.text.captions import read_captions
from activetune.handover.given import given_at
from tests.contract.test_annotation_formats import packed
from tests.security.fuzz.targets import Case, Target, case_of
from tests.security.fuzz.targets._pool import ANSWERS, CLASSES, HEIGHT, IDS, WIDTH, labels, picture, pool, use

TABLES = {
    "multilabel": 'id,labels\ncat/1.png,cat;dog\ndog/2.png,\n"dog/ü 3.jpg","[""a"", ""b""]"\n',
    "captioning": 'id,caption\ncat/1.png,"a cat, or so"\ndog/2.png,a dog\ncat/1.png,another\n',
    "detection": "id,label,x_left,y_top,x_right,y_bottom\ncat/1.png,cat,1,2,3,4\ndog/2.png,,,,,\n",
}


def _written(name: str, folder: Path) -> list[Case]:
    """What the project itself writes in the format, and what it reads alone."""
    module, cases = formats()[name], []
    for task in getattr(module, "WRITES", ()):
        classes = CLASSES.get(task, ["cat", "dog"])
        known = dict(zip(IDS, ANSWERS[task], strict=True))
        out = folder / task
        write_sheet(Sheet(task, pool(), list(IDS), known, classes, quiet=True), module, name, out)
        cases.append(case_of(out))
        cases.append({path: content for path, content in case_of(out).items() if path != "manifest.json"})
    return cases + READ_ALONE.get(name, lambda folder: [])(folder)


def _normal(folder: Path) -> list[Case]:
    folder.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        save_annotations(labels(task), folder / f"{task}.parquet", task=task, pool=pool())
    return [{path.name: path.read_bytes()} for path in sorted(folder.glob("*.parquet"))]


def _masks(folder: Path) -> list[Case]:
    files = {f"masks/{item.rpartition('.')[0]}.png": picture(mode="L") for item in IDS}
    coloured = {name: picture(mode="RGB") for name in files}
    return [
        files,
        {**files, "classes.txt": b"background\ncat\ndog\n"},
        {**files, "classes.json": json.dumps({"cat": 1, "dog": 3}).encode()},
        {**coloured, "classes.csv": b"name,r,g,b\ncat,0,1,2\ndog,3,4,5\n"},
    ]


def _tables(folder: Path) -> list[Case]:
    return [{"answers.csv": text.encode()} for text in TABLES.values()]


def _box_tables(folder: Path) -> list[Case]:
    tensorflow = "filename,width,height,class,xmin,ymin,xmax,ymax\n1.png,16,8,cat,1,1,6,5\n2.png,16,8,dog,0,0,3,x\n"
    images = "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\ncat/1,/m/1,0.25,0.5,0,1,1\ncat/1,/m/2,0,1,0,0.5,0\n"
    lines = json.dumps({"id": IDS[0], "x": 1, "y": 2, "width": 3, "height": 4, "label": "cat"}) + "\n"
    texts = {"_annotations.csv": tensorflow, "boxes.tsv": images.replace(",", "\t"), "boxes.jsonl": lines}
    alone = [{name: text.encode()} for name, text in texts.items()]
    return [*alone, {f"cat/{name}": text.encode() for name, text in texts.items()}]


def _hub(folder: Path) -> list[Case]:
    from tests.security.fuzz.targets.pools import _huggingface

    return [{"answers.parquet": case["pool.parquet"]} for case in _huggingface(folder) if "pool.parquet" in case]


def _extended_coco(folder: Path) -> list[Case]:
    runs = {"counts": [0, HEIGHT * WIDTH], "size": [HEIGHT, WIDTH]}
    packed = {"counts": "0g6", "size": [HEIGHT, WIDTH]}
    things = [
        {
            "id": number,
            "image_id": 1,
            "category_id": 1,
            "iscrowd": 0,
            "area": 4,
            "bbox": [1, 2, 3, 4],
            "segmentation": shape,
        }
        for number, shape in enumerate(([[1, 1, 5, 1, 5, 5]], runs, packed))
    ]
    images = [{"id": 1, "file_name": IDS[0], "height": HEIGHT, "width": WIDTH}]
    content = {"images": images, "annotations": things, "categories": [{"id": 1, "name": "cat"}]}
    panoptic = {
        **content,
        "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": [{"id": 1, "category_id": 1}]}],
    }
    return [{"answers.json": json.dumps(one).encode()} for one in (content, panoptic)]


def _arrays(folder: Path) -> list[Case]:
    """FiftyOne's masks in its list, in both of its layouts, of images and of what boxes hold."""
    text = packed(np.zeros((HEIGHT, WIDTH), dtype=np.uint8))
    cases: list[Case] = []
    for mask in (text, {"$binary": {"base64": text, "subType": "00"}}):
        box = {"label": "cat", "bounding_box": [0.1, 0.2, 0.5, 0.5], "mask": mask}
        for label in ({"_cls": "Segmentation", "mask": mask}, {"_cls": "Detections", "detections": [box, box]}):
            samples = [{"filepath": item, "parts": label} for item in IDS]
            about = {"mask_targets": {"parts": {"1": "cat", "#ff0000": "dog"}}, "default_mask_targets": {"1": "cat"}}
            files = {"samples.json": {"samples": samples}, "metadata.json": about}
            cases.append({name: json.dumps(content).encode() for name, content in files.items()})
    return cases


READ_ALONE = {
    **{"box_table": _box_tables, "coco": _extended_coco, "fiftyone": _arrays, "huggingface": _hub},
    **{"masks": _masks, "normal": _normal, "table": _tables},
}


def _only(folder: Path) -> Path:
    """What a user would give: the only file, or else the folder."""
    entries = [entry for entry in folder.iterdir() if entry.is_file()]
    return entries[0] if len(entries) == 1 and not any(entry.is_dir() for entry in folder.iterdir()) else folder


def read(name: str, folder: Path) -> None:
    """Ask for each task, with the format told and untold; whatever can be read is used."""
    path, told, good = _only(folder), None, False
    with contextlib.suppress(ActivetuneError):
        tasks_at(path)
    for task in formats()[name].TASKS:
        for format_ in (None, name):
            try:
                use(read_annotations(path, pool(), task, format=format_, quiet=True))
                good = True
            except ActivetuneError as error:
                told = error
    if told is not None and not good:
        raise told


def _class_names(folder: Path) -> list[Case]:
    text = "id,label,more\n" + "".join(f"{item},{item[:3]},1\n" for item in IDS)
    lines = "".join(json.dumps({"id": item, "label": item[:3], "caption": "x"}) + "\n" for item in IDS)
    captions = "id,caption\n" + "".join(f"{item},a {item[:3]}\n" for item in IDS)
    predicted = "id,label,probability\n" + "".join(f"{item},{item[:3]},0.5\n" for item in IDS)
    boxes = [{"image_id": IDS[0], "category_id": 1, "category": "cat", "bbox": [1, 2, 3, 4], "score": 0.5}]
    texts = {"t.csv": text, "t.jsonl": lines, "c.csv": captions, "p.csv": predicted, "p.json": json.dumps(boxes)}
    return [{name: content.encode()} for name, content in texts.items()]


def _read_table(folder: Path) -> None:
    (path,) = folder.iterdir()
    told, good = None, False
    for read_one in (
        partial(read_labels, path, pool()),
        partial(read_captions, path),
        partial(given_at, path, pool(), None, None, True),
    ):
        try:
            read_one()
            good = True
        except ActivetuneError as error:
            told = error
    if told is not None and not good:
        raise told


def targets() -> Iterator[Target]:
    """One per format, and the tables of labels, captions and predictions."""
    for name in formats():
        yield Target(f"answers, {name}", partial(_written, name), partial(read, name), 0.15)
    yield Target("labels, captions, predictions", _class_names, _read_table, 0.5)
