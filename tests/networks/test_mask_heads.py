"""Heads that tell the class of every pixel: shapes, losses, learning, on squares seen through a random projection."""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import activetune
from activetune import UsageError, open_pool
from activetune.base.errors import MissingExtra
from activetune.base.torchvision_ import import_torchvision
from activetune.cli import run
from activetune.networks.backbones import ImageSettings
from activetune.networks.heads import Head, heads, make_head, options_of, parse_head
from activetune.networks.heads.masks.mask2former import Mask2Former, MaskQueries
from activetune.networks.loss import Loss
from activetune.tasks import Batch, task_of
from activetune.tasks.segmentation import Segmentation, logits_of
from tests.conftest import tiny_backbone, write_digits
from tests.contract.test_tasks import ANSWERS

SIZE, HEIGHT, WIDTH, CLASSES = 24, 6, 8, 3
SMALL: dict[str, dict[str, int]] = {"mask2former": {"width": 32, "layers": 2, "queries": 6, "hidden": 64}}
SMALL["mask2former"] |= {"attention_heads": 2, "points": 192}
KINDS = sorted(heads("masks"))
SPOKEN = {kind: f"{kind}:{';'.join(f'{name}={value}' for name, value in SMALL[kind].items())}" for kind in SMALL}


@pytest.fixture(params=KINDS)
def head(request: pytest.FixtureRequest) -> Head:
    torch.manual_seed(0)
    return make_head(request.param, SIZE, CLASSES, "masks", **SMALL.get(request.param, {}))


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Maps (B, H, W, D) of places of three classes, randomly projected, and the classes at twice their resolution."""
    rng = np.random.default_rng(seed)
    projection = np.random.default_rng(99).normal(size=(CLASSES, SIZE))
    classes = np.zeros((count, HEIGHT, WIDTH), dtype=np.int64)
    for number in range(count):
        row, column = rng.integers(0, 4), rng.integers(0, 6)
        classes[number, row : row + 3, column : column + 3] = 1
        classes[number, rng.integers(0, HEIGHT)] = 2
    features = projection[classes] + rng.normal(0, 0.3, (*classes.shape, SIZE))
    targets = torch.from_numpy(classes).repeat_interleave(2, 1).repeat_interleave(2, 2)
    return torch.from_numpy(features).float(), targets


def loss_of(head: Head, maps: Tensor, targets: Tensor) -> Loss:
    known = float((targets >= 0).sum())
    batch = Batch(torch.empty(0), targets.to(torch.int16), torch.arange(len(maps)), known)
    return Segmentation().loss(head(maps), batch)


def test_a_pixel_has_a_logit_per_class(head: Head) -> None:
    maps, _ = scenes(2, 0)
    logits = logits_of(head.eval()(maps))
    assert logits.shape[:2] == (2, CLASSES) and logits.isfinite().all()
    assert logits.shape[2] % HEIGHT == 0 and logits.shape[3] % WIDTH == 0


def test_images_are_answered_each_alone(head: Head) -> None:
    maps, _ = scenes(3, 0)
    head = head.eval()
    together = logits_of(head(maps))
    alone = torch.cat([logits_of(head(one[None])) for one in maps])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)


def test_maps_of_other_sizes_are_read(head: Head) -> None:
    for height, width in ((1, 1), (5, 7), (9, 3)):
        logits = logits_of(head.eval()(torch.randn(2, height, width, SIZE)))
        assert logits.shape[2] % height == 0 and logits.isfinite().all()


@pytest.mark.slow
def test_it_learns_where_the_classes_are(head: Head) -> None:
    maps, targets = scenes(24, 1)
    optimiser = torch.optim.AdamW(head.parameters(), lr=5e-3)
    head.adapt(maps.flatten(1, 2)[None])
    for step in range(45):
        rows = torch.from_numpy(np.random.default_rng(step).permutation(24)[:8])
        found = loss_of(head.train(), maps[rows], targets[rows])
        optimiser.zero_grad()
        (found.sum / found.weight).backward()
        optimiser.step()
    unseen, truth = scenes(8, 2)
    with torch.inference_mode():
        logits = logits_of(head.eval()(unseen))
        large = torch.nn.functional.interpolate(logits, size=truth.shape[1:], mode="bilinear", align_corners=False)
    assert float((large.argmax(1) == truth).float().mean()) > 0.85


@pytest.mark.parametrize("void", ["some", "one image", "all"])
def test_pixels_without_a_class_leave_the_loss_finite(head: Head, void: str) -> None:
    maps, targets = scenes(2, 3)
    targets[0, :4] = -1
    if void != "some":
        targets[0] = -1
    if void == "all":
        targets[:] = -1
    found = loss_of(head.train(), maps, targets)
    found.sum.backward()
    assert found.sum.isfinite()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in head.parameters())
    assert found.weight == float((targets >= 0).sum())


def test_one_image_of_one_place_can_be_learned_from(head: Head) -> None:
    found = loss_of(head.train(), torch.randn(1, 1, 1, SIZE), torch.ones(1, 2, 2, dtype=torch.int64))
    found.sum.backward()
    assert found.sum.isfinite()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in head.parameters())


def test_it_is_built_again_from_what_describes_it(head: Head) -> None:
    kind = head.describe()
    assert json.loads(json.dumps(kind)) == kind
    again = make_head(kind["kind"], kind["size"], kind["outputs"], kind["room"], **kind.get("options", {}))
    again.load_state_dict(head.state_dict())
    maps, _ = scenes(1, 0)
    torch.testing.assert_close(logits_of(again.eval()(maps)), logits_of(head.eval()(maps)))


# Mask2Former --------------------------------------------------------------------------------------------------------


def queries(masks: Tensor, classes: Tensor) -> MaskQueries:
    """One layer's answer about one image: masks (Q, H, W), classes (Q, C + 1)."""
    return MaskQueries(classes[None, None], masks[None, None])


