"""TIFF files whose pixels Pillow has no mode for: floats of several channels or 64 bits, wide colours."""

from __future__ import annotations

import importlib.util
import io
import logging
import math
import zlib
from typing import Any

import numpy as np
from PIL import Image

from activetune.base.errors import RejectedImage
from activetune.data.depth import to_8_bits

MAX_DEEP_BYTES = 2**30  # of the pixels of one page
MIN_IS_WHITE, MIN_IS_BLACK, RGB = 0, 1, 2  # photometric interpretations
NONE, DEFLATE = 1, (8, 32946)  # compressions
WITH_ALPHA = {1, 2}  # kinds of extra samples
SEPARATE = 2  # planar configuration
ORIENTATION, MAX_SAMPLE_VALUE = 274, 281  # tags

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it logs what is wrong before it raises


def decode_deep_tiff(encoded: bytes, max_pixels: int) -> tuple[Image.Image, int]:
    """A TIFF's first page as 8-bit ``L``, ``RGB`` or ``RGBA``, and its orientation (EXIF's 1 to 8).

    Raises:
        RejectedImage: more than ``max_pixels``, neither grey nor RGB, or compressed in a way that needs a package.
        Exception: whatever tifffile raises on a damaged file.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(encoded)) as file:
        page = file.pages.first
        _refuse(page, max_pixels)
        _refuse_bombs(file, page)
        pixels = np.asarray(page.asarray())
        if page.samplesperpixel > 1 and page.planarconfig == SEPARATE:
            pixels = np.moveaxis(pixels, 0, -1)
        orientation, white = page.tags.valueof(ORIENTATION, 1), page.tags.valueof(MAX_SAMPLE_VALUE)
    image = Image.fromarray(_channels(np.atleast_3d(pixels), page, white))
    return image, orientation if isinstance(orientation, int) else 1


def _refuse(page: Any, max_pixels: int) -> None:
    """Raise for a page that is no single picture, before any memory is taken for it."""
    height, width, samples = int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)
    if width * height > max_pixels:
        raise RejectedImage(f"oversized: {width} x {height} pixels, {max_pixels:,} are allowed (decompression bomb)")
    colours, dtype = page.photometric in (MIN_IS_WHITE, MIN_IS_BLACK, RGB), np.dtype(page.dtype or "V")
    if page.imagedepth != 1 or not colours or not 1 <= samples <= 4 or dtype.kind not in "buif":
        raise RejectedImage(
            f"unsupported: a TIFF of {samples} channels of {dtype} ({getattr(page.photometric, 'name', 'unknown')}); "
            "grey and RGB are read, with or without alpha"
        )
    if width * height * samples * dtype.itemsize > MAX_DEEP_BYTES:
        raise RejectedImage(f"oversized: more than {MAX_DEEP_BYTES:,} bytes of pixels")


def _refuse_bombs(file: Any, page: Any) -> None:
    """Raise where a strip or tile unpacks to more than its pixels take; tifffile unpacks it whole."""
    if page.compression in DEFLATE:
        declared = math.prod(page.chunks) * np.dtype(page.dtype).itemsize
        for data, _ in file.filehandle.read_segments(page.dataoffsets, page.databytecounts):
            if data is not None and len(zlib.decompressobj().decompress(data, declared + 1)) > declared:
                raise RejectedImage(f"oversized: a strip unpacks to more than the {declared:,} bytes of its pixels")
    elif page.compression != NONE and importlib.util.find_spec("imagecodecs") is None:
        method = getattr(page.compression, "name", page.compression)
        raise RejectedImage(f"unsupported: deep pixels packed by {method}; they need: pip install 'activetune[tiff]'")


def _channels(pixels_HWC: np.ndarray, page: Any, white: object) -> np.ndarray:
    """(H, W), (H, W, 3) or (H, W, 4), uint8: colours on one scale, so that their balance stays."""
    count = 3 if pixels_HWC.shape[-1] >= 3 else 1
    colours, extra = pixels_HWC[..., :count], pixels_HWC[..., count : count + 1]
    declared = float(white) if isinstance(white, int) and white > 0 and colours.max() <= white else None
    scaled = to_8_bits(colours, white=declared, inverted=page.photometric == MIN_IS_WHITE)
    if extra.shape[-1] and WITH_ALPHA & {int(kind) for kind in page.extrasamples}:
        whole = float(np.iinfo(extra.dtype).max) if extra.dtype.kind in "ui" else None
        three = np.broadcast_to(scaled, (*scaled.shape[:2], 3))
        scaled = np.concatenate([three, to_8_bits(extra, white=whole)], axis=-1)
    return scaled[..., 0] if scaled.shape[-1] == 1 else scaled
