"""The page's frame: sections, tables, figures and pictures, all in one file that needs no network.

Every text that comes from outside (names, ids, reasons) is escaped here, and a policy in the page's head forbids it to
load anything but the pictures within it and those beside it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

from activetune.base.artefact import REPORT_FILES
from activetune.base.files import remove, replacing, write_bytes
from activetune.base.fingerprint import digest_bytes

HERE = Path(__file__).parent
STYLE, TOUCH, MAP = "static/page.css", "static/page.js", "static/map.js"
SCATTERPLOT = "vendor/regl_scatterplot/regl-scatterplot.js"
SCRIPTS = {"touch": (TOUCH,), "map": (TOUCH, SCATTERPLOT, MAP)}  # by what a page asks for
BAR = 100  # a cell of a bar is a share of this width


@dataclass(frozen=True)
class Card:
    """A picture (a data URI, or empty for none) with a title and lines of text.

    Attributes:
        second: another picture of the same item, shown beside the first.
        beside: a small picture that the first is compared with, and what it is.
        small: whether the picture has few pixels, which stay sharp when it is enlarged.
    """

    picture: str
    title: str
    lines: Sequence[str]
    second: str = ""
    beside: tuple[str, str] | None = None
    small: bool = False


@dataclass(frozen=True)
class Share:
    """A table's cell that draws a share in [0, 1] as a bar."""

    value: float


Cell = str | Share


