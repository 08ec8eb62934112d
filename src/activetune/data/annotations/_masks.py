"""Masks that lie in files: decoded when they are used, looked at when they are listed.

Read are PNG, TIFF and BMP: greys of 1 to 16 bits, palettes (their indices), colours without their alpha.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from activetune.base.errors import RejectedImage, UsageError, first_line, some
from activetune.base.fingerprint import digest, digest_bytes
from activetune.base.progress import note, progress
from activetune.base.quietly import quietly
from activetune.data.annotations._answers import checked_classes, refuse_nothing, refuse_other_classes
from activetune.data.annotations._legend import (
    LARGEST,
    VOID_VALUE,
    Colour,
    Legend,
    is_void,
    legend_of_names,
    legend_of_two,
    legend_of_values,
)
from activetune.data.annotations._listed import Asked
from activetune.data.annotations._placed import size_of
from activetune.data.images import MAX_PIXELS
from activetune.data.kinds import VOID, Indices, Mask
from activetune.data.labels import Labels
from activetune.data.pool import HEADER_BYTES, ImageSource, Pool

FORMATS = ("PNG", "TIFF", "BMP")
SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
DEPTH, KIND = 24, 25  # bytes of a PNG: bits of a sample, and what it is (0: grey)
MUCH = 0.2  # void pixels, from which on a class that never occurs is told
LOOKED_AT = 2**28  # pixels of all masks that are decoded when they are listed; of more of them every n-th mask


@dataclass(frozen=True, eq=False)
class StoredMask(Mask):
    """A mask in a file, in a zip, or in a row of a Parquet file.

    Attributes:
        files: the encoded masks as the images of a pool. index: which of them. legend: what its values stand for.
        height, width: in pixels.
    """

    files: Pool
    index: int
    legend: Legend
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """See :class:`Mask`."""
        return self.height, self.width

    def pixels(self) -> Indices:
        """See :class:`Mask`."""
        where = f"the mask {self.files.ids[self.index]} of {self.files.name}"
        try:
            found = self.legend.positions(decode_mask(self._encoded(where), colours=self.legend.colours))
        except (RejectedImage, UsageError) as error:
            raise UsageError(f"{where} can't be used: {error}") from None
        if found.shape != self.size:
            raise UsageError(
                f"{where} was changed: it had {self.width} x {self.height} pixels when it was listed; "
                "run the command again"
            )
        return found

    @cached_property
    def fingerprint(self) -> str:
        """See :class:`Mask`: of the file's bytes and the legend."""
        where = f"the mask {self.files.ids[self.index]} of {self.files.name}"
        return digest("stored mask", digest_bytes(self._encoded(where)), self.legend.fingerprint)

    def _encoded(self, where: str) -> bytes:
        try:
            return self.files.read(self.index)
        except RejectedImage as error:
            raise UsageError(f"{where} can't be used: {error}") from None


