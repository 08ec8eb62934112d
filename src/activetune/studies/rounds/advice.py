"""Is it time to stop? What more labels would bring, whether the answers still change, and how good the model is.

- *Gain*: the learning curve of a linear probe, followed by as many labels as a round asks for (``learning_curve.py``).
- *Stability*: what probes of this round and of the one before answer to the same items of the pool; Cohen's kappa is
  their agreement beyond chance. "Stabilizing predictions" (Bloodgood and Vijay-Shanker, CoNLL 2009) stops at 0.99.
- *Audit*: the round's model on the random items that were set aside, with Wilson's interval.

Nothing here is taken from items that a model has learned from. Gain and stability are told of one class per image.
Shape legend: L labelled items, M items that both probes answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.run import Run
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.data.several import parts_of_cell
from activetune.evaluation.evaluate import evaluate
from activetune.evaluation.learning_curve import LEAST, Gain, answer_by_size, expect_gain
from activetune.evaluation.metrics import told_score
from activetune.evaluation.model import Model
from activetune.evaluation.scores import PRIMARY
from activetune.evaluation.statistics import wilson_interval
from activetune.features.artefact import Embeddings
from activetune.selection.evidence.probe import fit_head

WATCHED = 2_000  # items of the pool whose answers are compared from round to round
SETTLED = 0.99  # kappa
FLAT = 0.01  # a gain whose upper bound lies below it

Answers = Mapping[str, str]


def advise(
    embeddings: Embeddings,
    labels: Answers,
    before: Answers,
    more: int,
    seed: int,
    *,
    aside: Collection[str],
    audit: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Gain and stability, as plain values for ``advice.json``.

    Args:
        labels: class of each item that may be learned from. before: those of them that were known a round earlier.
        more: labels that are to come. aside: the audit's items, which no probe sees. audit: see :func:`audited`.
    """
    labels, before = (
        {item: name for item, name in known.items() if item in embeddings.position} for known in (labels, before)
    )
    counts = None if audit is None else (round(audit["value"] * audit["n"]), audit["n"])
    gain = _gain(embeddings, labels, more, seed, counts, quiet)
    stability = _stability(embeddings, labels, before, seed, aside)
    return {
        "labels": len(labels),
        "gain": None if gain is None else gain.as_dict(),
        "stability": stability,
        "sentence": sentence_of(gain, stability, len(labels)) if more else "",
    }


def _gain(
    embeddings: Embeddings, labels: Answers, more: int, seed: int, audit: tuple[int, int] | None, quiet: bool
) -> Gain | None:
    rows, indices_L = _learned(embeddings, labels)
    rng = np.random.default_rng([seed, len(rows)])
    features_LD = np.asarray(embeddings.features_ND[rows], dtype=np.float32)
    answered = answer_by_size(features_LD, indices_L, rng, quiet=quiet)
    return None if answered is None or more < 1 else expect_gain(answered, len(rows), more, rng, audit=audit)


def _learned(embeddings: Embeddings, labels: Answers) -> tuple[IntArray, IntArray]:
    """Rows (L,) and class indices (L,) of the labelled items, all of which have features."""
    found = Labels.of(labels)
    return np.asarray([embeddings.position[item] for item in found.ids], dtype=np.int64), found.indices


def _stability(
    embeddings: Embeddings, labels: Answers, before: Answers, seed: int, aside: Collection[str]
) -> dict[str, Any] | None:
    """How far probes of two rounds agree on the same items; None where one of them can't be fitted."""
    if min(len(set(labels.values())), len(set(before.values()))) < 2 or before == labels:
        return None
    rng = np.random.default_rng([seed, WATCHED])
    open_rows = [row for row, item in enumerate(embeddings.ids) if item not in aside]
    watched = np.sort(rng.permutation(open_rows)[:WATCHED])
    first_M, second_M = (_answers(embeddings, known, watched, seed) for known in (before, labels))
    return {"items": len(watched), "from": len(before), "to": len(labels), **agreement(first_M, second_M)}


