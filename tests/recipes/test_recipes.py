"""What the recipes train and what they leave alone; the light heads' way out of the package; few and uneven labels."""

from __future__ import annotations

import builtins
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import PartialState
from safetensors.torch import load_file, save_file

import activetune
from activetune import UsageError, load_backbone, open_pool, simulate
from activetune.base.arrays import NO_INDICES
from activetune.base.errors import MissingExtra
from activetune.base.runtime import Runtime, resolve_runtime
from activetune.base.torchvision_ import import_torchvision
from activetune.base.unfinished import WORK
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.data.splits import shuffled
from activetune.evaluation.metrics import Measured
from activetune.networks.imbalance import cross_entropy
from activetune.networks.network import Network
from activetune.networks.regression import StrengthTrial, best_strength
from activetune.recipes import auto
from activetune.tasks.classification import Classification
from activetune.training import network_state as _network
from activetune.training.batches import Batches
from activetune.training.job import Job
from activetune.training.loop import _Run
from activetune.training.optimiser import make_accelerator
from activetune.training.recipe import make_recipe
from activetune.training.steps import Steps
from activetune.training.validation import is_better
from tests.conftest import NETWORK, TINY, tiny_backbone, write_digits
from tests.training.test_finetuning import cut_off, history, learnt, some_labels, train, weights

VIT = TINY
ON_BUNDLED: dict[str, Any] = {"backbone": "bundled@32", "weights": None}  # for its batch norms or good features
pytestmark = [pytest.mark.usefixtures("small"), pytest.mark.slow]


@pytest.fixture
def vit() -> Path:
    """The weights of a small transformer at its random start."""
    return tiny_backbone()[1]


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return open_pool(write_digits(tmp_path / "digits", 60))


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["figures"]
    return found


def moved(folder: Path, start: dict[str, torch.Tensor]) -> set[str]:
    """The names of the backbone's weights and statistics that differ from the start."""
    state = load_file(folder / "model.safetensors")
    return {name for name in start if not torch.equal(start[name], state[name])}


# What is trained -----------------------------------------------------------------------------------------------------


def test_bitfit_trains_biases_and_the_classifier(pool: Pool, vit: Path, tmp_path: Path) -> None:
    train(pool, tmp_path / "m", "bitfit", labels=some_labels(pool, 2), backbone=VIT, weights=vit)
    found = moved(tmp_path / "m", load_file(vit))
    assert found
    assert all(name.endswith("bias") for name in found)


def test_lora_moves_queries_and_values_alone(pool: Pool, vit: Path, tmp_path: Path) -> None:
    train(pool, tmp_path / "m", "lora", labels=some_labels(pool, 2), backbone=VIT, weights=vit)
    start, state = load_file(vit), load_file(tmp_path / "m" / "model.safetensors")
    assert {name.split(".", 2)[-1] for name in moved(tmp_path / "m", start)} == {"attn.qkv.weight"}
    for name in moved(tmp_path / "m", start):
        query, key, value = (state[name] - start[name]).chunk(3)
        assert not key.any()
        for part in (query, value):
            assert torch.linalg.matrix_rank(part, atol=1e-5 * float(part.norm())) <= 2


def test_an_adapter_is_the_merged_model_for_peft(pool: Pool, vit: Path, tmp_path: Path) -> None:
    settings = {"targets": "q,v,fc1", "rank": 3}
    train(pool, tmp_path / "m", "lora", labels=some_labels(pool, 2), backbone=VIT, weights=vit, settings=settings)
    import_torchvision()
    import peft
    import timm

    base = timm.create_model("test_vit", num_classes=4, img_size=32)
    base.load_state_dict(load_file(vit), strict=False)
    adapted = peft.PeftModel.from_pretrained(base, str(tmp_path / "m")).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        merged = activetune.load(tmp_path / "m").network.eval()(images)
        torch.testing.assert_close(adapted(images), merged, atol=1e-4, rtol=1e-4)


def test_lora_leaves_what_a_frozen_norm_has_counted(pool: Pool, tmp_path: Path) -> None:
    start = dict(load_backbone("bundled").network.state_dict())
    train(pool, tmp_path / "m", "lora", labels=some_labels(pool, 2), **ON_BUNDLED)
    assert {name.split(".")[-2] for name in moved(tmp_path / "m", start)} == {"conv1", "conv2"}


def test_a_replaced_lora_model_leaves_no_adapter(pool: Pool, tmp_path: Path) -> None:
    train(pool, tmp_path / "m", "lora", labels=some_labels(pool, 2), settings={"epochs": 1})
    assert (tmp_path / "m" / "adapter_config.json").is_file()
    train(pool, tmp_path / "m", "linear_probe", labels=some_labels(pool, 2), overwrite=True)
    assert not (tmp_path / "m" / "adapter_config.json").exists()


