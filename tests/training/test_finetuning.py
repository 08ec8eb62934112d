"""Finetuning end to end on real digits: the files, resuming, fairness of the choices, and what is refused."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

import activetune
from activetune import Labels, Model, Scores, UsageError, evaluate, finetune, load_backbone, open_pool, predict
from activetune.base.config import field_types
from activetune.base.runtime import resolve_runtime
from activetune.base.torchvision_ import import_torchvision
from activetune.base.unfinished import RUN, WORK
from activetune.data.labels import pool_labels
from activetune.data.pool import Pool
from activetune.evaluation.metrics import Measured
from activetune.features import embedding
from activetune.networks.adapters import ADAPTER_FILES
from activetune.networks.backbones import bundled
from activetune.networks.network import Network
from activetune.networks.regression import LinearHead
from activetune.recipes import _from_probe
from activetune.training.batches import Batches, Turn
from activetune.training.finite import NotFinite
from activetune.training.job import Job, Outcome
from activetune.training.loop import _Run
from activetune.training.recipe import make_recipe, recipes
from activetune.training.steps import Steps
from activetune.training.streams import StreamItems
from tests.conftest import NETWORK, tiny_backbone, write_digits
from tests.told_to_end import told_to_end_at

TRAINED = sorted(name for name, cls in recipes().items() if "epochs" in field_types(cls))
PILOTED = {"auto", "fact", "pool_fact"}  # a pilot or cross-validation holds nothing out for good
QUICK = {"epochs": 3, "batch_size": 8, "trials": 2, "views": 2, "head_steps": 20, "rank": 2, "validation_least": 1}
QUICK |= {"batches": 6, "loops": 2, "measurements": 1, "budget": "50%", "captions": "none"}
ONE_FIT: dict[str, Any] = {"strengths": [100.0]}  # a linear probe with nothing to choose


def train(pool: Any, out: Path, recipe: str = "full", **options: Any) -> Model:
    """:func:`finetune` in this process, in fp32, saying nothing."""
    quick = {name: value for name, value in QUICK.items() if name in field_types(recipes()[recipe])}
    settings = {**quick, **options.pop("settings", {})}
    fixed: dict[str, Any] = {"workers": 0, "precision": "fp32", "quiet": True, "device": "cpu", **NETWORK}
    return finetune(pool, out=out, recipe=recipe, settings=settings, **{**fixed, **options})


def score(model: Model | Path, pool: Any, **options: Any) -> Scores:
    return evaluate(model, pool, workers=0, precision="fp32", device="cpu", quiet=True, **options)


def some_labels(pool: Pool, shots: int, classes: int = 4) -> dict[str, str]:
    """``shots`` labels of each of the first classes, from the pool's own."""
    found: dict[str, str] = {}
    for item, name in zip(pool.ids, pool.labels or (), strict=True):
        if name is not None and int(name) < classes and list(found.values()).count(name) < shots:
            found[item] = name
    return found


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def figures(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())["figures"]  # type: ignore[no-any-return]


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def learnt(folder: Path) -> list[dict[str, str]]:
    """The history without the times that it took."""
    return [{key: value for key, value in row.items() if not key.endswith("seconds")} for row in history(folder)]


# Recipes --------------------------------------------------------------------------------------------------------------


def marked(recipe: str) -> Any:
    """A recipe; those that are parts of others are tried where there is time."""
    first = recipe in ("linear_probe", "fact", "full", "vecaf")
    return pytest.param(recipe, marks=() if first else pytest.mark.thorough)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [marked(name) for name in sorted(recipes())])
def test_every_recipe_beats_chance_on_digits_it_has_not_seen(recipe: str, tmp_path: Path) -> None:
    pool = open_pool(write_digits(tmp_path / "digits", 110))
    labels = some_labels(pool, shots=6, classes=10)
    settings = {"head_steps": 60, "trials": 1, **({"lr": 1e-3} if recipe in TRAINED else {})}
    known_settings = {name: value for name, value in settings.items() if name in field_types(recipes()[recipe])}
    train(pool, tmp_path / "model", recipe, labels=labels, settings=known_settings, backbone="bundled@64")
    known = pool_labels(pool)
    unseen = Labels.of({item: name for item, name in zip(known.ids, known.names, strict=True) if item not in labels})
    scores = score(tmp_path / "model", pool, labels=unseen)
    assert scores.n == 50
    assert scores.top1 > 0.3


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_files_and_the_figures_in_the_manifest(recipe: str, digits: Path, tmp_path: Path, small: None) -> None:
    out = tmp_path / "model"
    labels = some_labels(open_pool(digits), shots=6)
    model = train(digits, out, recipe, labels=labels, settings={"epochs": 1} if recipe in TRAINED else {})
    assert {path.name for path in out.iterdir()} - set(ADAPTER_FILES) == {
        "config.json",
        "history.csv",
        "manifest.json",
        "model.safetensors",
        "rejected.csv",
        *(["selections.csv"] if recipe == "vecaf" else []),
    }
    config = json.loads((out / "config.json").read_text())
    assert config["classes"] == list(model.classes) == ["0", "1", "2", "3"]
    assert config["num_classes"] == 4
    assert (config["backbone"], config["architecture"], config["recipe"]) == (NETWORK["backbone"], "test_vit", recipe)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["kind"] == "model"
    assert manifest["seed"] == 0
    counts = (manifest["figures"]["n_train"], manifest["figures"]["n_validation"])
    held_out = recipe in {*TRAINED, "vecaf"} - PILOTED
    assert counts == ((20, 4) if held_out else (24, 0))
    assert manifest["figures"]["seconds"] > 0
    assert manifest["figures"]["peak_memory_mb"] > 0
    assert history(out)


