"""Text on the screen: names come from files that others made, and must not steer the terminal.

Control characters (a terminal obeys ``\\x1b[2J``), signs that turn the direction of writing (a name that reads
``cat_gpj.exe``), and bytes that were no UTF-8 are shown escaped; line ends and tabs of a message stay.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence

KEPT = frozenset("\n\t")
STEERING = frozenset({"Cc", "Cs", "Co", "Zl", "Zp"})  # control, lone surrogate, private use, line and paragraph ends
TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def printable(text: str) -> str:
    r"""The text with everything escaped that a terminal would obey rather than show.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(sign if _is_shown(sign) else sign.encode("unicode_escape").decode("ascii") for sign in text)


def counted(number: int, one: str, several: str | None = None) -> str:
    """A number of things.

    >>> counted(1, "image"), counted(1200, "image"), counted(0, "class", "classes")
    ('1 image', '1,200 images', '0 classes')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def told_numbers(values: Iterable[float]) -> str:
    """Numbers as they are typed.

    >>> told_numbers((0.8, 1.0)), told_numbers(())
    ('0.8,1', 'empty')
    """
    return ",".join(f"{value:g}" for value in values) or "empty"


def aligned(rows: Sequence[Sequence[str]], *, texts: int = 1) -> list[str]:
    """Rows of cells as lines of text: the first ``texts`` columns begin below each other, the others end so.

    >>> aligned([("probe", "n"), ("words", "1,200")])
    ['probe      n', 'words  1,200']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def one_line(text: str) -> str:
    r"""A name within a line: its own line ends and tabs escaped too, so that it begins no line of its own.

    >>> one_line("a\nerror: b")
    'a\\nerror: b'
    """
    return "".join(sign.encode("unicode_escape").decode("ascii") if sign in KEPT else sign for sign in text)


def _is_shown(sign: str) -> bool:
    return sign in KEPT or (unicodedata.category(sign) not in STEERING and sign not in TURNING)


def say(text: str) -> None:
    """A result on stdout."""
    _write("stdout", text)


def tell(text: str) -> None:
    """A note, a warning or an error on stderr."""
    _write("stderr", text)


def _write(name: str, text: str) -> None:
    """A line on a stream of ``sys``; where its reader has gone, nothing: the work goes on, and its files are made."""
    stream = getattr(sys, name)
    try:
        stream.write(f"{printable(text)}\n")
        stream.flush()
    except BrokenPipeError:
        setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  (Python flushes at exit)


def open_closed_streams() -> None:
    """Open what a shell has closed (``>&-``), or a file of the output would take its number, and what is printed."""
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
