"""Trackers: what each writes of a training, read back by its own reader; and where it is not written."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import activetune
from activetune.base.errors import MissingExtra
from activetune.base.tables import read_table
from activetune.cli import run
from activetune.training import loop
from activetune.training.trackers import asked_trackers, trackers
from activetune.training.tracking import Tracking, numbers_in
from tests.conftest import tiny_backbone, write_digits
from tests.together import ended, start_two

SETTINGS = {"epochs": 3, "batch_size": 8, "validation_least": 4}
ON: dict[str, Any] = {"device": "cpu", "precision": "fp32", "workers": 0, "quiet": True}
Told = dict[str, list[tuple[int, float]]]  # name of a metric: steps and values


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    write_digits(tmp_path / "pool", 24)
    return tmp_path / "pool"


def trained(pool: Path, out: Path, track: str, **more: Any) -> activetune.Model:
    backbone, weights = tiny_backbone()
    of = {"backbone": backbone, "weights": weights, "recipe": "full", "settings": SETTINGS}
    return activetune.finetune(pool, out=out, track=track, **of, **ON, **more)


# What each has written, by its own reader --------------------------------------------------------------------------


def read_tensorboard(folder: Path) -> tuple[Told, str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    told = {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    return told, str(found.Tensors("settings/text_summary")[0].tensor_proto)


def read_mlflow(folder: Path) -> tuple[Told, str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'activetune'")
    (record,) = client.search_runs([experiment.experiment_id])
    names = record.data.metrics
    told = {
        name: [(one.step, one.value) for one in client.get_metric_history(record.info.run_id, name)] for name in names
    }
    return told, str(record.data.params)


def wandb_records(file: Path) -> Iterator[Any]:
    """The records of an offline run: LevelDB's log format, in blocks of 32 KiB, behind a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    content, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if (left := 2**15 - place % 2**15) < 7:  # the rest of a block, too small for a record
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def read_wandb(folder: Path) -> tuple[Told, str]:
    (file,) = folder.rglob("*.wandb")
    told, settings = Told(), ""
    for record in wandb_records(file):
        settings += str(record.run.config) if record.HasField("run") else ""
        row = {one.key or "/".join(one.nested_key): json.loads(one.value_json) for one in record.history.item}
        for name, value in row.items():
            if not name.startswith("_") and not name.endswith("/step"):
                told.setdefault(name, []).append((row[f"{name.rpartition('/')[0]}/step"], value))
        for one in record.summary.update:
            name = one.key or "/".join(one.nested_key)
            if name.startswith("final/"):
                told[name] = [(0, json.loads(one.value_json))]
    return told, settings


def read_trackio(folder: Path) -> tuple[Told, str]:
    (file,) = folder.glob("*.db")
    with sqlite3.connect(file) as found:
        rows = found.execute("SELECT step, metrics FROM metrics ORDER BY id").fetchall()
        settings = found.execute("SELECT config FROM configs").fetchall()
    told = Told()
    for step, text in rows:
        for name, value in json.loads(text).items():
            told.setdefault(name, []).append((step, value))
    return told, str(settings)


READERS: dict[str, Callable[[Path], tuple[Told, str]]] = {
    "tensorboard": read_tensorboard,
    "mlflow": read_mlflow,
    "wandb": read_wandb,
    "trackio": read_trackio,
}


def needs(name: str) -> None:
    """Skip where a tracker can't be used here."""
    try:
        asked_trackers(name)
    except MissingExtra as error:
        pytest.skip(f"--track {name}: {error}")


