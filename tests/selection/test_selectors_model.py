"""Selectors that read labels and a model: known answers on toys, parity with the plain equations, the contract."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activetune import Embeddings, UsageError, select
from activetune.base.settings import changed
from activetune.features.distances import pieces_of, unit_rows
from activetune.networks.regression import LinearHead
from activetune.selection.evidence import gather
from activetune.selection.problem import DropoutDraws, Evidence, Picks
from activetune.selection.selectors import make_selector, selectors
from activetune.selection.selectors.alfa_mix import class_anchors, turning_eps
from activetune.selection.selectors.drop_query import changed_runs
from activetune.studies.simulation.plan import read_methods

RANKINGS = ("least_confidence", "margin", "entropy", "bald", "learn_loss", "vaal", "ta_vaal")
NAMES = (*RANKINGS, "coreset", "badge", "alfa_mix")
EVERY = pytest.mark.parametrize("name", NAMES)
SEEDS = range(5)


def pick(name: str, evidence: Evidence, budget: int, seed: int = 0, **values: Any) -> Picks:
    return make_selector(name, settings=values).select(evidence, budget, np.random.default_rng(seed))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def complete(
    features: np.ndarray, seed: int = 0, *, classes: int = 4, sharpness: float = 8.0, **fields: Any
) -> Evidence:
    """Evidence with every field, of a random linear model; labelled items alternate between classes."""
    rng = np.random.default_rng(seed)
    count, columns = features.shape
    head = LinearHead(
        (sharpness * rng.normal(size=(classes, columns))).astype(np.float32), rng.normal(size=classes).astype("f")
    )
    probs = softmax(head.logits(features))
    labelled = fields.pop("labelled", np.empty(0, dtype=np.int64))
    return Evidence(
        features,
        labelled=labelled,
        answers_L=np.arange(len(labelled)) % classes,
        probs_NC=probs,
        head=head,
        dropout=DropoutDraws(probs, (0.5 * entropies(probs)).astype(np.float32)),
        predicted_loss_N=rng.normal(size=count).astype(np.float32),
        likeness_N=rng.random(count).astype(np.float32),
        ranked_likeness_N=rng.random(count).astype(np.float32),
        **fields,
    )


def entropies(probs: np.ndarray) -> np.ndarray:
    return np.array([-sum(p * np.log(p) for p in row.astype(float) if p > 0) for row in probs])


def cloud(count: int = 30, columns: int = 6, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).normal(size=(count, columns)))


def check(picks: Picks, evidence: Evidence, budget: int) -> None:
    """What every selector promises of an answer."""
    assert len(picks.positions) == len(set(picks.positions.tolist())) == budget
    assert set(picks.positions.tolist()) <= set(evidence.candidates.tolist())
    assert len(picks.scores) == len(picks.reasons) == budget
    assert np.isfinite(picks.scores).all()
    assert all(reason.strip() and "nan" not in reason and "inf" not in reason.split() for reason in picks.reasons)
    assert all(np.isfinite(value) for value in picks.figures.values())


# The contract, with all evidence there --------------------------------------------------------------------------------


def test_all_of_them_are_found_by_name() -> None:
    assert set(NAMES) <= selectors().keys()


@EVERY
@pytest.mark.parametrize("budget", [1, 6, 20])
def test_exactly_the_budget_of_distinct_candidates(name: str, budget: int) -> None:
    labelled, excluded, closed = np.array([0, 7, 8, 29]), np.array([1, 2, 20]), np.array([3, 4, 5])
    evidence = complete(cloud(), labelled=labelled, excluded=excluded, closed=closed)
    check(pick(name, evidence, budget), evidence, budget)


@EVERY
def test_a_budget_of_all_candidates_takes_all(name: str) -> None:
    evidence = complete(cloud(), labelled=np.array([3, 4, 5, 6]))
    assert sorted(pick(name, evidence, 26).positions) == evidence.candidates.tolist()


@EVERY
@pytest.mark.parametrize("kind", ["one item", "all equal", "zero vectors", "all zero", "duplicates", "sure of all"])
def test_odd_pools(name: str, kind: str) -> None:
    features = cloud(1 if kind == "one item" else 30)
    if kind in ("all equal", "duplicates"):
        features[0 if kind == "all equal" else 15 :] = features[-1]
    if kind in ("zero vectors", "all zero"):
        features[: 30 if kind == "all zero" else 10] = 0
    labelled = np.arange(0 if kind == "one item" else 2)
    evidence = complete(features, labelled=labelled, sharpness=1e4 if kind == "sure of all" else 8.0)
    for budget in {1, min(6, len(evidence.candidates)), len(evidence.candidates)}:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picks = pick(name, evidence, budget)
        check(picks, evidence, budget)


@EVERY
def test_same_seed_same_picks(name: str) -> None:
    evidence = complete(cloud(60), labelled=np.array([3, 9]))
    first, second = pick(name, evidence, 7, seed=5), pick(name, evidence, 7, seed=5)
    assert first.positions.tolist() == second.positions.tolist()
    assert first.scores.tolist() == second.scores.tolist()
    assert list(first.reasons) == list(second.reasons)


@EVERY
def test_the_evidence_is_left_as_it_was(name: str) -> None:
    evidence = complete(cloud(), labelled=np.array([3, 9]), excluded=np.array([1]))
    fields = [value for value in vars(evidence).values() if isinstance(value, np.ndarray)]
    copies = [array.copy() for array in fields]
    for array in fields:
        array.setflags(write=False)
    pick(name, evidence, 6)
    for array, copy in zip(fields, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "alfa_mix"])
@pytest.mark.parametrize("some_labelled", [False, True])
def test_a_prefix_is_the_smaller_selection(name: str, some_labelled: bool) -> None:
    assert make_selector(name).ordered
    evidence = complete(cloud(), labelled=np.array([2, 11] if some_labelled else [], dtype=np.int64))
    whole = pick(name, evidence, 20).positions.tolist()
    for budget in (1, 2, 7, 19):
        assert pick(name, evidence, budget).positions.tolist() == whole[:budget]


@EVERY
def test_from_labels_to_picks_with_what_the_helpers_train(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in ("dropout.DropoutHead", "loss_prediction.LossPrediction", "adversarial.Adversary"):
        module, cls = f"activetune.selection.evidence.{field}".rsplit(".", 1)
        short = {"least_steps": 1, "steps": 20} if cls == "Adversary" else {"steps": 20}
        original = getattr(__import__(module, fromlist=[cls]), cls)
        monkeypatch.setattr(f"{module}.{cls}", lambda original=original, short=short: changed(original(), short))
    features = cloud(40)
    evidence = Evidence(features, labelled=np.arange(8), answers_L=(features[:8, 0] > 0).astype(np.int64))
    evidence = gather(evidence, selectors()[name].needs, method=name, seed=0)
    check(pick(name, evidence, 5), evidence, 5)


# Rankings -------------------------------------------------------------------------------------------------------------

PROBS = np.array([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [0.98, 0.01, 0.01], [0.34, 0.33, 0.33], [0.6, 0.4, 0.0]], "f")


@pytest.mark.parametrize(
    ("name", "order", "reason"),
    [
        ("least_confidence", [3, 1, 0, 4, 2], "the likeliest class has a probability of only 0.34"),
        ("margin", [0, 3, 1, 4, 2], "margin 0.00 between the two likeliest classes"),
        ("entropy", [3, 1, 0, 4, 2], "entropy 1.10 nats of the prediction, as if spread over 3.0 classes"),
    ],
)
def test_uncertainties(name: str, order: list[int], reason: str) -> None:
    picks = pick(name, Evidence(cloud(5), probs_NC=PROBS), 5)
    assert picks.positions.tolist() == order
    assert picks.reasons[0] == reason
    expected = {
        "least_confidence": 1 - PROBS.max(axis=1),
        "margin": 1 - (np.sort(PROBS)[:, -1] - np.sort(PROBS)[:, -2]),
        "entropy": entropies(PROBS),
    }[name]
    assert picks.scores == pytest.approx(expected[order], abs=1e-6)


def test_bald_prefers_draws_that_disagree_to_draws_that_are_all_unsure() -> None:
    even = np.array([0.5, 0.5])
    draws = np.array([[[1.0, 0.0], even, [0.9, 0.1]], [[0.0, 1.0], even, [0.9, 0.1]]])  # two draws of three items
    entropy = np.mean([entropies(draw) for draw in draws], axis=0)
    evidence = Evidence(cloud(3), dropout=DropoutDraws(draws.mean(axis=0).astype("f"), entropy.astype("f")))
    picks = pick("bald", evidence, 3)
    assert picks.positions[0] == 0
    assert sorted(picks.scores) == pytest.approx([0, 0, np.log(2)], abs=1e-6)
    assert (picks.scores >= 0).all()


@pytest.mark.parametrize(
    ("name", "field", "order"),
    [
        ("learn_loss", "predicted_loss_N", [2, 0, 3, 1]),
        ("vaal", "likeness_N", [1, 3, 0, 2]),
        ("ta_vaal", "ranked_likeness_N", [1, 3, 0, 2]),
    ],
)
def test_trained_numbers_are_ranked(name: str, field: str, order: list[int]) -> None:
    evidence = Evidence(cloud(4), **{field: np.array([0.4, 0.1, 0.9, 0.2], "f")})  # type: ignore[arg-type]
    assert pick(name, evidence, 4).positions.tolist() == order


@pytest.mark.parametrize("name", RANKINGS)
def test_ties_are_broken_by_the_seed(name: str) -> None:
    evidence = complete(np.tile(cloud(1), (40, 1)))
    ones = np.ones(40, dtype=np.float32) / 2
    evidence = replace(evidence, predicted_loss_N=ones, likeness_N=ones, ranked_likeness_N=ones)
    assert len({tuple(pick(name, evidence, 5, seed).positions) for seed in range(8)}) > 4


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 2**32 - 1), st.sampled_from(RANKINGS[:3]), st.data())
def test_nothing_left_out_is_more_uncertain(count: int, classes: int, seed: int, name: str, data: Any) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(classes, 0.3), size=count).astype(np.float32)
    evidence = Evidence(cloud(count), excluded=np.arange(data.draw(st.integers(0, count - 1))), probs_NC=probs)
    budget = data.draw(st.integers(1, len(evidence.candidates)))
    picks = pick(name, evidence, budget, seed)
    check(picks, evidence, budget)
    padded = np.sort(np.pad(probs.astype(float), ((0, 0), (1, 0))), axis=1)  # a class that is never met, for C = 1
    uncertainty = {
        "least_confidence": 1 - padded[:, -1],
        "margin": 1 - padded[:, -1] + padded[:, -2],
        "entropy": entropies(probs),
    }[name]
    best = np.sort(uncertainty[evidence.candidates])[::-1][:budget]
    assert picks.scores == pytest.approx(best, abs=1e-6)
    assert uncertainty[picks.positions] == pytest.approx(best, abs=1e-6)


# CoreSet --------------------------------------------------------------------------------------------------------------


def test_coreset_starts_opposite_of_the_labelled_items() -> None:
    angles = np.arange(12) * np.pi / 6
    points = unit_rows(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    picks = pick("coreset", Evidence(points, labelled=np.array([2])), 3)
    assert picks.positions[0] == 8
    assert set(picks.positions[1:]) == {5, 11}
    assert picks.scores == pytest.approx([2, np.sqrt(2), np.sqrt(2)], abs=1e-3)


def test_coreset_without_labels_is_k_center() -> None:
    evidence = Evidence(cloud())
    assert pick("coreset", evidence, 9, 4).positions.tolist() == pick("k_center", evidence, 9, 4).positions.tolist()


# BADGE ----------------------------------------------------------------------------------------------------------------


def plain_badge(features: np.ndarray, probs: np.ndarray, budget: int, seed: int) -> list[int]:
    """k-means++ seeding on gradients that are written out, one random number a pick."""
    rng = np.random.default_rng(seed)
    error = probs.astype(np.float64)
    error[np.arange(len(probs)), probs.argmax(axis=1)] -= 1
    gradients = (error[:, :, None] * features.astype(np.float64)[:, None, :]).reshape(len(probs), -1)
    picks: list[int] = []
    for _ in range(budget):
        left = np.setdiff1d(np.arange(len(probs)), picks)
        mass = np.zeros(len(probs))
        mass[left] = 1
        if picks:
            mass[left] = [min(((gradients[i] - gradients[j]) ** 2).sum() for j in picks) for i in left]
        picks.append(int(np.searchsorted(mass.cumsum(), rng.random() * mass.sum(), side="right")))
    return picks


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sharpness", [1.0, 8.0])
def test_badge_is_seeding_on_the_gradients_written_out(seed: int, sharpness: float) -> None:
    evidence = complete(cloud(50, seed=seed), seed, sharpness=sharpness)
    assert evidence.probs_NC is not None
    plain = plain_badge(evidence.features_ND, evidence.probs_NC, 20, seed)
    assert pick("badge", evidence, 20, seed).positions.tolist() == plain


def test_badge_scores_are_distances_between_gradients() -> None:
    evidence = complete(cloud(20))
    assert evidence.probs_NC is not None
    error = evidence.probs_NC - np.eye(4)[evidence.probs_NC.argmax(axis=1)]
    gradients = (error[:, :, None] * evidence.features_ND[:, None, :]).reshape(20, -1)
    picks = pick("badge", evidence, 5)
    assert picks.scores[0] == pytest.approx(np.linalg.norm(gradients[picks.positions[0]]), abs=1e-5)
    for rank in range(1, 5):
        earlier = gradients[picks.positions[:rank]]
        expected = np.linalg.norm(gradients[picks.positions[rank]] - earlier, axis=1).min()
        assert picks.scores[rank] == pytest.approx(expected, abs=1e-4)


def test_badge_draws_in_proportion_to_squared_distance() -> None:
    # One certain item (no gradient) and two unsure ones, of lengths 1 and 2 apart from it; the first pick is random.
    features = np.eye(3, dtype=np.float32)
    probs = np.array([[1.0, 0.0], [0.75, 0.25], [0.5, 0.5]], dtype=np.float32)
    drawn = np.array([pick("badge", Evidence(features, probs_NC=probs), 2, seed).positions for seed in range(1500)])
    second = drawn[drawn[:, 0] == 0, 1]
    assert len(second) == pytest.approx(500, abs=75)
    assert np.mean(second == 2) == pytest.approx(4 / 5, abs=0.06)


def test_badge_can_start_with_the_longest_gradient() -> None:
    probs = np.array([[0.9, 0.1], [0.5, 0.5], [0.8, 0.2]], dtype=np.float32)
    for seed in SEEDS:
        picks = pick("badge", Evidence(np.eye(3, dtype=np.float32), probs_NC=probs), 2, seed, first="longest")
        assert picks.positions[0] == 1
        assert "longest" in picks.reasons[0]


def test_badge_goes_on_at_random_when_all_gradients_are_taken() -> None:
    evidence = complete(np.tile(cloud(2), (10, 1)), classes=2, sharpness=1.0)
    picks = pick("badge", evidence, 20)
    assert sorted(picks.positions) == list(range(20))
    assert (picks.positions[0] - picks.positions[1]) % 2 == 1
    assert all(reason == "random: every gradient left equals that of an earlier pick" for reason in picks.reasons[2:])
    assert picks.scores[2:].tolist() == [0] * 18


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 15), st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32 - 1), st.data())
def test_badge_never_repeats_an_item(count: int, classes: int, distinct: int, seed: int, data: Any) -> None:
    rng = np.random.default_rng(seed)
    which = rng.integers(0, distinct, size=count)
    probs = rng.dirichlet(np.full(classes, 0.1), size=distinct).astype(np.float32)[which]
    evidence = Evidence(cloud(distinct)[which] * rng.integers(0, 2, size=(count, 1)).astype("f"), probs_NC=probs)
    budget = data.draw(st.integers(1, count))
    check(pick("badge", evidence, budget, seed), evidence, budget)


# ALFA-Mix -------------------------------------------------------------------------------------------------------------


def turns(features: np.ndarray, head: LinearHead, anchors: np.ndarray, eps: float) -> np.ndarray:
    """The paper's equations one after the other: mix each item with each anchor and look at the predicted class."""
    weight, bias = head.weight_CD.astype(np.float64), head.bias_C.astype(np.float64)
    found = []
    for z in features.astype(np.float64):
        logits = weight @ z + bias
        probs = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        predicted = logits.argmax()
        error = np.where(np.arange(len(bias)) == predicted, 0, probs)
        error[predicted] = -error.sum()  # p - 1, which is all rounding where p is nearly 1
        gradient = weight.T @ error
        changed = False
        for anchor in anchors.astype(np.float64):
            way = anchor - z
            alpha = eps * np.linalg.norm(way) * gradient / (np.linalg.norm(gradient) * way)
            mixed = (1 - alpha) * z + alpha * anchor
            changed |= (weight @ mixed + bias).argmax() != predicted
        found.append(changed)
    return np.asarray(found)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("eps", [0.02, 0.1, 0.3])
