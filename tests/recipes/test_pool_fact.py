"""Self-training: what is drawn as a pseudo-label, what it counts, and a pilot that stops before harm is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from activetune import Labels, UsageError, open_pool
from activetune.base.arrays import IntArray
from activetune.data.labels import Labels as AnyLabels
from activetune.evaluation.learned_from import told_lessons
from activetune.evaluation.metrics import measure_balanced, measure_top1
from activetune.networks.regression import LinearHead
from activetune.recipes import pool_fact
from activetune.recipes.pool_fact import stage_to_keep
from activetune.tasks import Batch
from activetune.tasks.classification import Classification
from activetune.training import self_training
from activetune.training.finite import NotFinite
from activetune.training.label_propagation import PseudoLabels
from activetune.training.pool_regression import PoolRegression
from activetune.training.pseudo_labels import (
    PseudoLabelling,
    WeightedClassification,
    expected_accuracy,
    fit_calibration,
)
from activetune.training.recipe import make_recipe
from tests.conftest import tiny_backbone
from tests.training.test_finetuning import figures, history, some_labels, train

SHORT = {"epochs": 1, "student_epochs": 1, "pseudo_labels": 20, "batch_size": 8}


def made_up(seed: int, count: int = 200, classes: int = 4) -> PseudoLabels:
    rng = np.random.default_rng(seed)
    return PseudoLabels(rng.integers(0, classes, count), rng.random(count))


# What is drawn --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.sampled_from([0.1, 0.5, 1.0]))
@settings(max_examples=25, deadline=None)
def test_the_surest_of_each_class_are_drawn(seed: int, share: float) -> None:
    found, candidates = made_up(seed), np.flatnonzero(np.random.default_rng(seed).random(200) < 0.7)
    teacher = {"features_ND": np.ones((200, 2), dtype=np.float32), "head": teachers(4)}
    drawn = PseudoLabelling(count=1000, share=share).draw(found, candidates, seed, **teacher)
    wanted: list[int] = []
    for number in range(4):  # plainly: sort each class
        own = [item for item in candidates.tolist() if found.classes_N[item] == number]
        own.sort(key=lambda item: -found.certainty_N[item])
        wanted += own[: int(np.ceil(share * len(own)))]
    assert drawn.tolist() == sorted(wanted)
    some = PseudoLabelling(count=5, share=share).draw(found, candidates, seed, **teacher)
    assert len(some) == min(5, len(wanted)) and set(some.tolist()) <= set(wanted)
    np.testing.assert_array_equal(some, PseudoLabelling(count=5, share=share).draw(found, candidates, seed, **teacher))


def teachers(classes: int) -> LinearHead:
    return LinearHead(np.zeros((classes, 2), dtype=np.float32), np.arange(classes, dtype=np.float32))


def test_a_selector_picks_among_the_surest_by_the_teachers_loss() -> None:
    features = np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32)
    found, head = made_up(3), teachers(4)
    drawn = PseudoLabelling(count=10, share=0.5, select_with="top_loss").draw(
        found, np.arange(200), 0, features_ND=features, head=head
    )
    surest = PseudoLabelling(share=0.5).most_certain(found, np.arange(200))
    assert set(drawn.tolist()) <= set(surest.tolist())
    assert (found.classes_N[drawn] == 0).all()  # the head thinks least of class 0, so its answers have the largest loss


def test_nothing_is_drawn_from_nothing() -> None:
    none, features = np.zeros(0, dtype=np.int64), np.ones((200, 2), dtype=np.float32)
    assert PseudoLabelling().draw(made_up(0), none, 0, features_ND=features, head=teachers(4)).tolist() == []


@given(st.integers(0, 1000), st.floats(0.1, 1.0))
@settings(max_examples=10, deadline=None)
def test_a_draw_can_be_evened_over_the_classes(seed: int, even: float) -> None:
    rng = np.random.default_rng(seed)
    frequent = PseudoLabels((rng.random(2000) < 0.1).astype(np.int64), rng.uniform(0.4, 0.6, 2000))
    teacher = {"features_ND": np.ones((2000, 2), dtype=np.float32), "head": teachers(2)}
    plain, evened = (
        frequent.classes_N[
            PseudoLabelling(count=60, class_balance=share).draw(frequent, np.arange(2000), seed, **teacher)
        ].mean()
        for share in (0.0, even)
    )
    weight = 9**even  # of the rare class against the frequent one
    assert abs(plain - 0.1) < 0.15 and abs(evened - weight * 0.1 / (weight * 0.1 + 0.9)) < 0.25


@pytest.mark.parametrize("exponent", [0.3, 1.0, 4.0])
def test_a_pilot_tells_how_far_sureness_can_be_relied_on(exponent: float) -> None:
    rng = np.random.default_rng(0)
    sure = rng.random(4000)
    right = (rng.random(4000) < expected_accuracy(sure, exponent, 10)).astype(float)
    assert fit_calibration(sure, right, 10) == pytest.approx(exponent, rel=0.15)
    assert 0.3 < fit_calibration(sure[:2], right[:2], 10) < 3  # two items tell little


# What it counts -------------------------------------------------------------------------------------------------------


def batch_of(task: Classification, labels: AnyLabels[str]) -> Batch:
    from activetune.tasks import Sample

    images = torch.zeros(3, 4, 4, dtype=torch.uint8)
    return task.collate([Sample(images, task.target(labels, row), row) for row in range(len(labels))])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_item_counts_by_its_weight(smoothing: float) -> None:
    labels = Labels(["a", "b", "c"], ["x", "y", "x"], ["x", "y"])
    logits = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    plain = Classification(smoothing=smoothing)
    each = [
        plain.loss(logits[row : row + 1], batch_of(plain, Labels([i], [n], ["x", "y"])))[0]
        for row, (i, n) in enumerate(zip(labels.ids, labels.names, strict=True))
    ]
    weighted = WeightedClassification(smoothing=smoothing, weights=(1.0, 0.25, 0.0))
    loss, weight, _ = weighted.loss(logits, batch_of(weighted, labels))
    assert weight == pytest.approx(1.25)
    torch.testing.assert_close(loss, each[0] + 0.25 * each[1])
    loss.backward()
    assert logits.grad is not None and not logits.grad[2].any() and logits.grad[:2].all()
    whole = WeightedClassification(smoothing=smoothing, weights=(1.0,) * 3)
    torch.testing.assert_close(
        whole.loss(logits, batch_of(whole, labels))[:2], plain.loss(logits, batch_of(plain, labels))[:2]
    )


# Where to stop --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "stage"),
    [
        ([[0, 0, 0, 1], [1, 1, 1, 1]], 1),
        ([[1, 1, 1, 1] * 5, [0, 0, 0, 0] * 5, [0, 0, 0, 1] * 5], 0),
        ([[0, 0, 0, 0] * 5, [1, 1, 1, 1] * 5, [0, 0, 1, 0] * 5], 1),
        ([[0] * 20, [1] * 20, [1] * 19 + [0], [1] * 20], 3),  # a student that is as good, after one that is not
        ([[0] * 20, [1] * 20, [1] * 19 + [0], [1] * 18 + [0] * 2], 1),  # a student of which one item more is wrong
        ([[1, 0, 1, 0] * 5, [0, 1, 0, 1] * 5], 1),  # equal: the later one
        ([[1] + [0] * 19, [0] * 20], 1),  # one item of twenty is chance
    ],
)
def test_the_pool_is_left_out_by_proof_and_a_student_kept_where_it_is_no_worse(
    right: list[list[int]], stage: int
) -> None:
    assert stage_to_keep([np.asarray(one, dtype=np.float64) for one in right]) == stage


def test_where_classes_are_evened_each_counts_as_much() -> None:
    truth = np.array([0] * 9 + [1])
    logits = np.eye(2)[truth]
    assert measure_top1(logits, truth).weight_N.tolist() == [1.0] * 10
    even = measure_balanced(logits, truth).credit_N
    assert even[:9].sum() == pytest.approx(even[9:].sum()) and even.sum() == pytest.approx(10)


@pytest.fixture
def options() -> dict[str, Any]:
    name, weights = tiny_backbone()
    return {"backbone": name, "weights": weights}


def test_stages_in_their_order_and_their_figures(digits: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    pool, given = open_pool(digits), {**SHORT, "turns": 2, "pilot": False}
    train(digits, tmp_path / "m", "pool_fact", labels=some_labels(pool, 4), settings=given, **options)
    told = figures(tmp_path / "m")
    assert list(told["phases"]) == ["probe", "full", "pool", "student 1", "pool 1", "student 2", "pool 2"]
    assert told["stage"] == "pool 2" and "pilot" not in told
    assert told["phases"]["pool"]["images"] == len(pool)
    assert told["phases"]["student 1"]["pseudo_labels"] == 20
    assert told["estimate"]["of"] == "the linear probe"  # as of every network that no validation judges
    assert [row["phase"] for row in history(tmp_path / "m") if row["epoch"]] == ["full", "student 1", "student 2"]


def test_the_pool_that_is_looked_at_is_bounded(digits: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    given = {"epochs": 1, "batch_size": 8, "turns": 0, "pool_most": 30}
    train(digits, tmp_path / "m", "pool_fact", labels=some_labels(open_pool(digits), 4), settings=given, **options)
    told = figures(tmp_path / "m")
    assert told["phases"]["pool"]["images"] == 16 + 30 and told["phases"]["pool"]["unlabelled"] == 30
    assert told_lessons(told) == "16 labelled images and 30 without a label"


def test_without_a_pilot_to_judge_it_there_is_no_student(
    digits: Path, tmp_path: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    given = {**options, "labels": some_labels(open_pool(digits), 4), "quiet": False}
    train(digits, tmp_path / "m", "pool_fact", settings={**SHORT, "minutes": 1.0}, **given)
    assert list(figures(tmp_path / "m")["phases"]) == ["probe", "full", "pool"]
    said = capsys.readouterr().err
    assert "no student is trained, as there are too few labels for a pilot to judge it" in said
    assert "no pilot: a fifth of 16 labels, taken from classes that have two or more, is under 20" in said
    assert "pseudo-labels in" not in said and "too short" not in said


def test_without_an_unlabelled_image_there_is_no_student(
    digits: Path, tmp_path: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    labels = some_labels(open_pool(digits), 2)
    pool = open_pool(digits).subset(list(labels))
    train(pool, tmp_path / "m", "pool_fact", labels=labels, settings=SHORT, quiet=False, **options)
    assert list(figures(tmp_path / "m")["phases"]) == ["probe", "full", "pool"]
    assert "every image of the pool has a label, so no student is trained" in capsys.readouterr().err


def test_a_student_that_fails_names_its_own_rate(digits: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    labels = some_labels(open_pool(digits), 2)
    with pytest.raises(NotFinite, match=r"student 1.* a lower --set student_lr=… \(it is 1e\+09\)"):
        given = {**SHORT, "student_lr": 1e9, "pilot": False}
        train(digits, tmp_path / "m", "pool_fact", labels=labels, settings=given, **options)


def test_what_judges_is_not_learned(
    digits: Path, tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, seen = open_pool(digits), []
    labels = {item: name for item, name in zip(pool.ids, pool.labels or (), strict=True) if name}
    of = PseudoLabelling.stream

    def noted(self: PseudoLabelling, job: Any, *given: Any, **options: Any) -> Any:
        stream = of(self, job, *given, **options)
        seen.append(({*job.labels.ids}, {*stream.labels.ids}))
        return stream

    monkeypatch.setattr(PseudoLabelling, "stream", noted)
    monkeypatch.setattr(pool_fact, "stage_to_keep", lambda credits: len(credits) - 1)
    some = dict(list(labels.items())[:110])
    train(digits, tmp_path / "m", "pool_fact", labels=some, settings={**SHORT, "pseudo_labels": 100}, **options)
    (in_pilot, learned), (whole, _) = seen
    left_out = set(some) - in_pilot
    assert len(left_out) >= 20 and not left_out & learned and whole == set(some)
    told = figures(tmp_path / "m")
    assert told["pilot"]["n_validation"] == len(left_out) == told["estimate"]["n"]
    assert list(told["pilot"]["stages"]) == ["full", "pool", "student 1", "pool 1"]


def test_pseudo_labels_weigh_what_the_pilot_found_of_their_sureness(
    digits: Path, tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, seen, of = open_pool(digits), [], PseudoLabelling.stream

    def noted(
        self: PseudoLabelling,
        job: Any,
        ids: Any,
        pseudo_labels: PseudoLabels,
        drawn: IntArray,
        *given: Any,
        **more: Any,
    ) -> Any:
        stream = of(self, job, ids, pseudo_labels, drawn, *given, **more)
        assert isinstance(stream.task, WeightedClassification)
        seen.append((pseudo_labels.certainty_N[drawn], np.asarray(stream.task.weights[-len(drawn) :])))
        return stream

    monkeypatch.setattr(PseudoLabelling, "stream", noted)
    monkeypatch.setattr(pool_fact, "stage_to_keep", lambda credits: len(credits) - 1)
    labels = {item: name for item, name in zip(pool.ids, pool.labels or (), strict=True) if name}
    some = dict(list(labels.items())[:110])
    train(digits, tmp_path / "m", "pool_fact", labels=some, settings=SHORT, **options)
    (by_pilot, plain), (sure, weights) = seen
    np.testing.assert_allclose(plain, by_pilot)  # the pilot has nothing to calibrate by
    exponent = figures(tmp_path / "m")["pilot"]["exponents"]["pool"]
    np.testing.assert_allclose(weights, expected_accuracy(sure, exponent, len(set(some.values()))))
    seen.clear()
    train(digits, tmp_path / "n", "pool_fact", labels=some, settings={**SHORT, "calibrated": False}, **options)
    assert all((given == weighed).all() for given, weighed in seen)


def test_students_see_stronger_changes_than_the_phase_before(
    digits: Path, tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, of = list[tuple[str, str]](), self_training.fit

    def noted(job: Any, streams: Any, course: Any, training: Any, *, phase: str) -> Any:
        seen.append((phase, training.crops.augment))
        return of(job, streams, course, training, phase=phase)

    monkeypatch.setattr(self_training, "fit", noted)
    given = {**SHORT, "pilot": False, "turns": 2, "student_augment": "trivial", "ema": 0.5, "pseudo_even": 0.5}
    train(digits, tmp_path / "m", "pool_fact", labels=some_labels(open_pool(digits), 4), settings=given, **options)
    assert seen == [("student 1", "trivial"), ("student 2", "trivial")]


@pytest.mark.thorough
def test_a_pool_that_does_harm_is_left_out(
    digits: Path, tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(self: PoolRegression, pseudo_labels: PseudoLabels, training: IntArray) -> LinearHead:
        weight = np.zeros((self.classes, self.features_ND.shape[1]), dtype=np.float32)
        return LinearHead(weight, np.arange(self.classes, dtype=np.float32))

    pool = open_pool(digits)
    labels = {item: name for item, name in zip(pool.ids, pool.labels or (), strict=True) if name}
    plain = train(
        digits,
        tmp_path / "plain",
        "fact",
        labels=labels,
        settings={
            "epochs": 3,
            "batch_size": 8,
            "phases": ["probe", "full"],
            "pilot": False,
            "interpolation": [1.0],
            "validation_least": 200,
        },
        **options,
    )
    monkeypatch.setattr(PoolRegression, "fit_pool_probe", worse)
    found = train(digits, tmp_path / "m", "pool_fact", labels=labels, settings={**SHORT, "epochs": 3}, **options)
    assert figures(tmp_path / "m")["stage"] == "full"
    assert found.fingerprint == plain.fingerprint


@pytest.mark.parametrize(("minutes", "students", "count"), [(1.0, 1, 20), (0.0039, 1, 108), (0.002, 0, 0)])
def test_time_decides_how_much_of_the_pool_is_learned(
    minutes: float,
    students: int,
    count: int,
    digits: Path,
    tmp_path: Path,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_fact, "seconds_an_image", lambda *_: 0.001)
    asked = {"pseudo_labels": 20 if minutes == 1 else 1000, "pseudo_share": 1.0}
    given = {**SHORT, "minutes": minutes, "pilot": False, **asked}
    train(digits, tmp_path / "m", "pool_fact", labels=some_labels(open_pool(digits), 2), settings=given, **options)
    phases = figures(tmp_path / "m")["phases"]
    assert ("student 1" in phases) == bool(students)
    if students:
        assert phases["student 1"]["pseudo_labels"] == count


@given(st.integers(1, 3000), st.integers(1, 20_000), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_an_epoch_within_a_time_holds_all_labels(labels: int, images: int, share: float) -> None:
    pseudo = PseudoLabelling(labelled_share=share)
    count = pseudo.count_within(images, labels)
    if count:
        turns = pseudo.oversampled(np.arange(labels), np.arange(count))
        assert len(turns) <= images + labels / 2  # labels come whole numbers of times


def test_a_student_learns_as_much_as_was_announced(
    digits: Path, tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Also where the surest answers are fewer than there is time for."""
    monkeypatch.setattr(pool_fact, "seconds_an_image", lambda *_: 1e-6)
    given = {**SHORT, "minutes": 1.0, "pseudo_labels": 1000, "pseudo_share": 0.5, "pilot": False}
    labels = some_labels(open_pool(digits), 2)
    train(digits, tmp_path / "m", "pool_fact", labels=labels, settings=given, quiet=False, **options)
    count = figures(tmp_path / "m")["phases"]["student 1"]["pseudo_labels"]
    assert f"{count:,} pseudo-labels in 1 minutes" in capsys.readouterr().err


