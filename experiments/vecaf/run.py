"""The settings of VeCAF's tables: run what the TOML files beside this one say.

python experiments/vecaf/run.py --table 1 --data DIR --weights DIR
python experiments/vecaf/run.py --list

DIR: data sets and weights by the names in the commands. See ``../tables.py``. The tables ``caltech101``, ``cifar10``,
``loops``, ``one_vs_all`` and ``shift`` were measured here; those on CIFAR-10 need the pools of ``pools.py``.
``efficiency.py``, ``shift.py`` and ``picks.py`` read what they leave.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tables import main

if __name__ == "__main__":
    main(Path(__file__).parent, __doc__.splitlines()[0])