def test_alfa_mix_finds_the_items_that_mixing_turns(seed: int, eps: float) -> None:
    evidence = complete(cloud(80, seed=seed), seed, labelled=np.arange(8), sharpness=3.0)
    assert isinstance(evidence.head, LinearHead)
    anchors = class_anchors(evidence)
    least = turning_eps(evidence.features_ND, evidence.candidates, evidence.head, anchors)
    expected = turns(evidence.features_ND[evidence.candidates], evidence.head, anchors, eps)
    assert 0 < expected.sum() < 72
    np.testing.assert_array_equal(least < eps, expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.floats(0.5, 30), st.integers(1, 6), st.floats(0.01, 0.9))
def test_the_least_eps_turns_and_anything_below_does_not(
    seed: int, classes: int, sharpness: float, labelled: int, share: float
) -> None:
    evidence = complete(cloud(12, 4, seed), seed, classes=classes, sharpness=sharpness, labelled=np.arange(labelled))
    assert isinstance(evidence.head, LinearHead)
    anchors = class_anchors(evidence)
    rows = evidence.candidates
    for row, least in zip(rows, turning_eps(evidence.features_ND, rows, evidence.head, anchors), strict=True):
        if not np.isfinite(least):
            assert not turns(evidence.features_ND[[row]], evidence.head, anchors, 1e3)[0]
            continue
        assert turns(evidence.features_ND[[row]], evidence.head, anchors, least * 1.001 + 1e-5)[0]
        assert least < 1e-4 or not turns(evidence.features_ND[[row]], evidence.head, anchors, least * share)[0]


