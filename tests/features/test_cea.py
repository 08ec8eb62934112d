"""CEA against loops written from the equations, and the map between the spaces."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from activetune import UsageError
from activetune.features.text import alignment, cea


def rows(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


def unit(row: np.ndarray) -> np.ndarray:
    return row / math.sqrt(sum(float(value) ** 2 for value in row))


def attention_by_hand(image: np.ndarray, text: np.ndarray) -> list[float]:
    """Equation 8, one number after the other."""
    raised = []
    for e, t in zip(image, text, strict=True):
        raised.append(math.exp(sum((float(a) - float(b)) ** 2 for a, b in zip(unit(e), unit(t), strict=True))))
    return [value / sum(raised) for value in raised]


def test_attention_is_equation_8() -> None:
    image, text = rows(7, 5), rows(7, 5, seed=1)
    np.testing.assert_allclose(cea.attention(image, text), attention_by_hand(image, text), rtol=1e-5)


@pytest.mark.parametrize("balance", [0.0, 0.5, 0.998, 1.0])
def test_the_forward_pass_is_equations_9_and_10(balance: float) -> None:
    image, text = rows(7, 5), rows(7, 5, seed=1)
    alpha = attention_by_hand(image, text)
    step = cea.steps(cea.attention(image, text), 0.3)[:, None]
    found = cea.augmented(torch.from_numpy(image), torch.from_numpy(text), torch.from_numpy(step), balance)
    for number in range(7):
        moved = min(1.0, 0.3 * 7 * alpha[number])
        for place in range(5):
            e, t = float(image[number, place]), float(text[number, place])
            e_aug = e - moved * (e - t)
            assert float(found[number, place]) == pytest.approx((1 - balance) * e_aug + balance * e, abs=1e-5)


def test_steps_and_texts_are_constants_of_the_backward_pass() -> None:
    """The derivative is that of equation 10 with alpha and t held: (1 - (1 - lambda) s) times the identity."""
    image, text = rows(4, 3), rows(4, 3, seed=1)
    step = torch.from_numpy(cea.steps(cea.attention(image, text), 0.5)[:, None])
    given_image = torch.from_numpy(image).requires_grad_(True)
    cea.augmented(given_image, torch.from_numpy(text), step, 0.9).sum().backward()
    assert given_image.grad is not None
    torch.testing.assert_close(given_image.grad, (1 - 0.1 * step).expand(4, 3))


@given(st.integers(2, 300), st.floats(0, 1))
def test_the_mean_step_does_not_depend_on_how_many_are_selected(count: int, eta: float) -> None:
    image, text = rows(count, 6), rows(count, 6, seed=1)
    found = cea.steps(cea.attention(image, text), eta)
    assert (found >= 0).all()
    assert (found <= 1).all()
    if (found < 1).all():
        assert found.mean() == pytest.approx(eta, abs=1e-4)


def test_a_softmax_over_one_item_is_refused() -> None:
    with pytest.raises(UsageError, match="among 1 items; select at least 2"):
        cea.attention(rows(1, 3), rows(1, 3))


# The map -------------------------------------------------------------------------------------------------------------


def pairs(count: int, size: int, given_size: int, noise: float) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Texts that are a turned copy of the images, with noise."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(count, min(size, given_size)))
    turn = np.linalg.qr(rng.normal(size=(max(size, given_size), max(size, given_size))))[0]
    image = np.pad(hidden, ((0, 0), (0, size - hidden.shape[1])))
    text = np.pad(hidden, ((0, 0), (0, len(turn) - hidden.shape[1]))) @ turn
    return (
        image,
        text[:, :given_size] + noise * rng.normal(size=(count, given_size)),
        [f"text {n}" for n in range(count)],
    )


@pytest.mark.parametrize(("size", "given_size"), [(6, 6), (6, 9)])
@pytest.mark.parametrize("method", ["auto", "ridge", "procrustes"])
def test_a_turned_space_is_turned_back(size: int, given_size: int, method: alignment.Method) -> None:
    image, text, sentences = pairs(400, size, given_size, 0.01)
    found = alignment.fit_map(image, text, sentences, method=method)
    assert found.similarity > 0.95
    mapped = found(text)
    assert mapped.shape == image.shape
    cosine = (mapped * alignment.unit_rows(image)).sum(1) / np.linalg.norm(mapped, axis=1)
    assert cosine.mean() > 0.95
    assert method in ("auto", found.name.split()[0])


def test_the_map_is_judged_on_sentences_it_has_not_seen() -> None:
    """Three sentences say nothing about a fourth, however many images share them."""
    image, text = rows(300, 8), rows(4, 12, seed=2)[np.arange(300) % 4]
    found = alignment.fit_map(image, text, [f"class {number % 4}" for number in range(300)])
    assert abs(found.similarity) < 0.2
    assert set(found.tried) >= {"ridge 0.1", "procrustes"}


@pytest.mark.parametrize("method", ["ridge", "procrustes"])
def test_mapped_texts_lie_as_far_from_the_mean_as_images(method: alignment.Method) -> None:
    """However little they tell of the images: a fit by least squares would leave them all near the mean."""
    image, text, sentences = pairs(400, 6, 9, 3.0)
    image = alignment.unit_rows(image + 5)
    found = alignment.fit_map(image, text, sentences, method=method)
    assert found.similarity < 0.9
    around = [np.square(rows - image.mean(0)).sum(1).mean() for rows in (found(text), image)]
    np.testing.assert_allclose(around[0], around[1], rtol=1e-3)


def test_spaces_that_are_one_need_no_map() -> None:
    image = rows(5, 4)
    found = alignment.fit_map(image, image, list("abcde"), method="none")
    np.testing.assert_allclose(found(image), alignment.unit_rows(image), atol=1e-6)
    with pytest.raises(UsageError, match="texts of 6 numbers can't stand beside images of 4"):
        alignment.fit_map(image, rows(5, 6), list("abcde"), method="none")


def test_too_few_pairs_are_a_sentence() -> None:
    with pytest.raises(UsageError, match="5 pairs with 5 different captions are too few"):
        alignment.fit_map(rows(5, 4), rows(5, 6), list("abcde"))
    with pytest.raises(UsageError, match="20 pairs with 1 different captions are too few"):
        alignment.fit_map(rows(20, 4), rows(20, 6), ["same"] * 20)
