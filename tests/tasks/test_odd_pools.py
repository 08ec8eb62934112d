"""Pools and labels at the edge, under tasks whose answers have a place: thin and tiny images, no class in common."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import activetune
from activetune import Labels, Pool, UsageError, open_pool, read_annotations
from activetune.base.arrays import IntArray
from activetune.data.kinds import VOID, ArrayMask, Boxes, Names
from activetune.networks.backbones import ImageSettings, evaluation_transform
from activetune.tasks import Batch, _canvas, make_task
from activetune.tasks._canvas import bands_on_image, fitted, on_image

CANVAS = (96, 128)
SETTINGS = ImageSettings(CANVAS, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear", 1.0, "center")


def write_image(path: Path, size: tuple[int, int], colour: tuple[int, int, int] = (90, 120, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], colour).save(path)
    return path


# An image's pixels on the map -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(96, 128), (192, 256), (48, 64)])
def test_a_map_is_spread_over_an_image_of_the_canvas_shape_as_torch_interpolates(size: tuple[int, int]) -> None:
    map_BCHW = torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    expected = functional.interpolate(map_BCHW[1:], size=size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(on_image(map_BCHW, 1, size, CANVAS), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(77, 101), (3, 900), (900, 3), (1, 1), (350, 128)])
def test_each_pixel_reads_the_map_where_its_centre_lies(size: tuple[int, int]) -> None:
    rows, columns = 12, 16
    ramp = torch.stack(torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij"))[None]
    fit = _canvas.Fit.of(size, CANVAS)
    found = on_image(ramp * 8, 0, size, CANVAS)  # pixels of the canvas per place
    for axis, (side, inner) in enumerate(zip(size, (fit.height, fit.width), strict=True)):
        centres = (torch.arange(side) + 0.5) * inner / side
        known = centres.clamp(4, CANVAS[axis] - 4)  # beyond the outermost places nothing is known
        torch.testing.assert_close(found[axis].select(1 - axis, 0), known.float(), atol=1e-3, rtol=0)


def test_bands_are_parts_of_the_whole_and_no_larger_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    map_BCHW = torch.randn(1, 5, 12, 16, generator=torch.Generator().manual_seed(0))
    whole = on_image(map_BCHW, 0, (200, 300), CANVAS)
    monkeypatch.setattr(_canvas, "AT_ONCE", 5 * 300 * 7)
    bands = list(bands_on_image(map_BCHW, 0, (200, 300), CANVAS))
    assert max(band.shape[1] for _, band in bands) == 7
    assert torch.equal(torch.cat([band for _, band in bands], dim=1), whole)
    assert [rows.start for rows, _ in bands] == list(range(0, 200, 7))


def test_a_large_photo_in_many_classes_is_answered_and_scored_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_canvas, "AT_ONCE", 1000)
    task, size = make_task("segmentation"), (90, 120)
    logits = torch.randn(1, 4, 12, 16, generator=torch.Generator().manual_seed(0))
    truth_HW: IntArray = np.random.default_rng(0).integers(-1, 4, size).astype(np.int32)
    labels = Labels(["1"], [ArrayMask(truth_HW)], ["a", "b", "c", "d"])
    (mask,) = task.decode(logits, [size], SETTINGS, labels.classes)
    assert np.array_equal(mask.pixels(), on_image(logits, 0, size, CANVAS).argmax(0).numpy())
    metric: Any = task.metric(labels, SETTINGS)
    metric.update(logits, Batch.untaught([0], [size]))
    loss = functional.cross_entropy(
        on_image(logits, 0, size, CANVAS)[None], torch.from_numpy(truth_HW).long()[None], ignore_index=VOID
    )
    assert metric.measured([metric.state()]).loss == pytest.approx(float(loss), rel=1e-5)
    known = truth_HW != VOID
    assert metric.scores().as_dict()["pixel_accuracy"] == pytest.approx((mask.pixels() == truth_HW)[known].mean())


# Thin images ----------------------------------------------------------------------------------------------------------


def test_a_thin_image_is_shown_whole_where_answers_have_a_place(tmp_path: Path) -> None:
    pixels = np.zeros((4, 1200, 3), dtype=np.uint8)
    pixels[:, :60], pixels[:, -60:] = (255, 0, 0), (0, 0, 255)
    (tmp_path / "p").mkdir()
    Image.fromarray(pixels).save(tmp_path / "p/1.png")
    pool = open_pool(tmp_path / "p", quiet=True)
    table = tmp_path / "boxes.csv"
    table.write_text(
        'id,objects\n1.png,"{""bbox"": [[0, 0, 60, 4], [1140, 0, 60, 4]], ""category"": [""red"", ""blue""]}"\n'
    )
    (boxes,) = read_annotations(table, pool, "detection").answers
    assert boxes.xyxy_K4.tolist() == [[0, 0, 60, 4], [1140, 0, 1200, 4]]
    with Image.open(tmp_path / "p/1.png") as image:
        canvas, _ = fitted(image.convert("RGB"), None, SETTINGS)
    assert canvas[0, 0, 1] > 200 and canvas[2, 0, 126] > 200
    model = train(pool, Labels(["1.png"], [ArrayMask(np.zeros((4, 1200), np.int32))], ["a"]), "segmentation", tmp_path)
    (mask,) = model.predict([tmp_path / "p/1.png"])
    assert mask.size == (4, 1200)


def test_classes_of_whole_images_see_the_middle_of_a_thin_image() -> None:
    buffer = io.BytesIO()
    pixels = np.zeros((1, 60_000, 3), dtype=np.uint8)
    pixels[:, 29_900:30_100] = 255
    Image.fromarray(pixels).save(buffer, "PNG")
    with Image.open(buffer) as image:
        found = evaluation_transform(SETTINGS)(image)  # the short side of the whole would be 96 x 5,760,000 pixels
    assert found.shape == (3, *CANVAS) and bool((found == 255).all())


# Labels and models that have nothing in common ------------------------------------------------------------------------


def train(pool: Pool, labels: Labels, task: str, folder: Path) -> activetune.Model:
    steps = {} if task == "multilabel" else {"head_steps": 1}
    return activetune.finetune(
        pool, task=task, labels=labels, backbone="bundled@32x48", recipe="linear_probe", settings=steps,
        out=folder / "model", workers=0, device="cpu", quiet=True,
    )  # fmt: skip


def answer(task: str, classes: list[str], number: int) -> Any:
    if task == "segmentation":
        return ArrayMask((np.indices((20, 30)).sum(axis=0) % len(classes)).astype(np.int32))
    name = classes[number % len(classes)]
    return Names((name,)) if task == "multilabel" else Boxes.of([[0, 0, 20, 15]], [name])


@pytest.mark.parametrize("task", ["segmentation", "detection", "multilabel"])
def test_a_model_is_not_scored_by_classes_none_of_which_it_knows(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [write_image(tmp_path / f"p/{number}.png", (20, 30)).name for number in range(3)]
    pool = open_pool(tmp_path / "p", quiet=True)

    def labelled(*classes: str) -> Labels:
        return Labels(names, [answer(task, list(classes), number) for number in range(3)], list(classes))

    model = train(pool, labelled("cat", "dog"), task, tmp_path)
    with pytest.raises(
        UsageError, match=r"labels \('Cat', 'fox'\) and the model \('cat', 'dog'\) have no class in com"
    ):
        activetune.evaluate(model, pool, labels=labelled("Cat", "fox"), workers=0)
    capsys.readouterr()
    assert activetune.evaluate(model, pool, labels=labelled("cat", "fox"), workers=0).n == 3
    assert "the model does not know 'fox'; what shows them counts as not found" in capsys.readouterr().err
    empty = {"segmentation": ArrayMask(np.full((20, 30), VOID, np.int32)), "detection": Boxes.of([], [])}
    nothing = Labels(names, [empty.get(task, Names(()))] * 3, ["cat", "dog"])
    if task == "segmentation":
        with pytest.raises(UsageError, match="every pixel of the 3 masks is void, so there is nothing to score"):
            activetune.evaluate(model, pool, labels=nothing, workers=0)
        with pytest.raises(UsageError, match="every pixel of the 3 masks is void; label some that have a class"):
            train(pool, nothing, task, tmp_path / "other")
    else:
        assert activetune.evaluate(model, pool, labels=nothing, workers=0).value == 0
        assert "none of the 3 labelled images shows any class, so mAP is 0" in capsys.readouterr().err
