"""An image with the answer to it drawn in: masks as a veil of colour, boxes as frames, classes and sentences below."""

from __future__ import annotations

import colorsys
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from activetune.data.kinds import Answer, Boxes, Mask, Names, Sentences

VEIL = 0.5  # share of a mask's colour in a pixel
LEAST = 320  # pixels of the longer side, below which an image is enlarged, so that text fits
MANY = 12  # boxes from which on frames are thin
BACKGROUND = ("background", "bg", "unlabelled", "unlabeled", "none", "nothing", "void", "ignore")
PAPER, INK = (255, 255, 255), (20, 20, 20)
GOLDEN = 0.618  # of the circle of hues: so far apart, any number of them lie as evenly as can be
TONES = ((0.9, 1.0), (0.55, 0.95), (1.0, 0.65))  # saturation and value, in turn: hues come near each other again
LIGHT = 140  # of 255, from which on a colour takes dark text


def colours(count: int) -> np.ndarray:
    """(C, 3) colours of mask files, uint8: the bits of a class's number dealt to the channels, as in PASCAL VOC.

    >>> colours(3).tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    """
    found = np.zeros((count, 3), dtype=np.uint8)
    numbers = np.arange(count)
    for bit in range(8):
        for channel in range(3):
            found[:, channel] |= (((numbers >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return found


def bright_colours(count: int) -> np.ndarray:
    """(C, 3) distinct colours to draw in, uint8, up to 21 of them far apart: VOC's are dark, and alike over an image.

    >>> bright_colours(2).tolist()
    [[255, 25, 25], [109, 148, 242]]
    """
    found = [colorsys.hsv_to_rgb(number * GOLDEN % 1, *TONES[number % len(TONES)]) for number in range(count)]
    return (255 * np.asarray(found).reshape(-1, 3)).round().astype(np.uint8)


def with_text(image: Image.Image, text: str) -> Image.Image:
    """The image with lines of text on a strip below it."""
    image, _ = _enlarged(image)
    size = max(12, image.width // 24)
    font = ImageFont.load_default(size)
    lines = textwrap.wrap(text, max(8, int(1.8 * image.width / size))) or [""]
    strip = round(1.4 * size)
    page, draw = _with_strip(image, strip * len(lines) + size // 2)
    for number, line in enumerate(lines):
        draw.text((size // 2, image.height + number * strip + size // 4), line, INK, font=font)
    return page


def _with_strip(image: Image.Image, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """The image with an empty strip below it, to draw on."""
    page = Image.new("RGB", (image.width, image.height + height), PAPER)
    page.paste(image, (0, 0))
    return page, ImageDraw.Draw(page)


def with_boxes(image: Image.Image, boxes: Sequence[tuple[str, Sequence[float], int]]) -> Image.Image:
    """The image with frames.

    Args:
        boxes: of each its text, ``left, top, width, height`` in pixels, and the number of its class.
    """
    image, scale = _enlarged(image)
    page = image.copy()
    draw = ImageDraw.Draw(page)
    size = max(11, max(page.size) // 40)
    font = ImageFont.load_default(size)
    line = max(1 if len(boxes) > MANY else 2, size // 6)
    framed = [(text, [scale * value for value in box], _colour_of(number)) for text, box, number in boxes]
    for _, (left, top, width, height), colour in framed:
        draw.rectangle((left, top, left + width, top + height), outline=colour, width=line)
    written: list[tuple[float, float, float, float]] = []
    for text, (left, top, _, _), colour in reversed(framed):  # the last has the first choice of a place
        place = left, max(0.0, top - 1.2 * size)
        box = draw.textbbox(place, text, font=font)
        if any(box[0] < right and left < box[2] and box[1] < below and above < box[3]
               for left, above, right, below in written):  # fmt: skip
            continue  # names over each other can't be read; the frame's colour tells the class
        written.append(box)
        draw.rectangle(box, fill=colour)
        draw.text(place, text, _ink_on(colour), font=font)
    return page


def _colour_of(number: int) -> tuple[int, int, int]:
    red, green, blue = bright_colours(number + 1)[-1].tolist()
    return red, green, blue


def _ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """The colour of text that can be read on another, by its luma (ITU-R BT.601)."""
    red, green, blue = colour
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue >= LIGHT else PAPER


def with_mask(image: Image.Image, numbers_HW: npt.NDArray[np.integer[Any]], classes: Sequence[str]) -> Image.Image:
    """The image under a veil of a mask's colours, with the names of the classes that it shows below.

    Void pixels stay as they are, and those of a first class that is called background, or the like.

    Args:
        numbers_HW: classes' positions, negative where there is none.
    """
    colours_C3 = bright_colours(max(1, len(classes)))
    first = 1 if classes and classes[0].strip("_ ").lower() in BACKGROUND else 0
    known_HW = (numbers_HW >= first) & (numbers_HW < len(classes))
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    veil = colours_C3[np.where(known_HW, numbers_HW, 0)].astype(np.float32)
    mixed = np.where(known_HW[..., None], (1 - VEIL) * pixels + VEIL * veil, pixels)
    page, _ = _enlarged(Image.fromarray(mixed.round().astype(np.uint8)))
    present = np.unique(numbers_HW[known_HW]).tolist()
    return _with_legend(page, [(classes[number], tuple(colours_C3[number].tolist())) for number in present])


def _with_legend(image: Image.Image, entries: Sequence[tuple[str, tuple[int, ...]]]) -> Image.Image:
    """The image with a strip below it: a square of its colour before each name."""
    size = max(11, max(image.size) // 32)
    font = ImageFont.load_default(size)
    rows: list[list[tuple[float, str, tuple[int, ...]]]] = [[]]
    right = 0.0
    for name, colour in entries:
        width = 2.4 * size + font.getlength(name)
        if rows[-1] and right + width > image.width:
            rows.append([])
            right = 0.0
        rows[-1].append((right + size / 2, name, colour))
        right += width
    strip = round(1.5 * size)
    page, draw = _with_strip(image, strip * len(rows) if entries else 0)
    for number, row in enumerate(rows):
        top = image.height + number * strip + size // 4
        for left, name, colour in row:
            draw.rectangle((left, top + size // 5, left + 0.8 * size, top + size), fill=colour)
            draw.text((left + 1.2 * size, top), name, INK, font=font)
    return page


def with_answer(image: Image.Image, answer: Answer, classes: Sequence[str]) -> Image.Image:
    """The image with an answer of any kind drawn in, as someone gave it.

    Args:
        classes: C names, which tell the colours.
    """
    if isinstance(answer, Mask):
        return with_mask(image, answer.pixels(), classes)
    if isinstance(answer, Boxes):
        number = {name: place for place, name in enumerate(classes, 1)}
        corners = answer.xyxy_K4.tolist()
        return with_boxes(
            image,
            [
                (name, (left, top, right - left, bottom - top), number.get(name, 0))
                for name, (left, top, right, bottom) in zip(answer.names, corners, strict=True)
            ],
        )
    if isinstance(answer, Names):
        return with_text(image, ", ".join(answer.names) or "nothing")
    return with_text(image, " / ".join(answer.texts) if isinstance(answer, Sentences) else str(answer))


def _enlarged(image: Image.Image) -> tuple[Image.Image, int]:
    """An image large enough for text, and by how much it was enlarged."""
    scale = max(1, -(-LEAST // max(image.size)))
    return image.convert("RGB").resize((image.width * scale, image.height * scale)), scale
