"""``python -m activetune``: the command line, for launchers that start a module."""

from activetune.cli import main

if __name__ == "__main__":  # processes that are started afresh import this module too
    main()
