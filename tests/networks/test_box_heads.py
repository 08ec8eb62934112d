"""Heads that find objects: suppression, loss, decoding, learning, on squares seen through a random projection."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from activetune import UsageError
from activetune.base.errors import MissingExtra
from activetune.base.torchvision_ import import_torchvision
from activetune.data.kinds import Boxes, Detections
from activetune.evaluation.boxes import BoxScorer
from activetune.networks.boxes import BoxTarget, Found, nms
from activetune.networks.heads import Head, heads, make_head
from activetune.networks.heads.boxes.detr import Detr, Queries
from activetune.networks.heads.boxes.fcos import OVERLAP, Fcos, Places

SIZE, HEIGHT, WIDTH, PATCH = 48, 6, 8, 16
COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}
CLASSES = list(COLOURS)
SMALL = {
    Fcos: {"width": 32, "convolutions": 1},
    Detr: {"width": 32, "decoder_width": 48, "hidden": 64, "layers": 1, "decoder_layers": 2, "queries": 12},
}
KINDS = pytest.mark.parametrize("kind", heads("boxes").values(), ids=heads("boxes"))


def small(kind: type[Head], seed: int = 0, size: int = SIZE) -> Head:
    torch.manual_seed(seed)
    return kind(size, len(CLASSES), **SMALL.get(kind, {}))


def target(xyxy: Sequence[Sequence[float]] = (), classes: Sequence[int] = ()) -> BoxTarget:
    corners = torch.tensor(xyxy, dtype=torch.float32).reshape(-1, 4)
    return {"xyxy": corners, "classes": torch.tensor(classes, dtype=torch.int64)}


def squares(count: int, seed: int, empty: bool = True) -> tuple[Tensor, list[BoxTarget]]:
    """Images of coloured squares on noise, as maps (B, H, W, D) of randomly projected patches, and the squares."""
    rng = np.random.default_rng(seed)
    projection = np.random.default_rng(99).normal(size=(PATCH * PATCH * 3, SIZE)) / 10
    height, width = HEIGHT * PATCH, WIDTH * PATCH
    maps, targets = [], []
    for number in range(count):
        image = rng.normal(0.2, 0.05, (height, width, 3))
        boxes: list[list[float]] = []
        classes = []
        for _ in range(int(rng.integers(0 if empty and number else 1, 4))):
            side = int(rng.integers(20, 44))
            left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
            if any(left < b[2] and b[0] < left + side and top < b[3] and b[1] < top + side for b in boxes):
                continue
            classes.append(int(rng.integers(len(CLASSES))))
            boxes.append([left, top, left + side, top + side])
            image[top : top + side, left : left + side] = COLOURS[CLASSES[classes[-1]]]
        patches = image.reshape(HEIGHT, PATCH, WIDTH, PATCH, 3).transpose(0, 2, 1, 3, 4).reshape(HEIGHT, WIDTH, -1)
        maps.append(patches @ projection)
        scale = np.array([width, height, width, height])
        targets.append(target((np.array(boxes).reshape(-1, 4) / scale).tolist(), classes))
    return torch.tensor(np.array(maps), dtype=torch.float32), targets


def train(head: Head, features: Tensor, targets: list[BoxTarget], steps: int, lr: float, batch: int = 8) -> list[float]:
    """AdamW with one cycle of the learning rate; the losses per image."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    generator = torch.Generator().manual_seed(0)
    losses = []
    head.train()
    for _ in range(steps):
        rows = torch.randperm(len(targets), generator=generator)[:batch]
        loss = head(features[rows]).loss([targets[row] for row in rows.tolist()])
        optimizer.zero_grad()
        (loss.sum / loss.weight).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.sum.detach()) / loss.weight)
    head.eval()
    return losses


def mean_precision(head: Head, features: Tensor, targets: list[BoxTarget], metric: str = "map50") -> float:
    scorer = BoxScorer(CLASSES)
    with torch.inference_mode():
        decoded = head(features).decode()
    for number, (found, truth) in enumerate(zip(decoded, targets, strict=True)):
        names = [CLASSES[place] for place in found.classes_K.tolist()]
        known = Boxes.of((truth["xyxy"] * 100).tolist(), [CLASSES[place] for place in truth["classes"].tolist()])
        sure = found.scores_K.tolist()
        scorer.add(str(number), known, Detections.of((found.xyxy_K4 * 100).tolist(), names, sure))
    return float(scorer.scores()[metric])


# Suppression ----------------------------------------------------------------------------------------------------------


