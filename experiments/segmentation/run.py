"""Segmentation, CamVid measured here and ActiveFT's table on ADE20k: run what the TOML files beside this one say.

python experiments/segmentation/run.py --data DIR --weights DIR
python experiments/segmentation/run.py --list

DIR: data sets and weights by the names in the commands. See ``../tables.py``; ``pools.py`` makes the pools first.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tables import main

if __name__ == "__main__":
    main(Path(__file__).parent, __doc__.splitlines()[0])
