"""Answers beyond one class per image, from the formats of annotation tools and data sets; one module a format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from activetune.base.errors import UsageError
from activetune.base.names import as_known
from activetune.data.ids import refuse_unknown
from activetune.data.labels import Labels
from activetune.data.pool import Pool


def answers_of(
    given: Labels | Mapping[str, Any] | str | os.PathLike[str] | None,
    pool: Pool,
    task: str,
    classes: Sequence[str] | None = None,
    *,
    quiet: bool = False,
) -> Labels[Any]:
    """The answers to items of a pool, however they are given: the door of every task but classification.

    Args:
        given: labels, or a file or folder of them; None takes the pool's own.

    Raises:
        UsageError: ids that the pool does not have, or no answer at all.
    """
    if not isinstance(given, Labels):
        raise UsageError("give labels")
    if not len(given):
        raise UsageError("none of the given labels is answered")
    found = replace(given, ids=as_known(given.ids, pool.position))
    refuse_unknown(found.ids, pool.position, "the given labels", f"the pool {pool.name}")
    return found
