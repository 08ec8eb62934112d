"""The contract of every recipe: a new module in ``activetune/recipes`` is held to it without a line here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from activetune import Backbone, Labels, UsageError, load, load_backbone, open_pool
from activetune.base.arrays import FloatArray, IntArray
from activetune.base.config import field_types
from activetune.base.errors import ActivetuneError
from activetune.base.runtime import resolve_runtime
from activetune.base.unfinished import RUN, WORK
from activetune.data.images import decode_image
from activetune.data.pool import Pool
from activetune.evaluation.metrics import Measured, measure_top1
from activetune.evaluation.statistics import share_error
from activetune.networks.network import Network
from activetune.networks.regression import Measure
from activetune.tasks.classification import Classification
from activetune.training.finite import NotFinite
from activetune.training.job import Job
from activetune.training.recipe import make_recipe, recipes
from tests.conftest import tiny_backbone, write_digits
from tests.told_to_end import told_to_end_in_steps
from tests.training.test_finetuning import figures, history, learnt, some_labels, train

RECIPES = sorted(recipes())
QUICK = {"epochs": 2, "batch_size": 8, "trials": 2, "views": 2, "head_steps": 6, "rank": 2, "validation_least": 1}
QUICK |= {"batches": 4, "loops": 2, "measurements": 1, "budget": "50%", "captions": "none", "validation": 0.25}
FROZEN = ("frozen_map", "linear_probe", "pool_probe")
TIMED = ("seconds", "peak_memory_mb", "batches_in_all")
WITHIN = ("fact", "probe_then_full", "bitfit")  # whose phases are those of pool_fact and of lora
LOOPS = ("full", "lora", "vecaf")  # which between them have all that a training loop may have
COLUMNS = {"phase", "epoch", "lr", "train_loss", "seconds", "val_top1", "val_loss", "val_seconds", "strength", "head"}
COLUMNS |= {"smoothed", "interpolation", "loop", "batches", "scored", "selection_seconds", "alpha", "probe_share"}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return open_pool(write_digits(tmp_path_factory.mktemp("pool") / "digits", 60))


@pytest.fixture(params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def wholes() -> dict[str, Path]:
    """Finished runs by recipe; the fixture ``whole`` makes what is missing."""
    return {}


@pytest.fixture
def whole(recipe: str, pool: Pool, wholes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the recipe that nothing disturbed; nobody writes to it."""
    if recipe not in wholes:
        wholes[recipe] = tmp_path_factory.mktemp("whole") / "m"
        fit(recipe, pool, wholes[recipe], some_labels(pool, 6))
    return wholes[recipe]


def fit(recipe: str, pool: Pool, out: Path, labels: dict[str, str], **options: Any) -> Any:
    """A quick run of any recipe on a tiny network."""
    fields = field_types(recipes()[recipe])
    settings = {name: value for name, value in {**QUICK, **options.pop("settings", {})}.items() if name in fields}
    name, weights = tiny_backbone()
    return train(pool, out, recipe, labels=labels, settings=settings, backbone=name, weights=weights, **options)


