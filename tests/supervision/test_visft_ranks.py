"""``visft`` as a whole in two processes: the backbone of one, one voice, and an end for all where one ends."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from activetune import open_pool
from activetune.data.images import decode_image
from tests.conftest import ROOT, tiny_backbone, write_digits
from tests.together import ended, start_two

pytestmark = [pytest.mark.slow, pytest.mark.thorough]  # by two processes; what they share test_ranks.py tests too

DETR = "detr:layers=1;decoder_layers=1;queries=4;width=32;decoder_width=32;hidden=32;attention_heads=2;dropout=0"
HEADS = {"detection": DETR, "captioning": "lstm:dropout=0"}  # units that are dropped fall otherwise in each process
QUICK = {"stage1_steps": 4, "steps": 8, "save_every": 3, "batch_size": 5, "stage1_batch_size": 5, "rank": 4, "alpha": 8}
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits with a box and a sentence each, weights, and a config of both tasks in both of its forms."""
    place, (name, weights) = tmp_path_factory.mktemp("digits"), tiny_backbone()
    pool = open_pool(write_digits(place / "pool", 30))
    images, boxes = [], []
    with (place / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "caption"))
        for row, (item, label) in enumerate(zip(pool.ids, pool.labels or (), strict=True)):
            pixels_HW = np.asarray(decode_image(pool.read(row)).convert("L")).astype(float)
            down, across = np.nonzero(pixels_HW > pixels_HW.mean())
            x, y = float(across.min()), float(down.min())
            box = [x, y, float(across.max()) + 1 - x, float(down.max()) + 1 - y]
            height, width = pixels_HW.shape
            images.append({"id": row + 1, "file_name": item, "width": width, "height": height})
            boxes.append({"id": row + 1, "image_id": row + 1, "category_id": 1 + int(str(label)) % 2, "bbox": box})
            rows.writerow((item, f"the digit {NUMBERS[int(str(label))]}"))
    kinds = [{"id": 1, "name": "even"}, {"id": 2, "name": "odd"}]
    boxes = [{**box, "area": box["bbox"][2] * box["bbox"][3], "iscrowd": 0} for box in boxes]
    (place / "boxes.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": kinds}))
    files = {"detection": "boxes.json", "captioning": "captions.csv"}
    tasks = [
        {"task": task, "pool": str(place / "pool"), "labels": str(place / files[task]), "head": head, "weight": 0.5}
        for task, head in HEADS.items()
    ]
    keys = {"backbone": name, "weights": str(weights), **QUICK, "head_dropout": False}
    (place / "config.json").write_text(json.dumps({**keys, "tasks": tasks}))
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    for task in tasks:
        lines += ["[[tasks]]", *(f"{key} = {json.dumps(value)}" for key, value in task.items())]
    (place / "config.toml").write_text("\n".join(lines))
    return place


@pytest.fixture(scope="module")
def by_two(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, str]]]:
    """What two processes leave, and what they said."""
    out = tmp_path_factory.mktemp("by_two")
    codes, said = ended(start_two(["-m", "tests.supervision.visft_rank", str(folder), str(out)], out))
    assert codes == [0, 0], "\n".join(stderr for _, stderr in said)
    return out, said


