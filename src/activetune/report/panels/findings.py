"""What a check has found: a table of all checks, then the pictures, the clearest findings of each kind first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import Any

from activetune.data.pool import Pool
from activetune.report.page import Card, Page
from activetune.report.panels._base import Panel
from activetune.report.pictures import picture
from activetune.report.subject import CHECK, FINDINGS, Subject

SHOWN, SIDE = 24, 224  # findings of a kind; pixels of a picture
OF_TEST = "in_test"  # the kind whose other item lies in the test pool


class Findings(Panel):
    """See the module."""

    kinds = (CHECK,)
    needs = ("findings",)
    order = 20

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        rows: Sequence[Mapping[str, Any]] = subject.manifest["figures"]["rows"]
        page.heading("Findings")
        page.table(("", "findings", "of images", "excluded"), map(_cells, rows))
        for row in rows:
            if row["skipped"]:
                page.note(f"{row['title']}: {row['skipped']}.")
            if row["kind"] == OF_TEST and row["findings"]:
                page.warning(row["remark"])
        for why in (subject.found_pool[1], subject.test_pool[1]):
            if why:
                page.note(f"The images can't be shown: {why}.")
        for row in rows:
            _draw_kind(subject, page, row, (subject.findings or {}).get(row["kind"], []))
        page.heading("Next")
        page.paragraph("Select without what is excluded; to keep an image, take its row out of exclude.csv:")
        excluded = quote(str(subject.folder / "exclude.csv"))
        page.code(f"activetune select EMB --exclude {excluded} --budget 100 --out SEL")


def _draw_kind(subject: Subject, page: Page, row: Mapping[str, Any], found: Sequence[Mapping[str, str]]) -> None:
    """The findings of one check."""
    if not found and not row["remark"]:
        return
    page.heading(f"{row['title']}: {len(found):,}")
    page.paragraph(row["about"])
    if row["remark"] and row["kind"] != OF_TEST:
        page.paragraph(f"{row['remark'][0].upper()}{row['remark'][1:]}.")
    others = subject.test_pool[0] if row["kind"] == OF_TEST else subject.pool
    page.cards(_cards(found[:SHOWN], subject.pool, others))
    if len(found) > SHOWN:
        page.note(f"The first {SHOWN} of {len(found):,}; all are in {FINDINGS}.")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["skipped"]:
        return row["title"], "-", "-", "-"
    return row["title"], f"{row['findings']:,}", f"{100 * row['share']:.2f} %", f"{row['excluded']:,}"


def _cards(findings: Sequence[Mapping[str, str]], pool: Pool | None, others: Pool | None) -> Iterator[Card]:
    for finding in findings:
        shown = picture(pool, finding["id"], SIDE)
        second = picture(others, finding["other"], SIDE).uri if finding["other"] else ""
        problems = [shown.problem] if shown.problem and pool is not None and finding["kind"] != "unreadable" else []
        lines = [*([finding["other"]] if finding["other"] else []), finding["why"], *problems]
        yield Card(shown.uri, finding["id"], lines, second=second, small=shown.small)
