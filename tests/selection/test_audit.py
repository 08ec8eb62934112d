"""The audit that ``select`` sets aside: random, labelled beside the picks, and learned from by nobody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activetune import Embeddings, UsageError, evaluate, finetune, load_selection, select
from activetune.base.artefact import read_manifest
from activetune.base.tables import read_table, write_csv
from activetune.cli import run
from tests.conftest import tiny_backbone, write_digits

FEATURES = Embeddings.from_numpy(np.random.default_rng(0).normal(size=(60, 5)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 30), st.integers(1, 20), st.integers(0, 99), st.sampled_from(["random", "k_center", "auto"]))
def test_picks_audit_labelled_and_excluded_are_apart(audit: int, budget: int, seed: int, method: str) -> None:
    labelled, excluded = FEATURES.ids[:5], FEATURES.ids[5:10]
    given_ids = {"labelled": labelled, "exclude": excluded}
    found = select(FEATURES, budget=budget, method=method, audit=audit, seed=seed, quiet=True, workers=1, **given_ids)
    assert (len(found), len(set(found.audit))) == (budget, audit)
    assert len({*found.ids, *found.audit, *labelled, *excluded}) == budget + audit + 10


def test_the_audit_depends_on_the_seed_alone() -> None:
    first = select(FEATURES, budget=5, method="random", audit=10, quiet=True).audit
    assert select(FEATURES, budget=9, method="k_center", audit=10, quiet=True).audit == first
    assert select(FEATURES, budget=5, method="random", audit=10, seed=1, quiet=True).audit != first


def test_every_item_is_as_likely() -> None:
    made = [select(FEATURES, budget=1, method="random", audit=30, seed=seed, quiet=True) for seed in range(200)]
    drawn = [item for selection in made for item in selection.audit]
    counts = np.unique(drawn, return_counts=True)[1]
    assert len(counts) == 60 and counts.min() > 60 and counts.max() < 140  # 100 each, five standard deviations


@pytest.mark.parametrize("audit", [-1, 60])
def test_an_impossible_audit(audit: int) -> None:
    with pytest.raises(UsageError, match="60 may be picked"):
        select(FEATURES, budget=1, audit=audit, quiet=True)


def test_a_budget_over_the_pool_names_the_audit() -> None:
    with pytest.raises(UsageError, match=r"50 items can be picked \(10 are set aside for the audit\)"):
        select(FEATURES, budget=55, audit=10, quiet=True)
    told = r"15 items can be picked \(35 are not among the candidates, 10 are set aside for the audit\)"
    with pytest.raises(UsageError, match=told):
        select(FEATURES, budget=20, audit=10, candidates=FEATURES.ids[:25], quiet=True)


def test_the_folder_keeps_it_and_a_change_is_found(tmp_path: Path) -> None:
    made = select(FEATURES, budget=5, audit=10, out=tmp_path / "sel", quiet=True)
    assert load_selection(tmp_path / "sel").audit == made.audit == read_table(tmp_path / "sel/audit.csv")["id"]
    assert read_table(tmp_path / "sel/labels.csv")["id"] == made.to_label
    again = select(FEATURES, budget=5, audit=10, out=tmp_path / "sel", resume=True, quiet=True)
    assert again.audit == made.audit
    with pytest.raises(UsageError, match="not empty"):
        select(FEATURES, budget=5, audit=11, out=tmp_path / "sel", resume=True, quiet=True)
    write_csv(tmp_path / "sel/audit.csv", ("id",), [("0",)])
    with pytest.raises(UsageError, match=r"audit.csv was changed"):
        load_selection(tmp_path / "sel")
    select(FEATURES, budget=5, out=tmp_path / "sel", overwrite=True, quiet=True)
    assert not (tmp_path / "sel/audit.csv").exists()


def test_finetune_leaves_it_out_and_evaluate_scores_on_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = write_digits(tmp_path / "pool", 40)
    ids = sorted(str(path.relative_to(pool)) for path in pool.glob("*/*"))
    chosen = select(
        Embeddings.from_numpy(np.random.default_rng(0).normal(size=(40, 5)), ids),
        budget=20, method="random", audit=8, out=tmp_path / "sel", quiet=True,
    )  # fmt: skip
    file = tmp_path / "sel/labels.csv"
    write_csv(file, ("id", "label"), [(item, item[0]) for item in chosen.to_label])
    backbone, weights = tiny_backbone()
    options = {"backbone": backbone, "weights": weights, "recipe": "linear_probe", "workers": 0, "device": "cpu"}
    model = finetune(pool, labels=file, out=tmp_path / "model", **options)
    assert "8 answers to the audit are left out" in capsys.readouterr().err
    assert read_manifest(tmp_path / "model", "model")["figures"]["n_train"] == 20
    assert evaluate(model, pool, labels=file, only=chosen.audit, workers=0, quiet=True).n == 8
    finetune(pool, labels=file, out=tmp_path / "whole", quiet=True, **{**options, "recipe": "pool_probe"})
    assert read_manifest(tmp_path / "whole", "model")["figures"]["pool"]["images"] == 32
    line = ["evaluate", str(tmp_path / "model"), str(pool), "--labels", str(file), "--workers", "0", "--quiet"]
    assert run([*line, "--only", str(tmp_path / "sel/audit.csv")]) == 0
    assert "on 8 items" in capsys.readouterr().out
    write_csv(file, ("id", "label"), [(item, item[0]) for item in chosen.audit])
    with pytest.raises(UsageError, match="answers the audit alone"):
        finetune(pool, labels=file, out=tmp_path / "second", quiet=True, **options)


@pytest.mark.parametrize("recipe", ["linear_probe", "full"])
def test_what_the_audit_leaves_must_be_enough_to_learn_from(recipe: str, tmp_path: Path) -> None:
    pool = write_digits(tmp_path / "pool", 40)
    ids = sorted(str(path.relative_to(pool)) for path in pool.glob("*/*"))
    write_csv(
        tmp_path / "labels.csv", ("id", "label"), [(item, "a" if row < 5 else "b") for row, item in enumerate(ids[:8])]
    )
    write_csv(tmp_path / "audit.csv", ("id",), [(item,) for item in ids[5:8]])
    options = {"labels": tmp_path / "labels.csv", "recipe": recipe, "workers": 0, "device": "cpu", "quiet": True}
    with pytest.raises(UsageError, match=r"without the audit \(3 answers\), .*: all 5 labels are 'a'; at least two"):
        finetune(pool, out=tmp_path / "model", **options)
    assert not (tmp_path / "model").exists()
