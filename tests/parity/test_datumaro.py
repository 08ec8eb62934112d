"""Where Datumaro is installed: it reads what we write as we mean it, and we read what it writes.

Its versions of pandas and Pillow are not ours, so it has an environment of its own: ``ACTIVETUNE_DATUMARO`` is the
Python of that (``make test-beside``). Masks, boxes and their classes are compared number by number.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import activetune
from activetune import Labels, Pool, open_pool, save_annotations
from activetune.data.kinds import VOID, ArrayMask, Boxes
from tests.parity.beside import python_of, told_by

HEIGHT, WIDTH = 20, 30
IDS = ("a.png", "b c.png", "day 1/ü.png")
CLASSES = {"detection": ["cat", "dog"], "segmentation": ["background", "cat", "dog"]}
FORMATS = (  # ours, the task, and Datumaro's
    ("coco", "detection", "coco_instances"),
    ("coco", "segmentation", "coco_instances"),
    ("cvat", "detection", "cvat"),
    ("cvat", "segmentation", "cvat"),
    ("voc", "detection", "voc_detection"),
    ("voc", "segmentation", "voc_segmentation"),
    ("yolo", "detection", "yolo"),
)
THEIRS = """
import json, sys
from datumaro import Dataset
path, kind, *more = sys.argv[1:]
data = Dataset.import_from(path, kind)
if more:
    data.export(more[0], more[1], save_media=True)
names = [label.name for label in next(value for key, value in data.categories().items() if key.name == "label")]
found = {}
for item in data:
    boxes, masks = [], []
    for one in item.annotations:
        if one.type.name == "bbox":
            boxes.append([names[one.label], *one.points])
        if one.type.name == "mask":
            crowd = one.attributes.get("is_crowd")
            masks.append(["void" if crowd else names[one.label], one.image.astype(int).tolist()])
    found[item.id] = {"boxes": boxes, "masks": masks}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def datumaro() -> str:
    return python_of("Datumaro", "MIT")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder, rng = tmp_path_factory.mktemp("pools") / "pool", np.random.default_rng(0)
    for item in IDS:
        (folder / item).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(folder / item)
    return open_pool(folder, quiet=True)


def made(task: str) -> Labels:
    """Answers with a crossing, an image without an object, and void."""
    if task == "detection":
        boxes = [Boxes.of([[1.5, 2, 10, 12], [3, 3, 20.25, 9]], ["cat", "dog"]), Boxes.of([], [])]
        return Labels(list(IDS), [*boxes, Boxes.of([[0, 0, 30, 20]], ["dog"])], CLASSES[task])
    rng = np.random.default_rng(1)
    masks = [rng.choice([0, 1, 2, VOID], (HEIGHT, WIDTH)).astype(np.int32) for _ in IDS]
    return Labels(list(IDS), [ArrayMask(mask) for mask in masks], CLASSES[task])


def exported(name: str, task: str, pool: Pool, folder: Path) -> Path:
    """Our export, with the images where Datumaro looks for them."""
    kept = save_annotations(made(task), folder / "answers" / "annotations.parquet", task=task, pool=pool)
    out = activetune.export_labels(kept, pool=pool, task=task, format=name, out=folder / "out", quiet=True)
    if name in ("coco", "cvat"):
        below = "images/default" if name == "coco" else "images"
        shutil.copytree(pool.name, out / below)
    if name == "coco":
        (out / "annotations").mkdir()
        (out / "instances.json").rename(out / "annotations" / "instances_default.json")
    return out


def read_by(datumaro: str, *arguments: object) -> dict[str, Any]:
    return told_by(datumaro, THEIRS, *arguments)


def boxes_of(answer: Boxes, moved: float = 0.0) -> list[Any]:
    return sorted(
        [name, left + moved, top + moved, right, bottom]
        for name, (left, top, right, bottom) in zip(answer.names, answer.xyxy_K4.tolist(), strict=True)
    )


def names_of(labels: Labels, row: int) -> list[list[str]]:
    """The class of each pixel by its name."""
    return np.asarray([*labels.classes, "void"], dtype=object)[labels.answers[row].pixels()].tolist()  # type: ignore[no-any-return]


def painted(masks: list[Any]) -> list[list[str]]:
    """The same of what Datumaro read; what no mask covers is the background."""
    grid = np.full((HEIGHT, WIDTH), "background", dtype=object)
    for name, inside in masks:
        grid[np.asarray(inside, dtype=bool)] = name
    return grid.tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("name", "task", "theirs"), FORMATS)
def test_it_reads_what_we_write(name: str, task: str, theirs: str, pool: Pool, tmp_path: Path, datumaro: str) -> None:
    out = exported(name, task, pool, tmp_path)
    found, labels = read_by(datumaro, out, theirs), made(task)
    stems = json.loads((out / "manifest.json").read_text())["items"]
    by_id = {
        stems.get(key, next((item for item in IDS if item.startswith(key)), "")): one for key, one in found.items()
    }
    assert set(by_id) == set(IDS)
    for row, item in enumerate(labels.ids):
        if task == "detection":
            corners = boxes_of(labels.answers[row], 1.0 if name == "voc" else 0.0)  # which it leaves counted from 1
            assert np.asarray([box[1:] for box in sorted(by_id[item]["boxes"])]) == pytest.approx(
                np.asarray([box[1:] for box in corners]), abs=0.01
            )
            assert [box[0] for box in sorted(by_id[item]["boxes"])] == [box[0] for box in corners]
        else:
            assert painted(by_id[item]["masks"]) == names_of(labels, row)


@pytest.mark.parametrize(("name", "task", "theirs"), FORMATS)
def test_we_read_what_it_writes(name: str, task: str, theirs: str, pool: Pool, tmp_path: Path, datumaro: str) -> None:
    out = exported("voc", task, pool, tmp_path)
    read_by(datumaro, out, f"voc_{task}", tmp_path / "theirs", theirs)
    found = activetune.import_labels(tmp_path / "theirs", pool=tmp_path / "theirs", task=task, format=name, quiet=True)
    answers = {Path(item).stem: answer for item, answer in zip(found.ids, found.answers, strict=True)}
    labels = made(task)
    stems = {item: stem for stem, item in json.loads((out / "manifest.json").read_text())["items"].items()}
    for row, item in enumerate(labels.ids):
        if task == "detection" and not len(labels.answers[row]) and stems[item] not in answers:
            continue  # which a format may not list
        answer = answers[stems[item]]
        if task == "detection":
            moved = 0.0 if name == "voc" else 1.0
            ours = np.asarray([box[1:] for box in boxes_of(answer)])
            assert ours == pytest.approx(
                np.asarray([box[1:] for box in boxes_of(labels.answers[row], moved)]), abs=0.01
            )
        else:
            names = np.asarray([*found.classes, "void"], dtype=object)[answer.pixels()].tolist()
            assert names == names_of(labels, row)
