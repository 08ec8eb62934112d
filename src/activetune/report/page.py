"""The page's frame: headings, tables, figures and picture strips, everything inline."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from activetune.base.files import replacing

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p.lead { color: #777; margin-top: 0; } p { overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .35rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, th.text, td.text { text-align: left; } thead th { border-bottom-width: 2px; }
tr.best td { font-weight: 600; background: var(--soft); }
.strip { display: flex; flex-wrap: wrap; gap: 4px; margin: .3rem 0 1rem; }
.strip figure { margin: 0; text-align: center; font-size: 11px; }
.strip img { width: 44px; height: 44px; image-rendering: pixelated; border-radius: 4px; display: block; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 12px; margin: 1rem 0; }
.cards figure { margin: 0; padding: 6px; border: 1px solid var(--line); border-radius: 6px; min-width: 0; }
.cards img { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--soft); border-radius: 4px; }
.cards figcaption { font-size: 12px; line-height: 1.35; overflow-wrap: anywhere; }
.cards figcaption b { display: block; } .cards figcaption span { display: block; opacity: .75; }
figure.picture { margin: 1rem 0; } figure.picture img { width: 100%; display: block; border-radius: 4px; }
figure.picture figcaption { margin-top: .4rem; font-size: 13px; opacity: .85; }
.plot { margin-top: .6rem; max-width: 100%; overflow-x: auto; }
.wide { overflow-x: auto; max-width: 100%; }
p.warning { border-left: 4px solid #e0a100; padding: .3rem .8rem; background: var(--soft); }
h1, h2 { overflow-wrap: anywhere; }
@media (max-width: 600px) {
  body { margin: 1rem auto; padding: 0 .6rem; } h1 { font-size: 1.3rem; }
  th, td { padding: .3rem .4rem; font-size: 13px; }
}
"""

# Figures are drawn without a ground of their own and follow the reader's colour scheme, also when it changes.
SCHEME = """
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paint = () => {
    const ink = dark.matches ? "#ddd" : "#222", grid = dark.matches ? "#444" : "#ddd";
    const ground = dark.matches ? "#222" : "#fff";
    for (const plot of document.querySelectorAll(".js-plotly-plot")) {
      const change = { "font.color": ink, "legend.bgcolor": "rgba(0,0,0,0)", "hoverlabel.bgcolor": ground };
      for (const axis of Object.keys(plot.layout).filter((name) => /^[xy]axis/.test(name))) {
        for (const line of ["gridcolor", "linecolor", "zerolinecolor"]) change[`${axis}.${line}`] = grid;
      }
      (plot.layout.updatemenus || []).forEach((_, number) => {
        change[`updatemenus[${number}].bgcolor`] = ground;
        change[`updatemenus[${number}].font.color`] = ink;
      });
      Plotly.relayout(plot, change);
      const marks = plot.data.flatMap((trace, number) => (trace.meta === "ink" ? [number] : []));
      if (marks.length) Plotly.restyle(plot, { "marker.color": ink }, marks);
    }
  };
  dark.addEventListener("change", paint);
  addEventListener("load", paint);
})();
"""
CLEAR = "rgba(0,0,0,0)"


@dataclass(frozen=True)
class Card:
    """A picture (a data URI, or empty for none) with a title and lines of text."""

    picture: str
    title: str
    lines: Sequence[str]


class Page:
    """Collects sections and writes one HTML file."""

    def __init__(self, title: str, lead: str):
        self._parts = [f"<h1>{escape(title)}</h1>", f'<p class="lead">{escape(lead)}</p>']
        self._title = title
        self._plots = 0

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Plain text."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def warning(self, text: str) -> None:
        """A sentence that must not be overlooked."""
        self._parts.append(f'<p class="warning">{escape(text)}</p>')

    def table(
        self,
        header: Sequence[str],
        rows: Iterable[Sequence[str]],
        best: frozenset[int] = frozenset(),
        *,
        texts: int = 1,
    ) -> None:
        """A table, which scrolls in itself where the window is narrow.

        Args:
            best: rows to set off. texts: the first so many columns are text, and begin at the left.
        """
        head = _cells("th", header, texts)
        body = "".join(
            ('<tr class="best">' if number in best else "<tr>") + _cells("td", row, texts) + "</tr>"
            for number, row in enumerate(rows)
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        self._parts.append(f'<div class="wide">{table}</div>')

    def strip(self, pictures: Iterable[tuple[Path, str]]) -> None:
        """Small pictures with a caption each, embedded in the page."""
        cells = "".join(
            f'<figure title="{escape(path.name)}"><img src="{data_uri(path)}" alt="{escape(caption)}">'
            f"{escape(caption)}</figure>"
            for path, caption in pictures
        )
        self._parts.append(f'<div class="strip">{cells}</div>')

    def picture(self, path: Path, caption: str) -> None:
        """A picture as wide as the page, with its caption below."""
        image = f'<img src="{data_uri(path)}" alt="{escape(caption)}">'
        self._parts.append(f'<figure class="picture">{image}<figcaption>{escape(caption)}</figcaption></figure>')

    def cards(self, cards: Iterable[Card]) -> None:
        """Pictures in a grid, as many in a row as the window has room for."""
        self._parts.append(f'<div class="cards">{"".join(map(_card, cards))}</div>')

    def plot(self, figure: Any) -> None:
        """A plotly figure; the library itself is embedded with the first one."""
        legend = {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0}  # below: beside it, it takes half a phone
        figure.update_layout(autosize=True, paper_bgcolor=CLEAR, plot_bgcolor=CLEAR, legend=legend)
        options = {"displaylogo": False, "responsive": True}
        html = figure.to_html(full_html=False, include_plotlyjs=self._plots == 0, default_width="100%", config=options)
        self._parts.append(f'<div class="plot">{html}</div>')
        self._plots += 1

    def write(self, path: Path) -> Path:
        """Write the page in one step."""
        body = "\n".join(self._parts)
        content = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(self._title)}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
            f"<body>{body}{f'<script>{SCHEME}</script>' if self._plots else ''}</body></html>\n"
        )
        with replacing(path) as partial:
            partial.write_text(content, encoding="utf-8")
        return path


def _cells(tag: str, cells: Sequence[str], texts: int) -> str:
    """A row's cells; the first column is text in every table, so it needs no class."""
    text = f'{tag} class="text"'
    return "".join(f"<{text if 0 < place < texts else tag}>{escape(cell)}</{tag}>" for place, cell in enumerate(cells))


def _card(card: Card) -> str:
    image = f'<img src="{escape(card.picture)}" alt="{escape(card.title)}" loading="lazy">' if card.picture else ""
    lines = "".join(f"<span>{escape(line)}</span>" for line in card.lines)
    return f"<figure>{image}<figcaption><b>{escape(card.title)}</b>{lines}</figcaption></figure>"


def data_uri(path: Path) -> str:
    """A picture file as part of a page."""
    kind = "jpeg" if path.suffix.lower() in (".jpg", ".jpeg") else path.suffix.lower().lstrip(".")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
