"""Fixtures that every test may use: small real images, offline, in temporary folders."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from activetune.features.distances import pieces_of

TINY = "timm/test_vit@32"  # a network of 0.4 million numbers: what a recipe keeps can be tested without a good one
ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Draw the weights of untrained networks alike in each run, those of fixtures too: some have features so alike that
    a head fitted on them is all rounding.
    """
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a cache of its own, and no hub to go to."""
    monkeypatch.setenv("ACTIVETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """A test may ask for another number of threads than ``tests/__init__.py`` does; the next one starts as it did."""
    yield
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture
def shared() -> Path:
    """Real data and weights that lie beside the project; tests that need them skip where they are absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the data sets and weights in ../shared, which are not here")
    return SHARED


InPieces = Callable[[int], None]


@pytest.fixture
def in_pieces() -> Iterator[InPieces]:
    """Asks for products in pieces of so many numbers, until the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda numbers: stack.enter_context(pieces_of(numbers))


@functools.cache
def tiny_backbone() -> tuple[str, Path]:
    """``TINY``, and a file of random weights for it."""
    from safetensors.torch import save_file

    from activetune import load_backbone

    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = load_backbone(TINY, pretrained=False).network.state_dict()
    path = Path(tempfile.mkdtemp(prefix="tiny-")) / "weights.safetensors"
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return TINY, path


NETWORK: dict[str, Any] = {}  # what tests train where none is named: the bundled one, unless they ask for ``small``


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny network in place of the bundled one, for tests of everything but accuracy."""
    backbone, weights = tiny_backbone()
    monkeypatch.setitem(NETWORK, "backbone", backbone)
    monkeypatch.setitem(NETWORK, "weights", weights)


def write_digits(folder: Path, count: int) -> Path:
    """The first ``count`` of scikit-learn's handwritten digits as PNG files, a folder a class."""
    from sklearn.datasets import load_digits

    data = load_digits()
    for number in range(count):
        path = folder / str(data.target[number]) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(data.images[number] * (255 / 16)).astype(np.uint8)).save(path)
    return folder


def load_script(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script of ``benchmarks`` or ``experiments`` as a module; what it imports beside itself is found as when run.

    Scripts of several folders share a name: what another script imported is forgotten first, what this one imports
    is forgotten when the test ends.
    """
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
    for name in {script.stem for folder in ("benchmarks", "experiments") for script in (ROOT / folder).rglob("*.py")}:
        monkeypatch.setitem(sys.modules, name, sys.modules.get(name))  # noted, so that the end of the test restores it
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder of 120 real images in ten classes."""
    return write_digits(tmp_path / "digits", 120)
