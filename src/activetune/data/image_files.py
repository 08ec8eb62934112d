"""An item of a pool as an image file of its own."""

from __future__ import annotations

import io

from PIL import Image

from activetune.base.errors import RejectedImage, first_line
from activetune.data.formats import FORMATS, is_image_name, openable
from activetune.data.images import decode_image
from activetune.data.pool import Pool

FEW_BITS = 1  # of PNG's effort: nine times as fast as the most, and a tenth larger


def image_file(pool: Pool, index: int) -> tuple[bytes, str]:
    """The bytes of an image file, and the suffix of its kind: those of the pool, byte by byte, where it has files.

    A frame of a video becomes a PNG.

    Raises:
        RejectedImage: it can't be read, or its kind can't be told.
    """
    encoded, item = pool.read(index), pool.ids[index]
    if pool.tells:  # the bytes were made for reading, and are not a file of the pool
        file = io.BytesIO()
        decode_image(encoded).save(file, "PNG", compress_level=FEW_BITS)
        return file.getvalue(), ".png"
    return encoded, item[item.rindex(".") :] if is_image_name(item) else _suffix(encoded)


def image_suffix(pool: Pool, index: int) -> str:
    """The suffix that :func:`image_file` gives, without reading the item where its id tells.

    Raises:
        RejectedImage: as there.
    """
    item = pool.ids[index]
    if pool.tells:
        return ".png"
    return item[item.rindex(".") :] if is_image_name(item) else _suffix(pool.read(index))


def _suffix(encoded: bytes) -> str:
    try:
        with Image.open(io.BytesIO(encoded), formats=openable()) as opened:
            return FORMATS[opened.format or "PNG"][0]
    except Exception as error:  # Pillow raises nearly anything on damaged input
        raise RejectedImage(f"no image: {first_line(error)}") from None
