"""What ``select`` can be asked for: answers, budgets, constraints, balance, figures, on digits and on toys."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from activetune import Embeddings, Labels, UsageError, select
from activetune.base.arrays import NO_INDICES
from activetune.cli import run
from activetune.features.artefact import save_embeddings
from activetune.features.distances import Float32
from activetune.selection import selectors as selectors_package
from activetune.selection.artefact import Selection
from activetune.selection.budget import Coverage, Groups, parse_budget, water_fill
from activetune.selection.picking import keep_distance, pick
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors import make_selector
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors._radius import clustered_radius, pseudo_labels, pure_radius, typical_radius
from tests.conftest import InPieces

FEATURES_ALONE = sorted(
    name for name, cls in selectors_package.selectors().items() if cls.needs <= {"features_ND"} and name != "auto"
)
ANY_METHOD = pytest.mark.parametrize("method", FEATURES_ALONE)
ORDERED = [name for name in FEATURES_ALONE if selectors_package.selectors()[name].ordered]
ROUNDING = 1e-5


def settings_of(method: str) -> dict[str, Any]:
    return {"iterations": 15} if method == "activeft" else {}


def unit(features_ND: np.ndarray) -> Float32:
    lengths = np.linalg.norm(features_ND, axis=1, keepdims=True)
    rows = np.divide(features_ND, lengths, out=np.zeros_like(features_ND), where=lengths > 0)
    return np.asarray(rows, dtype=np.float32)


def digits(count: int = 150) -> Embeddings:
    """Digits as raw pixels, labelled with their number; ids ``item-0`` and so on."""
    data = load_digits()
    names = [str(number) for number in data.target[:count]]
    return Embeddings.from_numpy(data.data[:count], [f"item-{row}" for row in range(count)], names)


def rows_of(pool: Embeddings, ids: Sequence[str]) -> np.ndarray:
    """Unit rows in float64 of some ids."""
    rows = np.asarray(pool.features_ND, dtype=np.float64)[[pool.position[item] for item in ids]]
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Plain Euclidean distances, without the shortcut by products."""
    return np.asarray(np.linalg.norm(first[:, None] - second[None], axis=2))


def least_distance(pool: Embeddings, ids: Sequence[str], labelled: Sequence[str] = ()) -> float:
    picked = rows_of(pool, ids)
    apart = between(picked, picked) + 9 * np.eye(len(picked))
    return float(min(apart.min(), between(picked, rows_of(pool, labelled)).min() if labelled else 9))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Evidence]:
    """A selector ``spy`` that takes the first candidates and keeps the evidence it is given."""
    seen: list[Evidence] = []

    @dataclass(frozen=True)
    class Spy(Selector):
        needs: ClassVar[frozenset[str]] = frozenset({"features_ND"})
        uses: ClassVar[frozenset[str]] = frozenset({"probs_NC"})
        ordered: ClassVar[bool] = True

        def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
            seen.append(evidence)
            reasons, notes = ["first"] * budget, {"spy": "took the first ones"}
            return Picks(evidence.candidates[:budget], np.ones(budget), reasons, {"loss": float(budget)}, notes)

    known = {**selectors_package.selectors(), "spy": Spy}
    monkeypatch.setattr(selectors_package, "selectors", lambda: known)
    monkeypatch.setattr("activetune.selection.resolved_budget.selectors", lambda: known)
    return seen


# Labelled items and their answers ---------------------------------------------------------------------------------


ANSWERS = {"item-9": "b", "item-2": "a", "item-5": None}


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def answers_as(form: str, folder: Path) -> Any:
    """The same answers in each form that ``labelled`` may have."""
    rows = [(item, name or "") for item, name in ANSWERS.items()]
    if form == "mapping":
        return ANSWERS
    if form == "csv":
        return write(folder / "labels.csv", ["id", "label", "annotator"], [(*row, "me") for row in rows])
    table = pa.table({"id": list(ANSWERS), "label": list(ANSWERS.values())})
    pq.write_table(table, folder / "labels.parquet")
    return str(folder / "labels.parquet")


@pytest.mark.parametrize("form", ["mapping", "csv", "parquet"])
def test_answers_are_aligned_with_labelled_positions(form: str, asked: list[Evidence], tmp_path: Path) -> None:
    selection = select(digits(20), budget=3, method="spy", labelled=answers_as(form, tmp_path))
    assert asked[0].labelled.tolist() == [2, 5, 9]
    assert asked[0].answers_L is not None
    assert asked[0].answers_L.tolist() == [0, -1, 1]
    assert selection.manifest["labelled"] == 3
    assert not {"item-2", "item-5", "item-9"} & set(selection.ids)


def test_answers_may_be_labels(asked: list[Evidence]) -> None:
    select(digits(20), budget=3, method="spy", labelled=Labels.of({"item-9": "7", "item-2": "0"}, ["0", "3", "7"]))
    assert asked[0].answers_L is not None
    assert asked[0].answers_L.tolist() == [0, 1]  # classes are those that were answered


@pytest.mark.parametrize("labelled", [["item-3"], {"item-3": ""}])
def test_ids_alone_are_no_answers(labelled: Any, asked: list[Evidence]) -> None:
    select(digits(20), budget=3, method="spy", labelled=labelled)
    assert asked[0].labelled.tolist() == [3]
    assert asked[0].answers_L is None


def test_a_selection_is_a_file_of_labelled_ids(asked: list[Evidence], tmp_path: Path) -> None:
    select(digits(20), budget=3, method="random", out=tmp_path / "sel")
    select(digits(20), budget=3, method="spy", labelled=tmp_path / "sel" / "selection.csv")
    assert len(asked[0].labelled) == 3


@pytest.mark.parametrize(("names", "given"), [(("a", "b"), True), (("a", "a"), False), (("a", None), False)])
def test_what_a_method_uses_is_gathered_once_two_classes_are_known(
    names: tuple[str, str | None], given: bool, asked: list[Evidence]
) -> None:
    select(digits(20), budget=2, method="spy", labelled={"item-0": names[0], "item-1": names[1]})
    assert (asked[0].probs_NC is not None) == given


def test_a_method_that_needs_answers_says_so() -> None:
    with pytest.raises(UsageError, match="margin learns from labels of at least two classes, and none is known"):
        select(digits(20), budget=2, method="margin", labelled=["item-0", "item-1"])


