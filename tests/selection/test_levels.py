"""Two levels: partitions, shares, and exactly the budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from activetune import Embeddings, UsageError, select
from activetune.base.errors import ActivetuneError
from activetune.cli import run as ran
from activetune.features.holding import WHOLE
from activetune.selection.levels import CLOSED, EXCLUDED, LABELLED, Kinds, Stored, partition_pool, proportional

DIGITS = load_digits().data.astype(np.float16)[:700]
QUIET: dict[str, Any] = {"quiet": True, "threads": 1, "device": "cpu"}


@given(
    st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1e3)), min_size=1, max_size=12),
    st.integers(0, 200),
)
def test_shares_add_up_and_keep_to_their_room(partitions: list[tuple[int, float]], count: int) -> None:
    room, weights = np.array([part[0] for part in partitions]), np.array([part[1] for part in partitions])
    shares = proportional(count, weights, room)
    assert shares.sum() == min(count, room.sum())
    assert (shares >= 0).all() and (shares <= room).all()


@given(st.lists(st.integers(1, 500), min_size=1, max_size=12), st.data())
def test_shares_of_sizes_are_within_one_of_their_proportion(sizes: list[int], data: st.DataObject) -> None:
    room = np.array(sizes)
    count = data.draw(st.integers(0, int(room.sum())))
    assert (np.abs(proportional(count, room, room) - count * room / room.sum()) < 1 + 1e-9).all()


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 99),
    budget=st.integers(1, 90),
    partitions=st.integers(2, 9),
    method=st.sampled_from(["k_center", "k_means", "random", "typiclust"]),
)
def test_two_levels_pick_exactly_the_budget(seed: int, budget: int, partitions: int, method: str) -> None:
    embeddings = Embeddings.from_numpy(DIGITS[:200])
    order = [str(row) for row in np.random.default_rng(seed).permutation(200)]
    options: dict[str, Any] = {"method": method, "levels": 2, "partitions": partitions, "budget": budget, "seed": seed}
    limits = {"labelled": order[:10], "exclude": order[10:25], "candidates": order[5:150]}
    found, again = (select(embeddings, **options, **limits, **QUIET) for _ in range(2))
    assert len(set(found.ids)) == len(found.ids) == budget
    assert set(found.ids) <= set(order[25:150])
    assert list(found.ids) == list(again.ids)
    assert found.manifest["partitioned"]["partitions"] <= partitions


def test_the_parts_are_nearest_centroids_and_large_ones_are_divided() -> None:
    stored = Stored(DIGITS, slice(0, len(DIGITS)))
    none = np.empty(0, dtype=np.int64)
    kinds = Kinds.of(len(DIGITS), none, none, none)
    partitions = partition_pool(stored, kinds, 5, 0, WHOLE)
    assert set(partitions.tolist()) == set(range(5))
    small = partition_pool(stored, kinds, 5, 0, WHOLE, most=60)
    assert np.bincount(small).max() <= 60
    for part in range(int(small.max()) + 1):
        assert len(set(partitions[small == part].tolist())) == 1


def test_kinds_of_items() -> None:
    kinds = Kinds.of(5, np.array([1, 2]), np.array([2]), np.array([3, 1]))
    assert kinds.of_N.tolist() == [0, LABELLED, EXCLUDED, CLOSED, 0]


def test_figures_are_those_of_the_picks_and_refining_brings_the_pool_nearer() -> None:
    embeddings = Embeddings.from_numpy(DIGITS)
    options: dict[str, Any] = {"budget": 40, "method": "activeft", **QUIET}
    partitioned = select(embeddings, levels=2, partitions=8, **options)
    refined = select(embeddings, levels=2, partitions=8, refine=True, **options)
    whole, chance = select(embeddings, **options), select(embeddings, **{**options, "method": "random"})
    emd = [found.manifest["figures"]["emd"] for found in (whole, refined, partitioned, chance)]
    assert emd[1] < emd[2] < emd[3]
    assert emd[1] < 1.03 * emd[0]
    assert sum(refined.scores) == len(DIGITS)
    assert partitioned.manifest["levels"] == {"levels": 2, "partitions": 8, "refine": False}


def test_a_pool_that_stays_on_the_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", DIGITS)
    options = ["select", str(tmp_path / "features.npy"), "--budget=30", "--device=cpu", "--quiet"]
    partitioned = [*options, "--levels=2", "--partitions=3", "--method=k_means", "--out"]
    assert ran([*partitioned, str(tmp_path / "a")]) == 0
    assert ran([*partitioned, str(tmp_path / "a"), "--resume"]) == 0
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["k"] == 30
    assert manifest["levels"] == {"levels": 2, "partitions": 3, "refine": False}


def test_what_a_method_tells_of_partitions_is_told_once() -> None:
    found = select(Embeddings.from_numpy(DIGITS), budget=30, levels=2, partitions=3, **QUIET)
    assert found.manifest["notes"]["auto"].startswith("activeft: no model can be learned")
    assert found.manifest["notes"]["auto"].count("activeft") == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"levels": 3}, "levels can't be 3"),
        ({"partitions": 4}, "--partitions is for a pool that is partitioned"),
        ({"refine": True}, "--refine is for a pool that is partitioned"),
        ({"levels": 2, "partitions": 1}, "partitions can't be 1"),
        (
            {"levels": 2, "refine": True, "method": "activeft", "preset": "typical"},
            "--refine would undo what typical=300 has done; leave out one",
        ),
        ({"levels": 2, "refine": True, "method": "k_center"}, "k_center can't refine the picks of all partitions"),
        ({"levels": 2, "min_distance": 0.2}, "--min-distance compares all picks"),
        ({"levels": 2, "budget": "coverage:0.5", "method": "k_center"}, "two levels share out a number or a share"),
        ({"levels": 2, "method": "ods"}, "ods over two levels reads losses that are known"),
    ],
)
def test_what_two_levels_can_not_do(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        select(Embeddings.from_numpy(DIGITS[:50]), **{"budget": 5, "method": "k_means", **QUIET, **options})


def test_features_that_are_not_finite_are_refused() -> None:
    rows = DIGITS.copy()
    rows[3, 3] = np.inf
    embeddings = Embeddings([str(row) for row in range(len(rows))], rows)
    with pytest.raises(ActivetuneError, match="NaN or infinite"):
        select(embeddings, budget=5, method="k_means", levels=2, partitions=2, **QUIET)
