"""Names that steer a terminal, a spreadsheet or a CSV reader go through every stage and come out as they went in."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import activetune
from activetune.base.tables import write_csv
from activetune.cli import run

CLASSES = ("=cat", "do\rg")
NAMES = (
    "=1+1.png",
    "+1.png",
    "-1.png",
    "@x.png",
    "a\rb.png",
    "a\nb.png",
    'q"uote.png',
    "a,b;c\td.png",
    "\x1b[2Jred.png",
)


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number, folder in enumerate(CLASSES):
        (tmp_path / "pool" / folder).mkdir(parents=True)
        for name in NAMES:
            pixels = random.integers(0, 100, (16, 16, 3)) + 150 * number
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pool" / folder / name)
    (tmp_path / "pool" / CLASSES[0] / "\x1b]0;owned\x07.png").write_bytes(b"no image")
    return tmp_path / "pool"


def ids_in(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row["id"] for row in csv.DictReader(file)]


@pytest.mark.slow
def test_from_a_pool_to_predictions(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {f"{folder}/{name}" for folder in CLASSES for name in NAMES}
    emb, sel, model, predictions = (str(tmp_path / name) for name in ("emb", "sel", "model", "p.csv"))
    common = ["--workers", "0", "--device", "cpu"]
    assert run(["embed", str(pool), "--out", emb, *common]) == 0
    assert set(activetune.load_embeddings(emb).ids) == names
    assert run(["select", emb, "--budget", "18", "--method", "random", "--out", sel]) == 0
    assert set(ids_in(tmp_path / "sel" / "selection.csv")) == names
    labels = tmp_path / "labels.csv"
    write_csv(labels, ("id", "label"), [(item, item.split("/")[0]) for item in sorted(names)])
    assert run(["finetune", str(pool), "--labels", str(labels), "--out", model, *common]) == 0
    assert activetune.load(model).classes == sorted(CLASSES)
    assert run(["evaluate", model, str(pool), *common]) == 0
    assert run(["predict", model, str(pool), "--out", predictions, *common]) == 0
    assert set(ids_in(tmp_path / "p.csv")) == names
    assert ids_in(tmp_path / "p.rejected.csv") == [f"{CLASSES[0]}/\x1b]0;owned\x07.png"]
    labels.write_text("id,label\n\x1b[31mgone\x07.png,cat\n")
    assert run(["finetune", str(pool), "--labels", str(labels), "--out", str(tmp_path / "m2"), *common]) == 2
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert "gone" in said
    assert not set(said) & set("\x1b\x07\r")
