"""The table of what `check` finds, from its results file."""

from __future__ import annotations

from typing import Any

from stored import lines, read

FOLDER = "experiments/check"
TOLD = ("in_test", "exact_duplicate", "near_duplicate", "odd_size", "odd_aspect", "dark", "bright", "blurred", "blank")
KINDS = (*TOLD, "grey", "near_classes", "rare_class")


def rows() -> list[dict[str, Any]]:
    """What was found in each set, in the order of the page."""
    return list(read(f"{FOLDER}/results/found.json")["rows"])


def found() -> str:
    """Findings per thousand images by set and check; a dash where a check was not made."""
    told = []
    for row in rows():
        by_kind = {one["kind"]: one for one in row["figures"]["rows"]}
        cells = ["-" if by_kind[kind]["skipped"] else per_thousand(row, by_kind[kind]["findings"]) for kind in KINDS]
        told.append([row["set"], f"{row['figures']['images']:,}", *cells])
    return lines(["", "images", *(f"`{kind}`" for kind in KINDS)], told)


def costs() -> str:
    """Processor time and memory by set."""
    told = []
    for row in rows():
        images = row["figures"]["images"] + row["test_images"]
        each = 1000 * row["processor_seconds"] / images
        told.append(
            [row["set"], f"{images:,}", f"{row['processor_seconds']:.0f}", f"{each:.1f}", f"{row['peak_mb']:,}"]
        )
    return lines(["", "images looked at", "processor, s", "ms per image", "peak of a process, MB"], told)


def per_thousand(row: dict[str, Any], findings: int) -> str:
    """Of a thousand images."""
    share = 1000 * findings / row["figures"]["images"]
    return f"{share:.1f}" if findings else "0"


TABLES = {f"{FOLDER}/README.md": lambda: [found(), costs()]}
