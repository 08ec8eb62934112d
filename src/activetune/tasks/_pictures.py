"""An image with the answer to it drawn in: masks as a veil of colour, boxes as frames, classes and sentences below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from activetune.data.kinds import Answer, Boxes, Mask, Names

VEIL = 0.5  # share of a mask's colour in a pixel
LEAST = 320  # pixels of the longer side, below which an image is enlarged, so that text fits
PAPER, INK = (255, 255, 255), (20, 20, 20)


def colours(count: int) -> np.ndarray:
    """(C, 3) distinct colours, uint8: the bits of a class's number dealt to the channels, as PASCAL VOC's.

    >>> colours(3).tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    """
    found = np.zeros((count, 3), dtype=np.uint8)
    numbers = np.arange(count)
    for bit in range(8):
        for channel in range(3):
            found[:, channel] |= (((numbers >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return found


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
    for text, box, number in boxes:
        left, top, width, height = (scale * value for value in box)
        colour = tuple(colours(number + 2)[-1].tolist())
        draw.rectangle((left, top, left + width, top + height), outline=colour, width=max(2, size // 6))
        place = left, max(0.0, top - 1.2 * size)
        draw.rectangle(draw.textbbox(place, text, font=font), fill=colour)
        draw.text(place, text, PAPER, font=font)
    return page


def with_mask(image: Image.Image, mask: Image.Image, classes: Sequence[str]) -> Image.Image:
    """The image under a veil of a mask's colours, with the names of the classes that it shows below.

    Pixels of class 0 stay as they are.

    Args:
        mask: a palette image of classes' numbers, or grey where there are more classes than a palette has colours.
    """
    veil, numbers_HW = np.asarray(mask.convert("RGB"), dtype=np.float32), np.asarray(mask)
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    mixed = np.where((numbers_HW > 0)[..., None], (1 - VEIL) * pixels + VEIL * veil, pixels)
    page, _ = _enlarged(Image.fromarray(mixed.round().astype(np.uint8)))
    if mask.mode != "P":
        return page
    colours_C3 = colours(len(classes))
    present = [number for number in np.unique(numbers_HW).tolist() if 0 < number < len(classes)]
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
        pixels_HW = answer.pixels()
        shown_HW = np.where((pixels_HW < 0) | (pixels_HW > 255), 0, pixels_HW).astype(np.uint8)
        mask = Image.fromarray(shown_HW).convert("P")
        mask.putpalette(colours(min(len(classes), 256)).flatten().tolist())
        return with_mask(image, mask, classes)
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
    return with_text(image, answer if isinstance(answer, str) else " / ".join(answer.texts))


def _enlarged(image: Image.Image) -> tuple[Image.Image, int]:
    """An image large enough for text, and by how much it was enlarged."""
    scale = max(1, -(-LEAST // max(image.size)))
    return image.convert("RGB").resize((image.width * scale, image.height * scale)), scale