def test_anchors_are_the_means_of_the_known_classes() -> None:
    features = cloud(10)
    evidence = Evidence(features, labelled=np.array([0, 2, 4, 6]), answers_L=np.array([3, -1, 3, 1]))
    np.testing.assert_allclose(class_anchors(evidence), [features[6], features[[0, 4]].mean(axis=0)], atol=1e-7)


def line() -> Evidence:
    """Items on an arc between two classes; the boundary lies in the middle, the two labelled items at the ends."""
    angles = np.linspace(0, np.pi / 2, 41)
    features = unit_rows(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    head = LinearHead(np.array([[5.0, 0.0], [0.0, 5.0]], "f"), np.zeros(2, "f"))
    probs = softmax(head.logits(features))
    return Evidence(features, np.array([0, 40]), answers_L=np.array([0, 1]), probs_NC=probs, head=head)


def test_alfa_mix_picks_near_the_boundary() -> None:
    picks = pick("alfa_mix", line(), 4)
    assert (abs(picks.positions - 20) < 10).all()
    assert picks.figures["turned"] == picks.scores.sum()
    assert all("prediction turns at eps" in reason for reason in picks.reasons)


def test_alfa_mix_spreads_its_picks_over_what_turns() -> None:
    # Two arcs on the same boundary in other directions: one pick of each.
    one = line()
    up, down = (np.hstack([one.features_ND, sign * np.ones((41, 1))]) for sign in (3, -3))
    features = unit_rows(np.vstack([up, down]))
    head = LinearHead(np.array([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0]], "f"), np.zeros(2, "f"))
    evidence = Evidence(
        features,
        np.array([0, 40]),
        answers_L=np.array([0, 1]),
        probs_NC=softmax(head.logits(features)),
        head=head,
    )
    for seed in SEEDS:
        assert sorted(pick("alfa_mix", evidence, 2, seed).positions // 41) == [0, 1]


def test_alfa_mix_fills_up_with_the_smallest_margins() -> None:
    picks = pick("alfa_mix", line(), 30, eps=0.02)
    turned = int(picks.figures["turned"])
    assert 0 < turned < 30
    assert all("all such items are taken" in reason for reason in picks.reasons[:turned])
    assert all(reason.startswith("no more predictions turn: margin") for reason in picks.reasons[turned:])
    assert picks.scores.tolist() == [1.0] * turned + [0.0] * (30 - turned)
    assert (np.diff(abs(picks.positions[turned:] - 20)) >= 0).all()


def test_alfa_mix_without_a_known_answer_takes_the_smallest_margins() -> None:
    evidence = replace(line(), answers_L=np.array([-1, -1]))
    picks = pick("alfa_mix", evidence, 3)
    assert sorted(picks.positions) == [19, 20, 21]
    assert picks.figures["turned"] == 0


def test_the_released_search_widens_until_more_turn_than_are_asked_for() -> None:
    evidence = complete(cloud(300, 9), labelled=np.arange(8), sharpness=3.0)
    turned = {budget: pick("alfa_mix", evidence, budget, search="released").figures for budget in (1, 10, 60)}
    steps = [figures["eps"] / (0.2 / 3) for figures in turned.values()]
    assert steps == pytest.approx(np.round(steps))
    assert steps == sorted(steps)
    assert all(figures["turned"] > budget for budget, figures in turned.items())


@pytest.mark.parametrize("eps", [0, -1, float("nan"), float("inf")])
def test_an_impossible_eps_is_explained(eps: float) -> None:
    with pytest.raises(UsageError, match="alfa_mix: eps can't be"):
        make_selector("alfa_mix", settings={"eps": eps})


# DropQuery ------------------------------------------------------------------------------------------------------------


def plain_changes(evidence: Evidence, rate: float, runs: int, seed: int) -> list[int]:
    """Item by item: leave features out, look at the predicted class."""
    assert isinstance(evidence.head, LinearHead)
    rng = np.random.default_rng(seed)
    weight, bias = evidence.head.weight_CD.astype(np.float64), evidence.head.bias_C.astype(np.float64)
    rows = evidence.features_ND[evidence.candidates].astype(np.float64)
    changes = [0] * len(rows)
    for _ in range(runs):
        for number, row in enumerate(rows):
            kept = np.array([rng.random(dtype=np.float32) >= rate for _ in row])
            left = np.where(kept, row, 0) / (1 - rate)
            changes[number] += int((weight @ left + bias).argmax() != (weight @ row + bias).argmax())
    return changes


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("rate", "runs"), [(0.75, 3), (0.5, 1), (0.3, 6)])
def test_drop_query_counts_the_runs_that_change_a_prediction(seed: int, rate: float, runs: int) -> None:
    evidence = complete(cloud(40, 12, seed), seed, labelled=np.arange(4), excluded=np.array([9, 30]))
    assert isinstance(evidence.head, LinearHead)
    expected = plain_changes(evidence, rate, runs, seed)
    assert len(set(expected)) > 1
    for numbers in (2**23, 50, 1):
        with pieces_of(numbers):
            found = changed_runs(
                evidence.features_ND,
                evidence.candidates,
                evidence.head,
                rate=rate,
                runs=runs,
                rng=np.random.default_rng(seed),
            )
        assert found.tolist() == expected


