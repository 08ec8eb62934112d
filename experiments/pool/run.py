"""Labels alone, and labels with the pool that they were picked from: run what the TOML file beside this one says.

python experiments/pool/run.py --data DIR --weights DIR
python experiments/pool/run.py --list

DIR: data sets and weights by the names in the commands. See ``../tables.py``; ``pools.py`` makes the pools first.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tables import main

if __name__ == "__main__":
    main(Path(__file__).parent, __doc__.splitlines()[0])
