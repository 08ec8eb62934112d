"""The loss-prediction module of Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019.

A classifier and a module that predicts its loss are trained together on the items whose label is known:

    L = mean_i l_i + weight * mean_(i,j) max(0, margin - sign(l_i - l_j) (q_i - q_j))

l_i is an item's cross-entropy, q_i what the module predicts for it; the pairs (i, j) are those of a batch (equations 1
and 2). Only the order of the q_i means something, not their size. After ``joint`` of the steps the module's gradient
no longer reaches the classifier (the paper: after 120 of 200 epochs).
Deviations: the paper's module reads the feature maps of several blocks of a network that is trained with it. Here the
backbone is frozen, so it reads what is left of such blocks: the backbone's features and the hidden layer of a small
classifier on them, each through a linear layer with ReLU, joined and mapped to one number as in the paper. AdamW
takes the place of SGD.
Shape legend: N items, D feature size, B items of a batch, C classes.
Cost: ``training.steps`` batches of training whatever N is, then about 2 N D (hidden + width) operations in pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from activetune.base.config import check_settings
from activetune.base.runtime import torch_generator
from activetune.base.settings import Settings
from activetune.features.distances import Float32
from activetune.selection.evidence import known_answers
from activetune.selection.evidence._training import HelperTraining, Inputs, batches, perceptron
from activetune.selection.problem import Evidence

PROVIDES = frozenset({"predicted_loss_N"})


def provide(evidence: Evidence, wanted: frozenset[str], rng: np.random.Generator) -> dict[str, Any]:
    """Train with the default settings and predict: ``predicted_loss_N`` (N,) float32, any finite number."""
    return {"predicted_loss_N": LossPrediction().predict(evidence, rng)}


@dataclass(frozen=True)
class LossPrediction(Settings):
    """A classifier with a loss-prediction module.

    Attributes:
        hidden: units of the classifier's hidden layer. width: units that the module gives to each of its inputs.
        weight: of the ranking loss (lambda). margin: xi. joint: share of the steps in which the module shapes the
            classifier too. training: of both; a batch has half as many pairs as items.
    """

    hidden: int = 256
    width: int = 128
    weight: float = 1.0
    margin: float = 1.0
    joint: float = 0.6
    training: HelperTraining = HelperTraining()

    def __post_init__(self) -> None:
        check_settings(
            "loss_prediction",
            ("hidden", self.hidden, 1, np.inf),
            ("width", self.width, 1, np.inf),
            ("weight", self.weight, 0, np.inf),
            ("margin", self.margin, 0, np.inf),
            ("joint", self.joint, 0, 1),
            ("batch_size", self.training.batch_size, 2, np.inf),
        )

    def predict(self, evidence: Evidence, rng: np.random.Generator) -> Float32:
        """Train on the known answers (at least two) and predict the loss of every item, (N,)."""
        inputs = Inputs.of(evidence)
        network = self._train(evidence, inputs, rng)
        predicted_N = np.empty(len(inputs), dtype=np.float32)
        with torch.inference_mode():
            for part, block in inputs.pieces(max(self.hidden, self.width)):
                predicted_N[part] = network(block, joint=False)[1].cpu().numpy()
        return predicted_N

    def _train(self, evidence: Evidence, inputs: Inputs, rng: np.random.Generator) -> _Network:
        rows, answers = known_answers(evidence)
        classes, indices = np.unique(answers, return_inverse=True)
        sizes = (evidence.features_ND.shape[1], self.hidden, len(classes), self.width)
        network = _Network(*sizes, torch_generator(rng, evidence.device))
        optimiser = self.training.optimiser(network)
        paired = min(self.training.batch_size, len(rows)) // 2 * 2
        order = batches(np.arange(len(rows)), paired, rng)
        for step, batch in zip(range(self.training.steps), order, strict=False):
            logits, predicted = network(inputs[rows[batch]], joint=step < self.joint * self.training.steps)
            target = torch.from_numpy(indices[batch]).to(inputs.device)
            losses = nn.functional.cross_entropy(logits, target, reduction="none")
            loss = losses.mean() + self.weight * ranking_loss(predicted, losses.detach(), self.margin)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return network


class _Network(nn.Module):
    """The classifier, and the module that predicts its loss from its input and its hidden layer."""

    def __init__(self, columns: int, hidden: int, classes: int, width: int, generator: torch.Generator):
        super().__init__()
        self.first = perceptron([columns, hidden], generator)
        self.last = perceptron([hidden, classes], generator)
        self.taps = nn.ModuleList([perceptron([size, width], generator) for size in (columns, hidden)])
        self.rating = perceptron([2 * width, 1], generator)

    def forward(self, block_BD: Tensor, joint: bool) -> tuple[Tensor, Tensor]:
        """Logits (B, C) and predicted losses (B,); ``joint`` lets the latter's gradient into the classifier."""
        hidden = torch.relu(self.first(block_BD))
        seen = (block_BD, hidden if joint else hidden.detach())
        tapped = [torch.relu(tap(layer)) for tap, layer in zip(self.taps, seen, strict=True)]
        return self.last(hidden), self.rating(torch.cat(tapped, 1)).squeeze(1)


def ranking_loss(predicted_B: Tensor, losses_B: Tensor, margin: float) -> Tensor:
    """Equation 2, the mean over the pairs (first, last), (second, last but one), …; B is even."""
    half = len(predicted_B) // 2
    order = torch.where(losses_B[:half] > losses_B.flip(0)[:half], 1.0, -1.0)
    return torch.relu(margin - order * (predicted_B[:half] - predicted_B.flip(0)[:half])).mean()