def two_doubtful_groups() -> Evidence:
    """64 features whose sum decides between two classes. Of 30 items all features agree, so that no part of them says
    otherwise; of items 30 to 41 and 42 to 53, two groups, half of the features speak for either class.
    """
    rng = np.random.default_rng(0)
    sure = np.repeat([1.0, -1.0], 15)[:, None] * rng.uniform(0.5, 1.5, size=(30, 64))
    doubtful = np.repeat([np.repeat([1.0, -1.0], 32), np.tile([1.0, -1.0], 32)], 12, axis=0)
    doubtful += 0.02 * rng.normal(size=doubtful.shape)
    head = LinearHead(np.stack([np.ones(64), -np.ones(64)]).astype("f"), np.zeros(2, "f"))
    return Evidence(unit_rows(np.concatenate([sure, doubtful])), head=head)


@pytest.mark.parametrize("seed", SEEDS)
def test_drop_query_takes_one_of_each_group_in_doubt(seed: int) -> None:
    picks = pick("drop_query", two_doubtful_groups(), 2, seed)
    assert sorted(position >= 42 for position in picks.positions) == [False, True]
    assert (picks.positions >= 30).all()
    assert 2 <= picks.figures["turned"] == picks.scores.sum() <= 24
    assert all("more than half of 3 runs" in reason for reason in picks.reasons)


