"""What computes on a GPU does so, and gives what the processor gives, up to rounding. Needs a GPU: `make test-gpu`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import activetune
from activetune import open_pool
from activetune.data.pool import Pool
from activetune.selection.problem import Evidence
from activetune.selection.selectors import make_selector, selectors
from activetune.training.recipe import recipes
from tests.conftest import tiny_backbone, write_digits
from tests.contract.test_recipes import fit
from tests.contract.test_selectors import blobs, check, complete
from tests.training.test_finetuning import some_labels

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, which this machine has not")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("pool") / "digits", 60)


@pytest.fixture(scope="module")
def pool(folder: Path) -> Pool:
    return open_pool(folder)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_every_recipe_trains_there_and_its_model_answers_as_on_the_processor(
    recipe: str, precision: str, folder: Path, pool: Pool, tmp_path: Path
) -> None:
    fit(
        recipe, pool, tmp_path / "before", some_labels(pool, 6)
    )  # on the processor: where it computed last is no matter
    fit(recipe, pool, tmp_path / "m", some_labels(pool, 6), device="cuda", precision=precision)
    model, paths = activetune.load(tmp_path / "m"), [folder / item for item in pool.ids[:20]]
    there = model.predict(paths, device="cuda", precision="fp32")
    np.testing.assert_allclose(there, model.predict(paths, device="cpu", precision="fp32"), atol=5e-3)


@pytest.mark.parametrize("name", sorted(selectors()))
def test_every_selector_picks_there(name: str) -> None:
    evidence = complete(Evidence(blobs(), device="cuda"))
    picks = make_selector(name).select(evidence, 6, np.random.default_rng(0))
    check(picks, evidence, 6)
    assert len(picks.positions) == 6


def test_features_are_those_of_the_processor(pool: Pool) -> None:
    name, weights = tiny_backbone()
    given: dict[str, Any] = {"precision": "fp32", "workers": 0, "use_cache": False, "quiet": True}
    found = [
        activetune.embed(pool, backbone=name, weights=weights, device=device, **given).features_ND
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(found[0], found[1], atol=2e-2)
