"""Corrupted pools, captions and scores of them, by Python and on the command line."""

from __future__ import annotations

import csv
import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import activetune
from activetune import UsageError, open_pool
from activetune.cli import run
from activetune.data import corruption
from activetune.data.corruption import KINDS
from activetune.data.images import decode_image
from tests.cli.test_cli import wrong
from tests.conftest import write_digits
from tests.training.test_finetuning import train

pytest.importorskip("imagecorruptions", reason="the extra 'corrupt' is not installed")


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return write_digits(tmp_path / "digits", 40)


def pixels(path: Path) -> list[np.ndarray]:
    pool = open_pool(path)
    return [np.asarray(decode_image(pool.read(position))) for position in range(len(pool))]


def test_every_kind_and_severity_is_a_pool_of_the_same_items(digits: Path, tmp_path: Path) -> None:
    paths = activetune.corrupt(
        digits, kinds=["fog", "snow"], severities=[1, 5], out=tmp_path / "c", workers=0, quiet=True
    )
    assert [path.name for path in paths] == ["fog-1.parquet", "fog-5.parquet", "snow-1.parquet", "snow-5.parquet"]
    clean = open_pool(digits)
    for path in paths:
        assert list(open_pool(path).ids) == list(clean.ids)
        assert list(open_pool(path).labels or ()) == list(clean.labels or ())
    weak, strong = pixels(paths[0]), pixels(paths[1])
    original = [np.asarray(decode_image(clean.read(position)).resize((32, 32))) for position in range(len(clean))]
    change = [
        float(np.mean([np.abs(a.astype(float) - b).mean() for a, b in zip(found, original, strict=True)]))
        for found in (weak, strong)
    ]
    assert 0 < change[0] < change[1]


def test_few_pieces_are_asked_for_ahead_and_none_carries_the_pool(
    digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corruption, "PIECE", 2)
    pool, asked = activetune.open_pool(digits), []

    class Others:
        def submit(self, work: Any, *given: Any) -> Future[list[Any]]:
            asked.append(given)
            done: Future[list[Any]] = Future()
            done.set_result(list(given[-1]))
            return done

    made = corruption._pieces(pool, "fog", 1, 0, "imagenet_c", Others(), 3)  # type: ignore[arg-type]
    first = next(made)
    assert len(asked) == 3 and not any(part is pool for given in asked for part in given)
    assert [*first, *(one for piece in made for one in piece)] == list(range(len(pool)))


