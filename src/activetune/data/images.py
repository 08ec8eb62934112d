"""Encoded bytes to RGB pixels, and the reasons why an image can't be used."""

from __future__ import annotations

import io
import os
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from activetune.base.errors import RejectedImage

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MAX_PIXELS = 89_478_485  # Pillow's own threshold for a decompression bomb: 1 GiB of RGBX divided by 3 x 4


def is_image_name(name: str) -> bool:
    """Whether a file's suffix is one of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def decode_image(encoded: bytes) -> Image.Image:
    """Decode to an RGB image, upright, 8 bits a channel.

    EXIF orientation is applied; the first frame of an animation is taken; alpha is laid over white; 16-bit greys are
    scaled to 8; float greys are taken as [0, 1] where they lie in it, as [0, 255] otherwise.

    Raises:
        RejectedImage: empty, corrupt, truncated or larger than 89 million pixels; the message is the reason.
    """
    if not encoded:
        raise RejectedImage("empty: 0 bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(encoded))
            if image.width * image.height > MAX_PIXELS:
                raise RejectedImage(
                    f"oversized: {image.width} x {image.height} pixels, {MAX_PIXELS:,} are allowed (decompression bomb)"
                )
            image.load()
            return to_rgb(image)
    except RejectedImage:
        raise
    except Image.DecompressionBombError:
        raise RejectedImage(f"oversized: more than {2 * MAX_PIXELS:,} pixels (decompression bomb)") from None
    except UnidentifiedImageError:
        raise RejectedImage("corrupt: not an image that can be recognised") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged input
        kind = "truncated" if "truncated" in str(error).lower() else "corrupt"
        raise RejectedImage(f"{kind}: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """An opened image as upright 8-bit RGB; see :func:`decode_image`."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I"):  # I;16 and I (32-bit integers that hold 16-bit greys)
        grey = np.clip(np.asarray(image).astype(np.int64), 0, None)
        scale = 257 if image.mode.startswith("I;16") or grey.max() > 255 else 1
        return Image.fromarray(np.clip(grey // scale, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        grey = np.nan_to_num(np.asarray(image))
        unit = grey.max() <= 1.0
        return Image.fromarray(np.clip(grey * (255 if unit else 1), 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB")
