"""The helpers that selectors of several rounds read: each learns what it is there for, on toys that show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata, spearmanr

from activetune import UsageError
from activetune.base.runtime import torch_generator
from activetune.base.settings import AnySettings, changed
from activetune.features.distances import unit_rows
from activetune.selection.evidence import gather, known_answers, probe, sources
from activetune.selection.evidence._training import Inputs, batches, perceptron
from activetune.selection.evidence.adversarial import Adversary, ranks
from activetune.selection.evidence.dropout import DropoutHead
from activetune.selection.evidence.loss_prediction import LossPrediction, ranking_loss
from activetune.selection.problem import DropoutDraws, Evidence
from tests.conftest import InPieces

FIELDS = ("probs_NC", "dropout", "predicted_loss_N", "likeness_N", "ranked_likeness_N")
SHORT = 20  # steps where it does not matter what is learnt
RATES = np.linspace(0, 1, 12, dtype=np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def blobs(
    classes: int = 4, size: int = 30, noise: float = 0.05, columns: int = 8, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Groups of rows around the axes, and each row's group."""
    group = np.repeat(np.arange(classes), size)
    return unit_rows(np.eye(columns)[group] + noise * rng(seed).normal(size=(len(group), columns))), group


def labelled(features: np.ndarray, group: np.ndarray, each: int = 10, **fields: object) -> Evidence:
    """Evidence in which the first ``each`` items of every group have their answer."""
    rows = np.sort(np.concatenate([np.flatnonzero(group == number)[:each] for number in np.unique(group)]))
    return Evidence(features, labelled=rows, answers_L=group[rows], **fields)  # type: ignore[arg-type]


def quick(helper: AnySettings) -> AnySettings:
    """A helper that trains for a few steps."""
    return changed(helper, {"steps": SHORT})


QUICK: dict[str, Callable[[Evidence, int], object]] = {
    "probs_NC": lambda evidence, seed: probe.provide(evidence, frozenset({"probs_NC"}), rng(seed))["probs_NC"],
    "dropout": lambda evidence, seed: quick(DropoutHead(draws=3)).draw(evidence, rng(seed)),
    "predicted_loss_N": lambda evidence, seed: quick(LossPrediction()).predict(evidence, rng(seed)),
    "likeness_N": lambda evidence, seed: quick(Adversary(least_steps=1)).likeness(evidence, rng(seed)),
    "ranked_likeness_N": lambda evidence, seed: quick(Adversary(least_steps=1)).likeness(
        evidence, rng(seed), np.resize(RATES, (len(evidence.features_ND), 1))
    ),
}
EVERY = pytest.mark.parametrize("field", FIELDS)


def numbers(value: object) -> list[np.ndarray]:
    """The arrays of a field."""
    return [value.mean_probs_NC, value.mean_entropy_N] if isinstance(value, DropoutDraws) else [np.asarray(value)]


def check(field: str, value: object, evidence: Evidence) -> None:
    for array in numbers(value):
        assert array.dtype == np.float32
        assert len(array) == len(evidence.features_ND)
        assert np.isfinite(array).all()
        assert field == "predicted_loss_N" or (array >= 0).all()
    if field in ("probs_NC", "dropout"):
        assert numbers(value)[0].sum(axis=1) == pytest.approx(1, abs=1e-4)
    if "likeness" in field:
        assert (np.asarray(value) <= 1).all()


# What every source promises -------------------------------------------------------------------------------------------


def test_every_field_has_a_source() -> None:
    assert {*FIELDS, "head"} <= sources().keys()


@EVERY
def test_a_source_provides_at_least_what_is_wanted(field: str) -> None:
    evidence = labelled(*blobs(classes=2, size=6), each=2)
    found = sources()[field].provide(evidence, frozenset({field}), rng())
    assert set(found) <= sources()[field].PROVIDES
    check(field, found[field], evidence)


def test_gather_adds_what_is_wanted_and_nothing_else() -> None:
    evidence = gather(labelled(*blobs()), ["features_ND", "probs_NC", "head", "answers_L"], method="margin", seed=0)
    assert evidence.probs_NC is not None
    assert evidence.head is not None
    assert evidence.dropout is None


@EVERY
def test_same_generator_state_same_numbers(field: str) -> None:
    evidence = labelled(*blobs(noise=0.4))
    first, second, other = (numbers(QUICK[field](evidence, seed)) for seed in (3, 3, 4))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)
    if field != "probs_NC":  # the probe's seed only deals the folds, all of which may choose alike
        assert any((one != two).any() for one, two in zip(first, other, strict=True))


