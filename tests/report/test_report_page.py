"""The page of a simulation: what it says, and how it looks on a phone and in the dark."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from activetune import Embeddings
from activetune.base.artefact import write_manifest
from activetune.features.artefact import save_embeddings
from activetune.report import write_report


def pages_of(tmp_path: Path, seeds: int) -> str:
    """The page of a made-up simulation of two recipes, without a map."""
    folder = tmp_path / f"made-{seeds}"
    folder.mkdir()
    header = "recipe,method,budget,seed,top1,balanced_accuracy,select_seconds\n"
    lines = [
        f"{recipe},{method},{budget},{seed},{base + 0.01 * seed + 0.1 * (method == 'b')},0.5,0.1\n"
        for recipe, base in (("linear_probe", 0.2), ("full", 0.7))
        for method in ("a", "b")
        for budget in ("10", "20")
        for seed in range(seeds)
    ]
    (folder / "results.csv").write_text(header + "".join(lines))
    (folder / "failed.csv").write_text("method,recipe,budget,seed,error\n")
    about = {
        **{"methods": ["a", "b"], "recipes": ["linear_probe", "full"], "seeds": list(range(seeds)), "rounds": []},
        **{"budgets": [{"text": "10", "k": 10}, {"text": "20", "k": 20}], "pool_name": "p", "test_name": "t"},
        **{"pool_items": 100, "test_items": 50, "classes": 2, "largest_class": 50, "smallest_class": 50},
        **{"made_from": {"backbone": "bundled"}, "start": "random"},
    }
    write_manifest(folder, "simulation", about)
    save_embeddings(Embeddings(["x"], np.zeros((1, 2), dtype=np.float32)), folder / "embeddings/pool")
    return write_report(folder, quiet=True).read_text(encoding="utf-8")


def test_recipes_share_an_axis_ranks_come_once_and_one_seed_is_warned_of(tmp_path: Path) -> None:
    one, three = pages_of(tmp_path, 1), pages_of(tmp_path, 3)
    assert "One seed shows nothing for sure" in one and "One seed shows nothing" not in three
    charts = re.findall(r'<svg class="broad"[^>]*aria-label="top-1 on the test set.*?</svg>', three)
    ticks = [re.findall(r'text-anchor="end">(\d+)</text>', chart) for chart in charts]
    assert len(ticks) == 2 and ticks[0] == ticks[1] and {"20", "80"} <= set(ticks[0])
    assert three.count("mean rank") == 1 and "<th>rank</th>" not in three


def test_the_page_has_room_on_a_phone_and_no_white_ground_in_the_dark(tmp_path: Path) -> None:
    page = pages_of(tmp_path, 3)
    tables = page.count("<table>")
    assert tables and len(re.findall('<div class="wide[^"]*"><table>', page)) == tables  # each scrolls in itself
    assert page.count('<svg class="broad"') == page.count('<svg class="narrow"') > 0
    style = page[page.index("<style>") : page.index("</style>")]
    assert "color-scheme: light dark" in style and "prefers-color-scheme: dark" in style
    colours = set(re.findall(r"var\((--[a-z0-9]+)\)", page))
    light, dark = (re.findall(r"(--[a-z0-9]+): #", part) for part in style.split("prefers-color-scheme: dark")[:2])
    assert colours <= set(light) and colours <= set(dark)
