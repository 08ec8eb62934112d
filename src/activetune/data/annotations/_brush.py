"""Label Studio's run lengths of a brush: the bits of an image's RGBA bytes, of which the last of each four counts.

The text begins with 32 bits for the number of bytes, 5 for the bits of a byte less one, and four times 4 for the bits
of a length less one. Then come pieces: a bit says whether one byte is repeated, two bits which of the four sizes the
length has, then follow the length less one and the byte, or all bytes.
Shape legend: H x W pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SIZES = (3, 8, 16, 16)  # bits of a length
WORD = 8
SIGNS = 2**28  # bytes that a brush may have at most


def packed(inside_HW: npt.NDArray[np.bool_]) -> list[int]:
    """A region as the numbers of Label Studio's ``rle``, of one byte each.

    >>> packed(np.array([[False, True]]))
    [0, 0, 0, 8, 57, 63, 252, 96, 17, 255, 128]
    """
    flat = inside_HW.ravel()
    bits = [f"{4 * flat.size:032b}{WORD - 1:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    ends = np.concatenate([np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    start = 0
    for end in ends.tolist():
        value = f"{255 if flat[start] else 0:08b}"
        left = 4 * (end - start)
        while left:
            count = min(left, 2 ** SIZES[-1])
            which = next(number for number, size in enumerate(SIZES) if count <= 2**size)
            bits.append(f"1{which:02b}{count - 1:0{SIZES[which]}b}{value}")
            left -= count
        start = end
    text = "".join(bits)
    return [int(text[place : place + 8].ljust(8, "0"), 2) for place in range(0, len(text), 8)]


def unpacked(numbers: Any, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(H, W) the pixels that a brush has touched.

    Raises:
        ValueError: it is no such list, or not of that size.
    """
    height, width = size
    if not isinstance(numbers, list) or not all(isinstance(one, int) and 0 <= one < 256 for one in numbers):
        raise ValueError("the brush's rle is no list of bytes")
    bits = _Bits("".join(f"{one:08b}" for one in numbers))
    count, word = bits.take(32), bits.take(5) + 1
    sizes = [bits.take(4) + 1 for _ in range(4)]
    if count != 4 * height * width or count > SIGNS or word != WORD:
        raise ValueError(f"the brush's rle is not one of {width} x {height} pixels")
    signs = np.zeros(count, dtype=np.uint8)
    place = 0
    while place < count:
        repeated = bits.take(1)
        end = place + bits.take(sizes[bits.take(2)]) + 1
        if end > count:
            raise ValueError("the brush's rle has too many pixels")
        if repeated:
            signs[place:end] = bits.take(word)
        else:
            signs[place:end] = [bits.take(word) for _ in range(end - place)]
        place = end
    return (signs.reshape(height, width, 4)[..., 3] > 0).astype(np.bool_)


class _Bits:
    """Bits that are read from the left."""

    def __init__(self, text: str):
        self._text, self._place = text, 0

    def take(self, count: int) -> int:
        """The next bits as a number."""
        found = self._text[self._place : self._place + count]
        if len(found) < count:
            raise ValueError("the brush's rle ends too early")
        self._place += count
        return int(found, 2)
