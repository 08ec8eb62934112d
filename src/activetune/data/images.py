"""Encoded bytes to RGB pixels, and the reasons why an image can't be used."""

from __future__ import annotations

import contextlib
import io
import logging

import numpy as np
from PIL import Image, UnidentifiedImageError

from activetune.base.errors import RejectedImage, first_line
from activetune.base.quietly import quietly
from activetune.data.depth import to_8_bits
from activetune.data.formats import TIFF_STARTS, openable
from activetune.data.tiff import decode_deep_tiff

MAX_PIXELS = 89_478_485  # Pillow's own threshold for a decompression bomb: 1 GiB of RGBX divided by 3 x 4
MAX_BYTES = 512 * 2**20  # of an encoded image: more than that many pixels take without any compression
SIZE_IN_HEADER = frozenset({"JPEG", "PNG", "WEBP", "BMP"})  # formats whose header tells the size of what is decoded
PNG_TEXTS = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")  # parts that may hold an orientation
LONGEST = 64  # times the short side; what a resize to a given short side makes is bounded by it

ORIENTATION = 0x0112  # EXIF and TIFF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PHOTOMETRIC, BITS_PER_SAMPLE, MAX_SAMPLE_VALUE, SAMPLE_FORMAT = 262, 258, 281, 339  # TIFF tags
MIN_IS_WHITE, UNSIGNED = 0, 1
logging.getLogger("PIL").addHandler(logging.NullHandler())  # it logs what is wrong before it raises


