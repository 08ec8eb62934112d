"""Decoding: every image that people have comes out as upright 8-bit RGB, every other one is rejected with a reason."""

from __future__ import annotations

import io
import struct
import zlib
from unittest import mock

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from activetune.base.errors import RejectedImage
from activetune.data import depth, formats, images
from activetune.data.images import decode_image, image_size, middle

RED, GREEN, WHITE = (255, 0, 0), (0, 128, 0), (255, 255, 255)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int = 32, height: int = 24) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def declared_png(width: int, height: int) -> bytes:
    """A PNG of under 100 bytes whose header declares any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# What is accepted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_270),
        (8, Image.Transpose.ROTATE_90),
    ],
)
def test_exif_orientation_is_applied(orientation: int, turn: Image.Transpose) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(encode(noise(), exif=exif))
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(noise().transpose(turn)))


def test_damaged_exif_does_not_cost_the_image() -> None:
    encoded = encode(noise(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xab" * 40)
    assert decode_image(encoded).size == (32, 24)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6))
@settings(deadline=None, max_examples=60)
def test_no_damage_to_exif_costs_the_image(kind: str, changes: list[tuple[float, int]]) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x011A], exif[0x0112] = "maker", 72.0, 1
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00", 0x829A: 0.01}
    content = bytearray(exif.tobytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    assert set(decode_image(encode(noise(), kind, exif=bytes(content))).size) == {32, 24}


def test_the_orientation_is_taken_from_exif_whose_other_fields_can_t_be_written_again() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    content = exif.tobytes()
    broken = content.replace(b"\x01\x1a\0\x05", b"\x01\x1a\0\x02")  # a resolution that claims to be text
    assert broken != content
    assert decode_image(encode(noise(), exif=broken)).size == (24, 32)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    np.testing.assert_array_equal(np.asarray(decode_image(encode(noise(), kind))), np.asarray(noise()))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_keep_the_colour(kind: str) -> None:
    decoded = decode_image(encode(Image.new("RGB", (16, 16), GREEN), kind))
    assert decoded.mode == "RGB"
    np.testing.assert_allclose(np.asarray(decoded).reshape(-1, 3), np.tile(GREEN, (256, 1)), atol=6)


def test_greyscale_becomes_three_equal_channels() -> None:
    greys = np.arange(64, dtype=np.uint8).reshape(8, 8)
    decoded = np.asarray(decode_image(encode(Image.fromarray(greys))))
    np.testing.assert_array_equal(decoded, np.repeat(greys[:, :, None], 3, axis=2))


def test_one_bit_images_become_black_and_white() -> None:
    bits = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    decoded = np.asarray(decode_image(encode(Image.fromarray(bits).convert("1"))))
    np.testing.assert_array_equal(decoded[:, :, 0], bits)


def test_palette_images_take_their_palette_colours() -> None:
    image = Image.new("P", (3, 3), 1)
    image.putpalette([*WHITE, *RED])
    assert decode_image(encode(image)).getpixel((1, 1)) == RED


def test_transparent_palette_entries_become_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    decoded = decode_image(encode(image, transparency=0))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [WHITE, GREEN]


def test_transparent_gif_background_becomes_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    decoded = decode_image(encode(image, "GIF", transparency=0))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [WHITE, GREEN]


def test_alpha_is_laid_over_white() -> None:
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((255, 0, 128)):
        image.putpixel((x, 0), (*RED, alpha))
    decoded = decode_image(encode(image))
    assert decoded.getpixel((0, 0)) == RED
    assert decoded.getpixel((1, 0)) == WHITE
    np.testing.assert_allclose(decoded.getpixel((2, 0)), (255, 127, 127), atol=1)


def test_grey_with_alpha_is_laid_over_white() -> None:
    image = Image.new("LA", (2, 1), (10, 255))
    image.putpixel((1, 0), (10, 0))
    decoded = decode_image(encode(image))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(10, 10, 10), WHITE]


def test_grey_with_a_transparent_value_is_laid_over_white() -> None:
    image = Image.new("L", (2, 1), 10)
    image.putpixel((1, 0), 20)
    decoded = decode_image(encode(image, transparency=20))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(10, 10, 10), WHITE]


def test_rgb_with_a_transparent_colour_is_laid_over_white() -> None:
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), GREEN)
    decoded = decode_image(encode(image, transparency=GREEN))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(kind: str) -> None:
    decoded = decode_image(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), kind))
    np.testing.assert_allclose(decoded.getpixel((8, 8)), RED, atol=4)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_greys_are_scaled_to_8(kind: str) -> None:
    deep = np.array([[0, 257, 100 * 257], [200 * 257, 200 * 257 + 256, 65535]], dtype=np.uint16)
    decoded = np.asarray(decode_image(encode(Image.fromarray(deep), kind)))
    np.testing.assert_array_equal(decoded[:, :, 0], [[0, 1, 100], [200, 200, 255]])


def test_dark_16_bit_greys_stay_dark() -> None:
    deep = np.full((4, 4), 255, dtype=np.uint16)
    assert max(decode_image(encode(Image.fromarray(deep))).getpixel((0, 0))) < 16


@pytest.mark.parametrize("white", [4095, 16383, 65535])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_camera_s_bits_in_16_reach_from_black_to_white(kind: str, white: int) -> None:
    deep = np.array([[0, white // 2, white]], dtype=np.uint16)
    decoded = np.asarray(decode_image(encode(Image.fromarray(deep), kind)))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 127, 255])


def write_tiff(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32, np.float32, np.float64])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_where_zero_is_white_it_is(dtype: type, compression: str | None) -> None:
    top = {np.int16: 16383, np.float32: 1, np.float64: 1}.get(dtype, 255 if dtype is np.uint8 else 65535)
    encoded = write_tiff(np.array([[0, top]], dtype=dtype), photometric="miniswhite", compression=compression)
    np.testing.assert_array_equal(np.asarray(decode_image(encoded))[0, :, 0], [255, 0])


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_colours_of_any_depth_keep_their_balance(dtype: type, planarconfig: str, compression: str | None) -> None:
    white = 1 if np.issubdtype(dtype, np.floating) else 65535
    colours = np.array([[[1, 0, 0], [0, 0.5, 0]], [[1, 1, 1], [0.25, 0.5, 0.75]]])
    pixels = (colours * white).astype(dtype)
    layers = pixels if planarconfig == "contig" else np.moveaxis(pixels, -1, 0)
    encoded = write_tiff(layers, photometric="rgb", planarconfig=planarconfig, compression=compression)
    np.testing.assert_allclose(np.asarray(decode_image(encoded)), colours * 255, atol=1)


def test_a_camera_s_colours_in_16_bits_are_not_dark() -> None:
    colours = np.array([[[0, 2048, 4095]]], dtype=np.uint16)
    decoded = decode_image(write_tiff(colours, photometric="rgb"))
    np.testing.assert_allclose(decoded.getpixel((0, 0)), (0, 127, 255), atol=1)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_the_alpha_of_deep_colours_is_laid_over_white(dtype: type) -> None:
    white = 1 if np.issubdtype(dtype, np.floating) else 65535
    pixels = np.array([[[1, 0, 0, 1], [1, 0, 0, 0]]], dtype=dtype) * dtype(white)
    decoded = decode_image(write_tiff(pixels, photometric="rgb", extrasamples=["unassalpha"]))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]


def test_the_orientation_of_a_deep_tiff_is_applied() -> None:
    pixels = np.zeros((2, 3, 3))
    encoded = write_tiff(pixels, photometric="rgb", extratags=[(0x0112, "H", 1, 6, True)])
    assert decode_image(encoded).size == (2, 3)


def test_what_a_tiff_declares_as_its_largest_value_is_white() -> None:
    pixels = np.array([[0, 500, 1000]], dtype=np.uint16)
    decoded = decode_image(write_tiff(pixels, extratags=[(281, "H", 1, 1000, True)]))
    assert [decoded.getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(("dtype", "top"), [(np.uint16, 50_000), (np.uint32, 2**32 - 2)])
@pytest.mark.parametrize("declared", [True, False])
def test_deep_greys_of_either_byte_order_are_read_whole(byteorder: str, dtype: type, top: int, declared: bool) -> None:
    pixels = np.array([[0, top // 2, top]], dtype=dtype)
    tags = [(281, "I" if dtype is np.uint32 else "H", 1, top, True)] if declared or dtype is np.uint16 else []
    encoded = write_tiff(pixels, byteorder=byteorder, photometric="minisblack", extratags=tags)
    decoded = decode_image(encoded)
    assert [decoded.getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]


def test_greys_below_zero_stay_black() -> None:
    pixels = np.array([[-5, 0, 70_000]], dtype=np.int32)
    decoded = decode_image(write_tiff(pixels, photometric="minisblack"))
    assert [decoded.getpixel((x, 0))[0] for x in range(3)] == [0, 0, 255]


def test_more_channels_than_a_picture_has_are_unsupported() -> None:
    encoded = write_tiff(np.zeros((4, 4, 7), dtype=np.float32), photometric="minisblack", planarconfig="contig")
    assert reason(encoded).startswith("unsupported: a TIFF of 7 channels of float32")


def test_a_strip_that_unpacks_to_more_than_its_pixels_is_refused_before_it_does() -> None:
    small = write_tiff(np.zeros((8, 8, 3)), photometric="rgb", compression="zlib", rowsperstrip=8)
    with tifffile.TiffFile(io.BytesIO(small)) as file:
        tags = file.pages.first.tags
        where, length = tags[273].valueoffset, tags[279].valueoffset
    bomb = zlib.compress(bytes(2**24))
    grown = bytearray(small + bomb)
    grown[where : where + 4], grown[length : length + 4] = (
        len(small).to_bytes(4, "little"),
        len(bomb).to_bytes(4, "little"),
    )
    assert reason(bytes(grown)).startswith("oversized: a strip unpacks to more than the 1,536 bytes")


def test_32_bit_integers_that_hold_16_bit_greys_are_scaled() -> None:
    deep = np.array([[0, 100 * 257, 65535]], dtype=np.int32)
    decoded = np.asarray(decode_image(encode(Image.fromarray(deep), "TIFF")))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 100, 255])


def test_32_bit_integers_that_hold_8_bit_greys_are_kept() -> None:
    greys = np.array([[0, 100, 255]], dtype=np.int32)
    decoded = np.asarray(decode_image(encode(Image.fromarray(greys), "TIFF")))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 100, 255])


@pytest.mark.parametrize(("top", "grey"), [(1.0, 0.5), (255.0, 127.5)])
def test_float_greys_are_read_by_their_range(top: float, grey: float) -> None:
    values = np.array([[0.0, grey, top]], dtype=np.float32)
    decoded = np.asarray(decode_image(encode(Image.fromarray(values), "TIFF")))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 127, 255])


@pytest.mark.parametrize(("low", "high"), [(0, 300), (0, 65535), (0, 1e9), (-1, 1), (-1024, 3071)])
def test_floats_of_any_unit_reach_from_black_to_white(low: float, high: float) -> None:
    values = np.array([[low, (low + high) / 2, high]], dtype=np.float32)
    decoded = np.asarray(decode_image(encode(Image.fromarray(values), "TIFF")))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 127, 255])


def test_infinite_floats_are_the_ends_of_the_finite_ones() -> None:
    values = np.array([[-np.inf, 0, 0.5, 1, np.inf]], dtype=np.float32)
    decoded = np.asarray(decode_image(encode(Image.fromarray(values), "TIFF")))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 0, 127, 255, 255])


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_large_arrays_are_scaled_as_small_ones_are(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    values = (np.random.default_rng(0).random((40, 7)) * 3000).astype(dtype)
    whole = depth.to_8_bits(values)
    monkeypatch.setattr(depth, "BLOCK", 10)
    np.testing.assert_array_equal(depth.to_8_bits(values), whole)


def test_float_greys_that_are_not_numbers_become_black() -> None:
    values = np.array([[np.nan, 1.0]], dtype=np.float32)
    decoded = np.asarray(decode_image(encode(Image.fromarray(values), "TIFF")))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 255])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    first, second = Image.new("RGB", (16, 16), RED), Image.new("RGB", (16, 16), GREEN)
    encoded = encode(first, kind, save_all=True, append_images=[second])
    np.testing.assert_allclose(decode_image(encoded).getpixel((8, 8)), RED, atol=8)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *[(kind, {}) for kind in ("AVIF", "JPEG2000", "PPM", "DIB", "ICO", "PCX", "SGI", "TGA", "DDS", "QOI")],
        *[("TIFF", {"compression": method}) for method in ("tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate")],
    ],
)
def test_every_format_that_is_opened_is(kind: str, options: dict[str, str]) -> None:
    side = 64
    decoded = decode_image(encode(Image.new("RGB", (side, side), RED), kind, **options))
    assert decoded.size == (side, side)
    np.testing.assert_allclose(decoded.getpixel((side // 2, side // 2)), RED, atol=6)


def test_lab_colours_become_rgb() -> None:
    grey = decode_image(encode(Image.new("LAB", (4, 4), (255, 128, 128)), "TIFF")).getpixel((0, 0))
    np.testing.assert_allclose(grey, (255, 255, 255), atol=2)


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000), (3, 1000)])
def test_a_thin_image_is_decoded_whole_and_has_a_middle(size: tuple[int, int]) -> None:
    encoded = encode(Image.new("RGB", size, GREEN))
    decoded = decode_image(encoded)
    assert decoded.size == size and image_size(encoded) == size[::-1]
    assert max(middle(decoded).size) == 64 * min(size) and min(middle(decoded).size) == min(size)


def test_the_middle_of_a_thin_image_is_its_middle() -> None:
    values = np.arange(200, dtype=np.uint8)[None, :]
    found = np.asarray(middle(decode_image(encode(Image.fromarray(values)))))
    np.testing.assert_array_equal(found[0, :, 0], np.arange(68, 132))


# What is rejected -------------------------------------------------------------------------------------------------


def reason(encoded: bytes) -> str:
    with pytest.raises(RejectedImage) as caught:
        decode_image(encoded)
    return str(caught.value)


def test_no_bytes_are_empty() -> None:
    assert reason(b"") == "empty: 0 bytes"


@pytest.mark.parametrize(
    "garbage", [b"\0", b"not an image", b"<html></html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"]
)
def test_garbage_is_corrupt(garbage: bytes) -> None:
    assert reason(garbage).startswith("corrupt: ")


def test_a_postscript_file_under_another_name_reaches_no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    called = mock.Mock(side_effect=AssertionError("Ghostscript was asked"))
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", called)
    monkeypatch.setattr("subprocess.Popen", called)
    drawn = encode(Image.new("RGB", (8, 8), RED), "EPS")
    assert reason(drawn).startswith("corrupt: ")
    assert not called.called


@pytest.mark.parametrize("kind", ["EPS", "WMF", "BUFR", "GRIB", "HDF5", "FITS", "MPEG"])
def test_formats_that_other_programs_would_read_are_not_opened(kind: str) -> None:
    assert kind not in formats.openable()


def test_an_encoded_image_beyond_all_bounds_is_oversized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    assert reason(encode(noise())).startswith("oversized: ")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_half_a_file_is_truncated(kind: str) -> None:
    encoded = encode(noise(256, 256), kind)
    assert reason(encoded[: len(encoded) // 2]).startswith("truncated: ")


def test_a_png_with_a_wrong_checksum_is_corrupt() -> None:
    encoded = bytearray(encode(noise()))
    encoded[20] ^= 1  # inside the header chunk
    assert reason(bytes(encoded)).startswith("corrupt: ")


@pytest.mark.parametrize("size", [(10_000, 9_000), (60_000, 60_000)])
def test_a_small_file_that_declares_a_huge_image_is_oversized(size: tuple[int, int]) -> None:
    encoded = declared_png(*size)
    assert len(encoded) < 100
    assert reason(encoded).startswith("oversized: ")


def test_the_size_limit_is_named_in_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 32 * 24 - 1)
    assert reason(encode(noise())) == "oversized: 32 x 24 pixels, 767 are allowed (decompression bomb)"


def test_the_size_that_pillow_itself_refuses_is_named_as_ours() -> None:
    for allowed in (images.MAX_PIXELS, 250_000):
        with pytest.raises(RejectedImage, match=rf"^oversized: more than the {allowed:,} pixels that are allowed"):
            decode_image(declared_png(14_000, 14_000), max_pixels=allowed)


def test_an_image_of_just_the_allowed_size_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 32 * 24)
    assert decode_image(encode(noise())).size == (32, 24)


def test_a_reason_is_one_line() -> None:
    assert "\n" not in reason(declared_png(64, 64))


# Any bytes at all -------------------------------------------------------------------------------------------------

STARTS = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"RIFF\x20\0\0\0WEBPVP8 "]


def decodes_or_is_rejected(encoded: bytes) -> None:
    with mock.patch.object(images, "MAX_PIXELS", 10**6):
        try:
            assert decode_image(encoded).mode == "RGB"
        except RejectedImage as error:
            assert str(error).split(":")[0] in {"empty", "corrupt", "truncated", "oversized", "unsupported"}


@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=200))
@settings(deadline=None, max_examples=150)
def test_random_bytes_are_rejected_and_raise_nothing_else(start: bytes, rest: bytes) -> None:
    decodes_or_is_rejected(start + rest)


@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    kept=st.floats(0.1, 1),
)
@settings(deadline=None, max_examples=150)
def test_damaged_images_decode_or_are_rejected(kind: str, changes: list[tuple[float, int]], kept: float) -> None:
    encoded = bytearray(encode(noise(8, 8), kind))
    for place, value in changes:
        encoded[int(place * len(encoded))] = value
    decodes_or_is_rejected(bytes(encoded[: int(kept * len(encoded))]))


@given(st.binary(max_size=40), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]))
@settings(deadline=None, max_examples=50)
def test_anything_that_begins_like_a_tiff_decodes_or_is_rejected(rest: bytes, start: bytes) -> None:
    decodes_or_is_rejected(start + rest)


@given(
    dtype=st.sampled_from(["float64", "float32", "uint16", "uint32"]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    compression=st.sampled_from([None, "zlib"]),
)
@settings(deadline=None, max_examples=100)
def test_damaged_deep_tiffs_decode_or_are_rejected(
    dtype: str, changes: list[tuple[int, int]], compression: str | None
) -> None:
    encoded = bytearray(write_tiff(np.ones((8, 8, 3), dtype=dtype), photometric="rgb", compression=compression))
    for place, value in changes:
        encoded[place % len(encoded)] = value
    decodes_or_is_rejected(bytes(encoded))


def test_what_begins_like_an_image_is_told_from_what_does_not() -> None:
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM", "QOI", "DDS", "ICNS"):
        assert formats.looks_like_image(encode(Image.new("RGB", (64, 64), RED), kind)[: formats.START]), kind
    for text in (
        b"",
        b"BMW rules the road, said nobody",
        b"P3",
        b"PK\x03\x04",
        b"%!PS-Adobe",
        b"RIFF....WAVEfmt ",
        b"#!/bin/sh",
    ):
        assert not formats.looks_like_image(text[: formats.START]), text
