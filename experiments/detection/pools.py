"""BCCD's training and test images as two folders, with the annotations of all beside them.

python experiments/detection/pools.py --data DIR

DIR holds ``bccd.zip``: ``bccd/{JPEGImages,Annotations,ImageSets/Main}`` as in Pascal VOC. Run it before
``run.py``, with the same --out.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of bccd.zip")
    parser.add_argument("--out", type=Path, default=Path("build/detection"))
    options = parser.parse_args()
    with zipfile.ZipFile(options.data / "bccd.zip") as archive:
        for part in ("train", "test"):
            for name in archive.read(f"bccd/ImageSets/Main/{part}.txt").decode().split():
                _put(archive, f"bccd/JPEGImages/{name}.jpg", options.out / "bccd" / part / "images" / f"{name}.jpg")
                _put(archive, f"bccd/Annotations/{name}.xml", options.out / "bccd" / part / "labels" / f"{name}.xml")


def _put(archive: zipfile.ZipFile, member: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive.read(member))


if __name__ == "__main__":
    main()