def slow_nms(boxes: list[list[float]], scores: list[float], classes: list[int], threshold: float) -> list[int]:
    def overlap(a: list[float], b: list[float]) -> float:
        width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        shared = max(0.0, width) * max(0.0, height)
        return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)

    kept: list[int] = []
    for one in sorted(range(len(scores)), key=lambda place: -scores[place]):
        if all(classes[one] != classes[other] or overlap(boxes[one], boxes[other]) <= threshold for other in kept):
            kept.append(one)
    return kept


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from([0.0, 0.3, 0.6, 1.0]))
def test_suppression_is_the_slow_one(seed: int, count: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 12, (count, 2))
    boxes = np.hstack([corner, corner + rng.integers(1, 9, (count, 2))]).astype(np.float32)
    scores = (rng.integers(0, 6, count) / 5).astype(np.float32)  # many are equal
    classes = rng.integers(0, 2, count)
    found = nms(*map(torch.from_numpy, (boxes, scores, classes)), threshold)
    expected = slow_nms(boxes.tolist(), scores.tolist(), classes.tolist(), threshold)
    assert found.tolist() == expected
    assert nms(*map(torch.from_numpy, (boxes, scores, classes)), threshold, 3).tolist() == expected[:3]


def test_suppression_by_hand() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [1, 0, 11, 10], [3, 0, 13, 10], [0, 0, 10, 10], [50, 50, 60, 60]]).float()
    scores, classes = torch.tensor([0.5, 0.9, 0.4, 0.8, 0.1]), torch.tensor([0, 0, 0, 1, 0])
    # The second covers the first (9/11) and the third (8/12); the fourth is of another class.
    assert nms(boxes, scores, classes, 0.6).tolist() == [1, 3, 4]
    # The third overlaps the first alone by more than 0.5 now, which falls itself.
    assert nms(boxes, scores, classes, 0.7).tolist() == [1, 3, 2, 4]


# What both heads keep to ----------------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (6, 8), (1, 9)])
def test_maps_of_any_shape(kind: type[Head], shape: tuple[int, int]) -> None:
    outputs = small(kind).eval()(torch.randn(2, *shape, SIZE))
    loss = outputs.loss([target([[0.1, 0.2, 0.7, 0.9]], [2]), target()])
    assert loss.weight == 2
    assert loss.sum.isfinite()
    torch.testing.assert_close(sum(loss.parts.values()), loss.sum)
    found = outputs.decode(0.0)
    assert len(found) == 2
    for one in found:
        count = len(one.scores_K)
        assert 0 < count <= 100
        assert one.xyxy_K4.shape == (count, 4) and one.classes_K.shape == (count,)
        assert (one.xyxy_K4 >= 0).all() and (one.xyxy_K4 <= 1).all()
        assert (one.xyxy_K4[:, 2:] > one.xyxy_K4[:, :2]).all()
        assert (one.scores_K[1:] <= one.scores_K[:-1]).all()
        assert ((one.scores_K > 0) & (one.scores_K <= 1)).all()
        assert set(one.classes_K.tolist()) <= {0, 1, 2}


@pytest.mark.slow
@KINDS
def test_images_without_an_object_teach_that_nothing_is_there(kind: type[Head]) -> None:
    head, features = small(kind), squares(8, seed=1)[0]
    for weights in head.parameters():
        weights.grad = None
    loss = head(features).loss([target()] * 8)
    loss.sum.backward()
    assert loss.sum.isfinite() and loss.sum > 0
    assert all(weights.grad is None or weights.grad.isfinite().all() for weights in head.parameters())
    losses = train(head, features, [target()] * 8, steps=40, lr=3e-3)
    assert losses[-1] < losses[0] / 2
    assert not any(len(found.scores_K) for found in head(features).decode(0.5))


@KINDS
def test_an_image_is_answered_alone(kind: type[Head]) -> None:
    head, features = small(kind).eval(), squares(4, seed=2)[0]
    together = head(features).decode(0.0)
    for row, found in enumerate(together):
        (alone,) = head(features[row : row + 1]).decode(0.0)
        torch.testing.assert_close(alone.scores_K[:5], found.scores_K[:5], atol=1e-4, rtol=1e-3)


@KINDS
def test_features_of_any_scale_are_read_alike(kind: type[Head]) -> None:
    head, features = small(kind).eval(), squares(2, seed=2)[0]
    scores = [head(features * scale).decode(0.0)[0].scores_K[:5] for scale in (1.0, 100.0)]
    torch.testing.assert_close(*scores, atol=1e-3, rtol=1e-2)