def test_a_method_that_needs_answers_gets_them() -> None:
    pool = digits()
    assert pool.labels is not None
    labelled = {pool.ids[row]: pool.labels[row] for row in range(40)}
    selection = select(pool, budget=5, method="margin", labelled=labelled)
    assert len(selection) == 5
    assert not set(selection.ids) & set(labelled)


def test_an_item_labelled_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.csv", ["id", "label"], [("item-0", "a"), ("item-0", ""), ("item-0", "b")])
    with pytest.raises(UsageError, match="labels 'item-0' twice, as 'a' and as 'b'; keep one"):
        select(digits(20), budget=2, method="random", labelled=path)


# Budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "share", "radius"),
    [
        ("coverage:0.95", 0.95, None),
        ("coverage:95%", 0.95, None),
        (" coverage:1@0.6 ", 1.0, 0.6),
        ("coverage:.5@2", 0.5, 2.0),
        ("coverage:.5@0", 0.5, 0.0),
    ],
)
def test_coverage_budgets_are_read(text: str, share: float, radius: float | None) -> None:
    assert Coverage.parse(text) == Coverage(share, radius)
    assert parse_budget(text) == ("coverage", share)


@pytest.mark.parametrize("budget", [5, "5", "5%", 0.05, "2/class"])
def test_other_budgets_are_no_coverage(budget: Any) -> None:
    assert Coverage.parse(budget) is None


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        ("coverage:0", "lies above 0 and up to 1"),
        ("coverage:-1", "lies above 0"),
        ("coverage:1.01", "lies above 0"),
        ("coverage:nan", "lies above 0"),
        ("coverage:0.9@2.1", "0 to 2"),
        ("coverage:0.9@-0.1", "0 to 2"),
        ("coverage:0.9@nan", "0 to 2"),
        ("coverage", "is not understood; it can be"),
        ("coverage:", "is not understood; it can be"),
        ("coverage:most", "is not understood; it can be"),
        ("coverage:0.9@", "is not understood; it can be"),
    ],
)
def test_impossible_coverage_is_explained(budget: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        select(digits(20), budget=budget, method="random")


def test_coverage_needs_an_ordered_method() -> None:
    with pytest.raises(UsageError, match=r"k_means is not one; choose one of: .*k_center, .*random"):
        select(digits(20), budget="coverage:0.9@0.5", method="k_means")


def share_covered(pool: Embeddings, cover: Sequence[str], radius: float) -> float:
    everything = rows_of(pool, pool.ids)
    return float((between(everything, rows_of(pool, cover)).min(axis=1) <= radius).mean()) if cover else 0.0


@pytest.mark.parametrize("method", ORDERED)
@pytest.mark.parametrize(("share", "radius"), [(0.3, 0.5), (0.9, 0.6), (1.0, 0.3), (0.95, 0.5)])
@pytest.mark.parametrize("labelled", [[], ["item-3", "item-77"]])
def test_coverage_takes_the_shortest_prefix(method: str, share: float, radius: float, labelled: list[str]) -> None:
    pool = digits()
    selection = select(pool, budget=f"coverage:{share}@{radius}", method=method, labelled=labelled, seed=3)
    assert share_covered(pool, [*selection.ids, *labelled], radius) >= share
    assert share_covered(pool, [*selection.ids[:-1], *labelled], radius) < share
    assert select(pool, budget=len(selection), method=method, labelled=labelled, seed=3).ids == selection.ids
    figures = selection.manifest["figures"]
    assert figures["coverage"] == pytest.approx(share_covered(pool, [*selection.ids, *labelled], radius))
    assert figures["coverage_radius"] == radius
    assert "shortfall" not in selection.manifest


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 1), st.floats(0.0, 1.9), st.integers(0, 10**6))
def test_the_shortest_prefix_on_random_items(share: float, radius: float, seed: int) -> None:
    pool = Embeddings.from_numpy(np.random.default_rng(seed).normal(size=(90, 3)))
    ids = select(pool, budget=f"coverage:{share}@{radius}", method="random", seed=seed).ids
    reach = float(np.sqrt(radius**2 + 4e-6))  # similarities are read with a slack of 1e-6: 0.0014 at a radius of 0
    assert share_covered(pool, ids, reach + ROUNDING) >= share - 1e-9
    assert share_covered(pool, ids[:-1], radius - ROUNDING) < share


def test_coverage_asks_for_more_until_it_is_reached(asked: list[Evidence]) -> None:
    pool = Embeddings.from_numpy(np.eye(300, dtype=np.float32))  # each item covers itself alone
    selection = select(pool, budget="coverage:0.9@0.5", method="spy")
    assert len(selection) == 270
    assert len(asked) == 4  # for 64, 128, 256 and all 300: the prefix of an ordered answer needs no further one


def test_excluded_items_need_no_cover() -> None:
    pool = Embeddings.from_numpy(np.eye(40, dtype=np.float32))
    selection = select(pool, budget="coverage:0.5@0.5", method="random", exclude=[str(row) for row in range(20)])
    assert len(selection) == 10


def test_labelled_items_that_cover_enough_leave_nothing_to_pick(tmp_path: Path) -> None:
    pool = Embeddings.from_numpy(np.repeat(np.eye(2, dtype=np.float32), 10, axis=0))
    out = tmp_path / "sel"
    selection = select(pool, budget="coverage:0.5@0.1", method="k_center", labelled=["0"], out=out)
    assert selection.ids == []
    assert "nothing is left to pick: the labelled items cover 50 %" in selection.manifest["notes"]["coverage"]
    assert selection.manifest["figures"]["coverage"] == 0.5
    assert (out / "selection.csv").read_text() == "id,rank,score,reason\n"


def test_a_share_that_the_candidates_cant_cover_is_a_shortfall(capsys: pytest.CaptureFixture[str]) -> None:
    pool = Embeddings.from_numpy(np.repeat(np.eye(4, dtype=np.float32), 5, axis=0))
    candidates = [str(row) for row in range(10)]  # two of four groups
    selection = select(pool, budget="coverage:0.9@0.1", method="k_center", candidates=candidates)
    assert len(selection) == 2  # more picks would cover no more
    assert selection.manifest["figures"]["coverage"] == 0.5
    assert selection.manifest["shortfall"].startswith("50 % of the items are covered within 0.1, not 90 %")
    assert selection.manifest["shortfall"] in capsys.readouterr().err


def test_zero_vectors_cover_themselves() -> None:
    pool = Embeddings.from_numpy(np.zeros((5, 3), dtype=np.float32))
    selection = select(pool, budget="coverage:1@0.5", method="random")
    assert len(selection) == 5
    assert selection.manifest["figures"]["radius"] == 0