def test_pixels_are_the_sum_over_queries_of_class_and_mask() -> None:
    generator = torch.Generator().manual_seed(0)
    masks, classes = (torch.randn(shape, generator=generator) for shape in ((4, 3, 5), (4, CLASSES + 1)))
    shares = classes.softmax(1)
    expected = torch.zeros(CLASSES, 3, 5)
    for query in range(4):
        for number in range(CLASSES):
            expected[number] += shares[query, number] * masks[query].sigmoid()
    torch.testing.assert_close(queries(masks, classes).logits[0].exp(), expected)


def test_the_right_answer_has_the_lowest_loss() -> None:
    target = torch.zeros(1, 12, 16, dtype=torch.int64)
    target[0, :, 8:] = 2
    right = torch.full((3, 12, 16), -20.0)
    right[0, :, :8], right[1, :, 8:] = 20, 20
    classes = torch.full((3, CLASSES + 1), -20.0)
    classes[0, 0] = classes[1, 2] = classes[2, 3] = 20
    torch.manual_seed(0)
    best = float(queries(right, classes).loss(target).sum)
    swapped = float(queries(right, classes[[1, 0, 2]]).loss(target).sum)
    empty = float(queries(-right, classes).loss(target).sum)
    assert best < min(swapped, empty) / 4  # at the edges masks are between two pixels
    moved = queries(right[[2, 1, 0]], classes[[2, 1, 0]])
    assert float(moved.loss(target).sum) == pytest.approx(best, rel=0.2)  # queries have no order


def test_each_layer_and_image_has_a_part_in_the_loss() -> None:
    maps, targets = scenes(2, 0)
    torch.manual_seed(0)
    head = make_head("mask2former", SIZE, CLASSES, "masks", **SMALL["mask2former"])
    found = head(maps)
    assert found.classes_LBQY.shape == (3, 2, 6, CLASSES + 1)
    assert found.masks_LBQHW.shape == (3, 2, 6, 4 * HEIGHT, 4 * WIDTH)
    with torch.no_grad():
        together = found.loss(targets)
        halves = [MaskQueries(found.classes_LBQY[:, [row]], found.masks_LBQHW[:, [row]]) for row in range(2)]
        alone = [float(half.loss(targets[[row]]).sum) for row, half in enumerate(halves)]
    assert set(together.parts) == {"classes", "masks", "overlap"}
    assert float(together.sum) == pytest.approx(sum(float(part) for part in together.parts.values()), rel=1e-5)
    assert float(together.sum) == pytest.approx(sum(alone), rel=0.1)  # the points are drawn


def test_it_starts_from_numbers_and_asks_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    for seed in range(3):
        torch.manual_seed(seed)
        head = make_head("mask2former", SIZE, CLASSES, "masks", **SMALL["mask2former"])
        assert all(weight.isfinite().all() for weight in head.parameters())
        assert float(head.decoder.level_embed.weight.detach().std()) < 0.1  # type: ignore[union-attr]


def test_nothing_is_told_of_building_it() -> None:
    told: list[str] = []
    log = logging.getLogger("transformers")
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    head = make_head("mask2former", SIZE, CLASSES, "masks", **SMALL["mask2former"])
    loss_of(head, *scenes(1, 0))
    log.removeHandler(handler)
    assert not told


def test_wrong_sizes_and_a_missing_library_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="a width of 30 must be a multiple of 16"):
        Mask2Former(SIZE, CLASSES, width=30)
    for name in ("transformers", "transformers.models.mask2former"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match="activetune\\[dense\\]"):
        Mask2Former(SIZE, CLASSES)


