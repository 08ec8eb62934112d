"""The page of ``activetune report`` at size, in a real Chromium: how many bytes it takes, and how soon it is there.

python benchmarks/report.py --items 10000

Pictures are drawn (JPEG, 64 x 64, coarse noise), their ids are of the length and the form of ImageNet's, their features
are random: the page is that of a selection of 500 of them, with its map. Measured: bytes of the page and of the tiles
beside it, seconds of writing them, and in a Chromium that opens it from disk the time to the first paint, and that from
scrolling to the map until it is drawn (in ms, medians of three), and what the console says. Rows of other numbers of
items stay in --out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import keep_row

import activetune
from activetune import Embeddings
from activetune.features.artefact import save_embeddings

CHROMIUM = "/usr/bin/chromium"
ROUNDS = 3
PICKS, SIZE = 500, 192  # of the selection; numbers of an item's features
DISTINCT = 500  # pictures that are drawn; the others are the same files under other names
EACH = 100  # items of a class
PAINTED = "performance.getEntriesByName('first-contentful-paint').map((entry) => entry.startTime)[0]"
DRAWN = """async () => {
  const map = document.querySelector("[data-map]"), begun = performance.now();
  map.scrollIntoView({ behavior: "instant" });
  while (!map.dataset.ready) await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return performance.now() - begun;
}"""


def main() -> None:
    """Measure, and keep the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sel = write_selection(Path(folder), asked.items)
        started = time.perf_counter()
        path = activetune.write_report(sel, quiet=True)
        seconds = round(time.perf_counter() - started, 1)
        row = {"items": asked.items, "write_s": seconds, **sizes(path), **opened(path)}
    print(json.dumps(row, indent=2))
    keep_row(asked.out, row, ("items",))


def write_selection(folder: Path, count: int) -> Path:
    """A pool of drawn pictures with features drawn at random, and a selection from it."""
    rng = np.random.default_rng(0)
    classes = rng.choice(np.arange(1_400_000, 15_100_000), -(-count // EACH), replace=False)
    names = [f"n{classes[number // EACH]:08d}" for number in range(count)]
    ids = [f"train/{name}/{name}_{number:05d}.JPEG" for number, name in zip(rng.permutation(count), names, strict=True)]
    for number, item in enumerate(ids):
        path = folder / "pool" / item
        path.parent.mkdir(parents=True, exist_ok=True)
        if number >= DISTINCT:
            path.hardlink_to(folder / "pool" / ids[number % DISTINCT])
            continue
        coarse = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BILINEAR).save(path, "JPEG", quality=90)
    features = rng.normal(size=(count, SIZE)).astype(np.float16)
    order = np.argsort(ids)
    made_from = {"pool": str(folder / "pool"), "pool_path": str(folder / "pool"), "backbone": "none"}
    embeddings = Embeddings([ids[row] for row in order], features, [names[row] for row in order], made_from)
    save_embeddings(embeddings, folder / "emb")
    activetune.select(folder / "emb", budget=min(PICKS, count // 2), method="random", out=folder / "sel", quiet=True)
    return folder / "sel"


def sizes(path: Path) -> dict[str, float]:
    """Megabytes of a page, and of the tiles beside it."""
    beside = path.parent / "report_files"
    tiles = sum(file.stat().st_size for file in beside.iterdir()) if beside.is_dir() else 0
    return {"page_mb": round(path.stat().st_size / 1e6, 2), "tiles_mb": round(tiles / 1e6, 2)}


def opened(path: Path) -> dict[str, Any]:
    """How soon a page is there when a browser opens it anew, and what its console says."""
    from playwright.sync_api import sync_playwright

    painted, drawn, said = [], [], []
    with sync_playwright() as playwright:
        for _ in range(ROUNDS):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(path.resolve().as_uri())
            page.wait_for_function(f"() => {PAINTED} !== undefined")
            painted.append(page.evaluate(PAINTED))
            drawn.append(page.evaluate(DRAWN))
            browser.close()
    ms = {"first_paint_ms": painted, "map_ms": drawn}
    return {**{name: round(statistics.median(times)) for name, times in ms.items()}, "said": said}


if __name__ == "__main__":
    main()
