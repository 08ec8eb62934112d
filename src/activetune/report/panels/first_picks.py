"""The demo's first picks, by every method."""

from __future__ import annotations

from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import DEMO, Subject
from activetune.selection.artefact import load_selection


class FirstPicks(Panel):
    """See the module."""

    kinds = (DEMO,)
    order = 37

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        budget = subject.manifest["budgets"][0]
        page.heading(f"The first {budget} picks")
        for method in subject.manifest["methods"]:
            page.subheading(method)
            selection = load_selection(subject.folder / "selections" / f"{method}-{budget}-0")
            page.strip((subject.folder / "images" / item, item.split("/")[0]) for item in selection.ids)