def test_lora_names_the_layers_that_there_are(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"has no layer named 'w_qs' that an addition fits; give some of these .*proj, q, qkv"
    ):
        train(pool, tmp_path / "m", "lora", labels=some_labels(pool, 2), settings={"targets": "w_qs"})
    assert not (tmp_path / "m").exists()  # the next try needs no --overwrite


def test_lora_without_peft_says_what_to_install(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def absent(name: str, *rest: Any, **others: Any) -> Any:
        if name == "peft":
            raise ImportError(name)
        return original(name, *rest, **others)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'activetune[lora]'")):
        train(pool, tmp_path / "m", "lora", labels=some_labels(pool, 2))


@pytest.mark.parametrize(("recipe", "settings"), [("frozen_map", {}), ("fact", {"phases": "probe,head"})])
def test_a_frozen_backbone_stays(recipe: str, settings: dict[str, Any], pool: Pool, tmp_path: Path) -> None:
    start = dict(load_backbone(*NETWORK.values()).network.state_dict())
    train(pool, tmp_path / "m", recipe, labels=some_labels(pool, 4), settings=settings)
    assert not moved(tmp_path / "m", start)


# One step of training ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"accumulation": 3}, {"checkpointing": True}])
def test_less_memory_gives_the_same_gradients(settings: dict[str, Any], pool: Pool, vit: Path, tmp_path: Path) -> None:
    labels = some_labels(pool, 2)
    for name, given in (("plain", {}), ("less", settings)):
        options = {"labels": labels, "backbone": VIT, "weights": vit, "settings": {"optimizer": "sgd", **given}}
        train(pool, tmp_path / name, "full", **options)
    plain, less = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "less"))
    for name in plain:
        torch.testing.assert_close(plain[name], less[name], atol=1e-5, rtol=1e-4)


def test_attention_is_fused_again_after_training(pool: Pool, vit: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """On a processor training computes attention plainly, which is the same function; the network is as it was."""
    seen: list[bool] = []
    original = Steps._backward

    def backward(self: Steps, *given: Any) -> Any:
        layers = [one for one in self.job.backbone.network.modules() if hasattr(one, "fused_attn")]
        seen.extend(layer.fused_attn for layer in layers)
        return original(self, *given)

    monkeypatch.setattr(Steps, "_backward", backward)
    options = {"labels": some_labels(pool, 3), "backbone": VIT, "weights": vit, "settings": {"epochs": 1}}
    model = train(pool, tmp_path / "plain", **options)
    assert seen and not any(seen)
    assert all(layer.fused_attn for layer in model.network.modules() if hasattr(layer, "fused_attn"))
    monkeypatch.setattr(_network, "SHORT", 0)
    seen.clear()
    train(pool, tmp_path / "fused", **options)
    assert all(seen)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "fused"))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-2, atol=1e-3)


