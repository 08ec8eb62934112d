"""Deep and floating pixels to 8 bits a channel.

A file says how many bits a pixel has, rarely what its white is: a camera's 12 bits lie in 16, and floats have any unit.
So white is taken from what is declared where something is, and otherwise from the largest value:

| pixels | largest value | white |
|---|---|---|
| 16-bit integers | up to 4,095, up to 16,383, beyond | 4,095, 16,383, 65,535 (cameras of 12, 14 and 16 bits) |
| wider integers | up to 255; as above up to 65,535; beyond | 255; as above; the largest value |
| floats | up to 1, up to 255, beyond | 1, 255, the largest value |

Black is 0. Floats below 0 are taken as [-1, 1] where they lie in it, and from their least to their largest value
otherwise; integers below 0 are black. NaN is black.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CAMERA_DEPTHS = (12, 14, 16)  # bits
BLOCK = 2**22  # values that are converted at a time, so that what lies between needs little memory


def to_8_bits(values: np.ndarray, *, white: float | None = None, inverted: bool = False) -> np.ndarray:
    """Pixels (H, W) or (H, W, C) of any number type as uint8 of the same shape; fractions are cut off.

    Args:
        white: the value of white, where the file declares it.
        inverted: 0 is white.

    >>> to_8_bits(np.array([[0, 2048, 4095]], dtype=np.uint16))
    array([[  0, 127, 255]], dtype=uint8)
    """
    if values.dtype == np.uint8:
        return 255 - values if inverted else values
    low, high = (0.0, white) if white else _range(values)
    scaled = np.empty(values.shape, dtype=np.uint8)
    for rows in _blocks(values):
        exact = np.nan_to_num(values[rows].astype(np.float64), nan=low, posinf=high, neginf=low)
        # 255 v / white is exact for whole numbers up to 2^45, so that no level falls below its own
        scaled[rows] = np.clip((exact - low) * 255 / max(high - low, 1e-300), 0, 255)
    return 255 - scaled if inverted else scaled


def _range(values: np.ndarray) -> tuple[float, float]:
    """The values of black and white."""
    if values.dtype == np.bool_:
        return 0.0, 1.0
    low, high = _extremes(values)
    if np.issubdtype(values.dtype, np.integer):
        if values.dtype.itemsize == 1:
            return 0.0, float(np.iinfo(values.dtype).max)
        if values.dtype.itemsize > 2 and high <= 255:
            return 0.0, 255.0
        return 0.0, next((2.0**bits - 1 for bits in CAMERA_DEPTHS if high < 2**bits), high)
    if low < 0:
        return (-1.0, 1.0) if low >= -1 and high <= 1 else (low, high)
    return 0.0, 1.0 if high <= 1 else max(255.0, high)


def _extremes(values: np.ndarray) -> tuple[float, float]:
    """The least and the largest finite value; 0 and 0 where there is none."""
    found = [part[np.isfinite(part)] for part in (values[rows] for rows in _blocks(values))]
    ends = [(part.min(), part.max()) for part in found if part.size]
    return (float(min(low for low, _ in ends)), float(max(high for _, high in ends))) if ends else (0.0, 0.0)


def _blocks(values: np.ndarray) -> Iterator[slice]:
    step = max(1, BLOCK // max(1, values[:1].size))
    return (slice(start, start + step) for start in range(0, len(values), step))
