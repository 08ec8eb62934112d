"""Monte Carlo dropout: the same small network, drawn many times.

A classifier with one hidden layer is trained on the items whose label is known, with dropout on the features and on
the hidden units (Gal & Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016: before every layer of weights).
At prediction dropout stays on, and S draws stand for the posterior of the weights.
Deviations: the network stands on features of a frozen backbone, so the backbone's own weights are not drawn. One draw
is one mask for all items: each draw is a whole network, and no N x D mask is made.
Shape legend: N items, D feature size, H hidden units, C classes, S draws.
Cost: ``training.steps`` batches of training whatever N is, then 2 S N H (D + C) operations in pieces; O(N C) memory.
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
from activetune.selection.evidence import known_answers
from activetune.selection.evidence._training import HelperTraining, Inputs, batches, perceptron
from activetune.selection.problem import DropoutDraws, Evidence

PROVIDES = frozenset({"dropout"})


def provide(evidence: Evidence, wanted: frozenset[str], rng: np.random.Generator) -> dict[str, Any]:
    """Train with the default settings and draw: ``dropout``, see :class:`DropoutDraws`."""
    return {"dropout": DropoutHead().draw(evidence, rng)}


@dataclass(frozen=True)
class DropoutHead(Settings):
    """A classifier with dropout.

    Attributes:
        hidden: units of the hidden layer. rate: share of features and of hidden units that each draw leaves out.
        draws: S. training: of the weights.
    """

    hidden: int = 256
    rate: float = 0.25
    draws: int = 20
    training: HelperTraining = HelperTraining()

    def __post_init__(self) -> None:
        check_settings(
            "dropout",
            ("hidden", self.hidden, 1, np.inf),
            ("rate", self.rate, 0, 0.99),
            ("draws", self.draws, 1, np.inf),
        )

    def draw(self, evidence: Evidence, rng: np.random.Generator) -> DropoutDraws:
        """Train on the known answers of at least two classes and predict every item; C is the highest index plus 1."""
        inputs, generator = Inputs.of(evidence), torch_generator(rng, evidence.device)
        classes = np.unique(known_answers(evidence)[1])
        network = self._train(evidence, inputs, rng, generator)
        mean_probs_NC = np.zeros((len(inputs), int(classes[-1]) + 1), dtype=np.float32)
        mean_entropy_N = np.zeros(len(inputs), dtype=np.float32)
        masks = [self._masks(network, 1, generator) for _ in range(self.draws)]
        with torch.inference_mode():
            for part, block in inputs.pieces(max(self.hidden, len(classes))):
                probs, entropy = torch.zeros(len(block), len(classes)), torch.zeros(len(block))
                for mask in masks:
                    log_probs = torch.log_softmax(_forward(network, block, mask), 1).cpu()
                    probs += log_probs.exp()
                    entropy -= (log_probs.exp() * log_probs).sum(1)
                mean_probs_NC[part, classes] = probs / self.draws
                mean_entropy_N[part] = entropy / self.draws
        return DropoutDraws(mean_probs_NC, mean_entropy_N)

    def _train(
        self, evidence: Evidence, inputs: Inputs, rng: np.random.Generator, generator: torch.Generator
    ) -> nn.Sequential:
        rows, answers = known_answers(evidence)
        classes, indices = np.unique(answers, return_inverse=True)
        network = perceptron([evidence.features_ND.shape[1], self.hidden, len(classes)], generator)
        optimiser = self.training.optimiser(network)
        order = batches(np.arange(len(rows)), self.training.batch_size, rng)
        for _, batch in zip(range(self.training.steps), order, strict=False):
            target = torch.from_numpy(indices[batch]).to(inputs.device)
            logits = _forward(network, inputs[rows[batch]], self._masks(network, len(batch), generator))
            optimiser.zero_grad()
            nn.functional.cross_entropy(logits, target).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return network

    def _masks(self, network: nn.Sequential, items: int, generator: torch.Generator) -> list[Tensor]:
        """Factors for the inputs of each linear layer: 0 for those left out, 1 / (1 - rate) for the others."""
        layers = [layer for layer in network if isinstance(layer, nn.Linear)]
        drawn = [torch.rand(items, layer.in_features, generator=generator, device=generator.device) for layer in layers]
        return [(chance >= self.rate).float() / (1 - self.rate) for chance in drawn]


def _forward(network: nn.Sequential, block: Tensor, masks: list[Tensor]) -> Tensor:
    """Logits under dropout; a mask of one row holds for all items."""
    first, relu, last = network
    logits: Tensor = last(relu(first(block * masks[0])) * masks[1])
    return logits