@EVERY
def test_random_state_and_evidence_are_left_as_they_were(field: str) -> None:
    evidence = labelled(*blobs())
    given_arrays = (evidence.features_ND, evidence.labelled, evidence.answers_L)
    copies = [np.array(array) for array in given_arrays]
    for array in given_arrays:
        array.setflags(write=False)  # type: ignore[union-attr]
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    QUICK[field](evidence, 0)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    for array, copy in zip(given_arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@EVERY
@pytest.mark.parametrize("kind", ["ten items", "two labels", "zero vectors", "all equal", "all zero", "all labelled"])
def test_small_and_odd_pools(field: str, kind: str) -> None:
    features, group = blobs(classes=2, size=5)
    if kind == "zero vectors":
        features[[0, 5, 9]] = 0
    if kind in ("all equal", "all zero"):
        features[:] = unit_rows(np.ones((1, 8))) if kind == "all equal" else 0
    evidence = labelled(features, group, each={"two labels": 1, "all labelled": 5}.get(kind, 2))
    check(field, QUICK[field](evidence, 0), evidence)


@EVERY
def test_answers_still_to_come_are_no_class(field: str) -> None:
    features, group = blobs(classes=3, size=8)
    evidence = labelled(features, group, each=3)
    answers = np.where(group[evidence.labelled] == 2, -1, evidence.answers_L)
    waiting = replace(evidence, answers_L=answers)
    value = QUICK[field](waiting, 0)
    check(field, value, waiting)
    if field in ("probs_NC", "dropout"):
        assert numbers(value)[0].shape == (24, 2)


@EVERY
def test_classes_are_counted_by_the_highest_answer(field: str) -> None:
    evidence = labelled(*blobs(classes=2, size=8), each=3)
    evidence = replace(evidence, answers_L=np.where(evidence.answers_L == 0, 1, 4))
    value = QUICK[field](evidence, 0)
    check(field, value, evidence)
    if field in ("probs_NC", "dropout"):
        probs = numbers(value)[0]
        assert probs.shape == (16, 5)
        assert (probs[:, [0, 2, 3]] == 0).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@EVERY
def test_on_a_gpu(field: str) -> None:
    evidence = labelled(*blobs(), device="cuda")
    check(field, QUICK[field](evidence, 0), evidence)


# The shared parts -----------------------------------------------------------------------------------------------------


def test_inputs_are_centred_of_unit_size_and_on_the_device() -> None:
    features, group = blobs()
    inputs = Inputs.of(labelled(features, group, excluded=np.flatnonzero(group == 3)))
    assert inputs[np.flatnonzero(group != 3)].mean(0).numpy() == pytest.approx(0, abs=1e-5)
    assert inputs[np.flatnonzero(group != 3)].square().mean().item() == pytest.approx(1, abs=1e-4)
    assert Inputs.of(Evidence(features, device="meta"))[:3].device.type == "meta"


def test_layers_are_drawn_like_torchs_own() -> None:
    network = perceptron([400, 300, 2], torch_generator(rng(), "cpu"))
    assert [type(layer).__name__ for layer in network] == ["Linear", "ReLU", "Linear"]
    for layer in (network[0], network[2]):
        bound = layer.in_features**-0.5
        assert layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / np.sqrt(3), rel=0.1)