def test_activations_that_cannot_be_computed_again_are_explained(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = type(load_backbone(*NETWORK.values()).network)

    def refuse(self: torch.nn.Module, enable: bool = True) -> None:
        raise AssertionError("no gradient checkpointing")

    monkeypatch.setattr(network, "set_grad_checkpointing", refuse)
    with pytest.raises(UsageError, match="can't compute its activations again"):
        train(pool, tmp_path / "m", labels=some_labels(pool, 2), settings={"checkpointing": True})


def test_l2sp_stays_nearer_to_the_start(pool: Pool, tmp_path: Path) -> None:
    start = load_backbone(*NETWORK.values()).network.state_dict()
    gone = []
    for pull in (0.0, 500.0):
        settings = {"l2sp": pull, "lr": 1e-3, "weight_decay": 0.0}
        train(pool, tmp_path / str(pull), labels=some_labels(pool, 2), settings=settings)
        state = load_file(tmp_path / str(pull) / "model.safetensors")
        gone.append(sum(float((state[name] - start[name]).square().sum()) for name in start if start[name].ndim == 4))
    assert gone[1] < 0.9 * gone[0]


def validated(monkeypatch: pytest.MonkeyPatch, losses: Sequence[float], smoothed: Sequence[float] = ()) -> None:
    """The losses that epochs are judged by, and then the smoothed accuracies that interpolations are."""
    epochs = [Measured(0.5, loss, 10) for loss in losses]
    given = iter([*epochs, *(Measured(0.5, 1.0, 10, value) for value in smoothed)])
    monkeypatch.setattr(_Run, "_validate", lambda run, network: next(given))


def test_training_ends_where_validation_no_longer_gets_better(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated(monkeypatch, [3.0, 2.0, 2.5, 2.4, 2.3, 1.0])
    settings = {"epochs": 6, "patience": 2}
    train(pool, tmp_path / "m", labels=some_labels(pool, 6), settings=settings)
    assert [row["val_loss"] for row in history(tmp_path / "m")] == ["3.0", "2.0", "2.5", "2.4"]
    assert figures(tmp_path / "m")["kept_epoch"] == 2


# Few and uneven labels -----------------------------------------------------------------------------------------------


def test_balanced_batches_draw_each_class_as_often() -> None:
    targets = np.repeat([0, 1, 2], [90, 9, 1])
    batches = Batches(np.arange(100), targets, 10, seed=0, balance=1.0)
    turns = [turn for part in batches for turn in part]
    assert len(turns) == 100
    assert set(np.bincount(targets[[turn.position for turn in turns]])) <= {33, 34}
    assert len(set(turns)) == 100  # an item that comes again is seen under another crop


def test_a_balance_between_keeps_the_order_of_sizes() -> None:
    targets = np.repeat([0, 1], [90, 10])
    drawn = np.bincount(targets[shuffled(np.arange(100), targets, np.random.default_rng(0), 0.5)])
    assert drawn[0] == pytest.approx(75, abs=1)


@pytest.mark.parametrize(
    "recipe",
    ["linear_probe", "probe_then_full", pytest.param("frozen_map", marks=pytest.mark.thorough), "fact"],
)
def test_logit_adjustment_favours_the_small_class(recipe: str, pool: Pool, tmp_path: Path) -> None:
    known = dict(zip(pool.ids, pool.labels or (), strict=True))
    zeros = [item for item in pool.ids if known[item] == "0"]
    others = [item for item in pool.ids if known[item] == "8"]
    labels = {**dict.fromkeys(zeros[:5], "0"), others[0]: "8"}
    # What is trained takes up the adjustment as it learns: of few steps the effect is within what rounding changes.
    longer: dict[str, dict[str, Any]] = {
        "frozen_map": {"head": "map", "frofa": "none", "head_steps": 400, "head_lr": 0.003},
        "probe_then_full": {"strengths": [0.1]},  # a stronger probe has learned all there is
    }
    shares = []
    for factor in (0.0, 1.0):
        settings: dict[str, Any] = {"logit_adjustment": factor, **longer.get(recipe, {})}
        model = train(pool, tmp_path / str(factor), recipe, labels=labels, settings=settings)
        paths = [tmp_path / "digits" / item for item in [*zeros, *others]]
        shares.append(model.predict(paths, precision="fp32")[:, 1].mean())
    assert shares[1] > shares[0]


def test_smoothing_is_the_usual_one_where_nothing_is_added() -> None:
    logits, targets = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 3, 0])
    answers = torch.nn.functional.one_hot(targets, 4).float()
    usual = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)
    torch.testing.assert_close(cross_entropy(logits, answers, torch.zeros(4), 0.1), usual)


@pytest.mark.parametrize("smoothing", [0.05, 0.3])
def test_smoothing_does_not_teach_that_a_rare_class_is_as_likely(smoothing: float) -> None:
    """At the loss's minimum the logits that are left still tell the large class's items."""
    added = torch.log(torch.tensor([0.9, 0.09, 0.01]))
    logits = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = cross_entropy(logits, torch.tensor([[1.0, 0.0, 0.0]]), added, smoothing)
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    own, *others = logits.detach()[0].tolist()
    assert all(own - other > math.log((1 - smoothing) / smoothing) for other in others)


@pytest.mark.parametrize("recipe", ["linear_probe", "full", "fact", "frozen_map", "lora"])
def test_a_class_without_a_label_has_an_output(recipe: str, pool: Pool, tmp_path: Path) -> None:
    classes = ["9", "0", "1", "2", "3"]
    model = train(pool, tmp_path / "m", recipe, labels=some_labels(pool, 1), classes=classes)
    assert activetune.load(tmp_path / "m").classes == classes
    probs = model.predict([tmp_path / "digits" / item for item in pool.ids[:3]], precision="fp32")
    assert probs.shape == (3, 5)
    assert np.isfinite(probs).all()


def test_a_thousand_classes_with_a_label_each(tmp_path: Path) -> None:
    items = [f"{number % 10}/{number:04d}.png" for number in range(1000)]
    pool = open_pool(write_digits(tmp_path / "digits", 1000))
    assert set(items) & set(pool.ids)
    labels = {item: f"class {number}" for number, item in enumerate(pool.ids)}
    train(pool, tmp_path / "m", "linear_probe", labels=labels, settings={"iterations": 20})
    assert len(activetune.load(tmp_path / "m").classes) == 1000


# FACT ----------------------------------------------------------------------------------------------------------------


def test_phases_can_be_run_alone(pool: Pool, tmp_path: Path) -> None:
    labels = some_labels(pool, 5)
    for phases in ("probe", "full", "head", "probe,full", "full,head"):
        train(pool, tmp_path / phases, "fact", labels=labels, settings={"phases": phases, "epochs": 1, "pilot": False})
        assert list(figures(tmp_path / phases)["phases"]) == phases.split(",")
        assert {row["phase"] for row in history(tmp_path / phases)} == set(phases.split(","))


