"""The contract of every selector.

A selector is a frozen dataclass whose fields are its settings. It reads evidence, never images, and never trains. It
returns exactly ``budget`` distinct candidates (so never a labelled or excluded item), the same ones for the same
generator state, and leaves the evidence as it was. ``tests/contract/test_selectors.py`` holds every selector to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.settings import Settings
from activetune.features.distances import Float32
from activetune.selection.problem import Evidence, Picks


@dataclass(frozen=True)
class Selector(Settings, ABC):
    """Base class of the selectors.

    Attributes:
        needs: the fields of :class:`Evidence` that the method can't do without.
        uses: those that it reads where labels are known, and does without otherwise.
        ordered: whether every prefix of a selection is the selection of that smaller budget (same generator state);
            its figures then do not depend on the budget.
        in_rounds: whether the method is made for several rounds although it needs no label for the first: a
            simulation goes through its budgets in rounds then, as with methods that need labels.
        randomised: whether the seed changes the answer (for most pools).
        shares_rows: whether it can select from features of which each of several processes holds a part; see
            :mod:`activetune.features.holding`.
        refines: whether it can bring picks of another hand nearer to the pool, see :meth:`refined`.
        presets: named settings, for instance ``paper``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features_ND"})
    uses: ClassVar[frozenset[str]] = frozenset()
    ordered: ClassVar[bool] = False
    in_rounds: ClassVar[bool] = False
    randomised: ClassVar[bool] = True
    shares_rows: ClassVar[bool] = False
    refines: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def in_order(self) -> Selector | None:
        """The selector to take where prefixes are asked for: this one if it is ordered, None if there is none."""
        return self if self.ordered else None

    def unshared(self) -> str:
        """Which of these settings needs all rows in one process, though the method does not; empty where none does."""
        return ""

    def unrefined(self) -> str:
        """Which of these settings is undone by :meth:`refined`; empty where none is."""
        return ""

    def refined(
        self,
        evidence: Evidence,
        picks: IntArray,
        rng: np.random.Generator,
        rows: Callable[[IntArray], Float32],
    ) -> IntArray:
        """The picks (K,), each in its place, after swaps that lower what the method is for.

        Args:
            rows: gives features of unit length by position; those of the evidence are not read.
        """
        raise NotImplementedError

    @abstractmethod
    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """Pick ``budget`` of the candidates; ``1 <= budget <= len(evidence.candidates)`` is the caller's promise."""
