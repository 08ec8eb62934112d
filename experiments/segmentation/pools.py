"""CamVid as two folders of frames with their masks beside them, and the list of classes that the masks name.

python experiments/segmentation/pools.py --data DIR

DIR holds ``camvid.zip``: ``camvid/{train,test}/images/*.jpg``, and ``masks/*.png`` with the values 0 to 11, where 11 is
void. Run it before ``run.py``, with the same --out.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from subsets import CAMVID


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of camvid.zip")
    parser.add_argument("--out", type=Path, default=Path("build/segmentation"))
    options = parser.parse_args()
    with zipfile.ZipFile(options.data / "camvid.zip") as archive:
        archive.extractall(options.out, [name for name in archive.namelist() if "/val/" not in name])
    lines = [f"{name},{value}" for value, name in enumerate((*CAMVID, "void"))]
    for part in ("train", "test"):
        (options.out / "camvid" / part / "masks" / "classes.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
