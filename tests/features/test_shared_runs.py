"""Embedding and predicting by several processes: what one makes, whoever makes it, and whoever dies on the way."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import activetune
from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.shards import PLAN, Plan, Shards
from activetune.cli import run
from activetune.features import computing
from activetune.features.embedding import EmbedOptions
from activetune.networks.backbones import Backbone
from tests.conftest import tiny_backbone, write_digits
from tests.features.shared_rank import embedding, lines
from tests.together import ended, start_two

SLOW = pytest.mark.slow  # by several processes
FEATURES = ("features.npy", "items.parquet", "rejected.csv")


# Shards -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 500), st.integers(1, 40), st.one_of(st.none(), st.integers(1, 90)))
def test_shards_are_whole_batches_of_the_items_in_order(items: int, batch_size: int, shard_size: int | None) -> None:
    plan = Plan.of("key", items, batch_size, shard_size)
    batches = [batch for shard in range(len(plan)) for batch in plan.batches(shard)]
    assert [position for batch in batches for position in batch] == list(range(items))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert plan.shard_size >= (shard_size or 1024) and plan.shard_size % batch_size == 0
    assert [place for shard in range(len(plan)) for place in plan.bounds(shard)] == list(range(items))


def test_a_shard_is_taken_once_and_found_again_if_it_is_whole(tmp_path: Path) -> None:
    shards = Shards.begin(tmp_path / "work", Plan.of("key", 10, 2, 4))
    assert [shards.claim(0), shards.claim(0), shards.claim(1)] == [True, False, True]
    for shard in range(3):
        shards.place(shard, ".txt").write_text("result")
        shards.seal(shard, shards.place(shard, ".txt"), {"rows": 4})
    shards.free()
    assert shards.claimed() is False and shards.claim(2) is False
    again = Shards.begun(tmp_path / "work")
    assert again == shards and sorted(again.sealed()[0]) == [0, 1, 2]
    shards.place(1, ".txt").write_text("damaged")
    shards.place(2, ".json").write_text(json.dumps({"file": "../../etc/passwd", "digest": "x"}))
    whole, damaged = again.sealed()
    assert (list(whole), damaged) == ([0], [1, 2])
    assert {path.name for path in (tmp_path / "work").iterdir()} == {PLAN, "000000.json", "000000.txt"}


def test_wrong_plans_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="shard_size must be at least 1, not 0"):
        Plan.of("key", 10, 2, 0)
    shards = Shards.begin(tmp_path, Plan.of("key", 10, 2, 4))
    shards.check_seen()
    monkeypatch.setattr("activetune.base.shards.SEEN_SECONDS", 0.0)
    (tmp_path / PLAN).write_text("{}")
    with pytest.raises(ActivetuneError, match=r"does not see .* need the same files under the same names"):
        shards.check_seen()
    with pytest.raises(ActivetuneError, match=r"plan\.json is damaged; start again with --overwrite"):
        Shards.begun(tmp_path)


# In one process ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    name, weights = tiny_backbone()
    return activetune.load_backbone(name, weights)


OPTIONS = EmbedOptions(batch_size=4, workers=0, device="cpu", precision="fp32")


def embed(pool: Path, tiny: Backbone, out: Path, **more: Any) -> activetune.Embeddings:
    given = {"options": OPTIONS, "use_cache": False, "quiet": True, **more}
    return activetune.embed(pool, backbone=tiny, out=out, **given)


def same_files(one: Path, other: Path) -> None:
    for name in FEATURES:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert {path.name for path in one.iterdir()} == {*FEATURES, "manifest.json"}


def cut_off_after(batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, left = computing._forward, iter(range(batches))

    def stopping(*given: Any) -> np.ndarray:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return forward(*given)

    monkeypatch.setattr(computing, "_forward", stopping)


@pytest.mark.parametrize("tokens", [False, True])
def test_shards_of_any_size_have_the_bytes_of_one(tokens: bool, digits: Path, tiny: Backbone, tmp_path: Path) -> None:
    for number in range(4):  # a batch, and then a shard, without an image
        (digits / "0" / f"00{number}.png").write_bytes(b"")
    options = EmbedOptions(**{**vars(OPTIONS), "tokens": tokens})
    for size in (1, 17, 1000):
        embed(digits, tiny, tmp_path / str(size), options=options, shard_size=size)
        same_files(tmp_path / str(size), tmp_path / "1")


def test_a_damaged_shard_is_made_again(
    digits: Path, tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    embed(digits, tiny, tmp_path / "whole")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        cut_off_after(18, patched)
        embed(digits, tiny, tmp_path / "emb", shard_size=20)
    work = tmp_path / "emb" / ".unfinished"
    assert sorted(path.name for path in work.glob("*.json")) == ["000000.json", "000001.json", "000002.json", PLAN]
    content = bytearray((work / "000001" / "features.npy").read_bytes())
    content[200] ^= 1
    (work / "000001" / "features.npy").write_bytes(content)
    (work / "000004.claim").write_text("a dead process")
    embed(digits, tiny, tmp_path / "emb", resume=True, quiet=False)
    said = capsys.readouterr().err
    assert "1 shards in" in said and "are damaged and made again" in said
    assert "going on after 40 of 120 images" in said
    same_files(tmp_path / "emb", tmp_path / "whole")


def test_a_changed_image_of_a_finished_shard_is_found(
    digits: Path, tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        cut_off_after(8, patched)
        embed(digits, tiny, tmp_path / "emb", shard_size=20)
    first = digits / activetune.open_pool(digits).ids[3]
    Image.new("L", (9, 9), 200).save(first)
    with pytest.raises(UsageError, match=r"images that the unfinished embedding in .* is made from were changed since"):
        embed(digits, tiny, tmp_path / "emb", resume=True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--address", "auto"], "address says where or how Ray works; give --engine ray too, or leave --address out"),
        (["--processes", "2"], "processes says where or how Ray works"),
        (["--engine", "dask"], "unknown engine 'dask'; there is: ray"),
        (["--engine", "ray", "--address", "ray://host:10001"], "run the command on a machine of the cluster"),
    ],
)
def test_wrong_engines_are_sentences(
    options: list[str], sentence: str, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["embed", str(digits), "--out", str(tmp_path / "emb"), *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "emb").exists()


def test_without_ray_the_line_to_install_it_is_said(
    digits: Path, tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ActivetuneError, match=r"needs the package ray; install it with: pip install 'activetune\[ray\]'"
    ):
        embed(digits, tiny, tmp_path / "emb", engine="ray")
    assert not (tmp_path / "emb").exists()


# By several processes ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool with a broken image, a model of its classes and one of masks."""
    folder = tmp_path_factory.mktemp("place")
    name, weights = tiny_backbone()
    shutil.copyfile(weights, folder / "tiny.safetensors")
    pool = activetune.open_pool(write_digits(folder / "digits", 60))
    small: dict[str, Any] = {"backbone": name, "weights": weights, "recipe": "linear_probe", "quiet": True}
    on: dict[str, Any] = {"workers": 0, "device": "cpu", "precision": "fp32"}
    activetune.finetune(pool, out=folder / "classes", settings={"strengths": [1.0]}, **small, **on)
    for path in (folder / "digits").rglob("*.png"):
        mask = folder / "truth" / path.relative_to(folder / "digits")
        mask.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.point(lambda value: int(value > 100)).save(mask)
    given = {"task": "segmentation", "labels": folder / "truth", "settings": {"head_steps": 2}}
    activetune.finetune(pool, out=folder / "masks", **given, **small, **on)
    (folder / "digits" / "0" / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def alone(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes, with one thread as each of the others."""
    out, threads = tmp_path_factory.mktemp("alone"), torch.get_num_threads()
    torch.set_num_threads(1)
    assert [run(line) for line in lines(place, out)] == [0] * 6
    torch.set_num_threads(threads)
    return out


@SLOW
def test_two_processes_make_the_files_of_one(place: Path, alone: Path, tmp_path: Path) -> None:
    codes, said = ended(start_two(["-m", "tests.features.shared_rank", str(place), str(tmp_path)], tmp_path))
    assert codes == [0, 0], said
    assert [json.loads((tmp_path / f"codes-{rank}.json").read_text()) for rank in range(2)] == [[0] * 6] * 2
    names = sorted(str(path.relative_to(alone)) for path in alone.rglob("*") if path.is_file())
    ours = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name in ours if not name.startswith(("cache", "codes"))} == set(names)
    assert len([name for name in names if name.startswith("m/") and name.endswith(".png")]) == 60
    for name in names:
        if not name.endswith("manifest.json"):
            assert (tmp_path / name).read_bytes() == (alone / name).read_bytes(), name
    figures = json.loads((tmp_path / "pooled" / "manifest.json").read_text())["figures"]
    assert sum(one["images"] for one in figures["processes"]) == 60
    assert "60 images in" in said[0][1] and "by 2 processes" in said[0][1]
    assert said[1] == ("", "")
    assert said[0][0].count("\n") == 6


@SLOW
@pytest.mark.thorough
def test_a_process_that_is_killed_costs_its_shard_and_any_number_goes_on(
    place: Path, alone: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "killed")
    out, script = tmp_path / "emb", ["-m", "tests.features.shared_rank", str(place)]
    codes, said = ended(start_two([*script, str(out), "--quiet"], tmp_path, KILLED=str(tmp_path / "killed")))
    assert codes == [1, -signal.SIGKILL], said
    assert said[0][1].splitlines() == [
        "error: another of the 2 processes of this run has ended, or its host can't be reached; what was finished is "
        "kept: go on with --resume"
    ]
    assert len(list((out / ".unfinished").glob("0*.json"))) == 3  # of 4
    assert not (out / ".lock").exists()
    shutil.copytree(out, tmp_path / "by_three")
    assert run(embedding(place, out, "--resume", "--quiet")) == 0
    same_files(out, alone / "pooled")
    codes, said = ended(start_two([*script, str(tmp_path / "by_three"), "--resume"], tmp_path, 3))
    assert codes == [0, 0, 0], said
    assert "going on after" in said[0][1]
    same_files(tmp_path / "by_three", alone / "pooled")


# By Ray -----------------------------------------------------------------------------------------------------------


class DyingOnce:
    """Prepares images; the first process that comes to a certain number of them is killed, once."""

    name, enough = "dying", 0

    def __init__(self, tiny: Backbone, mark: Path):
        self.prepare, self.mark, self.count = tiny.prepare, mark, 0

    def __call__(self, image: Image.Image) -> torch.Tensor:
        self.count += 1
        if self.count == 6 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.prepare(image)


@SLOW
@pytest.mark.thorough
def test_the_processes_of_ray_make_the_files_of_one(
    place: Path, alone: Path, tiny: Backbone, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("ray") is None:  # not imported: several runs of one process import it themselves
        pytest.skip("needs Ray: pip install 'activetune[ray]'")
    on_ray = ["--engine", "ray", "--processes", "2"]
    code = run([*embedding(place, tmp_path / "pooled"), *on_ray])
    said = capfd.readouterr().err
    if "this machine can't start Ray" in said:
        pytest.skip(said.strip())
    assert code == 0, said
    same_files(tmp_path / "pooled", alone / "pooled")
    assert [line for line in said.splitlines() if "ray" in line.lower()] == []
    predict = next(line for line in lines(place, tmp_path) if "p.csv" in " ".join(line))
    assert run([*predict, *on_ray]) == 0
    assert (tmp_path / "p.csv").read_bytes() == (alone / "p.csv").read_bytes()
    dying = DyingOnce(tiny, tmp_path / "mark")
    options = EmbedOptions(**{**vars(OPTIONS), "prepare": dying, "dtype": "float16"})
    given = {"options": options, "shard_size": 16, "engine": "ray", "processes": 2, "quiet": False}
    embed(place / "digits", tiny, tmp_path / "survived", **given)
    assert "1 of Ray's processes died; " in capfd.readouterr().err
    assert (tmp_path / "survived" / "features.npy").read_bytes() == (alone / "pooled" / "features.npy").read_bytes()


@SLOW
@pytest.mark.thorough
def test_a_program_that_has_imported_ray_before_computes_on_it_too(place: Path, alone: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs Ray: pip install 'activetune[ray]'")
    line = [*embedding(place, tmp_path / "pooled"), "--engine", "ray", "--processes", "2"]
    code = f"import ray; from activetune.cli import run; raise SystemExit(run({line!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if "this machine can't start Ray (" in done.stderr and "GCS" not in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    same_files(tmp_path / "pooled", alone / "pooled")