@pytest.fixture(scope="module")
def by_one(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a process of its own with one thread, as each of the two."""
    out = tmp_path_factory.mktemp("by_one") / "out"
    code = (
        "import sys; from pathlib import Path; import activetune; "
        "from tests.supervision.visft_rank import ON, config_of; "
        "activetune.visft(config_of(Path(sys.argv[1])), out=sys.argv[2], quiet=True, **ON)"
    )
    command = [sys.executable, "-c", code, str(folder), str(out)]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT, check=True, timeout=900)
    return out


def told(by_two: tuple[Path, list[tuple[str, str]]], rank: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((by_two[0] / f"told-{rank}.json").read_text())
    return found


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All that both stages have trained."""
    found: dict[str, torch.Tensor] = {}
    for path in (*sorted((folder / "heads").rglob("*.safetensors")), folder / "lora" / "adapter_model.safetensors"):
        found |= {f"{path.parent.name}/{name}": value for name, value in load_file(path).items()}
    return found


def same_weights(ours: Path, theirs: Path) -> None:
    """Heads and additions are the same but for rounding, which AdamW makes larger where a gradient is hardly more."""
    one, other = tensors(ours), tensors(theirs)
    assert one.keys() == other.keys()
    for part in ("detection", "captioning", "lora"):
        names = [name for name in one if name.startswith(f"{part}/") and one[name].is_floating_point()]
        apart = sum(float((one[name] - other[name]).square().sum()) for name in names) ** 0.5
        size = sum(float(other[name].square().sum()) for name in names) ** 0.5
        assert apart < 1e-3 * size, (part, apart, size)


def test_two_processes_make_the_backbone_of_one(by_two: tuple[Path, list[tuple[str, str]]], by_one: Path) -> None:
    together = by_two[0] / "out"
    assert sorted(path.name for path in together.iterdir()) == sorted(path.name for path in by_one.iterdir())
    same_weights(together, by_one)
    ours, theirs = (json.loads((place / "manifest.json").read_text()) for place in (together, by_one))
    for name in ("run", "weights", "options", "tasks"):
        assert ours[name] == theirs[name]
    for task, found in theirs["figures"]["in_domain"].items():
        for when, scores in found.items():
            assert ours["figures"]["in_domain"][task][when] == pytest.approx(scores, rel=0.05, abs=1e-3), (task, when)
    assert ours["figures"]["weight_drift"] == pytest.approx(theirs["figures"]["weight_drift"], rel=0.01)
    rows, others = (list(csv.DictReader((place / "history.csv").open())) for place in (together, by_one))
    assert [row["phase"] for row in rows] == [row["phase"] for row in others]
    for row, other in zip(rows, others, strict=True):
        assert float(row["train_loss"]) == pytest.approx(float(other["train_loss"]), rel=1e-3)


def test_four_processes_make_the_backbone_of_one(folder: Path, by_one: Path, tmp_path: Path) -> None:
    codes, said = ended(start_two(["-m", "tests.supervision.visft_rank", str(folder), str(tmp_path)], tmp_path, 4))
    assert codes == [0] * 4, "\n".join(stderr for _, stderr in said)
    same_weights(tmp_path / "out", by_one)
    found = [json.loads((tmp_path / f"told-{rank}.json").read_text()) for rank in range(4)]
    assert [one["weights"] for one in found] == [found[0]["weights"]] * 4


def test_both_draw_the_same_tasks_and_get_the_same_backbone(by_two: tuple[Path, list[tuple[str, str]]]) -> None:
    first, other = told(by_two, 0), told(by_two, 1)
    assert first["drawn"] == other["drawn"]
    assert {which for epoch in first["drawn"] for which in epoch} == {0, 1}
    for name in ("figures", "weights"):
        assert first[name] == other[name]


def test_an_error_of_one_process_ends_all(by_two: tuple[Path, list[tuple[str, str]]]) -> None:
    first, other = told(by_two, 0), told(by_two, 1)
    assert "can't be read (Input/output error)" in first["unreadable"][1]
    assert first["unreadable"][1] == other["unreadable"][1]
    assert first["occupied"][0] == "UsageError" and "--overwrite" in first["occupied"][1]
    assert other["occupied"] == ["OthersEnded", first["occupied"][1]]


def test_the_first_process_alone_speaks(by_two: tuple[Path, list[tuple[str, str]]]) -> None:
    assert [told(by_two, rank)["codes"] for rank in (0, 1)] == [[0, 2, 0], [0, 0, 0]]
    (said, noted), (silence, other) = by_two[1]
    assert silence == ""
    assert said.count("a backbone for every command") == 1
    assert said.count("gradients, AdamW") == 1
    assert noted.count("stage 2: step 8 of 8") == 1 and "stage 2" not in other
    assert [line for line in noted.splitlines() if line.startswith("error: ")][-1].count("stepps") == 1
    assert "error" not in other
    assert not (by_two[0] / "new").exists()


STOPPING = """
import os, sys
import activetune.training.steps as steps

pipe = os.open(os.environ["STOPPED"], os.O_WRONLY)
update = steps.Steps._update

def stopping(run, number):
    update(run, number)
    if run.rank == 1 and run.phase == os.environ["STOP_IN"] and number == 4:
        os.write(pipe, str(os.getpid()).encode())
        with open(os.environ["NEVER"]) as file:
            file.read()

steps.Steps._update = stopping
if __name__ == "__main__":
    from activetune.cli import main
    main(sys.argv[1:])
"""


@pytest.mark.thorough
def test_a_process_that_is_killed_leaves_a_run_that_one_alone_goes_on_with(
    folder: Path, by_one: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.py").write_text(STOPPING)
    stopped, never, out = tmp_path / "stopped", tmp_path / "never", tmp_path / "out"
    os.mkfifo(stopped)
    os.mkfifo(never)
    hold = os.open(never, os.O_RDWR)
    options = ["--out", str(out), "--device=cpu", "--precision=fp32", "--workers=0"]
    arguments = ["visft", str(folder / "config.toml"), *options]
    two = start_two(
        [str(tmp_path / "run.py"), *arguments], tmp_path, STOPPED=str(stopped), NEVER=str(never), STOP_IN="joint"
    )
    pipe = os.open(stopped, os.O_RDONLY)
    os.kill(int(os.read(pipe, 100)), signal.SIGKILL)
    codes, said = ended(two)
    os.close(pipe)
    os.close(hold)
    assert codes == [1, -signal.SIGKILL], said
    assert said[0][1].splitlines()[-1] == (
        "error: another of the 2 processes of this run has ended, or its host can't be reached; what was finished is "
        "kept: go on with --resume"
    )
    alone = subprocess.run(
        [sys.executable, "-m", "activetune", *arguments, "--resume"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACTIVETUNE_CACHE": str(tmp_path / "cache")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert alone.returncode == 0, alone.stderr
    assert "stage 2: going on after step 3 of 8" in alone.stderr
    assert "stage 1" not in alone.stderr
    same_weights(out, by_one)