def test_masks_are_as_fine_as_the_head_that_learns_from_them() -> None:
    import_torchvision()
    from torchvision import tv_tensors

    settings = ImageSettings((480, 640), (0.0,) * 3, (1.0,) * 3)
    answer = tv_tensors.Mask(torch.arange(480 * 640).view(480, 640).remainder(30_011).int())
    for kind, stride in (("", 8), ("linear", 8), ("segmenter", 8), ("mask2former", 4), ("mask2former:layers=2", 4)):
        _, target = task_of("segmentation", kind).transform(Image.new("RGB", (640, 480)), answer, settings, None)
        assert target.shape == (480 // stride, 640 // stride)
        assert target[1, 2] == ((stride + stride // 2) * 640 + 2 * stride + stride // 2) % 30_011
    for side, stride in ((512, 8), (224, 4), (96, 2), (32, 1)):
        small = ImageSettings((side, side), (0.0,) * 3, (1.0,) * 3)
        _, target = task_of("segmentation", None).transform(Image.new("RGB", (640, 480)), answer, small, None)
        assert target.shape == (side // stride, side // stride)


def test_logit_adjustment_does_not_fit_its_loss() -> None:
    maps, targets = scenes(1, 0)
    head = make_head("mask2former", SIZE, CLASSES, "masks", **SMALL["mask2former"])
    batch = Batch(torch.empty(0), targets, torch.arange(1), 1.0)
    with pytest.raises(UsageError, match="logit_adjustment is for heads that learn by cross-entropy"):
        Segmentation(added=(0.0, 1.0, 2.0)).loss(head(maps), batch)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_with_it_is_trained_saved_and_used(kind: str, tmp_path: Path) -> None:
    pool = open_pool(write_digits(tmp_path / "digits", 12))
    name, weights = tiny_backbone()
    given: dict[str, Any] = {"device": "cpu", "precision": "fp32", "workers": 0, "quiet": True}
    labels = ANSWERS["segmentation"](pool, tmp_path)
    activetune.finetune(
        pool,
        task="segmentation",
        labels=labels,
        head=SPOKEN.get(kind, kind),
        out=tmp_path / "model",
        backbone=name,
        weights=weights,
        recipe="linear_probe",
        settings={"head_steps": 2, "head_batch": 4},
        **given,
    )
    model = activetune.load(tmp_path / "model")
    assert model.network.heads["segmentation"].kind == kind
    scores = activetune.evaluate(model, pool, labels=labels, **given)
    assert 0 <= scores["miou"] <= 1
    (mask,) = model.predict([tmp_path / "digits" / pool.ids[0]], device="cpu", precision="fp32")
    assert mask.pixels().shape == (8, 8)


# Options behind a head's name ---------------------------------------------------------------------------------------


def test_options_stand_behind_the_name() -> None:
    head = make_head("segmenter:layers=1", SIZE, CLASSES, "masks")
    assert head.options() == {"layers": 1}
    cls, options = parse_head("mask2former: queries=5; width=32;attention_heads=2", "masks")
    assert cls is Mask2Former and options == {"queries": 5, "width": 32, "attention_heads": 2}
    assert options_of(Mask2Former)["layers"] == 9
    assert parse_head("detr:dropout=0", "boxes")[1] == {"dropout": 0.0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("segmenter:depth=3", "the head segmenter has no option 'depth=3'; it has layers (write segmenter:"),
        ("segmenter:layers", "has no option 'layers'"),
        ("segmenter:layers=two", "layers can't be 'two'; give a whole number"),
        ("segmenter:layers=0", "layers can't be '0'; give a whole number from 1 on"),
        ("mask2former:queries=-1", "queries can't be '-1'; give a whole number from 1 on"),
        ("mask2former:attention_heads=0", "attention_heads can't be '0'; give a whole number from 1 on"),
        ("linear:layers=2", "the head linear has no option 'layers=2'; it has none"),
        ("segmentor:layers=2", "segmenter"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        activetune.finetune(tmp_path / "nowhere", task="segmentation", head=text, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_keeps_the_options_of_its_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = open_pool(write_digits(tmp_path / "digits", 12))
    name, weights = tiny_backbone()
    activetune.finetune(
        pool,
        task="segmentation",
        labels=ANSWERS["segmentation"](pool, tmp_path),
        head="segmenter:layers=1",
        out=tmp_path / "model",
        backbone=name,
        weights=weights,
        recipe="linear_probe",
        settings={"head_steps": 2},
        device="cpu",
        workers=0,
        quiet=True,
    )
    assert activetune.load(tmp_path / "model").network.heads["segmentation"].options() == {"layers": 1}
    assert run(["list", "heads"]) == 0
    assert "options: layers=2" in capsys.readouterr().out
