"""The contract of a panel: one part of a report, in one file of this folder.

A panel says for which kinds of folder it stands, and which artefacts it needs; where one of them is missing the report
goes without the panel. It draws into the page and writes nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import ClassVar

from activetune.report.page import Page
from activetune.report.subject import Subject


class Panel(ABC):
    """Base class of the panels.

    Attributes:
        kinds: of folders that it stands for, see :data:`activetune.report.subject.KINDS`.
        needs: artefacts that it needs, by their names in :class:`activetune.report.subject.Subject`.
        order: where it stands in the page: panels with a smaller number come first.
    """

    kinds: ClassVar[Collection[str]]
    needs: ClassVar[Collection[str]] = ()
    order: ClassVar[int]

    def stands(self, subject: Subject) -> bool:
        """Whether a report has it: of such a folder, with all that it needs."""
        return subject.kind in self.kinds and all(subject.has(name) for name in self.needs)

    @abstractmethod
    def draw(self, subject: Subject, page: Page) -> None:
        """Add its sections to a page."""
