"""The page of ``activetune label`` in a real Chromium: how long the next image takes, and how many labels it stands.

python benchmarks/labelling.py --images 10000

Pictures are drawn (JPEG, 640 x 480, a number on a coloured ground); the selection has all of them. Measured: from the
press of a key until the next image is drawn, key by key (median and 95th percentile, in ms); labels per second of a
script that presses keys in the single view, and of one that drags a frame around a screen of images and presses one
key, until all are saved; whether labels.csv then holds each of them; frames while the grid is scrolled from end to end;
and how long it takes to fit the suggestions to 2,000 answers anew and read them for all images, by features and
classes. A person gives about 70 single labels per minute (Speed Labeling, Graphics Interface 2024). Rows of other
numbers of images stay in --out.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import keep_row

from activetune.features.distances import unit_rows
from activetune.labelling.suggestions import Known, suggested_by_labels
from activetune.selection.artefact import Selection, save_selection

CLASSES = ["apple", "pear", "plum"]
CHROMIUM = "/usr/bin/chromium"
TIMED, FAST, SCREENS = 200, 400, 12  # keys timed one by one; keys pressed as fast as may be; screens of the grid
ANSWERED = 2_000  # of the images, when suggestions are fitted anew
DISTINCT = 500  # pictures that are drawn; the others are copies of them
SAVED = "() => document.querySelector('.saved').textContent === 'saved'"


def main() -> None:
    """Measure, and keep the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sel = write_selection(Path(folder), asked.images)
        row = {"images": asked.images, **measured(sel), "refits": refits(asked.images)}
    print(json.dumps(row, indent=2))
    keep_row(asked.out, row, ("images",))


def refits(count: int) -> list[dict[str, float]]:
    """Seconds of fitting the suggestions anew and reading them for all images, on drawn features; a median of five."""
    rows = []
    for size, classes in ((192, 3), (192, 100), (512, 3), (512, 100)):  # ViT-Tiny's size, the bundled network's
        rng = np.random.default_rng(0)
        kinds = rng.integers(0, classes, count)
        features_ND = unit_rows((rng.normal(size=(classes, size))[kinds] + rng.normal(size=(count, size))).astype("f4"))
        answered = rng.permutation(count)[:ANSWERED].tolist()
        names = [f"class {number}" for number in range(classes)]
        known = Known(answered, [(names[kinds[row]],) for row in answered], names, len(answered))
        taken = []
        for _ in range(5):
            started = time.perf_counter()
            suggested_by_labels(features_ND, known, 1, multilabel=False)
            taken.append(time.perf_counter() - started)
        rows.append({"features": size, "classes": classes, "seconds": round(statistics.median(taken), 3)})
    return rows


def write_selection(folder: Path, count: int) -> Path:
    """A pool of drawn pictures, and a selection of all of them."""
    pool, sel = folder / "pool", folder / "sel"
    pool.mkdir(parents=True)
    sel.mkdir()
    rng = np.random.default_rng(0)
    ids = [f"{number:06d}.jpg" for number in range(count)]
    for number, item in enumerate(ids):
        if number >= DISTINCT:
            (pool / item).hardlink_to(pool / ids[number % DISTINCT])
            continue
        image = Image.new("RGB", (640, 480), tuple(int(value) for value in rng.integers(40, 200, 3)))
        ImageDraw.Draw(image).text((200, 160), str(number), font_size=160)
        image.save(pool / item, quality=85)
    manifest = {"pool": str(pool), "pool_path": str(pool), "n": count, "method": "all", "seed": 0}
    save_selection(Selection(ids, [0.0] * count, [""] * count, manifest), sel)
    return sel


def measured(sel: Path) -> dict[str, Any]:
    """The figures of a page."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "activetune", "label", str(sel), "--classes", ",".join(CLASSES), "--no-browser"]
    started = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        figures: dict[str, Any] = {"start_s": round(time.perf_counter() - started, 2)}
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            opened = time.perf_counter()
            page.goto(url)
            page.wait_for_selector("#stage img")
            figures["first_image_s"] = round(time.perf_counter() - opened, 2)
            page.wait_for_selector("body.ready", timeout=120_000)
            figures["all_loaded_s"] = round(time.perf_counter() - opened, 2)
            figures |= single(page)
            figures |= grid(page)
            figures |= scrolled(page)
            shown = int(page.locator(".progress b").inner_text().replace(",", ""))
            browser.close()
    finally:
        server.terminate()
        server.wait()
    with (sel / "labels.csv").open(encoding="utf-8", newline="") as file:
        kept = sum(bool(row["label"]) for row in csv.DictReader(file))
    return {**figures, "given": shown, "kept": kept, "lost": shown - kept}


def single(page: Any) -> dict[str, float]:
    """Keys one after the other, each once the image before is there; then without waiting."""
    times = "performance.getEntriesByName('next-image')"
    for number in range(TIMED):
        page.keyboard.press(str(1 + number % len(CLASSES)))
        page.wait_for_function(f"count => {times}.length >= count", arg=number + 1)
    took = page.evaluate(f"{times}.map((entry) => entry.duration)")
    started = time.perf_counter()
    for number in range(FAST):
        page.keyboard.press(str(1 + number % len(CLASSES)))
    page.wait_for_function(SAVED)
    seconds = time.perf_counter() - started
    return {
        "next_image_ms": round(statistics.median(took), 1),
        "next_image_p95_ms": round(statistics.quantiles(took, n=20)[-1], 1),
        "single_per_s": round(FAST / seconds, 1),
    }


def grid(page: Any) -> dict[str, float]:
    """A frame around each screen of images, and one key for all in it."""
    page.keyboard.press("Shift+G")
    page.wait_for_selector(".cell")
    box = page.locator("#scroll").bounding_box()
    before = int(page.locator(".progress b").inner_text().replace(",", ""))
    started = time.perf_counter()
    for number in range(SCREENS):
        page.mouse.move(box["x"] + 2, box["y"] + 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] - 40)
        page.mouse.up()
        page.keyboard.press(str(1 + number % len(CLASSES)))
        page.keyboard.press("PageDown")
    page.wait_for_function(SAVED)
    seconds = time.perf_counter() - started
    count = int(page.locator(".progress b").inner_text().replace(",", "")) - before
    return {"grid_labels": count, "grid_per_s": round(count / seconds, 1)}


def scrolled(page: Any) -> dict[str, float]:
    """Milliseconds between two frames while the grid moves by two thirds of a screen in each."""
    gaps = page.evaluate(
        """async () => {
          const scroll = document.getElementById("scroll");
          scroll.scrollTop = 0;
          const gaps = [];
          let before = await new Promise(requestAnimationFrame);
          for (let frame = 0; frame < 150; frame++) {
            scroll.scrollTop += 500;
            const now = await new Promise(requestAnimationFrame);
            gaps.push(now - before);
            before = now;
          }
          return gaps;
        }"""
    )
    return {
        "scroll_frame_ms": round(statistics.median(gaps), 1),
        "scroll_frame_p95_ms": round(statistics.quantiles(gaps, n=20)[-1], 1),
        "cells_in_page": page.locator(".cell").count(),
    }


if __name__ == "__main__":
    main()