def reported(folder: Path) -> dict[str, Any]:
    """All that a finished run reports, without the seconds and the memory that it took."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files = {name: content for name, content in files.items() if name not in ("history.csv", "manifest.json")}
    return {"files": files, "figures": _timeless(figures(folder)), "history": learnt(folder)}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(part) for key, part in value.items() if not key.endswith(TIMED)}
    return [_timeless(part) for part in value] if isinstance(value, list) else value


# The same again -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model_whatever_the_global_random_state(
    recipe: str, whole: Path, pool: Pool, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    np.random.seed(2)  # noqa: NPY002
    fit(recipe, pool, tmp_path / "again", some_labels(pool, 6))
    assert reported(tmp_path / "again") == reported(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [pytest.param(name, marks=pytest.mark.thorough if name in WITHIN else ()) for name in RECIPES],
    indirect=True,
)
def test_a_run_cut_off_after_each_of_its_saves_ends_as_if_it_had_not_been(
    recipe: str, whole: Path, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = some_labels(pool, 6)
    cuts = cut_off_after_each_save(
        monkeypatch, tmp_path / "cut", lambda: fit(recipe, pool, tmp_path / "cut", labels, resume=True)
    )
    assert cuts >= 6  # the marks of the run, its checkpoints, and the files of the model
    assert reported(tmp_path / "cut") == reported(whole)
    assert not (tmp_path / "cut" / WORK).exists()
    assert not (tmp_path / "cut" / RUN).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [pytest.param(name, marks=() if name in LOOPS else pytest.mark.thorough) for name in RECIPES if name not in FROZEN],
    indirect=True,
)
def test_a_run_told_to_end_in_its_steps_loses_none_of_them(
    recipe: str, whole: Path, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = some_labels(pool, 6)
    ended = told_to_end_in_steps(monkeypatch, lambda: fit(recipe, pool, tmp_path / "cut", labels, resume=True))
    assert ended >= 1
    assert reported(tmp_path / "cut") == reported(whole)


def cut_off_after_each_save(monkeypatch: pytest.MonkeyPatch, out: Path, run: Callable[[], Any]) -> int:
    """Run again and again, each time up to the first save that no earlier attempt had made; returns the cuts."""
    seen: set[tuple[Path, bytes]] = set()
    original = os.replace

    def save(source: Any, target: Any) -> None:
        path = Path(target)
        inside = WORK in path.parts
        key = (path, Path(source).read_bytes() if inside else b"")
        original(source, target)
        if out in path.parents and key not in seen:
            seen.add(key)
            raise KeyboardInterrupt

    for cuts in range(200):
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", save)
            try:
                run()
            except KeyboardInterrupt:
                continue
            return cuts
    raise AssertionError("the run never ends")


# Reports --------------------------------------------------------------------------------------------------------------


def test_the_history_has_known_columns_and_a_phase_in_each_row(whole: Path, pool: Pool) -> None:
    rows = history(whole)
    assert rows
    assert set(rows[0]) <= COLUMNS
    assert all(row["phase"] for row in rows)
    for row in rows:
        for name in ("val_top1", "smoothed"):
            assert not row.get(name) or 0 <= float(row[name]) <= 1
        for name in ("train_loss", "val_loss", "seconds", "val_seconds", "lr"):
            assert not row.get(name) or float(row[name]) >= 0
    found = figures(whole)
    assert found["n_train"] + found["n_validation"] == len(some_labels(pool, 6))


def wrong(logits_NC: FloatArray, truth_N: IntArray) -> Measured:
    """The share of wrong answers: what models would be chosen by if more of them were better."""
    found = measure_top1(logits_NC, truth_N)
    return replace(found, value=1 - found.value)


@dataclass(frozen=True)
class Contrary(Classification):
    """Classification that is chosen by another metric than top-1."""

    @property
    def primary(self) -> str:
        return "wrong"

    @property
    def measure(self) -> Measure:
        return wrong


def test_models_are_chosen_by_the_metric_of_the_task(recipe: str, pool: Pool, tmp_path: Path) -> None:
    """As if a task came whose models are not chosen by top-1: nothing of it is asked for or written."""
    settings = {name: value for name, value in QUICK.items() if name in field_types(recipes()[recipe])}
    made, labels = make_recipe(recipe, settings=settings), Labels.of(some_labels(pool, 6))
    name, weights = tiny_backbone()
    held_out = made.hold_out(labels.indices, 0)
    network, runtime = Network(load_backbone(name, weights)), resolve_runtime("cpu", "fp32")
    items = pool.subset(labels.ids), labels, held_out, pool
    outcome = made.run(Job(*items, network, runtime, 0, tmp_path, workers=0, quiet=True, task=Contrary()))
    assert "top1" not in json.dumps([outcome.history, _without_estimates(outcome.figures)])
    validated = [row for row in outcome.history if row.get("val_wrong", "") != ""]
    assert validated
    assert all(0 <= row["val_wrong"] <= 1 for row in validated)
    probes = [row for row in validated if row["phase"] == "probe" and "strength" in row]
    if recipe == "linear_probe":
        highest = max(row["val_wrong"] for row in probes)
        chosen = next(row for row in probes if row["strength"] == outcome.figures["strength"])
        assert chosen["val_wrong"] >= highest - share_error(highest, len(labels))


def _without_estimates(figures: Any) -> Any:
    """An estimate is a share of right answers, whatever a model was chosen by."""
    if isinstance(figures, dict):
        return {key: _without_estimates(part) for key, part in figures.items() if key != "estimate"}
    return figures


# The edges of labels --------------------------------------------------------------------------------------------------


def test_one_class_alone_is_refused(recipe: str, pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least two classes are needed"):
        fit(recipe, pool, tmp_path / "m", some_labels(pool, 6, classes=1))
    assert not (tmp_path / "m").exists()


def test_one_item_a_class(recipe: str, pool: Pool, tmp_path: Path) -> None:
    settings = {"budget": "100%"} if recipe == "vecaf" else {}
    fit(recipe, pool, tmp_path / "m", some_labels(pool, 1, classes=3), settings=settings)
    assert list(load(tmp_path / "m").classes) == ["0", "1", "2"]


@pytest.mark.slow
def test_all_items_labelled_and_a_class_without_any(recipe: str, pool: Pool, tmp_path: Path) -> None:
    labels = {item: name for item, name in zip(pool.ids, pool.labels or (), strict=True) if name is not None}
    classes = [*sorted(set(labels.values())), "never seen"]
    model = fit(recipe, pool, tmp_path / "m", labels, classes=classes, settings={"epochs": 1, "trials": 1})
    probs = model.predict([decode_image(pool.read(0))], device="cpu")
    assert probs.shape == (1, 11)
    assert np.isfinite(probs).all()


# What stays as it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", FROZEN)
def test_a_frozen_backbone_stays_what_it_was(frozen: str, pool: Pool, tmp_path: Path) -> None:
    fit(frozen, pool, tmp_path / "m", some_labels(pool, 6))
    after = load_file(tmp_path / "m" / "model.safetensors")
    for name, value in load_backbone(*tiny_backbone()).network.state_dict().items():
        found = min((key for key in after if f".{key}".endswith(f".{name}")), key=len)
        torch.testing.assert_close(after[found], value, rtol=0, atol=0)


# Numbers that are not finite ------------------------------------------------------------------------------------------


def test_a_network_that_is_not_finite_makes_no_model(
    recipe: str, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*given: Any, **options: Any) -> Backbone:
        backbone = load_backbone(*given, **options)
        with torch.no_grad():
            next(backbone.network.parameters()).fill_(float("nan"))
        return backbone

    monkeypatch.setattr("activetune.training.finetune.load_backbone", damaged)
    with pytest.raises(ActivetuneError, match=r"not finite|NaN or infinite|the loss is nan") as found:
        fit(recipe, pool, tmp_path / "m", some_labels(pool, 6), use_cache=False)
    assert found.value.exit_code == 1
    assert not (tmp_path / "m" / "model.safetensors").exists()
    assert not (tmp_path / "m" / "manifest.json").exists()


@pytest.mark.parametrize("trained", [name for name in RECIPES if "lr" in field_types(recipes()[name])])
def test_a_training_that_diverges_names_the_step_and_the_setting(trained: str, pool: Pool, tmp_path: Path) -> None:
    settings = {"lr": 1e30, "clip": 0, "optimizer": "sgd", "momentum": 0, "warmup_epochs": 0, "pilot": False}
    settings |= {"loops": 1}
    with pytest.raises(NotFinite, match=r"step \d+ of \d+.*a lower --set lr=… \(it is 1e\+30\)"):
        fit(trained, pool, tmp_path / "m", some_labels(pool, 6), settings=settings)
    assert not (tmp_path / "m" / "model.safetensors").exists()


def test_the_checkpoint_before_a_divergence_is_kept(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from activetune.training.loop import _Run

    original = _Run.one_epoch

    def one_epoch(self: _Run, advance: Any) -> dict[str, Any]:
        if self.epoch == 1:
            with torch.no_grad():
                next(self.job.backbone.network.parameters()).fill_(float("inf"))
        return original(self, advance)

    monkeypatch.setattr(_Run, "one_epoch", one_epoch)
    with pytest.raises(NotFinite, match=r"step 3 of 4 \(full, epoch 2; the state after epoch 1 is kept in "):
        fit("full", pool, tmp_path / "m", some_labels(pool, 6))
    content = torch.load(tmp_path / "m" / WORK / "full.pt", weights_only=True)
    assert content["epoch"] == 1
    assert all(bool(value.isfinite().all()) for value in content["network"].values())


@pytest.mark.parametrize("with_light_head", [name for name in RECIPES if "frofa" in field_types(recipes()[name])])
def test_a_light_head_that_diverges_names_its_own_rate(with_light_head: str, pool: Pool, tmp_path: Path) -> None:
    settings = {"head_lr": 1e30, "head": "map", "phases": "head", "frofa": "none"}
    with pytest.raises(NotFinite, match=r"light head.*a lower --set head_lr=… \(it is 1e\+30\)"):
        fit(with_light_head, pool, tmp_path / "m", some_labels(pool, 6), settings=settings)