class Page:
    """Collects sections and writes one HTML file.

    Args:
        bare: a page that is looked at and not touched: it holds no script.
    """

    def __init__(self, title: str, lead: str, *, bare: bool = False):
        self._title, self._lead = title, lead
        self._parts: list[str] = []
        self._headings: list[tuple[str, str]] = []
        self._asked: set[str] = set() if bare else {"touch"}
        self._files: dict[str, bytes] = {}

    def heading(self, text: str) -> None:
        """Begin a section."""
        anchor = f"{re.sub('[^a-z0-9]+', '-', text.lower()).strip('-') or 'section'}-{len(self._headings) + 1}"
        self._parts.append(f'{"</section>" if self._headings else ""}<section id="{anchor}"><h2>{escape(text)}</h2>')
        self._headings.append((anchor, text))

    def subheading(self, text: str) -> None:
        """Begin a part of a section."""
        self._parts.append(f"<h3>{escape(text)}</h3>")

    def paragraph(self, text: str) -> None:
        """Plain text."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def note(self, text: str) -> None:
        """How to read what stands above."""
        self._parts.append(f'<p class="note">{escape(text)}</p>')

    def warning(self, text: str) -> None:
        """A sentence that must not be overlooked."""
        self._parts.append(f'<p class="warning">{escape(text)}</p>')

    def code(self, text: str) -> None:
        """Text as it is typed."""
        self._parts.append(f"<pre>{escape(text)}</pre>")

    def figures(self, figures: Iterable[tuple[str, str]]) -> None:
        """Numbers that stand out.

        Args:
            figures: what each is, and its value.
        """
        cells = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in figures)
        self._parts.append(f'<div class="figures">{cells}</div>')

    def table(
        self,
        header: Sequence[str],
        rows: Iterable[Sequence[Cell]],
        best: frozenset[int] = frozenset(),
        *,
        texts: int = 1,
        folded: str = "",
    ) -> None:
        """A table, which scrolls in itself where the window is narrow, or where its rows are many.

        Args:
            best: rows to set off. texts: the first so many columns are text, and begin at the left.
            folded: a line that unfolds it; it is open where this is empty.
        """
        rows = list(rows)
        head = _cells("th", header, texts)
        body = "".join(
            ('<tr class="best">' if number in best else "<tr>") + _cells("td", row, texts) + "</tr>"
            for number, row in enumerate(rows)
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        held = f'<div class="wide{" tall" if len(rows) > 16 else ""}">{table}</div>'
        summary = f"<details><summary>{escape(folded)}</summary>{held}</details>"
        self._parts.append(summary if folded else held)

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

    def cards(self, cards: Iterable[Card], *, broad: bool = False, folded: str = "") -> None:
        """Pictures in a grid, as many in a row as the window has room for.

        Args:
            broad: pictures are large. folded: a line that unfolds them; they are open where this is empty.
        """
        held = f'<div class="cards{" broad" if broad else ""}">{"".join(self._card(card) for card in cards)}</div>'
        self._parts.append(f"<details><summary>{escape(folded)}</summary>{held}</details>" if folded else held)

    def _card(self, card: Card) -> str:
        told = " · ".join((card.title, *card.lines))
        images = [self._shown(uri, card, told) for uri in (card.picture, card.second) if uri]
        image = f'<div class="pair">{"".join(images)}</div>' if len(images) > 1 else "".join(images)
        lines = "".join(f"<span>{escape(line)}</span>" for line in card.lines)
        if card.beside:
            uri, caption = card.beside
            small = f'<img src="{escape(uri)}" alt="">' if uri else ""
            lines += f'<div class="beside">{small}<span>{escape(caption)}</span></div>'
        return f"<figure>{image}<figcaption><b>{escape(card.title)}</b>{lines}</figcaption></figure>"

    def _shown(self, uri: str, card: Card, told: str) -> str:
        """A card's picture; on a page that can be touched a click makes it large."""
        small = ' class="small"' if card.small else ""
        zoom = f' tabindex="0" data-zoom="{escape(told)}"' if self._asked else ""
        return f'<img src="{escape(uri)}" alt="{escape(card.title)}" decoding="async"{zoom}{small}>'

    def add(self, markup: str, asks: str = "") -> None:
        """Markup that is finished, in which every text from outside is escaped.

        Args:
            asks: one of ``SCRIPTS`` that it needs.
        """
        self._parts.append(markup)
        self._asked |= {asks} - {""}

    def attach(self, name: str, content: bytes) -> str:
        """Have a file written beside the page, and return its address from there.

        The address tells the content, so that another page, which is there until this one is written, keeps its own.
        """
        place = PurePosixPath(REPORT_FILES, name)
        address = str(place.with_stem(f"{place.stem}-{digest_bytes(content)[:8]}"))
        self._files[address] = content
        return address

    def replace(self, path: Path) -> Path:
        """Write the page in the place of an earlier one, whose files go once it is there."""
        self.write(path)
        beside = path.with_name(REPORT_FILES)
        for file in beside.iterdir() if beside.is_dir() else ():
            if f"{REPORT_FILES}/{file.name}" not in self._files:
                remove(file)
        if not self._files:
            remove(beside)
        return path

    def write(self, path: Path) -> Path:
        """Write the page in one step, after the files that lie beside it."""
        for address, file in self._files.items():
            write_bytes(path.parent / address, file)
        links = "".join(f'<a href="#{anchor}">{escape(text)}</a>' for anchor, text in self._headings)
        content = "".join(
            (
                '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
                f'<meta http-equiv="Content-Security-Policy" content="{self._policy()}">',
                f"<title>{escape(self._title)}</title>",
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f'<link rel="icon" href="data:,"><style>{_asset(STYLE)}</style></head>\n<body><div class="page">',
                f'<header class="top"><div class="brand">activetune</div><h1>{escape(self._title)}</h1>',
                f'<p class="lead">{escape(self._lead)}</p></header>',
                f'<nav aria-label="Sections">{links}</nav>' if len(self._headings) > 2 else "",
                "\n".join(self._parts),
                "</section>" if self._headings else "",
                "</div>",
                "".join(f"<script>{_asset(name)}</script>" for name in self._scripts()),
                "</body></html>\n",
            )
        )
        with replacing(path) as partial:
            partial.write_text(content, encoding="utf-8")
        return path

    def _scripts(self) -> list[str]:
        return list(dict.fromkeys(name for asked in sorted(self._asked, reverse=True) for name in SCRIPTS[asked]))

    def _policy(self) -> str:
        """What the browser lets the page do; the scatterplot compiles its drawing commands when it starts."""
        compiled = " 'unsafe-eval'" if "map" in self._asked else ""
        scripts = f"'unsafe-inline'{compiled}" if self._asked else "'none'"
        return f"default-src 'none'; img-src data: file: 'self'; style-src 'unsafe-inline'; script-src {scripts}"


@cache
def _asset(name: str) -> str:
    """A style or script of the page."""
    return (HERE / name).read_text(encoding="utf-8")


def _cells(tag: str, cells: Sequence[Cell], texts: int) -> str:
    """A row's cells; the first column is text in every table, so it needs no class."""
    text = f'{tag} class="text"'
    return "".join(_cell(cell, tag, text if 0 < place < texts else tag) for place, cell in enumerate(cells))


def _cell(cell: Cell, tag: str, opened: str) -> str:
    if isinstance(cell, Share):
        return f'<td class="bar"><i style="width:{BAR * min(max(cell.value, 0), 1):.1f}%"></i></td>'
    return f"<{opened}>{escape(cell)}</{tag}>"


def data_uri(path: Path) -> str:
    """A picture file as part of a page."""
    kind = "jpeg" if path.suffix.lower() in (".jpg", ".jpeg") else path.suffix.lower().lstrip(".")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def as_script(content: Mapping[str, Any]) -> str:
    """Data for the page's scripts; no text in it can end the element that holds it."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f'<script type="application/json">{text}</script>'