def test_drop_query_fills_up_with_those_that_turned_less_often() -> None:
    evidence = two_doubtful_groups()
    picks = pick("drop_query", evidence, 40)
    turned = int(picks.figures["turned"])
    assert 0 < turned < 24
    assert all("more than half" in reason for reason in picks.reasons[:turned])
    runs = [int(reason.split(" one in ")[1][0]) for reason in picks.reasons[turned:]]
    assert runs == sorted(runs, reverse=True)
    assert set(runs) <= {0, 1}
    assert (picks.positions[: turned + runs.count(1)] >= 30).all()
    assert runs.count(0) == 16 + 24 - turned - runs.count(1) > 0
    assert len(set(picks.positions)) == 40


def test_drop_query_with_nothing_left_out_is_k_means() -> None:
    evidence = complete(cloud(30), labelled=np.array([0, 3]))
    picks = pick("drop_query", evidence, 5, 2, rate=0.0)
    rng = np.random.default_rng(2)
    rng.random((3, 28, 6), dtype=np.float32)  # those that decided what to leave out
    others = Evidence(evidence.features_ND, excluded=evidence.labelled)
    assert picks.positions.tolist() == make_selector("k_means").select(others, 5, rng).positions.tolist()
    assert picks.figures == {"turned": 0}


def test_drop_query_without_a_model_starts_at_the_centroids() -> None:
    evidence = Evidence(cloud(30), labelled=np.array([4]))
    picks = pick("drop_query", evidence, 6, 3)
    assert picks.positions.tolist() == pick("k_means", evidence, 6, 3).positions.tolist()
    assert picks.notes["drop_query"].startswith("k_means: no model")


