"""Encoded images of every format that is opened."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from activetune.base.errors import RejectedImage
from activetune.data.formats import FORMATS
from activetune.data.images import decode_image, image_size
from tests.security.fuzz.targets import Case, Target
from tests.security.fuzz.targets._pool import HEIGHT, WIDTH, picture

MODES = ("RGB", "L", "RGBA", "P", "1", "CMYK", "I;16", "I", "F", "LA")
LARGEST = 2**22  # pixels: what a larger one does is tried in test_bombs.py


def _common(folder: Path) -> list[Case]:
    return [{"image": content} for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP") for content in _of(kind)]


def _others(folder: Path) -> list[Case]:
    kinds = FORMATS.keys() - {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"}
    return [{"image": content} for kind in sorted(kinds) for content in _of(kind)[:3]]


def _of(kind: str) -> list[bytes]:
    found = []
    for mode in MODES:
        with contextlib.suppress(Exception):  # a mode that the format has no place for, a format that is not written
            found.append(picture(kind, mode))
    return found


def _tiff(folder: Path) -> list[Case]:
    import tifffile

    found = _of("TIFF")
    for packing in ("tiff_deflate", "tiff_lzw", "packbits"):
        with contextlib.suppress(Exception):
            found.append(picture("TIFF", "RGB", compression=packing))
    for dtype in (np.uint16, np.float32, np.float64, np.int16, np.uint32):
        for shape in ((HEIGHT, WIDTH), (HEIGHT, WIDTH, 3), (3, HEIGHT, WIDTH), (HEIGHT, WIDTH, 4)):
            for options in ({}, {"compression": "zlib"}, {"bigtiff": True}):
                file = io.BytesIO()
                with contextlib.suppress(Exception):
                    planes = "contig" if shape[-1] in (3, 4) or len(shape) == 2 else "separate"
                    form = "rgb" if len(shape) == 3 else "minisblack"
                    tifffile.imwrite(file, np.arange(np.prod(shape)).reshape(shape).astype(dtype), photometric=form,
                                     planarconfig=planes if len(shape) == 3 else None, **options)  # fmt: skip
                    found.append(file.getvalue())
    return [{"image": content} for content in found]


def read(folder: Path) -> None:
    """Decode, in full and in part, and ask for the size in every way; all three agree."""
    encoded = (folder / "image").read_bytes()
    sizes: list[tuple[int, int]] = []
    told: Exception | None = None
    for about in (0, 16):
        try:
            image = decode_image(encoded, about=about, max_pixels=LARGEST)
        except RejectedImage as error:
            told = error
            continue
        assert isinstance(image, Image.Image) and image.mode == "RGB"
        sizes += [(image.height, image.width)] if not about else []
    for whole in (False, True):
        with contextlib.suppress(RejectedImage):
            image_size(encoded if whole else encoded[:100], whole=whole) if sizes else None
    if told is not None:
        raise told


def targets() -> Iterator[Target]:
    """The common formats, TIFF, and all others."""
    yield Target("images", _common, read)
    yield Target("images, TIFF", _tiff, read)
    yield Target("images, other formats", _others, read)
