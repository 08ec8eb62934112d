"""The 1,797 handwritten digits that come with scikit-learn, 8 x 8 pixels each."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from activetune.studies.demo.pools._pool import DemoPool

TEST_SHARE = 0.3


def read(seed: int) -> DemoPool:
    """The digits; a share of them, drawn by the seed, is held out."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pictures = {}
    for number, (pixels, digit) in enumerate(zip(data.images, data.target, strict=True)):
        written = io.BytesIO()
        Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8)).save(written, "PNG")
        pictures[f"{digit}/{number:04d}.png"] = written.getvalue()
    ids = sorted(pictures)
    held_out = np.random.default_rng(seed).permutation(len(ids))[: round(TEST_SHARE * len(ids))]
    return DemoPool(
        "which digits should be labelled?",
        "Handwritten digits of 8 by 8 pixels, from scikit-learn.",
        pictures,
        frozenset(ids[row] for row in held_out),
        budgets=(20, 50, 100),
        pixels=True,
    )
