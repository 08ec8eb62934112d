"""Small pictures of a pool's items: one by one for cards, and all of them on a few sheets for the map.

A sheet is a WebP image of square tiles in the items' order. For up to ``INLINE`` items the sheets lie in the page,
above that beside it, so that the page opens at once.
"""

from __future__ import annotations

import base64
import io
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from PIL import Image

from activetune.base.errors import ActivetuneError, RejectedImage
from activetune.base.progress import progress
from activetune.data.images import decode_image
from activetune.data.kinds import Answer
from activetune.data.pool import Pool
from activetune.tasks import with_answer

FEW_PIXELS = 64  # of the longer side, below which a picture is enlarged with its pixels sharp
QUALITY = 72  # of JPEG
SIDE, ACROSS = 32, 50  # pixels of a tile; tiles in a row of a sheet
EACH = ACROSS * ACROSS
INLINE = 10_000  # items up to which their tiles lie in the page
MOST = {True: 215, False: 85}  # bytes of a tile on average: in the page, beside it
QUALITIES = (60, 45, 30, 22, 16, 11, 8, 5, 3, 1)  # of WebP: the first in which a sheet is small enough


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, or the reason why there is none; ``small`` where it has few pixels."""

    uri: str
    problem: str = ""
    small: bool = False


def picture(pool: Pool | None, item: str, side: int, answer: tuple[Answer, Sequence[str]] | None = None) -> Picture:
    """A picture of an item.

    Args:
        side: pixels of its longer side, at most. answer: what is drawn into it, with the names of the classes.
    """
    if pool is None:
        return Picture("")
    if item not in pool.position:
        return Picture("", "not in the pool any more")
    try:
        content = pool.read(pool.position[item])
        image = decode_image(content, about=side) if answer is None else with_answer(decode_image(content), *answer)
    except (RejectedImage, ActivetuneError, OSError) as error:
        return Picture("", f"can't be shown: {error}")
    return Picture(encoded(image, side), small=max(image.size) <= FEW_PIXELS)


def encoded(image: Image.Image, side: int) -> str:
    """An image of at most so many pixels a side as a data URI."""
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def sheets(pool: Pool, items: Sequence[str], attach: Callable[[str, bytes], str], *, quiet: bool) -> dict[str, object]:
    """All items as tiles on sheets, as ``static/map.js`` reads them.

    Args:
        attach: takes the sheets of more than ``INLINE`` items, see :meth:`activetune.report.page.Page.attach`.

    Returns:
        ``side``, ``across``, ``each`` (tiles of a sheet) and ``sheets``: data URIs, or names of files.
    """
    inline = len(items) <= INLINE
    found = []
    with progress(len(items), "drawing tiles", quiet=quiet) as meter:
        for number, start in enumerate(range(0, len(items), EACH)):
            part = items[start : start + EACH]
            sheet = Image.new("RGB", (ACROSS * SIDE, -(-len(part) // ACROSS) * SIDE), (128, 128, 128))
            for place, item in enumerate(part):
                if (tile := _tile(pool, item)) is not None:
                    sheet.paste(tile, (place % ACROSS * SIDE, place // ACROSS * SIDE))
                meter.advance()
            content = _webp(sheet, MOST[inline] * len(part))
            if inline:
                found.append(f"data:image/webp;base64,{base64.b64encode(content).decode()}")
            else:
                found.append(attach(f"tiles-{number}.webp", content))
    return {"side": SIDE, "across": ACROSS, "each": EACH, "sheets": found}


def _tile(pool: Pool, item: str) -> Image.Image | None:
    """The middle of an image as a square of ``SIDE`` pixels; None where it can't be read."""
    try:
        image = decode_image(pool.read(pool.position[item]), about=SIDE)
    except (KeyError, RejectedImage, ActivetuneError, OSError):
        return None
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)


def _webp(sheet: Image.Image, most: int) -> bytes:
    """A sheet in the best quality that takes no more than so many bytes; the last quality, where none does."""

    @cache
    def content(quality: int) -> bytes:
        file = io.BytesIO()
        sheet.save(file, "WEBP", quality=quality, method=4)
        return file.getvalue()

    least = len(QUALITIES) - 1
    place = bisect_left(QUALITIES, True, hi=least, key=lambda quality: len(content(quality)) <= most)
    return content(QUALITIES[place])
