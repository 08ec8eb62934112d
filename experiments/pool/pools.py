"""The pools of this experiment that no archive holds ready made.

python experiments/pool/pools.py --data DIR

DIR holds ``cifar10/``, ``bccd.zip`` and ``camvid.zip``. Run it before ``run.py``, with the same --out.

- ``cifar10.parquet``: 12,000 training images of CIFAR-10, drawn once; ``cifar10_lt.parquet``: a long tail of them all,
  class c of 0 to 9 keeps 5,000 / 100^(c / 9); ``cifar10_test.parquet``: 2,000 test images, for both.
- ``cells``: what BCCD draws boxes around, cut out with a quarter of the box around it, of images that train and of
  others that test; three classes, most of them red cells.
- ``scenes``: CamVid's frames by the class that most of their pixels show, those of the training part and of the test
  part; five classes, very uneven.
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from subsets import CAMVID, long_tailed

AROUND = 0.25  # of a box's longer side, on each side of it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("build/pool"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    small_images(options.data / "cifar10", options.out)
    cells(options.data / "bccd.zip", options.out / "cells")
    scenes(options.data / "camvid.zip", options.out / "scenes")


def small_images(data: Path, out: Path) -> None:
    """CIFAR-10, even and long-tailed."""
    train, test = (pq.read_table(data / f"{part}.parquet") for part in ("train", "test"))
    rng = np.random.default_rng(0)
    pq.write_table(train.take(np.sort(rng.permutation(train.num_rows)[:12_000])), out / "cifar10.parquet")
    pq.write_table(test.take(np.sort(rng.permutation(test.num_rows)[:2_000])), out / "cifar10_test.parquet")
    pq.write_table(long_tailed(train), out / "cifar10_lt.parquet")


def cells(archive: Path, out: Path) -> None:
    """A folder per class, of the parts ``train`` and ``test``."""
    with zipfile.ZipFile(archive) as files:
        for part in ("train", "test"):
            for name in files.read(f"bccd/ImageSets/Main/{part}.txt").decode().split():
                image = Image.open(io.BytesIO(files.read(f"bccd/JPEGImages/{name}.jpg"))).convert("RGB")
                found = ElementTree.fromstring(files.read(f"bccd/Annotations/{name}.xml")).iter("object")
                for number, one in enumerate(found):
                    box = [float(one.findtext(f"bndbox/{side}", "0")) for side in ("xmin", "ymin", "xmax", "ymax")]
                    place = out / part / str(one.findtext("name")) / f"{name}_{number}.png"
                    place.parent.mkdir(parents=True, exist_ok=True)
                    image.crop(around(box, image.size)).save(place)


def around(box: list[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A square around a box, as far as the image (width, height) goes."""
    left, top, right, bottom = box
    half = (0.5 + AROUND) * max(right - left, bottom - top, 2)
    x, y = (left + right) / 2, (top + bottom) / 2
    low = max(0, round(x - half)), max(0, round(y - half))
    return *low, max(low[0] + 1, min(size[0], round(x + half))), max(low[1] + 1, min(size[1], round(y + half)))


def scenes(archive: Path, out: Path) -> None:
    """A folder per class that most of a frame's pixels show."""
    with zipfile.ZipFile(archive) as files:
        for part in ("train", "test"):
            names = [name for name in files.namelist() if f"/{part}/masks/" in name and name.endswith(".png")]
            for name in names:
                mask = np.asarray(Image.open(io.BytesIO(files.read(name))))
                ((most, _),) = Counter(mask[mask < len(CAMVID)].tolist()).most_common(1)
                place = out / part / CAMVID[most] / f"{Path(name).stem}.jpg"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(files.read(name.replace("/masks/", "/images/").replace(".png", ".jpg")))


if __name__ == "__main__":
    main()
