"""Frozen feature augmentation: the maps to [0, 1] and back, what each operation does, and all of them alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torch import Tensor

from activetune.base.errors import UsageError
from activetune.networks import frofa
from activetune.networks.frofa import (
    KNOWN,
    OPERATIONS,
    SCOPES,
    Grid,
    ScopedOperation,
    _places,
    augment,
    from_unit,
    mix,
    parse_augmentation,
    to_unit,
)

GRID = Grid(5, 7, prefix=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tokens(items: int = 3, channels: int = 4, seed: int = 0) -> Tensor:
    return torch.randn((items, GRID.tokens, channels), generator=generator(seed)) * 5 - 2


def one(name: str, strength: float, scope: str = "frofa") -> tuple[ScopedOperation, ...]:
    return parse_augmentation(f"{scope}:{name}:{strength}")


# To [0, 1] and back ----------------------------------------------------------------------------------------------

numbers = st.floats(-1e4, 1e4, width=32)


@settings(deadline=None)
@given(arrays(np.float32, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=numbers), st.sampled_from(SCOPES))
def test_there_and_back_is_exact_to_rounding(values: np.ndarray, scope: str) -> None:
    features = torch.from_numpy(values)
    unit, low, high = to_unit(features, scope)  # type: ignore[arg-type]
    assert float(unit.min()) >= 0
    assert float(unit.max()) <= 1
    span = float((high - low).max())
    torch.testing.assert_close(from_unit(unit, low, high), features, atol=1e-6 * span, rtol=1e-6)


def test_scopes_share_their_minimum_and_maximum() -> None:
    features = tokens()
    for scope, shape in (("frofa", (3, 1, 1)), ("cfrofa", (3, 1, 1)), ("c2frofa", (3, 1, 4))):
        _, low, high = to_unit(features, scope)  # type: ignore[arg-type]
        assert low.shape == high.shape == shape
    unit, _, _ = to_unit(features, "c2frofa")
    np.testing.assert_allclose(unit.amin(1), 0)
    np.testing.assert_allclose(unit.amax(1), 1, rtol=1e-6)


# All operations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_keeps_shape_and_range_and_changes_something(name: str, scope: str) -> None:
    features = tokens(items=16)
    steps = one(name, OPERATIONS[name].tried[1], scope)
    found = augment(features, steps, generator(), grid=GRID)
    assert found.shape == features.shape
    assert torch.isfinite(found).all()
    dims = (1,) if scope == "c2frofa" else (1, 2)
    slack = 1e-4
    assert (found >= features.amin(dims, keepdim=True) - slack).all()
    assert (found <= features.amax(dims, keepdim=True) + slack).all()
    assert not torch.allclose(found, features)
    torch.testing.assert_close(augment(features, steps, generator(), grid=GRID), found, atol=0, rtol=0)
    assert not torch.equal(augment(features, steps, generator(1), grid=GRID), found)
    assert torch.equal(features, tokens(items=16)), "the features themselves must stay as they are"


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.spatial])
def test_operations_on_places_leave_prefix_tokens_alone(name: str) -> None:
    features = tokens()
    found = augment(features, one(name, OPERATIONS[name].tried[-1]), generator(), grid=GRID)
    torch.testing.assert_close(found[:, :2], features[:, :2])


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("scope", SCOPES)
def test_constant_features_stay(name: str, scope: str) -> None:
    features = torch.full((2, GRID.tokens, 3), 1.5)
    found = augment(features, one(name, OPERATIONS[name].tried[-1], scope), generator(), grid=GRID)
    torch.testing.assert_close(found, features)


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if not operation.spatial])
def test_pooled_features_are_one_token(name: str) -> None:
    pooled = torch.randn((4, 6), generator=generator())
    steps = one(name, OPERATIONS[name].tried[-1])
    found = augment(pooled, steps, generator())
    assert found.shape == pooled.shape
    torch.testing.assert_close(augment(pooled[:, None], steps, generator())[:, 0], found)
    torch.testing.assert_close(augment(pooled, one(name, OPERATIONS[name].tried[-1], "c2frofa"), generator()), pooled)


@pytest.mark.parametrize("scope", SCOPES)
def test_parameters_are_a_channels_own_where_the_scope_says_so(scope: str) -> None:
    ramp = torch.linspace(0, 1, GRID.tokens).view(1, -1, 1).repeat(1, 1, 5)
    found = augment(ramp, one("brightness", 1.0, scope), generator(), grid=GRID)
    alike = all(torch.equal(found[..., 0], found[..., channel]) for channel in range(1, 5))
    assert alike == (scope == "frofa")


def test_items_of_a_batch_get_parameters_of_their_own() -> None:
    ramp = torch.linspace(0, 1, GRID.tokens).view(1, -1, 1).repeat(4, 1, 2)
    found = augment(ramp, one("brightness", 1.0), generator())
    assert len({tuple(row.ravel().tolist()) for row in found}) == 4


# What each one does ---------------------------------------------------------------------------------------------------


def unit_ramp(count: int = 256) -> Tensor:
    return torch.linspace(0, 1, count).view(1, -1, 1)


def test_brightness_adds_and_clips() -> None:
    found = augment(unit_ramp(), one("brightness", 0.5), generator())[0, :, 0]
    uniform = float(torch.rand((1, 1, 1, 1), generator=generator()))
    shift = 0.5 * (2 * uniform - 1)
    torch.testing.assert_close(found, (unit_ramp()[0, :, 0] + shift).clamp(0, 1))


def test_contrast_keeps_the_mean_where_nothing_is_clipped() -> None:
    narrow = torch.cat([unit_ramp(50) * 0.02 + 0.49, torch.tensor([0.0, 1.0]).view(1, 2, 1)], 1)
    found = augment(narrow, one("contrast", 3), generator())[0, :, 0]
    uniform = float(torch.rand((1, 1, 1, 1), generator=generator()))
    factor = 1 / 3 + (3 - 1 / 3) * uniform
    np.testing.assert_allclose(float(found[49] - found[0]), factor * 0.02, rtol=1e-3)


@pytest.mark.parametrize(("bits", "levels"), [(1, 2), (3, 8)])
def test_posterize_leaves_so_many_levels(bits: int, levels: int) -> None:
    counts = set()
    for seed in range(60):
        found = augment(unit_ramp(), one("posterize", bits), generator(seed))
        counts.add(len(found.unique()))
    assert min(counts) == levels
    assert counts <= {2**number for number in range(bits, 9)}


def test_posterize_with_eight_bits_changes_nothing() -> None:
    torch.testing.assert_close(augment(tokens(), one("posterize", 8), generator()), tokens())


def test_invert_turns_around_with_its_probability() -> None:
    always = augment(unit_ramp(), one("invert", 1), generator())
    torch.testing.assert_close(always, 1 - unit_ramp())
    many = augment(unit_ramp().repeat(2000, 1, 1), one("invert", 0.25), generator())
    assert float((many[:, 0] > 0.5).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_solarize_turns_around_the_highest() -> None:
    found = augment(unit_ramp(), one("solarize", 1), generator())[0, :, 0]
    turned = found != unit_ramp()[0, :, 0]
    first = int(turned.nonzero()[0])
    assert turned[first:].all()
    torch.testing.assert_close(found[first:], 1 - unit_ramp()[0, first:, 0])


def test_equalize_makes_levels_equally_frequent() -> None:
    skewed = unit_ramp() ** 4
    found = augment(skewed, one("equalize", 1), generator())[0, :, 0]
    assert float(found.median()) == pytest.approx(0.5, abs=0.25)
    assert float(skewed.median()) < 0.1
    assert (found.diff() >= 0).all()
    assert float(found.min()) == 0
    assert float(found.max()) == 1


def test_equalize_agrees_with_pillow() -> None:
    from PIL import Image, ImageOps

    rng = np.random.default_rng(0)
    image = np.sort((rng.beta(2, 5, (16, 16)) * 255).astype(np.uint8).ravel())
    image[0], image[-1] = 0, 255
    expected = np.asarray(ImageOps.equalize(Image.fromarray(image.reshape(16, 16)))).ravel() / 255
    found = augment(torch.from_numpy(image / 255).float().view(1, -1, 1), one("equalize", 1), generator())
    np.testing.assert_allclose(found.ravel(), expected, atol=0.06)  # Pillow rounds its steps to whole numbers


def test_sharpness_of_nothing_is_the_map_and_smooths_or_sharpens_a_peak() -> None:
    peak = torch.zeros(1, 49, 1)
    peak[0, 24] = 0.5
    peak[0, 0] = 1
    grid = Grid(7, 7)
    values = {float(augment(peak, one("sharpness", 1), generator(seed), grid=grid)[0, 24, 0]) for seed in range(20)}
    assert min(values) < 0.4 < 0.6 < max(values)


def test_jpeg_of_the_highest_quality_is_close_and_of_a_low_one_is_not() -> None:
    grid = Grid(14, 14)
    features = torch.randn((2, 196, 3), generator=generator())
    span = float(features.max() - features.min())
    fine = augment(features, one("jpeg", 100), generator(), grid=grid)
    assert float((fine - features).abs().max()) < 0.02 * span
    coarse = augment(features, one("jpeg", 1), generator(3), grid=grid)
    assert float((coarse - features).abs().max()) > 0.1 * span


def test_jpeg_agrees_with_pillow() -> None:
    import io

    from PIL import Image

    rng = np.random.default_rng(0)
    image = np.clip(np.add.outer(np.arange(16) * 12, rng.integers(0, 70, 16)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=30)
    expected = np.asarray(Image.open(buffer)) / 255
    unit = torch.from_numpy(image / 255).float().view(1, -1, 1)
    quality_30 = torch.zeros(1, 1, 1, 1)  # U(30, 100) at its lower end
    found = _places.OPERATIONS["jpeg"].apply(unit, quality_30, 30, Grid(16, 16)).view(16, 16)
    np.testing.assert_allclose(found, expected, atol=3 / 255)


def test_rotation_by_a_quarter_turn() -> None:
    features = torch.randn((1, 25, 2), generator=generator())
    quarter = torch.ones(1, 1, 1, 1)  # U(-90, 90) at its upper end
    found = _places.OPERATIONS["rotate"].apply(features, quarter, 90, Grid(5, 5)).view(5, 5, 2)
    turned = [torch.rot90(features.view(5, 5, 2), times, (0, 1)) for times in (1, 3)]
    assert any(torch.allclose(found, way, atol=1e-5) for way in turned)


def test_shift_moves_by_whole_places() -> None:
    features = torch.randn((1, 25, 2), generator=generator())
    uniform = torch.tensor([1.0, 0.5]).view(2, 1, 1, 1)  # along the width alone
    found = _places.OPERATIONS["shift"].apply(features, uniform, 0.2, Grid(5, 5)).view(5, 5, 2)
    torch.testing.assert_close(found[:, :4], features.view(5, 5, 2)[:, 1:], atol=1e-5, rtol=0)


def test_a_crop_of_everything_is_the_map() -> None:
    features = torch.randn((1, 35, 2), generator=generator())
    found = _places.OPERATIONS["crop"].apply(features, torch.zeros(3, 1, 1, 1), 0.5, Grid(5, 7))
    torch.testing.assert_close(found, features, atol=1e-5, rtol=0)


# Tokens and items -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "left"), [(0.5, 18), (0.9, 3), (0.01, 35)])
def test_patch_dropout_keeps_prefix_and_so_many_of_the_items_own_tokens(share: float, left: int) -> None:
    features = tokens()
    found = augment(features, one("patch_dropout", share), generator(), grid=GRID)
    assert found.shape == (3, 2 + left, 4)
    assert torch.equal(found[:, :2], features[:, :2])
    for mine, all_of_it in zip(found, features, strict=True):
        places = [int((all_of_it == row).all(1).nonzero()) for row in mine]
        assert places == sorted(set(places)), "each token at most once, in their order"


def test_one_token_always_stays() -> None:
    assert augment(torch.randn(2, 1, 3), one("patch_dropout", 0.95), generator()).shape == (2, 1, 3)


def test_mixup_mixes_features_and_answers_alike() -> None:
    features, targets = tokens(items=8), torch.eye(8)
    mixed, answers = mix(features, targets, 0.4, generator())
    torch.testing.assert_close(answers.sum(1), torch.ones(8))
    torch.testing.assert_close(mixed, torch.einsum("ij,jtc->itc", answers, features), atol=1e-5, rtol=1e-5)
    assert ((answers > 0).sum(1) <= 2).all()
    assert torch.equal(augment(features, one("mixup", 0.4), generator()), features), "mixup is left to mix"


# Sequences and what is refused ----------------------------------------------------------------------------------------


def test_steps_follow_one_another() -> None:
    both = parse_augmentation("c2frofa:brightness:0.8 + cfrofa:posterize:4")
    assert [str(step) for step in both] == ["c2frofa:brightness:0.8", "cfrofa:posterize:4"]
    drawn = generator()
    expected = augment(augment(tokens(), both[:1], drawn), both[1:], drawn)
    torch.testing.assert_close(augment(tokens(), both, generator()), expected)


def test_no_steps_change_nothing() -> None:
    assert parse_augmentation("  ") == ()
    assert torch.equal(augment(tokens(), (), generator()), tokens())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("brightness", "write SCOPE:NAME:STRENGTH"),
        ("frofa:brightness:much", "write SCOPE:NAME:STRENGTH"),
        ("frofa:brightnes:1", "the nearest names are: brightness"),
        ("c2froffa:brightness:1", "there are: c2frofa"),
        ("frofa:posterize:9", "allowed: 1 to 8"),
        ("frofa:contrast:nan", "allowed"),
    ],
)
def test_what_is_not_understood_is_told(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_augmentation(text)


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.spatial])
def test_operations_on_places_need_a_grid_that_fits(name: str) -> None:
    steps = one(name, OPERATIONS[name].tried[0])
    for grid in (None, Grid(4, 4)):
        with pytest.raises(UsageError, match="that lie on a grid"):
            augment(tokens(), steps, generator(), grid=grid)


@pytest.mark.parametrize("name", KNOWN)
def test_strengths_worth_trying_are_allowed_and_beyond_the_bounds_none_is(name: str) -> None:
    tried = OPERATIONS[name].tried if name in OPERATIONS else (0.2, 0.5)
    assert len(set(tried)) == len(tried) > 1 or name == "equalize"
    for strength in tried:
        assert parse_augmentation(f"frofa:{name}:{strength}") == (ScopedOperation("frofa", name, strength),)
    for strength in (-1, 1e6, float("nan")):
        with pytest.raises(UsageError, match="allowed"):
            ScopedOperation("frofa", name, strength)


@pytest.mark.parametrize("text", ["c2frofa:brightness:0.5", "frofa:equalize:0.5", "cfrofa:shift:0.3"])
def test_a_batch_in_pieces_is_the_batch_at_once(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(7, 6, 5, generator=torch.Generator().manual_seed(0))
    found = []
    for chunk in (1, 70, 10**6):
        monkeypatch.setattr(frofa, "CHUNK", chunk)
        generator = torch.Generator().manual_seed(1)
        found.append(augment(features, parse_augmentation(text), generator, grid=Grid(2, 3)))
    torch.testing.assert_close(found[0], found[2], rtol=0, atol=1e-6)
    torch.testing.assert_close(found[1], found[2], rtol=0, atol=1e-6)
