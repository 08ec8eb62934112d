"""Batches on their way to a GPU lie in pinned memory, which it copies from while it computes; others do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import activetune
from activetune import load_backbone, open_pool
from activetune.base.memory import Portions
from activetune.base.runtime import resolve_runtime
from activetune.data import loading
from activetune.data.labels import Labels, pool_labels
from activetune.data.loading import PoolImages, batch_loader, image_loader
from activetune.data.pool import Pool
from activetune.networks.network import Network
from activetune.tasks import Crops, make_task, tasks
from activetune.training import streams, views
from activetune.training.batches import Batches
from activetune.training.job import Job
from activetune.training.streams import Stream, batches_loader
from tests.conftest import TINY, tiny_backbone, write_digits
from tests.contract.test_tasks import ANSWERS

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
CROPS = Crops(min_crop=0.5, flip=True)
PREPARE = load_backbone(TINY, pretrained=False).prepare


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return open_pool(write_digits(tmp_path_factory.mktemp("pool") / "digits", 12))


@pytest.fixture
def with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins as if there were a GPU: it gives a copy, which says of itself that it is pinned."""

    def pin(tensor: Tensor) -> Tensor:
        found = tensor.clone()
        found.pinned = True  # type: ignore[attr-defined]
        return found

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: CUDA)
    monkeypatch.setattr(Tensor, "pin_memory", pin)


def pinned(found: Any) -> set[bool]:
    """Whether the tensors in some containers are pinned."""
    if isinstance(found, Tensor):
        return {hasattr(found, "pinned")}
    return {kind for part in (found.values() if isinstance(found, dict) else found) for kind in pinned(part)}


@pytest.mark.usefixtures("with_a_gpu")
@pytest.mark.parametrize(("device", "expected"), [(CUDA, True), (CPU, False), (None, False)])
def test_images_of_a_pool(device: torch.device | None, expected: bool, pool: Pool) -> None:
    batches = list(image_loader(pool, PREPARE, batch_size=5, workers=0, device=device))
    batches += batch_loader(PoolImages(pool, PREPARE), [range(3)], 0, device=device)
    assert [len(batch.images) for batch in batches] == [5, 5, 2, 3]
    assert {kind for batch in batches for kind in pinned(batch.images)} == {expected}


@pytest.mark.usefixtures("with_a_gpu")
@pytest.mark.parametrize(("device", "expected"), [(CUDA, True), (CPU, False)])
@pytest.mark.parametrize("name", sorted(tasks()))
def test_batches_that_are_trained_on(
    name: str, device: torch.device, expected: bool, pool: Pool, tmp_path: Path
) -> None:
    task = make_task(name)
    labels = task.labels_of(ANSWERS[name](pool, tmp_path), pool)
    batches = Batches(np.arange(12), np.zeros(12, np.int64), 5, seed=0)
    settings = load_backbone(TINY, pretrained=False).settings
    loader = batches_loader(
        Stream(task, pool, labels, batches), settings, seed=0, crops=CROPS, workers=0, items=12, device=device
    )
    for batch in loader:
        assert pinned([batch.images, batch.positions]) == {expected}
        assert pinned(batch.targets) == {expected}


@pytest.mark.usefixtures("with_a_gpu")
@pytest.mark.parametrize("expected", [True, False])
def test_images_of_views_alone(expected: bool, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[bool]] = []

    def noted(portions: Portions, count: int, compute: Any) -> Any:
        seen.append(pinned(compute.args[2]))
        return of(portions, count, compute)

    of = Portions.of
    monkeypatch.setattr(Portions, "of", noted)
    monkeypatch.setattr(views, "pins_memory", lambda device: expected)
    labels: Labels = pool_labels(pool)
    network = Network(load_backbone(TINY, pretrained=False))
    nothing = np.zeros(0, np.int64)
    job = Job(pool, labels, nothing, pool, network, resolve_runtime("cpu", "fp32"), 0, tmp_path, workers=0, quiet=True)
    views.embed_views(job, 1, CROPS, tokens=False)
    assert seen == [{expected}]


def test_every_stage_with_a_network_says_where_images_go(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.device | None] = []
    for module in (loading, streams, views):
        monkeypatch.setattr(module, "pins_memory", lambda device: asked.append(device) or False)
    name, weights = tiny_backbone()
    given: dict[str, Any] = {"backbone": name, "weights": weights, "quiet": True, "device": "cpu", "workers": 0}
    quick: dict[str, Any] = {"full": {"epochs": 1, "validation": 0.0}, "frozen_map": {"views": 1, "trials": 1}}
    activetune.embed(pool, out=tmp_path / "emb", use_cache=False, **given)
    assert asked == [CPU]
    for recipe, settings in quick.items():
        asked.clear()
        model = activetune.finetune(pool, recipe=recipe, settings=settings, out=tmp_path / recipe, **given)
        assert CPU in asked  # None: only whether images can be decoded was asked
    asked.clear()
    activetune.evaluate(model, pool, device="cpu", quiet=True)
    assert asked == [CPU]
