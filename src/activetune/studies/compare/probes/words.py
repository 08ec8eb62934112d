"""Words in pictures, as they are read: rendered in the machine's fonts, told apart by a linear probe.

The classes are words; each is learned in some fonts and tested in others, at random sizes, angles and colours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from activetune.base.config import check_settings
from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest, digest_file
from activetune.studies.compare.answers import by_probe
from activetune.studies.compare.probe import Probe, Row, rows_of
from activetune.studies.compare.sampled import Means
from activetune.studies.compare.side import Side, poolings

WORDS = (
    *(
        "open",
        "closed",
        "exit",
        "stop",
        "sale",
        "hotel",
        "bank",
        "cafe",
        "taxi",
        "police",
        "school",
        "market",
        "street",
    ),
    *("garden", "bridge", "station", "ticket", "coffee", "bread", "water", "music", "books", "north", "south", "left"),
    *("right", "price", "danger", "private", "parking", "office", "pizza", "flowers", "dentist", "museum", "theatre"),
    *("airport", "harbour", "kitchen", "summer"),
)
FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", "/System/Library/Fonts", "C:/Windows/Fonts")
SIDE = 224  # pixels of a picture


@dataclass(frozen=True)
class Words(Probe):
    """Words in pictures, rendered in fonts that were not learned from.

    Attributes:
        each: pictures of every word, of each side. fonts: files of fonts, or folders; empty: those of the machine.
            Every second one is learned from, the others are tested.
    """

    paths: ClassVar[tuple[str, ...]] = ("fonts",)

    each: int = 8
    fonts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_settings("the probe words", ("each", self.each, 2, 1000))

    def shown(self, seed: int) -> list[str]:
        """See :class:`Probe`: the fonts."""
        return [_digest_of(file) for file in usable_fonts(self.fonts)]

    def rows(self, a: Side, b: Side, seed: int) -> list[Row]:
        """See :class:`Probe`."""
        fonts = usable_fonts(self.fonts)
        targets = np.repeat(np.arange(len(WORDS)), self.each)
        parts = [(part, fonts[part::2]) for part in (0, 1)]

        def told(side: Side) -> dict[str, Means]:
            learned, tested = (
                side.of_images(
                    _pictures(of_part, self.each, seed, part),
                    len(targets),
                    digest("words", str(seed), str(self.each), str(part), *map(_digest_of, of_part)),
                )
                for part, of_part in parts
            )
            return {
                f"{len(WORDS)} words, linear probe, {pooling}": Means.of(
                    by_probe(learned[pooling], targets, tested[pooling], seed), targets
                )
                for pooling in poolings(a, b)
            }

        return rows_of("top-1", told, a, b)


@lru_cache(maxsize=4)
def usable_fonts(given: tuple[str, ...]) -> list[Path]:
    """Font files that can write every word, sorted by the file's name: where fonts lie differs between machines.

    Raises:
        UsageError: fewer than two.
    """
    places = [Path(place) for place in given or FOLDERS]
    files = [place for place in places if place.is_file()]
    files += [
        file
        for place in places
        if place.is_dir()
        for file in place.rglob("*")
        if file.suffix.lower() in (".ttf", ".otf")
    ]
    files += [] if given else _of_matplotlib()
    distinct = {file.name: file for file in sorted(files)}
    usable = [file for _, file in sorted(distinct.items()) if _writes(file)]
    if len(usable) < 2:
        raise UsageError(
            f"the probe words needs two fonts, one to learn from and one to test; found {len(usable)}: "
            "give files or folders of .ttf or .otf with fonts = […]"
        )
    return usable


def _digest_of(file: Path) -> str:
    """Of a font: a file of the same name may hold other letters."""
    return digest(file.name, digest_file(file))


def _of_matplotlib() -> list[Path]:
    """The fonts that matplotlib brings, where it is installed: a machine without a screen may have no others."""
    import importlib.util

    found = importlib.util.find_spec("matplotlib")
    folder = Path(found.origin).parent / "mpl-data/fonts/ttf" if found is not None and found.origin else None
    return sorted(folder.glob("DejaVu*.ttf")) if folder is not None and folder.is_dir() else []


def _writes(file: Path) -> bool:
    """Whether a font has letters of its own: symbols and boxes look alike whatever is written."""
    try:
        font = ImageFont.truetype(str(file), 24)
        drawn = {font.getmask(letter).getbbox() and bytes(font.getmask(letter)) for letter in "aeinorst"}
    except (OSError, ValueError):
        return False
    return len(drawn) == 8 and None not in drawn


def _pictures(fonts: list[Path], each: int, seed: int, part: int) -> Iterator[Image.Image]:
    """Pictures of all words, ``each`` of one after the other."""
    rng = np.random.default_rng([seed, part, 23])
    for word in WORDS:
        for _ in range(each):
            yield picture(word, fonts[int(rng.integers(len(fonts)))], rng)


def picture(word: str, file: Path, rng: np.random.Generator) -> Image.Image:
    """A word on a ground, at a random size, place, angle and colour."""
    ground, ink = _colours(rng)
    width = int(rng.integers(int(0.55 * SIDE), int(0.9 * SIDE)))
    font = ImageFont.truetype(str(file), 40)
    font = ImageFont.truetype(str(file), max(10, int(40 * width / max(1.0, font.getlength(word)))))
    left, top, right, bottom = font.getbbox(word)
    shown = Image.new("L", (math.ceil(right - left) + 4, math.ceil(bottom - top) + 4))
    ImageDraw.Draw(shown).text((2 - left, 2 - top), word, fill=255, font=font)
    shown = shown.rotate(float(rng.uniform(-12, 12)), expand=True, resample=Image.Resampling.BICUBIC)
    if max(shown.size) > SIDE:
        shown.thumbnail((SIDE, SIDE))
    image = Image.new("RGB", (SIDE, SIDE), ground)
    place = tuple(int(rng.integers(0, SIDE - one + 1)) for one in shown.size)
    image.paste(ink, (place[0], place[1]), shown)
    return image


def _colours(rng: np.random.Generator) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Ground and ink that can be told apart: their mean brightness differs by 80 at least."""
    while True:
        ground, ink = rng.integers(0, 256, size=(2, 3))
        if abs(int(ground.mean()) - int(ink.mean())) >= 80:
            return (int(ground[0]), int(ground[1]), int(ground[2])), (int(ink[0]), int(ink[1]), int(ink[2]))
