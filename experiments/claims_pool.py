"""The sentences of the page on learning from the pool."""

# Pieces of pages stand in one line, however long.
# ruff: noqa: E501

from __future__ import annotations

import numpy as np
from claims import Claim, checked, ordered
from pool_tables import gains, leads, of_cells_with_foreign, orders, over_one_backbone

PAGE = "experiments/pool/README.md"


def confirmed() -> tuple[str, str, str, str]:
    found = gains("confirm")
    above = sum(gain > 0 for gain in found)
    return f"{above} of {len(found)}", f"{np.mean(found):.1f}", *ordered(found)


def few() -> tuple[str, str]:
    return tuple(f"{np.mean(gains(role, lowest=2)):.1f}" for role in ("design", "confirm"))  # type: ignore[return-value]


def beside(peer: str) -> tuple[str, str, str, str]:
    found = leads(peer)
    return f"{sum(lead > 0 for lead in found)} of {len(found)}", f"{np.mean(found):.1f}", *ordered(found)


def together() -> tuple[str, str, str, str, str]:
    """How far two backbones are below the better one, and what whitening that one does."""
    below = [-gain for gain in over_one_backbone("both", "Caltech-101")]
    whitened = over_one_backbone("ViT-Tiny, whitened", "Caltech-101")
    why = checked(min(below) > 0, "the second backbone is the weaker one, and weighs as much", "not everywhere")
    return (*ordered(below), why, f"{min(whitened):+.1f}", f"{max(whitened):+.1f}")


def strangers() -> tuple[str, str, str, str, str, str]:
    """What foreign images cost of what the pool adds, and where it still adds something."""
    cells = of_cells_with_foreign()
    lost = [pool - mixed for pool, mixed in cells]
    left = [mixed for _, mixed in cells]
    above = sum(gain > 0 for gain in left)
    return (
        f"{np.mean([pool for pool, _ in cells]):.1f}",
        f"{np.mean(left):.1f}",
        *(f"{one:.1f}" for one in (max(lost),)),
        f"{above} of {len(left)}",
        *ordered(left),
    )


def order() -> tuple[str]:
    return ("{} of {}".format(*orders()),)


CLAIMS = {
    PAGE: [
        Claim(
            "On the sets that nothing was chosen on the pool adds something in {} cells, {} points on average ({} to {}).",
            confirmed,
        ),
        Claim(
            "At the lowest two budgets of each set it adds {} points on average on the design sets and {} on the others.",
            few,
        ),
        Claim(
            "In {} sets and budgets the selector that is best for the probe is the best with the pool too, or within a point of it.",
            order,
        ),
        Claim(
            "With foreign images in it, what the pool adds falls from {} to {} points on average, by {} at most; in {} cells it still adds something ({} to {}).",
            strangers,
        ),
        Claim(
            "`pool_probe` is above LabelSpreading in {} cells, {} points on average ({} to {}),",
            lambda: beside("label_spreading"),
        ),
        Claim(
            "and above SelfTrainingClassifier in {} cells, {} points on average ({} to {}).",
            lambda: beside("self_training"),
        ),
        Claim(
            "On Caltech-101 both are {} to {} points below ViT-Tiny alone: {}. Whitening ViT-Tiny's features moves the figures by {} to {}.",
            together,
        ),
    ],
}
GIVEN: dict[str, list[str]] = {
    PAGE: [
        *("`semilearn` (0.3.2)", "whose latest release (2.11.1) does not load beside the torch (2.13)"),  # releases
        *("the share of the probe in the answers, from 0.5 to 0.3.", "`pool_probe` with a share of 0.5"),  # a setting
    ]
}
