"""A section of the demo's page: the model that came out, what it takes for what, and pictures of its mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from activetune.base.tables import read_table
from activetune.report.page import Card, Page, data_uri

SHOWN = 24  # mistakes


def write_model_section(page: Page, folder: Path, job: Mapping[str, Any]) -> None:
    """Add the section to the page of a demo.

    Args:
        job: scores, and how the model was made, from the demo's manifest.
    """
    scores = job["scores"]
    page.heading("From picks to a model")
    page.paragraph(
        f"The {job['labels']} picks of {job['method']} got their labels, and {job['recipe']} made a model of them: "
        f"balanced accuracy {100 * scores['balanced_accuracy']:.1f} %, top-1 {100 * scores['top1']:.1f} % on "
        f"{scores['n']:,} images that it has never seen. The same by hand:"
    )
    page.table(["command"], [[command] for command in job["commands"]])
    confusion = scores["confusion"]
    classes = confusion["classes"]
    page.heading("What is taken for what")
    page.table(
        ["answer", *[f"taken for {name}" for name in classes], "right, %"],
        [
            [name, *[f"{count:,}" for count in counts], f"{100 * counts[row] / max(1, sum(counts)):.1f}"]
            for row, (name, counts) in enumerate(zip(classes, confusion["matrix"], strict=True))
        ],
    )
    page.heading("Its surest mistakes")
    page.cards(_mistakes(folder))


def _mistakes(folder: Path) -> list[Card]:
    """Held-out images whose answer is another one, the surest first."""
    test = read_table(folder / "images" / "test.csv")
    truth = dict(zip(map(str, test["path"]), map(str, test["label"]), strict=True))
    found = read_table(folder / "predictions.csv")
    rows = zip(map(str, found["id"]), map(str, found["label"]), map(float, found["probability"]), strict=True)
    wrong = sorted((-sure, item, name) for item, name, sure in rows if name != truth[item])
    return [
        Card(
            data_uri(folder / "images" / item),
            f"{truth[item]}, taken for {name}",
            [f"sure to {-100 * sure:.0f} %", item],
        )
        for sure, item, name in wrong[:SHOWN]
    ]
