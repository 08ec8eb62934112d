"""Blood cells on a slide, cut from BCCD's smears: red cells by the thousand, white cells and platelets now and then.

BCCD is MIT-licensed; its licence and source lie beside the images in ``blood_cells/``, which
``experiments/blood_cells/cut.py`` made.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from activetune.studies.demo.pools._pool import DemoPool

FILE = Path(__file__).parents[1] / "blood_cells" / "cells.zip"


def read(seed: int) -> DemoPool:
    """The cells; those of 72 smears are held out, whatever the seed, and no smear has cells on both sides."""
    pictures, test = {}, set()
    with zipfile.ZipFile(FILE) as cells:
        for name in sorted(cells.namelist()):
            side, _, item = name.partition("/")
            pictures[item] = cells.read(name)
            if side == "test":
                test.add(item)
    return DemoPool(
        "which blood cells should be labelled?",
        "Cells of 277 blood smears: BCCD, MIT licence, github.com/Shenggan/BCCD_Dataset. Six in seven are red.",
        pictures,
        frozenset(test),
        budgets=(15, 30, 60),
    )
