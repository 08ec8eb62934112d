"""The demo's images: one module per set, with a function ``read``. Its name is that of ``activetune demo --data``."""

from __future__ import annotations

from activetune.base.discovery import modules_of
from activetune.base.errors import unknown_name
from activetune.studies.demo.pools._pool import DemoPool

__all__ = ["DEFAULT", "DemoPool", "demo_pool", "demo_pools"]

DEFAULT = "cells"


def demo_pools() -> list[str]:
    """The names of the sets."""
    return list(modules_of(__name__))


def demo_pool(name: str, seed: int) -> DemoPool:
    """The images of a set, divided into what is picked from and what is held out.

    Raises:
        UsageError: no such set.
    """
    found = modules_of(__name__)
    if name not in found:
        raise unknown_name("data of the demo", name, found)
    pool: DemoPool = found[name].read(seed)
    return pool
