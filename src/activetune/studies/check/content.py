"""What an image looks like, in a few bytes: by its pixels exactly, and by a perceptual hash with a tiny copy.

The hash is the sign of the 63 lowest frequencies of the image's cosine transform (8 x 8 without the mean, of a grey
copy of 32 x 32): when an image is compressed, resized, or made a little brighter, it stays the same but for a few bits.
Two images of which at most ``radius`` bits differ have one of ``radius + 1`` parts of the hash in common, so only those
that share a part are compared (multi-index hashing: Norouzi, Punjani and Fleet, CVPR 2012). What is near by its hash
must be near by a tiny copy in colour, too.
Shape legend: T candidates, P numbers of a tiny copy.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from activetune.base.config import check_settings
from activetune.features.distances import Float32
from activetune.studies.check.picture import Measure, Picture

DIGEST_BYTES = 16
SAMPLED, KEPT = 32, 8  # pixels per side of the grey copy, frequencies per side that are kept
BITS = KEPT * KEPT - 1
TINY = 12  # pixels per side of the copy in colour
FLAT = 3.0  # standard deviation of a tiny copy's values (0 to 255) below which it shows nothing to compare

UInt64 = npt.NDArray[np.uint64]
UInt8 = npt.NDArray[np.uint8]


def pixel_digest(picture: Picture) -> UInt8:
    """Digest (16,) of the size and of every pixel, of all sizes and formats that hold the same image."""
    state = hashlib.sha256(repr(picture.image.size).encode())
    state.update(picture.image.tobytes())
    return np.frombuffer(state.digest()[:DIGEST_BYTES], dtype=np.uint8)


def perceptual_hash(picture: Picture) -> int:
    """63 bits: the signs of the lowest frequencies, the horizontal ones of a row after each other."""
    grey = picture.grey.resize((SAMPLED, SAMPLED), Image.Resampling.BOX)
    cosines = _cosines()
    spectrum = cosines @ np.asarray(grey, dtype=np.float32) @ cosines.T
    return int(sum(1 << place for place, value in enumerate(spectrum.ravel()[1:].tolist()) if value > 0))


@cache
def _cosines() -> Float32:
    """The first rows (8, 32) of the cosine transform, type II."""
    places, waves = np.arange(SAMPLED), np.arange(KEPT)
    return np.cos(np.pi * (2 * places[None, :] + 1) * waves[:, None] / (2 * SAMPLED)).astype(np.float32)


@cache
def _mirror() -> int:
    """The bits that turn over when an image is mirrored: odd horizontal frequencies."""
    return sum(1 << (place - 1) for place in range(1, KEPT * KEPT) if place % KEPT % 2)


def tiny_copy(picture: Picture) -> UInt8:
    """The image at 12 x 12 pixels, (12, 12, 3)."""
    return np.asarray(picture.small.resize((TINY, TINY), Image.Resampling.BOX))


PIXELS = Measure("pixels", "u1", pixel_digest, (DIGEST_BYTES,))
LOOKS = (Measure("hash", "u8", perceptual_hash), Measure("tiny", "u1", tiny_copy, (TINY, TINY, 3)))


class Match(NamedTuple):
    """The one of the images looked through that an image is most like, in how many bits they differ, how alike they
    are (correlation of the tiny copies, -1 to 1), and whether one is the other's mirror image.
    """

    position: int
    bits: int
    likeness: float
    mirrored: bool

    def told(self, radius: int, least: float) -> str:
        """Why the two are near, in words."""
        mirrored = ", mirrored" if self.mirrored else ""
        return (
            f"{self.bits} of {BITS} bits of their hashes differ ({radius} may), tiny copies correlate at "
            f"{self.likeness:.3f} (near from {least:g} on){mirrored}"
        )


class Looks:
    """Images to look through for one that is nearly the same.

    Args:
        radius: bits that may differ. likeness: correlation of the tiny copies that is needed. mirrored: also look for
            mirror images.
    """

    def __init__(self, radius: int, likeness: float, mirrored: bool):
        self.radius, self.likeness, self.mirrored = radius, likeness, mirrored
        self._parts = list(_parts(radius + 1))
        self._shelves: list[dict[int, list[int]]] = [defaultdict(list) for _ in self._parts]
        self._hashes = np.zeros(256, dtype=np.uint64)
        self._tiny = np.zeros((256, 3 * TINY * TINY), dtype=np.int8)
        self._positions: list[int] = []

    def add(self, position: int, code: int, tiny: UInt8) -> None:
        """Put an image in."""
        values = _standard(tiny)
        if values is None:
            return
        place = len(self._positions)
        if place == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
            self._tiny = np.concatenate([self._tiny, np.zeros_like(self._tiny)])
        self._hashes[place], self._tiny[place] = code, _packed(values)
        self._positions.append(position)
        for (shift, mask), shelf in zip(self._parts, self._shelves, strict=True):
            shelf[(code >> shift) & mask].append(place)

    def nearest(self, code: int, tiny: UInt8) -> Match | None:
        """The most alike of the images within reach; None: there is none, or this one shows nothing to compare."""
        found = [self._nearest(code, tiny, mirrored=False)]
        if self.mirrored:
            found.append(self._nearest(code ^ _mirror(), tiny[:, ::-1], mirrored=True))
        return max((match for match in found if match is not None), key=lambda match: match.likeness, default=None)

    def _nearest(self, code: int, tiny: UInt8, *, mirrored: bool) -> Match | None:
        values = _standard(tiny)
        shelves = zip(self._parts, self._shelves, strict=True)
        met = [place for (shift, mask), shelf in shelves for place in shelf.get((code >> shift) & mask, ())]
        if values is None or not met:
            return None
        places_T = np.unique(np.asarray(met))
        bits_T = np.bitwise_count(self._hashes[places_T] ^ np.uint64(code))
        near = bits_T <= self.radius
        if not near.any():
            return None
        others = self._tiny[places_T[near]].astype(np.float32)
        others /= np.linalg.norm(others, axis=1, keepdims=True)
        likeness_T = others @ values
        best = int(likeness_T.argmax())
        if likeness_T[best] < self.likeness:
            return None
        place = int(places_T[near][best])
        return Match(self._positions[place], int(bits_T[near][best]), min(float(likeness_T[best]), 1.0), mirrored)


def check_looks(what: str, bits: int, likeness: float) -> None:
    """Hold the settings of :class:`Looks` to their ranges."""
    check_settings(what, ("bits", bits, 0, 15), ("likeness", likeness, 0, 1))


def _parts(count: int) -> Iterator[tuple[int, int]]:
    """The hash cut into ``count`` parts, about equally long: how far to shift each down, and its mask."""
    cuts = [round(BITS * part / count) for part in range(count + 1)]
    yield from ((start, (1 << (stop - start)) - 1) for start, stop in itertools.pairwise(cuts))


def _standard(tiny: UInt8) -> Float32 | None:
    """A tiny copy (P,) without its mean, of unit length; None where it shows nothing."""
    values = tiny.astype(np.float32).ravel()
    values -= values.mean()
    spread = float(np.sqrt((values**2).mean()))
    return None if spread < FLAT else values / np.float32(np.linalg.norm(values))


def _packed(values: Float32) -> npt.NDArray[np.int8]:
    """A standard tiny copy in a byte per number, of which only the direction counts."""
    packed: npt.NDArray[np.int8] = np.round(values * (127 / np.abs(values).max())).astype(np.int8)
    return packed
