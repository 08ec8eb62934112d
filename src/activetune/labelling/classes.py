"""The classes by their names of today, and what every name that was ever given stands for.

A category stays the same one whatever it is called. A rename gives it another name; where a class has that name already
it becomes part of that class, a merge. Taking either back restores what was. An answer keeps the categories that its
names stood for when it came, before any merge: which class it has today follows from these alone, at any time.

A name that was given up still leads to its category: another tab may not know yet. A class that was removed is there
again once somebody names it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from activetune.base.errors import UsageError, some


@dataclass(eq=False)
class Category:
    """What answers mean, by its own name, and the one that it has become part of; None: none."""

    name: str
    part_of: Category | None = None

    @property
    def whole(self) -> Category:
        """The one that it shows as: itself, or what it has become part of."""
        found = self
        while found.part_of is not None:
            found = found.part_of
        return found


class _Rename(NamedTuple):
    """A rename that can be taken back; ``place`` is that of the class among the others."""

    name: str
    to: str
    category: Category
    place: int
    merged: bool


class Classes:
    """The classes of a labelling. ``names`` are those of today, in their order; ``removed`` those that were removed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.removed: set[str] = set()
        self._stands: dict[str, Category] = {}  # by every name that was ever given
        self._undoable: list[_Rename] = []

    def current(self, name: str) -> str | None:
        """The class that a name stands for today; None where it stands for none."""
        found = self._today(name)
        return found if found in self.names else None

    def known(self, name: str) -> str | None:
        """The same, or the class that was removed: another tab may have given it before it knew."""
        found = self._today(name)
        return found if found in self.names or found in self.removed else None

    def todays(self, names: Iterable[str]) -> tuple[str, ...]:
        """The classes that names stand for today, in ascending order."""
        return tuple(sorted({found for name in names if (found := self.current(name)) is not None}))

    def _today(self, name: str) -> str | None:
        found = self._stands.get(name)
        return None if found is None else found.whole.name

    def meant(self, names: Iterable[str]) -> tuple[Category, ...]:
        """The categories that names stand for, without those that stand for none; each once."""
        return tuple(dict.fromkeys(self._stands[name] for name in names if self.known(name) is not None))

    def add(self, name: str) -> None:
        """Add a class, or one that was removed again."""
        if name in self.names:
            return
        self.names.append(name)
        self._stands[name] = self._stands[name].whole if name in self.removed else Category(name)
        self.removed.discard(name)

    def remove(self, name: str) -> None:
        """Remove a class, which no answer has.

        Raises:
            ValueError: there is none of that name.
        """
        self.names.remove(name)
        self.removed.add(name)

    def rename(self, name: str, to: str) -> None:
        """Give a class another name, or make it one with the class of that name.

        Raises:
            ValueError: there is no class of that name, or it is called so already.
        """
        place, category, merged = self.names.index(name), self._stands[name].whole, to in self.names
        if name == to:
            raise ValueError(f"{name!r} is called so already")
        if merged:
            category.part_of = self._stands[to].whole
            del self.names[place]
        else:
            self.names[place] = category.name = to
            self._take(to, category)
        self._undoable.append(_Rename(name, to, category, place, merged))

    def refuse_undo(self, name: str, to: str) -> None:
        """Refuse to take a rename back that was not the last one, or whose names have other bearers since.

        Raises:
            UsageError: it was not, or they have.
        """
        last = self._undoable[-1] if self._undoable else None
        if last is None or (last.name, last.to) != (name, to) or not self._free(last):
            was = "no class was renamed" if last is None else f"the last one was {last.name!r} to {last.to!r}"
            raise UsageError(
                f"the rename of {name!r} to {to!r} can't be taken back: {was}, and {some(self.names, 8)} are the "
                "classes now; rename or add a class"
            )

    def _free(self, last: _Rename) -> bool:
        return last.to in self.names and last.name not in self.names

    def undo(self) -> bool:
        """Take the last rename back; returns whether it was a merge.

        Raises:
            IndexError: there is none.
        """
        last = self._undoable.pop()
        if not self._free(last):
            return last.merged
        if last.merged:
            last.category.part_of = None
            self.names.insert(last.place, last.name)
        else:
            self.names[self.names.index(last.to)] = last.category.name = last.name
        self._take(last.name, last.category)
        return last.merged

    def _take(self, name: str, category: Category) -> None:
        """Let a name stand for a category; a removed one of that name, which no answer has, becomes part of it."""
        before = self._stands.get(name)
        if name in self.removed and before is not None and before.whole is not category:
            before.whole.part_of = category
        self.removed.discard(name)
        self._stands[name] = category


def told(categories: Iterable[Category]) -> tuple[str, ...]:
    """The classes of today that categories show as, ascending."""
    return tuple(sorted({category.whole.name for category in categories}))