def test_the_radius_is_chosen_where_none_is_given() -> None:
    pool = digits()
    figures = select(pool, budget="coverage:0.8", method="k_center").manifest["figures"]
    assert 0.1 < figures["coverage_radius"] < 1
    assert figures["coverage"] >= 0.8
    again = select(pool, budget="coverage:0.8", method="k_center").manifest["figures"]
    assert again["coverage_radius"] == figures["coverage_radius"]


def test_excluded_items_have_no_say_in_the_radius() -> None:
    pool = digits(120)
    junk = np.vstack([pool.features_ND, np.random.default_rng(0).normal(size=(60, 64))])
    ids = [f"item-{row}" for row in range(180)]
    labels = [*(pool.labels or ()), *["junk"] * 60]
    mixed = Embeddings.from_numpy(junk, ids, labels)
    with_junk = select(mixed, budget="coverage:0.8", method="random", exclude=ids[120:], labelled=ids[:3])
    assert 0.1 < with_junk.manifest["figures"]["coverage_radius"] < 1
    assert with_junk.manifest["figures"]["classes_known"] == 10


def test_auto_tells_which_method_stands_in_for_it() -> None:
    covered = select(digits(200), budget="coverage:0.5@0.6", quiet=True)
    assert covered.manifest["notes"]["auto"].startswith("max_herding: ")
    plain = select(digits(200), budget="coverage:0.5@0.6", method="max_herding", quiet=True)
    assert covered.ids == plain.ids
    assert "notes" not in plain.manifest


# The radius -------------------------------------------------------------------------------------------------------


def plain_pure_radius(features_ND: np.ndarray, clusters: np.ndarray, purity: float) -> float:
    """Each item's distance to the nearest of another cluster, one pair at a time."""
    nearest = [
        min(
            float(np.linalg.norm(row - other))
            for other, theirs in zip(features_ND, clusters, strict=True)
            if theirs != own
        )
        for row, own in zip(features_ND, clusters, strict=True)
    ]
    return sorted(nearest)[int((1 - purity) * len(nearest) + 1e-9)]


@pytest.mark.parametrize("purity", [0.5, 0.95, 1.0])
def test_pure_radius_is_a_quantile_of_distances_to_other_clusters(purity: float) -> None:
    rows = unit(digits(100).features_ND.astype(np.float64))
    clusters = pseudo_labels(rows, 8, np.random.default_rng(0))
    found = pure_radius(rows, clusters, purity=purity, rng=np.random.default_rng(0))
    assert found == pytest.approx(plain_pure_radius(rows.astype(np.float64), clusters, purity), abs=1e-5)


def test_balls_of_the_pure_radius_are_pure_and_larger_ones_are_not() -> None:
    rows = unit(digits(300).features_ND.astype(np.float64))
    clusters = pseudo_labels(rows, 10, np.random.default_rng(0))
    radius = pure_radius(rows, clusters, rng=np.random.default_rng(0))
    apart, other = between(rows, rows), clusters[:, None] != clusters[None]

    def purity(at: float) -> float:
        return float((~((apart < at) & other).any(axis=1)).mean())

    assert purity(radius - ROUNDING) >= 0.95
    assert purity(radius + 0.01) < 0.95


def test_one_cluster_is_pure_at_any_radius() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(20, 4)))
    assert pure_radius(rows, np.zeros(20, dtype=np.int64), rng=np.random.default_rng(0)) == 2


def test_the_sample_stands_for_all() -> None:
    rows = unit(digits(1000).features_ND.astype(np.float64))
    clusters = pseudo_labels(rows, 10, np.random.default_rng(0))
    whole = pure_radius(rows, clusters, rng=np.random.default_rng(0))
    sampled = pure_radius(rows, clusters, sample=300, rng=np.random.default_rng(0))
    assert sampled == pytest.approx(whole, abs=0.05)


def test_the_radius_does_not_depend_on_the_size_of_pieces(in_pieces: InPieces) -> None:
    rows = unit(digits(200).features_ND.astype(np.float64))
    whole = clustered_radius(rows, 10, np.random.default_rng(0))
    in_pieces(1000)
    assert clustered_radius(rows, 10, np.random.default_rng(0)) == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize("share", [0.02, 0.1, 1.0])
def test_a_ball_of_the_typical_radius_holds_its_share(share: float) -> None:
    rows = unit(digits(300).features_ND.astype(np.float64))
    radius = typical_radius(rows, np.random.default_rng(0), share)
    apart = between(rows, rows)[~np.eye(len(rows), dtype=bool)]
    assert (apart <= radius + ROUNDING).mean() == pytest.approx(share, abs=0.002)


def test_the_typical_radius_of_a_small_pool_holds_some_items() -> None:
    rows = unit(digits(40).features_ND.astype(np.float64))
    radius = typical_radius(rows, np.random.default_rng(0))
    held = (between(rows, rows) <= radius + ROUNDING).sum(axis=1) - 1
    assert held.mean() == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("items", [1, 2, 3])
def test_the_typical_radius_of_next_to_nothing(items: int) -> None:
    assert 0 <= typical_radius(unit(np.eye(3)[:items]), np.random.default_rng(0)) <= 2


def test_a_sample_gives_the_typical_radius_of_all() -> None:
    rows = unit(digits(1000).features_ND.astype(np.float64))
    whole = typical_radius(rows, np.random.default_rng(0))
    sampled = typical_radius(rows, np.random.default_rng(0), sample=200, against=300)
    assert sampled == pytest.approx(whole, abs=0.03)


def test_pseudo_labels_are_the_clusters_and_leave_the_features_alone() -> None:
    rows = unit(np.repeat(np.eye(4), 50, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(200, 4)))
    before = rows.copy()
    clusters = pseudo_labels(rows, 4, np.random.default_rng(0))
    assert clusters.shape == (200,)
    assert all(len(set(clusters[start : start + 50])) == 1 for start in range(0, 200, 50))
    np.testing.assert_array_equal(rows, before)


# Excluded and closed items ----------------------------------------------------------------------------------------


@ANY_METHOD
def test_excluded_items_are_not_picked_and_need_no_cover(method: str) -> None:
    pool = digits(60)
    excluded = pool.ids[::2]
    selection = select(pool, budget=20, method=method, exclude=excluded, settings=settings_of(method))
    assert not set(selection.ids) & set(excluded)
    left = rows_of(pool, pool.ids[1::2])
    nearest = between(left, rows_of(pool, selection.ids)).min(axis=1)
    assert selection.manifest["figures"]["emd"] == pytest.approx(nearest.mean(), abs=1e-4)
    assert selection.manifest["figures"]["radius"] == pytest.approx(nearest.max(), abs=1e-4)


