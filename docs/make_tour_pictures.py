"""Write the pictures of docs/tour.md and README.md, and docs/tour_photos.json: the figures of the part with photos.

python docs/make_tour_pictures.py --cells                      # the part with blood cells, and the demo's report
python docs/make_tour_pictures.py --data DIR --weights FILE    # the part with photos; DIR has caltech101.zip

Typed is what stands on the page, in its order, in a temporary folder; ``--weights`` goes with the backbone that is
named there, and without it the published weights are fetched. The photos lose their class folders, and a script labels
them in Chromium as a person does who knows every answer and has a keyboard: it looks at each image for a second and
types five keys a second; it accepts a suggestion that is right, presses the class's key where it has one, and otherwise
types the class's name until the list begins with it. Needs playwright and Chromium.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import machine

HERE = Path(__file__).parent
PAGE, FIGURES = HERE / "tour.md", HERE / "tour_photos.json"
PHOTOS = "## The same with photos"  # from here on the page tells of the photos
BACKBONE = "timm/vit_tiny_patch16_224"
HELD_OUT = 0.1  # of the photos
LOOK, KEY = 1000, 200  # milliseconds that the person looks at an image, and that a key takes
LARGEST = 120 * 1024  # bytes of a picture
WIDE = {"width": 1440, "height": 900}
SAVED = "() => document.querySelector('.saved').textContent === 'saved'"
CELLS = "(cells) => cells.map((one) => [one.id, one.getAttribute('aria-label'), one.innerText])"
NEXT_IMAGE = "before => document.querySelector('.id')?.textContent !== before"


def main() -> None:
    """Type the commands of a part, and take its pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    part = parser.add_mutually_exclusive_group(required=True)
    part.add_argument("--cells", action="store_true", help="the part with blood cells, and the demo's report")
    part.add_argument("--data", type=Path, help="the part with photos: a folder with caltech101.zip")
    parser.add_argument("--weights", type=Path, help=f"those of {BACKBONE}; otherwise they are fetched")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        if asked.cells:
            cells(Path(name), browser)
        else:
            photos(Path(name), browser, asked.data / "caltech101.zip", asked.weights)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, until the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("google-chrome")
        yield playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])


# The two parts -------------------------------------------------------------------------------------------------------


def cells(folder: Path, browser: Any) -> None:
    """The part with blood cells: half of them are labelled by keyboard, ``sed`` fills in the others."""
    for line in lines(PAGE.read_text(encoding="utf-8").partition(PHOTOS)[0]):
        if line.startswith("activetune label"):
            answers = {f"{path.parent.name}/{path.name}": path.parent.name for path in folder.glob("cells/*/*")}
            with labelling(folder, line) as url:
                page = opened(browser, url, {"width": 1200, "height": 760})
                Person(page, answers).label(45)
                shot(page, "tour_label")
        elif line.startswith("activetune "):
            activetune(folder, line)
        else:
            subprocess.run(line, shell=True, check=True, cwd=folder)
    page = opened(browser, (folder / "model/report.html").as_uri(), {"width": 1200, "height": 1500})
    shot(page, "tour_model")
    activetune(folder, "activetune demo --out build/demo")
    page = opened(browser, (folder / "build/demo/report.html").as_uri(), {"width": 1200, "height": 1130})
    shot(page, "report")


