"""Write the pictures of docs/label.md: the labelling page in a real Chromium, with handwritten digits.

python docs/make_label_pictures.py

The digits are scikit-learn's, 8 x 8 pixels each. A script gives the first answers, which are known; the suggestions are
the page's own. Needs playwright and Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import activetune

HERE = Path(__file__).parent / "pictures"
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
POOL, PICKS, GIVEN = 600, 200, 60
SAVED = "() => document.querySelector('.saved').textContent === 'saved'"


def main() -> None:
    """Select, label, and take the pictures."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        answers = write_pool(folder / "digits")
        activetune.embed(folder / "digits", out=folder / "emb", quiet=True)
        activetune.select(folder / "emb", budget=PICKS, out=folder / "digits-200", quiet=True)
        command = [sys.executable, "-m", "activetune", "label", str(folder / "digits-200"), "--no-browser"]
        server = subprocess.Popen([*command, "--classes", ",".join(NAMES)], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            found = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            take(browser, url, answers)
            browser.close()
        finally:
            server.terminate()
            server.wait()


def write_pool(folder: Path) -> dict[str, str]:
    """The digits as PNG files; returns the class of each."""
    from sklearn.datasets import load_digits

    folder.mkdir()
    data, answers = load_digits(), {}
    for number in range(POOL):
        item = f"{number:04d}.png"
        Image.fromarray(np.round(data.images[number] * (255 / 16)).astype(np.uint8)).save(folder / item)
        answers[item] = NAMES[data.target[number]]
    return answers


def take(browser: Any, url: str, answers: dict[str, str]) -> None:
    """Label, and take a picture of each view."""
    page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="light")
    page.goto(url)
    page.wait_for_selector("body.ready")
    keys = dict(zip(NAMES, "123456789a", strict=True))
    for number in range(GIVEN):
        place = f"{number + 1} / {PICKS}"
        page.wait_for_function("text => document.querySelector('.place').textContent === text", arg=place)
        page.keyboard.press(keys[answers[page.locator(".id").inner_text()]])
    page.wait_for_function(SAVED)
    page.wait_for_selector(".suggestion")
    page.wait_for_timeout(8_000)  # the last fit, and the page asking for it
    shot(page, "label_single.webp")
    page.emulate_media(color_scheme="dark")
    page.keyboard.press("Shift+G")
    page.wait_for_selector(".cell")
    page.locator("#tools select").select_option("suggested")
    page.locator("header select").select_option("todo")
    box = page.locator("#scroll").bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    page.mouse.down()
    page.mouse.move(box["x"] + 700, box["y"] + 260, steps=5)
    page.mouse.up()
    page.wait_for_selector(".cell.selected")
    shot(page, "label_grid.webp")
    phone = browser.new_page(viewport={"width": 390, "height": 780}, color_scheme="light")
    phone.goto(url)
    phone.wait_for_selector("body.ready")
    phone.wait_for_selector("#stage img")
    phone.wait_for_selector(".suggestion")
    shot(phone, "label_phone.webp")


def shot(page: Any, name: str) -> None:
    """The window, once its pictures are there."""
    page.wait_for_function("() => [...document.images].every((image) => image.complete)")
    page.wait_for_timeout(300)
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        page.screenshot(path=file.name)
        Image.open(file.name).convert("RGB").save(HERE / name, quality=80, method=6)


if __name__ == "__main__":
    main()