@ANY_METHOD
def test_only_candidates_are_picked_and_the_others_stay_in_the_population(method: str) -> None:
    pool = digits(60)
    candidates = pool.ids[::2]
    selection = select(pool, budget=10, method=method, candidates=candidates, settings=settings_of(method))
    assert set(selection.ids) <= set(candidates)
    nearest = between(rows_of(pool, pool.ids), rows_of(pool, selection.ids)).min(axis=1)
    assert selection.manifest["figures"]["emd"] == pytest.approx(nearest.mean(), abs=1e-4)


def test_the_evidence_says_who_is_excluded_and_who_is_closed(asked: list[Evidence], tmp_path: Path) -> None:
    exclude = write(tmp_path / "out.csv", ["id"], [["item-1"], ["item-4"]])
    candidates = write(tmp_path / "in.csv", ["id"], [["item-0"], ["item-4"], ["item-5"], ["item-6"]])
    labelled = ["item-1", "item-2", "item-6"]
    select(digits(8), budget=2, method="spy", labelled=labelled, exclude=exclude, candidates=candidates)
    assert asked[0].excluded.tolist() == [1, 4]
    assert asked[0].labelled.tolist() == [2, 6]  # item-1 is treated as if it were not there
    assert asked[0].closed.tolist() == [3, 7]
    assert asked[0].candidates.tolist() == [0, 5]
    assert asked[0].population.tolist() == [0, 2, 3, 5, 6, 7]


def test_of_the_findings_of_a_check_those_are_excluded_that_say_so(tmp_path: Path) -> None:
    rows = [["item-1", "yes"], ["item-2", "no"], ["of no pool", "no"], ["item-3", "No "], ["item-1", "no"]]
    found = write(tmp_path / "findings.csv", ["id", "exclude"], rows)
    assert len(select(digits(8), budget="100%", method="random", exclude=found)) == 7
    wrong = write(tmp_path / "wrong.csv", ["id", "exclude"], [["item-1", "yes"], ["item-2", "perhaps"]])
    with pytest.raises(UsageError, match=r"row 2: exclude is 'perhaps'; write yes or no, or drop the column"):
        select(digits(8), budget=2, method="random", exclude=wrong)


def test_a_share_is_one_of_those_that_are_not_excluded() -> None:
    pool = digits(100)
    assert len(select(pool, budget="50%", method="random", exclude=pool.ids[:40])) == 30
    assert len(select(pool, budget="50%", method="random", candidates=pool.ids[:60])) == 50


