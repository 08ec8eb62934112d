"""Cut the cells of BCCD's smears into the images of ``activetune demo``: one zip, the same bytes each time.

    python experiments/blood_cells/cut.py bccd.zip src/activetune/studies/demo/blood_cells/cells.zip

BCCD's own lists divide the smears: cells of its list ``train`` are the pool, those of ``test`` are held out, so
that no smear has cells on both sides. Every box of these lists is cut, but for those of less than 16 pixels: how many
cells there are of each class is what the microscope saw. A cut is a square with a little of what surrounds the cell,
moved inwards at the border of the smear, and 96 pixels wide as the bundled backbone reads it.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

NAMES = {"RBC": "red", "WBC": "white", "Platelets": "platelet"}
SIDES = {"train": "pool", "test": "test"}  # a list of BCCD, and what its smears are here
LEAST, MARGIN, WIDTH, QUALITY = 16, 1.15, 96, 75
THEN = (2017, 1, 1, 0, 0, 0)  # an entry's time is part of the zip's bytes

Box = tuple[str, int, int, int, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bccd", type=Path, help="zip with BCCD's Annotations, ImageSets and JPEGImages")
    parser.add_argument("out", type=Path, help="the zip to write")
    given = parser.parse_args()
    with zipfile.ZipFile(given.bccd) as bccd, zipfile.ZipFile(given.out, "w", zipfile.ZIP_STORED) as out:
        for name, content in cells(bccd):
            out.writestr(zipfile.ZipInfo(name, THEN), content)


def cells(bccd: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    """``pool/red/00001-00.webp``: side, class, smear and number of a cell, with its picture."""
    (root,) = {name.partition("JPEGImages/")[0] for name in bccd.namelist() if "JPEGImages/" in name}
    for listing, side in SIDES.items():
        for smear in sorted(bccd.read(f"{root}ImageSets/Main/{listing}.txt").decode().split()):
            image = Image.open(io.BytesIO(bccd.read(f"{root}JPEGImages/{smear}.jpg"))).convert("RGB")
            for number, box in enumerate(boxes(bccd.read(f"{root}Annotations/{smear}.xml"))):
                name = f"{side}/{NAMES[box[0]]}/{smear.removeprefix('BloodImage_')}-{number:02d}.webp"
                yield name, picture(image, box)


def boxes(annotation: bytes) -> list[Box]:
    """The boxes of a smear that are large enough, in their order."""
    found = []
    for entry in ElementTree.fromstring(annotation).iter("object"):
        left, top, right, bottom = (
            int(entry.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")
        )
        if min(right - left, bottom - top) >= LEAST:
            found.append((entry.findtext("name", ""), left, top, right, bottom))
    return found


def picture(image: Image.Image, box: Box) -> bytes:
    """The square around a box, as WebP."""
    _, left, top, right, bottom = box
    side = min(max(right - left, bottom - top) * MARGIN, *image.size)
    x = min(max((left + right - side) / 2, 0), image.width - side)
    y = min(max((top + bottom - side) / 2, 0), image.height - side)
    square = image.crop((round(x), round(y), round(x + side), round(y + side)))
    written = io.BytesIO()
    square.resize((WIDTH, WIDTH), Image.Resampling.LANCZOS).save(written, "WEBP", quality=QUALITY, method=6)
    return written.getvalue()


if __name__ == "__main__":
    main()
