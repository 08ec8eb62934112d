"""The tables of docs/operations.md and docs/scaling.md: what was measured, and what follows from it on paper."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from stored import ROOT, lines, read

D_MILLION = {"192 (ViT-Tiny)": 192, "384 (ViT-Small)": 384, "512 (bundled)": 512, "768 (ViT-Base)": 768}
NUMBER = 2  # bytes of a number in float16
DISK, NETWORK = 1e9, 1e9  # bytes per second that are assumed on paper
MACHINES, PROCESSES, POOL, SIZE = 8, 64, 100_000_000, 384


# Operations ---------------------------------------------------------------------------------------------------------


def operations() -> list[str]:
    """Sizes, then times and memory."""
    return [sizes(), times()]


def sizes() -> str:
    """Of a million items, by the length of a feature."""
    rows = []
    for name, size in D_MILLION.items():
        features = 1e6 * size * NUMBER / 1e9
        rows.append([name, f"{features:.1f}", f"{2 * features:.1f}", f"{features:.1f}"])
    return lines(["numbers per feature", "`features.npy`, GB", "while it is put together", "in the cache"], rows)


def times() -> str:
    """A line per measurement, with the machine that it was made on."""
    rows = [*_embeddings(), *_long_run(), *_selections(), *_pool_probe()]
    return lines(["what", "measured", "a million", "own memory at most", "machine"], rows)


def _embeddings() -> list[list[str]]:
    named = {"bundled": "`embed`, bundled, 96 px", "timm/vit_tiny_patch16_224": "`embed`, ViT-Tiny, 224 px"}
    found = [row for row in read("benchmarks/embedding.json")["rows"] if "embed" in row]
    found.append(max(read("benchmarks/embedding_gpu.json")["rows"], key=lambda row: row["embed"]))
    return [
        [named[row["backbone"]], _rate(row["embed"]), _hours(1e6 / row["embed"]), "", _machine(row)] for row in found
    ]


def _long_run() -> list[list[str]]:
    if not (ROOT / "benchmarks/long_run.json").exists():
        return []
    row = max(read("benchmarks/long_run.json")["rows"], key=lambda one: one["images"])
    busy = row["embed"]["processor_seconds"] * 1e6 / row["images"]
    memory = f"{row['embed']['peak_own_mb']:,} MB"
    told = f"{row['images']:,} JPEGs of 128 px in {_hours(row['embed']['processor_seconds'])} of one core"
    return [["`embed`, bundled, small files", told, f"{_hours(busy)} of one core", memory, _machine(row)]]


def _selections() -> list[list[str]]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import growth

    rows = []
    for row in growth.read_rows():
        if row["N"] == 10**6 and "targets" in row:
            told = f"{row['K']:,} of {row['N']:,}, 384 numbers each"
            seconds, memory = f"{row['seconds']:.0f} s", f"{row['peak_anonymous_mb']:,} MB"
            rows.append([f"`select --method {row['method']}`", told, seconds, memory, _machine(row)])
    return rows


def _pool_probe() -> list[list[str]]:
    row = max(read("benchmarks/pool_probe.json")["rows"], key=lambda one: one["items"])
    told = f"learning from {row['items']:,} features of 192 numbers, 1,000 of them labelled"
    busy = row["processor_seconds"] * 1e6 / row["items"]
    return [
        ["`finetune --recipe pool_probe`", told, f"{_hours(busy)} of one core", f"{row['peak_mb']:,} MB", _machine(row)]
    ]


def pool_sizes() -> str:
    """``pool_probe.json``: what learning from a pool takes, by its size."""
    rows = [
        [f"{row['items']:,}", f"{row['processor_seconds']:.0f}", f"{row['peak_mb']:,}", f"{row['features_mb']:,}"]
        for row in read("benchmarks/pool_probe.json")["rows"]
    ]
    return lines(["images in the pool", "seconds of one core", "memory, MB", "of it features"], rows)


def _rate(value: float) -> str:
    return f"{value:,.0f} images/s"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def _machine(row: dict[str, Any]) -> str:
    return f"{row['machine']}, {row['date']}"


# Scaling ------------------------------------------------------------------------------------------------------------


def scaling() -> list[str]:
    """Processes, photos, two levels, and the plan."""
    return [processes(), photos(), levels(), plan()]


def processes() -> str:
    """``scaling.json``: the ways of starting the same work."""
    rows = []
    for row in read("benchmarks/scaling.json")["rows"]:
        cells = [row["way"], f"{row['images_per_second']:.0f}", f"{row['of_one_process']:.2f}", f"{row['seconds']:.0f}"]
        spent = "-" if row["way"].startswith("Ray") else f"{row['processor_seconds']:.1f}"
        rows.append([*cells, spent, str(row["rounds"]), f"{row['load']:.0f}"])
    return lines(
        ["way", "images/s", "times one process", "seconds of the command", "CPU seconds", "rounds", "load"], rows
    )


def photos() -> str:
    """``photos.json``: an image's way, part by part."""
    header = ["backbone", "MB per photo", "as it is, ms", "all pixels, ms", "times", "least cosine", *_parts()]
    rows = []
    for row in read("benchmarks/photos.json")["rows"]:
        cells = [row["backbone"], f"{row['megabytes']:.1f}", f"{row['enough_ms']:.0f}", f"{row['whole_ms']:.0f}"]
        told = [f"{row['parts_ms'][name]:.1f}" for name in _parts()]
        rows.append([*cells, f"{row['times']:.1f}", f"{row['least_cosine']:.5f}", *told])
    return lines(header, rows)


def _parts() -> Sequence[str]:
    return list(read("benchmarks/photos.json")["rows"][0]["parts_ms"])


def levels() -> str:
    """``levels.json``: what two levels lose."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from levels import table

    return table(read("benchmarks/levels.json")["rows"])


def plan() -> str:
    """What a pool of 100 million images would take on 64 GPUs, from what one was measured at."""
    rate = max(row["embed"] for row in read("benchmarks/embedding_gpu.json")["rows"])
    named = next(row for row in read("benchmarks/listing.json")["rows"] if row["suffix"])
    features = POOL * SIZE * NUMBER
    shards = 10_000
    listing = named["seconds_a_million"] * POOL / 1e6
    images = POOL * 0.1e6
    rows = [
        ["listing files in folders, by every process", "as measured", _hours(listing), "-"],
        ["reading images", f"by {MACHINES} machines at once", _hours(images / MACHINES / NETWORK), _size(images)],
        [
            "decoding and computing, meanwhile",
            f"N / ({PROCESSES} x {rate:,.0f} images/s)",
            _hours(POOL / PROCESSES / rate),
            "-",
        ],
        ["writing shards, meanwhile", f"2 N D, {shards:,} shards of {POOL // shards:,}", "-", _size(features)],
        [
            "joining them, by the first process",
            "2 N D read and written",
            _hours(2 * features / DISK),
            _size(2 * features),
        ],
        ["digest of the whole", "2 N D read", _hours(features / DISK), _size(features)],
    ]
    return lines(["step", "formula", "time", "traffic"], rows)


def _size(count: float) -> str:
    return f"{count / 1e12:.1f} TB" if count >= 1e12 else f"{count / 1e9:.0f} GB"


TABLES = {"docs/operations.md": operations, "docs/scaling.md": scaling}
