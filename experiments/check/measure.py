"""What `activetune check` finds in published sets, how long it takes and what it holds in memory.

python experiments/check/measure.py --data DIR [--images DIR] [--sets "Caltech-101;COCO, 412 images"]

Every check with its default settings, in a process of its own, whose processor time and peak memory are told.
``--images`` is a folder of very many generated images, as ``benchmarks/long_run.py`` makes them: of these 100,000 are
checked.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import keep_sets

from activetune.data.opening import open_pool

SETS = {
    "CIFAR-10": ("$DATA/cifar10/train.parquet", "$DATA/cifar10/test.parquet"),
    "Tiny-ImageNet, 100 classes": ("$DATA/tiny_imagenet_100.parquet",),
    "Caltech-101": ("$DATA/caltech101.zip",),
    "COCO, 412 images": ("$DATA/coco_small.zip",),
    "BCCD": ("$DATA/bccd.zip",),
    "CamVid": ("$CAMVID/train/images", "$CAMVID/test/images"),
    "100,000 generated": ("$HUNDRED",),
}
FOLDERS = 100  # of generated images, 1,000 each
KEPT = Path(__file__).parent / "results/found.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=Path, help="what benchmarks/long_run.py has made")
    parser.add_argument("--sets", default=";".join(SETS), help="names with semicolons between")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        places = places_of(options.data, options.images, Path(folder))
        names = [name for name in options.sets.split(";") if options.images is not None or "generated" not in name]
        keep_sets(KEPT, names, lambda name: [measured(name, places, Path(folder) / "checked")])


def places_of(data: Path, images: Path | None, folder: Path) -> dict[str, str]:
    """Where the sets lie; CamVid's images are taken out of the archive, the first of the generated ones are linked."""
    subprocess.run(["unzip", "-q", "-n", str(data / "camvid.zip"), "-d", str(folder)], check=True)
    hundred = folder / "hundred"
    hundred.mkdir()
    for one in sorted(images.iterdir())[:FOLDERS] if images is not None else ():
        shutil.copytree(one, hundred / one.name, copy_function=os.link)
    return {"$DATA": str(data), "$CAMVID": str(folder / "camvid"), "$HUNDRED": str(hundred)}


def measured(name: str, places: dict[str, str], out: Path) -> dict[str, Any]:
    """A row: images, findings by kind, what is to be excluded, seconds and memory."""
    pool, *test = SETS[name]
    for mark, place in places.items():
        pool, test = pool.replace(mark, place), [one.replace(mark, place) for one in test]
    command = [sys.executable, "-m", "activetune", "check", pool, "--out", str(out), "--overwrite", "--quiet"]
    started = time.perf_counter()
    process = subprocess.Popen([*command, *(["--test", *test] if test else [])])
    _, status, used = os.wait4(process.pid, 0)  # of this process and of those that it has waited for
    if status:
        raise SystemExit(f"{name}: the check has failed")
    figures = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["figures"]
    return {
        "set": name,
        "test_images": len(open_pool(test[0], quiet=True)) if test else 0,
        "figures": figures,
        "seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": round(used.ru_maxrss / 1024),
    }


if __name__ == "__main__":
    main()