def test_where_all_have_a_label_that_is_the_reason(
    digits: Path, tmp_path: Path, options: dict[str, Any], capsys: Any
) -> None:
    pool = open_pool(digits)
    labels = {item: name for item, name in zip(pool.ids, pool.labels or (), strict=True) if name}
    given = {**SHORT, "minutes": 5.0, "pilot": False}
    train(pool.subset(list(labels)), tmp_path / "m", "pool_fact", labels=labels, settings=given, quiet=False, **options)
    told = capsys.readouterr().err
    assert "every image of the pool has a label, so no student is trained" in told and "too short" not in told


def test_it_is_for_classes_of_images() -> None:
    with pytest.raises(UsageError, match="pool_fact trains for classification, not for segmentation"):
        make_recipe("pool_fact").refuse("pool_fact", "segmentation")


@pytest.mark.parametrize("task", ["segmentation", "detection", "captioning"])
def test_images_whose_answers_have_a_place_are_cropped_and_flipped_alone(task: str) -> None:
    make_recipe("full", settings={"augment": "rand"}).refuse("full", "multilabel")
    make_recipe("full", settings={"min_crop": 0.5}).refuse("full", task)
    with pytest.raises(UsageError, match=f"augment can't be rand for {task}, whose answers it would make untrue"):
        make_recipe("full", settings={"augment": "rand"}).refuse("full", task)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"turns": -1}, "turns can't be -1"),
        ({"pseudo_share": 0.0}, "pseudo_share can't be 0"),
        ({"labelled_share": 1.0}, "labelled_share can't be 1"),
        ({"student_epochs": 0}, "student_epochs can't be 0"),
        ({"alphas": (0.5, 0.8)}, "give one: labelled items are memorised"),
        ({"probe_share": (0.5, 0.3)}, "give one: labelled items are memorised"),
        ({"pseudo_with": "badge"}, "pseudo_with can't be badge, which reads"),
        ({"pseudo_with": "k_meen"}, "k_means"),
        ({"interpolation": (0.0, 1.0)}, "interpolation can't be .*give one: labelled items are memorised"),
        ({"patience": 2}, "no label is held out here; leave it out, or give fewer epochs"),
        (
            {"turns": 0, "minutes": 5.0},
            "turns=0 trains no student, whose setting minutes=5.0 is; leave one of them out",
        ),
        ({"pseudo_even": 0.5, "pseudo_with": "activeft"}, "pseudo_even can't be 0.5 with pseudo_with=activeft"),
        ({"student_augment": "strong"}, "student_augment can't be 'strong' .*'none', 'trivial' or 'rand'"),
        ({"turns": 0, "pseudo_with": "ods"}, "turns=0 trains no student, whose setting pseudo_with=ods is"),
    ],
)
def test_wrong_settings_are_sentences(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        make_recipe("pool_fact", settings=given)
