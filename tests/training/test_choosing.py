"""Choosing a light head by trials: their order, their budget, what they see, and that the best of them wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from activetune.base.arrays import IntArray
from activetune.networks.frofa import parse_augmentation
from activetune.networks.heads.classes.logistic import power_normalised
from activetune.networks.regression import fit_best, fit_linear
from activetune.training.head_choice import Candidate, HeadTrial, LightHeads, choose_head
from activetune.training.head_training import HeadTraining, head_logits
from activetune.training.views import Views


def toy(items: int = 40, views: int = 2, classes: int = 4, tokens: int = 3, size: int = 8) -> LightHeads:
    """Tokens that tell their class, as cached features with a mean for the pooled one."""
    rng = np.random.default_rng(0)
    targets = np.arange(items) % classes
    centres = rng.normal(size=(classes, size))
    features = centres[targets][None, :, None] + 0.7 * rng.normal(size=(views, items, tokens, size))
    cached = Views(torch.from_numpy(features).half(), pool=lambda tokens_BTD: tokens_BTD.mean(1))
    return LightHeads(cached, targets, classes, HeadTraining(steps=30, batch_size=16, lr=1e-2))


def pooled(heads: LightHeads) -> np.ndarray:
    return heads.views.features.float().mean(2).numpy()


class Recorded(LightHeads):
    """Scores without fitting: accuracy falls with the number of trials, but for one candidate."""

    best: str = ""

    def score(self, candidate: Candidate, splits: Sequence[IntArray]) -> HeadTrial:
        good = str(candidate) == self.best
        value = 0.9 if good else 0.1
        return HeadTrial(value, 1 - value, 100, value, strength=0.0, candidate=candidate, seconds=0.0)


def recorded(best: str = "") -> Recorded:
    heads = toy()
    found = Recorded(heads.views, heads.targets, heads.classes, heads.training)
    object.__setattr__(found, "best", best)
    return found


def names(trials: Sequence[HeadTrial]) -> list[str]:
    return [str(trial.candidate) for trial in trials]


def test_heads_first_then_brightness_contrast_posterize_and_the_best_with_posterize() -> None:
    trials = choose_head(recorded("map with c2frofa:contrast:4"), [], ("map", "linear"), None, 100)
    found = names(trials)
    assert found[:3] == ["map", "linear", "map with c2frofa:brightness:0.1"]
    assert found[7] == "map with c2frofa:contrast:1.25"
    assert found[12] == "map with cfrofa:posterize:6"
    assert found[17:] == [f"map with c2frofa:contrast:4 + cfrofa:posterize:{bits}" for bits in (6, 4, 3, 2, 1)]


@pytest.mark.parametrize("trials", [1, 3, 9, 20])
def test_the_budget_of_trials_is_kept(trials: int) -> None:
    assert len(choose_head(recorded(), [], ("map", "linear"), None, trials)) == trials


def test_heads_that_read_no_tokens_are_not_searched() -> None:
    assert names(choose_head(recorded(), [], ("linear", "logistic"), None, 100)) == ["linear", "logistic"]


def test_a_given_augmentation_is_tried_under_each_head_but_the_kept_one() -> None:
    steps = parse_augmentation("frofa:brightness:0.5")
    found = names(choose_head(recorded(), [], ("keep", "map", "linear"), [steps], 100))
    assert found == ["keep", "map with frofa:brightness:0.5", "linear with frofa:brightness:0.5"]


@pytest.mark.parametrize("kind", ["linear", "logistic"])
def test_heads_in_closed_form_are_logistic_regression_on_all_views(kind: str) -> None:
    heads, rows = toy(), np.arange(0, 40, 2)
    features = pooled(heads)
    if kind == "logistic":
        features = power_normalised(torch.from_numpy(features).flatten(0, 1)).numpy().reshape(features.shape)
    expected = fit_linear(features[:, rows], heads.targets[rows], 10.0, classes=4)
    head = heads.fit(Candidate(kind), rows, 10.0)
    np.testing.assert_allclose(head.classifier.weight.detach().numpy(), expected.weight_CD, atol=2e-3)
    np.testing.assert_allclose(head_logits(head, heads.views, np.arange(40)), expected.logits(features[0]), atol=2e-2)


def test_a_score_is_of_items_that_the_fit_does_not_see() -> None:
    heads, split = toy(), np.arange(10)
    trial = heads.score(Candidate("linear"), [split])
    fitted = fit_best(pooled(heads), heads.targets, rng=np.random.default_rng(0), held_out=split, keep_held_out=True)
    assert trial.strength == fitted.strength
    assert trial.value == pytest.approx(np.mean(fitted.head.logits(pooled(heads)[0, split]).argmax(1) == split % 4))


@pytest.mark.parametrize("kind", ["map", "linear", "logistic"])
@pytest.mark.parametrize("augmentation", ["", "c2frofa:brightness:0.3", "frofa:mixup:0.5"])
def test_every_head_learns_under_every_kind_of_augmentation(kind: str, augmentation: str) -> None:
    heads = toy(items=80)
    trial = heads.score(Candidate(kind, parse_augmentation(augmentation)), [np.arange(16), np.arange(16, 32)])
    assert trial.n == 32
    assert trial.value > 0.5


def test_keep_is_the_classifier_that_is_there() -> None:
    heads = toy()
    layer = nn.Linear(8, 4)
    kept = LightHeads(heads.views, heads.targets, 4, heads.training, present=layer).fit(
        Candidate("keep"), np.arange(4), 0
    )
    assert kept.kind == "linear"
    torch.testing.assert_close(kept.classifier.weight, layer.weight)


@pytest.mark.parametrize("kind", ["keep", "linear", "map"])
def test_a_head_computes_where_the_views_are(kind: str) -> None:
    heads = toy()
    head = LightHeads(heads.views, heads.targets, 4, heads.training, present=nn.Linear(8, 4)).fit(
        Candidate(kind), np.arange(40), 10.0
    )
    elsewhere = replace(heads.views, device=torch.device("meta"))
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):  # it has no numbers to give
        head_logits(head, elsewhere, np.arange(4))
    assert head.classifier.weight.is_meta


@pytest.mark.parametrize("kind", ["map", "linear", "logistic"])
def test_a_class_without_an_item_is_never_answered(kind: str) -> None:
    heads = toy(items=80)
    wider = LightHeads(heads.views, heads.targets, 6, HeadTraining(steps=60, batch_size=16, lr=1e-2))
    head = wider.fit(Candidate(kind), np.arange(80), 10.0)
    assert head.classifier.out_features == 6
    assert set(head_logits(head, wider.views, np.arange(80)).argmax(1)) <= {0, 1, 2, 3}
