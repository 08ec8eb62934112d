"""The sentences of the ViSFT experiment's page."""

from __future__ import annotations

import numpy as np
from claims import Claim, checked, ordered
from visft_tables import SURE, lever_gains, rows_of, stored, supported

PAGE = "experiments/visft/README.md"


def gains(pair: str, probe: str, what: str = "") -> list[float]:
    """Points of the second arm over the first: of each question of a probe, the mean over the seeds."""
    return [
        100 * float(np.mean([row["b"] - row["a"] for row in same]))
        for same in rows_of(pair)
        if same[0]["probe"] == probe and what in same[0]["what"] and "mean of tokens" not in same[0]["what"]
    ]


def nowhere() -> tuple[str]:
    return (checked(not supported(), "on no question", "; ".join(supported())),)


def elsewhere() -> tuple[str, ...]:
    shots = [
        row["p_holm"]
        for same in rows_of("frozen -> joint")
        for row in same
        if row["probe"] == "CIFAR-10" and "shot" in row["what"] and "mean of tokens" not in row["what"]
    ]
    sure = f"{sum(p < SURE for p in shots)} of {len(shots)}"
    lost = [-gain for gain in gains("frozen -> joint", "CIFAR-10", "shot")]
    near = [abs(gain) for gain in gains("frozen -> joint", "Caltech-101")]
    return (*ordered(lost), sure, checked(max(near) < 1, "within a point", f"up to {max(near):.1f}"))


def dense() -> tuple[str, str, str]:
    camvid, bccd = (gains("frozen -> joint", name)[0] for name in ("CamVid", "BCCD"))
    over = [gains("permuted -> joint", name)[0] for name in ("CamVid", "BCCD")]
    return f"{camvid:+.1f}", f"{bccd:+.1f}", checked(max(over) < 1, "nearly as well", f"{max(over):.1f} less")


def taught() -> tuple[str, str, str, str]:
    """How much cheap labels as teachers change, in how many of the table's cells for the better."""
    gains = [float(np.mean([after - before for before, after in pairs])) for pairs in lever_gains().values()]
    low, high = (f"{value:+.1f}" for value in (min(gains), max(gains)))
    seeds = len(stored("lever"))
    return f"{seeds} seed{'' if seeds == 1 else 's'}", low, high, f"{sum(gain > 0 for gain in gains)} of {len(gains)}"


CLAIMS = {
    PAGE: [
        Claim("The claim is supported {}.", nowhere),
        Claim(
            "the few-shot probes lose {} to {} points, beyond chance in {} cases, on Caltech-101 all rows are {}",
            elsewhere,
        ),
        Claim("Measured with {}: {} to {} points, for the better in {} cells.", taught),
        Claim("(CamVid {}, BCCD {}) the arm with the answers of other images gains {}", dense),
    ],
}
GIVEN = {
    PAGE: [
        "from 1 to 4.4 billion parameters",  # the paper's
    ],
}
