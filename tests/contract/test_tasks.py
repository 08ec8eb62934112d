"""The contract of every task: a new module in ``activetune/tasks`` is held to it without a line here."""

from __future__ import annotations

import csv
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from activetune import Backbone, UsageError, load_backbone, open_pool
from activetune.cli.catalogue import catalogue
from activetune.data.images import decode_image
from activetune.data.kinds import VOID, ArrayMask, Boxes, Detections, Names, Sentences
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.evaluation.metrics import told
from activetune.networks.backbones import bundled
from activetune.networks.heads import Head
from activetune.networks.outputs import tensors_in
from activetune.tasks import Batch, Crops, Sample, Task, augmentation, make_task, tasks
from tests.conftest import write_digits


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled network on 32 px images."""
    monkeypatch.setattr(bundled, "SETTINGS", replace(bundled.SETTINGS, size=(32, 32)))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return open_pool(write_digits(tmp_path_factory.mktemp("pool") / "digits", 24))


def ink(pool: Pool, folder: Path) -> Labels:
    """Of each digit which pixels are paper and which ink; a row of them is void."""
    masks = []
    for row in range(len(pool)):
        pixels_HW = np.asarray(decode_image(pool.read(row)).convert("L")).astype(np.int32)
        mask_HW = (pixels_HW > pixels_HW.mean()).astype(np.int32)
        mask_HW[0] = VOID
        masks.append(ArrayMask(mask_HW))
    return Labels(list(pool.ids), masks, ["paper", "ink"])


def classification_answers(pool: Pool, folder: Path) -> Path:
    path = folder / "labels.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([("id", "label"), *zip(pool.ids, pool.labels or (), strict=True)])
    return path


def shapes(pool: Pool, folder: Path) -> Labels:
    """What a digit has: a loop, a straight line, both or neither."""
    loops, lines = set("0689"), set("1457")
    answers = [
        Names.of([kind for kind, names in (("loop", loops), ("line", lines)) if label in names])
        for label in pool.labels or ()
    ]
    return Labels(list(pool.ids), answers, ["line", "loop"])


def strokes(pool: Pool, folder: Path) -> Labels:
    """The box of a digit's ink, named by its loop; the eights are taken for empty images."""
    answers = []
    for row, label in enumerate(pool.labels or ()):
        pixels_HW = np.asarray(decode_image(pool.read(row)).convert("L")).astype(float)
        rows, columns = np.nonzero(pixels_HW > pixels_HW.mean())
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        name = "loop" if label in set("0689") else "line"
        answers.append(Boxes.of([], []) if label == "8" else Boxes.of([box], [name]))
    return Labels(list(pool.ids), answers, ["line", "loop"])


def spoken(pool: Pool, folder: Path) -> Labels:
    """Sentences about a digit, two for the even ones."""
    numbers = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    answers = [
        Sentences((f"the digit {numbers[int(label or 0)]}", f"a {numbers[int(label or 0)]}")[: 2 - int(label or 0) % 2])
        for label in pool.labels or ()
    ]
    return Labels(list(pool.ids), answers, [])


# Real answers for each task, as a file or folder, or as labels.
ANSWERS: dict[str, Any] = {
    "captioning": spoken,
    "classification": classification_answers,
    "detection": strokes,
    "multilabel": shapes,
    "segmentation": ink,
}


@pytest.fixture(params=sorted(tasks()))
def task(request: pytest.FixtureRequest) -> Task:
    return make_task(request.param)


@pytest.fixture
def labels(task: Task, pool: Pool, tmp_path: Path) -> Labels:
    assert task.name in ANSWERS, f"give tests/contract/test_tasks.py answers for the task {task.name}"
    return task.labels_of(ANSWERS[task.name](pool, tmp_path), pool)


@pytest.fixture
def backbone() -> Backbone:
    return load_backbone("bundled")


def samples(task: Task, pool: Pool, labels: Labels, backbone: Backbone, crops: Crops | None, count: int = 6) -> Batch:
    """The first items as a batch."""
    torch.manual_seed(0)
    found = []
    for row in range(count):
        image = decode_image(pool.read(pool.position[labels.ids[row]]))
        moved = task.transform(image, task.target(labels, row), backbone.settings, crops)
        found.append(Sample(*moved, row, (image.height, image.width)))
    return task.collate(found)