@pytest.mark.parametrize("settings", [{"phases": "full,probe"}, {"phases": ""}, {"phases": "probe", "head": "keep"}])
def test_impossible_phases_are_explained(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"fact: (phases can't be|head=keep keeps)"):
        make_recipe("fact", settings=settings)


def test_the_phases_are_the_recipes_they_are_named_after(pool: Pool, tmp_path: Path) -> None:
    labels = some_labels(pool, 5)
    settings = {"phases": "probe,full", "patience": 0, "pilot": False, "interpolation": 1, "layer_decay": 1, "lr": 1e-4}
    train(pool, tmp_path / "fact", "fact", labels=labels, settings=settings)
    train(pool, tmp_path / "recipe", "probe_then_full", labels=labels)
    assert weights(tmp_path / "fact") == weights(tmp_path / "recipe")


def test_a_pilot_chooses_and_leaves_no_trace(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validated(monkeypatch, [3.0, 1.0, 2.0])
    lower = "activetune.training.loop.is_better"
    monkeypatch.setattr(lower, lambda found, best: best is None or found.loss < best["loss"])
    labels = some_labels(pool, 3)
    train(pool, tmp_path / "m", "fact", labels=labels, settings={"head": "keep", "interpolation": 1})
    rows = history(tmp_path / "m")
    assert [row["phase"] for row in rows if row["epoch"]] == ["pilot full"] * 3 + ["full"] * 2
    settings = {"phases": "probe,full", "pilot": False, "epochs": 3, "interpolation": 1, "validation": 0}
    monkeypatch.setattr(_Run, "stalled", property(lambda run: run.epoch == 2))
    train(pool, tmp_path / "without", "fact", labels=labels, settings=settings)
    assert weights(tmp_path / "m") == weights(tmp_path / "without")


def test_the_best_place_between_start_and_end_is_kept(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = some_labels(pool, 3)
    tried = {"interpolation": "0,0.25,1", "epochs": 1}
    validated(monkeypatch, [9.0], [0.5, 0.7, 0.6])
    train(pool, tmp_path / "m", "fact", labels=labels, settings={"head": "keep", **tried})
    assert figures(tmp_path / "m")["phases"]["full"]["interpolation"] == 0.25
    found = {}
    for share in (0.0, 0.25, 1.0):
        given = {"interpolation": share, "epochs": 1, "lr": 3e-4, "layer_decay": 0.75, "validation": 0}
        train(pool, tmp_path / str(share), "probe_then_full", labels=labels, settings=given)
        found[share] = load_file(tmp_path / str(share) / "model.safetensors")
    for name, value in load_file(tmp_path / "m" / "model.safetensors").items():
        torch.testing.assert_close(value, found[0.25][name])
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.lerp(found[0.0][name], found[1.0][name], 0.25))
    with pytest.raises(UsageError, match=r"interpolation can't be 1.5; allowed: numbers from 0 to 1"):
        make_recipe("full", settings={"interpolation": 1.5})


def test_where_the_probe_is_best_nothing_more_is_trained(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated(monkeypatch, [9.0], [0.7, 0.6])
    labels = some_labels(pool, 3)
    settings = {"head": "keep", "interpolation": "0,1", "epochs": 1}
    train(pool, tmp_path / "m", "fact", labels=labels, settings=settings)
    train(pool, tmp_path / "probe", "linear_probe", labels=labels, settings={"probe_by": "strength"})
    assert weights(tmp_path / "m") == weights(tmp_path / "probe")
    assert [row["phase"] for row in history(tmp_path / "m") if row["epoch"]] == ["pilot full"]


def test_without_enough_to_choose_by_there_is_no_pilot(pool: Pool, tmp_path: Path) -> None:
    train(pool, tmp_path / "m", "fact", labels=some_labels(pool, 3), settings={"validation_least": 200})
    assert "pilot" not in figures(tmp_path / "m")
    assert figures(tmp_path / "m")["phases"]["full"]["kept_epoch"] == 3


@pytest.mark.parametrize(
    ("settings", "head"),
    [
        ({}, "keep"),
        ({"head": "logistic"}, "logistic"),
        ({"head": "map"}, "map with c2frofa:brightness:0.2"),
        ({"head": "map", "frofa": "none"}, "map"),
        ({"head": "linear", "frofa": "frofa:contrast:2"}, "linear with frofa:contrast:2"),
    ],
)
def test_what_is_asked_for_is_done_where_nothing_can_be_chosen_by(
    settings: dict[str, Any], head: str, pool: Pool, tmp_path: Path
) -> None:
    train(pool, tmp_path / "m", "fact", labels=some_labels(pool, 1), settings={"epochs": 1, **settings})
    assert figures(tmp_path / "m")["phases"]["head"]["head"] == head


@pytest.mark.thorough
def test_fact_resumes_wherever_it_was(pool: Pool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"labels": some_labels(pool, 3), **ON_BUNDLED}  # a start that is worth a pilot
    train(pool, tmp_path / "whole", "fact", **options)
    for saves in (1, 4):  # in the pilot, in the training after it
        out = tmp_path / str(saves)
        with pytest.MonkeyPatch.context() as patch:
            cut_off(patch, lambda out=out: train(pool, out, "fact", **options), saves=saves)
        train(pool, out, "fact", **options, resume=True)
        assert learnt(out) == learnt(tmp_path / "whole")
        assert weights(out) == weights(tmp_path / "whole")
        assert not (out / WORK).exists()


def test_fact_resumes_among_its_views(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = some_labels(pool, 5)
    settings = {"head": "map", "frofa": "none", "views": 6, "pilot": False, "validation": 0}
    options: dict[str, Any] = {"labels": labels, "settings": settings}
    train(pool, tmp_path / "whole", "fact", **options)
    seen: list[int] = []
    original = activetune.Backbone.all_tokens

    def tokens(self: activetune.Backbone, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return original(self, images)

    monkeypatch.setattr(activetune.Backbone, "all_tokens", tokens)
    with pytest.raises(KeyboardInterrupt):
        train(pool, tmp_path / "cut", "fact", **options)
    train(pool, tmp_path / "cut", "fact", **options, resume=True)
    assert sum(seen[:2]) + sum(seen[3:]) == 6 * len(labels)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


@pytest.mark.parametrize("recipe", ["fact", "lora"])
@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_convnext", "vil/test_vil"])
def test_backbones_of_every_family(name: str, recipe: str, pool: Pool, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = load_backbone(name, pretrained=False).network.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "weights.safetensors")
    given: dict[str, Any] = {"backbone": name, "weights": tmp_path / "weights.safetensors"}
    settings: dict[str, Any] = {"epochs": 1}
    if recipe == "fact":
        settings |= {"head": "map", "frofa": "c2frofa:brightness:0.5 + frofa:shift:0.1"}
    model = train(pool, tmp_path / "m", recipe, labels=some_labels(pool, 5), settings=settings, **given)
    paths = [tmp_path / "digits" / item for item in pool.ids[:5]]
    back = activetune.load(tmp_path / "m").predict(paths, precision="fp32")
    np.testing.assert_array_equal(model.predict(paths, precision="fp32"), back)


# The light heads elsewhere -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "backbone"), [("map", "bundled@32"), ("map", "timm/test_vit@80"), ("logistic", VIT)])
def test_the_documents_code_opens_a_light_head(
    kind: str, backbone: str, pool: Pool, vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"settings": {"head": kind, "frofa": "none", "epochs": 1, "trials": 1}}
    given = {"backbone": backbone, "weights": None if backbone == "bundled@32" else vit}
    model = train(pool, tmp_path / "MODEL", "fact", labels=some_labels(pool, 5), **given, **options)
    text = (Path(__file__).parents[2] / "docs" / "finetune.md").read_text(encoding="utf-8")
    first, second = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    import_torchvision()
    names: dict[str, Any] = {}
    exec(first.split("network =")[0], names)
    exec(second, names)
    images = torch.rand(2, 3, *model.backbone.settings.size)
    with torch.inference_mode():
        expected = model.network.cpu().eval()(images)
        torch.testing.assert_close(names["network"](images), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(activetune.load("MODEL").network.eval()(images), expected)


def test_a_light_head_is_loaded_back(pool: Pool, tmp_path: Path) -> None:
    settings = {"head": "map", "frofa": "c2frofa:brightness:0.5"}
    model = train(pool, tmp_path / "m", "fact", labels=some_labels(pool, 5), settings=settings)
    paths = [tmp_path / "digits" / item for item in pool.ids[:5]]
    back = activetune.load(tmp_path / "m")
    np.testing.assert_array_equal(model.predict(paths, precision="fp32"), back.predict(paths, precision="fp32"))
    assert back.config["heads"]["classification"]["kind"] == "map"


# The choice of a recipe ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "recipe", "own"),
    [({}, "pool_fact", {"turns": 0}), ({"pool_shots": 4}, "fact", {"validation_least": 200})],
)
def test_auto_takes_fact_where_there_is_time_and_the_pool_where_labels_are_few(
    asked: dict[str, Any], recipe: str, own: dict[str, Any], pool: Pool, tmp_path: Path
) -> None:
    labels = some_labels(pool, 5)
    train(pool, tmp_path / "auto", "auto", labels=labels, settings=asked)
    train(pool, tmp_path / "given", recipe, labels=labels, settings={"batch_size": 32, **own})
    assert figures(tmp_path / "auto")["recipe"] == recipe
    assert "5.0 labels per class" in figures(tmp_path / "auto")["because"]
    assert weights(tmp_path / "auto") == weights(tmp_path / "given")


@pytest.mark.parametrize("minutes, recipe", [(0, "fact"), (1e-6, "linear_probe")])
def test_auto_hands_on_what_is_asked_for_classes_of_different_size(
    minutes: float, recipe: str, pool: Pool, tmp_path: Path
) -> None:
    labels = dict(list(some_labels(pool, 6).items())[:-4])
    remedy = {"logit_adjustment": 1, "balance": 0.5}
    asked = {"minutes": minutes, "pool_shots": 1, **remedy}
    train(pool, tmp_path / "auto", "auto", labels=labels, settings=asked)
    others = {} if recipe == "linear_probe" else {"batch_size": 32, "validation_least": 200}
    train(pool, tmp_path / "given", recipe, labels=labels, settings={**remedy, **others})
    assert figures(tmp_path / "auto")["recipe"] == recipe
    assert weights(tmp_path / "auto") == weights(tmp_path / "given")


LONG_TAIL = {"0": 6, "1": 4, "2": 3}  # labels by class


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ("full", {"balance": 1}),
        ("fact", {"logit_adjustment": 1, "pilot": False}),
        ("linear_probe", {"balance": 1}),
        ("vecaf", {"select_within": "classes", "batches": 4, "loops": 1, "budget": 9, "captions": "none"}),
    ],
)
def test_what_makes_up_for_uneven_classes_is_chosen_by_balanced_accuracy(
    recipe: str, settings: dict[str, Any], pool: Pool, tmp_path: Path
) -> None:
    own = dict(zip(pool.ids, pool.labels or (), strict=True))
    labels: dict[str, str] = {}
    for name, count in LONG_TAIL.items():
        labels |= dict([(item, name) for item, label in own.items() if label == name][:count])
    if recipe != "linear_probe":  # it cross-validates
        settings = {"validation_least": 1, "validation": 0.3, **settings}
    train(pool, tmp_path / "m", recipe, labels=labels, settings=settings)
    rows = [row for row in history(tmp_path / "m") if row.get("val_balanced_accuracy")]
    assert rows
    found = str(figures(tmp_path / "m"))
    assert "'val_balanced_accuracy'" in found
    assert "'val_top1'" not in found  # it is told by epoch, and chooses nothing
    if recipe == "vecaf":  # curves of all recipes have one column
        assert all(row["val_top1"] for row in rows if row["phase"] == "vecaf")


def test_the_epoch_is_chosen_for_the_classes_that_are_asked_for() -> None:
    truth = np.repeat([0, 1], [90, 10])
    always_first = np.tile([1.0, 0.0], (100, 1))
    fair = np.where(np.arange(100)[:, None] < 70, [1.0, 0.0], [0.0, 1.0])  # 70 of 90 right, and all of the 10
    plain, even = Classification().measure, Classification().with_even_classes().measure
    assert plain(always_first, truth).value > plain(fair, truth).value
    assert even(always_first, truth).value < even(fair, truth).value
    kept = {"value": even(always_first, truth).value, "loss": even(always_first, truth).loss}
    assert is_better(even(fair, truth), kept)
    assert not is_better(plain(fair, truth), {"value": plain(always_first, truth).value, "loss": 0.0})


def test_auto_freezes_the_backbone_where_time_is_short(pool: Pool, tmp_path: Path) -> None:
    train(pool, tmp_path / "m", "auto", labels=some_labels(pool, 5), settings={"minutes": 1e-6})
    assert figures(tmp_path / "m")["recipe"] == "linear_probe"
    assert figures(tmp_path / "m")["because"].startswith("as pool_fact would need")
    assert not moved(tmp_path / "m", dict(load_backbone(*NETWORK.values()).network.state_dict()))


@pytest.mark.parametrize("count, passes", [(500, 15), (1500, 30), (2500, 15)])  # the pilot runs below 2,000 alone
def test_auto_counts_the_pilot_where_it_runs(count: int, passes: int, pool: Pool, tmp_path: Path) -> None:
    labels = Labels.of({str(number): "odd" if number % 2 else "even" for number in range(count)})
    job = Job(pool, labels, NO_INDICES, pool, Network(load_backbone(*NETWORK.values())), resolve_runtime(), 0, tmp_path)
    _, because, _ = auto.Auto(minutes=1e9)._within(job, 60.0)
    assert f"about {passes * count:,.1f} of" in because


# Seconds where one image takes a second in training, and so a third of one to be looked at, in a pool of N images.
TIMES: list[tuple[Callable[[int], float], int, str, str]] = [
    (lambda N: 1e6, 2, "", "pool_fact"),
    (lambda N: 15 * 20 + 2 * N / 3 + 6 * 100 / 0.75 + 9, 5, "", "pool_fact"),  # 20 labels, 100 pseudo-labels
    (lambda N: 15 * 20 + 2 * N / 3 + 6 * 100 / 0.75 - 9, 5, "", "pool_fact"),  # no student
    (lambda N: 15 * 20 + N / 3 + 9, 5, "", "pool_fact"),
    (lambda N: 15 * 20 + N / 3 - 9, 5, "", "fact"),
    (lambda N: 1e6, 2, "map", "fact"),  # a head that doesn't learn from the pool
    (lambda N: 1e6, 30, "", "fact"),  # labels enough
    (lambda N: N / 3 + 9, 5, "", "pool_probe"),
    (lambda N: N / 3 - 9, 5, "", "linear_probe"),
    (lambda N: 100 * N, 25, "", "pool_fact"),
]


@pytest.mark.parametrize(("time_of", "shots", "head", "recipe"), TIMES)
def test_auto_learns_from_the_pool_where_labels_are_few_and_time_is_given(
    time_of: Callable[[int], float], shots: int, head: str, recipe: str, tmp_path: Path
) -> None:
    pool = open_pool(write_digits(tmp_path / "digits", 600))
    labels = Labels.of(some_labels(pool, shots))
    network = Network(load_backbone(*NETWORK.values()))
    job = Job(pool.subset(labels.ids), labels, NO_INDICES, pool, network, resolve_runtime(), 0, tmp_path, head=head)
    seconds = time_of(len(pool))
    chosen = auto.Auto(minutes=seconds / 60, worthwhile=100, pool_shots=25)
    name, _, count = chosen._within(job, 1.0)
    assert name == recipe
    if recipe == "pool_fact":
        assert (count >= 100) == (shots == 25)  # else labels are too few for a pilot, which judges a student
    assert chosen.learns_from_pool("classification", head, labels, len(pool)) == (shots < 30 and not head)
    assert auto.Auto(pool_shots=25)._choice(job)[::2] == ("pool_fact" if shots < 30 and not head else "fact", 0)


def test_a_model_of_the_pool_by_auto_is_that_of_the_recipe_it_chose(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "seconds_an_image", lambda *_: 0.001)
    labels = some_labels(pool, 2)
    given = {"minutes": 0.05 / 60, "worthwhile": 1000, "epochs": 15}
    train(pool, tmp_path / "auto", "auto", labels=labels, settings=given)
    assert figures(tmp_path / "auto")["recipe"] == "pool_probe"
    train(pool, tmp_path / "given", "pool_probe", labels=labels)
    assert weights(tmp_path / "auto") == weights(tmp_path / "given")


@pytest.mark.parametrize("recipe", ["pool_probe", "pool_fact", "vecaf"])
@pytest.mark.parametrize("door", ["finetune", "simulate"])
def test_a_head_that_a_recipe_cannot_train_is_refused(recipe: str, door: str, pool: Pool, tmp_path: Path) -> None:
    told = f"the recipe {recipe} trains the head linear, not map; leave the head out, or give another recipe"
    with pytest.raises(UsageError, match=told):
        if door == "finetune":
            train(pool, tmp_path / "m", recipe, labels=some_labels(pool, 2), head="map")
        else:
            simulate(pool, test="30%", methods="random", budgets="8", recipes=recipe, head="map", out=tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_setting_of_other_recipes_is_told_with_these() -> None:
    with pytest.raises(
        UsageError, match=r"recipe auto has no setting 'lr', which is one of .*full.*; choose one of these"
    ):
        make_recipe("auto", settings={"lr": 1e-3})


@pytest.mark.parametrize(
    ("recipe", "head", "settings", "told"),
    [
        ("fact", None, {"head": "fcos"}, "head=fcos does not answer classification; give auto, keep or one of linear"),
        ("frozen_map", None, {"head": "segmenter"}, "head=segmenter does not answer classification"),
        ("frozen_map", "linear", {}, "its light head is map .*, and --head asks for linear; leave --head out, or give"),
        ("fact", "logistic", {"head": "map"}, "its light head is map .*, and --head asks for logistic"),
        ("frozen_map", None, {"head": "keep"}, "keeps a trained classifier, and none is trained before"),
    ],
)
def test_a_light_head_that_can_not_be_is_refused_at_the_start(
    recipe: str, head: str | None, settings: dict[str, Any], told: str, pool: Pool, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        train(pool, tmp_path / "m", recipe, labels=some_labels(pool, 2), head=head, settings=settings)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("recipe", ["fact", "frozen_map"])
@pytest.mark.parametrize("head", ["map", "logistic"])
def test_a_head_that_is_asked_for_is_the_only_one_that_is_tried(
    recipe: str, head: str, pool: Pool, tmp_path: Path
) -> None:
    settings = {"head": "auto", "frofa": "none", "trials": 9, "views": 1, "head_steps": 2, "strengths": [1.0]}
    if recipe == "fact":
        settings |= {"pilot": False, "validation_least": 1, "epochs": 1, "interpolation": 1}
    train(pool, tmp_path / "m", recipe, labels=some_labels(pool, 5), head=head, settings=settings)
    tried = {row["head"] for row in history(tmp_path / "m") if row["phase"] == "head"}
    assert tried == ({"keep", head} if recipe == "fact" else {head})
    assert activetune.load(tmp_path / "m").network.head().kind == head


def test_auto_trains_a_head_that_no_selection_reads(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "seconds_an_image", lambda *_: 0.01)
    given = {"minutes": 0.05, "epochs": 15, "worthwhile": 6, "head_steps": 2}
    train(pool, tmp_path / "m", "auto", labels=some_labels(pool, 50), head="map", settings=given)
    assert figures(tmp_path / "m")["recipe"] == "linear_probe"  # of a time that vecaf would have for other heads


def test_auto_trains_for_as_many_batches_as_fit(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "seconds_an_image", lambda *_: 0.01)
    labels = some_labels(pool, 50)
    seconds = 0.01 * (len(labels) / 3 + 32 * 7.5)  # the features and seven batches and a half
    train(
        pool, tmp_path / "m", "auto", labels=labels, settings={"minutes": seconds / 60, "epochs": 15, "worthwhile": 6}
    )
    found = figures(tmp_path / "m")
    assert (found["recipe"], found["batches"]) == ("vecaf", 7)
    assert found["because"].endswith("7 batches of all labels do")
    assert found["scored_items"] == found["n_train"] == len(labels)  # the pass of the first probe


def test_auto_trains_additions_to_a_large_backbone(pool: Pool, tmp_path: Path) -> None:
    train(pool, tmp_path / "m", "auto", labels=some_labels(pool, 2), settings={"large": 1000})
    assert figures(tmp_path / "m")["recipe"] == "lora"
    assert (tmp_path / "m" / "adapter_config.json").is_file()


def test_a_choice_by_time_outlives_the_run(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on may be on a faster machine, or on a busier one: it goes on with what was chosen."""
    labels = some_labels(pool, 50)
    options: dict[str, Any] = {"labels": labels, "settings": {"minutes": 0.02, "pool_shots": 0}}
    monkeypatch.setattr(auto, "seconds_an_image", lambda *_: 0.001)
    cut_off(monkeypatch, lambda: train(pool, tmp_path / "m", "auto", **options))
    monkeypatch.setattr(auto, "seconds_an_image", lambda *_: 1000.0)
    train(pool, tmp_path / "m", "auto", **options, resume=True)
    assert figures(tmp_path / "m")["recipe"] == "fact"


@pytest.mark.parametrize("recipe", ["probe_then_full", "lora", "bitfit"])
def test_training_goes_on_from_the_weakest_of_equal_probes(recipe: str, pool: Pool, tmp_path: Path) -> None:
    train(pool, tmp_path / "m", recipe, labels=some_labels(pool, 6), settings={"epochs": 1})
    trials = [row for row in history(tmp_path / "m") if row["phase"] == "probe"]
    found = figures(tmp_path / "m")
    tried = [
        StrengthTrial(
            float(row["val_top1"]), float(row["val_loss"]), found["n_validation"], strength=float(row["strength"])
        )
        for row in trials
    ]
    assert found["strength"] == best_strength(tried, by="strength").strength


# Where it computes --------------------------------------------------------------------------------------------------


def test_a_training_computes_where_it_is_asked_to_whatever_the_process_computed_on_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_accelerator(Runtime(torch.device("cpu"), "fp32"), several=False)
    monkeypatch.setitem(PartialState._shared_state, "device", torch.device("meta"))  # as a GPU would be kept
    assert make_accelerator(Runtime(torch.device("cpu"), "fp32"), several=False).device.type == "cpu"


@pytest.mark.parametrize("recipe", ["probe_then_full", "fact"])
def test_the_papers_training_is_the_same_in_every_recipe(recipe: str) -> None:
    """Whatever the recipe's own defaults are: what stops early or mixes weights would not be the paper's."""
    paper: Any = make_recipe(recipe, "paper", {})
    full: Any = make_recipe("full", "paper", {})
    assert paper.training == full.training
    assert (paper.training.patience, paper.training.layer_decay, paper.training.interpolation) == (0, 1.0, (1.0,))


def test_crops_that_no_view_has_are_told(pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(pool, tmp_path / "idle", "linear_probe", quiet=False, settings={"min_crop": 0.9, "flip": 0.0})
    assert "min_crop, flip change nothing here: give probe_views=2 or more" in capsys.readouterr().err
    train(pool, tmp_path / "varied", "linear_probe", quiet=False, settings={"min_crop": 0.9, "probe_views": 2})
    assert "min_crop" not in capsys.readouterr().err
