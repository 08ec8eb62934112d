"""Masks as a folder of PNG files, and the names of pictures in an output folder."""

from __future__ import annotations

import base64
import io
import posixpath
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from activetune.base.errors import UsageError, some
from activetune.base.files import sweep_all, write_bytes
from activetune.base.fingerprint import digest_bytes
from activetune.base.tables import header_of, read_table, write_csv
from activetune.data.formats import is_image_name
from activetune.data.kinds import VOID, Mask
from activetune.tasks._forms._form import Form, Row
from activetune.tasks._pictures import colours, with_mask

FILES = (".csv", ".json", ".jsonl", ".npy", ".npz", ".parquet", ".tar", ".tsv", ".txt", ".zip")


class Masks(Form):
    """A folder of PNG masks beside the images' names, with ``classes.csv`` and ``masks.csv`` (id, file).

    A pixel's value is the position of its class; more than 255 classes make 16-bit masks. ``classes.csv`` has the
    columns name, value, red, green, blue, and the masks of up to 255 classes are shown in these colours.

    Args:
        classes: C names.
    """

    suffix: ClassVar[str] = ""
    header: ClassVar[tuple[str, ...]] = ("id", "file", "digest")

    def __init__(self, classes: Sequence[str]):
        self.classes = classes
        self.colours_C3 = colours(len(classes))

    def file(self, out: Path) -> Path:
        """See :class:`Form`."""
        if out.suffix.lower() in FILES or is_image_name(out.name):  # others, as of "run_0.25", are part of a name
            raise UsageError(f"{out}: masks are written to a folder; give one, for instance {out.with_suffix('')}")
        return out / "masks.csv"

    def own(self, file: Path) -> bool:
        """See :class:`Form`."""
        return header_of(file) == self.header

    def prepare(self, file: Path, ids: Sequence[str], *, overwrite: bool, cut_off: bool) -> None:
        """See :class:`Form`: a folder that is empty or holds an earlier run's masks; others are never replaced."""
        if cut_off:
            return
        listed = set(read_table(file)["file"]) if self.own(file) else None
        refuse_others(file.parent, map(picture_name, ids), listed, "--out")
        super().prepare(file, ids, overwrite=overwrite, cut_off=cut_off)

    def refuse(self, ids: Sequence[str]) -> None:
        """See :class:`Form`: two images whose masks would have one name."""
        refuse_one_name(ids, "masks")

    def sweep(self, file: Path) -> None:
        """See :class:`Form`."""
        sweep_all(file.parent)

    def row(self, item: str, answer: Mask, file: Path | None) -> Row:
        """See :class:`Form`: the mask is written now."""
        name, content = picture_name(item), self._encoded(answer)
        if file is not None:
            write_bytes(file.parent / name, content)
        return item, name, digest_bytes(content)

    def record(self, item: str, answer: Mask) -> dict[str, Any]:
        """See :class:`Form`: the PNG itself, in base64."""
        height, width = answer.pixels().shape
        png = base64.b64encode(self._encoded(answer)).decode("ascii")
        return {"id": item, "height": height, "width": width, "png": png}

    def _encoded(self, mask: Mask) -> bytes:
        buffer = io.BytesIO()
        self._image(mask).save(buffer, format="PNG")
        return buffer.getvalue()

    def picture(self, image: Image.Image, row: Row, file: Path) -> Image.Image:
        """See :class:`Form`: the mask's colours over it."""
        with Image.open(file.parent / row[1], formats=["PNG"]) as mask:
            numbers_HW = np.asarray(mask).astype(np.int32)
        void = 255 if len(self.classes) <= 255 else 2**16 - 1
        return with_mask(image, np.where(numbers_HW == void, VOID, numbers_HW), self.classes)

    def _image(self, mask: Mask) -> Image.Image:
        pixels_HW = mask.pixels()
        if len(self.classes) > 255:
            return Image.fromarray(np.where(pixels_HW == VOID, 2**16 - 1, pixels_HW).astype(np.uint16))
        image = Image.fromarray(np.where(pixels_HW == VOID, 255, pixels_HW).astype(np.uint8)).convert("P")
        image.putpalette(self.colours_C3.flatten().tolist())
        return image

    def write(self, file: Path, rows: Sequence[Row]) -> None:
        """See :class:`Form`."""
        table = [
            (name, value, *colour)
            for value, (name, colour) in enumerate(zip(self.classes, self.colours_C3.tolist(), strict=True))
        ]
        before = [row[1:] for row in self.read(file, [])] if self.own(file) else []
        write_csv(file.with_name("classes.csv"), ("name", "value", "red", "green", "blue"), table)
        write_csv(file, self.header, rows)
        written, folder = {row[1] for row in rows}, file.parent.resolve()
        for name, digest in before:  # masks of images that the pool no longer has, as they were written
            mask = (folder / name).resolve()
            gone = name not in written and mask.is_relative_to(folder) and mask.is_file()
            if gone and digest_bytes(mask.read_bytes()) == digest:
                mask.unlink()

    def read(self, file: Path, items: Sequence[str]) -> list[Row]:
        """See :class:`Form`."""
        found = read_table(file)
        return [tuple(map(str, row)) for row in zip(*(found[name] for name in self.header), strict=True)]


def refuse_others(folder: Path, names: Iterable[str], listed: Collection[str] | None, option: str) -> None:
    """Refuse a folder for pictures that holds anything but those that were written there before.

    Args:
        names: of the pictures to write. listed: of those that were written there before; None: nothing was.
        option: that names the folder.

    Raises:
        UsageError: it does.
    """
    present = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    if present and listed is None:
        raise UsageError(
            f"the folder {folder} is not empty (it holds {some(present)}), and none of it was written by this command; "
            f"nothing was written: choose another {option}"
        )
    others = [name for name in names if name not in (listed or ()) and (folder / name).exists()]
    if others:
        raise UsageError(
            f"{some(others)} in {folder} would be replaced, and this command did not write them; nothing was written: "
            f"choose another {option}"
        )


def refuse_one_name(ids: Iterable[str], what: str) -> None:
    """Refuse items whose pictures would have one name.

    Args:
        what: they are, for the message.

    Raises:
        UsageError: two of them would, such as ``a.jpg`` and ``a.png``.
    """
    first: dict[str, str] = {}
    for item in ids:
        other = first.setdefault(picture_name(item), item)
        if other != item:
            raise UsageError(f"the {what} of {other!r} and {item!r} would have one name; predict them apart")


def picture_name(item: str) -> str:
    """An item's picture below an output folder: its id with the suffix ``.png``, never outside of it.

    >>> picture_name("day/0001.jpg"), picture_name("../../etc/a.jpg"), picture_name("clip.mp4#000250")
    ('day/0001.png', '__/__/etc/a.png', 'clip.mp4#000250.png')
    """
    parts = [part for part in item.replace("\\", "/").replace("\0", "_").split("/") if part not in ("", ".")]
    *folders, name = ["__" if part == ".." else part for part in parts] or ["_"]
    stem = posixpath.splitext(name)[0] if is_image_name(name) else name  # a frame of a video has no such suffix
    return posixpath.join(*folders, f"{stem}.png")