def outputs_of(task: Task, backbone: Backbone, labels: Labels, batch: Batch) -> Any:
    """What a fresh head gives, moved off its zeros so that outputs differ."""
    head = task.head(backbone, labels)
    with torch.no_grad():
        for value in head.parameters():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    return head.eval()(read(backbone, head, batch.images))


def read(backbone: Backbone, head: Head, images: Tensor) -> Tensor:
    """The backbone's features of images as a head reads them."""
    return backbone.read(backbone.eval().last(images), head.reads)


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if is_dataclass(value):
        return list(tensors_in(value))
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [found for part in parts for found in tensors(part)]


def test_a_task_is_found_by_its_files_name(task: Task) -> None:
    assert type(task).__module__ == f"activetune.tasks.{task.name}"
    assert task.head_kinds()
    assert (type(task).__doc__ or "").strip().endswith("." if "Attributes" not in (type(task).__doc__ or "") else "")


def test_tasks_are_listed_with_their_metric(task: Task) -> None:
    lines = list(catalogue("tasks"))
    place = next(row for row, line in enumerate(lines) if line.startswith(f"{task.name}: "))
    assert f"scored by {told(task.primary)}" in lines[place + 1]
    with pytest.raises(UsageError, match="unknown task 'nothing'; there are: "):
        make_task("nothing")


def test_answers_are_read_for_items_of_the_pool(labels: Labels, pool: Pool) -> None:
    assert len(labels) == len(pool)
    assert set(labels.ids) <= set(pool.ids)


