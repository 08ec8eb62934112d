"""Where VeCAF's loops have their losses from, what that costs, and how loops and classes share batches and items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from activetune import UsageError, load_backbone
from activetune.data.pool import Pool
from activetune.networks.backbones import multiplications, resized, share_of
from activetune.networks.regression import fit_linear
from activetune.recipes.vecaf import scorer as _scorer
from activetune.recipes.vecaf.loops import Loops
from activetune.recipes.vecaf.noted import last_losses
from activetune.recipes.vecaf.record import LoopRecord
from activetune.recipes.vecaf.scorer import LoopScorer, balanced
from activetune.recipes.vecaf.scoring import Scored
from activetune.recipes.vecaf.settings import LoopSettings
from activetune.training.recipe import make_recipe
from tests.conftest import tiny_backbone
from tests.recipes.test_vecaf import SHORT, _small, by_loop, pool, run, selections
from tests.training.test_finetuning import cut_off, figures, history, learnt, some_labels, train, weights

__all__ = ["_small", "pool"]
pytestmark = pytest.mark.slow
TWO = {"batches": 8, "loops": 2}


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[LoopScorer, Scored]]:
    """The scorer and what it gives, loop by loop; the losses and the classifier are those of that moment."""
    found: list[tuple[LoopScorer, Scored]] = []
    original = LoopScorer.score

    def score(self: LoopScorer, loop: int, before: Any) -> Scored:
        found.append((self, original(self, loop, before)))
        return found[-1][1]

    monkeypatch.setattr(LoopScorer, "score", score)
    return found


@pytest.fixture
def no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scorer, "score", lambda *_, **__: pytest.fail("nothing is looked at"))


# Losses noted while training ----------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 9, width=32), st.integers(1, 3)), min_size=1))
def test_the_last_loss_of_an_item_is_that_of_its_last_pass(notes: list[tuple[int, float, int]]) -> None:
    positions, losses = last_losses(*map(np.asarray, zip(*notes, strict=True)))
    assert positions.tolist() == sorted({item for item, _, _ in notes})
    for item, loss in zip(positions, losses, strict=True):
        last = max(order for one, _, order in notes if one == item)
        views = [value for one, value, order in notes if (one, order) == (item, last)]
        assert loss == pytest.approx(sum(views) / len(views), rel=1e-5, abs=1e-6)


def test_what_training_knows_of_an_item_is_its_loss_in_the_next_loop(
    pool: Pool, tmp_path: Path, scored: list[tuple[LoopScorer, Scored]], no_pass: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand: dict[int, float] = {}
    original = Loops.outputs

    def outputs(self: Loops, network: Any, batch: Any, stream: Any) -> torch.Tensor:
        logits = original(self, network, batch, stream)
        views: dict[int, list[float]] = {}
        for position, row in zip(batch.positions.tolist(), logits.detach().float(), strict=True):
            target = torch.tensor([self.job.labels.indices[position]])
            views.setdefault(position, []).append(float(functional.cross_entropy(row[None], target)))
        if len(scored) == 1:  # the first loop trains
            by_hand.update({position: float(np.mean(losses)) for position, losses in views.items()})
        return logits

    monkeypatch.setattr(Loops, "outputs", outputs)
    run(pool, tmp_path / "m", scoring="noted", **TWO)
    (_, first), (_, second) = scored
    names = list(some_labels(pool, 12, classes=5))
    assert {names[position] for position in by_hand} == by_loop(tmp_path / "m")[0]
    before, after = (dict(zip(one.positions.tolist(), one.losses_S.tolist(), strict=True)) for one in (first, second))
    assert after == pytest.approx({**before, **by_hand}, rel=1e-4, abs=1e-5)
    assert [loop["scored"] for loop in figures(tmp_path / "m")["loops"]] == [54, 0]
    assert figures(tmp_path / "m")["batches_with_scoring"] == pytest.approx(8 + 54 / 3 / 8, abs=0.1)


# A classifier on known features -------------------------------------------------------------------------------------


def losses_of(logits_SC: np.ndarray, targets_S: np.ndarray) -> np.ndarray:
    found = functional.cross_entropy(torch.from_numpy(logits_SC), torch.from_numpy(targets_S), reduction="none")
    return found.numpy()


def test_a_proxy_knows_what_was_trained_on(
    pool: Pool, tmp_path: Path, scored: list[tuple[LoopScorer, Scored]], no_pass: None
) -> None:
    run(pool, tmp_path / "m", scoring="proxy", warm_up="none", **TWO)
    (scorer, first), (_, second) = scored
    names = list(some_labels(pool, 12, classes=5))
    rows = [row for row, position in enumerate(first.positions) if names[position] in by_loop(tmp_path / "m")[0]]
    targets = scorer.job.labels.indices[first.positions]
    head = fit_linear(first.features_SD[rows], targets[rows], 100.0, classes=5)
    np.testing.assert_allclose(
        second.losses_S, losses_of(head.logits(first.features_SD), targets), rtol=1e-3, atol=1e-3
    )
    assert figures(tmp_path / "m")["scored_items"] == 54


def test_the_classifier_as_it_is_on_the_features_of_the_start(
    pool: Pool, tmp_path: Path, no_pass: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    original = LoopScorer.score

    def score(self: LoopScorer, loop: int, before: Any) -> Scored:
        found = original(self, loop, before)
        if loop:
            assert self.first is not None
            layer = self.job.network.classifier()
            logits = self.first.features_SD @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
            targets = self.job.labels.indices[found.positions]
            np.testing.assert_allclose(found.losses_S, losses_of(logits, targets), rtol=1e-3, atol=1e-4)
            compared.append(len(targets))
        return found

    monkeypatch.setattr(LoopScorer, "score", score)
    run(pool, tmp_path / "m", scoring="head", select_with="margin", **TWO)
    assert compared == [54]
    assert [loop["passes"] for loop in figures(tmp_path / "m")["loops"]] == [54, 0]


def test_all_loops_select_among_what_the_first_one_scored(pool: Pool, tmp_path: Path) -> None:
    for scoring in ("noted", "proxy", "head"):
        settings = {"scoring": scoring, "score_first": 0.3, "warm_up": "none", "batches": 6}
        run(pool, tmp_path / scoring, **settings)
        assert len(set.union(*by_loop(tmp_path / scoring))) <= 16
        assert [loop["scored"] for loop in figures(tmp_path / scoring)["loops"]] == [16, 0, 0]


# Where the last loss was high -----------------------------------------------------------------------------------------


def test_what_was_uncertain_is_looked_at_again(
    pool: Pool, tmp_path: Path, scored: list[tuple[LoopScorer, Scored]], monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[np.ndarray] = []
    original = LoopScorer._scored_where_uncertain

    def spied(self: LoopScorer, loop: int, before: Scored) -> Scored:
        known.append(self.losses_L[before.positions].copy())
        return original(self, loop, before)

    monkeypatch.setattr(LoopScorer, "_scored_where_uncertain", spied)
    run(pool, tmp_path / "m", score_part="uncertain", score_share=0.25)
    assert [loop["scored"] for loop in figures(tmp_path / "m")["loops"]] == [54, 14, 14]
    assert [len(found.positions) for _, found in scored] == [54, 54, 54]
    for before, (_, found) in zip(known, scored[1:], strict=True):
        left = np.setdiff1d(np.arange(54), found.fresh)
        assert before[found.fresh].min() >= before[left].max()
        np.testing.assert_array_equal(found.losses_S[left], before[left])
        assert (found.losses_S[found.fresh] != before[found.fresh]).any()


# Smaller images -------------------------------------------------------------------------------------------------------


def test_a_resized_network_is_the_one_that_its_library_makes(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    backbone = load_backbone("timm/test_vit@64", pretrained=False)
    save_file({k: v.contiguous() for k, v in backbone.network.state_dict().items()}, tmp_path / "a.safetensors")
    other = load_backbone("timm/test_vit@32", tmp_path / "a.safetensors")
    assert share_of(backbone, 0.5) == (32, 32)
    assert share_of(backbone, 0.6) == (32, 32)  # whole patches of 16 pixels
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    small = resized(backbone, (32, 32))
    with torch.no_grad():
        torch.testing.assert_close(small.eval()(images), other.eval()(images))
    assert backbone.settings.size == (64, 64) and backbone.grid.height == 4
    assert small.settings.size == (32, 32)


def test_vision_lstm_gets_whole_patches() -> None:
    backbone = load_backbone("vil/test_vil", pretrained=False)  # patches of 8 pixels
    assert share_of(backbone, 0.6) == resized(backbone, share_of(backbone, 0.6)).settings.size == (16, 16)
    overlapping = load_backbone("vil/vil_smallplus_stride8", pretrained=False)  # of 16, one every 8
    assert share_of(overlapping, 0.55) == (128, 128)


def test_a_smaller_image_costs_its_share_of_the_work(pool: Pool, tmp_path: Path) -> None:
    backbone = load_backbone("bundled@64", pretrained=False)
    small = resized(backbone, (32, 32))
    assert small.network is backbone.network
    assert 0.2 < multiplications(small) / multiplications(backbone) < 0.35
    run(pool, tmp_path / "m", score_size=0.5, warm_up="none", batches=6)
    loops = figures(tmp_path / "m")["loops"]
    assert [loop["scored"] for loop in loops] == [54, 54, 54]
    assert len({loop["passes"] for loop in loops}) == 1 and loops[0]["passes"] < 54
    spent = sum(loop["passes"] for loop in loops)
    assert float(history(tmp_path / "m")[-1]["scored"]) == pytest.approx(spent, abs=0.1)
    assert figures(tmp_path / "m")["batches_with_scoring"] == pytest.approx(6 + spent / 3 / 8, abs=0.1)
    assert figures(tmp_path / "m")["batches_in_all"] >= figures(tmp_path / "m")["batches_with_scoring"]


def test_the_features_of_a_first_classifier_are_those_of_training(pool: Pool, tmp_path: Path) -> None:
    run(pool, tmp_path / "m", score_size=0.5, warm_up="selected", batches=6)
    first, *others = (loop["passes"] for loop in figures(tmp_path / "m")["loops"])
    assert first == 54 and max(others) < 54


# Loops that grow, classes that weigh alike ----------------------------------------------------------------------------


def test_loops_that_grow_share_the_same_batches_and_items(pool: Pool, tmp_path: Path) -> None:
    options = LoopSettings(batches=42, loops=3, measurements=2, loop_growth=2.0, budget=12)
    assert options.steps == [3, 3, 6, 6, 12, 12]
    assert options.sizes(100) == [5, 10, 21]
    assert options.sizes(15) == [5, 10, 15]
    assert LoopSettings(batches=150, loops=3, measurements=3).steps == [17, 16, 17] * 3
    run(pool, tmp_path / "m", loop_growth=2.0, batches=14, scoring="noted")
    assert [loop["k"] for loop in figures(tmp_path / "m")["loops"]] == [5, 10, 21]
    rows = [row for row in history(tmp_path / "m") if row["phase"] == "vecaf"]
    assert [row["batches"] for row in rows] == ["1", "2", "4", "6", "10", "14"]
    assert figures(tmp_path / "m")["batches"] == 14


@given(st.integers(1, 400), st.integers(1, 8), st.integers(1, 4), st.sampled_from([0.5, 1.0, 1.5, 3.0]))
def test_loops_have_the_budget_together(batches: int, loops: int, measurements: int, growth: float) -> None:
    try:
        options = LoopSettings(batches=batches, loops=loops, measurements=measurements, loop_growth=growth)
    except UsageError:
        return
    assert sum(options.steps) == batches
    assert len(options.steps) == loops * measurements
    if growth == 1:
        assert max(options.steps) - min(options.steps) <= 1


def test_balanced_losses_by_hand() -> None:
    losses, targets = np.array([1, 1, 1, 3, 2, 4], np.float32), np.array([0, 0, 0, 0, 1, 2])
    even = balanced(losses, targets, 1.0)
    sums = [even[targets == one].sum() for one in range(3)]
    np.testing.assert_allclose(np.divide(sums, sums[0]), [1, 2 / 1.5, 4 / 1.5], rtol=1e-6)  # by their mean losses
    assert even.mean() == pytest.approx(losses.mean(), rel=1e-6)
    assert balanced(losses, targets, 0.0) is losses
    half = balanced(losses, targets, 0.5)
    assert sums[0] < half[:4].sum() * even.sum() / half.sum() < 6


def test_classes_weigh_alike_in_the_losses_that_select(pool: Pool, tmp_path: Path) -> None:
    names = some_labels(pool, 12, classes=5)
    tail = {item: name for number, (item, name) in enumerate(names.items()) if name != "4" or number % 4 == 0}
    shares = []
    for balance in (0.0, 1.0):
        settings = {**SHORT, "validation": 0.0, "warm_up": "none", "budget": 10, "loss_balance": balance, "batches": 6}
        train(pool, tmp_path / str(balance), "vecaf", labels=tail, settings=settings)
        shares.append([tail[item] for item in by_loop(tmp_path / str(balance))[0]].count("4"))
    assert shares[1] >= shares[0]
    losses = {tail[row["id"]]: float(row["loss"]) for row in selections(tmp_path / "1.0") if row["loop"] == "1"}
    others = [loss for name, loss in losses.items() if name != "4"]
    assert np.ptp(others) < 1e-3 * max(others)
    if "4" in losses:
        assert losses["4"] == pytest.approx(others[0] * 12 / list(tail.values()).count("4"), rel=1e-3)


# Going on, and wrong input --------------------------------------------------------------------------------------------


def alike(cut: Path, whole: Path) -> None:
    assert weights(cut) == weights(whole)
    assert (cut / "selections.csv").read_text() == (whole / "selections.csv").read_text()
    assert learnt(cut) == learnt(whole)


@pytest.mark.parametrize(
    ("saves", "settings"),
    [
        (2, {"scoring": "noted"}),
        pytest.param(3, {"scoring": "noted", "loop_growth": 2.0, "batches": 14}, marks=pytest.mark.thorough),
        (3, {"scoring": "proxy", "warm_up": "none"}),
        (2, {"score_part": "uncertain", "score_share": 0.3}),
        pytest.param(2, {"score_size": 0.5, "loss_balance": 1.0}, marks=pytest.mark.thorough),
    ],
)
def test_a_run_goes_on_wherever_it_was(
    saves: int, settings: dict[str, Any], pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"labels": some_labels(pool, 12, classes=5), "settings": {**SHORT, **settings}}
    train(pool, tmp_path / "whole", "vecaf", **options)
    cut_off(monkeypatch, lambda: train(pool, tmp_path / "cut", "vecaf", **options), saves=saves)
    train(pool, tmp_path / "cut", "vecaf", **options, resume=True)
    alike(tmp_path / "cut", tmp_path / "whole")


def killed_after(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object], loop: int) -> None:
    """Run something that is interrupted once the selection of a loop is kept, before it has trained on it."""
    original = LoopRecord.write

    def write(self: LoopRecord, folder: Path, number: int) -> None:
        original(self, folder, number)
        if number == loop:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LoopRecord, "write", write)
        with pytest.raises(KeyboardInterrupt):
            work()


def test_what_a_selection_saw_is_kept_with_it(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**SHORT, "score_part": "uncertain", "score_share": 0.3}
    options = {"labels": some_labels(pool, 12, classes=5), "settings": settings}
    train(pool, tmp_path / "whole", "vecaf", **options)
    killed_after(monkeypatch, lambda: train(pool, tmp_path / "cut", "vecaf", **options), 1)
    train(pool, tmp_path / "cut", "vecaf", **options, resume=True)
    alike(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scoring": "noted", "score_share": 0.5}, "score_share=0.5 is about passes .* scoring=noted makes none"),
        ({"scoring": "proxy", "score_size": 0.5}, "score_size=0.5 is about passes"),
        ({"scoring": "head", "score_loops": "first"}, "score_loops=first is about passes"),
        ({"scoring": "noted", "score_part": "uncertain"}, "score_part=uncertain is about passes"),
        ({"score_part": "uncertain"}, "give a score_share below 1"),
        ({"scoring": "noted", "select_with": "margin"}, "margin reads probabilities, and scoring=noted keeps"),
        ({"loss_balance": 1.0, "select_with": "activeft"}, "activeft reads none; choose ods or top_loss"),
        ({"loss_balance": 1.0, "select_within": "classes"}, "select_within=classes has evened out the classes already"),
        ({"loss_balance": 1.0, "objective": "one_vs_all:3"}, "objective=one_vs_all has evened out"),
        ({"loop_growth": 3.0, "batches": 12}, "the smallest of 3 loops has fewer batches than its 2 measurements"),
        ({"loop_growth": 20.0}, r"loop_growth can't be 20.0; allowed: 0\.1 to 10"),
        ({"scoring": "half"}, "scoring can't be 'half' .*'full', 'head', 'proxy' or 'noted'"),
    ],
)
def test_settings_that_contradict_each_other_are_a_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_recipe("vecaf", settings={**SHORT, **settings})


def test_what_looks_at_nothing_runs_under_any_scoring(pool: Pool, tmp_path: Path, no_pass: None) -> None:
    settings = {"select_with": "random", "warm_up": "selected", "scoring": "noted", "loss_balance": 1.0}
    run(pool, tmp_path / "m", batches=6, **settings)
    assert [loop["scored"] for loop in figures(tmp_path / "m")["loops"]] == [12, 0, 0]  # by the first classifier


# Classes of different size ------------------------------------------------------------------------------------------


def taught(pool: Pool, out: Path, labels: dict[str, str], **settings: Any) -> Any:
    name, weights = tiny_backbone()
    return train(pool, out, "vecaf", labels=labels, settings={**SHORT, **settings}, backbone=name, weights=weights)


@pytest.mark.parametrize("uneven", [False, True])
def test_classes_with_one_image_are_scored_too(pool: Pool, tmp_path: Path, uneven: bool) -> None:
    """A probe that leaves the only image of a class out has nothing to tell it by: it is scored as by none."""
    labels = some_labels(pool, shots=1)
    if uneven:  # two classes, of which one has a single image
        names = sorted(set(labels.values()))[:2]
        several = some_labels(pool, shots=5)
        labels = {item: name for item, name in several.items() if name == names[0]} | {
            item: name for item, name in labels.items() if name == names[1]
        }
    taught(pool, tmp_path / "m", labels, budget=4)
    assert len(by_loop(tmp_path / "m")[0]) == 4


def test_logits_are_adjusted_by_the_shares_of_what_a_loop_trains_on(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    original = Loops.begin

    def begin(self: Loops, epoch: int, streams: Any) -> None:
        original(self, epoch, streams)
        picks = np.bincount(self.job.labels.indices[self.done[-1].picks.positions], minlength=4)
        seen.append((np.asarray(self.task(streams[0]).added), np.log(picks / picks.sum())))  # type: ignore[attr-defined]

    monkeypatch.setattr(Loops, "begin", begin)
    settings = {"logit_adjustment": 1, "select_within": "classes"}
    taught(pool, tmp_path / "m", some_labels(pool, shots=6), budget=20, **settings)
    assert len(seen) > 1
    for added, expected in seen:
        np.testing.assert_allclose(added, expected, atol=1e-5)
