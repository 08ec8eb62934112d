"""Light heads: attention pooling against timm's, power normalisation, training on cached features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from activetune.base.torchvision_ import import_torchvision
from activetune.networks.frofa import Grid, parse_augmentation
from activetune.networks.heads import Head, heads, make_head
from activetune.networks.heads._attention import AttentionPool, heads_for
from activetune.networks.heads.classes.logistic import power_normalised
from activetune.networks.imbalance import Imbalance
from activetune.training import head_training
from activetune.training.head_training import ClassLesson, HeadTraining, head_logits, train_head
from activetune.training.output import Checkpoint
from activetune.training.views import Views

CLASSES, SIZE, TOKENS = 3, 16, 6


# Attention pooling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "heads", "tokens"), [(64, 1, 5), (192, 3, 197), (96, 6, 1)])
def test_moving_the_query_is_timms_attention_pooling(size: int, heads: int, tokens: int) -> None:
    import_torchvision()
    from timm.layers import AttentionPoolLatent

    torch.manual_seed(0)
    theirs = AttentionPoolLatent(
        size, num_heads=heads, norm_layer=lambda width, **_: torch.nn.LayerNorm(width, eps=1e-6)
    )
    ours = AttentionPool(size, heads)
    ours.load_state_dict(theirs.state_dict())
    features = torch.randn(4, tokens, size, requires_grad=True)
    found, expected = ours(features), theirs(features)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    cotangent = torch.randn_like(found)
    for module, output in ((ours, found), (theirs, expected)):
        module.zero_grad()
        output.backward(cotangent, retain_graph=True)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize(("size", "heads"), [(16, 1), (64, 1), (192, 3), (320, 5), (768, 12), (100, 1), (130, 2)])
def test_heads_divide_the_size_and_have_at_least_64_numbers(size: int, heads: int) -> None:
    assert heads_for(size) == heads


def test_power_normalisation_evens_out_a_feature() -> None:
    rows = power_normalised(torch.tensor([[3.0, -4.0], [0.0, 0.0]]))
    torch.testing.assert_close(rows[0], torch.tensor([0.6**0.5, -(0.8**0.5)]))
    assert torch.equal(rows[1], torch.zeros(2))


def test_power_normalisation_teaches_through_numbers_that_are_nought() -> None:
    """A root is infinitely steep there, and features behind a ReLU often are; the backbone would learn NaN."""
    pooled = torch.tensor([[3.0, 0.0, -1e-12], [0.0, 0.0, 0.0]], requires_grad=True)
    power_normalised(pooled).sum().backward()
    assert pooled.grad is not None and torch.isfinite(pooled.grad).all() and pooled.grad[0, 1] > 0


# Training -------------------------------------------------------------------------------------------------------------


def toy(items: int = 60, views: int = 2, seed: int = 0) -> tuple[Views, np.ndarray]:
    """Tokens of which one, at a random place, tells the class; the others are noise."""
    rng = np.random.default_rng(seed)
    targets = np.arange(items) % CLASSES
    centres = np.random.default_rng(99).normal(size=(CLASSES, SIZE)) * 4
    features = rng.normal(size=(views, items, TOKENS, SIZE)).astype(np.float32)
    place = rng.integers(TOKENS, size=(views, items))
    for view in range(views):
        features[view, np.arange(items), place[view]] += centres[targets]
    return Views(torch.from_numpy(features), Grid(2, 3), pool=lambda tokens: tokens.mean(1)), targets


def learn(
    head: Head, views: Views, targets: np.ndarray, rows: np.ndarray, options: HeadTraining, **more: Any
) -> list[float]:
    lesson = ClassLesson(targets, CLASSES, rows, Imbalance(), options.label_smoothing, views)
    return train_head(head, views, lesson, rows, options, **more)


def accuracy(head: Head, seed: int = 1) -> float:
    views, targets = toy(300, 1, seed)
    return float((head_logits(head, views, np.arange(300)).argmax(1) == targets).mean())


@pytest.mark.parametrize("kind", heads())
@pytest.mark.parametrize("augmentation", ["", "c2frofa:brightness:0.3", "frofa:mixup:0.4 + frofa:patch_dropout:0.3"])
def test_each_head_learns(kind: str, augmentation: str) -> None:
    views, targets = toy()
    torch.manual_seed(0)
    head = make_head(kind, SIZE, CLASSES)
    options, under = HeadTraining(steps=150, lr=1e-2), parse_augmentation(augmentation)
    losses = learn(head, views, targets, np.arange(60), options, augmentation=under, seed=0)
    assert losses[-1] < losses[0]
    assert accuracy(head) > 0.8
    assert not head.training


def test_attention_finds_the_telling_token_better_than_the_mean() -> None:
    views, targets = toy(120)
    found = {}
    for kind in ("map", "linear"):
        torch.manual_seed(0)
        head = make_head(kind, SIZE, CLASSES)
        learn(
            head,
            views,
            targets,
            np.arange(120),
            HeadTraining(steps=300, lr=1e-2),
            seed=0,
        )
        found[kind] = accuracy(head)
    assert found["map"] >= found["linear"]


class CutOff(Exception):
    pass


def test_cut_off_after_each_save_a_head_ends_at_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_training, "SAVE_EVERY", 7)
    views, targets = toy()
    options, under = HeadTraining(steps=20), parse_augmentation("c2frofa:brightness:0.5 + frofa:mixup:0.2")

    class Dropping(type(make_head("map", SIZE, CLASSES))):  # type: ignore[misc]
        """A head whose training draws from torch's global state too."""

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = super().forward(torch.nn.functional.dropout(features, 0.3, self.training))
            return found

    def trained(checkpoint: Checkpoint | None) -> tuple[dict[str, torch.Tensor], list[float]]:
        torch.manual_seed(0)
        head = Dropping(SIZE, CLASSES)
        losses = learn(head, views, targets, np.arange(60), options, augmentation=under, seed=0, checkpoint=checkpoint)
        return head.state_dict(), losses

    whole, told = trained(None)
    save, cuts = Checkpoint.save, 0

    def cut(self: Checkpoint, content: Any) -> None:
        save(self, content)
        raise CutOff

    checkpoint = Checkpoint(tmp_path / "head.pt", "this", torch.device("cpu"))
    monkeypatch.setattr(Checkpoint, "save", cut)
    for _ in range(5):
        try:
            state, losses = trained(checkpoint)
        except CutOff:
            cuts += 1
            continue
        break
    assert cuts == 3  # after 7, 14 and all 20 steps
    assert losses == told
    assert all(torch.equal(value, whole[name]) for name, value in state.items())


def test_training_depends_on_the_seed_alone() -> None:
    views, targets = toy()
    options, under = HeadTraining(steps=20), parse_augmentation("c2frofa:brightness:0.5 + frofa:mixup:0.2")
    states = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(0)
        head = make_head("map", SIZE, CLASSES)
        torch.manual_seed(noise)  # whatever ran before
        learn(head, views, targets, np.arange(60), options, augmentation=under, seed=seed)
        states.append(head.classifier.weight.detach().clone())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_rows_that_are_not_trained_on_do_not_matter() -> None:
    views, targets = toy()
    rows = np.arange(0, 60, 2)
    spoiled = views.features.clone()
    spoiled[:, 1::2] = torch.nan
    weights = []
    for features in (views.features, spoiled):
        torch.manual_seed(0)
        head = make_head("linear", SIZE, CLASSES)
        learn(
            head,
            Views(features, views.grid, views.pool),
            targets,
            rows,
            HeadTraining(steps=10),
            seed=0,
        )
        weights.append(head.classifier.weight.detach())
    assert torch.isfinite(weights[1]).all()
    assert torch.equal(*weights)