def test_history_of_full_finetuning(digits: Path, tmp_path: Path, small: None) -> None:
    train(digits, tmp_path / "m", labels=some_labels(open_pool(digits), shots=6))
    rows = history(tmp_path / "m")
    assert list(rows[0]) == ["phase", "epoch", "lr", "train_loss", "seconds", "val_top1", "val_loss", "val_seconds"]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {row["phase"] for row in rows} == {"full"}
    assert float(rows[0]["lr"]) > float(rows[1]["lr"]) > float(rows[2]["lr"])


def test_the_seconds_of_an_epoch_are_those_of_all_runs_that_worked_on_it(
    digits: Path, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr("activetune.training.loop.time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    options = {"labels": some_labels(open_pool(digits), 5), "settings": {"epochs": 2, "batch_size": 8}, "resume": True}
    told_to_end_at(monkeypatch, Steps, "_update", lambda: train(digits, tmp_path / "cut", **options), 2)
    assert [row["seconds"] for row in history(tmp_path / "cut")] == ["3.0", "1.0"]  # a tick in a run, two in the other


def test_history_without_validation(digits: Path, tmp_path: Path, small: None) -> None:
    train(digits, tmp_path / "m", labels=some_labels(open_pool(digits), shots=2))
    assert list(history(tmp_path / "m")[0]) == ["phase", "epoch", "lr", "train_loss", "seconds"]
    assert figures(tmp_path / "m")["kept_epoch"] == 3
    assert figures(tmp_path / "m")["n_validation"] == 0


@pytest.mark.parametrize(
    ("shots", "held_out", "chosen_by"),
    [(6, [0, 9, 17, 20], "validation"), (3, [], "cross-validation"), (1, [], None)],
)
def test_history_of_a_linear_probe(
    shots: int, held_out: list[int], chosen_by: str | None, digits: Path, tmp_path: Path, small: None
) -> None:
    pool = open_pool(digits)
    labels = Labels.of(some_labels(pool, shots))
    network, runtime = Network(load_backbone(*NETWORK.values())), resolve_runtime("cpu", "fp32")
    held = np.array(held_out, dtype=np.int64)
    job = Job(pool.subset(labels.ids), labels, held, pool, network, runtime, 0, tmp_path, workers=0, quiet=True)
    outcome = make_recipe("linear_probe").run(job)
    assert outcome.figures.get("chosen_by") == chosen_by
    if chosen_by is None:
        assert not outcome.history
        return
    assert list(outcome.history[0]) == ["phase", "strength", "val_loss", "val_top1"]
    assert [row["strength"] for row in outcome.history] == [0.1, 1, 10, 100, 1000]
    chosen = next(row for row in outcome.history if row["strength"] == outcome.figures["strength"])
    assert outcome.figures["val_top1"] == chosen["val_top1"]


@pytest.mark.parametrize("recipe", ["linear_probe", "frozen_map", "fact"])
def test_many_labels_are_validated_on_a_part_and_fewer_by_all_of_them(recipe: str) -> None:
    indices = np.arange(2001) % 10
    assert len(make_recipe(recipe).hold_out(indices, 0)) == 400
    assert not len(make_recipe(recipe).hold_out(indices[1:], 0))


def test_history_of_probe_then_full_holds_both_phases(digits: Path, tmp_path: Path, small: None) -> None:
    train(digits, tmp_path / "m", "probe_then_full", labels=some_labels(open_pool(digits), shots=6))
    assert [row["phase"] for row in history(tmp_path / "m")] == ["probe"] * 5 + ["full"] * 3


def test_label_file_mapping_and_the_pools_own_labels_agree(tmp_path: Path, small: None) -> None:
    pool = open_pool(write_digits(tmp_path / "digits", 40))
    known = pool_labels(pool)
    rows = "".join(f"{item},{name}\n" for item, name in zip(known.ids, known.names, strict=True))
    (tmp_path / "labels.csv").write_text(f"id,label\n{rows}")
    forms = [None, known, dict(zip(known.ids, known.names, strict=True)), tmp_path / "labels.csv"]
    for number, labels in enumerate(forms):
        train(pool, tmp_path / str(number), "linear_probe", labels=labels, settings=ONE_FIT)
    assert len({weights(tmp_path / str(number)) for number in range(4)}) == 1


def test_the_seed_changes_the_training(digits: Path, tmp_path: Path, small: None) -> None:
    labels = some_labels(open_pool(digits), shots=2)
    for seed in (0, 1):
        train(digits, tmp_path / str(seed), labels=labels, seed=seed, settings={"epochs": 1})
    assert weights(tmp_path / "0") != weights(tmp_path / "1")


def test_the_backbone_of_a_linear_probe_stays_frozen(digits: Path, tmp_path: Path, small: None) -> None:
    train(digits, tmp_path / "m", "linear_probe", labels=some_labels(open_pool(digits), shots=2))
    published = load_file(NETWORK["weights"])
    found = load_file(tmp_path / "m" / "model.safetensors")
    assert set(found) - set(published) == {"head.weight", "head.bias"}
    for name, value in published.items():
        torch.testing.assert_close(found[name], value.to(found[name].dtype), rtol=0, atol=0)


def test_full_finetuning_moves_the_first_layer(digits: Path, tmp_path: Path) -> None:
    train(digits, tmp_path / "m", labels=some_labels(open_pool(digits), shots=2), settings={"lr": 1e-3})
    found = load_file(tmp_path / "m" / "model.safetensors")
    first = next(name for name in found if name.startswith("conv1") and name.endswith("weight"))
    assert (found[first] != load_file(bundled.WEIGHTS)[first].float()).any()


# The saved model ------------------------------------------------------------------------------------------------------


@pytest.fixture
def probe(digits: Path, tmp_path: Path, small: None) -> Path:
    """The folder of a quick model of ten classes."""
    train(digits, tmp_path / "model", "linear_probe", settings=ONE_FIT)
    return tmp_path / "model"


def test_load_and_predict_agree_with_predict(probe: Path, digits: Path) -> None:
    rows = predict(probe, digits, workers=0, precision="fp32", device="cpu", quiet=True)
    model = activetune.load(probe)
    probs = model.predict([digits / item for item, _, _ in rows], device="cpu", precision="fp32")
    assert probs.shape == (120, 10)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
    assert [model.classes[best] for best in probs.argmax(axis=1)] == [name for _, name, _ in rows]
    np.testing.assert_allclose(probs.max(axis=1), [prob for _, _, prob in rows], atol=1e-5)


def test_the_returned_model_is_the_saved_one(digits: Path, tmp_path: Path, small: None) -> None:
    images = sorted(digits.rglob("*.png"))[:5]
    made = train(digits, tmp_path / "m", labels=some_labels(open_pool(digits), shots=2), settings={"epochs": 1})
    saved = activetune.load(tmp_path / "m")
    np.testing.assert_allclose(made.predict(images), saved.predict(images), atol=1e-6)
    assert list(made.classes) == list(saved.classes)
    assert made.config == saved.config


def test_the_returned_model_has_the_fingerprint_of_its_weights(digits: Path, tmp_path: Path, small: None) -> None:
    made = train(digits, tmp_path / "m", labels=some_labels(open_pool(digits), shots=2), settings={"epochs": 1})
    assert made.backbone.fingerprint == activetune.load(tmp_path / "m").backbone.fingerprint


def test_plain_timm_opens_the_model(probe: Path, digits: Path) -> None:
    import_torchvision()
    import timm
    from PIL import Image

    config = json.loads((probe / "config.json").read_text())
    options = config["architecture_options"]
    network = timm.create_model(config["architecture"], num_classes=config["num_classes"], **options)
    network.load_state_dict(load_file(probe / "model.safetensors"), strict=True)
    image = config["image"]
    transform = timm.data.create_transform(
        (3, *image["size"]),
        **{name: image[name] for name in ("interpolation", "mean", "std", "crop_pct", "crop_mode")},
    )
    paths = sorted(digits.rglob("*.png"))[:6]
    batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
    with torch.inference_mode():
        expected = torch.softmax(network.eval()(batch), dim=1).numpy()
    np.testing.assert_allclose(activetune.load(probe).predict(paths, precision="fp32"), expected, atol=1e-3)


@pytest.mark.parametrize("kind", ["linear", "map", "multilabel"])
def test_a_model_is_a_backbone_without_its_heads(kind: str, digits: Path, tmp_path: Path) -> None:
    name, file = tiny_backbone()
    pool = open_pool(digits)
    labels: Any = some_labels(pool, shots=2)
    task = kind if kind == "multilabel" else "classification"
    if task == kind:
        labels = {item: [label] for item, label in labels.items()}
    settings = {"epochs": 1} if kind != "map" else {"epochs": 1, "head": "map", "head_steps": 2}
    recipe = "fact" if kind == "map" else "full"
    options = {"task": task, "backbone": name, "weights": file, "labels": labels, "settings": settings}
    made = train(digits, tmp_path / "m", recipe, **options)
    found = load_backbone(str(tmp_path / "m"))
    assert found.fingerprint == made.backbone.fingerprint
    assert kind == "map" or found.fingerprint != load_backbone(name, file).fingerprint
    embedded = activetune.embed(pool, backbone=str(tmp_path / "m"), out=tmp_path / "e", workers=0, quiet=True)
    assert embedded.manifest["backbone"] == str(tmp_path / "m")
    again = train(digits, tmp_path / "n", backbone=str(tmp_path / "m"), labels=some_labels(pool, 2))
    assert load_backbone(str(tmp_path / "n")).fingerprint == again.backbone.fingerprint
    assert load_backbone(f"{tmp_path / 'm'}@96x128").settings.size == (96, 128)
    with pytest.raises(UsageError, match="holds its own weights; give none beside it"):
        load_backbone(str(tmp_path / "m"), tmp_path / "m" / "model.safetensors")
    content = (tmp_path / "m" / "model.safetensors").read_bytes()
    (tmp_path / "m" / "model.safetensors").write_bytes(content[: len(content) // 2])
    for size in ("", "@96x128"):
        with pytest.raises(UsageError, match=r"model\.safetensors (do not fit|can't be read|was changed or damaged)"):
            load_backbone(f"{tmp_path / 'm'}{size}")


DAMAGES = ("missing weights", "cut weights", "one bit", "other classes", "reversed classes", "no image settings")


def damaged(damage: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    content = bytearray(weights(folder))
    if damage == "missing weights":
        (folder / "model.safetensors").unlink()
        return
    if damage == "cut weights":
        del content[10_000:]
    elif damage == "one bit":
        content[-1000] ^= 1
    elif damage == "other classes":
        config["num_classes"] = 7
    elif damage == "reversed classes":
        config["classes"].reverse()
    else:
        config["image"] = {}
    (folder / "model.safetensors").write_bytes(content)
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@pytest.mark.parametrize("damage", DAMAGES)
def test_changed_files_are_refused(damage: str, probe: Path) -> None:
    activetune.load(probe)
    damaged(damage, probe)
    with pytest.raises(UsageError, match=r"is not the file that finetuning wrote|is damaged .*; finetune again"):
        activetune.load(probe)


@pytest.mark.parametrize("damage", ["missing weights", "cut weights", "other classes", "no image settings"])
def test_damaged_models_without_digests_are_explained(damage: str, probe: Path) -> None:
    manifest = json.loads((probe / "manifest.json").read_text())
    del manifest["files"]
    (probe / "manifest.json").write_text(json.dumps({**manifest, "format": 1}))
    activetune.load(probe)
    damaged(damage, probe)
    with pytest.raises(UsageError, match=r"is damaged .*; finetune again"):
        activetune.load(probe)


def test_a_manifest_of_today_without_digests_is_damaged(probe: Path) -> None:
    manifest = json.loads((probe / "manifest.json").read_text())
    assert manifest["format"] == 2
    for files in ({}, {"config.json": manifest["files"]["config.json"]}, [], None):
        (probe / "manifest.json").write_text(json.dumps({**manifest, "files": files}))
        with pytest.raises(UsageError, match=r"is damaged .*; finetune again"):
            activetune.load(probe)


# Going on after an interruption ---------------------------------------------------------------------------------------


def cut_off(monkeypatch: pytest.MonkeyPatch, run: Any, saves: int = 1) -> None:
    """Run something that is interrupted right after its checkpoint number ``saves``."""
    done = []
    original = _Run.save

    def save(self: _Run) -> None:
        original(self)
        done.append(self.epoch)
        if len(done) == saves:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_Run, "save", save)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert len(done) == saves


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ema": {"ema": 0.9},
    "drop_path": {"drop_path": 0.3},
    "layer_decay": {"layer_decay": 0.7},
    "sgd": {"optimizer": "sgd", "lr": 0.01},
    "no validation": {"validation": 0.0, "warmup_epochs": 0.0, "clip": 0.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_is_the_uninterrupted_run(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    pool = open_pool(write_digits(tmp_path / "digits", 60))
    labels = some_labels(pool, shots=5)
    settings = VARIANTS[variant]
    train(pool, tmp_path / "whole", labels=labels, settings=settings)
    cut_off(monkeypatch, lambda: train(pool, tmp_path / "cut", labels=labels, settings=settings))
    assert (tmp_path / "cut" / WORK / "full.pt").is_file()
    train(pool, tmp_path / "cut", labels=labels, settings=settings, resume=True)
    assert learnt(tmp_path / "cut") == learnt(tmp_path / "whole")
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert not (tmp_path / "cut" / WORK).exists()
    assert not (tmp_path / "cut" / RUN).exists()


@pytest.mark.parametrize("variant", ["ema", "drop_path", "layer_decay"])
def test_the_variants_are_not_the_plain_run(variant: str, tmp_path: Path, small: None) -> None:
    pool = open_pool(write_digits(tmp_path / "digits", 60))
    labels = some_labels(pool, shots=2)
    for name in ("plain", variant):
        train(pool, tmp_path / name, labels=labels, settings={**VARIANTS[name], "lr": 1e-3})
    assert weights(tmp_path / variant) != weights(tmp_path / "plain")


@pytest.mark.slow
def test_probe_then_full_resumes_in_its_second_phase(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    labels = some_labels(open_pool(digits), shots=2)
    train(digits, tmp_path / "whole", "probe_then_full", labels=labels)
    cut_off(monkeypatch, lambda: train(digits, tmp_path / "cut", "probe_then_full", labels=labels), saves=2)
    train(digits, tmp_path / "cut", "probe_then_full", labels=labels, resume=True)
    assert learnt(tmp_path / "cut") == learnt(tmp_path / "whole")
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


@pytest.fixture
def unfinished(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None) -> Path:
    """The folder of a run that was cut off after its first epoch."""
    labels = some_labels(open_pool(digits), shots=2)
    cut_off(monkeypatch, lambda: train(digits, tmp_path / "cut", labels=labels))
    return tmp_path / "cut"


def test_an_unfinished_run_is_no_model(unfinished: Path) -> None:
    with pytest.raises(UsageError, match="unfinished"):
        activetune.load(unfinished)


def test_a_run_goes_on_where_the_probe_comes_out_a_little_different(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    """As on another machine, or with another number of threads."""
    options = {"labels": some_labels(open_pool(digits), shots=6), "settings": {"epochs": 2}}
    cut_off(monkeypatch, lambda: train(digits, tmp_path / "m", "probe_then_full", **options))
    original = LinearHead.write_to

    def write_to(self: LinearHead, layer: torch.nn.Linear) -> None:
        original(self, layer)
        layer.weight.data += 1e-6

    monkeypatch.setattr(LinearHead, "write_to", write_to)
    train(digits, tmp_path / "m", "probe_then_full", **options, resume=True)
    assert [row["epoch"] for row in history(tmp_path / "m") if row["phase"] == "full"] == ["1", "2"]


def test_an_unfinished_run_needs_resume_or_overwrite(unfinished: Path, digits: Path) -> None:
    labels = some_labels(open_pool(digits), shots=2)
    with pytest.raises(UsageError, match="holds an unfinished run; go on with --resume"):
        train(digits, unfinished, labels=labels)
    assert (unfinished / WORK / "full.pt").is_file()
    train(digits, unfinished, labels=labels, overwrite=True)
    assert [row["epoch"] for row in history(unfinished)] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "changed", [{"settings": {"lr": 1e-2}}, {"settings": {"epochs": 4}}, {"seed": 1}, {"recipe": "probe_then_full"}]
)
def test_resuming_with_other_settings_is_refused(changed: dict[str, Any], unfinished: Path, digits: Path) -> None:
    labels = some_labels(open_pool(digits), shots=2)
    with pytest.raises(UsageError, match="unfinished run with another pool, labels, backbone, settings or seed"):
        train(digits, unfinished, labels=labels, resume=True, **changed)


def test_resuming_with_other_labels_is_refused(unfinished: Path, digits: Path) -> None:
    with pytest.raises(UsageError, match="unfinished run with another pool, labels"):
        train(digits, unfinished, labels=some_labels(open_pool(digits), shots=3), resume=True)


def test_a_finished_model_is_kept_with_resume(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    labels = some_labels(open_pool(digits), shots=2)
    options: dict[str, Any] = {"labels": labels, "settings": ONE_FIT}
    train(digits, tmp_path / "m", "linear_probe", **options)
    before = weights(tmp_path / "m")

    def run(self: object, job: Job) -> Outcome:
        raise AssertionError("trained again")

    monkeypatch.setattr(recipes()["linear_probe"], "run", run)
    model = train(digits, tmp_path / "m", "linear_probe", resume=True, **options)
    assert len(model.predict(sorted(digits.rglob("*.png"))[:2])) == 2
    assert weights(tmp_path / "m") == before


def test_a_finished_model_is_not_replaced_unasked(digits: Path, tmp_path: Path, small: None) -> None:
    labels = some_labels(open_pool(digits), shots=2)
    train(digits, tmp_path / "m", "linear_probe", labels=labels, settings=ONE_FIT)
    before = weights(tmp_path / "m")
    for options in ({}, {"seed": 1, "resume": True}):
        with pytest.raises(UsageError, match="is not empty"):
            train(digits, tmp_path / "m", "linear_probe", labels=labels, settings=ONE_FIT, **options)
    assert weights(tmp_path / "m") == before
    (tmp_path / "m" / "notes.txt").write_text("mine")
    train(digits, tmp_path / "m", "linear_probe", labels=labels, settings={"strengths": [1.0]}, overwrite=True)
    assert weights(tmp_path / "m") != before
    assert (tmp_path / "m" / "notes.txt").read_text() == "mine"


def workers_give_the_same(digits: Path, tmp_path: Path, settings: dict[str, Any]) -> bool:
    labels = some_labels(open_pool(digits), shots=3)
    for workers in (0, 1):
        options = {"labels": labels, "workers": workers, "settings": {"epochs": 2, **settings}}
        train(digits, tmp_path / str(workers), **options)
    return weights(tmp_path / "0") == weights(tmp_path / "1")


def test_the_number_of_workers_changes_nothing(digits: Path, tmp_path: Path, small: None) -> None:
    assert workers_give_the_same(digits, tmp_path, {})


def test_the_number_of_workers_changes_nothing_with_stochastic_depth(digits: Path, tmp_path: Path, small: None) -> None:
    assert workers_give_the_same(digits, tmp_path, {"drop_path": 0.5})


# Fairness of the choices ----------------------------------------------------------------------------------------------


def recorded_job(monkeypatch: pytest.MonkeyPatch, recipe: str) -> list[Job]:
    """The job that a recipe is given, once it has run."""
    jobs: list[Job] = []
    cls = recipes()[recipe]
    original = cls.run

    def run(self: Any, job: Job) -> Outcome:
        jobs.append(job)
        return original(self, job)

    monkeypatch.setattr(cls, "run", run)
    return jobs


@pytest.mark.parametrize("recipe", sorted({*TRAINED} - PILOTED))
def test_held_out_items_are_never_trained_on(
    recipe: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    asked: list[int] = []
    original = StreamItems.__getitem__

    def record(self: StreamItems, turn: Turn | int) -> Any:
        asked.extend([turn.position] if isinstance(turn, Turn) else [])
        return original(self, turn)

    monkeypatch.setattr(StreamItems, "__getitem__", record)
    jobs = recorded_job(monkeypatch, recipe)
    train(digits, tmp_path / "m", recipe, labels=some_labels(open_pool(digits), shots=10))
    held_out = set(jobs[0].held_out.tolist())
    assert len(held_out) == 8
    assert set(asked) == set(range(40)) - held_out
    assert sorted(asked) == sorted(3 * list(set(range(40)) - held_out))  # each once an epoch


def test_the_head_that_probe_then_full_starts_from_has_not_seen_the_held_out_items(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    fitted: list[int] = []
    held_out: list[int] = []
    original = LogisticRegression.fit

    def fit(self: LogisticRegression, features: np.ndarray, indices: np.ndarray, *rest: Any) -> LogisticRegression:
        fitted.append(len(indices))
        return original(self, features, indices, *rest)

    def only_start(job: Job, options: Any, *, phase: str) -> Outcome:
        held_out.extend(job.held_out.tolist())
        return Outcome([])

    monkeypatch.setattr(LogisticRegression, "fit", fit)
    monkeypatch.setattr(_from_probe, "train", only_start)
    train(digits, tmp_path / "m", "probe_then_full", labels=some_labels(open_pool(digits), shots=10))
    assert len(held_out) == 8
    assert max(fitted) == 32


def test_the_best_epoch_on_validation_is_kept(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    results = iter([Measured(*found, 10) for found in [(0.2, 1.0), (0.9, 0.5), (0.9, 0.4), (0.9, 0.6)]])
    states: list[dict[str, torch.Tensor]] = []

    def validate(self: _Run, network: torch.nn.Module) -> Measured:
        averaged = self.steps.averaged().get_submodule("backbone.network")
        states.append({name: value.clone() for name, value in averaged.state_dict().items()})
        return next(results)

    monkeypatch.setattr(_Run, "_validate", validate)
    train(digits, tmp_path / "m", labels=some_labels(open_pool(digits), shots=6), settings={"epochs": 4})
    assert figures(tmp_path / "m")["kept_epoch"] == 3
    assert figures(tmp_path / "m")["val_top1"] == 0.9
    assert figures(tmp_path / "m")["chosen_by"] == "validation"
    found = load_file(tmp_path / "m" / "model.safetensors")
    assert all(torch.equal(found[name], value) for name, value in states[2].items())
    assert not torch.equal(states[3]["patch_embed.proj.weight"], states[2]["patch_embed.proj.weight"])


def test_validation_scores_the_items_as_evaluation_does(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    jobs = recorded_job(monkeypatch, "full")
    labels = some_labels(open_pool(digits), shots=10)
    train(digits, tmp_path / "m", labels=labels, settings={"lr": 1e-3})
    held = [jobs[0].labels.ids[position] for position in jobs[0].held_out]
    scores = score(tmp_path / "m", digits, labels=Labels.of({item: labels[item] for item in held}))
    kept = figures(tmp_path / "m")["kept_epoch"]
    assert scores.top1 == pytest.approx(float(history(tmp_path / "m")[kept - 1]["val_top1"]))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sorted(name for name, kind in recipes().items() if kind.uses_pool))
def test_of_items_without_a_label_the_images_alone_are_looked_at(recipe: str, tmp_path: Path, small: None) -> None:
    pool = open_pool(write_digits(tmp_path / "digits", 60))
    labels = some_labels(pool, shots=5)
    for name, known in (("known", pool), ("unknown", replace(pool, labels=None))):
        train(known, tmp_path / name, recipe, labels=labels, use_cache=False)
    assert weights(tmp_path / "known") == weights(tmp_path / "unknown")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sorted(name for name, kind in recipes().items() if not kind.uses_pool))
def test_items_without_a_label_are_never_looked_at(recipe: str, tmp_path: Path, small: None) -> None:
    pool = open_pool(write_digits(tmp_path / "digits", 60))
    labels = some_labels(pool, shots=5)
    settings = {"epochs": 1} if recipe in TRAINED else {}
    settings |= {"pool_shots": 1} if recipe == "auto" else {}  # above, it leaves the pool alone
    train(pool, tmp_path / "clean", recipe, labels=labels, settings=settings, use_cache=False)
    for item in set(pool.ids) - set(labels):
        (tmp_path / "digits" / item).write_bytes(b"not an image")
    train(tmp_path / "digits", tmp_path / "garbage", recipe, labels=labels, settings=settings, use_cache=False)
    assert weights(tmp_path / "garbage") == weights(tmp_path / "clean")


@pytest.mark.parametrize("recipe", ["linear_probe", "pool_probe"])
def test_what_is_excluded_is_as_if_it_were_not_there(recipe: str, digits: Path, tmp_path: Path, small: None) -> None:
    pool = open_pool(digits)
    labels = some_labels(pool, shots=4)
    out = [item for item, label in labels.items() if label == "3"]  # the class goes with its only labels
    out.append(next(item for item in reversed(pool.ids) if item not in labels))
    (tmp_path / "exclude.csv").write_text("id,why\n" + "".join(f"{item},blank\n" for item in out))
    train(digits, tmp_path / "excluded", recipe, labels=labels, exclude=tmp_path / "exclude.csv", use_cache=False)
    rest = pool.subset([item for item in pool.ids if item not in out])
    kept = {item: label for item, label in labels.items() if item not in out}
    model = train(rest, tmp_path / "rest", recipe, labels=kept, use_cache=False)
    assert "3" not in model.classes and "3" in labels.values()
    assert weights(tmp_path / "excluded") == weights(tmp_path / "rest")
    with pytest.raises(UsageError, match="is not empty"):
        train(digits, tmp_path / "excluded", recipe, labels=labels, resume=True)


def test_what_is_excluded_leaves_the_pools_cached_features_in_use(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    pool = open_pool(digits)
    options = activetune.EmbedOptions(workers=0, precision="fp32", device="cpu")
    activetune.embed(pool, options=options, quiet=True, **NETWORK)

    def computed(*_: Any, **__: Any) -> None:
        raise AssertionError("features are computed again")

    monkeypatch.setattr(embedding, "compute", computed)
    labels = some_labels(pool, shots=4)
    assert len(train(pool, tmp_path / "m", "pool_probe", labels=labels, exclude=[pool.ids[-1]]).classes) == 4


def test_an_exclusion_that_leaves_nothing_to_learn_from(digits: Path, tmp_path: Path, small: None) -> None:
    labels = some_labels(open_pool(digits), shots=2, classes=2)
    for out, sentence in (
        (list(labels), r"without the excluded items: .*; exclude fewer \(--exclude\)"),
        (list(labels)[:2], r"without the excluded items: all 2 labels are"),
        (["gone.png"], "ids to exclude: 1 of 1 ids are not in the pool"),
        (iter(["gone.png"]), "ids to exclude: 1 of 1 ids are not in the pool"),
        ([7], "ids to exclude: 7 is no id, as ids are text"),
        (7, "ids to exclude can't be 7; give a list of ids"),
    ):
        with pytest.raises(UsageError, match=sentence):
            train(digits, tmp_path / "m", "linear_probe", labels=labels, exclude=out)
    assert not (tmp_path / "m").exists()


def test_cached_features_of_the_whole_pool_give_the_same_probe(digits: Path, tmp_path: Path, small: None) -> None:
    labels = some_labels(open_pool(digits), shots=3)
    train(digits, tmp_path / "alone", "linear_probe", labels=labels, settings=ONE_FIT, use_cache=False)
    options = activetune.EmbedOptions(workers=0, precision="fp32", device="cpu")
    activetune.embed(digits, options=options, quiet=True, **NETWORK)
    train(digits, tmp_path / "cached", "linear_probe", labels=labels, settings=ONE_FIT)
    one, two = (load_file(tmp_path / name / "model.safetensors")["head.weight"] for name in ("alone", "cached"))
    torch.testing.assert_close(one, two, atol=0.02 * float(one.abs().max()), rtol=0)


# Labels that do not fit -----------------------------------------------------------------------------------------------


def test_unknown_ids_are_refused(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1 of 9 ids are not in the pool .*'0/9999.png'"):
        train(digits, tmp_path / "m", labels={**some_labels(open_pool(digits), 2), "0/9999.png": "0"})
    assert not (tmp_path / "m").exists()


def test_no_labels_are_refused_for_what_they_are(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no label"):
        train(digits, tmp_path / "m", labels={})


def test_one_class_is_refused(digits: Path, tmp_path: Path) -> None:
    labels = some_labels(open_pool(digits), shots=5, classes=1)
    with pytest.raises(UsageError, match="all 5 labels are '0'; at least two classes are needed"):
        train(digits, tmp_path / "m", labels=labels)
    assert not (tmp_path / "m").exists()


def test_corrupt_labelled_images_are_skipped_and_listed(digits: Path, tmp_path: Path, small: None) -> None:
    labels = some_labels(open_pool(digits), shots=3)
    first, *_, second = labels
    (digits / first).write_bytes(b"not an image")
    (digits / second).write_bytes(b"")
    train(digits, tmp_path / "m", "linear_probe", labels=labels)
    with (tmp_path / "m" / "rejected.csv").open(newline="") as file:
        rejected = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    assert rejected[first].startswith("corrupt")
    assert rejected[second].startswith("empty")
    assert len(rejected) == 2
    assert figures(tmp_path / "m")["n_train"] == 10


def test_a_class_whose_only_image_is_corrupt_is_named(digits: Path, tmp_path: Path) -> None:
    labels = some_labels(open_pool(digits), shots=1)
    (digits / next(item for item, name in labels.items() if name == "2")).write_bytes(b"not an image")
    with pytest.raises(UsageError, match=r"no labelled image of '2' .* can't be; the first: .*: corrupt.*\); label"):
        train(digits, tmp_path / "m", "linear_probe", labels=labels)
    assert not (tmp_path / "m").exists()


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "settings", "sentence"),
    [
        ("full", {"epochs": 0}, "epochs can't be 0; allowed: 1 or more"),
        ("full", {"lr": float("inf")}, "lr can't be inf; allowed: 0 or more, finite"),
        ("full", {"lr": -1}, "lr can't be -1"),
        ("full", {"lr": float("nan")}, "lr can't be nan"),
        ("full", {"optimizer": "lion"}, "optimizer can't be 'lion'"),
        ("full", {"epoch": 3}, "recipe full has no setting 'epoch'; did you mean 'epochs'"),
        ("full", {"training.lr": 1}, r"recipe full has no setting 'training\.lr'; did you mean 'lr'"),
        ("fact", {"head_batch": 0}, "head_batch can't be 0; allowed: 1 or more"),
        ("full", {"batch_size": "many"}, "batch_size can't be 'many'"),
        ("full", {"layer_decay": 1.5}, "layer_decay can't be 1.5; allowed: 0.01 to 1"),
        ("full", {"validation": 1}, "validation can't be 1"),
        ("linear_probe", {"strength": 1}, "did you mean 'strengths'"),
        ("linear_probe", {"strengths": [-1.0]}, "strengths can't be .*; allowed: positive numbers"),
        ("linear_probe", {"folds": 1}, "folds can't be 1; allowed: 2 or more"),
    ],
)
def test_impossible_settings_are_explained(recipe: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make_recipe(recipe, settings=settings)


def test_settings_are_checked_before_anything_is_written(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="epochs can't be 0"):
        train(digits, tmp_path / "m", settings={"epochs": 0})
    assert not (tmp_path / "m").exists()


def test_unknown_recipe_and_preset() -> None:
    with pytest.raises(UsageError, match=r"unknown recipe 'linear'.*linear_probe"):
        make_recipe("linear")
    with pytest.raises(UsageError, match="the recipe full has no preset 'papers'; it has: paper"):
        make_recipe("full", "papers")


def test_the_papers_preset_and_single_settings_over_it() -> None:
    recipe = make_recipe("full", "paper", {"epochs": "7"})
    training = recipe.training  # type: ignore[attr-defined]
    assert (training.epochs, training.optimizer, training.lr, training.clip) == (7, "sgd", 0.01, 2.0)


def test_a_run_of_one_step_learns(digits: Path, tmp_path: Path, small: None) -> None:
    settings = {"epochs": 1, "warmup_epochs": 0.0}
    train(digits, tmp_path / "m", labels=some_labels(open_pool(digits), shots=2), settings=settings)
    assert load_file(tmp_path / "m" / "model.safetensors")["head.weight"].abs().max() > 0


def test_a_diverging_run_ends_with_advice(digits: Path, tmp_path: Path, small: None) -> None:
    settings = {"optimizer": "sgd", "lr": 1e30, "clip": 0.0, "warmup_epochs": 0.0}
    with pytest.raises(NotFinite, match=r"at step \d+ of .*give a lower --set lr"):
        train(digits, tmp_path / "m", labels=some_labels(open_pool(digits), shots=2), settings=settings)


def test_a_run_that_diverges_in_its_last_step_names_the_setting_too(digits: Path, tmp_path: Path, small: None) -> None:
    settings = {"lr": 1e30, "warmup_epochs": 0.0, "epochs": 1}  # one batch, after which no loss is computed any more
    with pytest.raises(NotFinite, match=r"at the end, so no model was saved; give a lower --set lr=… \(it is 1e\+30"):
        train(digits, tmp_path / "m", labels=some_labels(open_pool(digits), shots=2), settings=settings)


def test_two_precisions_in_one_process(digits: Path, tmp_path: Path, small: None) -> None:
    labels = some_labels(open_pool(digits), shots=2)
    for precision in ("fp32", "bf16", "fp32"):
        options: dict[str, Any] = {"labels": labels, "precision": precision, "settings": {"epochs": 1}}
        train(digits, tmp_path / "m", overwrite=True, **options)
        assert json.loads((tmp_path / "m" / "manifest.json").read_text())["precision"] == precision


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_a_stretch_of_an_endless_sequence_is_that_of_the_whole(balance: float) -> None:
    def turns(first: int, count: int) -> list[Turn]:
        positions, targets = np.arange(3, 20), np.arange(30) % 3
        batches = Batches(positions, targets, 4, seed=1, balance=balance)
        batches.span(first, count)
        return [turn for part in batches for turn in part]

    whole = turns(0, 40)
    assert {turn.time for turn in whole} >= {0, 5}
    for first, count in ((0, 3), (4, 1), (5, 9), (17, 17), (39, 1)):
        assert turns(first, count) == whole[4 * first : 4 * (first + count)]


def test_batches_show_each_item_once_in_another_order_each_epoch() -> None:
    batches = Batches(np.arange(10, 27), np.zeros(30, dtype=np.int64), 5, seed=3)
    epochs = []
    for batches.epoch in (0, 1, 0):
        parts = list(batches)
        assert len(parts) == len(batches) == 4
        assert {len(part) for part in parts} == {4, 5}
        assert {turn.epoch for part in parts for turn in part} == {batches.epoch}
        epochs.append([turn.position for part in parts for turn in part])
        assert sorted(epochs[-1]) == list(range(10, 27))
    assert epochs[0] == epochs[2] != epochs[1]