def _answers(embeddings: Embeddings, labels: Answers, watched: IntArray, seed: int) -> list[str]:
    """The class names that a probe tells the watched items."""
    rows, indices_L = _learned(embeddings, labels)
    both = np.concatenate([rows, watched])
    features = np.asarray(embeddings.features_ND[both], dtype=np.float32)
    head = fit_head(np.arange(len(rows)), indices_L, features, np.random.default_rng(seed))
    classes = sorted(set(labels.values()))
    return [classes[number] for number in head.logits(features[len(rows) :]).argmax(axis=1)]


def agreement(first_M: list[str], second_M: list[str]) -> dict[str, float]:
    """The share of items with the same answer, and Cohen's kappa.

    >>> agreement(["a", "a", "b", "b"], ["a", "a", "b", "a"])
    {'agreement': 0.75, 'kappa': 0.5}
    """
    names = sorted({*first_M, *second_M})
    one, two = (np.searchsorted(names, answers) for answers in (first_M, second_M))
    same = float((one == two).mean())
    shares = [np.bincount(numbers, minlength=len(names)) / len(numbers) for numbers in (one, two)]
    chance = float(shares[0] @ shares[1])
    kappa = 1.0 if chance >= 1 else (same - chance) / (1 - chance)
    return {"agreement": same, "kappa": kappa}


def sentence_of(gain: Gain | None, stability: Mapping[str, Any] | None, labels: int) -> str:
    """``you will gain about 2.1 points (0.4 to 3.8) with 100 more labels; …``."""
    if gain is None:
        why = f"a curve needs {LEAST} labels of two classes, and there are {labels:,}"
        return f"what more labels would bring can't be told yet: {why}"
    parts = [f"you will gain {gain.told()}, by the learning curve of a linear probe"]
    if stability is not None:
        parts.append(
            f"{100 * stability['agreement']:.1f} % of the answers are those of the round before "
            f"(kappa {stability['kappa']:.2f})"
        )
    settled = stability is not None and stability["kappa"] >= SETTLED
    if gain.high < FLAT:
        parts.append("the curve is flat: it may be time to stop")
    elif settled and gain.gain < FLAT:
        parts.append("the answers have settled: it may be time to stop")
    elif settled:
        parts.append("the answers have settled, and the curve still rises: another round tells which of the two holds")
    return "; ".join(parts)


def audited(model: Model, pool: Pool, answers: Answers, run: Run, *, multilabel: bool = False) -> dict[str, Any]:
    """The model's score on the audit, with Wilson's interval where it is a share of right answers.

    Args:
        answers: to items that the model has not learned from; at least one.
    """
    if multilabel:
        scores = evaluate(model, pool, labels=split(answers), **run.within())
        found = {"metric": scores.primary, "value": scores.value, "n": scores.n, "interval": None}
        return {**found, "sentence": _told(found)}
    value, n = 0.0, len(answers)
    if set(answers.values()) & set(model.classes):  # otherwise the model knows none of them
        scores = evaluate(model, pool, labels=dict(answers), **run.within())
        value, n = scores.value, scores.n
    low, high = wilson_interval(round(value * n), n)
    interval = {"low": low, "high": high, "level": 0.95, "by": "Wilson"}
    found = {"metric": PRIMARY, "value": value, "n": n, "interval": interval}
    return {**found, "sentence": f"{_told(found)} ({100 * low:.1f} to {100 * high:.1f} %)"}


def _told(found: Mapping[str, Any]) -> str:
    return f"the model has {told_score(found['metric'], found['value'])} on the {found['n']:,} audited items"


def split(answers: Answers) -> dict[str, list[str]]:
    """The classes of each image, where it may show several."""
    return {item: parts_of_cell(text) for item, text in answers.items()}
