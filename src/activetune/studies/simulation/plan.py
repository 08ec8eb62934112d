"""The plan of a simulation: methods, budgets, recipes and seeds, and for each cell a key of its inputs.

A *cell* is one trained and scored model: (method, recipe, budget, seed). A *round* is one selection and the cells that
train on it. A *chain* of rounds is the work of one process: a single round for a method that needs no labels, and for
one that learns from labels all budgets in ascending order. There each round adds the picks up to the next budget, with
all labels so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from activetune.base.config import parse_named
from activetune.base.errors import UsageError, nearest
from activetune.base.files import file_name
from activetune.base.fingerprint import digest_json, record_of
from activetune.base.settings import flatten
from activetune.networks.network import CLASSIFICATION
from activetune.selection.model_doubt import FREE, readers, reads_model
from activetune.selection.selectors import make_selector, selectors
from activetune.studies.simulation.budgets import Budget
from activetune.tasks import make_task
from activetune.training.recipe import Recipe, make_recipe, recipes


@dataclass(frozen=True)
class Entry:
    """A selector or a recipe with its settings; ``text``, as it was asked for, names its rows.

    Attributes:
        options: all settings in force. in_rounds: whether it is a selector that learns from labels.
        tokens: whether it is a selector that reads patch tokens.
        selects: whether it is a recipe that selects itself; the selector and the budget are then its settings.
        frozen: whether it is a recipe that leaves the backbone as it is.
        taught: whether it is a recipe that may learn from the pool's images without a label.
    """

    text: str
    name: str
    preset: str | None
    settings: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    in_rounds: bool = False
    tokens: bool = False
    selects: bool = False
    frozen: bool = False
    taught: bool = False

    def asked(self) -> dict[str, Any]:
        """The fields that build it again."""
        return {"text": self.text, "name": self.name, "preset": self.preset, "settings": dict(self.settings)}


@dataclass(frozen=True)
class Cell:
    """One model to train; ``name`` is its file, ``key`` is a digest of its inputs."""

    recipe: Entry
    name: str
    key: str


@dataclass(frozen=True)
class Round:
    """One selection by ``by``, of ``more`` items beyond the round before, and the cells that train on all of them."""

    budget: Budget
    by: Entry
    more: str
    name: str
    key: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Chain:
    """Rounds that build on each other, for one process."""

    method: Entry
    seed: int
    rounds: Sequence[Round]


@dataclass(frozen=True)
class Split:
    """What a plan needs of a seed's division into pool and test set.

    Attributes:
        budgets: counted out against its pool, ascending.
        made_from: digest of pool, test set, backbone and precision. held_out: whether the test set is a share of
            the pool, and so no image that a recipe may learn from.
    """

    budgets: Sequence[Budget]
    made_from: str
    held_out: bool = False


@dataclass(frozen=True)
class Plan:
    """The grid: every method with every recipe, budget and seed.

    Attributes:
        splits: by seed, in ascending order; equal for all seeds where they share one split.
        start: the method that chooses the first budget for methods that learn from labels.
    """

    methods: Sequence[Entry]
    recipes: Sequence[Entry]
    splits: Mapping[int, Split]
    start: Entry

    @property
    def seeds(self) -> list[int]:
        """All seeds, ascending."""
        return list(self.splits)

    @property
    def budgets(self) -> list[str]:
        """The budgets as they were asked for, in the first seed's order."""
        return [budget.text for budget in next(iter(self.splits.values())).budgets]

    def counts(self, text: str) -> list[int]:
        """The number of items that a budget is, by seed."""
        return [budget.count for split in self.splits.values() for budget in split.budgets if budget.text == text]

    def chains(self) -> list[Chain]:
        """All chains; those of several rounds come first, as they take longest, and each seed's stand together."""
        found: list[Chain] = []
        for seed in self.seeds:
            for method in self.methods:
                rounds = self._rounds(method, seed) if method.in_rounds else self._alone(method, seed)
                parts = [rounds] if method.in_rounds else [[alone] for alone in rounds]
                found += [Chain(method, seed, part) for part in parts]
        return sorted(found, key=lambda chain: not chain.method.in_rounds)

    def shared(self, rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Rows for the other methods where the first one's cell is theirs too: a loop over the whole pool."""
        looped = {recipe.text for recipe in self.recipes if recipe.selects}
        whole = {(seed, one.text) for seed, split in self.splits.items() for one in split.budgets if one.whole}
        found = [row for row in rows if row["recipe"] in looped and (row["seed"], row["budget"]) in whole]
        return [{**row, "method": method.text} for row in found for method in self.methods[1:]]

    def _alone(self, method: Entry, seed: int) -> list[Round]:
        """One selection per budget, none of which knows of the others."""
        return [self._round(method, method, budget, None, "", seed) for budget in self.splits[seed].budgets]

    def _rounds(self, method: Entry, seed: int) -> list[Round]:
        """The first budget by the method that starts, each next one by the method itself."""
        rounds: list[Round] = []
        for number, budget in enumerate(self.splits[seed].budgets):
            by = method if number else self.start
            earlier, before = (rounds[-1].budget, rounds[-1].key) if rounds else (None, "rounds")
            rounds.append(self._round(method, by, budget, earlier, before, seed))
        return rounds

    def _round(self, method: Entry, by: Entry, budget: Budget, earlier: Budget | None, before: str, seed: int) -> Round:
        more = budget.beyond(earlier)
        made = {"from": self.splits[seed].made_from, "by": by.name, "options": by.options}
        key = digest_json({**made, "more": more, "after": before, "seed": seed})
        cells = [
            Cell(
                recipe,
                file_name(method.text, recipe.text, budget.text, seed),
                digest_json(
                    {"selection": key, "recipe": recipe.name, "options": recipe.options, "seed": seed}
                    | ({"without": "the test images"} if recipe.taught and self.splits[seed].held_out else {})
                ),
            )
            for recipe in self.recipes
            if method is self.methods[0] or not (recipe.selects and budget.whole)
        ]
        return Round(budget, by, more, file_name(method.text, budget.text, seed), key, cells)


# Reading the request ----------------------------------------------------------------------------------------------


def split_list(values: str | Iterable[object]) -> list[str]:
    """``"a, b"`` or ``["a", "b"]`` as texts, each once."""
    parts = values.split(",") if isinstance(values, str) else map(str, values)
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def read_methods(
    texts: str | Iterable[str], settings: Mapping[str, Mapping[str, Any]], task: str = CLASSIFICATION
) -> list[Entry]:
    """The selectors that are asked for.

    Args:
        texts: ``NAME``, ``NAME:PRESET`` or ``NAME:setting=value;setting=value`` each.
        settings: more settings, by an entry's text or name. task: what models answer.

    Raises:
        UsageError: none at all; an unknown name, preset or setting; a method that can't learn from such answers.
    """
    listed = _some_of(split_list(texts), "method", "--methods k_means,random")
    return [_method(_entry(text, settings), task) for text in listed]


def read_recipes(
    texts: str | Iterable[str],
    settings: Mapping[str, Mapping[str, Any]],
    task: str = CLASSIFICATION,
    head: str | None = None,
) -> list[Entry]:
    """The recipes that are asked for; like :func:`read_methods`."""
    listed = _some_of(split_list(texts), "recipe", "--recipes linear_probe")
    return [_recipe(_entry(text, settings), task, head) for text in listed]


def earlier_start(earlier: Mapping[str, Any], task: str) -> Entry:
    """The method that made the first selection of an earlier run."""
    return _method(Entry(**earlier), task)


def read_start(text: str, settings: Mapping[str, Mapping[str, Any]], task: str = CLASSIFICATION) -> Entry:
    """The method that makes the first selection of several rounds.

    Raises:
        UsageError: it learns from labels itself.
    """
    start = _method(_entry(text.strip(), settings), task)
    if start.in_rounds:
        raise UsageError(
            f"{start.name} learns from labels, so it can't make the first selection; "
            "give --start a method that needs features alone (random, k_means)"
        )
    return start


def unused_settings(settings: Iterable[str], entries: Sequence[Entry]) -> list[str]:
    """Names that settings are given for and that no entry has.

    Raises:
        UsageError: a name that neither a method nor a recipe has.
    """
    known = [*selectors(), *recipes()]
    for name in settings:
        if name.partition(":")[0].strip() not in known:
            alike = nearest(name, known, 1)[0]
            raise UsageError(f"settings of {name!r}: there is no such method or recipe; the nearest is {alike!r}")
    return [name for name in settings if all(name not in (entry.name, entry.text) for entry in entries)]


def together(
    earlier: Iterable[Mapping[str, Any]], asked: Sequence[Entry], task: str, *, train: bool = False
) -> list[Entry]:
    """The entries of an earlier run, then the new ones; an entry of the same text takes the earlier one's place.

    Args:
        train: whether they are recipes; otherwise they are methods.
    """
    read = _recipe if train else _method
    kept = [read(Entry(**row), task) for row in earlier]
    renewed = {entry.text: entry for entry in asked}
    known = {entry.text for entry in kept}
    return [renewed.get(entry.text, entry) for entry in kept] + [entry for entry in asked if entry.text not in known]


def _some_of(texts: list[str], kind: str, example: str) -> list[str]:
    if not texts:
        raise UsageError(f"a simulation needs at least one {kind}, for instance {example}")
    return texts


def _entry(text: str, settings: Mapping[str, Mapping[str, Any]]) -> Entry:
    name, preset, own = parse_named(text)
    return Entry(text, name, preset, {**settings.get(name, {}), **settings.get(text, {}), **own})


def _method(entry: Entry, task: str) -> Entry:
    selector = make_selector(entry.name, entry.preset, dict(entry.settings))
    in_rounds = selector.in_rounds or bool(selector.needs - FREE)
    if in_rounds and task != CLASSIFICATION and not make_task(task).has_classes:
        raise UsageError(
            f"{entry.name} learns from classes, and {task} has none; give methods that need features alone "
            "(random, k_means, activeft)"
        )
    if in_rounds and task != CLASSIFICATION and not reads_model(selector):
        raise UsageError(
            f"{entry.name} learns from one class per image, which {task} does not have; of the methods that learn from "
            f"answers it has {readers()}"
        )
    tokens = "tokens_NTD" in selector.needs
    return replace(entry, options=flatten(selector), in_rounds=in_rounds, tokens=tokens)


def _recipe(entry: Entry, task: str, head: str | None = None) -> Entry:
    recipe = make_recipe(entry.name, entry.preset, dict(entry.settings))
    recipe.refuse(entry.name, task, head)
    taught = recipe.uses_pool or type(recipe).learns_from_pool is not Recipe.learns_from_pool
    found = replace(entry, options=record_of(recipe), selects=recipe.selects, frozen=recipe.frozen)
    return replace(found, taught=taught)


def refuse_mixed_rounds(methods: Iterable[Entry], budgets: Sequence[Budget]) -> None:
    """Rounds add to each other, which a number and a number per class can't.

    Raises:
        UsageError: both kinds of budgets, and a method that works in rounds.
    """
    names = [method.text for method in methods if method.in_rounds]
    if names and len({budget.per_class is None for budget in budgets}) > 1:
        raise UsageError(
            f"{names[0]} goes through the budgets in rounds, so they must be of one kind: "
            "all a number per class (2/class), or all numbers and shares"
        )
