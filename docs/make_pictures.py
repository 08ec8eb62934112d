"""Write the pictures of docs/tasks.md: what two models say of pages with handwritten digits that they have not seen.

python docs/make_pictures.py

The digits are scikit-learn's, 8 x 8 pixels each, at four to eight times their size; pages for training hold other
digits than those for the pictures. Models are the default heads on the bundled backbone, frozen.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import activetune
from activetune.data.kinds import ArrayMask, Boxes
from activetune.data.labels import Labels
from activetune.data.pool import Pool

HERE = Path(__file__).parent / "pictures"
CLASSES = ["background", "round", "straight"]
ROUND, STRAIGHT = "0689", "147"  # digits with a loop, and digits of lines; the others are left out
SIDE, TRAINING, SHOWN = 320, 80, 3
BACKBONES = {"segmentation": "bundled@640", "detection": "bundled@320"}


def main() -> None:
    """Train, predict and draw."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        pool, masks, boxes = pages(folder / "train", TRAINING, slice(0, 1200), seed=0)
        unseen, _, _ = pages(folder / "shown", SHOWN, slice(1200, None), seed=1)
        for task, labels, out in (("segmentation", masks, "masks"), ("detection", boxes, "boxes.json")):
            given: dict[str, Any] = {
                "backbone": BACKBONES[task],
                "recipe": "linear_probe",
                "settings": {"probe_views": 4},
            }
            model = activetune.finetune(pool, task=task, labels=labels, out=folder / task, **given)
            activetune.predict(model, unseen, out=folder / out, draw=folder / f"{task}-drawn")
            drawn = [Image.open(folder / f"{task}-drawn" / f"{number}.png") for number in range(SHOWN)]
            side_by_side(drawn).save(HERE / f"{task}.png", optimize=True)


def pages(folder: Path, count: int, digits: slice, *, seed: int) -> tuple[Pool, Labels[Any], Labels[Any]]:
    """Pages with four to seven digits, where their ink is, and their boxes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = data.images[digits]
    names = [str(target) for target in data.target[digits]]
    usable = [row for row, name in enumerate(names) if name in ROUND + STRAIGHT]
    rng = np.random.default_rng(seed)
    folder.mkdir()
    masks, boxes = [], []
    for number in range(count):
        ink = np.zeros((SIDE, SIDE))
        mask = np.zeros((SIDE, SIDE), dtype=np.int32)
        found: list[tuple[list[int], str]] = []
        for row in rng.choice(usable, int(rng.integers(4, 8))):
            scale = int(rng.integers(4, 9))
            digit = np.kron(images[row] / 16, np.ones((scale, scale)))
            left, top = (int(rng.integers(0, SIDE - 8 * scale)) for _ in range(2))
            place = (slice(top, top + 8 * scale), slice(left, left + 8 * scale))
            if mask[place].any():
                continue
            kind = "round" if names[row] in ROUND else "straight"
            ink[place] = digit
            mask[place][digit > 0.3] = CLASSES.index(kind)
            rows, columns = np.nonzero(digit > 0.3)
            corners = [left + columns.min(), top + rows.min(), left + columns.max() + 1, top + rows.max() + 1]
            found.append((corners, kind))
        paper = 225 + 12 * rng.standard_normal((SIDE, SIDE, 1)) + 8 * rng.standard_normal(3)
        pixels = np.clip(paper * (1 - 0.85 * ink[..., None]), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        masks.append(ArrayMask(mask))
        boxes.append(Boxes.of([corners for corners, _ in found], [kind for _, kind in found]))
    pool = activetune.open_pool(folder)
    ids = [f"{number}.png" for number in range(count)]
    return pool, Labels(ids, masks, CLASSES), Labels(ids, boxes, CLASSES[1:])


def side_by_side(images: list[Image.Image]) -> Image.Image:
    """Pictures in a row."""
    gap = 8
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    page = Image.new("RGB", (width, max(image.height for image in images)), (255, 255, 255))
    left = 0
    for image in images:
        page.paste(image, (left, 0))
        left += image.width + gap
    return page


if __name__ == "__main__":
    main()
