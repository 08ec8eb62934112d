"""A pool of very many small JPEGs, embedded and selected from by the commands; their memory while they run.

python benchmarks/long_run.py --images 1000000 [--budget 10000] [--folder DIR] [--out benchmarks/long_run.json]

Makes the images (about 6 KB each, 128 pixels a side), runs `activetune embed` with the bundled backbone and `activetune
select`, and every few seconds notes what these processes hold of memory. Pages that several processes share count once.
Writes a row, with the samples, and draws the figure beside it. DIR is kept; images that it holds are not made again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import keep_row

SIDE, QUALITY = 128, 85
A_FOLDER = 1_000  # images
SCENES = 500  # that the images are variations of
KEPT = 240  # samples of a stage, at most
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--budget", type=int, default=10_000)
    parser.add_argument("--method", default="activeft")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--folder", type=Path, help="where images and results are kept; default: a temporary one")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        size = make_images(folder / "images", options.images)
        embedding, selection = folder / f"embedding-{options.images}", folder / f"selection-{options.images}"
        os.environ["ACTIVETUNE_CACHE"] = str(folder / "cache")
        row: Row = {"images": options.images, "megabytes": round(size / 1e6), "budget": options.budget}
        row |= {"method": options.method, "load": round(os.getloadavg()[0], 1)}
        asked = ["embed", folder / "images", "--out", embedding, "--overwrite"]
        row["embed"] = watched(asked, options.every)
        row["embed"] |= {"images_per_second": round(figures_of(embedding)["images_per_second"], 1)}
        asked = ["select", embedding, "--budget", options.budget, "--method", options.method, "--out", selection]
        row["select"] = watched([*asked, "--overwrite"], options.every)
        row["select"] |= {"select_seconds": round(figures_of(selection)["seconds"], 1)}
        row["picks"] = len((selection / "selection.csv").read_text(encoding="utf-8").splitlines()) - 1
    print(json.dumps({**row, "embed": told(row["embed"]), "select": told(row["select"])}))
    keep_row(options.out, row, ("images", "budget", "method"))
    draw(row, options.out.with_suffix(".png"))


def told(stage: Row) -> Row:
    """A stage without its samples."""
    return {name: value for name, value in stage.items() if name != "samples"}


def figures_of(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["figures"]
    return found


# The images -----------------------------------------------------------------------------------------------------------


def make_images(folder: Path, count: int) -> int:
    """Write the images that a folder lacks; the bytes of all. Image n is the same in a pool of any size."""
    size = 0
    scenes = np.random.default_rng(0).uniform(0, 255, (SCENES, 8, 8, 3))
    for number in range(count):
        path = folder / f"{number // A_FOLDER:04d}" / f"{number:07d}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(scenes, number))
        size += path.stat().st_size
    return size


def picture(scenes: np.ndarray, number: int) -> bytes:
    """A scene in other colours, with grain, as a JPEG."""
    rng = np.random.default_rng([1, number])
    coarse = scenes[rng.integers(SCENES)] + rng.normal(0, 40, (8, 8, 3))
    smooth = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    grain = rng.integers(-12, 13, (SIDE, SIDE, 1), dtype=np.int16)
    encoded = io.BytesIO()
    Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)).save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()


# A command and its memory ---------------------------------------------------------------------------------------------


def watched(words: Sequence[object], every: float) -> Row:
    """Run a command to its end: seconds, processor seconds, and its memory at every sample."""
    line = [sys.executable, "-m", "activetune", *map(str, words), "--quiet"]
    started, clock = time.perf_counter(), os.times()
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    sampler = Sampler(process.pid, every)
    if process.wait():
        raise SystemExit(f"'{' '.join(line)}' ended with {process.returncode}")
    sampler.join()
    spent = os.times()
    processor = spent.children_user + spent.children_system - clock.children_user - clock.children_system
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(processor, 1),
        **sampler.summary(),
    }


class Sampler(threading.Thread):
    """Every few seconds: the memory of a process and all that it started, and the part of it that is no file's."""

    def __init__(self, process: int, every: float):
        super().__init__(daemon=True)
        self.process, self.every = process, every
        self.samples: list[tuple[float, float, float]] = []  # seconds, MB, MB without files
        self.start()

    def run(self) -> None:
        started = time.perf_counter()
        while True:
            try:
                first = psutil.Process(self.process)
                family = [first, *first.children(recursive=True)]
                if first.status() == psutil.STATUS_ZOMBIE:
                    return
            except psutil.NoSuchProcess:
                return
            found = [memory_of(one.pid) for one in family]
            whole, own = (sum(one[place] for one in found) for place in (0, 1))
            self.samples.append((round(time.perf_counter() - started, 1), round(whole, 1), round(own, 1)))
            time.sleep(self.every)

    def summary(self) -> Row:
        """The peaks; medians of the second and the last quarter of the run, which are alike where memory is flat."""
        own = [sample[2] for sample in self.samples]
        quarter = max(1, len(own) // 4)
        step = -(-len(self.samples) // KEPT)
        return {
            "peak_mb": round(max(sample[1] for sample in self.samples)),
            "peak_own_mb": round(max(own)),
            "second_quarter_own_mb": round(statistics.median(own[quarter : 2 * quarter] or own)),
            "last_quarter_own_mb": round(statistics.median(own[-quarter:])),
            "samples": self.samples[::step],
        }


def memory_of(process: int) -> tuple[float, float]:
    """MB of a process, shared pages by their share; and those that are no file's. Zeros of one that has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    except OSError:
        return 0.0, 0.0
    values = {line.split()[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines}
    return values["Pss:"], values["Pss_Anon:"]


def draw(row: Row, path: Path) -> None:
    """Memory along the time of both commands."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    titles = (f"embed, {row['images']:,} images", f"select, {row['budget']:,} of them")
    for panel, stage, title in zip(panels, ("embed", "select"), titles, strict=True):
        seconds, whole, own = zip(*row[stage]["samples"], strict=True)
        panel.plot([one / 60 for one in seconds], whole, label="with mapped files")
        panel.plot([one / 60 for one in seconds], own, label="own memory")
        panel.set(xlabel="minutes", ylabel="MB", title=title, ylim=(0, None))
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
