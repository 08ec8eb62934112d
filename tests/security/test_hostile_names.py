"""Names that steer a terminal, a spreadsheet or a CSV reader go through every stage and come out as they went in."""

from __future__ import annotations

import csv
from collections.abc import Mapping
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
FOREIGN = ("../up", "../../../../up", "/etc/passwd", "..", "C:\\x", "a/../../b", "x" * 4_095, "é" * 4_095)


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


def through_all_stages(pool: Path, answers: Mapping[str, str], rejected: str, tmp_path: Path) -> None:
    """Embed, select, finetune, evaluate, predict, and hand on: the ids come out as they went in."""
    emb, sel, model, predictions = (str(tmp_path / name) for name in ("emb", "sel", "model", "p.csv"))
    common = ["--workers", "0", "--device", "cpu"]
    assert run(["embed", str(pool), "--out", emb, *common]) == 0
    assert set(activetune.load_embeddings(emb).ids) == set(answers)
    assert run(["select", emb, "--budget", str(len(answers)), "--method", "random", "--out", sel]) == 0
    assert set(ids_in(tmp_path / "sel" / "selection.csv")) == set(answers)
    labels = tmp_path / "labels.csv"
    write_csv(labels, ("id", "label"), sorted(answers.items()))
    quick = ["--recipe", "linear_probe", *common]
    assert run(["finetune", str(pool), "--labels", str(labels), "--out", model, *quick]) == 0
    assert activetune.load(model).classes == sorted(CLASSES)
    assert run(["evaluate", model, str(pool), "--labels", str(labels), *common]) == 0
    assert run(["predict", model, str(pool), "--out", predictions, *common]) == 0
    assert set(ids_in(tmp_path / "p.csv")) == set(answers)
    assert ids_in(tmp_path / "p.rejected.csv") == [rejected]


@pytest.mark.slow
def test_from_a_pool_to_predictions(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {f"{folder}/{name}": folder for folder in CLASSES for name in NAMES}
    through_all_stages(pool, answers, f"{CLASSES[0]}/\x1b]0;owned\x07.png", tmp_path)
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\n\x1b[31mgone\x07.png,cat\n")
    line = ["finetune", str(pool), "--labels", str(labels), "--out", str(tmp_path / "m2"), "--device", "cpu"]
    assert run(line) == 2
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert "gone" in said
    assert not set(said) & set("\x1b\x07\r")


@pytest.mark.slow
def test_from_a_table_of_ids_that_no_file_could_have(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table names its items as it likes: out of the folder, from the root, as long as a path may be."""
    files = sorted(path for path in pool.rglob("*.png") if "owned" not in path.name)
    ids = [item + ending for ending in ("1", "2") for item in FOREIGN]
    answers = {item: CLASSES[number % 2] for number, item in enumerate(ids)}
    broken = pool / CLASSES[0] / "\x1b]0;owned\x07.png"
    rows = [(item, str(files[9 * (number % 2) + number // 2])) for number, item in enumerate(ids)]
    (tmp_path / "table").mkdir()
    write_csv(tmp_path / "table" / "pool.csv", ("id", "path"), [*rows, ("../broken", str(broken))])
    before = {path.name for path in tmp_path.parent.iterdir()}
    through_all_stages(tmp_path / "table" / "pool.csv", answers, "../broken", tmp_path)
    handed = ["--pool", str(tmp_path / "table" / "pool.csv"), "--quiet"]
    for name, made in (("csv", "out.csv"), ("label_studio", "out.json"), ("imagefolder", "out")):
        out = tmp_path / "handed" / name / made
        out.parent.mkdir(parents=True)
        line = ["export", str(tmp_path / "labels.csv"), "--to", name, "--out", str(out), *handed]
        line += ["--image-url", "http://images/"] if name == "label_studio" else []  # no id is a place of a file
        assert run(line) == 0, capsys.readouterr().err
        assert {path.name.partition(".")[0] for path in out.parent.iterdir()} == {"out"}
    assert {path.name for path in tmp_path.parent.iterdir()} == before
    assert {path.name for path in (tmp_path / "table").iterdir()} == {"pool.csv"}
