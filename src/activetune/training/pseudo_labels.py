"""Which pseudo-labels a student learns beside the labels, and what each of them counts in its loss.

A student minimises the weighted mean of cross-entropies, over labelled items and M items with a pseudo-label y_i:

    sum_i v_i CE(f(x_i), y_i) / sum_i v_i

    v_i = 1                                     of an item with a label
    v_i = 1 / C + (1 - 1 / C) omega_i^gamma     of a pseudo-label of certainty omega_i: how likely it is right
    v_i = omega_i                               where no pilot has calibrated gamma

``label_propagation.py`` has y_i and omega_i, by the teacher's features and head. Labelled items come again and again,
until they are the share ``labelled_share`` of what a student sees.

Sources: pseudo-labels are Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural
Networks", ICML workshop 2013; weights by certainty Iscen et al., "Label Propagation for Deep Semi-supervised Learning",
CVPR 2019. We deviate from both: pseudo-labels are made once per student, not in every step or epoch; of each class the
most certain ones are taken, so that no class is left out because the teacher is less sure of it; and a certainty is
calibrated on labelled items of a pilot, by one number as temperature scaling has (Guo et al., ICML 2017).

Shape legend: N items of the pool, L labelled ones, M items with a pseudo-label, S items that these are drawn from, V
labelled items of a pilot, E exponents that are tried, C classes.
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
from activetune.evaluation.metrics import cross_entropies
from activetune.features.distances import unit_rows
from activetune.networks.loss import Loss
from activetune.networks.regression import LinearHead
from activetune.selection.problem import Evidence
from activetune.selection.selectors import make_selector
from activetune.tasks import Batch, Sample
from activetune.tasks.classification import Classification
from activetune.training.job import Job
from activetune.training.label_propagation import PseudoLabels
from activetune.training.settings import Training
from activetune.training.streams import Stream, stream_of

AVAILABLE = {"features_ND", "losses_N"}  # evidence for a selector
EXPONENTS = np.geomspace(0.05, 20, 121)  # gammas that are tried


@dataclass(frozen=True)
class PseudoLabelling(Settings):
    """Which of the pool's items a student learns, and how much of its training they are.

    Attributes:
        count: M, at most.
        share: of each class's pseudo-labels, the most certain first, that these are drawn from.
        select_with: the selector that picks M of these, by their features and the loss of the pseudo-label under the
            teacher's own head.
        class_balance: of a random draw, from 0, a class comes as often as its prior says, to 1, all classes come alike.
        calibrated: a pseudo-label weighs as much as it is likely to be right by a pilot's own items
            (:func:`fit_calibration`); False, and without a pilot: as much as it is certain.
        labelled_share: of what a student sees in an epoch, labelled items, coming again and again.
    """

    flat_names: ClassVar[Mapping[str, str]] = {
        "count": "pseudo_labels",
        "share": "pseudo_share",
        "select_with": "pseudo_with",
        "class_balance": "pseudo_even",
    }

    later: ClassVar[frozenset[str]] = frozenset({"pseudo_even", "calibrated"})

    count: int = 2_000
    share: float = 0.7
    select_with: str = "random"
    class_balance: float = 0.0
    calibrated: bool = True
    labelled_share: float = 0.25

    def __post_init__(self) -> None:
        check_settings(
            "pool_fact",
            ("pseudo_labels", self.count, 1, np.inf),
            ("pseudo_share", self.share, 0.001, 1),
            ("pseudo_even", self.class_balance, 0, 1),
            ("labelled_share", self.labelled_share, 0, 0.99),
        )
        if self.class_balance and self.select_with != "random":
            raise UsageError(
                f"pseudo_even can't be {self.class_balance:g} with pseudo_with={self.select_with}, which picks as it "
                "finds best; leave one of them out"
            )
        try:
            selector = make_selector(self.select_with)
        except UsageError as error:
            raise UsageError(f"pseudo_with can't be {self.select_with!r}: {error}") from None
        if selector.needs - AVAILABLE:
            raise UsageError(
                f"pseudo_with can't be {self.select_with}, which reads more than there is here; give a selector that "
                "reads features or losses alone, such as activeft or ods"
            )

    def draw(
        self, pseudo_labels: PseudoLabels, candidates: IntArray, seed: int, *, features_ND: FloatArray, head: LinearHead
    ) -> IntArray:
        """Positions (M,) of the items that are learned, ascending: some of each class's most certain pseudo-labels.

        Args:
            pseudo_labels: of all N items. candidates: positions of those that have no label.
            features_ND, head: the teacher's, for the selector.
        """
        certain = self.most_certain(pseudo_labels, candidates)
        rng = np.random.default_rng([seed, 31])
        if len(certain) <= self.count or self.select_with == "random":
            return np.sort(self._at_random(pseudo_labels, certain, rng))
        given_SD = np.asarray(features_ND[certain], dtype=np.float32)
        losses_S = cross_entropies(head.logits(given_SD), pseudo_labels.classes_N[certain])
        evidence = Evidence(unit_rows(given_SD), losses_N=np.maximum(losses_S, 0))
        return np.sort(certain[make_selector(self.select_with).select(evidence, self.count, rng).positions])

    def most_certain(self, pseudo_labels: PseudoLabels, candidates: IntArray) -> IntArray:
        """Positions (S,) of each class's most certain pseudo-labels, class by class, the most certain first.

        >>> pseudo_labels = PseudoLabels(np.array([0, 0, 1, 1]), np.array([0.9, 0.2, 0.1, 0.3]))
        >>> PseudoLabelling(share=0.5).most_certain(pseudo_labels, np.arange(4)).tolist()
        [0, 3]
        """
        classes = pseudo_labels.classes_N[candidates]
        order = candidates[np.lexsort((candidates, -pseudo_labels.certainty_N[candidates], classes))]
        sizes_C = np.bincount(classes)
        rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes_C) - sizes_C, sizes_C)
        found: IntArray = order[rank < np.repeat(np.ceil(self.share * sizes_C), sizes_C)]
        return found

    def _at_random(self, pseudo_labels: PseudoLabels, certain: IntArray, rng: np.random.Generator) -> IntArray:
        """Some of the items; where classes are balanced, those of frequent ones have less chance each."""
        if not self.class_balance:
            return rng.permutation(certain)[: self.count]
        chance_S = pseudo_labels.prior_N[certain] ** -self.class_balance
        count = min(self.count, len(certain))
        found: IntArray = rng.choice(certain, count, replace=False, p=chance_S / chance_S.sum())
        return found

    def count_within(self, images: int, labels: int) -> int:
        """How many pseudo-labels an epoch of so many images has beside the labels, which are all in it.

        >>> settings = PseudoLabelling(labelled_share=0.25)
        >>> settings.count_within(400, 10), settings.count_within(400, 300)
        (300, 100)
        """
        return max(0, min(int(images * (1 - self.labelled_share)), images - labels))

    def oversampled(self, labelled: IntArray, pseudo: IntArray) -> IntArray:
        """Positions as an epoch has them: labelled ones again and again, until they are their share of it.

        >>> PseudoLabelling(labelled_share=0.5).oversampled(np.array([7]), np.array([1, 4])).tolist()
        [7, 7, 1, 4]
        """
        times = max(1, round(self.labelled_share * len(pseudo) / (1 - self.labelled_share) / len(labelled)))
        return np.concatenate([np.tile(labelled, times), pseudo])

    def stream(
        self,
        job: Job,
        ids: Sequence[str],
        pseudo_labels: PseudoLabels,
        drawn: IntArray,
        options: Training,
        *,
        exponent: float | None = None,
    ) -> Stream:
        """The stream of the job's labels and of pseudo-labels.

        Args:
            ids: of all N items. drawn: see :meth:`draw`. exponent: gamma, where a pilot has calibrated it.
        """
        count = len(job.labels)
        names = [job.labels.classes[number] for number in pseudo_labels.classes_N[drawn].tolist()]
        labels = Labels(
            [*job.labels.ids, *(ids[position] for position in drawn)],
            [*job.labels.names, *names],
            list(job.labels.classes),
        )
        weights_M = pseudo_labels.certainty_N[drawn]
        if exponent is not None and self.calibrated:
            weights_M = expected_accuracy(weights_M, exponent, len(job.labels.classes))
        weights = (*[1.0] * count, *weights_M.tolist())
        positions = self.oversampled(np.arange(count), count + np.arange(len(drawn)))
        both = replace(job, labels=labels, pool=job.whole_pool.subset(labels.ids), held_out=NO_INDICES)
        found = stream_of(both, options, positions=positions)
        return replace(found, task=WeightedClassification(**vars(found.task), weights=weights))


def expected_accuracy(certainty_N: FloatArray, exponent: float, classes: int) -> FloatArray:
    """How likely pseudo-labels are right: by chance where they are not certain at all, and surely where they are.

    ``1 / C + (1 - 1 / C) omega^gamma``.

    Args:
        certainty_N: omega. exponent: gamma. classes: C.

    >>> expected_accuracy(np.array([0.0, 0.25, 1.0]), 0.5, 10).round(2).tolist()
    [0.1, 0.55, 1.0]
    """
    chance = 1 / classes
    return chance + (1 - chance) * certainty_N**exponent


def fit_calibration(certainty_V: FloatArray, right_V: FloatArray, classes: int) -> float:
    """The exponent of :func:`expected_accuracy` that is the most probable by pseudo-labels whose truth is known.

    One number, as there may be twenty items. It maximises the likelihood of which ones are right, under a standard
    normal prior of log gamma: with no item gamma is 1.

    Args:
        certainty_V: omega. right_V: 1 where a pseudo-label is right, 0 where it is wrong. classes: C.

    >>> certainty_V = np.array([0.3, 0.4, 0.5, 0.6])
    >>> fit_calibration(certainty_V, np.ones(4), 10) < 1 < fit_calibration(certainty_V, np.zeros(4), 10)
    True
    """
    likely_EV = np.clip([expected_accuracy(certainty_V, exponent, classes) for exponent in EXPONENTS], 1e-6, 1 - 1e-6)
    log_likelihood_E = (right_V * np.log(likely_EV) + (1 - right_V) * np.log(1 - likely_EV)).sum(axis=1)
    return float(EXPONENTS[np.argmax(log_likelihood_E - np.log(EXPONENTS) ** 2 / 2)])


@dataclass(frozen=True)
class WeightedClassification(Classification):
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
