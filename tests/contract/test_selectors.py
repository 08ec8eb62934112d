"""What every selector promises; a new file in ``activetune/selectors`` is held to it without a change here."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from activetune import Embeddings, UsageError, select
from activetune.base.config import field_types
from activetune.networks.regression import LinearHead
from activetune.selection.problem import DropoutDraws, Evidence, Picks
from activetune.selection.select import parse_budget
from activetune.selection.selectors import make_selector, selectors

NAMES = sorted(selectors())
EVERY = pytest.mark.parametrize("name", NAMES)
PRESETS = [(name, preset) for name in NAMES for preset in selectors()[name].presets]
ORDERED = sorted(name for name, cls in selectors().items() if cls.ordered)


def unit(features_ND: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features_ND, axis=1, keepdims=True)
    return np.divide(features_ND, lengths, out=np.zeros_like(features_ND), where=lengths > 0).astype(np.float32)


def blobs(count: int = 6, size: int = 5, dimensions: int = 16, noise: float = 0.05) -> np.ndarray:
    """Well separated groups of ``size`` rows around ``count`` orthogonal directions, unit length."""
    rng = np.random.default_rng(0)
    centres = np.eye(dimensions)[:count]
    return unit(np.repeat(centres, size, axis=0) + noise * rng.normal(size=(count * size, dimensions)))


def complete(evidence: Evidence) -> Evidence:
    """The same evidence with every optional field filled in, as the sources would: a model, its doubts, tokens."""
    rng = np.random.default_rng(7)
    features_ND = evidence.features_ND
    size = features_ND.shape[1]
    head = LinearHead(rng.normal(size=(4, size)).astype(np.float32), np.zeros(4, dtype=np.float32))
    probs_NC = softmax(3 * head.logits(features_ND), axis=1).astype(np.float32)
    noise = 0.1 * np.random.default_rng(3).normal(size=(1, 9, size)).astype(np.float32)
    return dataclasses.replace(
        evidence,
        answers_L=np.arange(len(evidence.labelled)) % 4,
        probs_NC=probs_NC,
        head=head,
        dropout=DropoutDraws(probs_NC, np.abs(features_ND[:, 0]) / 2),
        predicted_loss_N=features_ND @ head.weight_CD[0],
        losses_N=-np.log(probs_NC[:, 0] + 1e-6).astype(np.float32),
        likeness_N=probs_NC[:, 0],
        ranked_likeness_N=probs_NC[:, 1],
        tokens_NTD=features_ND[:, None, :] + noise,
    )


def pick(name: str, evidence: Evidence, budget: int, seed: int = 0) -> Picks:
    return make_selector(name).select(complete(evidence), budget, np.random.default_rng(seed))


def check(picks: Picks, evidence: Evidence, budget: int) -> None:
    """Exactly ``budget`` distinct candidates, each with a finite score and a reason."""
    assert len(picks.positions) == budget
    assert len(set(np.asarray(picks.positions).tolist())) == budget
    assert set(np.asarray(picks.positions).tolist()) <= set(evidence.candidates.tolist())
    assert len(picks.scores) == len(picks.reasons) == budget
    assert np.isfinite(picks.scores).all()
    assert all(isinstance(reason, str) and reason.strip() for reason in picks.reasons)
    assert all(np.isfinite(value) for value in picks.figures.values())


@EVERY
def test_settings_are_the_fields_of_a_frozen_dataclass(name: str) -> None:
    selector = make_selector(name)
    assert dataclasses.is_dataclass(selector)
    assert selector.__dataclass_params__.frozen  # type: ignore[attr-defined]


@EVERY
def test_needs_are_fields_of_the_evidence(name: str) -> None:
    assert selectors()[name].needs | selectors()[name].uses <= {field.name for field in dataclasses.fields(Evidence)}


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_presets_can_be_built(name: str, preset: str) -> None:
    values = selectors()[name].presets[preset]
    built = dataclasses.asdict(make_selector(name, preset))
    assert values
    assert built == {**dataclasses.asdict(make_selector(name)), **values}


@EVERY
def test_the_module_header_states_the_cost(name: str) -> None:
    assert "Cost" in (sys.modules[selectors()[name].__module__].__doc__ or "")


@EVERY
def test_the_class_has_a_docstring_of_its_own(name: str) -> None:
    cls = selectors()[name]
    assert inspect.getdoc(cls)
    assert cls.__doc__ != cls.__mro__[1].__doc__


@EVERY
@pytest.mark.parametrize("budget", [1, 2, 6, 17])
def test_exactly_the_budget_of_distinct_candidates(name: str, budget: int) -> None:
    evidence = Evidence(blobs())
    check(pick(name, evidence, budget), evidence, budget)


@EVERY
def test_budget_of_all_candidates_takes_all(name: str) -> None:
    evidence = Evidence(blobs())
    picks = pick(name, evidence, 30)
    check(picks, evidence, 30)
    assert sorted(picks.positions) == list(range(30))


@EVERY
def test_pool_of_one_item(name: str) -> None:
    evidence = Evidence(blobs()[:1])
    check(pick(name, evidence, 1), evidence, 1)


@EVERY
@pytest.mark.parametrize("budget", [1, 4, 20])
def test_labelled_and_excluded_items_are_never_picked(name: str, budget: int) -> None:
    evidence = Evidence(
        blobs(), labelled=np.array([0, 7, 8, 29]), excluded=np.array([1, 2, 20, 28]), closed=np.array([21, 22])
    )
    picks = pick(name, evidence, budget)
    check(picks, evidence, budget)
    assert not set(picks.positions) & {0, 7, 8, 29, 1, 2, 20, 21, 22, 28}


@EVERY
def test_excluded_items_change_nothing(name: str) -> None:
    features = blobs()
    other = features.copy()
    other[10:15] = unit(np.random.default_rng(5).normal(size=(5, 16)))
    excluded = np.arange(10, 15)
    answers = [pick(name, Evidence(rows, excluded=excluded), 5).positions.tolist() for rows in (features, other)]
    assert answers[0] == answers[1]


@EVERY
def test_everything_but_one_item_is_labelled(name: str) -> None:
    evidence = Evidence(blobs(), labelled=np.arange(29))
    assert pick(name, evidence, 1).positions.tolist() == [29]


@EVERY
def test_same_seed_same_picks(name: str) -> None:
    evidence = Evidence(blobs(), labelled=np.array([3]))
    first, second = pick(name, evidence, 7, seed=5), pick(name, evidence, 7, seed=5)
    assert first.positions.tolist() == second.positions.tolist()
    assert first.scores.tolist() == second.scores.tolist()
    assert list(first.reasons) == list(second.reasons)


@EVERY
def test_seed_reaches_the_method_if_it_says_so(name: str) -> None:
    rng = np.random.default_rng(1)
    labelled = np.arange(6 if "answers_L" in selectors()[name].needs else 0)
    evidence = Evidence(unit(rng.normal(size=(90, 8))), labelled=labelled)
    answers = {tuple(pick(name, evidence, 20, seed=seed).positions) for seed in range(8)}
    assert (len(answers) > 1) == selectors()[name].randomised


@EVERY
def test_other_thread_count_same_picks(name: str) -> None:
    short = {"iterations": 15} if "iterations" in field_types(selectors()[name]) else {}
    selector = make_selector(name, settings=short)
    answers = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            picks = selector.select(complete(Evidence(blobs(size=20))), 6, np.random.default_rng(0))
        answers.append(picks.positions.tolist())
    assert answers[0] == answers[1]


@EVERY
def test_evidence_is_left_as_it_was(name: str) -> None:
    arrays = [blobs(), np.array([4, 9]), np.array([0, 20])]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    pick(name, Evidence(*arrays), 6)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize("labelled", [[], [2, 11]])
def test_prefix_of_an_ordered_selection_is_the_smaller_selection(name: str, labelled: list[int]) -> None:
    evidence = Evidence(blobs(), labelled=np.asarray(labelled, dtype=np.int64))
    whole = pick(name, evidence, 20)
    for budget in (1, 2, 7, 19):
        smaller = pick(name, evidence, budget)
        assert smaller.positions.tolist() == whole.positions[:budget].tolist()
        assert smaller.figures == whole.figures


@EVERY
@pytest.mark.parametrize("budget", [1, 5, 40])
def test_all_items_equal(name: str, budget: int) -> None:
    evidence = Evidence(np.tile(unit(np.array([[1.0, 2.0, 3.0]])), (40, 1)))
    check(pick(name, evidence, budget), evidence, budget)


@EVERY
@pytest.mark.parametrize("budget", [3, 20, 30])
def test_half_of_the_items_are_duplicates(name: str, budget: int) -> None:
    features = blobs()
    features[15:] = features[15]
    evidence = Evidence(features, labelled=np.array([16]) if budget < 30 else np.empty(0, dtype=np.int64))
    check(pick(name, evidence, budget), evidence, budget)


@EVERY
@pytest.mark.parametrize("zeros", [1, 15, 30])
def test_zero_vectors_are_items_like_any_other(name: str, zeros: int) -> None:
    features = blobs()
    features[:zeros] = 0
    evidence = Evidence(features)
    for budget in (1, 6, 30):
        check(pick(name, evidence, budget), evidence, budget)


@EVERY
def test_zero_vector_among_the_labelled(name: str) -> None:
    features = blobs()
    features[0] = 0
    evidence = Evidence(features, labelled=np.array([0, 1]))
    check(pick(name, evidence, 6), evidence, 6)


@EVERY
def test_reasons_hold_no_undefined_number(name: str) -> None:
    features = blobs()
    features[:10] = 0
    assert not any("nan" in reason or "inf" in reason.split() for reason in pick(name, Evidence(features), 12).reasons)


# The public function --------------------------------------------------------------------------------------------------


def embeddings(count: int = 40, labels: bool = True, tokens: bool = False) -> Embeddings:
    """Digits as raw pixels, labelled with their number; as tokens, a row of pixels is a token."""
    data = load_digits()
    names = [str(number) for number in data.target[:count]] if labels else None
    rows = (data.images if tokens else data.data)[:count]
    return Embeddings.from_numpy(rows, [f"item-{row}" for row in range(count)], names)


def for_method(name: str) -> Embeddings:
    return embeddings(tokens="tokens_NTD" in selectors()[name].needs)


def answers_of(pool: Embeddings, count: int) -> dict[str, str]:
    return dict(zip(pool.ids[:count], pool.labels or (), strict=False))


@EVERY
def test_select_never_picks_a_labelled_item(name: str) -> None:
    pool = for_method(name)
    selection = select(pool, budget=10, method=name, labelled=answers_of(pool, 30))
    assert sorted(selection.ids) == sorted(pool.ids[30:])
    assert selection.manifest["labelled"] == 30


@EVERY
def test_select_writes_the_figures_into_the_manifest(name: str) -> None:
    pool = for_method(name)
    figures = select(pool, budget=4, method=name, labelled=answers_of(pool, 12)).manifest["figures"]
    assert 0 <= figures["emd"] <= figures["radius"] <= 2
    assert figures["seconds"] >= 0
    assert figures["peak_memory_mb"] > 0
    assert figures["classes_known"] == 10


def test_emd_and_radius_are_distances_to_the_nearest_pick() -> None:
    pool = embeddings()
    selection = select(pool, budget=4, method="k_center")
    rows = unit(np.asarray(pool.features_ND, dtype=np.float64)).astype(np.float64)
    chosen = rows[[pool.position[item] for item in selection.ids]]
    nearest = np.linalg.norm(rows[:, None] - chosen[None], axis=2).min(axis=1)
    assert selection.manifest["figures"]["emd"] == pytest.approx(nearest.mean(), abs=1e-4)
    assert selection.manifest["figures"]["radius"] == pytest.approx(nearest.max(), abs=1e-4)


def test_labelled_items_cover_in_the_figures() -> None:
    pool = embeddings()
    alone = select(pool, budget=1, method="random", labelled=[])
    covered = select(pool, budget=1, method="random", labelled=pool.ids[:39])
    assert covered.manifest["figures"]["emd"] == pytest.approx(0, abs=1e-3)
    assert alone.manifest["figures"]["emd"] > 0.1


@pytest.mark.parametrize(
    ("budget", "count"), [(7, 7), ("7", 7), ("5%", 2), (0.05, 2), ("0.05", 2), ("0.1%", 1), (40, 40)]
)
def test_budget_forms(budget: int | float | str, count: int) -> None:
    assert len(select(embeddings(), budget=budget, method="random")) == count


def test_budget_a_class_takes_that_many_of_each() -> None:
    pool = embeddings()
    selection = select(pool, budget="2/class", method="k_center")
    chosen = [pool.labels[pool.position[item]] for item in selection.ids]  # type: ignore[index]
    assert Counter(chosen) == {str(digit): 2 for digit in range(10)}


def test_budget_a_class_leaves_labelled_items_out() -> None:
    pool = embeddings()
    labelled = [item for item, name in zip(pool.ids, pool.labels or (), strict=True) if name == "3"][:2]
    selection = select(pool, budget="1/class", method="k_means", labelled=labelled)
    assert len(selection) == 10
    assert not set(selection.ids) & set(labelled)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"budget": 41}, "the budget 41 is over the pool: 40 items can be picked"),
        ({"budget": 40, "labelled": ["item-0"]}, r"39 items can be picked \(1 more are labelled already\)"),
        ({"budget": "50/class"}, "50/class is over what class .*0.* has: 5 items"),
        ({"budget": "many"}, "the budget 'many' is not understood; it can be a number"),
        ({"budget": 0}, "the budget '0' is not possible"),
        ({"budget": -3}, "the budget '-3' is not possible"),
        ({"budget": 2.5}, "the budget '2.5' is not possible"),
        ({"method": "k_centre"}, "unknown selector 'k_centre'; .*k_center"),
        ({"settings": {"temprature": 1}}, "no setting 'temprature'; did you mean 'temperature'"),
        ({"settings": {"temperature": "warm"}}, "temperature can't be 'warm'"),
        ({"settings": {"temperature": 0}}, "temperature can't be 0"),
        ({"settings": {"loss": "other"}}, "loss can't be 'other'"),
        ({"preset": "papr"}, "no preset 'papr'; it has: paper"),
        ({"labelled": ["item-1", "nowhere"]}, "labelled ids: 1 of 2 ids are not in these embeddings: 'nowhere'"),
    ],
)
def test_wrong_calls_are_explained(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        select(embeddings(), **{"budget": 5, "method": "activeft", **arguments})


def test_the_class_that_is_too_small_is_named_plainly() -> None:
    with pytest.raises(UsageError, match="over what class '0' has"):
        select(embeddings(), budget="50/class", method="random")


def test_budget_a_class_without_labels_is_explained() -> None:
    with pytest.raises(UsageError, match="a budget per class needs known labels"):
        select(embeddings(labels=False), budget="1/class")


def test_tokens_are_refused() -> None:
    with pytest.raises(UsageError, match=r"pooled features .* not patch tokens"):
        select(Embeddings.from_numpy(np.ones((4, 3, 2))), budget=1)


def test_features_with_nan_are_refused_when_they_come_in() -> None:
    features = np.ones((6, 2))
    features[4, 1] = np.nan
    with pytest.raises(UsageError, match="1 of 6 feature rows hold NaN or infinite values, the first at row 4"):
        Embeddings.from_numpy(features)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_with_nan_are_refused_when_they_are_selected_from(value: float) -> None:
    features = np.ones((6, 2), dtype=np.float32)
    features[4, 1] = value
    with pytest.raises(UsageError, match="NaN or infinite"):
        select(Embeddings([str(row) for row in range(6)], features), budget=1)


def test_select_leaves_the_features_as_they_were() -> None:
    pool = embeddings()
    copy = np.array(pool.features_ND)
    select(pool, budget=3, method="k_center")
    np.testing.assert_array_equal(pool.features_ND, copy)


@given(st.integers(1, 10**9))
def test_budget_counts(count: int) -> None:
    assert parse_budget(count) == parse_budget(str(count)) == parse_budget(f" {count:,} ") == ("count", count)
    assert parse_budget(f"{count}/class") == ("per_class", count)


@pytest.mark.parametrize("text", ["0,05", "1,5", "2,50", "0,500", "1,5%", "2,0/class", "coverage:0,95", "12,34,567"])
def test_a_comma_for_decimals_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError, match=f"'{text}' is not understood; .*; write a point where decimals begin"):
        parse_budget(text)


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_budget_shares(share: float) -> None:
    assert parse_budget(share) == ("share", share)
    kind, value = parse_budget(f"{100 * share}%") if 0 < 100 * share / 100 <= 1 else ("share", share)
    assert kind == "share"
    assert value == pytest.approx(share)


@given(st.one_of(st.integers(max_value=0), st.floats(max_value=0, allow_infinity=False)))
def test_budgets_that_are_not_positive_are_refused(value: float) -> None:
    for text in (value, f"{value}%", f"{value}/class"):
        with pytest.raises(UsageError):
            parse_budget(text)


@example("inf")
@example("nan/class")
@given(st.text(alphabet="0123456789.,_-+e%/clasinf ", max_size=12))
def test_any_text_is_a_budget_or_is_refused_in_a_sentence(text: str) -> None:
    try:
        kind, value = parse_budget(text)
    except UsageError as error:
        assert "it can be a number" in str(error)
    else:
        assert kind in ("count", "share", "per_class")
        assert 0 < value < np.inf
        assert kind == "share" or value == int(value)