@KINDS
def test_what_half_precision_gives_is_decoded_and_taught_outside_of_it(kind: type[Head]) -> None:
    head, (features, targets) = small(kind).eval(), squares(4, seed=2)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = head(features)
    torch.testing.assert_close(outputs.loss(targets).sum, head(features).loss(targets).sum, atol=0.1, rtol=0.05)
    assert [len(found.scores_K) > 0 for found in outputs.decode(0.0)] == [True] * 4


@KINDS
def test_every_weight_gets_a_finite_gradient(kind: type[Head]) -> None:
    features, targets = squares(4, seed=0)
    head = small(kind)
    loss = head(features).loss(targets)
    loss.sum.backward()
    for name, weights in head.named_parameters():
        assert weights.grad is not None and weights.grad.isfinite().all(), name


@KINDS
def test_description_and_tensors_rebuild_it(kind: type[Head], tmp_path: Path) -> None:
    head = small(kind).eval()
    described = json.loads(json.dumps(head.describe()))
    assert (described["kind"], described["room"]) == (kind.kind, "boxes")
    assert described["options"].items() >= SMALL.get(kind, {}).items()
    save_file({name: value.contiguous() for name, value in head.state_dict().items()}, tmp_path / "head.safetensors")
    torch.manual_seed(5)
    again = make_head(kind.kind, described["size"], described["outputs"], "boxes", **described["options"]).eval()
    again.load_state_dict(load_file(tmp_path / "head.safetensors"))
    features = squares(2, seed=3)[0]
    for mine, other in zip(head(features).decode(0.0), again(features).decode(0.0), strict=True):
        torch.testing.assert_close(tuple(mine), tuple(other), atol=0, rtol=0)


