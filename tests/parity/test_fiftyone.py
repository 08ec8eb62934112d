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


@pytest.fixture(scope="module")
def fiftyone() -> str:
    return python_of("FiftyOne", "Apache-2.0")


def read_by(fiftyone: str, folder: Path) -> dict[str, Any]:
    nowhere = {"FIFTYONE_DATABASE_URI": "mongodb://localhost:1", "FIFTYONE_DO_NOT_TRACK": "true"}
    return told_by(fiftyone, THEIRS, folder, env=nowhere)


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