def test_a_class_that_is_excluded_gets_no_share() -> None:
    pool = digits(100)
    without = [item for item, name in zip(pool.ids, pool.labels or (), strict=True) if name == "3"]
    assert len(select(pool, budget="2/class", method="random", exclude=without)) == 18


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"exclude": ["item-1", "gone"]}, "ids to exclude: 1 of 2 ids are not in these embeddings: 'gone'"),
        ({"candidates": ["gone"]}, "candidate ids: 1 of 1 ids are not in these embeddings: 'gone'"),
        ({"labelled": {"gone": "a"}}, "labelled ids: 1 of 1 ids are not in these embeddings: 'gone'"),
        (
            {"exclude": ["item-1", "item-2"], "candidates": ["item-1", "item-2"]},
            r"none of the 20 items is left to pick: 2 are excluded, 18 are not among the candidates; .*--exclude",
        ),
        ({"candidates": []}, "none of the 20 items is left to pick: 20 are not among the candidates"),
        (
            {"candidates": ["item-1", "item-2"], "labelled": ["item-2"], "exclude": ["item-3"]},
            r"the budget 5 is over the pool: 1 items can be picked \(1 more are labelled already, 1 are excluded, "
            r"17 are not among the candidates\)",
        ),
        ({"min_distance": -0.1}, "--min-distance can't be -0.1: it is a Euclidean distance"),
        ({"min_distance": 2.5}, "--min-distance can't be 2.5"),
        ({"min_distance": float("nan")}, "--min-distance can't be nan"),
        (
            {"balance": "labl"},
            r"no column 'labl' to balance; did you mean 'label'\? There are: label, predicted; other",
        ),
        ({"balance": "predicted"}, "--balance predicted learns from labels of at least two classes, and none is known"),
        (
            {"balance": "predicted", "labelled": {"item-1": "a", "item-2": "a"}},
            "at least two classes, and all known ones are 'a'",
        ),
        (
            {"balance": "label", "budget": "2/class"},
            "--balance shares out a number or a share of the items, not '2/class'",
        ),
        ({"balance": "label", "budget": "coverage:0.5"}, "--balance shares out a number or a share"),
        ({"metadata": {"id": ["item-1"]}}, "name it with --balance COLUMN"),
        (
            {"balance": "site", "metadata": {"site": ["x"]}},
            "the metadata table has no column 'id'; its columns are: site",
        ),
        ({"balance": "site", "metadata": {"id": ["x"], "site": ["x"]}}, "none of the 1 ids in the metadata"),
        ({"balance": "sit", "metadata": {"id": ["item-1"], "site": ["x"]}}, "did you mean 'site'"),
        (
            {"balance": "site", "metadata": {"id": ["item-1", "item-1"], "site": ["x", "y"]}},
            "the metadata give 'item-1' two values of 'site': 'x' and 'y'",
        ),
        (
            {"balance": "site", "metadata": {"id": ["item-1", "item-2"], "site": ["x", ""]}},
            "the budget 5 is over what can be balanced: 1 of the 20 items that can be picked have a value of 'site'",
        ),
    ],
)
def test_wrong_constraints_are_explained(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        select(digits(20), **{"budget": 5, "method": "random", **arguments})


@pytest.mark.parametrize("arguments", [{"budget": "1/class"}, {"budget": 2, "balance": "label"}])
def test_labels_that_are_all_missing_are_no_labels(arguments: dict[str, Any]) -> None:
    pool = Embeddings.from_numpy(np.eye(4), labels=[None] * 4)
    with pytest.raises(UsageError, match=r"needs known labels|0 of the 4 items that can be picked have a value"):
        select(pool, method="random", **arguments)


def test_an_empty_list_of_exclusions_excludes_nothing() -> None:
    assert len(select(digits(20), budget=20, method="random", exclude=[])) == 20


# A least distance -------------------------------------------------------------------------------------------------


@ANY_METHOD
@pytest.mark.parametrize("labelled", [0, 12])
@pytest.mark.parametrize("distance", [0.3, 0.6, 0.75])
def test_picks_keep_their_distance(method: str, labelled: int, distance: float) -> None:
    pool = digits()
    known = pool.ids[:labelled]
    selection = select(
        pool, budget=30, method=method, labelled=known, min_distance=distance, settings=settings_of(method)
    )
    assert least_distance(pool, selection.ids, known) >= distance - ROUNDING
    assert len(set(selection.ids) - set(known)) == len(selection)
    assert selection.manifest["asked"] == 30
    assert selection.manifest["k"] == len(selection)
    assert ("shortfall" in selection.manifest) == (len(selection) < 30)


@ANY_METHOD
def test_the_budget_is_filled_or_no_candidate_is_left(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    pool = digits()
    selection = select(pool, budget=60, method=method, min_distance=0.8, settings=settings_of(method))
    assert len(selection) < 60
    others = sorted(set(pool.ids) - set(selection.ids))
    nearest = between(rows_of(pool, others), rows_of(pool, selection.ids)).min(axis=1)
    assert (nearest < 0.8 + ROUNDING).all()
    sentence = selection.manifest["shortfall"]
    assert sentence.startswith(f"{len(selection)} of 60 are picked: every other candidate is nearer than 0.8")
    assert sentence in capsys.readouterr().err


def test_quiet_keeps_the_shortfall_to_the_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "shortfall" in select(digits(), budget=60, method="random", min_distance=1, quiet=True).manifest
    assert capsys.readouterr().err == ""


@ANY_METHOD
def test_a_distance_that_no_pick_violates_changes_nothing(method: str) -> None:
    pool = digits()
    plain = select(pool, budget=8, method=method, seed=1, settings=settings_of(method))
    least = least_distance(pool, plain.ids)
    apart = select(pool, budget=8, method=method, seed=1, min_distance=least - 0.001, settings=settings_of(method))
    assert (apart.ids, apart.scores, apart.reasons) == (plain.ids, plain.scores, plain.reasons)
    assert apart.manifest["figures"].keys() == plain.manifest["figures"].keys()


@pytest.mark.parametrize("method", ORDERED)
@pytest.mark.parametrize("distance", [0.3, 0.5, 0.7])
def test_a_prefix_of_ordered_picks_that_keep_their_distance_is_the_smaller_selection(
    method: str, distance: float
) -> None:
    pool = digits(400)
    whole = select(pool, budget=120, method=method, min_distance=distance, quiet=True).ids
    for budget in (1, 5, 31, 64, 65, 100):
        assert select(pool, budget=budget, method=method, min_distance=distance, quiet=True).ids == whole[:budget]


def test_kept_picks_count_as_labelled_in_the_next_round(asked: list[Evidence]) -> None:
    features = np.repeat(np.eye(4, dtype=np.float32), 100, axis=0)
    pool = Embeddings.from_numpy(features)
    selection = select(pool, budget=4, method="spy", min_distance=0.5, labelled={"5": "a", "105": "b"})
    assert selection.ids == ["200", "300"]
    rounds = {tuple(evidence.labelled.tolist()): evidence for evidence in asked}
    assert list(rounds) == [(5, 105), (5, 105, 200), (5, 105, 200, 300)][: len(rounds)]
    last = list(rounds.values())[-1]
    assert last.answers_L is not None
    assert last.answers_L.tolist() == [0, 1, *[-1] * (len(last.labelled) - 2)]
    assert set(range(200)) - {5, 105} <= set(last.closed.tolist())


@settings(max_examples=30, deadline=None)
@given(
    method=st.sampled_from(("random", "k_center", "k_means")),
    distance=st.floats(0.01, 2),
    budget=st.integers(1, 50),
    seed=st.integers(0, 10**6),
    copies=st.booleans(),
    known=st.integers(0, 5),
)
def test_any_method_keeps_any_distance(
    method: str, distance: float, budget: int, seed: int, copies: bool, known: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = unit(rng.normal(size=(60, 3)))
    if copies:
        rows = rows[rng.integers(30, size=60)]
    evidence = Evidence(rows, labelled=np.sort(rng.choice(60, known, replace=False)), excluded=NO_INDICES)
    picks = pick(make_selector(method), evidence, min(budget, 60 - known), rng, min_distance=distance)
    chosen = rows[picks.positions].astype(np.float64)
    apart = between(chosen, chosen) + 9 * np.eye(len(chosen))
    assert apart.min(initial=9) >= distance - ROUNDING
    assert between(chosen, rows[evidence.labelled].astype(np.float64)).min(initial=9) >= distance - ROUNDING
    assert len(picks.positions) == len(picks.scores) == len(picks.reasons) == len(set(picks.positions.tolist()))
    if len(picks.positions) < min(budget, 60 - known):
        cover = rows[np.concatenate([picks.positions, evidence.labelled])]
        assert (between(rows, cover).min(axis=1) < distance + 2e-3).all()


def test_the_walk_keeps_what_a_plain_loop_keeps() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(1500, 3)))
    ranked, fixed = np.random.default_rng(1).permutation(1400), np.arange(1400, 1500)
    kept: list[int] = []
    for row in ranked:
        if between(rows[[row]], rows[[*fixed, *kept]]).min() >= 0.05:
            kept.append(int(row))
    assert ranked[keep_distance(rows, ranked, fixed, 0.05)].tolist() == kept


@pytest.mark.parametrize(
    ("arguments", "asked_for"), [({"budget": "3/class"}, 30), ({"budget": 30, "balance": "label"}, 30)]
)
@ANY_METHOD
def test_the_distance_is_kept_between_the_shares_too(method: str, arguments: dict[str, Any], asked_for: int) -> None:
    pool = digits()
    more = {"min_distance": 0.65, "quiet": True, "settings": settings_of(method)}
    selection = select(pool, method=method, labelled=pool.ids[:10], **arguments, **more)  # type: ignore[arg-type]
    assert least_distance(pool, selection.ids, pool.ids[:10]) >= 0.65 - ROUNDING
    assert selection.manifest["asked"] == asked_for


def test_a_class_without_items_far_enough_is_named() -> None:
    pool = Embeddings.from_numpy(
        np.repeat(np.eye(3), [1, 1, 4], axis=0)[[0, 0, 1, 1, 2, 3, 4, 5]], labels=list("aabbcccc")
    )
    selection = select(pool, budget="2/class", method="random", min_distance=0.5, quiet=True)
    assert selection.manifest["k"] == 3
    assert "every other candidate of 'a', 'b', 'c' is nearer than 0.5" in selection.manifest["shortfall"]


def test_coverage_with_a_distance_between_the_picks() -> None:
    pool = digits()
    selection = select(pool, budget="coverage:0.6@0.6", method="random", min_distance=0.4, seed=2)
    assert least_distance(pool, selection.ids) >= 0.4 - ROUNDING
    assert share_covered(pool, selection.ids, 0.6) >= 0.6 > share_covered(pool, selection.ids[:-1], 0.6)
    assert select(pool, budget=len(selection), method="random", min_distance=0.4, seed=2).ids == selection.ids


def test_coverage_that_the_distance_makes_impossible_is_a_shortfall() -> None:
    selection = select(digits(), budget="coverage:1@0.3", method="random", min_distance=0.9, quiet=True)
    assert "no candidate that keeps the distance 0.9 is near enough" in selection.manifest["shortfall"]
    assert selection.manifest["figures"]["coverage"] < 1


# Balance ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12), st.integers(0, 400))
def test_water_filling_is_as_equal_as_the_room_allows(groups: list[tuple[int, int]], count: int) -> None:
    room_G, held_G = np.array(groups).T
    given_G = water_fill(count, room_G, held_G)
    total_G = held_G + given_G
    assert given_G.sum() == min(count, room_G.sum())
    assert ((given_G >= 0) & (given_G <= room_G)).all()
    if (lowest := total_G[given_G < room_G]).size and given_G.any():  # no group that got some stands two above it
        assert total_G[given_G > 0].max() <= lowest.min() + 1


@pytest.mark.parametrize(
    ("count", "room", "held", "given"),
    [
        (10, [9, 9, 9], None, [4, 3, 3]),
        (10, [1, 9, 9], None, [1, 5, 4]),
        (99, [1, 2, 3], None, [1, 2, 3]),
        (4, [9, 9, 9], [5, 1, 0], [0, 2, 2]),
        (3, [0, 0], None, [0, 0]),
    ],
)
def test_water_filling_by_hand(count: int, room: list[int], held: list[int] | None, given: list[int]) -> None:
    assert water_fill(count, np.array(room), None if held is None else np.array(held)).tolist() == given


def test_groups_are_those_of_the_population() -> None:
    groups = Groups.of(["b", None, "a", "", "c", "b"], np.array([0, 1, 2, 3, 5]))
    assert groups.names == ["a", "b"]
    assert groups.numbers_N.tolist() == [1, -1, 0, -1, -1, 1]
    assert groups.counts(np.array([0, 1, 5])).tolist() == [0, 2]


@ANY_METHOD
def test_labels_get_equal_shares(method: str) -> None:
    pool = digits()
    selection = select(pool, budget=25, method=method, balance="label", settings=settings_of(method))
    found = Counter(pool.labels[pool.position[item]] for item in selection.ids)  # type: ignore[index]
    assert found == {str(digit): 3 if digit < 5 else 2 for digit in range(10)}
    report = selection.manifest["balance"]
    assert report["0"] == {"asked": 3, "k": 3, "available": Counter(pool.labels)["0"]}
    assert selection.manifest.get("notes", {}).keys() <= {method}  # none but its own


def metadata() -> Mapping[str, Sequence[Any]]:
    """Three sites of 4, 10 and 30 of 50 items, in another order; the rest has none, one row is on a foreign item."""
    sites = ["c"] * 30 + ["b"] * 10 + [7.0] * 4 + [None, "", float("nan"), " ", None]
    return {"id": ["foreign", *(f"item-{row}" for row in range(49))], "site": ["x", *sites]}


def test_small_groups_give_the_rest_to_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    selection = select(digits(50), budget=30, method="random", balance="site", metadata=metadata())
    assert selection.manifest["balance"] == {
        "7": {"asked": 10, "k": 4, "available": 4},
        "b": {"asked": 10, "k": 10, "available": 10},
        "c": {"asked": 10, "k": 16, "available": 30},
    }
    assert len(selection) == selection.manifest["asked"] == 30
    notes = selection.manifest["notes"]
    assert "1 of 3 values of 'site' fell short of an equal share" in notes["balance"]
    assert "7: 4 of 10" in notes["balance"]
    assert "6 of 50 items that can be picked have no value of 'site'" in notes["balance_without_value"]
    assert capsys.readouterr().err == f"{notes['balance']}\n{notes['balance_without_value']}\n"


def test_labelled_items_do_not_count_toward_a_share_and_are_not_available() -> None:
    arguments: dict[str, Any] = {"method": "random", "balance": "site", "metadata": metadata(), "quiet": True}
    selection = select(digits(50), budget=9, labelled=[f"item-{row}" for row in range(25)], **arguments)
    assert {name: row["k"] for name, row in selection.manifest["balance"].items()} == {"7": 3, "b": 3, "c": 3}
    assert selection.manifest["balance"]["c"]["available"] == 5


def test_the_metadata_go_before_the_embeddings_own_labels() -> None:
    pool = digits(40)
    columns = {"id": pool.ids, "label": ["x"] * 20 + ["y"] * 20}
    selection = select(pool, budget=8, method="random", balance="label", metadata=columns)
    assert {name: row["k"] for name, row in selection.manifest["balance"].items()} == {"x": 4, "y": 4}


def test_more_groups_than_picks() -> None:
    selection = select(digits(100), budget=3, method="random", balance="label")
    assert [row["k"] for row in selection.manifest["balance"].values()] == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert "notes" not in selection.manifest


def test_what_the_distance_takes_from_a_group_goes_to_the_others() -> None:
    rows = np.vstack([np.tile(np.eye(40)[:1], (20, 1)), np.eye(40)[1:21], np.eye(40)[21:31]])
    pool = Embeddings.from_numpy(rows, labels=["same"] * 20 + ["many"] * 20 + ["some"] * 10)
    selection = select(pool, budget=24, method="random", balance="label", min_distance=0.5, quiet=True)
    assert {name: row["k"] for name, row in selection.manifest["balance"].items()} == {
        "same": 1,
        "many": 13,
        "some": 10,
    }
    assert "shortfall" not in selection.manifest
    assert "same: 1 of 8" in selection.manifest["notes"]["balance"]


def test_predicted_classes_get_equal_shares() -> None:
    pool = digits(300)
    assert pool.labels is not None
    labelled = {pool.ids[row]: pool.labels[row] for row in range(100)}
    selection = select(pool, budget=30, method="k_means", balance="predicted", labelled=labelled)
    report = selection.manifest["balance"]
    assert {name: row["k"] for name, row in report.items()} == {str(digit): 3 for digit in range(10)}
    assert sum(row["available"] for row in report.values()) == 200
    met = Counter(pool.labels[pool.position[item]] for item in selection.ids)
    assert len(met) >= 9  # the model is right about most of them


# Figures, notes, manifest -----------------------------------------------------------------------------------------


def test_notes_and_figures_of_a_method_are_in_the_manifest(
    asked: list[Evidence], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = select(digits(20), budget=4, method="spy").manifest
    assert manifest["notes"] == {"spy": "took the first ones"}
    assert manifest["figures"]["loss"] == 4
    assert (manifest["asked"], manifest["k"]) == (4, 4)
    assert capsys.readouterr().err == "took the first ones\n"


def test_figures_of_single_shares_are_not_passed_off_as_those_of_all(asked: list[Evidence]) -> None:
    manifest = select(digits(40), budget="1/class", method="spy").manifest
    assert "loss" not in manifest["figures"]
    assert manifest["notes"] == {"spy": "took the first ones"}


def test_classes_met_and_known_where_labels_are() -> None:
    pool = digits(100)
    figures = select(pool, budget="1/class", method="random").manifest["figures"]
    assert (figures["classes_met"], figures["classes_known"]) == (10, 10)
    without = Embeddings(pool.ids, pool.features_ND)
    assert "classes_met" not in select(without, budget=3, method="random").manifest["figures"]


BASE: dict[str, Any] = {"budget": 4, "method": "random"}


@pytest.mark.parametrize(
    "change",
    [
        {"exclude": ["item-1"]},
        {"candidates": [f"item-{row}" for row in range(10)]},
        {"labelled": ["item-1"]},
        {"labelled": {"item-1": "a"}},
        {"min_distance": 0.1},
        {"balance": "label"},
        {"budget": "coverage:0.5@0.5"},
    ],
)
def test_resume_keeps_this_very_selection_and_no_other(change: dict[str, Any], tmp_path: Path) -> None:
    pool = digits(30)
    first = select(pool, **{**BASE, **change}, out=tmp_path / "sel")
    created = (tmp_path / "sel" / "manifest.json").stat().st_mtime_ns
    again = select(pool, **{**BASE, **change}, out=tmp_path / "sel", resume=True)
    assert again.ids == first.ids
    assert (tmp_path / "sel" / "manifest.json").stat().st_mtime_ns == created
    with pytest.raises(UsageError, match="is not empty"):
        select(pool, **BASE, out=tmp_path / "sel", resume=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"exclude": ["item-1"]}, {"exclude": ["item-2"]}),
        ({"candidates": ["item-1", "item-2", "item-3", "item-4"]}, {"candidates": [f"item-{row}" for row in range(9)]}),
        ({"labelled": {"item-1": "a"}}, {"labelled": {"item-1": "b"}}),
        ({"min_distance": 0.1}, {"min_distance": 0.2}),
        (
            {"balance": "s", "metadata": {"id": [f"item-{row}" for row in range(30)], "s": ["x", "y"] * 15}},
            {"balance": "s", "metadata": {"id": [f"item-{row}" for row in range(30)], "s": ["y", "x"] * 15}},
        ),
        (
            {"budget": "2/class", "labels": {f"item-{row}": "xy"[row % 2] for row in range(30)}},
            {"budget": "2/class", "labels": {f"item-{row}": "xy"[row < 15] for row in range(30)}},
        ),
    ],
)
def test_resume_tells_other_constraints_apart(one: dict[str, Any], other: dict[str, Any], tmp_path: Path) -> None:
    select(digits(30), **{**BASE, **one}, out=tmp_path / "sel")
    with pytest.raises(UsageError, match="is not empty"):
        select(digits(30), **{**BASE, **other}, out=tmp_path / "sel", resume=True)


