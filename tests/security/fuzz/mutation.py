"""Changes of bytes: what any file may suffer, and values that readers stumble over."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 32_767, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
TEXT_NUMBERS = (
    "0",
    "-1",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "1" + "0" * 5000,
    "1e-400",
    "0x10",
    "1_000",
    "99999999999",
    "٣",
)
NAMES = (
    *(
        "../../escape",
        "/etc/passwd",
        "..\\..\\escape",
        "C:\\x",
        "a\0b",
        "a\nb",
        "a\rb",
        "\x1b[2J",
        "\u202egpj.exe",
        "=1+1",
    ),
    *("x" * 4096, "x/" * 2048, "\ud800", "", ".", "..", "CON", "é", "e\u0301", "nan", "None", "id", "label", "\ufeff"),
)
TOKENS = (
    *(
        b"\0",
        b"\n",
        b"\r\n",
        b"\t",
        b",",
        b";",
        b'"',
        b"'",
        b"[",
        b"]",
        b"{",
        b"}",
        b"<",
        b">",
        b"&",
        b"=",
        b"\xff\xfe",
    ),
    *(
        b"\xef\xbb\xbf",
        b"null",
        b"true",
        b"<!DOCTYPE x>",
        b"<!ENTITY a 'b'>",
        b"&a;",
        b"PK\x03\x04",
        b"\x93NUMPY",
        b"PAR1",
    ),
    *(
        b"\x89PNG",
        b"II*\0",
        b"MM\0*",
        b"GIF89a",
        b"\xff\xd8\xff",
        b"RIFF",
        b"!!python/object/apply:os.system",
        b"cos\nsystem\n",
    ),
)
WORD = re.compile(rb"[A-Za-z_][A-Za-z_0-9./-]*")
DIGITS = re.compile(rb"-?\d+(\.\d+)?")
LONGEST = 2**20  # bytes of what is made

Change = Callable[[bytes, random.Random], bytes]


def changed(content: bytes, draw: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """The content after one to four changes.

    Args:
        others: contents that parts may be taken from.
    """
    for _ in range(draw.choice((1, 1, 1, 2, 3, 4))):
        change = draw.choice(CHANGES)
        content = change(content, draw)
        if others and draw.random() < 0.1:
            content = _spliced(content, draw.choice(others), draw)
    return content[:LONGEST]


def number(draw: random.Random) -> int:
    """A number that readers stumble over."""
    return draw.choice(NUMBERS) + draw.choice((0, 0, 1, -1))


def odd(draw: random.Random) -> object:
    """A value where a file would have another one."""
    return (
        draw.choice((None, True, False, 0, -1, 1.5, float("nan"), float("inf"), "", [], {}, [[]], {"a": 1}, 10**400))
        if draw.random() < 0.5
        else draw.choice((draw.choice(NAMES), number(draw), draw.choice(TEXT_NUMBERS)))
    )


def _place(content: bytes, draw: random.Random) -> int:
    """A position, more often near the ends, where headers and indices stand."""
    size, where = len(content), draw.random()
    if where < 0.3:
        return draw.randrange(min(64, size) + 1)
    if where < 0.5:
        return size - draw.randrange(min(512, size) + 1)
    return draw.randrange(size + 1)


def _bit(content: bytes, draw: random.Random) -> bytes:
    at = min(_place(content, draw), len(content) - 1)
    return content[:at] + bytes([content[at] ^ (1 << draw.randrange(8))]) + content[at + 1 :] if content else b"\0"


def _bytes(content: bytes, draw: random.Random) -> bytes:
    at, count = _place(content, draw), draw.choice((1, 2, 4, 8, 32))
    return content[:at] + draw.randbytes(count) + content[at + count :]


def _integer(content: bytes, draw: random.Random) -> bytes:
    size = draw.choice((1, 2, 4, 8))
    value = (number(draw) % 2 ** (8 * size)).to_bytes(size, draw.choice(("little", "big")))
    at = _place(content, draw)
    return content[:at] + value + content[at + size :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: _place(content, draw)]


def _without(content: bytes, draw: random.Random) -> bytes:
    at = _place(content, draw)
    return content[:at] + content[at + draw.choice((1, 2, 4, 16, 64, 512)) :]


def _repeated(content: bytes, draw: random.Random) -> bytes:
    at = _place(content, draw)
    part = content[at : at + draw.choice((1, 2, 8, 64))]
    times = draw.choice((1, 2, 10, 1000)) if len(content) < 2**16 else 1
    return content[:at] + part * times + content[at:]


def _token(content: bytes, draw: random.Random) -> bytes:
    at = _place(content, draw)
    token = draw.choice(TOKENS) if draw.random() < 0.7 else draw.choice(NAMES).encode("utf-8", "surrogatepass")
    return content[:at] + token + content[at:]


def _word(content: bytes, draw: random.Random) -> bytes:
    found = [match.span() for match in WORD.finditer(content[:20_000])]
    if not found:
        return _bytes(content, draw)
    (start, end), (start2, end2) = draw.choice(found), draw.choice(found)
    new = content[start2:end2] if draw.random() < 0.5 else draw.choice(NAMES).encode("utf-8", "surrogatepass")
    return content[:start] + new + content[end:]


def _digits(content: bytes, draw: random.Random) -> bytes:
    found = [match.span() for match in DIGITS.finditer(content[:20_000])]
    if not found:
        return _integer(content, draw)
    start, end = draw.choice(found)
    new = draw.choice(TEXT_NUMBERS) if draw.random() < 0.5 else str(number(draw))
    return content[:start] + new.encode() + content[end:]


def _line(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    at = draw.randrange(len(lines))
    kind = draw.randrange(4)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[draw.randrange(len(lines))])
    elif kind == 2:
        lines[at] = b""
    else:
        draw.shuffle(lines)
    return b"\n".join(lines)


def _encoded(content: bytes, draw: random.Random) -> bytes:
    try:
        return content.decode().encode(draw.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1")))
    except UnicodeError:
        return content


def _spliced(content: bytes, other: bytes, draw: random.Random) -> bytes:
    return content[: _place(content, draw)] + other[_place(other, draw) :]


CHANGES: tuple[Change, ...] = (
    *(_bit, _bit, _bytes, _integer, _integer, _cut, _without, _repeated, _token, _word, _word, _digits, _digits, _line),
    _encoded,
)