@pytest.mark.thorough
@pytest.mark.slow
def test_an_image_is_corrupted_the_same_whoever_does_it(digits: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    write_digits(big, 70)
    kinds = ["gaussian_noise", "impulse_noise", "glass_blur", "snow", "elastic_transform"]
    one = activetune.corrupt(big, kinds=kinds, severities=[2], out=tmp_path / "one", workers=0, quiet=True)
    two = activetune.corrupt(big, kinds=kinds, severities=[2], out=tmp_path / "two", workers=2, quiet=True)
    for first, second in zip(one, two, strict=True):
        assert pq.read_table(first).equals(pq.read_table(second))
    options = {"kinds": ["gaussian_noise"], "severities": [2], "workers": 0, "quiet": True}
    other = activetune.corrupt(big, out=tmp_path / "o", seed=1, **options)
    assert not pq.read_table(one[0]).equals(pq.read_table(other[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_every_image(kind: str, tmp_path: Path) -> None:
    original = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)  # grey can't be saturated
    (tmp_path / "few").mkdir()
    for number, image in enumerate(original):
        Image.fromarray(image).save(tmp_path / "few" / f"{number}.png")
    pool = tmp_path / "few"
    (path,) = activetune.corrupt(pool, kinds=[kind], severities=[3], out=tmp_path / "c", workers=0, quiet=True)
    for found, image in zip(pixels(path), original, strict=True):
        assert (found != image).any()


def test_it_goes_on_with_what_is_missing(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c"
    command = ["corrupt", str(digits), "--kinds", "fog,contrast", "--severity", "3", "--out", str(out), "--quiet"]
    assert run(command) == 0
    assert "2 pools, fog-3.parquet to contrast-3.parquet" in capsys.readouterr().out
    assert run([*command[:2], "--kinds", "fog", "--severity", "3", "--out", str(tmp_path / "one"), "--quiet"]) == 0
    assert "1 pool, fog-3.parquet\n" in capsys.readouterr().out
    before = (out / "fog-3.parquet").stat().st_mtime_ns
    (out / "contrast-3.parquet").unlink()
    assert run(command) == 2
    assert run([*command, "--resume"]) == 0
    assert (out / "fog-3.parquet").stat().st_mtime_ns == before
    assert (out / "contrast-3.parquet").is_file()
    assert run([*command, "--resume", "--seed", "1"]) == 2
    assert "of another pool, seed or benchmark" in capsys.readouterr().err
    (out / "mine.txt").write_text("mine")
    assert run([*command[:3], "fog", *command[4:], "--overwrite"]) == 0
    assert {path.name for path in out.iterdir()} == {"fog-3.parquet", "manifest.json", "mine.txt"}


@pytest.mark.slow
def test_all_shifted_pools_are_scored_in_one_table(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(digits, tmp_path / "m", "linear_probe", settings={"strengths": 100.0})
    activetune.corrupt(digits, kinds=["fog", "pixelate"], severities=[1, 4], out=tmp_path / "c", quiet=True)
    command = ["evaluate", str(tmp_path / "m"), str(tmp_path / "c"), "--precision", "fp32", "--quiet"]
    assert run(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["top-1,", "%", "1", "4", "mean"]
    assert [line.split()[0] for line in lines[1:3]] == ["fog", "pixelate"]
    scores = json.loads((tmp_path / "m" / "shifts.json").read_text())
    assert set(scores["sets"]) == {"fog-1", "fog-4", "pixelate-1", "pixelate-4"}
    mean = float(np.mean([one["top1"] for one in scores["sets"].values()]))
    assert scores["mean_top1"] == pytest.approx(mean)
    assert f"mean top-1 {100 * mean:.2f} % on 4 shifted pools" in lines[-1]
    assert run(command) == 2
    written = (tmp_path / "m" / "shifts.json").stat()
    assert run([*command, "--resume"]) == 0
    unchanged = (tmp_path / "m" / "shifts.json").stat()  # nothing was scored anew, so nothing is written
    assert (unchanged.st_ino, unchanged.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    spoilt = {"fog-1": {"top1": "high"}}
    for damaged in ({}, {"sets": []}, {"sets": {**scores["sets"], **spoilt}}, {"sets": scores["sets"]}):
        kept = {"model": scores["model"], **damaged}
        (tmp_path / "m" / "shifts.json").write_text(json.dumps(kept))
        assert run([*command, "--resume"]) == 0
        assert json.loads((tmp_path / "m" / "shifts.json").read_text()) == scores
    (tmp_path / "c" / "fog-4.parquet").unlink()  # what is gone counts no more
    assert run([*command, "--resume"]) == 0
    left = json.loads((tmp_path / "m" / "shifts.json").read_text())
    assert set(left["sets"]) == {"fog-1", "pixelate-1", "pixelate-4"}
    assert left["mean_top1"] == pytest.approx(np.mean([one["top1"] for one in left["sets"].values()]))
    capsys.readouterr()
    assert "leave --labels out" in wrong(" ".join([*command, "--labels", "a.csv"]), capsys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--kinds rain", "unknown corruption 'rain'; the nearest names are: "),
        ("--kinds fog --severity 6", "severity can't be '6'; give 1 to 5"),
        ("--kinds fog --severity high", "severity can't be 'high'; give 1 to 5"),
        ("--kinds , --severity 1", "at least one kind"),
    ],
)
def test_wrong_corruptions_are_a_sentence(
    options: str, message: str, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in wrong(f"corrupt {digits} --out {tmp_path / 'c'} {options}", capsys)
    assert not (tmp_path / "c").exists()


def test_a_folder_without_shifted_pools_is_a_sentence(digits: Path, tmp_path: Path) -> None:
    model = train(digits, tmp_path / "m", "linear_probe", settings={"strengths": 100.0})
    with pytest.raises(UsageError, match="holds no shifted pool; make some with: activetune corrupt"):
        activetune.evaluate_shifts(model, digits)


# Captions ------------------------------------------------------------------------------------------------------------


def test_captions_of_a_pool(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "captions.csv"
    assert run(["caption", str(digits), "--prompt", "the digit {class_name}", "--out", str(out), "--quiet"]) == 0
    assert "40 captions, 10 of them different" in capsys.readouterr().out
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["caption"] == f"the digit {rows[0]['id'].split('/')[0]}"
    assert len(rows) == 40
    again = activetune.caption(digits, captioner=out, out=tmp_path / "captions.parquet", quiet=True)
    assert again == {row["id"]: row["caption"] for row in rows}
    assert activetune.caption(digits, prompt="the digit {class_name}", out=out, resume=True, quiet=True) == again


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--out c.txt", "c.txt would be written as .csv or .parquet"),
        ("--out c.csv --with blip", "unknown captioner 'blip'"),
        ("--out c.csv --prompt photo", "says the same of every image"),
    ],
)
def test_wrong_captions_are_a_sentence(
    options: str, message: str, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in wrong(f"caption {digits} {options}", capsys)


def test_a_template_needs_class_names(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(digits.rglob("*.png"))[:3]):
        (flat / f"{number}.png").write_bytes(path.read_bytes())
    assert "the template needs class names" in wrong(f"caption {flat} --out {tmp_path / 'c.csv'}", capsys)
