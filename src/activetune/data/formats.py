"""Image formats that are opened: their suffixes, and how a file without one begins."""

from __future__ import annotations

import functools
import os

# Everything that Pillow decodes by itself, the common ones first, as they are tried in this order; Truevision's comes
# last because its files begin like anything. Left out are formats that Pillow hands to another program or library (EPS
# to Ghostscript, WMF, BUFR, GRIB, HDF5), that it unpacks without a limit (FITS), videos (MPEG, FLI), and those whose
# suffix mostly means something else (.pcd: point clouds, .gbr: circuit boards, .msp: installers).
FORMATS: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "MPO": (".mpo",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "DIB": (".dib",),
    "QOI": (".qoi",),
    "DDS": (".dds",),
    "PSD": (".psd",),
    "ICO": (".ico",),
    "CUR": (".cur",),
    "ICNS": (".icns",),
    "PCX": (".pcx",),
    "DCX": (".dcx",),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
    "SUN": (".ras",),
    "PIXAR": (".pxr",),
    "BLP": (".blp",),
    "XBM": (".xbm",),
    "XPM": (".xpm",),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
}
IMAGE_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
COMMON = (".jpg", ".png", ".tif", ".webp")  # which a sentence names, where all are too many
START = 32  # bytes that tell an image without a suffix
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_STARTS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", *TIFF_STARTS, b"\0\0\0\x0cjP  \r\n\x87\n"),
    *(b"\xff\x4f\xff\x51", b"qoif", b"8BPS\0\x01", b"DDS \x7c\0\0\0", b"icns"),
)


def is_image_name(name: str) -> bool:
    """Whether a file's suffix is one of an image."""
    return suffix_of(name) in IMAGE_SUFFIXES


def suffix_of(name: str) -> str:
    """A file name's suffix in lower case, with its dot; empty where there is none."""
    return os.path.splitext(name)[1].lower()


def looks_like_image(start: bytes) -> bool:
    """Whether a file's first :data:`START` bytes are those of an image."""
    if start.startswith(_STARTS):
        return True
    if start[:4] == b"RIFF":
        return start[8:12] == b"WEBP"
    if start[4:8] == b"ftyp":
        return start[8:12] in (b"avif", b"avis")
    if start[:2] == b"BM":  # two letters that any text may begin with: the header's own size must be one of a bitmap
        return start[6:10] == bytes(4) and int.from_bytes(start[14:18], "little") in (12, 40, 52, 56, 64, 108, 124)
    return start[:1] == b"P" and start[1:2] in b"123456Ff" and start[2:3] in b" \t\r\n" and len(start) > 2


@functools.cache
def openable() -> tuple[str, ...]:
    """Those of :data:`FORMATS` that the installed Pillow knows."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
