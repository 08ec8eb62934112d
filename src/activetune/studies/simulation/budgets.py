"""The budgets of a simulation: counted out against the labels of the pool that is picked from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from activetune.base.errors import UsageError, repeated, some
from activetune.selection.budget import parse_budget


@dataclass(frozen=True)
class Stock:
    """What a pool has to pick from.

    Attributes:
        total: items. counts: items that show each class that some item shows.
        one_each: whether an item has one class; otherwise a number per class is no number of items.
    """

    total: int
    counts: Mapping[str, int]
    one_each: bool = True

    @classmethod
    def of(cls, names: Sequence[str]) -> Stock:
        """Of one class name per item."""
        return cls(len(names), Counter(names))


@dataclass(frozen=True)
class Budget:
    """A budget: ``text`` as it was asked for, ``count`` items in all; ``per_class`` of each class, where it is one.

    Attributes:
        whole: whether it is the whole pool.
    """

    text: str
    count: int
    per_class: int | None = None
    whole: bool = False

    def beyond(self, earlier: Budget | None) -> str:
        """What a selection must add to an earlier, smaller one, as a budget of its own."""
        if self.per_class is not None:
            return f"{self.per_class - (earlier.per_class or 0 if earlier else 0)}/class"
        return str(self.count - (earlier.count if earlier else 0))


def read_budgets(texts: Iterable[str], stock: Stock) -> list[Budget]:
    """Budgets in ascending order.

    Args:
        texts: numbers, shares (``"5%"``) or ``"2/class"``. stock: what there is.

    Raises:
        UsageError: none at all; not understood; over the pool; two that are the same number of items.
    """
    found = sorted((_budget(text, stock) for text in texts), key=lambda budget: budget.count)
    if not found:
        raise UsageError("a simulation needs at least one budget, for instance --budgets 1%,2%,5%")
    same = repeated([str(budget.count) for budget in found])
    if same:
        texts = [budget.text for budget in found if str(budget.count) == same[0]]
        raise UsageError(f"the budgets {some(texts)} are all {int(same[0]):,} items of this pool; leave one out")
    return found


def _budget(text: str, stock: Stock) -> Budget:
    kind, value = parse_budget(text)
    total, counts = stock.total, stock.counts
    if kind == "per_class":
        if not stock.one_each:
            raise UsageError(
                f"the budget {text} is no number of images where an image shows several classes or none; give a "
                "number or a share"
            )
        smallest = min(counts, key=lambda name: counts[name])
        if counts[smallest] < value:
            raise UsageError(
                f"the budget {text} is over what class {smallest!r} of the pool has: {counts[smallest]:,} items; "
                "give a smaller budget"
            )
        return Budget(text, int(value) * len(counts), int(value))
    if kind not in ("count", "share"):
        raise UsageError(f"a simulation needs budgets of a known size, not {text!r}; give 500, 5% or 2/class")
    count = max(1, round(value * total)) if kind == "share" else int(value)
    if count > total:
        raise UsageError(f"the budget {text} is over the pool: {total:,} items can be picked")
    return Budget(text, count, whole=count == total)