def test_overwriting_keeps_the_old_selection_until_the_new_one_is_there(tmp_path: Path) -> None:
    select(digits(20), **BASE, out=tmp_path / "sel")
    before = (tmp_path / "sel" / "selection.csv").read_bytes()
    with pytest.raises(UsageError, match="margin learns from labels"):
        select(digits(20), budget=3, method="margin", out=tmp_path / "sel", overwrite=True)
    assert (tmp_path / "sel" / "selection.csv").read_bytes() == before
    assert len(select(digits(20), budget=3, method="random", out=tmp_path / "sel", overwrite=True)) == 3


# Tokens and memory ------------------------------------------------------------------------------------------------


def test_methods_that_read_tokens_get_them_and_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Evidence] = []

    @dataclass(frozen=True)
    class Tokens(Selector):
        needs: ClassVar[frozenset[str]] = frozenset({"features_ND", "tokens_NTD"})

        def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
            seen.append(evidence)
            return Picks(evidence.candidates[:budget], np.ones(budget), ["first"] * budget)

    known = {**selectors_package.selectors(), "tokens": Tokens}
    monkeypatch.setattr(selectors_package, "selectors", lambda: known)
    tokens_NTD = np.random.default_rng(0).normal(size=(12, 5, 4)).astype(np.float16)
    select(Embeddings.from_numpy(tokens_NTD), budget=3, method="tokens")
    assert seen[0].tokens_NTD is not None
    np.testing.assert_array_equal(seen[0].tokens_NTD, tokens_NTD)
    np.testing.assert_allclose(seen[0].features_ND, unit(tokens_NTD.astype(np.float32).mean(axis=1)), atol=1e-6)
    with pytest.raises(UsageError, match=r"tokens reads patch tokens .* embed with --tokens"):
        select(digits(20), budget=3, method="tokens")


