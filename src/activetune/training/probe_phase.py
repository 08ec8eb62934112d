"""Phase ``probe``: logistic regression on the frozen backbone's features, by itself or as the start of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.config import check_settings
from activetune.base.progress import note
from activetune.base.ranks import from_first
from activetune.base.settings import Settings
from activetune.data.pool import check_complete
from activetune.evaluation.estimate import PROBE, estimate_by
from activetune.evaluation.metrics import measure_top1
from activetune.features.artefact import Embeddings
from activetune.features.computing import BeyondFloat16
from activetune.features.embedding import EmbedOptions, features_of
from activetune.networks.backbones import Backbone
from activetune.networks.imbalance import Imbalance
from activetune.networks.regression import Fitted, Measure, Regression, best_strength, choose_strength, fit_best
from activetune.tasks import Crops
from activetune.training.finite import refuse_outputs, settings_to_change
from activetune.training.frozen_head import run_frozen
from activetune.training.head_training import BY_STEPS, HeadTraining
from activetune.training.job import Job, Outcome
from activetune.training.views import embed_views


@dataclass(frozen=True)
class Probe(Settings):
    """How the linear probe is fitted.

    Attributes:
        regression: the strengths that are tried.
        folds: of the cross-validation, where nothing is held out. iterations: of L-BFGS, at most.
        views: of each image, on all of which it is fitted; the first is not augmented. ``probe_views`` on the command
            line.
        by: which of the strengths is taken whose accuracies are equal within a standard error: that of the lowest
            ``loss``, or the lowest ``strength``. The first is the better model, the second the better start of a
            training: a probe of a high strength is all but sure of each label, so its gradients are small and nearly
            random, and Adam follows them with steps of full size (experiments/LOG.md). ``probe_by`` on the command
            line.
    """

    flat_names: ClassVar[Mapping[str, str]] = {"views": "probe_views", "by": "probe_by"}

    regression: Regression = Regression()
    folds: int = 5
    iterations: int = 1000
    views: int = 1
    by: Literal["loss", "strength"] = "loss"

    def __post_init__(self) -> None:
        check_settings(
            "probe",
            ("folds", self.folds, 2, np.inf),
            ("iterations", self.iterations, 1, np.inf),
            ("probe_views", self.views, 1, 1000),
        )

    def fit(
        self,
        features_LD: FloatArray,
        indices: IntArray,
        imbalance: Imbalance,
        *,
        classes: int | None = None,
        held_out: IntArray,
        seed: int,
        keep_held_out: bool = False,
        measure: Measure = measure_top1,
        strata: IntArray | None = None,
        quiet: bool = True,
    ) -> Fitted:
        """Choose the strength and fit; see :func:`~activetune.networks.regression.fit_best`.

        Args:
            features_LD: (L, D), or (V, L, D) under several views. indices: (L,) class indices.
            imbalance: what is done about classes of different size.
        """
        return fit_best(
            features_LD,
            indices,
            classes=classes,
            rng=np.random.default_rng(seed),
            strengths=self.regression.strengths,
            held_out=held_out,
            folds=self.folds,
            iterations=self.iterations,
            keep_held_out=keep_held_out,
            imbalance=imbalance,
            by=self.by,
            measure=measure,
            strata=strata,
            quiet=quiet,
        )


FIRST_PROBE = Probe(by="strength")  # for recipes that go on training from it


def run_probe(
    job: Job,
    options: Probe,
    imbalance: Imbalance,
    crops: Crops,
    *,
    training: HeadTraining = BY_STEPS,
    keep_held_out: bool = False,
    features_LD: FloatArray | None = None,
) -> Outcome:
    """Fit a linear probe on the labelled items' features and make it the network's head; the first process fits it.

    Where the head is no linear layer, or an image has more than one class, the head is trained by steps on features
    that are computed once (``frozen_head.py``).

    Args:
        training: of a head that is trained by steps.
        imbalance: what is done about classes of different size. crops: random crops and flips of all views but the
            first.
        keep_held_out: leave the validation part out of the final fit, for a caller that goes on choosing by it.
        features_LD: (L, D) features of the labelled items, where the caller has them; None computes them.

    Returns:
        One row per strength that was tried, and the figures ``strength``, ``estimate`` and ``trainable_parameters``.

    Raises:
        NotFinite: features or fitted weights that are not finite.
    """
    if job.has_linear_probe and training != BY_STEPS:
        note("head_steps, head_lr and their like change nothing here: logistic regression fits the head", job.quiet)
    if not job.has_linear_probe:
        if replace(options, views=Probe.views, by=Probe.by) != Probe():
            note(
                "strengths, folds, iterations and probe_by change nothing here: the head is trained by steps", job.quiet
            )
        return run_frozen(job, training, imbalance, crops, views=options.views, keep_held_out=keep_held_out)
    probe, outcome = from_first(lambda: _fitted(job, options, imbalance, crops, keep_held_out, features_LD))
    job.new_head("linear")
    probe.head.write_to(job.network.classifier())
    return outcome


def _fitted(
    job: Job, options: Probe, imbalance: Imbalance, crops: Crops, keep_held_out: bool, features_LD: FloatArray | None
) -> tuple[Fitted, Outcome]:
    """The probe, and what is told of it."""
    features_LD = _features(job, options, crops) if features_LD is None else features_LD
    remedy = settings_to_change(job.runtime.precision, {})
    refuse_outputs(features_LD, "the backbone's features", "before the probe is fitted", remedy)
    probe = options.fit(
        features_LD,
        job.targets,
        imbalance,
        classes=len(job.labels.classes),
        strata=job.strata,
        held_out=job.held_out,
        seed=job.seed,
        keep_held_out=keep_held_out,
        measure=job.measure,
        quiet=job.quiet,
    )
    refuse_outputs(np.append(probe.head.weight_CD, probe.head.bias_C), "the probe's weights", "after its fit", remedy)
    figures: dict[str, Any] = {"strength": probe.strength}
    if probe.trials:
        figures["chosen_by"] = "validation" if len(job.held_out) else "cross-validation"
        figures[job.measured] = best_strength(probe.trials, by=options.by).value
    figures |= _estimate(job, options, imbalance, probe, features_LD)
    figures["trainable_parameters"] = probe.head.weight_CD.size + probe.head.bias_C.size
    rows = [
        {"phase": "probe", "strength": trial.strength, "val_loss": trial.loss, job.measured: trial.value}
        for trial in probe.trials
    ]
    return probe, Outcome(rows, figures)


def _estimate(job: Job, options: Probe, imbalance: Imbalance, probe: Fitted, features_LD: FloatArray) -> dict[str, Any]:
    """``estimate``: the probe's accuracy on items that it was not fitted on; nothing where there are none."""
    trials = list(probe.trials)
    splits = job.splits(options.folds, np.random.default_rng(job.seed))
    if not trials:  # one strength, which no trial had to choose
        trials = choose_strength(
            features_LD,
            job.targets,
            [probe.strength],
            splits,
            iterations=options.iterations,
            imbalance=imbalance,
            measure=job.measure,
            quiet=job.quiet,
        )
    if not trials:
        return {}
    best = next(trial for trial in trials if trial.strength == probe.strength)
    by = "a held-out validation part" if len(job.held_out) else f"{len(splits)}-fold cross-validation"
    return estimate_by(best, job.labels.classes, of=PROBE, by=by, chose=_chose(probe), metric=job.task.primary)