@KINDS
def test_training_depends_on_the_seed_alone(kind: type[Head]) -> None:
    features, targets = squares(6, seed=4)
    runs = [train(small(kind, seed), features, targets, steps=4, lr=1e-3) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


@KINDS
def test_it_is_made_and_trained_without_a_network(kind: type[Head], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    features, targets = squares(2, seed=5)
    assert small(kind)(features).loss(targets).sum.isfinite()


@pytest.mark.slow
@KINDS
def test_it_fits_a_few_images(kind: type[Head]) -> None:
    features, targets = squares(4, seed=6)
    torch.manual_seed(0)
    head = kind(SIZE, len(CLASSES), **SMALL.get(kind, {}), **({"dropout": 0.0} if kind is Detr else {}))
    losses = train(head, features, targets, steps=150 if kind is Detr else 50, lr=2e-3, batch=4)
    assert losses[-1] < losses[0] / 2
    assert mean_precision(head, features, targets) > 0.8


@pytest.mark.slow
def test_fcos_learns_what_squares_are_from_few_images() -> None:
    features, targets = squares(40, seed=7)
    head = small(Fcos)
    train(head, features, targets, steps=120, lr=5e-3)
    assert mean_precision(head, *squares(40, seed=8)) > 0.9


# FCOS -----------------------------------------------------------------------------------------------------------------


def saying(boxes: list[list[float]], classes: list[int]) -> Places:
    """Places that give some boxes exactly, each from the place in its middle, by the geometry of the targets."""
    places = small(Fcos).eval()(torch.zeros(1, HEIGHT, WIDTH, SIZE))
    logits, edges = torch.full_like(places.logits_BPY, -20.0), torch.zeros_like(places.edges_BP4)
    units = torch.tensor(boxes) * torch.tensor(places.canvas * 2)
    middles = (places.cells_P4[:, :2] + places.cells_P4[:, 2:]) / 2
    for box, kind in zip(units, classes, strict=True):
        place = int((middles - (box[:2] + box[2:]) / 2).norm(dim=1).argmin())
        side = places.cells_P4[place, 2] - places.cells_P4[place, 0]
        edges[0, place] = torch.cat([middles[place] - box[:2], box[2:] - middles[place]]) / side
        logits[0, place, kind] = 20.0
    central = torch.full_like(places.central_BP1, 20.0)
    return Places(places.detector, logits, edges, central, places.cells_P4, places.levels, places.canvas)


def test_decoding_undoes_the_geometry_of_targets() -> None:
    boxes, classes = [[0.0, 0.0, 0.25, 0.5], [0.3, 0.4, 0.9, 1.0], [0.6, 0.05, 0.8, 0.2]], [2, 0, 1]
    (found,) = saying(boxes, classes).decode(0.5)
    order = torch.argsort(found.classes_K, descending=True).tolist()
    assert found.classes_K.sort(descending=True).values.tolist() == [2, 1, 0]
    expected = torch.tensor([boxes[classes.index(kind)] for kind in (2, 1, 0)])
    torch.testing.assert_close(found.xyxy_K4[order], expected, atol=1e-5, rtol=0)


def test_places_tile_the_canvas_at_three_resolutions() -> None:
    places = small(Fcos)(torch.zeros(1, 5, 7, SIZE))
    assert places.levels == (10 * 14, 5 * 7, 3 * 4)
    assert places.canvas == (7 * 16, 5 * 16)
    fine, middle, _ = places.cells_P4.split(places.levels)
    for cells, side in ((fine, 8), (middle, 16)):
        assert cells[0].tolist() == [0, 0, side, side]
        assert cells[-1].tolist() == [112 - side, 80 - side, 112, 80]
        assert cells[1].tolist() == [side, 0, 2 * side, side]  # row by row


def test_large_objects_are_taught_to_coarse_places() -> None:
    """A box that fills a canvas of 20 x 20 patches: its edges are 160 units from the middle."""
    places = small(Fcos)(torch.zeros(1, 20, 20, SIZE))
    logits = places.logits_BPY.detach().requires_grad_()
    edges = places.edges_BP4.detach().clamp_min(0.1).requires_grad_()
    moved = Places(places.detector, logits, edges, places.central_BP1, places.cells_P4, places.levels, places.canvas)
    moved.loss([target([[0.01, 0.01, 0.99, 0.99]], [0])]).parts["boxes"].backward()
    assert edges.grad is not None
    fine, middle, coarse = (part.any() for part in edges.grad[0].split(places.levels))
    assert (bool(fine), bool(middle), bool(coarse)) == (False, False, True)


def test_of_boxes_upon_each_other_the_surest_is_kept() -> None:
    places = small(Fcos).eval()(torch.zeros(1, HEIGHT, WIDTH, SIZE))
    middles = (places.cells_P4[:, :2] + places.cells_P4[:, 2:]) / 2
    side = (places.cells_P4[:, 2] - places.cells_P4[:, 0])[:, None]
    box = torch.tensor([32.0, 16.0, 96.0, 80.0])  # all places give the same box
    edges = torch.cat([middles - box[:2], box[2:] - middles], dim=1) / side
    logits = torch.full_like(places.logits_BPY, -20.0)
    logits[0, :, 1] = torch.linspace(0, 5, logits.shape[1])
    logits[0, :, 2] = 1.0
    central = torch.full_like(places.central_BP1, 20.0)
    same = Places(places.detector, logits, edges[None], central, places.cells_P4, places.levels, places.canvas)
    (found,) = same.decode(0.5)
    assert found.classes_K.tolist() == [1, 2]
    torch.testing.assert_close(found.scores_K[0], torch.tensor(5.0).sigmoid().sqrt())
    assert 0 < OVERLAP < 1


def test_decoding_is_that_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own suppression, which is not there beside every torch, replaced by ours."""
    import_torchvision()
    from torchvision.models.detection import fcos

    monkeypatch.setattr(fcos.box_ops, "batched_nms", nms)
    places = small(Fcos).eval()(torch.zeros(3, HEIGHT, WIDTH, SIZE))
    torch.manual_seed(3)
    logits, central = torch.randn_like(places.logits_BPY), torch.randn_like(places.central_BP1)
    edges = torch.rand_like(places.edges_BP4) * 3 + 0.2
    said = Places(places.detector, logits, edges, central, places.cells_P4, places.levels, places.canvas)
    levels = {"cls_logits": logits, "bbox_regression": edges, "bbox_ctrness": central}
    split = {name: list(value.split(said.levels, dim=1)) for name, value in levels.items()}
    cells = [list(said.cells_P4.split(said.levels))] * 3
    places.detector.score_thresh = 0.3
    theirs = places.detector.postprocess_detections(split, cells, [said.canvas[::-1]] * 3)
    for found, expected in zip(said.decode(0.3), theirs, strict=True):
        assert len(found.scores_K) == 100
        torch.testing.assert_close(found.xyxy_K4 * torch.tensor(said.canvas * 2), expected["boxes"])
        torch.testing.assert_close(found.scores_K, expected["scores"])
        assert torch.equal(found.classes_K, expected["labels"])


@pytest.mark.parametrize("width", [0, 20, -32])
def test_a_width_that_can_not_be_normalised_is_refused(width: int) -> None:
    with pytest.raises(UsageError, match="give a multiple of 32"):
        Fcos(SIZE, 3, width=width)


# DETR -----------------------------------------------------------------------------------------------------------------


def queries_saying(boxes: list[list[float]], classes: list[int]) -> Queries:
    corners = torch.tensor(boxes)
    centred = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], dim=1)
    logits = torch.full((1, 1, len(boxes) + 1, len(CLASSES) + 1), -10.0)
    logits[..., -1, -1] = 10.0  # the last query gives nothing
    for place, kind in enumerate(classes):
        logits[0, 0, place, kind] = 10.0
    return Queries(logits, torch.cat([centred, torch.full((1, 4), 0.5)])[None, None])


def test_queries_are_decoded_to_what_they_were_taught() -> None:
    boxes, classes = [[0.0, 0.1, 0.25, 0.5], [0.3, 0.4, 0.9, 1.0]], [2, 0]
    said = queries_saying(boxes, classes)
    (found,) = said.decode()
    order = torch.argsort(found.classes_K, descending=True)
    assert found.classes_K[order].tolist() == classes
    torch.testing.assert_close(found.xyxy_K4[order], torch.tensor(boxes))
    right = said.loss([target(boxes[::-1], classes[::-1])])  # in any order of the objects
    assert right.sum < 1e-4
    wrong = said.loss([target([[0.0, 0.1, 0.25, 0.5], [0.3, 0.4, 0.7, 1.0]], [2, 0])])
    assert wrong.parts["corners"] > 0.1 and wrong.parts["overlap"] > 0.1 and wrong.parts["classes"] < 1e-4


def test_all_layers_of_the_decoder_are_taught_by_the_losses_of_the_paper() -> None:
    """Against transformers' own sum over the last layer and the auxiliary ones."""
    from transformers import DetrConfig, TimmBackboneConfig
    from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

    features, targets = squares(3, seed=9)
    said = small(Detr).eval()(features)
    config = DetrConfig(backbone_config=TimmBackboneConfig(backbone="resnet18"), auxiliary_loss=True, decoder_layers=2)
    config.num_labels = len(CLASSES)
    known = []
    for one in targets:
        corner, far = one["xyxy"].split(2, dim=1)
        known.append({"boxes": torch.cat([(corner + far) / 2, far - corner], 1), "class_labels": one["classes"]})
    theirs = []
    for image, one in enumerate(known):
        logits, boxes = (part[:, image : image + 1] for part in (said.logits_LBQY, said.boxes_LBQ4))
        given = logits[-1], [one], torch.device("cpu"), boxes[-1], config, logits, boxes
        theirs.append(ForObjectDetectionLoss(*given)[0])
    torch.testing.assert_close(said.loss(targets).sum, torch.stack(theirs).sum())


def test_more_objects_than_queries_are_allowed() -> None:
    head = small(Detr)
    corners = torch.rand(20, 2) * 0.8
    loss = head(torch.randn(1, 3, 3, SIZE)).loss([target(torch.cat([corners, corners + 0.1], 1).tolist(), [0] * 20)])
    assert loss.sum.isfinite()


def test_a_network_that_has_diverged_gives_a_loss_that_is_not_a_number() -> None:
    head = small(Detr)
    loss = head(torch.full((1, 3, 3, SIZE), torch.nan)).loss([target([[0.1, 0.1, 0.2, 0.2]], [0])])
    assert loss.sum.isnan()


def test_positions_computed_without_gradients_are_no_part_of_a_later_graph() -> None:
    head, (features, targets) = small(Detr), squares(2, seed=0)
    with torch.inference_mode():
        head(features)
    head(features).loss(targets).sum.backward()
    assert head.project.weight.grad is not None


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("transformers", "transformers.models.detr"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"pip install 'activetune\[dense\]'"):
        Detr(SIZE, 3)


def test_widths_that_heads_do_not_divide_are_refused() -> None:
    with pytest.raises(UsageError, match="must be multiples of 16"):
        Detr(SIZE, 3, width=100)


def test_the_defaults_are_those_of_visft() -> None:
    described = Detr(SIZE, 80).describe()["options"]
    assert described["layers"] == described["decoder_layers"] == 6
    assert (described["queries"], described["width"], described["decoder_width"]) == (100, 128, 256)


def test_what_is_found_is_named() -> None:
    assert Found._fields == ("xyxy_K4", "scores_K", "classes_K")
