"""A project's rounds: what more labels would bring, how good each round's model is, and what each round has cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from activetune.evaluation.metrics import capital, told_score
from activetune.report.charts import Axis, Line, line_chart
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import CONFLICTS, PROJECT, Subject

ENOUGH = "How many labels are enough?"


class Rounds(Panel):
    """See the module."""

    kinds = (PROJECT,)
    needs = ("ledger",)
    order = 15

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        rounds = list(subject.advice or ())
        latest = rounds[-1] if rounds else {}
        if latest.get("gain"):
            _advice(latest, page)
        elif latest.get("sentence"):
            page.heading(ENOUGH)
            page.paragraph(_sentence(latest))
        if any(one.get("audit") for one in rounds):
            _audits(rounds, page)
        page.heading("Rounds")
        ledger = subject.ledger or {}
        page.table([*ledger], list(zip(*(map(_cell, column) for column in ledger.values()), strict=True)), texts=2)
        if any(count not in (None, "", "0", 0) for count in ledger.get("elsewhere", ())):
            page.note("An item counts in one round: those that had asked for it too count it under elsewhere.")
        conflicts = (subject.conflicts or {}).get("open", ())
        if waiting := sum(str(one) == "yes" for one in conflicts):
            page.warning(f"{waiting:,} items have answers that contradict each other: {CONFLICTS} lists them.")


def _advice(latest: Mapping[str, Any], page: Page) -> None:
    gain = latest["gain"]
    page.heading(ENOUGH)
    stability = latest.get("stability") or {}
    page.figures(
        [
            ("labels", f"{latest['labels']:,}"),
            (f"points by {gain['more']:,} more labels", f"{100 * gain['gain']:+.1f}"),
            ("interval", f"{100 * gain['low']:.1f} to {100 * gain['high']:.1f}"),
            *([("answers that stay, kappa", f"{stability['kappa']:.2f}")] if "kappa" in stability else []),
        ]
    )
    page.paragraph(_sentence(latest))
    points = [(float(count), 100 * value) for count, value in gain["points"]]
    lines = [Line("measured by cross-validation", points, colour=0)]
    if latest.get("audit"):  # what is expected begins at another score, that on the audit: it is no part of this curve
        page.add(line_chart(lines, Axis("labels"), Axis("accuracy of a linear probe, %")))
        page.note(
            "The curve is measured on the picks, which a selector has chosen, and which may be harder than random "
            "images. The gain above begins at the model's score on the audit; its interval is that of the gain alone."
        )
        return
    ends = [(float(latest["labels"]), 100 * gain["now"]), (float(latest["labels"] + gain["more"]), 100 * gain["then"])]
    ahead = [100 * gain["now"], 100 * gain["then"]]
    width = 50 * (gain["high"] - gain["low"])
    lines.append(Line("expected", ends, (0.0, width), [f"{value:.1f}" for value in ahead], colour=1, style=1))
    page.add(line_chart(lines, Axis("labels"), Axis("accuracy of a linear probe, %")))


def _sentence(advice: Mapping[str, Any]) -> str:
    return f"{capital(str(advice['sentence']))}."


def _audits(rounds: Sequence[Mapping[str, Any]], page: Page) -> None:
    page.heading("On the audit")
    rows = [
        (
            f"{one['round']}",
            f"{one['labels']:,}",
            f"{told_score(one['audit']['metric'], one['audit']['value'], 1)}",
            _interval(one["audit"]["interval"]),
            f"{one['audit']['n']:,}",
        )
        for one in rounds
        if one.get("audit")
    ]
    page.table(["after round", "labels", "score", "interval", "items"], rows)
    page.note("Random items that no model has learned from; 95 % interval after Wilson.")


def _interval(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f"{100 * found['low']:.1f} to {100 * found['high']:.1f}"


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
