"""The sentences of docs/scaling.md and docs/operations.md; their tables are made by ``scale_tables.py``."""

# Pieces of pages stand in one line, however long.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from claims import Claim, checked
from scale_tables import PROCESSES
from stored import read

PAGE = "docs/scaling.md"


def level(pool: str, way: str, name: str) -> float:
    """A figure of a way of selecting, mean over the seeds."""
    rows = read("benchmarks/levels.json")["rows"]
    return float(np.mean([row[name] for row in rows if (row["pool"], row["way"]) == (pool, way)]))


def pools() -> list[str]:
    return list(dict.fromkeys(row["pool"] for row in read("benchmarks/levels.json")["rows"]))


def two_levels() -> tuple[Any, ...]:
    """The most that 4 or 16 partitions add to the distance and take from the accuracy, and what swaps do."""
    ways = [f"activeft, {count} partitions" for count in (4, 16)]
    one, refined = "activeft, one level", "activeft, 16 partitions, refined"
    farther = max(100 * (level(pool, way, "emd") / level(pool, one, "emd") - 1) for pool in pools() for way in ways)
    lost = max(100 * (level(pool, one, "top1") - level(pool, way, "top1")) for pool in pools() for way in ways)
    near = all(level(pool, refined, "emd") <= level(pool, one, "emd") for pool in pools())
    return f"{farther:.1f}", f"{lost:.1f}", checked(near, "no larger", "larger")


def far_apart() -> tuple[str, ...]:
    """Points that ``k_center`` loses or gains by 16 partitions, pool by pool."""
    one, many = "k_center, one level", "k_center, 16 partitions"
    first, second = (100 * (level(pool, many, "top1") - level(pool, one, "top1")) for pool in pools())
    return f"{-first:.1f}", pools()[0], f"{second:.1f}", pools()[1]


def photo(noise: int) -> Mapping[str, Any]:
    """A row of ``photos.json``."""
    (row,) = (row for row in read("benchmarks/photos.json")["rows"] if row["noise"] == noise)
    return dict(row)


def large_photos() -> tuple[str, ...]:
    row = photo(7)
    least, whole = row["parts_ms"]["decoding, an eighth"], row["enough_ms"]
    known = sum(row["parts_ms"][name] for name in ("reading", "digest", "decoding, enough", "preparing", "model"))
    smooth = photo(0)
    return (
        f"{row['megabytes']:.1f}",
        f"{row['times']:.1f}",
        f"{least:.0f}",
        f"{whole:.0f}",
        f"{100 * known / whole:.0f}",
        f"{smooth['megabytes']:.1f}",
        f"{smooth['times']:.1f}",
    )


def long_run() -> tuple[str, ...]:
    few, many = sorted(read("benchmarks/long_run.json")["rows"], key=lambda one: one["images"])
    return tuple(told for row in (few, many) for told in (f"{row['embed']['peak_own_mb']:,}", f"{row['images']:,}"))


def beside_features() -> tuple[str]:
    """Gigabytes that ``select`` took beside the float32 features of the bundled network."""
    row = max(read("benchmarks/long_run.json")["rows"], key=lambda one: one["images"])
    return (f"{(row['select']['peak_own_mb'] - 4 * row['images'] * 512 / 1e6) / 1000:.1f}",)


CLAIMS = {
    "docs/operations.md": [
        Claim("`embed` took {} MB at most for {} and {} for {} (", long_run),
        Claim("and {} GB at most beside them.", beside_features),
    ],
    PAGE: [
        Claim(
            "`activeft` in partitions has a distance up to {} % larger and loses up to {} points; with `--refine` its distance is {} than at one level.",
            two_levels,
        ),
        Claim("`k_center` loses {} points on {} and gains {} on {}.", far_apart),
        Claim(
            "Photos of {} MB are embedded {} times as fast, and hardly more can be had: {} of the {} ms go into unpacking coefficients, and the parts come to {} % of the whole. Smooth photos of {} MB gain more: {} times.",
            large_photos,
        ),
        Claim("so {} of them need {} cores.", lambda: (PROCESSES, f"{16 * PROCESSES:,}")),
    ],
}

GIVEN = {
    PAGE: [
        "Ray Data 111 s, Daft 195 s, measured by",
        "images of 0.1 MB",
        "Disks and the network of each machine are taken for 1 GB/s.",
    ]  # what others have published, and what the plan assumes
}