def history(model: Path) -> list[dict[str, str]]:
    with (model / "history.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


# Contract -----------------------------------------------------------------------------------------------------------


def test_every_tracker_is_read_here() -> None:
    assert set(trackers()) == set(READERS)


@pytest.mark.parametrize("name", READERS)
def test_a_record_is_the_history_with_settings_and_scores(
    name: str, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(name)
    monkeypatch.chdir(tmp_path)
    trained(pool, tmp_path / "model", name)
    told, settings = READERS[name](tmp_path / "model/tracking" / name)
    rows = history(tmp_path / "model")
    assert [round(value, 4) for _, value in told["full/train_loss"]] == [
        round(float(row["train_loss"]), 4) for row in rows
    ]
    assert [step for step, _ in told["full/val_top1"]] == [1, 2, 3]
    figures = json.loads((tmp_path / "model/manifest.json").read_text(encoding="utf-8"))["figures"]
    assert [value for _, value in told["final/kept_epoch"]] == [figures["kept_epoch"]]
    assert "batch_size" in settings
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "model", "pool"}, "all lies in the output"


@pytest.mark.parametrize("name", READERS)
def test_a_run_that_goes_on_has_each_step_once(
    name: str, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(name)
    once = loop._Run.one_epoch

    def stops(self: Any, advance: Any) -> Any:
        if self.epoch == 2:
            raise KeyboardInterrupt
        return once(self, advance)

    with monkeypatch.context() as patched:
        patched.setattr(loop._Run, "one_epoch", stops)
        with pytest.raises(KeyboardInterrupt):
            trained(pool, tmp_path / "model", name)
    trained(pool, tmp_path / "model", name, resume=True)
    told, _ = READERS[name](tmp_path / "model/tracking" / name)
    for metric in ("full/train_loss", "full/val_top1"):
        assert [step for step, _ in told[metric]] == [1, 2, 3]


# Several processes, other stages -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.thorough
def test_of_two_processes_the_first_alone_records(pool: Path, tmp_path: Path) -> None:
    needs("tensorboard")
    backbone, weights = tiny_backbone()
    line = f"-m activetune finetune {pool} --out {tmp_path / 'model'} --backbone {backbone} --weights {weights}"
    line += " --recipe full --set epochs=2 --set validation_least=4 --device cpu --workers 0 --track tensorboard"
    codes, told = ended(start_two(line.split(), tmp_path))
    assert codes == [0, 0], told
    assert len(list((tmp_path / "model/tracking/tensorboard").iterdir())) == 1
    found, _ = read_tensorboard(tmp_path / "model/tracking/tensorboard")
    assert [step for step, _ in found["full/train_loss"]] == [1, 2]


@pytest.mark.slow
def test_visft_records_every_stage(pool: Path, tmp_path: Path) -> None:
    needs("tensorboard")
    backbone, weights = tiny_backbone()
    task = {"task": "classification", "pool": str(pool), "weight": 1}
    config = {"backbone": backbone, "weights": str(weights), "stage1_steps": 2, "steps": 2, "rank": 2, "tasks": [task]}
    activetune.visft(config, out=tmp_path / "taught", track="tensorboard", **ON)
    found, settings = read_tensorboard(tmp_path / "taught/tracking/tensorboard")
    rows = history(tmp_path / "taught")
    assert {name.partition("/")[0] for name in found} == {*(row["phase"] for row in rows), "final"}
    assert "stage1_steps" in settings


@pytest.mark.slow
def test_a_simulation_records_each_curve_by_number_of_labels(pool: Path, tmp_path: Path) -> None:
    needs("tensorboard")
    asked: dict[str, Any] = {"test": "30%", "methods": "random,k_means", "out": tmp_path / "curves", "seeds": 2, **ON}
    activetune.simulate(pool, budgets="6", track="tensorboard", **asked)
    made = activetune.simulate(pool, budgets="6,9", track="tensorboard", resume=True, **asked)
    found, settings = read_tensorboard(tmp_path / "curves/tracking/tensorboard")
    means = {k: [row["top1"] for row in made.rows if row["k"] == k and row["method"] == "random"] for k in (6, 9)}
    assert found["random/linear_probe/top1"] == [
        (k, pytest.approx(sum(values) / len(values))) for k, values in means.items()
    ]
    assert "k_means/linear_probe/balanced_accuracy" in found
    assert "budgets" in settings


# Without any --------------------------------------------------------------------------------------------------------


def test_a_round_records_its_model(pool: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard, which is not installed")
    backbone, weights = tiny_backbone()
    asked = {"backbone": backbone, "weights": weights, "recipe": "full:epochs=2;batch_size=8", **ON}
    activetune.next_round(tmp_path / "project", pool=pool, budget=12, **asked)
    labels = tmp_path / "project/rounds/001/labels.csv"
    answered = [f"{item},{item.partition('/')[0]}" for item in read_table(labels)["id"]]
    labels.write_text("\n".join(["id,label", *answered]) + "\n")
    activetune.next_round(tmp_path / "project", track="tensorboard", **ON)
    told, _ = read_tensorboard(tmp_path / "project/models/001/tracking/tensorboard")
    assert [step for step, _ in told["full/train_loss"]] == [1, 2]


def test_without_a_tracker_nothing_is_recorded_and_the_weights_are_the_same(pool: Path, tmp_path: Path) -> None:
    needs("tensorboard")
    with_one, without = trained(pool, tmp_path / "a", "tensorboard"), trained(pool, tmp_path / "b", "")
    assert with_one.fingerprint == without.fingerprint
    assert not (tmp_path / "b/tracking").exists()


@pytest.mark.parametrize(
    "arguments, told", [("--track paper", "unknown tracker 'paper'"), ("--track tensorboard", "activetune[tracking]")]
)
def test_what_can_not_be_had_is_a_sentence_before_any_work(
    arguments: str, told: str, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    line = ["finetune", str(pool), "--out", str(tmp_path / "model"), "--recipe", "linear_probe", *arguments.split()]
    assert run(line) in (1, 2)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


class Fails:
    """A tracker that breaks at the second step."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def log(self, step: int, values: Any) -> None:
        if self.steps:
            raise OSError("no space left on device")
        self.steps.append(step)

    def end(self, scores: Any, *, finished: bool) -> None:
        raise AssertionError("it was left behind")


def test_a_tracker_that_fails_is_left_behind_with_a_note(capsys: Any) -> None:
    broken: Any = Fails()
    tracking = Tracking({"broken": broken}, quiet=False)
    tracking.follow([{"phase": "full", "epoch": epoch, "loss": 1.0} for epoch in (1, 2, 3)])
    tracking.end({"top1": 1.0})
    assert broken.steps == [1]
    assert "the tracker broken has failed (no space left on device)" in capsys.readouterr().err


def test_trials_are_counted_beside_epochs() -> None:
    told: list[tuple[int, str]] = []

    class Notes(Fails):
        def log(self, step: int, values: Any) -> None:
            told.extend((step, name) for name in values)

    notes: Any = Notes()
    rows: list[dict[str, Any]] = [
        {"phase": "full", "epoch": 1, "loss": 2.0},
        {"phase": "full", "share": 0.5, "loss": 1.0},
    ]
    tracking = Tracking({"notes": notes}, quiet=True)
    tracking.follow(rows[:1])
    tracking.follow(rows)
    assert Counter(told) == Counter([(1, "full/loss"), (1, "full/trials/share"), (1, "full/trials/loss")])


def test_numbers_are_those_that_a_curve_can_be_drawn_of() -> None:
    found = numbers_in({"a": 1, "b": True, "c": "x", "d": float("inf"), "e": {"f": 0.5}})
    assert found == {"a": 1.0, "e/f": 0.5}
