"""Fuzzing of every reader: what files may hold, changed at random, thousands of times.

``python -m tests.security.fuzz --cases 100000`` runs them all and prints a table; ``--only NAME`` one of them. A reader
is a :class:`~tests.security.fuzz.targets.Target`, found by looking into ``targets/``. They run in their own processes
(``loop.py``), under limits (``watch.py``): an outcome that is no result and no explained error is a fault, and so is a
case that takes more than five seconds, ends the process, takes too much memory, unpickles, starts a program, opens a
connection, or changes a file outside of the case's own folder. ``mutation.py`` changes bytes, ``structure.py`` what a
format is made of. A case that leads to a sentence which no case led to before becomes a seed itself.
"""
