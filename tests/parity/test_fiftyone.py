"""Where FiftyOne is installed: its importer reads our dataset folders as we mean them.

It has an environment of its own: ``ACTIVETUNE_FIFTYONE`` is the Python of that (``make test-beside``). Its importer
needs no database.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import activetune
from activetune import Labels, Pool, save_annotations
from activetune.data.kinds import VOID, Names
from tests.parity.beside import python_of, told_by
from tests.parity.test_datumaro import CLASSES, HEIGHT, IDS, WIDTH, made, pool  # noqa: F401

THEIRS = """
import json, sys
from fiftyone.utils.data.importers import LegacyFiftyOneDatasetImporter
read = LegacyFiftyOneDatasetImporter(sys.argv[1])
read.setup()
found = {}
for sample in read:
    label = sample["ground_truth"]
    if label is None:
        found[sample["activetune_id"]] = None
    elif type(label).__name__ == "Segmentation":
        found[sample["activetune_id"]] = label.get_mask().tolist()
    elif type(label).__name__ == "Detections":
        found[sample["activetune_id"]] = [[one.label, *one.bounding_box] for one in label.detections]
    elif type(label).__name__ == "Classifications":
        found[sample["activetune_id"]] = [one.label for one in label.classifications]
    else:
        found[sample["activetune_id"]] = label.label
print(json.dumps({"found": found, "info": read.get_dataset_info(), "fields": read.get_sample_field_schema()}))
"""

# Objects with masks in their boxes: whole pixels, and a disc in a box that cuts through pixels.
OBJECTS = """
import json, sys
from pathlib import Path
import fiftyone
import numpy as np
from PIL import Image
from fiftyone.utils.data.exporters import LegacyFiftyOneDatasetExporter
WIDTH, HEIGHT = 32, 16
folder = Path(sys.argv[1])
(folder / "pool").mkdir()
rng = np.random.default_rng(0)
rows, columns = np.mgrid[-1:1:56j, -1:1:56j]
disc = rows**2 + columns**2 < 1
found = {"whole": {}, "cut": {}}
with LegacyFiftyOneDatasetExporter(export_dir=str(folder / "theirs"), export_media=True) as writer:
    for number in range(8):
        width, height = rng.integers(3, 14), rng.integers(3, 9)
        left, top = rng.integers(0, WIDTH - width), rng.integers(0, HEIGHT - height)
        kind, mask, part = "whole", rng.random((height, width)) > 0.5, np.zeros(4)
        if number % 2:
            kind, mask, part = "cut", disc, rng.uniform(0, 0.9, 4)
        box = (np.asarray([left, top, width, height]) + part) / [WIDTH, HEIGHT, WIDTH, HEIGHT]
        path = folder / "pool" / f"{number}.png"
        Image.new("RGB", (WIDTH, HEIGHT)).save(path)
        one = fiftyone.Detection(label="cat", bounding_box=box.tolist(), mask=mask)
        if number % 4 > 1:
            one.export_mask(str(folder / "theirs/masks" / f"{number}.png"), update=True)
        writer.export_sample(fiftyone.Sample(filepath=str(path), ground_truth=fiftyone.Detections(detections=[one])))
        found[kind][path.name] = one.to_segmentation(frame_size=(WIDTH, HEIGHT), target=1).get_mask().tolist()
print(json.dumps(found))
"""
NOWHERE = {"FIFTYONE_DATABASE_URI": "mongodb://localhost:1", "FIFTYONE_DO_NOT_TRACK": "true"}


@pytest.fixture(scope="module")
def fiftyone() -> str:
    return python_of("FiftyOne", "Apache-2.0")


def read_by(fiftyone: str, folder: Path) -> dict[str, Any]:
    return told_by(fiftyone, THEIRS, folder, env=NOWHERE)


@pytest.mark.parametrize("task", ["classification", "detection", "multilabel", "segmentation"])
def test_its_importer_reads_what_we_write(
    task: str,
    pool: Pool,  # noqa: F811
    tmp_path: Path,
    fiftyone: str,
) -> None:
    answers = tmp_path / "labels.csv"
    if task == "classification":
        answers.write_text("id,label\na.png,cat\nb c.png,dog\n")
    else:
        several = Labels(list(IDS), [Names.of(["cat", "dog"]), Names.of([]), Names.of(["dog"])], ["cat", "dog"])
        labels = several if task == "multilabel" else made(task)
        answers = save_annotations(labels, tmp_path / "kept" / "annotations.parquet", task=task, pool=pool)
    out = activetune.export_labels(answers, pool=pool, task=task, format="fiftyone", out=tmp_path / "out", quiet=True)
    told = read_by(fiftyone, out)
    found, info = told["found"], told["info"]
    if task == "classification":
        assert found == {"a.png": "cat", "b c.png": "dog"}
    elif task == "multilabel":
        assert found == {"a.png": ["cat", "dog"], "b c.png": [], "day 1/ü.png": ["dog"]}
    elif task == "detection":
        scale = np.asarray([WIDTH, HEIGHT, WIDTH, HEIGHT])
        boxes = {item: [[name, *(np.asarray(box) * scale)] for name, *box in one] for item, one in found.items()}
        assert boxes == {
            "a.png": [["cat", *map(pytest.approx, (1.5, 2, 8.5, 10))], ["dog", *map(pytest.approx, (3, 3, 17.25, 6))]],
            "b c.png": [],
            "day 1/ü.png": [["dog", *map(pytest.approx, (0, 0, 30, 20))]],
        }
    else:
        assert info["default_mask_targets"] == {"0": "background", "1": "cat", "2": "dog", "255": "void"}
        for row, item in enumerate(IDS):
            pixels = made(task).answers[row].pixels()
            assert found[item] == np.where(pixels == VOID, 255, pixels).tolist()
    assert info["default_classes"] == CLASSES.get(task, ["cat", "dog"])


def test_masks_inside_its_boxes_lie_where_it_draws_them(tmp_path: Path, fiftyone: str) -> None:
    """Where a box cuts through pixels, it draws whole pixels, and we by their centres: the rim may differ."""
    drawn = told_by(fiftyone, OBJECTS, tmp_path, env=NOWHERE)
    answers = tmp_path / "annotations.parquet"
    activetune.import_labels(
        tmp_path / "theirs", pool=tmp_path / "pool", task="segmentation", format="fiftyone", out=answers, quiet=True
    )
    labels = activetune.read_annotations(answers, task="segmentation", pool=activetune.open_pool(tmp_path / "pool"))
    ours = {item: answer.pixels() == 1 for item, answer in zip(labels.ids, labels.answers, strict=True)}
    assert labels.classes[1] == "cat"
    assert len(drawn["whole"]) == len(drawn["cut"]) == 4
    for item, mask in drawn["whole"].items():
        assert np.array_equal(ours[item], np.asarray(mask) > 0)
    for item, mask in drawn["cut"].items():
        theirs = np.asarray(mask) > 0
        near = np.pad(theirs, 1)
        grown = np.max([np.roll(near, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)], axis=0)
        shrunk = np.min([np.roll(near, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)], axis=0)
        assert (ours[item] <= grown[1:-1, 1:-1]).all()
        assert (ours[item] >= shrunk[1:-1, 1:-1]).all()
        assert theirs.sum() > 8
