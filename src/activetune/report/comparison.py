"""A comparison's page: the table of differences, their intervals drawn, and where both class tokens look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from activetune.base.artefact import read_manifest
from activetune.report.page import Page

TABLE, ATTENTION = "comparison.csv", "attention.png"


def write_comparison_report(folder: Path) -> Path:
    """Make ``report.html`` in a finished folder of ``activetune compare``."""
    manifest = read_manifest(folder, "comparison")
    rows: Sequence[Mapping[str, Any]] = manifest["figures"]["rows"]
    names = manifest["names"]
    clear = [row for row in rows if row["p_holm"] < 0.05]
    better = sum(row["difference"] > 0 for row in clear)
    page = Page(
        "activetune compare",
        f"A: {names['a']}; B: {names['b']}; both frozen. Of {len(rows)} figures B is clearly higher in {better} and "
        f"clearly lower in {len(clear) - better} (p below 0.05, corrected for their number).",
    )
    page.heading("Differences")
    page.table(
        ["probe", "figure", "metric", "items", "A, %", "B, %", "B - A", "95 % interval", "p (Holm)"],
        [
            [
                str(row["probe"]),
                str(row["what"]),
                str(row["metric"]),
                f"{row['n']:,}",
                f"{100 * row['a']:.1f}",
                f"{100 * row['b']:.1f}",
                f"{100 * row['difference']:+.1f}",
                f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}",
                f"{row['p_holm']:.3f}",
            ]
            for row in rows
        ],
        frozenset(number for number, row in enumerate(rows) if row["p_holm"] < 0.05),
        texts=3,
    )
    for line in notes_of(rows):
        page.paragraph(line)
    page.paragraph(
        "Intervals and p-values: paired bootstrap over the test images of each probe, the same draws for A and B; p is "
        "corrected for the number of rows by Holm. Rows in bold differ clearly. An interval tells how a figure varies "
        f"with the test images, not with the labels that were learned from.{_least(manifest['figures'])}"
    )
    page.plot(_drawn(rows))
    if (folder / ATTENTION).is_file():
        page.heading("Where the class token looks")
        page.picture(
            folder / ATTENTION,
            "Each row: an image, where A looks, where B looks. The class token's attention in the last layer, a mean "
            "over its heads; the brighter a place, the more it is attended to.",
        )
    return page.write(folder / "report.html")


def notes_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What must be known beside rows, a line each; the same note of several rows once."""
    lines = [f"{row['probe']}, {str(row['what']).partition(',')[0]}: {row['note']}" for row in rows if row.get("note")]
    return list(dict.fromkeys(lines))


def _least(figures: Mapping[str, Any]) -> str:
    """How small p can get; nothing where a comparison of an earlier version does not say how often it drew."""
    if "draws" not in figures:
        return ""
    least = 2 / (figures["draws"] + 1)
    corrected = min(1.0, least * len(figures["rows"]))
    return (
        f" Test items were drawn {figures['draws']:,} times, so p can't be below {least:.2g}, and that of the clearest "
        f"row not below {corrected:.2g} after the correction."
    )


def _drawn(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The differences with their intervals."""
    import plotly.graph_objects as go

    names = [f"{row['probe']}: {row['what']} ({row['metric']})" for row in rows]
    centre = [100 * row["difference"] for row in rows]
    figure = go.Figure(
        go.Scatter(
            x=centre,
            y=names,
            mode="markers",
            marker={"size": 8, "color": ["#4c78a8" if row["p_holm"] < 0.05 else "#9aa" for row in rows]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [100 * row["high"] - one for row, one in zip(rows, centre, strict=True)],
                "arrayminus": [one - 100 * row["low"] for row, one in zip(rows, centre, strict=True)],
            },
            hovertemplate="%{y}<br>%{x:+.1f} points<extra></extra>",
        )
    )
    figure.add_vline(x=0, line_width=1, line_dash="dot", line_color="#888")
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(title="B - A, points")
    figure.update_layout(height=120 + 26 * len(rows), margin={"l": 10, "r": 10, "t": 10, "b": 40})
    return figure
