"""What a simulation is asked for: methods, recipes, budgets and seeds; with an earlier run's, and as a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from activetune.base.errors import UsageError
from activetune.studies.simulation.budgets import Stock, read_budgets
from activetune.studies.simulation.parts import Parts
from activetune.studies.simulation.plan import (
    Entry,
    Plan,
    Split,
    earlier_start,
    read_methods,
    read_recipes,
    read_start,
    refuse_mixed_rounds,
    split_list,
    together,
)

USUAL = "linear_probe"  # the recipe, unless others are asked for
FIRST = "random"  # makes the first selection of methods that learn from labels, unless another one is asked for


@dataclass(frozen=True)
class Asked:
    """The grid before its budgets are counted out.

    Attributes:
        unsaid: which of ``recipes`` and ``start`` nobody asked for: an earlier run's are taken instead of the defaults.
    """

    methods: Sequence[Entry]
    recipes: Sequence[Entry]
    budgets: Sequence[str]
    seeds: Sequence[int]
    start: Entry
    task: str
    unsaid: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        methods: str | Iterable[str],
        recipes: str | Iterable[str] | None,
        budgets: str | int | float | Iterable[str | int | float],
        seeds: Sequence[int],
        start: str | None,
        settings: Mapping[str, Mapping[str, Any]],
        task: str,
        head: str | None = None,
    ) -> Asked:
        """Read the arguments of :func:`simulate`."""
        return cls(
            read_methods(methods, settings, task),
            read_recipes(USUAL if recipes is None else recipes, settings, task, head),
            split_list([budgets] if isinstance(budgets, int | float) else budgets),
            seeds,
            read_start(FIRST if start is None else start, settings, task),
            task,
            frozenset(name for name, value in (("recipes", recipes), ("start", start)) if value is None),
        )

    def refuse_idle_start(self) -> None:
        """Refuse a first selection that no method would go on from.

        Raises:
            UsageError: no method learns from labels.
        """
        if self.start.text != FIRST and not any(method.in_rounds for method in self.methods):
            raise UsageError(
                f"--start {self.start.text} changes nothing: no method here learns from labels; leave it out, or add "
                "one that does, for instance margin"
            )

    def as_dict(self) -> dict[str, Any]:
        """The content of the marker that the next run reads."""
        return {
            "methods": [method.asked() for method in self.methods],
            "recipes": [recipe.asked() for recipe in self.recipes],
            "budgets": list(self.budgets),
            "seeds": list(self.seeds),
            "start": self.start.asked(),
        }

    def beside(self, earlier: Mapping[str, Any]) -> Asked:
        """Both this grid and an earlier run's."""
        recipes = [] if "recipes" in self.unsaid else self.recipes
        kept = "start" in self.unsaid and "start" in earlier  # folders of before do not name it
        return Asked(
            together(earlier["methods"], self.methods, self.task),
            together(earlier["recipes"], recipes, self.task, train=True),
            list(dict.fromkeys([*earlier["budgets"], *self.budgets])),
            sorted({*earlier["seeds"], *self.seeds}),
            earlier_start(earlier["start"], self.task) if kept else self.start,
            self.task,
        )

    def plan(self, parts: Parts, made_from: Mapping[str, str], stock: Callable[[int], Stock]) -> Plan:
        """Count the budgets out against the stock of each seed's pool, or once where all seeds share it."""
        splits: dict[int, Split] = {}
        for seed in self.seeds:
            if splits and not parts.per_seed:
                splits[seed] = splits[self.seeds[0]]
                continue
            try:
                budgets = read_budgets(self.budgets, stock(seed))
            except UsageError as error:
                raise UsageError(f"{error} (in the split of seed {seed})" if parts.per_seed else str(error)) from None
            refuse_mixed_rounds(self.methods, budgets)
            splits[seed] = Split(budgets, parts.key(made_from, seed), held_out=parts.test is None)
        return Plan(self.methods, self.recipes, splits, self.start)
