"""What is wrong in a file of answers: which kind, where, how often, and the first example. The good rows are kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from activetune.base.progress import note


@dataclass
class Problem:
    """One kind of problem.

    Attributes:
        what: the kind, and what becomes of it. where: the file or folder. count: how often. first: the first example.
    """

    what: str
    where: str
    count: int
    first: str

    def __str__(self) -> str:
        """``boxes.json: boxes without area, left out: 12 (the first: annotation 7)``."""
        return f"{self.where}: {self.what}: {self.count:,} (the first: {self.first})"


@dataclass
class Problems:
    """All that was met while a file or folder was read, a kind once."""

    where: str
    found: dict[str, Problem] = field(default_factory=dict)

    def add(self, what: str, first: str, count: int = 1) -> None:
        """Count problems of a kind; the example counts where they are the first."""
        known = self.found.setdefault(what, Problem(what, self.where, 0, first))
        known.count += count

    def tell(self, quiet: bool = False) -> None:
        """A sentence on stderr for each kind."""
        for problem in self.found.values():
            note(str(problem), quiet)

    def told(self) -> str:
        """All of them, for the message of an error; empty where there is none."""
        return "; ".join(
            f"{problem.what}: {problem.count:,} (the first: {problem.first})" for problem in self.found.values()
        )
