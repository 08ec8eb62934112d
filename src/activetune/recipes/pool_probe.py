"""The linear probe with the pool: what few labels say spreads over all images that they were picked from.

Frozen backbone, features computed once. Label propagation gives every image of the pool a pseudo-label
(``training/label_propagation.py``), and a second logistic regression learns these (``training/pool_regression.py``):

    Q = (1 - alpha) (I - alpha S)^-1 Y           labels Y spread over the graph of nearest neighbours S
    m = lambda p + (1 - lambda) Q / sum_c Q      averaged with the probabilities p of a probe on the labels alone

whose largest entry is the pseudo-label, and whose entropy says how much that counts. Label spreading is Zhou et al.
(NeurIPS 2003), pseudo-labels from it Iscen et al. (CVPR 2019); where we deviate, both modules say. The saved model is a
backbone with a linear head, as that of ``linear_probe``. How far labels spread (``alphas``), how much the first probe
is listened to (``probe_share``, lambda), and whether the pool is used at all, is chosen by cross-validation on the
labels: where the pool loses by more than two standard errors, and by more than three labelled items, the model is the
plain probe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from activetune.base.arrays import NO_INDICES, FloatArray, IntArray
from activetune.base.errors import UsageError
from activetune.base.progress import note
from activetune.base.ranks import from_first
from activetune.data.splits import validation_splits
from activetune.evaluation.estimate import estimate_by
from activetune.features.distances import Float32
from activetune.networks.imbalance import Imbalance
from activetune.networks.network import CLASSIFICATION
from activetune.networks.regression import CROSS_VALIDATED, LinearHead, Measure
from activetune.tasks import Crops
from activetune.tasks.classification import Classification
from activetune.training.job import Job, Outcome
from activetune.training.pool_regression import PoolFit, PoolLearning, PoolRegression, told_pool, unlabelled
from activetune.training.probe_phase import Probe, pool_features, run_probe
from activetune.training.recipe import Recipe


@dataclass(frozen=True)
class PoolProbe(Recipe):
    """Frozen backbone, a linear head that learns from labels and from the rest of the pool.

    Attributes:
        probe: of the labels alone. pool: how the rest is learned from. imbalance: what is done about classes of
            different size.
    """

    frozen: ClassVar[bool] = True
    uses_pool: ClassVar[bool] = True
    only_tasks: ClassVar[tuple[str, ...]] = (CLASSIFICATION,)
    only_head: ClassVar[str] = "linear"

    probe: Probe = Probe()
    pool: PoolLearning = PoolLearning()
    imbalance: Imbalance = Imbalance()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.probe.views > 1:
            raise UsageError(
                f"pool_probe: probe_views can't be {self.probe.views}; leave it out, as each image of the pool is "
                "looked at once"
            )

    def hold_out(self, strata: IntArray, seed: int) -> IntArray:
        """See :class:`Recipe`; nothing is held out where cross-validation chooses."""
        return NO_INDICES if len(strata) <= CROSS_VALIDATED else super().hold_out(strata, seed)

    def run(self, job: Job) -> Outcome:
        """See :class:`Recipe`."""
        pool = from_first(lambda: pool_features(job))
        positions_L = np.asarray([pool.position[item] for item in job.labels.ids])
        features_ND = np.asarray(pool.features_ND, dtype=np.float32)
        probe = run_probe(job, self.probe, self.imbalance, Crops(), features_LD=features_ND[positions_L])
        label_probe, strength = LinearHead.read_from(job.network.classifier()), float(probe.figures["strength"])
        splits = validation_splits(job.strata, job.held_out, self.probe.folds, np.random.default_rng([job.seed, 5]))
        found = from_first(
            lambda: self._pool_fit(
                features_ND, positions_L, job.targets, label_probe, strength, splits, job.seed, job.measure, job.quiet
            )
        )
        found.head.write_to(job.network.classifier())
        counts = (len(pool), len(job.labels), self.pool.most_unlabelled)
        note(_told(found, told_pool(*counts)), job.quiet)
        looked = {"images": len(pool), "unlabelled": unlabelled(*counts)}
        return Outcome([*probe.history, *_rows(found, job)], {**probe.figures, **_figures(found, job, looked)})

    def _pool_fit(
        self,
        features_ND: Float32,
        positions_L: IntArray,
        indices: IntArray,
        label_probe: LinearHead,
        strength: float,
        splits: Sequence[IntArray],
        seed: int,
        measure: Measure,
        quiet: bool = True,
    ) -> PoolFit:
        """The pool probe, or the label probe where that is better.

        Args:
            strength: of the label probe.
        """
        classes = len(label_probe.bias_C)
        regression = PoolRegression(
            *(features_ND, positions_L, indices, classes, self.pool, self.imbalance),
            iterations=self.probe.iterations,
            seed=seed,
            quiet=quiet,
        )
        return regression.fit(label_probe, strength, splits, measure=measure)

    def fit_on_features(
        self, features_ND: FloatArray, positions_L: IntArray, indices: IntArray, *, held_out: IntArray, seed: int
    ) -> LinearHead | None:
        """See :class:`Recipe`."""
        features_ND = np.asarray(features_ND, dtype=np.float32)
        measure = Classification(even=self.evens_classes).measure
        found = self.probe.fit(
            features_ND[positions_L], indices, self.imbalance, held_out=held_out, seed=seed, measure=measure
        )
        splits = validation_splits(indices, held_out, self.probe.folds, np.random.default_rng([seed, 5]))
        return self._pool_fit(features_ND, positions_L, indices, found.head, found.strength, splits, seed, measure).head


def _told(found: PoolFit, learned: str) -> str:
    if not found.used:
        return "the pool is left out, as it does worse on the labels: the plain probe is kept"
    spread = f"labels spread with alpha {found.alpha:g}, the probe's share is {found.probe_share:g}"
    return f"{learned}; {spread}"


def _rows(found: PoolFit, job: Job) -> list[dict[str, Any]]:
    """A row of the history per alpha and share that were tried."""
    return [
        {
            "phase": "pool",
            "alpha": trial.alpha,
            "probe_share": trial.probe_share,
            "val_loss": trial.loss,
            job.measured: trial.value,
        }
        for trial in found.trials
    ]


def _figures(found: PoolFit, job: Job, looked: Mapping[str, int]) -> dict[str, Any]:
    """What is told of the pool, and how good its classifier is on labels that it did not see."""
    chosen = {"alpha": found.alpha, "probe_share": found.probe_share}
    figures: dict[str, Any] = {"pool": {**looked, **chosen, "used": found.used}}
    compared = found.comparison
    if compared is None:
        return figures
    error = compared.error if np.isfinite(compared.error) else None
    figures["pool"] |= {"probe": compared.label_probe.value, "with_pool": compared.pool_probe.value, "error": error}
    if not found.used:
        return figures
    measured = compared.pool_probe
    by = "a held-out validation part" if len(job.held_out) else "cross-validation"
    estimate = estimate_by(
        measured,
        job.labels.classes,
        of="the probe with the pool",
        by=by,
        chose="how labels spread" if len(found.trials) > 1 else "",
        metric=job.task.primary,
    )
    chosen_by = by.removeprefix("a held-out ").removesuffix(" part")
    return {**figures, "chosen_by": chosen_by, job.measured: measured.value, **estimate}
