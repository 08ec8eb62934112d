"""Labelled or not yet? A discriminator on the codes of a variational autoencoder.

VAAL (Sinha, Ebrahimi & Darrell, "Variational Adversarial Active Learning", ICCV 2019). A beta-VAE codes all items; a
discriminator guesses from the code whether an item is labelled; the encoder tries to make all of them look labelled.
Each step draws one batch of labelled and one of unlabelled items and takes two of Adam's steps:

    VAE:            -log p(x|z) + beta KL(q(z|x) || N(0, I)) + adversary BCE(d(mu(x)), 1) on both batches
    discriminator:  BCE(d(mu(x)), 1) on the labelled batch + BCE(d(mu(x)), 0) on the unlabelled one

TA-VAAL (Kim et al., "Task-Aware Variational Adversarial Active Learning", CVPR 2021): the decoder and the
discriminator also get the normalised rank in [0, 1] of the loss that a loss-prediction module expects.
Deviations, of both: the autoencoder codes features of a frozen backbone, not images, so it is two small perceptrons.
Both networks take one step per pair of batches; VAAL's released code gives the autoencoder two, on two pairs, for each
of the discriminator's. log p and KL are sums over features and over the code, as the papers write them; the released
codes take the mean squared error, which weighs the adversary some D times as much: on features hardly anything is
told apart then.
Of TA-VAAL: the rank among all items is used, where the released code passes the predicted loss itself (through a
sigmoid for the decoder).
Items that wait for their answer count as labelled; excluded ones take no part.
Shape legend: N items, D feature size, B items of a batch, Z code size, R numbers that go with a code (0 or 1).
Cost: a step takes about 24 B (D hidden + critic^2) operations; passes over the pool up to ``training.steps`` steps
whatever N is, then 2 N D hidden operations in pieces; O(N) memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.config import check_settings
from activetune.base.runtime import torch_generator
from activetune.base.settings import Settings
from activetune.features.distances import Float32
from activetune.selection.evidence import loss_prediction
from activetune.selection.evidence._training import HelperTraining, Inputs, batches, perceptron
from activetune.selection.problem import Evidence

PROVIDES = frozenset({"likeness_N", "ranked_likeness_N"})


def provide(evidence: Evidence, wanted: frozenset[str], rng: np.random.Generator) -> dict[str, Any]:
    """Train with the default settings, one pair of networks for each wanted field, (N,) float32 in [0, 1]."""
    found: dict[str, Any] = {}
    if "likeness_N" in wanted:
        found["likeness_N"] = Adversary().likeness(evidence, rng)
    if "ranked_likeness_N" in wanted:
        predicted_N = evidence.predicted_loss_N
        if predicted_N is None:
            predicted_N = loss_prediction.LossPrediction().predict(evidence, rng)
        beside_NR = np.zeros((len(predicted_N), 1), dtype=np.float32)
        beside_NR[evidence.population, 0] = ranks(predicted_N[evidence.population])
        found["ranked_likeness_N"] = Adversary().likeness(evidence, rng, beside_NR)
    return found


def ranks(values_N: FloatArray) -> Float32:
    """Normalised ranks: 0 for the smallest value, 1 for the largest; equal values share their mean rank."""
    _, inverse, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank = last - (counts + 1) / 2
    return (mean_rank[inverse] / max(1, len(values_N) - 1)).astype(np.float32)


@dataclass(frozen=True)
class Adversary(Settings):
    """An autoencoder and a discriminator, trained against each other.

    Attributes:
        hidden: units of the encoder's and of the decoder's hidden layer. code: Z. critic: units of each of the
            discriminator's two hidden layers. beta: weight of the KL term. adversary: weight of the adversarial term.
        passes: over the unlabelled items. least_steps: at least, where this comes to fewer steps.
        training: of both networks, each by an Adam of its own; a batch has as many items of each kind. ``steps`` is
            the most that the passes may come to.
    """

    hidden: int = 256
    code: int = 32
    critic: int = 256
    beta: float = 1.0
    adversary: float = 1.0
    passes: int = 10
    least_steps: int = 300
    training: HelperTraining = HelperTraining(steps=1000, lr=5e-4, weight_decay=0.0)

    def __post_init__(self) -> None:
        check_settings(
            "adversarial",
            ("hidden", self.hidden, 1, np.inf),
            ("code", self.code, 1, np.inf),
            ("critic", self.critic, 1, np.inf),
            ("beta", self.beta, 0, np.inf),
            ("adversary", self.adversary, 0, np.inf),
            ("passes", self.passes, 1, np.inf),
            ("least_steps", self.least_steps, 1, self.training.steps),
        )

    def likeness(self, evidence: Evidence, rng: np.random.Generator, beside_NR: Float32 | None = None) -> Float32:
        """How much each item looks like the labelled ones to the discriminator, (N,) in [0, 1].

        Args:
            beside_NR: (N, R) numbers that the decoder and the discriminator see beside the code; None: nothing.

        Returns:
            0.5 for all where there are no labelled items or nothing but labelled ones: nothing to tell apart.
        """
        beside_NR = np.empty((len(evidence.features_ND), 0), dtype=np.float32) if beside_NR is None else beside_NR
        unlabelled = np.setdiff1d(evidence.population, evidence.labelled, assume_unique=True)
        likeness_N = np.full(len(evidence.features_ND), 0.5, dtype=np.float32)
        if not len(unlabelled) or not len(evidence.labelled):
            return likeness_N
        inputs = Inputs.of(evidence)
        vae, critic = self._train(inputs, beside_NR, evidence.labelled, unlabelled, rng)
        with torch.inference_mode():
            for part, block in inputs.pieces(max(self.hidden, self.critic)):
                beside = torch.from_numpy(beside_NR[part]).to(inputs.device)
                likeness_N[part] = torch.sigmoid(critic(torch.cat([vae.encode(block)[0], beside], 1)))[:, 0].cpu()
        return likeness_N

    def steps(self, unlabelled: int) -> int:
        """Steps of training for a number of unlabelled items."""
        steps = self.passes * unlabelled / self.training.batch_size
        return int(np.clip(steps, self.least_steps, self.training.steps))

    def _train(
        self, inputs: Inputs, beside_NR: Float32, labelled: IntArray, unlabelled: IntArray, rng: np.random.Generator
    ) -> tuple[_Autoencoder, nn.Sequential]:
        generator = torch_generator(rng, inputs.device)
        extra = beside_NR.shape[1]
        vae = _Autoencoder(len(inputs.mean_D), self.hidden, self.code, extra, generator)
        critic = perceptron([self.code + extra, self.critic, self.critic, 1], generator)
        optimisers = [self.training.optimiser(network) for network in (vae, critic)]
        orders = [batches(rows, self.training.batch_size, rng) for rows in (labelled, unlabelled)]
        for _, *pair in zip(range(self.steps(len(unlabelled))), *orders, strict=False):
            rows = np.concatenate(pair)
            block, beside = inputs[rows], torch.from_numpy(beside_NR[rows]).to(inputs.device)
            known = torch.arange(len(rows), device=inputs.device) < len(pair[0])
            mean, log_variance = vae.encode(block)
            objective = vae.objective(block, mean, log_variance, beside, self.beta, generator)
            fooled = _cross_entropy(critic, mean, beside, torch.ones_like(known))
            _step(optimisers[0], objective + self.adversary * fooled, known)
            _step(optimisers[1], _cross_entropy(critic, vae.encode(block)[0].detach(), beside, known), known)
        return vae, critic


class _Autoencoder(nn.Module):
    """Encoder to the mean and log variance of a code, decoder from a code and what goes with it."""

    def __init__(self, columns: int, hidden: int, code: int, extra: int, generator: torch.Generator):
        super().__init__()
        self.encoder = perceptron([columns, hidden, 2 * code], generator)
        self.decoder = perceptron([code + extra, hidden, columns], generator)

    def encode(self, block_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the code, (B, Z) each."""
        mean, log_variance = self.encoder(block_BD).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)  # exp() of it stays finite whatever training does

    def objective(
        self,
        block_BD: Tensor,
        mean_BZ: Tensor,
        log_variance_BZ: Tensor,
        beside_BR: Tensor,
        beta: float,
        generator: torch.Generator,
    ) -> Tensor:
        """Each item's negative evidence lower bound in nats (B,): Gaussian of unit variance, one sampled code."""
        noise = torch.randn(mean_BZ.shape, generator=generator, device=generator.device)
        code = mean_BZ + noise * (log_variance_BZ / 2).exp()
        error = (self.decoder(torch.cat([code, beside_BR], 1)) - block_BD).square().sum(1) / 2
        divergence = (mean_BZ.square() + log_variance_BZ.exp() - 1 - log_variance_BZ).sum(1) / 2
        bound: Tensor = error + beta * divergence
        return bound


def _cross_entropy(critic: nn.Sequential, codes_BZ: Tensor, beside_BR: Tensor, labelled_B: Tensor) -> Tensor:
    """The discriminator's loss on each item (B,), were it told that these items are labelled and the others not."""
    guesses = critic(torch.cat([codes_BZ, beside_BR], 1))[:, 0]
    return binary_cross_entropy_with_logits(guesses, labelled_B.float(), reduction="none")


def _step(optimiser: torch.optim.Optimizer, losses_B: Tensor, known_B: Tensor) -> None:
    """One step on the mean over the labelled batch plus the mean over the unlabelled one."""
    optimiser.zero_grad()
    loss = losses_B[known_B].mean() + losses_B[~known_B].mean()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
