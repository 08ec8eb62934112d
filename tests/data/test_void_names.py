"""Names such as ``void`` and ``ignore`` stand for pixels without a class in masks, and are classes elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import activetune
from activetune import Pool, read_annotations
from activetune.cli._options import class_list
from activetune.data.annotations import formats
from activetune.data.kinds import Boxes, Names
from tests.data.test_annotations import make_pool, write

NAMES = ["void", "Ignore", "unlabelled", "background", "don't care"]
IDS = [f"{number}.png" for number in range(len(NAMES))]


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return make_pool(tmp_path / "pool", IDS)


def given_for(task: str) -> dict[str, Any]:
    if task == "classification":
        return dict(zip(IDS, NAMES, strict=True))
    if task == "multilabel":
        return {item: Names((name,)) for item, name in zip(IDS, NAMES, strict=True)}
    return {item: Boxes.of([[1, 1, 4, 4]], [name]) for item, name in zip(IDS, NAMES, strict=True)}


WRITTEN = [
    (name, task)
    for name, module in formats().items()
    for task in getattr(module, "WRITES", ())
    if task in ("classification", "multilabel", "detection")
]


@pytest.mark.parametrize(("name", "task"), WRITTEN)
@pytest.mark.parametrize("alone", [False, True])
def test_they_come_back_from_every_format(name: str, task: str, alone: bool, pool: Pool, tmp_path: Path) -> None:
    suffix = Path(str(getattr(formats()[name], "FILE", ""))).suffix if alone else ""
    out = tmp_path / f"out{suffix}"
    activetune.export_labels(given_for(task), pool=pool, format=name, out=out, task=task, quiet=True)
    labels = activetune.import_labels(out, pool=pool, format=name, task=task, quiet=True)
    found = dict(zip(labels.ids, labels.answers, strict=True))
    names = [answer if isinstance(answer, str) else answer.names[0] for answer in map(found.get, IDS) if answer]
    assert names == NAMES and set(labels.classes) >= set(NAMES)


def cvat(folder: Path, classes: str = "<label><name>cat</name></label><label><name>ignore</name></label>") -> Path:
    box = '<box label="{}" xtl="1" ytl="1" xbr="4" ybr="4"/>'
    images = "".join(
        f'<image name="{item}" width="16" height="8">{"".join(map(box.format, names))}</image>'
        for item, names in (("0.png", ("cat", "ignore")), ("1.png", ("ignore",)))
    )
    content = f"<annotations><meta><task><labels>{classes}</labels></task></meta>{images}</annotations>"
    return write(folder / "a.xml", content)


def fiftyone(folder: Path) -> Path:
    def box(name: str) -> dict[str, Any]:
        return {"_cls": "Detection", "label": name, "bounding_box": [0.25, 0.25, 0.5, 0.5]}

    samples = [
        {"filepath": f"data/{item}", "ground_truth": {"_cls": "Detections", "detections": [*map(box, names)]}}
        for item, names in (("0.png", ("cat", "ignore")), ("1.png", ("ignore",)))
    ]
    write(folder / "set" / "samples.json", json.dumps({"samples": samples}))
    write(folder / "set" / "metadata.json", json.dumps({"default_classes": ["cat"]}))
    return folder / "set"


@pytest.mark.parametrize("made", [cvat, fiftyone])
@pytest.mark.parametrize("task", ["detection", "multilabel"])
def test_an_image_of_such_objects_alone_does_not_show_none(
    made: Any, task: str, pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = read_annotations(made(tmp_path), pool, task)
    found = {item: answer.names for item, answer in zip(labels.ids, labels.answers, strict=True)}
    assert found == {"0.png": ("cat", "ignore"), "1.png": ("ignore",)}
    assert labels.classes == ["cat", "ignore"] and not capsys.readouterr().err


def test_in_masks_they_stay_void(pool: Pool, tmp_path: Path) -> None:
    shape = '<polygon label="{}" points="{}"/>'
    shapes = shape.format("cat", "0,0;4,0;4,4;0,4") + shape.format("ignore", "8,0;12,0;12,4;8,4")
    content = f'<annotations><image name="0.png" width="16" height="8">{shapes}</image></annotations>'
    labels = read_annotations(write(tmp_path / "a.xml", content), pool, "segmentation")
    assert labels.classes == ["background", "cat"]
    pixels = labels.answers[0].pixels()
    assert (pixels[:4, :4] == 1).all() and (pixels[:4, 8:12] == -1).all() and (pixels[4:] == 0).all()


def test_a_table_of_classes_leaves_them_out_for_masks_alone(tmp_path: Path) -> None:
    masks = write(tmp_path / "classes.csv", "name,value\ncat,0\nignore,255\n")
    plain = write(tmp_path / "plain.csv", "name,supercategory\ncat,animal\nignore,none\n")
    for path in (masks, plain):
        assert class_list(str(path), "detection") == ["cat", "ignore"]
        assert class_list(str(path), "segmentation") == ["cat"]
    assert class_list(str(masks)) == ["cat"] and class_list(str(plain)) == ["cat", "ignore"]
