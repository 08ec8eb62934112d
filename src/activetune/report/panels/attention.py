"""Where the class tokens of two backbones look, before and after."""

from __future__ import annotations

from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import COMPARISON, Subject


class Attention(Panel):
    """See the module."""

    kinds = (COMPARISON,)
    needs = ("attention",)
    order = 30

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        assert subject.attention is not None
        page.heading("Where the class token looks")
        page.picture(
            subject.attention,
            "Each row: an image, where A looks, where B looks. The class token's attention in the last layer, a mean "
            "over its heads; the brighter a place, the more it is attended to.",
        )
