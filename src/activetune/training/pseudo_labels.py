"""Pseudo-labels: what a teacher answers to items of the pool, learned beside the labels as if somebody had given them.

Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks", ICML workshop
2013. Of each class the surest answers are taken, so that no class is left out because the teacher is less sure of it.
Shape legend: N items of the pool, L labelled ones, M items with a pseudo-label, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from activetune.base.arrays import NO_INDICES, FloatArray, IntArray
from activetune.base.config import check_settings
from activetune.base.errors import UsageError
from activetune.base.settings import Settings
from activetune.data.labels import Labels
from activetune.features.distances import unit_rows
from activetune.networks.loss import Loss
from activetune.networks.regression import LinearHead
from activetune.selection.problem import Evidence
from activetune.selection.selectors import make_selector
from activetune.tasks import Batch, Sample
from activetune.tasks.classification import Classification
from activetune.training.job import Job
from activetune.training.pool_regression import LEAST, Answers
from activetune.training.settings import Training
from activetune.training.streams import Stream, stream_of

GIVEN = {"features_ND", "losses_N"}  # evidence that there is
EXPONENTS = np.geomspace(0.05, 20, 121)  # that are tried for answers' sureness


@dataclass(frozen=True)
class PseudoLabels(Settings):
    """Which of the pool's items are learned, and how much of a training they are.

    Attributes:
        count: M, at most. share: of each class's answers, the surest first. select_with: the selector that picks M of
            these, by their features and the loss of the answer under the teacher's own head.
        even: of a random draw, from 0, a class comes as often as the pool's answers say that it is there, to 1, all
            classes come alike. calibrated: a pseudo-label weighs as much as its answer is likely to be right by a
            pilot's own items (:func:`reliance`); False, and without a pilot: as much as its answer is sure.
        labelled: share of a training's turns that labelled items have, coming again and again.
    """

    flat_names: ClassVar[Mapping[str, str]] = {
        "count": "pseudo_labels",
        "share": "pseudo_share",
        "select_with": "pseudo_with",
        "even": "pseudo_even",
        "labelled": "labelled_share",
    }

    later: ClassVar[frozenset[str]] = frozenset({"pseudo_even", "calibrated"})

    count: int = 2_000
    share: float = 0.7
    select_with: str = "random"
    even: float = 0.0
    calibrated: bool = True
    labelled: float = 0.25

    def __post_init__(self) -> None:
        check_settings(
            "pool_fact",
            ("pseudo_labels", self.count, 1, np.inf),
            ("pseudo_share", self.share, 0.001, 1),
            ("pseudo_even", self.even, 0, 1),
            ("labelled_share", self.labelled, 0, 0.99),
        )
        if self.even and self.select_with != "random":
            raise UsageError(
                f"pseudo_even can't be {self.even:g} with pseudo_with={self.select_with}, which picks as it finds "
                "best; leave one of them out"
            )
        try:
            selector = make_selector(self.select_with)
        except UsageError as error:
            raise UsageError(f"pseudo_with can't be {self.select_with!r}: {error}") from None
        if selector.needs - GIVEN:
            raise UsageError(
                f"pseudo_with can't be {self.select_with}, which reads more than there is here; give a selector that "
                "reads features or losses alone, such as activeft or ods"
            )

    def drawn(
        self, answers: Answers, candidates: IntArray, seed: int, *, features_ND: FloatArray, head: LinearHead
    ) -> IntArray:
        """Positions (M,) of the items that are learned, ascending: some of each class's surest answers.

        Args:
            answers: to all N items. candidates: positions of those that have no label.
            features_ND, head: the teacher's, for the selector.
        """
        surest = self.surest(answers, candidates)
        rng = np.random.default_rng([seed, 31])
        if len(surest) <= self.count or self.select_with == "random":
            return np.sort(self._at_random(answers, surest, rng))
        given_SD = np.asarray(features_ND[surest], dtype=np.float32)
        logits_SC = head.logits(given_SD)
        losses_S = np.logaddexp.reduce(logits_SC, axis=1) - logits_SC[np.arange(len(surest)), answers.classes_N[surest]]
        evidence = Evidence(unit_rows(given_SD), losses_N=np.maximum(losses_S, 0))
        return np.sort(surest[make_selector(self.select_with).select(evidence, self.count, rng).positions])

    def surest(self, answers: Answers, candidates: IntArray) -> IntArray:
        """Positions of each class's surest answers, class by class, the surest first.

        >>> answers = Answers(np.array([0, 0, 1, 1]), np.array([0.9, 0.2, 0.1, 0.3]))
        >>> PseudoLabels(share=0.5).surest(answers, np.arange(4)).tolist()
        [0, 3]
        """
        classes = answers.classes_N[candidates]
        order = candidates[np.lexsort((candidates, -answers.sure_N[candidates], classes))]
        sizes_C = np.bincount(classes)
        rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes_C) - sizes_C, sizes_C)
        found: IntArray = order[rank < np.repeat(np.ceil(self.share * sizes_C), sizes_C)]
        return found

    def _at_random(self, answers: Answers, surest: IntArray, rng: np.random.Generator) -> IntArray:
        """Some of the items; where classes are evened, those of frequent ones have less chance each."""
        if not self.even:
            return rng.permutation(surest)[: self.count]
        sizes_C = np.bincount(answers.classes_N, answers.sure_N)  # the prior, as the answers estimate it
        chance_S = np.maximum(sizes_C, LEAST)[answers.classes_N[surest]] ** -self.even
        count = min(self.count, len(surest))
        found: IntArray = rng.choice(surest, count, replace=False, p=chance_S / chance_S.sum())
        return found

    def within(self, images: int, labels: int) -> int:
        """How many pseudo-labels an epoch of so many images has beside the labels, which are all in it.

        >>> PseudoLabels(labelled=0.25).within(400, 10), PseudoLabels(labelled=0.25).within(400, 300)
        (300, 100)
        """
        return max(0, min(int(images * (1 - self.labelled)), images - labels))

    def turns(self, labelled: IntArray, pseudo: IntArray) -> IntArray:
        """Positions as a training goes over them: those with a label again and again, until they have their share.

        >>> PseudoLabels(labelled=0.5).turns(np.array([7]), np.array([1, 4])).tolist()
        [7, 7, 1, 4]
        """
        times = max(1, round(self.labelled * len(pseudo) / (1 - self.labelled) / len(labelled)))
        return np.concatenate([np.tile(labelled, times), pseudo])

    def stream(
        self,
        job: Job,
        ids: Sequence[str],
        answers: Answers,
        drawn: IntArray,
        options: Training,
        *,
        exponent: float | None = None,
    ) -> Stream:
        """The stream of the job's labels and of pseudo-labels.

        Args:
            ids: of all N items. drawn: see :meth:`drawn`. exponent: of :func:`likely_right`, where a pilot has told it.
        """
        count = len(job.labels)
        names = [job.labels.classes[number] for number in answers.classes_N[drawn].tolist()]
        labels = Labels(
            [*job.labels.ids, *(ids[position] for position in drawn)],
            [*job.labels.names, *names],
            list(job.labels.classes),
        )
        sure_M = answers.sure_N[drawn]
        if exponent is not None and self.calibrated:
            sure_M = likely_right(sure_M, exponent, len(job.labels.classes))
        weights = (*[1.0] * count, *sure_M.tolist())
        turns = self.turns(np.arange(count), count + np.arange(len(drawn)))
        both = replace(job, labels=labels, pool=job.whole_pool.subset(labels.ids), held_out=NO_INDICES)
        found = stream_of(both, options, positions=turns)
        return replace(found, task=Weighted(**vars(found.task), weights=weights))


def likely_right(sure_N: FloatArray, exponent: float, classes: int) -> FloatArray:
    """How likely answers are right: by chance where they are not sure at all, and surely where they are entirely.

    >>> likely_right(np.array([0.0, 0.25, 1.0]), 0.5, 10).round(2).tolist()
    [0.1, 0.55, 1.0]
    """
    chance = 1 / classes
    return chance + (1 - chance) * sure_N**exponent


def reliance(sure_V: FloatArray, right_V: FloatArray, classes: int) -> float:
    """The exponent of :func:`likely_right` that fits answers best whose truth is known, by their likelihood.

    One number, as there may be twenty items. An exponent's logarithm is taken to be about zero, by as much as one item
    tells.

    Args:
        right_V: 1 where an answer is right, 0 where it is wrong.

    >>> sure_V = np.array([0.3, 0.4, 0.5, 0.6])
    >>> reliance(sure_V, np.ones(4), 10) < 1 < reliance(sure_V, np.zeros(4), 10)
    True
    """
    likely_EV = np.clip([likely_right(sure_V, exponent, classes) for exponent in EXPONENTS], 1e-6, 1 - 1e-6)
    fit_E = (right_V * np.log(likely_EV) + (1 - right_V) * np.log(1 - likely_EV)).sum(axis=1)
    return float(EXPONENTS[np.argmax(fit_E - np.log(EXPONENTS) ** 2 / 2)])


@dataclass(frozen=True)
class Weighted(Classification):
    """One class per image, of which some count less.

    Attributes:
        weights: of each labelled item in the loss, in [0, 1].
    """

    weights: tuple[float, ...] = ()

    def target(self, labels: Labels, position: int) -> Any:
        """See :class:`Task`: the class index and its weight."""
        return int(labels.indices[position]), self.weights[position]

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """See :class:`Task`: targets are class indices and weights (B, 2), a unit is an image of weight 1."""
        targets_B2 = torch.tensor([sample.target for sample in samples], dtype=torch.float32)
        return replace(Batch.of(samples, targets_B2), weight=float(targets_B2[:, 1].sum()))

    def loss(self, outputs: Tensor, batch: Batch) -> Loss:
        """See :class:`Task`: weighted cross-entropy of logits (B, C)."""
        indices_B, weights_B = batch.targets[:, 0].long(), batch.targets[:, 1]
        found_B = self.cross_entropy(outputs, indices_B, reduction="none")
        return Loss((found_B * weights_B).sum(), batch.weight)