@pytest.mark.parametrize("crops", [None, Crops()])
def test_images_of_a_batch_have_one_size_and_type(
    crops: Crops | None, task: Task, pool: Pool, labels: Labels, backbone: Backbone
) -> None:
    batch = samples(task, pool, labels, backbone, crops)
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape[:2] == (6, 3)
    assert batch.positions.tolist() == list(range(6))
    assert batch.weight > 0
    again = samples(task, pool, labels, backbone, crops)
    torch.testing.assert_close(again.images, batch.images, rtol=0, atol=0)
    for one, other in zip(tensors(again.targets), tensors(batch.targets), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    moved = batch.to(torch.device("cpu"))
    assert moved.weight == batch.weight


def test_a_loss_is_a_finite_sum_over_its_units_with_a_gradient(
    task: Task, pool: Pool, labels: Labels, backbone: Backbone
) -> None:
    batch = samples(task, pool, labels, backbone, Crops())
    outputs = outputs_of(task, backbone, labels, batch)
    loss = task.loss(outputs, batch)
    assert loss.weight == batch.weight
    assert loss.sum.ndim == 0
    assert torch.isfinite(loss.sum)
    assert float(loss.sum.detach()) >= 0
    gradients = torch.autograd.grad(loss.sum, [value for value in tensors(outputs) if value.requires_grad])
    assert all(bool(value.isfinite().all()) for value in gradients)
    assert any(bool(value.any()) for value in gradients)


def test_the_loss_of_a_batch_is_the_sum_of_its_parts_losses(
    task: Task, pool: Pool, labels: Labels, backbone: Backbone
) -> None:
    """Else a batch shared by several processes, or gone through in parts, would teach something else."""
    backbone.eval()
    head = task.head(backbone, labels).eval()
    rows = [_sample(task, pool, labels, backbone, row) for row in range(6)]
    sums, weights = [], []
    for part in (rows, rows[:2], rows[2:]):
        batch = task.collate(part)
        loss = task.loss(head(read(backbone, head, batch.images)), batch)
        sums.append(float(loss.sum.detach()))
        weights.append(loss.weight)
    assert sums[0] == pytest.approx(sums[1] + sums[2], rel=1e-4)
    assert weights[0] == weights[1] + weights[2]


def _sample(task: Task, pool: Pool, labels: Labels, backbone: Backbone, row: int) -> Sample:
    image = decode_image(pool.read(pool.position[labels.ids[row]]))
    moved = task.transform(image, task.target(labels, row), backbone.settings, None)
    return Sample(*moved, row, (image.height, image.width))


def test_answers_come_back_as_they_are_read(task: Task, pool: Pool, labels: Labels, backbone: Backbone) -> None:
    batch = samples(task, pool, labels, backbone, None)
    answers = task.decode(outputs_of(task, backbone, labels, batch), batch.sizes, backbone.settings, labels.classes)
    assert len(answers) == 6
    kind = Detections if task.name == "detection" else type(labels.answers[0])
    assert all(type(answer) is kind for answer in answers)


def test_a_metric_is_the_same_however_its_items_are_shared_out(
    task: Task, pool: Pool, labels: Labels, backbone: Backbone
) -> None:
    backbone.eval()
    head = task.head(backbone, labels).eval()
    torch.nn.init.normal_(next(iter(head.parameters())), std=0.1, generator=torch.Generator().manual_seed(0))
    rows = [_sample(task, pool, labels, backbone, row) for row in range(7)]
    results = []
    for shares in ([rows], [rows[:4], rows[4:]], [rows[5:], rows[1:5], rows[:1]], [rows[1::2], rows[::2], []]):
        states = []
        for share in shares:
            metric = task.metric(labels, backbone.settings)
            if share:
                batch = task.collate(share)
                with torch.inference_mode():
                    metric.update(head(read(backbone, head, batch.images)), batch)
            states.append(metric.state())
        results.append(task.metric(labels, backbone.settings).measured(states))
    for found in results[1:]:
        assert found.n == results[0].n == 7
        assert found.value == pytest.approx(results[0].value, abs=1e-6)
        assert found.loss == pytest.approx(results[0].loss, rel=1e-4)
    assert 0 <= results[0].value <= 1
    assert task.primary


def test_each_item_has_a_stratum(task: Task, labels: Labels) -> None:
    strata = task.strata(labels)
    assert strata.shape == (len(labels),)
    assert strata.dtype == np.int64


# Image and answer move together --------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", ["trivial", "rand"])
def test_stronger_changes_come_beside_crops_and_flips_and_leave_answers(augment: str, backbone: Backbone) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    seen = []
    for kind in ("none", augment, augment):
        torch.manual_seed(3)
        image, answer = augmentation(backbone.settings, Crops(augment=kind))(noise, 7)
        assert answer == 7 and image.dtype == torch.uint8 and image.shape == (3, 32, 32)
        seen.append(image)
    assert torch.equal(seen[1], seen[2])  # by torch's state alone, so that a run can be resumed
    drawn = {augmentation(backbone.settings, Crops(augment=augment))(noise, 7)[0].sum().item() for _ in range(8)}
    assert len(drawn) > 4


@pytest.mark.parametrize("seed", range(8))
def test_a_mask_and_boxes_move_with_their_image(seed: int, backbone: Backbone) -> None:
    """A white square on black: after any crop and flip the mask shows the same pixels, and the box encloses them."""
    from torchvision import tv_tensors

    pixels = np.zeros((64, 48, 3), np.uint8)
    pixels[20:36, 8:20] = 255
    mask = tv_tensors.Mask(torch.from_numpy((pixels[..., 0] > 0).astype(np.uint8)))
    boxes = tv_tensors.BoundingBoxes([[8, 20, 20, 36]], format="XYXY", canvas_size=(64, 48))
    torch.manual_seed(seed)
    image, found = augmentation(replace(backbone.settings, interpolation="nearest"), Crops(min_crop=0.4))(
        Image.fromarray(pixels), {"mask": mask, "boxes": boxes, "name": "square"}
    )
    assert found["name"] == "square"
    white = image[0] > 127
    assert float((white == (found["mask"] > 0)).float().mean()) > 0.95  # two ways of rounding a border's pixel
    left, top, right, bottom = found["boxes"][0].clamp(0, 32).tolist()
    rows, columns = np.nonzero(white.numpy())
    if len(rows):
        assert abs(columns.min() - left) <= 2
        assert abs(columns.max() + 1 - right) <= 2
        assert abs(rows.min() - top) <= 2
        assert abs(rows.max() + 1 - bottom) <= 2