def decode_mask(encoded: bytes, *, colours: bool = False) -> npt.NDArray[Any]:
    """The values (H, W) or the colours (H, W, 3) of a mask, as they stand in the file.

    Args:
        colours: also those of greys and palettes.

    Raises:
        RejectedImage: no such file, or damaged.
    """
    image = _opened(encoded)
    try:
        with quietly():
            image.load()
            if colours and image.mode in ("1", "L", "P", "LA", "PA"):
                return np.asarray(image.convert("RGB"))
            if image.mode in ("RGB", "RGBA"):
                return np.asarray(image)[..., :3]
            if image.mode in ("LA", "PA"):
                return np.asarray(image)[..., 0]
            if image.mode not in ("1", "L", "P", "I") and not image.mode.startswith("I;16"):
                raise RejectedImage(f"a mask of the kind {image.mode} holds no classes; give greys, a palette or RGB")
            values = np.asarray(image)
    except RejectedImage:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged input
        raise RejectedImage(f"corrupt: {first_line(error)}") from None
    if image.format == "PNG" and encoded[KIND] == 0 and encoded[DEPTH] in (2, 4):  # Pillow spreads these to 8 bits
        spread = 255 // (2 ** encoded[DEPTH] - 1)
        values = (values // spread).astype(np.uint8)
    return values.astype(np.uint8) if values.dtype == np.bool_ else values


def mask_size(encoded: bytes) -> tuple[int, int]:
    """Height and width by the header.

    Raises:
        RejectedImage: no such file, or a damaged header.
    """
    image = _opened(encoded)
    return image.height, image.width


def _opened(encoded: bytes) -> Image.Image:
    try:
        with quietly():
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except Image.DecompressionBombError:
        raise RejectedImage(f"oversized: {MAX_PIXELS:,} pixels are allowed (decompression bomb)") from None
    except Exception as error:
        told = "no PNG, TIFF or BMP, which keep the values of a mask" if encoded else "empty: 0 bytes"
        raise RejectedImage(told) from error
    if image.width * image.height > MAX_PIXELS:
        raise RejectedImage(f"oversized: {image.width} x {image.height} pixels, {MAX_PIXELS:,} are allowed")
    return image


# Listing --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Looked:
    """What is known of a mask: its size, the values that it holds (None: it was not decoded), what is wrong with it."""

    size: tuple[int, int] | None
    values: frozenset[int] | None = None
    void: float = 0.0
    wrong: str = ""


def mask_labels(files: Pool, indices: Mapping[str, int], legend: Legend | None, asked: Asked) -> Labels:
    """Masks as answers, without those that can't be used.

    Args:
        files: encoded masks as the images of a pool. indices: which of them is an item's.
        legend: what their values stand for; None: the classes asked for in their order, or else the values that occur.

    Raises:
        UsageError: none can be used.
    """
    problems = asked.problems
    if legend is None and asked.classes is not None:
        legend = legend_of_names(checked_classes(asked.classes), "the list of classes")
    elif legend is not None and asked.classes is not None:
        classes = [name for name in checked_classes(asked.classes) if not is_void(name)]
        refuse_other_classes(legend.classes, classes, asked)
        legend = legend.limited_to(classes, problems)
    looked = _look(files, indices, legend, asked.quiet)
    if legend is not None:
        occurring = {value for mask in looked.values() for value in mask.values or ()}
        legend = legend_of_two(legend, occurring)
        _tell_void(legend, occurring, [mask.void for mask in looked.values() if mask.values is not None], asked)
    else:
        legend = legend_of_values(sorted({value for mask in looked.values() for value in mask.values or ()}))
        note(
            f"{problems.where}: no list of classes is there, so the {len(legend.classes):,} values that occur are the "
            f"classes {some(legend.classes, 4)}; a classes.txt beside the masks names them, and those that are void",
            asked.quiet or len(legend.classes) <= 2,
        )
    answers: dict[str, StoredMask] = {}
    for item, mask in looked.items():
        index = indices[item]
        if mask.size is None or mask.wrong:
            problems.add("masks that can't be used, left out", f"{files.ids[index]}: {mask.wrong}")
        elif size_of(item, mask.size, asked) is not None:
            answers[item] = StoredMask(files, index, legend, *mask.size)
    refuse_nothing(len(answers), asked)
    return Labels(list(answers), list(answers.values()), list(legend.classes))


def _tell_void(legend: Legend, occurring: set[int], shares: Sequence[float], asked: Asked) -> None:
    """Say where classes never occur and much is void: then the values may stand for other classes than listed."""
    if legend.colours or not shares or np.mean(shares) < MUCH:
        return
    absent = [name for number, name in enumerate(legend.classes) if not legend.values_of(number) & occurring]
    note(
        f"{asked.problems.where}: {100 * np.mean(shares):.0f} % of the pixels are void, and no mask that was looked at "
        f"shows {some(absent, 4)}; the values that occur are {some(sorted(occurring), 6)}: compare them with the list "
        "of classes",
        asked.quiet or not absent,
    )


def _look(files: Pool, indices: Mapping[str, int], legend: Legend | None, quiet: bool) -> dict[str, _Looked]:
    """What is known of each mask; without a legend all of them are decoded, with one as many as are few pixels."""
    found: dict[str, _Looked] = {}
    every = 1
    with progress(len(indices), "reading masks", unit="masks", quiet=quiet) as meter:
        for number, (item, index) in enumerate(indices.items()):
            whole = number % every == 0
            found[item] = _with_care(lambda: _decoded(files, index, legend) if whole else _headed(files, index))  # noqa: B023
            size = found[item].size
            if number == 0 and legend is not None and size is not None:
                every = max(1, -(-len(indices) * size[0] * size[1] // LOOKED_AT))
            meter.advance()
    return found


def _with_care(look: Callable[[], _Looked]) -> _Looked:
    try:
        return look()
    except (RejectedImage, UsageError) as error:
        return _Looked(None, wrong=str(error))


def _headed(files: Pool, index: int) -> _Looked:
    start = getattr(files.source, "start", None)
    if start is not None:
        with contextlib.suppress(OSError, RejectedImage):  # a TIFF may have its header at the end
            return _Looked(mask_size(start(index, HEADER_BYTES)))
    return _Looked(mask_size(files.read(index)))


def _decoded(files: Pool, index: int, legend: Legend | None) -> _Looked:
    pixels = decode_mask(files.read(index), colours=legend is not None and legend.colours)
    size = (int(pixels.shape[0]), int(pixels.shape[1]))
    if legend is not None:
        found_HW = legend.positions(pixels)
        values = frozenset() if legend.colours else frozenset(np.unique(pixels).tolist())
        return _Looked(size, values, void=float((found_HW == VOID).mean()))
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            return _Looked(None, wrong="it holds colours, and no classes.txt, .csv or .json says what they stand for")
        pixels = pixels[..., 0]
    if pixels.min(initial=0) < 0 or pixels.max(initial=0) > LARGEST:
        return _Looked(None, wrong=f"it holds values beyond {LARGEST:,}")
    return _Looked(size, frozenset(np.flatnonzero(np.bincount(pixels.ravel())).tolist()))


def encoded_mask(mask: Mask, values: Sequence[int], void: int, colours: Sequence[Colour] | None = None) -> bytes:
    """A mask as a grey PNG of 8 bits, or of 16 where a value needs them.

    Args:
        values: what is written for each class, by its position. void: what is written where there is no class.
        colours: of the values from 0 on: a palette in place of greys.
    """
    table = np.asarray([*values, void])
    pixels = Image.fromarray(table.astype(np.uint8 if table.max() <= VOID_VALUE else np.uint16)[mask.pixels()])
    if colours is not None:
        pixels.putpalette([part for colour in colours for part in colour])
    return _png(pixels)


def encoded_array(values: npt.NDArray[Any]) -> bytes:
    """An array (H, W) of values from 0 to 65,535, or (H, W, 3) of colours, as a PNG.

    Raises:
        ValueError: no such array, or too large.
    """
    if values.ndim not in (2, 3) or values.shape[2:] not in ((), (3,)) or not values.shape[0] * values.shape[1] > 0:
        raise ValueError(f"an array of the shape {values.shape} is no mask; give height x width")
    if values.shape[0] * values.shape[1] > MAX_PIXELS:
        raise ValueError(f"oversized: {values.shape[1]} x {values.shape[0]} pixels, {MAX_PIXELS:,} are allowed")
    most = VOID_VALUE if values.ndim == 3 else LARGEST
    if values.dtype.kind not in "biuf":
        raise ValueError(f"values of the kind {values.dtype} stand for no class; give whole numbers")
    if not ((values >= 0) & (values <= most) & (values == np.floor(values))).all():
        raise ValueError(f"a mask holds whole numbers from 0 to {most:,}")
    return _png(Image.fromarray(values.astype(np.uint8 if values.max() <= VOID_VALUE else np.uint16)))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def as_pool(name: str, ids: Sequence[str], source: ImageSource) -> Pool:
    """Encoded masks as the images of a pool, so that they are read with its patience."""
    return Pool(name, ids, None, source)