def test_drop_query_learns_its_model_from_the_labels_that_are_known() -> None:
    features = cloud(60)
    names = np.where(features[:, 0] > 0, "one", "other")
    pool = Embeddings.from_numpy(features, [f"item-{row}" for row in range(60)])
    known = {f"item-{row}": str(names[row]) for row in range(20)}
    found = select(pool, budget=5, method="drop_query", labelled=known)
    assert 0 < found.manifest["figures"]["turned"] <= 40
    assert not set(found.ids) & set(known)
    alone = select(pool, budget=5, method="drop_query", labelled=list(known))
    assert "turned" not in alone.manifest["figures"]
    assert alone.manifest["notes"]["drop_query"].startswith("k_means")


def test_a_simulation_goes_through_the_budgets_of_drop_query_in_rounds() -> None:
    assert [method.in_rounds for method in read_methods("drop_query,auto,k_means,margin", {})] == [
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rate": 1.0}, r"drop_query: rate can't be 1.0; allowed: 0 to 0.99"),
        ({"rate": -0.1}, "drop_query: rate can't be -0.1"),
        ({"runs": 0}, "drop_query: runs can't be 0; allowed: 1 or more"),
    ],
)
def test_impossible_settings_of_drop_query_are_explained(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make_selector("drop_query", settings=values)
