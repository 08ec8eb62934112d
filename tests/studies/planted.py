"""A pool of real photographs with known faults planted in it: the two that come with scikit-learn, cut into tiles."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageEnhance, ImageFilter, ImageStat

TILE, PLAIN = 96, 35  # pixels per side; standard deviation of grey values below which a tile is sky or shadow
FAULTS = ("dark", "bright", "blurred", "grey", "blank", "odd_aspect", "odd_size", "exact_duplicate", "near_duplicate")


def tiles() -> list[Image.Image]:
    """Parts of two photographs that have some contrast, none like another."""
    from sklearn.datasets import load_sample_images

    found = []
    for picture in load_sample_images().images:
        image = Image.fromarray(picture)
        for top in range(0, image.height - TILE + 1, TILE):
            for left in range(0, image.width - TILE + 1, TILE):
                found.append(image.crop((left, top, left + TILE, top + TILE)))
    return [tile for tile in found if ImageStat.Stat(tile.convert("L")).stddev[0] > PLAIN]


def plant(folder: Path) -> dict[str, str]:
    """Write the pool, and return the id of the image with each fault."""
    folder.mkdir(parents=True)
    good = tiles()
    for number, tile in enumerate(good):
        tile.save(folder / f"good_{number:02d}.png")
    first, second, third, fourth = good[0], good[9], good[14], good[12]
    encoded = io.BytesIO()
    third.resize((80, 80)).save(encoded, "JPEG", quality=60)
    strip = Image.new("RGB", (5 * TILE, TILE))
    for number, tile in enumerate(good[3:8]):
        strip.paste(tile, (number * TILE, 0))
    faulty = {
        "dark": ImageEnhance.Brightness(first).enhance(0.12),
        "bright": second.point(lambda value: 245 + value // 25),
        "blurred": fourth.filter(ImageFilter.GaussianBlur(4)),
        "grey": good[21].convert("L"),
        "blank": Image.new("RGB", (TILE, TILE), (120, 130, 140)),
        "odd_aspect": strip,
        "odd_size": fourth.rotate(90).resize((12 * TILE, 11 * TILE)),
        "exact_duplicate": second,
        "near_duplicate": Image.open(encoded),
    }
    for kind, image in faulty.items():
        image.save(folder / f"z_{kind}.png")
    (folder / "z_unreadable.jpg").write_bytes(b"no image")
    return {kind: f"z_{kind}.png" for kind in faulty} | {"unreadable": "z_unreadable.jpg"}