def _chose(probe: Fitted) -> str:
    return "the strength of the regularisation" if len(probe.trials) > 1 else ""


def _features(job: Job, options: Probe, crops: Crops) -> FloatArray:
    """Features (L, D) of the labelled items by the backbone as it is, or (V, L, D) under several views."""
    if options.views > 1:
        return embed_views(job, options.views, crops, tokens=False).pooled()
    return labelled_features(job)


def pool_features(job: Job) -> Embeddings:
    """Features of every image of the pool that may teach and can be decoded, by the backbone as it is."""
    return embedded(job, job.teaching)


def embedded(job: Job, ids: Sequence[str], *, use_cache: bool = True, backbone: Backbone | None = None) -> Embeddings:
    """Features of some images of the pool by the backbone as it is, without those that can't be decoded.

    They are float16 as those of ``embed``, so that a cache serves both; float32 where they exceed its range.

    Args:
        use_cache: read and fill the user's cache, where the job may. backbone: another than the job's.
    """
    options = EmbedOptions(
        workers=job.workers, device=str(job.runtime.device), precision=job.runtime.precision, dtype="float16"
    )
    given: dict[str, Any] = {
        "backbone": backbone or job.backbone,
        "use_cache": use_cache and job.use_cache,
        "quiet": job.quiet,
    }
    try:
        return features_of(job.whole_pool, ids, options=options, **given)
    except BeyondFloat16:
        return features_of(job.whole_pool, ids, options=replace(options, dtype="float32"), **given)


def labelled_features(job: Job, positions: IntArray | None = None, *, backbone: Backbone | None = None) -> FloatArray:
    """Features (L, D) float32 of the labelled items by the backbone as it is.

    Args:
        positions: of some of them alone. backbone: another than the job's.
    """
    ids = job.labels.ids if positions is None else [job.labels.ids[position] for position in positions]
    embeddings = embedded(job, ids, backbone=backbone)
    check_complete(len(ids), len(embeddings), 0, "the probe's features")
    return np.asarray(embeddings.features_ND, dtype=np.float32)
