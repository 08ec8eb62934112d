"""What every script here is asked: the model's folder, a list of images, and where the features go."""

from __future__ import annotations

import argparse
from pathlib import Path


def asked(
    about: str, *, workers: int, precision: str = "", precisions: tuple[str, ...] | None = None
) -> argparse.Namespace:
    """The words of the command line; ``files`` are the paths that its list holds.

    Args:
        about: the script's docstring. workers, precision: what its options are by default; "" has none.
        precisions: the choices; None: any.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    for name in ("model", "files", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--workers", type=int, default=workers)
    if precisions:
        parser.add_argument("--precision", default=precisions[0], choices=precisions)
    options = parser.parse_args()
    options.files = options.files.read_text(encoding="utf-8").splitlines()
    return options
