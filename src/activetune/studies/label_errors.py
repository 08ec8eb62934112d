"""Labels that are likely to be wrong, by confident learning.

Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 2021. A linear probe
answers each labelled item by what the others teach (cross-validation). A class's threshold is the mean probability that
its own items get for it. An item *confidently belongs* to the classes whose threshold its probabilities reach; of
several to the likeliest. Where that is another class than its label, the label is likely wrong. Items whose label is
the probe's own answer are no findings. A test holds findings and order against cleanlab 2.9, which does the same.
The score is the probability of the label (*self-confidence*): the lower, the likelier the error.
Shape legend: L labelled items, D feature size, C classes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.errors import UsageError, some
from activetune.base.files import prepare_file, write_unless_there
from activetune.base.locks import holds_output
from activetune.base.progress import note, progress
from activetune.base.run import Run, RunOptions
from activetune.base.tables import header_of, write_csv
from activetune.data.labels import Labels, labels_of
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.data.splits import stratified_folds
from activetune.evaluation.metrics import softmax
from activetune.features.artefact import Embeddings, load_embeddings
from activetune.features.embedding import EmbedOptions, embed
from activetune.networks.backbones import load_backbone
from activetune.networks.regression import fit_best, fit_linear

HEADER = ("id", "label", "suggestion", "score", "reason")
SLACK = 1e-6  # below a threshold that still reaches it, and the least threshold, as cleanlab has them
LEAST_THRESHOLD = 2e-6
FOLDS = 5
DEFAULT = "bundled"  # the backbone where neither it nor embeddings are given


@dataclass(frozen=True)
class LabelError:
    """A label that is likely wrong.

    Attributes:
        suggestion: the class that the probe is confident of. score: the probability of the label, in [0, 1].
        reason: the figures behind it, in words.
    """

    id: str
    label: str
    suggestion: str
    score: float
    reason: str


@holds_output(folder=False)
def label_errors(
    pool: Pool | str | os.PathLike[str],
    *,
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    embeddings: Embeddings | str | os.PathLike[str] | None = None,
    backbone: str | None = None,
    weights: str | Path | None = None,
    folds: int = FOLDS,
    out: str | os.PathLike[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> list[LabelError]:
    """Find labels of one class per image that are likely wrong, the likeliest first.

    Args:
        labels: class names: ``{id: label}``, or a file with id and label; None takes the pool's own.
        embeddings: of the pool, where they are there already; otherwise it is embedded by ``backbone`` (``bundled``).
        weights: a local file of the backbone's weights.
        folds: parts of the labels that are answered by the others, at least 2.
        out: a CSV file: ``id,label,suggestion,score,reason``.
        run_options: see :class:`activetune.RunOptions`; ``seed`` draws the folds. Nothing is kept of a run that was
            cut off but the features, so ``resume`` computes the list again, and leaves a file that holds it as it is.

    Raises:
        UsageError: labels that do not fit the pool, of one class alone, or no class with two labels.

    >>> probs_LC = np.asarray([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.95, 0.05]])
    >>> confident_errors(probs_LC, np.asarray([0, 0, 1, 1])).tolist()
    [3]
    """
    run = Run.of("label-errors", run_options)
    if folds < 2:
        raise UsageError(f"label_errors: folds can't be {folds}; give 2 or more")
    path = (
        None
        if out is None
        else prepare_file(Path(out), own=_is_own, suffixes=(".csv",), overwrite=run.overwrite or run.resume)
    )
    pool = pool if isinstance(pool, Pool) else open_pool(pool, quiet=run.quiet)
    given = labels_of(labels, pool, quiet=run.quiet)
    features = _features(pool, embeddings, backbone, weights, run)
    known = [row for row, item in enumerate(given.ids) if item in features.position]
    note(f"{len(given) - len(known):,} labelled images have no features and are left out", len(known) == len(given))
    ids, names = [given.ids[row] for row in known], [given.names[row] for row in known]
    classes = sorted(set(names))
    if len(classes) < 2:
        raise UsageError(f"label errors are told between classes, and the labels have {some(classes) or 'none'} alone")
    features_LD = np.asarray(features.features_ND[[features.position[item] for item in ids]], dtype=np.float32)
    indices_L = np.searchsorted(classes, names)
    probs_LC = out_of_fold(features_LD, indices_L, np.random.default_rng(run.seed), folds=folds, quiet=run.quiet)
    answered = np.flatnonzero(np.isfinite(probs_LC[:, 0]))
    if not len(answered):
        raise UsageError("every class has a single label, so that no other item can tell of it; label some more")
    if left := len(ids) - len(answered):
        note(f"{left:,} labels are the only ones of their class, of which nothing can be told", run.quiet)
    probs_MC, indices_M = probs_LC[answered], indices_L[answered]
    thresholds_C = thresholds_of(probs_MC, indices_M)
    errors = []
    for row in confident_errors(probs_MC, indices_M):
        errors.append(_told(ids[answered[row]], probs_MC[row], int(indices_M[row]), classes, thresholds_C))
    if path is not None:
        rows = [(one.id, one.label, one.suggestion, f"{one.score:.6g}", one.reason) for one in errors]
        write_unless_there(path, lambda partial: write_csv(partial, HEADER, rows), overwrite=run.overwrite)
    return errors


def _is_own(path: Path) -> bool:
    return header_of(path) == HEADER


def _features(
    pool: Pool,
    given: Embeddings | str | os.PathLike[str] | None,
    backbone: str | None,
    weights: str | Path | None,
    run: Run,
) -> Embeddings:
    """Pooled features (N, D) of the pool.

    Raises:
        UsageError: patch tokens, or features of none of these images.
    """
    if given is None:
        network = load_backbone(backbone or DEFAULT, weights)
        return embed(pool, backbone=network, options=EmbedOptions().within(run), quiet=run.quiet)
    if backbone is not None or weights is not None:
        raise UsageError("the embeddings are given, so no backbone makes any; leave --backbone and --weights out")
    found = given if isinstance(given, Embeddings) else load_embeddings(given)
    if found.features_ND.ndim != 2:
        raise UsageError("label errors are told from pooled features (N x D), not patch tokens; embed without --tokens")
    if not any(item in found.position for item in pool.ids):
        raise UsageError(f"the embeddings hold none of the {len(pool):,} images of {pool.name}; embed this pool")
    return found


def out_of_fold(
    features_LD: FloatArray, indices_L: IntArray, rng: np.random.Generator, *, folds: int = FOLDS, quiet: bool = True
) -> npt.NDArray[np.float64]:
    """(L, C) probabilities of each item by a linear probe that did not see it.

    The probe's strength is chosen first, by cross-validation on all of them. The only item of its class is always
    learned from; its row is NaN.
    """
    classes = int(indices_L.max()) + 1
    strength = fit_best(features_LD, indices_L, rng=rng).strength
    fold_L = stratified_folds(indices_L, folds, rng)
    probs_LC = np.full((len(indices_L), classes), np.nan)
    with progress(folds, "label errors", unit="folds", quiet=quiet) as meter:
        for number in range(folds):
            held, rows = np.flatnonzero(fold_L == number), np.flatnonzero(fold_L != number)
            if len(held):
                head = fit_linear(features_LD[rows], indices_L[rows], strength, classes=classes)
                probs_LC[held] = softmax(head.logits(features_LD[held]))
            meter.advance()
    return probs_LC


def thresholds_of(probs_LC: FloatArray, indices_L: IntArray) -> npt.NDArray[np.float64]:
    """(C,) the mean probability that the items of a class get for it; 2, which none reaches, without an item."""
    counts_C = np.bincount(indices_L, minlength=probs_LC.shape[1])
    own_L = probs_LC[np.arange(len(indices_L)), indices_L]
    sums_C = np.bincount(indices_L, weights=own_L, minlength=probs_LC.shape[1])
    return np.maximum(np.where(counts_C > 0, sums_C / np.maximum(counts_C, 1), 2.0), LEAST_THRESHOLD)


def confident_classes(probs_LC: FloatArray, thresholds_C: FloatArray) -> IntArray:
    """(L,) the class that each item confidently belongs to, -1 where it is none."""
    reached_LC = probs_LC >= thresholds_C - SLACK
    found_L = np.where(reached_LC.sum(axis=1) > 1, probs_LC.argmax(axis=1), reached_LC.argmax(axis=1))
    return np.where(reached_LC.any(axis=1), found_L, -1)


def confident_errors(probs_LC: FloatArray, indices_L: IntArray) -> IntArray:
    """Positions of the labels that are likely wrong, the lowest self-confidence first.

    Args:
        probs_LC: out-of-fold probabilities, finite. indices_L: the class of each label.
    """
    found_L = confident_classes(probs_LC, thresholds_of(probs_LC, indices_L))
    wrong = np.flatnonzero((found_L >= 0) & (found_L != indices_L) & (probs_LC.argmax(axis=1) != indices_L))
    order: IntArray = wrong[np.argsort(probs_LC[wrong, indices_L[wrong]], kind="stable")]
    return order


def _told(item: str, probs_C: FloatArray, label: int, classes: list[str], thresholds_C: FloatArray) -> LabelError:
    """A finding with its reason."""
    likeliest = int(probs_C.argmax())
    reason = (
        f"by the other labels {classes[likeliest]!r} has a probability of {probs_C[likeliest]:.2f} (its own items: "
        f"{thresholds_C[likeliest]:.2f} on average) and {classes[label]!r} one of {probs_C[label]:.2f}"
    )
    return LabelError(item, classes[label], classes[likeliest], float(probs_C[label]), reason)