def photos(folder: Path, browser: Any, archive: Path, weights: Path | None) -> None:
    """The part with photos, and its figures."""
    answers = unpack(archive, folder)
    people: list[Person] = []
    for line in lines(PAGE.read_text(encoding="utf-8").partition(PHOTOS)[2]):
        if not line.startswith("activetune label"):
            given = f" --weights {shlex.quote(str(weights.resolve()))}" if weights and BACKBONE in line else ""
            activetune(folder, line + given)
            continue
        with labelling(folder, line) as url:
            people.append(Person(opened(browser, url), answers))
            count = people[-1].to_do()
            if len(people) == 1:
                people[-1].label(count // 2)
                people[-1].page.wait_for_selector(".suggestion")
                shot(people[-1].page, "tour_photos_label")
                grid(browser, url, answers)
                count -= count // 2
            people[-1].label(count)
    shown = {"tour_photos_picks": ("sel", ""), "tour_photos_model": ("model", "confusion")}
    shown["tour_photos_project"] = ("project", "")
    for name, (report, section) in shown.items():
        page = opened(browser, (folder / report / "report.html").as_uri())
        shot(page, name, f"section[id^={section}-]" if section else "")
    told = {**machine(), "command": "python docs/make_tour_pictures.py --data DIR --weights FILE"}
    FIGURES.write_text(json.dumps({**told, **figures(folder, people)}, indent=1) + "\n", encoding="utf-8")


def unpack(archive: Path, folder: Path) -> dict[str, str]:
    """``photos/`` without class folders, ``test/`` with them, and ``classes.txt``; returns the class of each photo."""
    answers = {}
    with zipfile.ZipFile(archive) as packed:
        names = sorted(name for name in packed.namelist() if name.endswith(".jpg"))
        random.Random(0).shuffle(names)
        for number, name in enumerate(names):
            answer, item = Path(name).parent.name, f"{number:04d}.jpg"
            held_out = number < HELD_OUT * len(names)
            path = folder / (f"test/{answer}" if held_out else "photos") / item
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(packed.read(name))
            if not held_out:
                answers[item] = answer
    (folder / "classes.txt").write_text("\n".join(sorted(set(answers.values()))) + "\n", encoding="utf-8")
    return answers


def figures(folder: Path, people: Sequence[Person]) -> dict[str, Any]:
    """What the page tells of a run."""

    def read(name: str) -> Any:
        return json.loads((folder / name).read_text(encoding="utf-8"))

    with (folder / "checked/findings.csv").open(newline="", encoding="utf-8") as file:
        kinds = [row["kind"] for row in csv.DictReader(file)]
    scores = {"audit": "model/scores.json", "test": "scores.json", "next": "next.json"}
    exported, (first, *_) = read("photos.onnx.report.json"), read("project/advice.json")["rounds"]
    return {
        "photos": len(list((folder / "photos").iterdir())),
        "classes": len((folder / "classes.txt").read_text(encoding="utf-8").split()),
        "found": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "labelling": [person.told() for person in people],
        "scores": {name: {key: read(path)[key] for key in ("top1", "n")} for name, path in scores.items()},
        "audit": first["audit"]["interval"],
        "onnx": {
            "difference": max(exported["differences"].values()),
            **{name: exported["scores"][name]["top1"] for name in ("pytorch", "exported")},
        },
        "gain": {name: first["gain"][name] for name in ("more", "gain", "low", "high")},
    }


# Typing and labelling ------------------------------------------------------------------------------------------------


def lines(text: str) -> list[str]:
    """What is typed on a page, line by line."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.replace("\\\n", "").splitlines()]


def activetune(folder: Path, line: str) -> None:
    """Run a command of activetune in a folder."""
    print(f"$ {line}", flush=True)
    subprocess.run([sys.executable, "-m", *shlex.split(line), "--quiet"], check=True, cwd=folder)


@contextmanager
def labelling(folder: Path, line: str) -> Iterator[str]:
    """The address of the labelling page that a command opens."""
    print(f"$ {line}", flush=True)
    words = [sys.executable, "-m", *shlex.split(line), "--no-browser"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=folder)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


def opened(browser: Any, url: str, size: dict[str, int] = WIDE) -> Any:
    """A page in light colours, once it is ready."""
    page = browser.new_page(viewport=size, color_scheme="light")
    page.goto(url)
    if url.startswith("http"):
        page.wait_for_selector("body.ready")
    return page


@dataclass
class Person:
    """Somebody at the labelling page who knows every answer."""

    page: Any
    answers: dict[str, str]
    pressed: int = 0
    labels: list[tuple[str, str]] = field(default_factory=list)  # the item, and how it was answered
    seconds: float = 0.0

    def to_do(self) -> int:
        """How many images wait for an answer."""
        done, total = re.findall(r"\d+", self.page.locator(".progress").inner_text())[:2]
        return int(total) - int(done)

    def label(self, count: int) -> None:
        """Answer the next images."""
        started = time.monotonic()
        for _ in range(count):
            before = self.labels[-1][0] if self.labels else ""
            self.page.wait_for_function(NEXT_IMAGE, arg=before)
            item = self.page.locator(".id").inner_text()
            self.page.wait_for_timeout(LOOK)
            self.labels.append((item, self.answer(self.answers[item])))
        self.page.wait_for_function(SAVED)
        self.seconds += time.monotonic() - started

    def answer(self, wanted: str) -> str:
        """Give a class to the image; returns how."""
        suggested = self.page.locator(".suggestion").all_inner_texts()
        if suggested and suggested[0].split()[1] == wanted:
            self.press("Enter")
            return "accepted"
        row = self.page.locator(".class", has=self.page.locator(f'.name[title="{wanted}"]'))
        if key := row.locator("kbd").inner_text():
            self.press(key)
            return "key"
        for letter in wanted.lower():
            self.press(letter)
            if self.page.locator(".class .name").first.inner_text() == wanted:
                break
        self.press("Enter")
        return "searched"

    def press(self, key: str) -> None:
        """Press a key, after the time that it takes."""
        self.page.wait_for_timeout(KEY)
        self.page.keyboard.press(key)
        self.pressed += 1

    def told(self) -> dict[str, Any]:
        """What the labelling took."""
        ways = [way for _, way in self.labels]
        counts = {way: ways.count(way) for way in ("accepted", "key", "searched")}
        return {"labels": len(ways), "seconds": round(self.seconds, 1), "keys": self.pressed, **counts}


def grid(browser: Any, url: str, answers: dict[str, str]) -> None:
    """A picture of the grid: the images of the class that is rightly suggested most often are selected."""
    page = opened(browser, url)
    page.keyboard.press("Shift+G")
    page.wait_for_selector(".cell")
    page.locator("#tools select").select_option("suggested")
    page.wait_for_timeout(KEY)
    right: dict[str, list[str]] = {}
    for cell, label, told in page.locator(".cell.suggested").evaluate_all(CELLS):  # at once, as suggestions go on
        item = label.partition(",")[0]
        if told == f"{answers[item]}?":
            right.setdefault(answers[item], []).append(cell)
    for cell in max(right.values(), key=len, default=[]):
        page.locator(f"#{cell}").click(modifiers=["Control"])
    shot(page, "tour_photos_grid")
    page.close()


# Pictures ------------------------------------------------------------------------------------------------------------


def shot(page: Any, name: str, part: str = "") -> None:
    """The window or a part of the page, once its pictures are there, at a quality that keeps it small."""
    page.wait_for_function("() => [...document.images].every((image) => image.complete)")
    page.wait_for_timeout(500)
    picture = Image.open(io.BytesIO((page.locator(part) if part else page).screenshot())).convert("RGB")
    for quality in range(80, 20, -10):
        file = io.BytesIO()
        picture.save(file, "webp", quality=quality, method=6)
        if len(file.getvalue()) <= LARGEST:
            break
    (HERE / "pictures" / f"{name}.webp").write_bytes(file.getvalue())


if __name__ == "__main__":
    main()
