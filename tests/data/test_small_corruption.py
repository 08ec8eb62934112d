"""The corruptions of CIFAR-10-C: published strengths, known answers, and the pools that are made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import activetune
from activetune import UsageError, open_pool
from activetune.cli import run
from activetune.data.corruption import KINDS
from activetune.data.images import decode_image
from activetune.data.small_corruption import CONSTANTS, SMALL_KINDS, _clouds, _moved, _zoomed, small_corrupted

imagecorruptions = pytest.importorskip("imagecorruptions", reason="the extra 'corrupt' is not installed")
FROSTS = Path(imagecorruptions.__file__).parent / "frost"


def of(image: np.ndarray, kind: str, severity: int, seed: int = 0) -> np.ndarray:
    found = small_corrupted(image, kind, severity, np.random.default_rng(seed), FROSTS)
    assert found.shape == image.shape and found.dtype == np.uint8
    return found.astype(float)


def plain(value: int) -> np.ndarray:
    return np.full((32, 32, 3), value, dtype=np.uint8)


@pytest.fixture
def photo() -> np.ndarray:
    """Smooth shapes in colours."""
    down, right = np.mgrid[:32, :32] / 31
    return np.uint8(255 * np.stack([down, right, 0.5 + 0.5 * np.sin(6 * (down + right))], -1))


def test_the_kinds_are_those_of_the_other_benchmark_but_for_spatter() -> None:
    assert set(KINDS) - set(SMALL_KINDS) == {"spatter"}
    assert all(len(constants) == 5 for constants in CONSTANTS.values())


@pytest.mark.parametrize("kind", SMALL_KINDS)
def test_each_kind_changes_an_image_by_its_seed_alone(kind: str, photo: np.ndarray) -> None:
    before = photo.copy()
    assert (of(photo, kind, 5) == of(photo, kind, 5)).all()
    assert (of(photo, kind, 5) != photo).any()
    assert (photo == before).all()
    sizes = [np.zeros((40, 33, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)]
    assert all(of(image, kind, severity).shape == image.shape for image in sizes for severity in (1, 5))


@pytest.mark.parametrize("kind", ["gaussian_noise", "shot_noise", "impulse_noise", "gaussian_blur", "fog", "contrast"])
def test_a_higher_severity_changes_more(kind: str, photo: np.ndarray) -> None:
    changes = [np.mean([np.abs(of(photo, kind, one, seed) - photo).mean() for seed in range(8)]) for one in range(1, 6)]
    assert changes == sorted(changes) and changes[0] > 0


@pytest.mark.parametrize(("severity", "spread"), [(1, 0.04), (5, 0.10)])
def test_noise_has_its_published_spread(severity: int, spread: float) -> None:
    assert of(plain(128), "gaussian_noise", severity).std() == pytest.approx(255 * spread, rel=0.05)
    assert of(plain(128), "speckle_noise", 5).std() == pytest.approx(128 * 0.2, rel=0.05)


def test_impulses_strike_their_share() -> None:
    struck = np.isin(np.concatenate([of(plain(128), "impulse_noise", 5, seed) for seed in range(10)]), [0, 255])
    assert struck.mean() == pytest.approx(0.07, rel=0.1)


def test_colours_change_as_published() -> None:
    image = plain(100)
    assert np.allclose(of(image, "brightness", 5), 100 + 0.3 * 255, atol=1)
    half = np.concatenate([plain(0)[:16], plain(200)[:16]])
    assert np.allclose(of(half, "contrast", 5)[[0, -1]], [[[100 - 15] * 3] * 32, [[100 + 15] * 3] * 32], atol=1)
    red = plain(0) + np.uint8([200, 100, 100])
    assert np.allclose(of(red, "saturate", 2), np.array([200, 190, 190]), atol=1)  # a tenth of the saturation


def test_fog_is_a_mean_with_clouds() -> None:
    """White stays white where the cloud is densest, and nothing is darker than without any cloud."""
    found = of(plain(255), "fog", 4)
    assert found.max() == 255
    assert found.min() == pytest.approx(255 / (1 + 1), abs=1)


def test_clouds_are_even_over_the_torus_and_finer_with_less_decay() -> None:
    rough, smooth = (_clouds(32, decay, np.random.default_rng(0)) for decay in (1.5, 3.0))
    for found in (rough, smooth):
        assert (found.min(), found.max()) == (0, 1)
    steps = [np.abs(np.diff(found, axis=0)).mean() / found.std() for found in (rough, smooth)]
    assert steps[0] > steps[1]


def test_motion_goes_along_a_line() -> None:
    point = np.zeros((32, 32, 1))
    point[16, 16] = 1
    found = _moved(point, 6, 2.0, angle=0)[..., 0]
    assert found.sum() == pytest.approx(1)
    assert set(np.flatnonzero(found.any(axis=1))) == {16}
    weights = np.exp(-(np.arange(13) ** 2) / 8)
    assert np.allclose(found[16, 16 - 12 : 17][::-1], weights / weights.sum())


def test_a_zoom_of_one_is_the_image_and_two_its_middle(photo: np.ndarray) -> None:
    pixels = photo / 255.0
    assert np.allclose(_zoomed(pixels, 1.0), pixels)
    assert (
        np.abs(_zoomed(pixels, 2.0) - np.asarray(Image.fromarray(photo[8:24, 8:24]).resize((32, 32))) / 255).max() < 0.1
    )


def test_defocus_of_a_small_radius_is_its_soft_edge_alone() -> None:
    point = plain(0)
    point[16, 16] = 255
    found = of(point, "defocus_blur", 1)[..., 0]
    assert set(map(tuple, np.argwhere(found > 0))) <= {(row, column) for row in (15, 16, 17) for column in (15, 16, 17)}


def test_glass_moves_a_pixel_by_one_at_most_in_a_turn() -> None:
    columns = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))
    found = of(np.stack([columns] * 3, -1), "glass_blur", 1)
    moved = columns.astype(float) - found[..., 0]
    assert (moved > 6).any() and (moved < 2).any() and moved.max() < 10


def test_pools_say_whose_severities_they_have(
    tmp_path: Path, photo: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "few").mkdir()
    for number in range(3):
        Image.fromarray(np.roll(photo, number)).save(tmp_path / "few" / f"{number}.png")
    few, out = tmp_path / "few", tmp_path / "c"
    options = ["--kinds", "fog", "--severity", "3", "--out", str(out), "--quiet"]
    assert run(["corrupt", str(few), *options, "--benchmark", "cifar10_c"]) == 0
    assert run(["corrupt", str(few), *options, "--resume"]) == 2
    assert "another pool, seed or benchmark" in capsys.readouterr().err
    (dense,) = activetune.corrupt(few, kinds=["fog"], severities=[3], out=tmp_path / "d", workers=0, quiet=True)
    changes = []
    for path in (out / "fog-3.parquet", dense):
        pool = open_pool(path)
        found = [np.asarray(decode_image(pool.read(place))).astype(float) for place in range(3)]
        changes.append(np.mean([np.abs(one - np.roll(photo, place)).mean() for place, one in enumerate(found)]))
    assert 0 < changes[0] < 0.8 * changes[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"benchmark": "cifar10"}, "unknown benchmark 'cifar10'; there are: cifar10_c, imagenet_c"),
        ({"benchmark": "cifar10_c", "kinds": ["spatter"]}, "cifar10_c has no spatter here; leave it out"),
    ],
)
def test_wrong_benchmarks_are_a_sentence(options: dict, message: str, tmp_path: Path, photo: np.ndarray) -> None:
    Image.fromarray(photo).save(tmp_path / "one.png")
    with pytest.raises(UsageError, match=message):
        activetune.corrupt(tmp_path, **{"kinds": ["fog"], "severities": [1], "out": tmp_path / "c", **options})
