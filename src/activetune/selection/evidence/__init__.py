"""Evidence beyond features: what selectors of several rounds read, computed from the labels known so far.

A selector never trains. It names fields of :class:`Evidence` in its ``needs``; the modules here train whatever helper
those fields come from. One module a source; each names the fields it ``PROVIDES`` and has one function::

    def provide(evidence: Evidence, wanted: frozenset[str], rng: np.random.Generator) -> dict[str, Any]

which reads ``evidence`` (features of unit length, labelled positions, answers) and returns at least the ``wanted``
fields. Adding a source is adding a file; nothing else is edited.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from activetune.base.arrays import NO_INDICES
from activetune.base.discovery import modules_of
from activetune.base.errors import UsageError
from activetune.selection.problem import Evidence


def sources() -> dict[str, ModuleType]:
    """The modules of this package by the name of each field that they provide."""
    return {field: module for module in modules_of(__name__).values() for field in module.PROVIDES}


def gather(evidence: Evidence, wanted: Iterable[str], *, method: str, seed: int) -> Evidence:
    """Compute the fields that are wanted and not there yet.

    Args:
        wanted: field names of :class:`Evidence`; those that no source provides must be there already.
        method: the selector that wants them, for messages. seed: of the helpers' training.

    Raises:
        UsageError: fewer than two classes among the known answers.
    """
    missing = {field for field in wanted if getattr(evidence, field) is None}
    if not missing:
        return evidence
    _refuse_too_few_answers(evidence, method)
    known = sources()
    found: dict[str, Any] = {}
    for number, module in enumerate(dict.fromkeys(known[field] for field in sorted(missing))):
        asked = frozenset(missing & module.PROVIDES)
        found |= module.provide(evidence, asked, np.random.default_rng([seed, number]))
    return replace(evidence, **{field: found[field] for field in missing})


def known_answers(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """Positions and class indices of the labelled items whose label is known, (M,) each."""
    if evidence.answers_L is None:
        return NO_INDICES, NO_INDICES
    known = evidence.answers_L >= 0
    return evidence.labelled[known], evidence.answers_L[known]


def _refuse_too_few_answers(evidence: Evidence, method: str) -> None:
    _, answers = known_answers(evidence)
    classes = len(np.unique(answers))
    if classes >= 2:
        return
    has = "none is known" if not len(answers) else f"all {len(answers):,} known ones are of a single class"
    raise UsageError(
        f"{method} learns from labels of at least two classes, and {has}: give --labelled a file with the columns "
        "id and label, or choose a method that needs features alone (k_means, activeft, typiclust)"
    )