@given(st.integers(1, 20), st.integers(1, 25))
def test_a_pass_of_batches_holds_no_item_twice(items: int, size: int) -> None:
    order = batches(np.arange(100, 100 + items), size, rng())
    passes = items // min(items, size)
    seen = np.concatenate([next(order) for _ in range(passes)])
    assert len(set(seen.tolist())) == len(seen) == passes * min(items, size)
    assert set(seen.tolist()) <= set(range(100, 100 + items))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: DropoutHead(rate=1.0), "dropout: rate can't be 1.0; allowed: 0 to 0.99"),
        (lambda: changed(LossPrediction(), {"batch_size": 1}), "loss_prediction: batch_size can't be 1"),
        (lambda: LossPrediction(joint=float("nan")), "loss_prediction: joint can't be nan"),
        (lambda: Adversary(beta=-1), "adversarial: beta can't be -1"),
        (
            lambda: changed(Adversary(), {"least_steps": 9, "steps": 5}),
            "adversarial: least_steps can't be 9; allowed: 1 to 5",
        ),
    ],
)
def test_settings_out_of_range_are_explained(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


# The probe ------------------------------------------------------------------------------------------------------------


def test_the_probe_learns_the_blobs() -> None:
    features, group = blobs()
    found = probe.provide(labelled(features, group, each=3), frozenset({"probs_NC", "head"}), rng())
    assert (found["probs_NC"].argmax(axis=1) == group).all()


def test_the_probabilities_are_the_softmax_of_the_head() -> None:
    evidence = replace(labelled(*blobs(classes=2)), answers_L=np.repeat([1, 3], 10))
    found = probe.provide(evidence, frozenset({"probs_NC", "head"}), rng())
    head = found["head"]
    assert head.weight_CD.shape == (4, 8)
    logits = torch.from_numpy(evidence.features_ND @ head.weight_CD.T + head.bias_C)
    np.testing.assert_allclose(found["probs_NC"], torch.softmax(logits, 1).numpy(), atol=1e-6)


def test_with_many_answers_the_strength_is_chosen_on_a_part_held_out() -> None:
    features, group = blobs(noise=0.3)
    evidence = labelled(features, group, each=20)
    head = probe.fit_head(*known_answers(evidence), evidence.features_ND, rng(), cross_validated=20)
    probs = probe.probabilities(head, evidence.features_ND)
    assert (probs.argmax(axis=1) == group).mean() > 0.85


# Dropout --------------------------------------------------------------------------------------------------------------


def between(features: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Unlabelled rows half way between the middles of groups 0 and 1."""
    middles = [features[group == number].mean(axis=0) for number in (0, 1)]
    return unit_rows((middles[0] + middles[1]) / 2 + 0.02 * rng(5).normal(size=(20, features.shape[1])))


def test_draws_are_unsure_and_disagree_between_blobs() -> None:
    features, group = blobs(classes=3)
    evidence = labelled(np.vstack([features, between(features, group)]), np.concatenate([group, np.full(20, 0)]))
    draws = changed(DropoutHead(), {"steps": 150}).draw(evidence, rng())
    assert (draws.mean_probs_NC[:90].argmax(axis=1) == group).all()
    assert draws.mean_entropy_N[90:].min() > draws.mean_entropy_N[:90].max()
    entropy = -(draws.mean_probs_NC * np.log(draws.mean_probs_NC + 1e-30)).sum(axis=1)
    information = entropy - draws.mean_entropy_N
    assert information.min() > -1e-4
    assert information[90:].min() > information[:90].mean()


def test_without_dropout_all_draws_are_one() -> None:
    draws = quick(DropoutHead(rate=0.0, draws=4)).draw(labelled(*blobs(noise=0.3)), rng())
    entropy = -(draws.mean_probs_NC * np.log(draws.mean_probs_NC + 1e-30)).sum(axis=1)
    assert draws.mean_entropy_N == pytest.approx(entropy, abs=1e-4)


def test_the_pieces_of_a_pool_do_not_matter(in_pieces: InPieces) -> None:
    evidence = labelled(*blobs(noise=0.3))
    whole = {field: QUICK[field](evidence, 0) for field in FIELDS}
    in_pieces(256 * 7)
    for field in FIELDS:
        for one, two in zip(numbers(whole[field]), numbers(QUICK[field](evidence, 0)), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-4)


# Loss prediction ------------------------------------------------------------------------------------------------------


def test_hard_items_are_ranked_above_easy_ones() -> None:
    # Two classes that lie on top of each other, two that lie apart: no classifier can tell the first pair.
    features, group = blobs(classes=3, size=60, noise=0.1)
    coin = rng(1).integers(0, 2, size=60)
    classes = np.concatenate([coin, np.full(60, 2), np.full(60, 3)])
    rows = np.flatnonzero(np.arange(180) % 2 == 0)
    predicted = changed(LossPrediction(), {"steps": 200}).predict(
        Evidence(features, rows, answers_L=classes[rows]), rng()
    )
    unseen = np.flatnonzero(np.arange(180) % 2)
    hard, easy = unseen[group[unseen] == 0], unseen[group[unseen] != 0]
    assert predicted[hard].min() > predicted[easy].max()


def test_predicted_losses_follow_the_real_ones_on_real_digits() -> None:
    from sklearn.datasets import load_digits

    data = load_digits()
    features = unit_rows(data.data[:900] - data.data[:900].mean(axis=0))
    evidence = Evidence(features, np.arange(300), answers_L=data.target[:300])
    predicted = changed(LossPrediction(), {"steps": 200}).predict(evidence, rng())
    probs = probe.provide(evidence, frozenset({"probs_NC"}), rng())["probs_NC"]
    losses = -np.log(probs[np.arange(300, 900), data.target[300:900]])
    assert spearmanr(predicted[300:], losses).statistic > 0.3


@pytest.mark.parametrize(
    ("predicted", "losses", "expected"),
    [
        ([0.0, 0.0], [2.0, 1.0], 1.0),
        ([3.0, 0.0], [2.0, 1.0], 0.0),
        ([0.0, 3.0], [2.0, 1.0], 4.0),
        ([0.5, 1.0, 0.0, 0.0], [2.0, 1.0, 3.0, 1.0], (0.5 + 2.0) / 2),  # pairs (0, 3) and (1, 2)
    ],
)
def test_the_ranking_loss_of_pairs(predicted: list[float], losses: list[float], expected: float) -> None:
    assert ranking_loss(torch.tensor(predicted), torch.tensor(losses), 1.0).item() == pytest.approx(expected)


# Adversaries ----------------------------------------------------------------------------------------------------------


def half_labelled(**fields: object) -> tuple[Evidence, np.ndarray]:
    """Four blobs, labels in two of them alone; and each item's blob."""
    features, group = blobs(columns=64)
    rows = np.flatnonzero((group < 2) & (np.arange(120) % 3 == 0))
    return Evidence(features, rows, answers_L=group[rows], **fields), group  # type: ignore[arg-type]


def test_the_discriminator_tells_where_nothing_is_labelled() -> None:
    evidence, group = half_labelled()
    likeness = Adversary().likeness(evidence, rng())
    unseen = evidence.candidates
    met, unmet = likeness[unseen][group[unseen] < 2], likeness[unseen][group[unseen] >= 2]
    assert np.mean(met[:, None] > unmet[None]) > 0.9


@pytest.mark.parametrize("field", ["likeness_N", "ranked_likeness_N"])
def test_answers_still_to_come_count_as_labelled(field: str) -> None:
    evidence, _ = half_labelled()
    waiting = replace(evidence, answers_L=np.full(len(evidence.labelled), -1))
    np.testing.assert_array_equal(numbers(QUICK[field](evidence, 0)), numbers(QUICK[field](waiting, 0)))


def test_what_stands_beside_the_code_is_seen() -> None:
    features, group = blobs(noise=0.2)
    rows = np.flatnonzero(np.arange(120) % 3 == 0)
    beside = np.zeros((120, 1), dtype=np.float32)
    beside[rows] = 1
    evidence = Evidence(features, rows, answers_L=group[rows])
    likeness = Adversary(least_steps=150).likeness(evidence, rng(), beside)
    assert likeness[rows].min() > likeness[evidence.candidates].max()


def test_predicted_losses_that_are_there_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activetune.selection.evidence.adversarial.Adversary", lambda: quick(Adversary(least_steps=1)))
    evidence = labelled(*blobs(size=10), each=3)
    source, wanted = sources()["ranked_likeness_N"], frozenset({"ranked_likeness_N"})
    given_losses = rng(7).normal(size=40).astype(np.float32)
    answers = [
        source.provide(replace(evidence, predicted_loss_N=losses), wanted, rng())["ranked_likeness_N"]
        for losses in (given_losses, 5 * given_losses, -given_losses)
    ]
    np.testing.assert_array_equal(answers[0], answers[1])  # only ranks count
    assert (answers[0] != answers[2]).any()


@pytest.mark.parametrize("field", ["likeness_N", "ranked_likeness_N"])
def test_excluded_items_teach_nothing(field: str) -> None:
    evidence, _ = half_labelled(excluded=np.arange(90, 120))
    other = evidence.features_ND.copy()
    other[90:] = unit_rows(rng(9).normal(size=(30, 64)))
    first, second = (np.asarray(QUICK[field](case, 0)) for case in (evidence, replace(evidence, features_ND=other)))
    np.testing.assert_array_equal(first[:90], second[:90])


def test_without_two_kinds_there_is_nothing_to_tell_apart() -> None:
    features, group = blobs(classes=2, size=5)
    for rows in (np.arange(10), np.arange(0)):
        assert (Adversary().likeness(Evidence(features, rows, answers_L=group[rows]), rng()) == 0.5).all()


@pytest.mark.parametrize(("unlabelled", "steps"), [(1, 300), (6_000, 468), (50_000, 1000), (10**7, 1000)])
def test_steps_are_bounded(unlabelled: int, steps: int) -> None:
    assert Adversary().steps(unlabelled) == steps


@settings(max_examples=50)
@given(arrays(np.float32, st.integers(1, 12), elements=st.sampled_from([-2, -1, 0, 0.5, 3])))
def test_ranks_are_scipys_in_the_unit_interval(values: np.ndarray) -> None:
    expected = (rankdata(values) - 1) / max(1, len(values) - 1)
    np.testing.assert_allclose(ranks(values), expected, atol=1e-6)
