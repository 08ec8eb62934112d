"""Tests of activetune; imported before NumPy and torch are.

Problems as small as the tests' are slower on several threads, much slower where other work runs beside them, so one is
the default, here and in every process that a test starts. ``make test-processors`` asks for two all the same: no
expected answer may depend on their number.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