@pytest.mark.parametrize(
    "arguments",
    [
        {"budget": 50},
        {"budget": 50, "min_distance": 0.5},
        {"budget": 50, "min_distance": 1.2, "candidates": [str(row) for row in range(9000)]},
        {"budget": "coverage:0.9@1.2"},
        {"budget": 50, "balance": "label"},
    ],
)
def test_little_is_held_beside_the_rows_of_unit_length(
    arguments: dict[str, Any], tmp_path: Path, in_pieces: InPieces
) -> None:
    count, size = 20_000, 64
    rows = np.random.default_rng(0).normal(size=(count, size)) + 3 * np.repeat(np.eye(10, size), count // 10, axis=0)
    np.save(tmp_path / "f.npy", rows.astype(np.float16))
    del rows
    features = np.load(tmp_path / "f.npy", mmap_mode="r")
    pool = Embeddings([str(row) for row in range(count)], features, [str(row % 7) for row in range(count)])
    assert len(pool.position) == count
    in_pieces(2**15)
    tracemalloc.start()
    select(pool, method="random", quiet=True, **arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * count * size + 8 * 24 * count  # the rows, and a few dozen numbers an item


# The command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def emb(tmp_path: Path) -> Path:
    """An embeddings folder of 60 digits with their labels."""
    pool = digits(60)
    save_embeddings(Embeddings(pool.ids, pool.features_ND, pool.labels, {}), tmp_path / "emb")
    return tmp_path / "emb"


def picked(emb: Path, *arguments: str) -> tuple[list[str], dict[str, Any]]:
    """Ids and manifest of a run of ``activetune select``."""
    out = emb.parent / "sel"
    assert run(["select", str(emb), "--out", str(out), "--overwrite", "--method", "random", *arguments]) == 0
    with (out / "selection.csv").open(newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    return ids, json.loads((out / "manifest.json").read_text())


def test_exclude_and_candidates_on_the_command_line(emb: Path, tmp_path: Path) -> None:
    out = write(tmp_path / "out.csv", ["id"], [[f"item-{row}"] for row in range(20)])
    open_ = write(tmp_path / "in.csv", ["id"], [[f"item-{row}"] for row in range(10, 30)])
    ids, manifest = picked(emb, "--budget", "10", "--exclude", str(out), "--candidates", str(open_))
    assert sorted(ids) == [f"item-{row}" for row in range(20, 30)]
    assert (manifest["excluded"], manifest["closed"]) == (20, 30)


def test_a_shortfall_on_the_command_line_is_a_note_and_no_error(emb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids, manifest = picked(emb, "--budget", "50", "--min-distance", "0.8")
    assert manifest["asked"] == 50
    assert manifest["k"] == len(ids) < 50
    printed = capsys.readouterr()
    assert printed.err == manifest["shortfall"] + "\n"
    assert f"{len(ids)} of 60 items by random" in printed.out


def test_balance_on_the_command_line(emb: Path, tmp_path: Path) -> None:
    sites = write(tmp_path / "meta.csv", ["id", "site"], [(f"item-{row}", "ab"[row % 2]) for row in range(60)])
    ids, manifest = picked(emb, "--budget", "8", "--balance", "site", "--metadata", str(sites))
    assert Counter(int(item[5:]) % 2 for item in ids) == {0: 4, 1: 4}
    assert manifest["balance"]["a"] == {"asked": 4, "k": 4, "available": 30}


def test_balance_by_prediction_on_the_command_line(emb: Path, tmp_path: Path) -> None:
    target = load_digits().target
    labels = write(tmp_path / "labels.csv", ["id", "label"], [(f"item-{row}", target[row]) for row in range(30)])
    ids, manifest = picked(emb, "--budget", "10", "--balance", "predicted", "--labelled", str(labels))
    assert len(ids) == sum(row["k"] for row in manifest["balance"].values()) == 10


def test_coverage_on_the_command_line(emb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids, manifest = picked(emb, "--budget", "coverage:0.9@0.6")
    assert manifest["figures"]["coverage"] >= 0.9
    assert f"{len(ids)} of 60 items by random, " in (told := capsys.readouterr().out)
    assert "% within 0.600" in told


def test_options_may_come_from_a_config_file(emb: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[select]\nbudget = "coverage:0.5@0.7"\nmin-distance = 0.3\n')
    _, manifest = picked(emb, "--config", str(tmp_path / "c.toml"))
    assert (manifest["budget"], manifest["min_distance"]) == ("coverage:0.5@0.7", 0.3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--exclude gone.csv", "the file gone.csv does not exist"),
        ("--candidates {foreign}", "2 of 2 ids are not in these embeddings: 'x', 'y'; ids are the paths"),
        ("--exclude {foreign}", "2 of 2 ids are not in these embeddings"),
        ("--labelled {foreign}", "2 of 2 ids are not in these embeddings"),
        ("--exclude {some} --candidates {some}", "none of the 60 items is left to pick"),
        ("--exclude {noid}", "has no column 'id'; its columns are: name"),
        ("--min-distance 3", "--min-distance can't be 3"),
        ("--min-distance far", "Invalid value for '--min-distance'"),
        ("--balance site", "there is no column 'site' to balance"),
        ("--balance sit --metadata {some}", "did you mean 'site'?"),
        ("--metadata {some}", "name it with --balance COLUMN"),
        ("--balance site --metadata gone.csv", "the file gone.csv does not exist"),
        ("--balance site --metadata {noid}", "has no column 'id'"),
        ("--balance predicted", "learns from labels of at least two classes"),
        ("--budget coverage:0", "a share to cover lies above 0"),
        ("--budget coverage:0.9@7", "0 to 2"),
        ("--budget coverage:0.9 --method k_means", "choose one of: "),
        ("--method margin", "learns from labels of at least two classes"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: str, sentence: str, emb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "foreign": write(tmp_path / "foreign.csv", ["id"], [["x"], ["y"]]),
        "some": write(tmp_path / "some.csv", ["id", "site"], [["item-1", "a"], ["item-2", "b"]]),
        "noid": write(tmp_path / "noid.csv", ["name"], [["item-1"]]),
    }
    usual = {"--budget": "3", "--method": "random"}
    others = [f"{name} {value}" for name, value in usual.items() if name not in arguments]
    line = " ".join([*others, arguments]).format(**files).split()
    assert run(["select", str(emb), "--out", str(tmp_path / "sel"), *line]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert sentence in told
    assert "Traceback" not in told
    assert not list((tmp_path / "sel").glob("*"))


def test_the_selection_on_disk_is_the_one_returned(emb: Path, tmp_path: Path) -> None:
    made: Selection = select(emb, budget=6, method="k_center", min_distance=0.4, out=tmp_path / "sel")
    rows = (tmp_path / "sel" / "selection.csv").read_text().splitlines()
    assert rows[0] == "id,rank,score,reason"
    assert [row.split(",")[0] for row in rows[1:]] == list(made.ids)
