"""Every example in a docstring of the package does what it says, or says why it is not run."""

from __future__ import annotations

import doctest
import importlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import activetune

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).parents[2] / "src"
FILES = sorted(path for path in SOURCE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))
NAMES = [".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for path in FILES]
COLOURS = {"leaf": (60, 140, 50), "sky": (90, 150, 220)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What docs/api.md says that the examples find where they run: images, and what was made of them."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / "photos" / name).mkdir(parents=True)
        for number in (1, 2):
            values = np.clip(rng.normal(colour, 20, (64, 64, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(values).save(folder / "photos" / name / f"{number}.png")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        here.setenv("ACTIVETUNE_CACHE", str(folder / "cache"))
        activetune.embed("photos", out="emb", quiet=True)
        activetune.select("emb", budget=2, method="random", out="sel", quiet=True)
        activetune.finetune("photos", recipe="linear_probe", out="model", quiet=True)
    return folder


@pytest.fixture
def there(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of it as the current folder; files are links, as what is written replaces them."""
    shutil.copytree(made, tmp_path / "here", copy_function=os.link)
    monkeypatch.chdir(tmp_path / "here")


def examples(module: ModuleType) -> Iterator[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = {**vars(module), "activetune": activetune}
    return (found for found in finder.find(module, globs=names) if found.examples)


def left_out(example: doctest.Example) -> bool:
    return example.options.get(doctest.SKIP, False)


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("name", NAMES)
def test_the_examples_hold(name: str) -> None:
    found = list(examples(importlib.import_module(name)))
    assert found, f"{name} has examples where doctest finds none"
    told: list[str] = []
    for one in found:
        assert doctest.DocTestRunner(verbose=False).run(one, out=told.append).failed == 0, "".join(told)


def test_an_example_that_is_not_run_says_why() -> None:
    silent = [
        f"{one.name}: {example.source.strip()}"
        for name in NAMES
        for one in examples(importlib.import_module(name))
        for example in one.examples
        if left_out(example) and example.source.count(" # ") < 2
    ]
    assert silent == []
