"""What failed in a simulation, with the reason."""

from __future__ import annotations

from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import SIMULATION, Subject

COLUMNS = ("method", "recipe", "budget", "seed", "error")


class Failures(Panel):
    """See the module."""

    kinds = (SIMULATION,)
    needs = ("results",)
    order = 85

    def stands(self, subject: Subject) -> bool:
        """See :class:`Panel`: where something failed."""
        return super().stands(subject) and subject.results is not None and bool(subject.results.failed["error"])

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        assert subject.results is not None
        failed = subject.results.failed
        page.heading("Failed")
        page.table(COLUMNS, zip(*(map(str, failed[name]) for name in COLUMNS), strict=True), texts=5)