def decode_image(encoded: bytes, *, about: int = 0, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode to an RGB image, upright, 8 bits a channel.

    EXIF orientation is applied, and damaged EXIF ignored; the first frame of an animation is taken; alpha is laid over
    white; deep and floating pixels are scaled to 8 bits (:mod:`activetune.data.depth`).

    Args:
        about: pixels per side that are enough, 0 for all: a JPEG is then decoded at the smallest of its sizes that has
            as many, which is several times faster for a photo.
        max_pixels: of the image as its file declares it; more are refused before they are decoded.

    Raises:
        RejectedImage: empty, corrupt, truncated, of no format that is opened, or larger than 89 million pixels or
            512 MiB; the message is the reason.
    """
    if not encoded:
        raise RejectedImage("empty: 0 bytes")
    if len(encoded) > MAX_BYTES:
        raise RejectedImage(f"oversized: {len(encoded):,} bytes, {MAX_BYTES:,} are allowed")
    try:
        with quietly():
            return to_rgb(*_load(encoded, about, min(max_pixels, MAX_PIXELS)))
    except RejectedImage:
        raise
    except Image.DecompressionBombError:
        allowed = min(max_pixels, MAX_PIXELS)
        raise RejectedImage(
            f"oversized: more than the {allowed:,} pixels that are allowed (decompression bomb)"
        ) from None
    except UnidentifiedImageError:
        raise RejectedImage("corrupt: not an image that can be recognised") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged input
        kind = "truncated" if "truncated" in str(error).lower() else "corrupt"
        raise RejectedImage(f"{kind}: {first_line(error)}") from None


def image_size(encoded: bytes, *, whole: bool = True) -> tuple[int, int] | None:
    """Height and width of what :func:`decode_image` makes, from the header alone where that tells it.

    Args:
        encoded: the image's bytes. whole: all of them; False: the first ones, and None where these don't tell the size.

    Raises:
        RejectedImage: as :func:`decode_image`, of a whole image whose header is damaged.
    """
    found = _size_in_header(encoded, whole)
    if found is None and whole:
        image = decode_image(encoded)
        return image.height, image.width
    return found


def _size_in_header(encoded: bytes, whole: bool) -> tuple[int, int] | None:
    try:
        with quietly():
            image = Image.open(io.BytesIO(encoded), formats=openable())
            _refuse_oversized(image, MAX_PIXELS)
    except Exception:  # whatever Pillow raises: decoding says what is wrong
        return None
    is_png = image.format == "PNG"  # whose EXIF Pillow looks for behind the pixels, which it decodes for that
    if image.format not in SIZE_IN_HEADER or (is_png and (not whole or any(name in encoded for name in PNG_TEXTS))):
        return None
    turned = not is_png and _orientation(image) in (5, 6, 7, 8)
    width, height = image.size[::-1] if turned else image.size
    return height, width


def _load(encoded: bytes, about: int, max_pixels: int) -> tuple[Image.Image, int | None]:
    """The first frame as Pillow, or else tifffile, decodes it, with its orientation where Pillow does not know it."""
    is_tiff = encoded.startswith(TIFF_STARTS)
    try:
        image = Image.open(io.BytesIO(encoded), formats=openable())
        _refuse_oversized(image, max_pixels)
        if is_tiff and _loses_depth(image):
            with contextlib.suppress(Exception):  # whatever it is, Pillow's 8 bits are better than nothing
                return decode_deep_tiff(encoded, max_pixels)
        if about:
            image.draft(None, (about, about))
        image.load()
        _refuse_oversized(image, max_pixels)  # an icon may hold another size than it declares
        return image, None
    except (UnidentifiedImageError, ValueError) as error:
        unknown = isinstance(error, UnidentifiedImageError) or "unknown raw mode" in str(error)
        if not (unknown and is_tiff):
            raise
    return decode_deep_tiff(encoded, max_pixels)


def _loses_depth(image: Image.Image) -> bool:
    """Whether Pillow keeps the upper 8 bits of deep colours only, or mixes up two channels."""
    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, ())
    return len(bits) == 2 or (len(bits) > 2 and max(bits) > 8)


def _refuse_oversized(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise RejectedImage(
            f"oversized: {image.width} x {image.height} pixels, {max_pixels:,} are allowed (decompression bomb)"
        )


def to_rgb(image: Image.Image, orientation: int | None = None) -> Image.Image:
    """An opened image as upright 8-bit RGB; see :func:`decode_image`.

    Args:
        orientation: EXIF's, 1 to 8; None asks the image.
    """
    turn = TURNS.get(_orientation(image) if orientation is None else orientation)
    upright = image if turn is None else image.transpose(turn)
    return _coloured(upright, image)


def _orientation(image: Image.Image) -> int:
    """EXIF's, or 1 where these data are damaged: the pixels are good all the same."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow's EXIF reader raises nearly anything on damaged data
        return 1
    return found if isinstance(found, int) else 1


def _coloured(image: Image.Image, opened: Image.Image) -> Image.Image:
    """8-bit RGB of an image; ``opened`` is the same as it came from the file."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        if image.mode == "I" and _is_unsigned(opened):
            values = values.view(np.uint32)  # Pillow has signed numbers alone
        white, inverted = _declared(opened, values)
        return Image.fromarray(to_8_bits(values, white=white, inverted=inverted)).convert("RGB")
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        return image.convert("RGB") if converted is None else converted
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB")


def _is_unsigned(image: Image.Image) -> bool:
    """Whether a TIFF says, or does not deny, that its 32 bits have no sign."""
    tags = getattr(image, "tag_v2", {})
    return bool(tags.get(BITS_PER_SAMPLE, (16,))[0] == 32 and tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED)


def _declared(image: Image.Image, values: np.ndarray) -> tuple[float | None, bool]:
    """What a TIFF says of its deep greys, whose values these are: the value of white, and whether 0 is white."""
    tags = getattr(image, "tag_v2", {})
    bits, largest = tags.get(BITS_PER_SAMPLE, (16,))[0], tags.get(MAX_SAMPLE_VALUE, (0,))
    white = 2.0**bits - 1 if bits < 16 else float(max(largest) if isinstance(largest, tuple) else largest)
    fits = white > 0 and bool(values.max() <= white)
    return white if fits else None, tags.get(PHOTOMETRIC) == MIN_IS_WHITE


def middle(image: Image.Image) -> Image.Image:
    """The middle of an image more than 64 times as long as wide, any other as it is.

    It is for whoever brings an image's short side to a given length: the whole would fill the memory.
    """
    across = LONGEST * min(image.size)
    if max(image.size) <= across:
        return image
    left, top = (max(0, side - across) // 2 for side in image.size)
    return image.crop((left, top, left + min(image.width, across), top + min(image.height, across)))
