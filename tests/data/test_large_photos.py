"""Photos with more pixels than a network reads: JPEGs are decoded at a size that is enough, and lose nothing by it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import activetune
from activetune import load_backbone, open_pool
from activetune.data import images as images_module
from activetune.data.images import decode_image
from activetune.data.loading import image_loader, rejected_items
from activetune.tasks import make_task
from activetune.tasks._augmentation import Crops

SIZE = (4000, 3000)


def photo(number: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A sample photo of scikit-learn's at 12 megapixels, with a sensor's noise."""
    from sklearn.datasets import load_sample_image

    image = Image.fromarray(load_sample_image(("china.jpg", "flower.jpg")[number % 2]))
    image = image.rotate(15 * number, expand=False).resize(size, Image.Resampling.BICUBIC)
    noise = np.random.default_rng(number).normal(0, 6, (size[1], size[0], 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def as_jpeg(image: Image.Image, **options: Any) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=92, **options)
    return encoded.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(4):
        (folder / f"{number}.jpg").write_bytes(as_jpeg(photo(number)))
    (folder / "upright.jpg").write_bytes(as_jpeg(photo(4), exif=_turned()))
    (folder / "cut.jpg").write_bytes(as_jpeg(photo(5))[:-200_000])
    return folder


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[images_module.ORIENTATION] = 6
    return exif


@pytest.mark.parametrize("name", ["bundled", "bundled@160"])
def test_features_are_those_of_all_pixels(name: str, folder: Path) -> None:
    backbone = load_backbone(name).eval()
    pool = open_pool(folder)
    found = []
    for about in (0, backbone.settings.enough):
        batches = list(image_loader(pool, backbone.prepare, batch_size=8, about=about, workers=0))
        with torch.inference_mode():
            found.append(torch.cat([backbone(batch.images) for batch in batches]))
        assert [pool.ids[position] for batch in batches for position, _ in batch.rejected] == ["cut.jpg"]
    assert torch.cosine_similarity(*found).min() >= 0.999
    assert not torch.equal(*found), "photos were decoded whole both times, so this shows nothing"


def test_embed_reads_photos_at_the_size_that_is_enough(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    whole = images_module.to_rgb
    monkeypatch.setattr(images_module, "to_rgb", lambda *given: sizes.append(given[0].size) or whole(*given))
    activetune.embed(folder, backbone="bundled", out=tmp_path / "emb", workers=0)
    enough = load_backbone("bundled").settings.enough
    assert len(sizes) == 5
    assert all(enough <= min(size) < 2 * enough for size in sizes)
    listed = (tmp_path / "emb" / "rejected.csv").read_text()
    assert "cut.jpg,truncated: " in listed
    assert list(rejected_items(open_pool(folder), workers=0)) == ["cut.jpg"]


def test_a_photo_that_is_not_larger_than_enough_is_decoded_whole() -> None:
    small = as_jpeg(photo(0, (380, 300)))
    assert decode_image(small, about=192).size == (380, 300)
    np.testing.assert_array_equal(decode_image(small, about=192), decode_image(small))


def test_other_formats_are_decoded_as_they_are() -> None:
    encoded = io.BytesIO()
    photo(0, (800, 600)).save(encoded, "PNG")
    np.testing.assert_array_equal(decode_image(encoded.getvalue(), about=100), decode_image(encoded.getvalue()))


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_answers_with_a_place_keep_the_pixels_that_they_count_in(task: str) -> None:
    settings = load_backbone("bundled").settings
    assert make_task(task).enough(settings, None) == make_task(task).enough(settings, Crops()) == 0


def test_a_random_crop_has_as_many_pixels_as_it_is_resized_to() -> None:
    settings = load_backbone("bundled").settings
    task = make_task("classification")
    smallest = 0.1
    crop = task.enough(settings, Crops(min_crop=smallest)) * smallest**0.5
    assert crop >= settings.enough > max(settings.size)
    assert task.enough(settings, None) == settings.enough
