"""Labels that are likely wrong: the same findings as cleanlab's, planted errors found again, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activetune import Embeddings, UsageError, label_errors
from activetune.base.tables import read_table, write_csv
from activetune.cli import run
from activetune.studies.label_errors import HEADER, confident_errors, thresholds_of
from tests.conftest import write_digits


def planted(seed: int, rows: int, classes: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (L, C) of a probe, and labels of which a tenth was drawn anew."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=rows)
    truth[:classes] = np.arange(classes)
    logits = rng.normal(size=(rows, classes))
    logits[np.arange(rows), truth] += sharpness
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.where(rng.random(rows) < 0.1, rng.integers(classes, size=rows), truth)
    labels[:classes] = np.arange(classes)
    return probs, labels


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(20, 300), st.integers(2, 9), st.floats(0.2, 6))
def test_the_findings_and_their_order_are_cleanlab_s(seed: int, rows: int, classes: int, sharpness: float) -> None:
    filters = pytest.importorskip("cleanlab.filter")
    rank = pytest.importorskip("cleanlab.rank")
    probs, labels = planted(seed, rows, classes, sharpness)
    ours = confident_errors(probs, labels)
    options = {"filter_by": "confident_learning", "return_indices_ranked_by": "self_confidence", "n_jobs": 1}
    assert ours.tolist() == filters.find_label_issues(labels, probs, **options).tolist()
    scores = rank.get_label_quality_scores(labels, probs, method="self_confidence")
    assert np.array_equal(scores[ours], probs[ours, labels[ours]]) and (np.diff(scores[ours]) >= 0).all()


def test_the_thresholds_are_cleanlab_s() -> None:
    count = pytest.importorskip("cleanlab.count")
    probs, labels = planted(3, 200, 6, 2.0)
    assert np.allclose(thresholds_of(probs, labels), count.get_confident_thresholds(labels, probs), atol=1e-12)


@pytest.fixture
def wrong_digits(tmp_path: Path) -> tuple[Path, Embeddings, Path, dict[str, str]]:
    """800 digits with their pixels as features, and labels of which 5 % were exchanged for others."""
    pool = write_digits(tmp_path / "pool", 800)
    from sklearn.datasets import load_digits

    data = load_digits()
    ids = sorted(str(path.relative_to(pool)) for path in pool.glob("*/*"))
    pixels = np.stack([data.images[int(item[2:6])].ravel() for item in ids])
    rng = np.random.default_rng(0)
    flipped = rng.choice(len(ids), 40, replace=False)
    labels = [item[0] for item in ids]
    for row in flipped:
        labels[row] = str((int(labels[row]) + rng.integers(1, 10)) % 10)
    file = tmp_path / "labels.csv"
    write_csv(file, ("id", "label"), zip(ids, labels, strict=True))
    return pool, Embeddings.from_numpy(pixels, ids), file, {ids[row]: ids[row][0] for row in flipped}


def test_planted_errors_are_found_again(wrong_digits: tuple[Path, Embeddings, Path, dict[str, str]]) -> None:
    pool, features, labels, truth = wrong_digits
    found = label_errors(pool, labels=labels, embeddings=features, quiet=True)
    right = [one for one in found if one.id in truth]
    assert len(right) >= 0.65 * len(truth) and len(right) >= 0.9 * len(found)
    assert sum(one.suggestion == truth[one.id] for one in right) >= 0.9 * len(right)
    assert all(one.id in truth for one in found[:20])  # the likeliest are listed first
    assert label_errors(pool, labels=labels, embeddings=features, quiet=True) == found


@pytest.mark.slow
def test_planted_errors_in_photos_are_found_again(shared: Path, tmp_path: Path) -> None:
    """600 of CIFAR-10's test images, 5 % of them with another class, by features of the bundled backbone."""
    from activetune import Labels, open_pool

    pool = open_pool(shared / "data/cifar10/test.parquet", quiet=True)
    rng = np.random.default_rng(0)
    few = pool.subset([pool.ids[row] for row in np.sort(rng.choice(len(pool), 600, replace=False))])
    names, classes = list(map(str, few.labels or ())), sorted(set(map(str, few.labels or ())))
    flipped = rng.choice(len(few), 30, replace=False)
    for row in flipped:
        names[row] = rng.choice([name for name in classes if name != names[row]])
    given = Labels.of(dict(zip(few.ids, names, strict=True)))
    found = {one.id for one in label_errors(few, labels=given, workers=0, device="cpu", quiet=True)}
    assert len(found & {few.ids[row] for row in flipped}) >= 15  # 9 by chance


def test_the_command_writes_a_table_and_replaces_nothing_else(
    wrong_digits: tuple[Path, Embeddings, Path, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, features, labels, truth = wrong_digits
    np.savez(tmp_path / "emb.npz", features=features.features_ND, ids=np.asarray(features.ids))
    out = tmp_path / "errors.csv"
    line = ["label-errors", str(pool), "--labels", str(labels), "--embeddings", str(tmp_path / "emb.npz")]
    assert run([*line, "--out", str(out), "--quiet"]) == 0
    columns = read_table(out)
    assert tuple(columns) == HEADER and set(truth) & set(columns["id"])
    told = capsys.readouterr().out
    assert "perhaps" in told and re.search(r"errors.csv: \d+ labels? that (is|are) likely wrong\n$", told)
    assert run([*line, "--out", str(out), "--quiet"]) == 2 and "exists already" in capsys.readouterr().err
    assert run([*line, "--out", str(labels), "--overwrite", "--quiet"]) == 2
    assert "did not write" in capsys.readouterr().err
    assert run([*line, "--out", str(out), "--overwrite", "--backbone", "bundled"]) == 2
    assert "leave --backbone and --weights out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"0/0000.png": "a", "1/0001.png": "a"}, "have 'a' alone"),
        ({"0/0000.png": "a", "1/0001.png": "b"}, "every class has a single label"),
        ({"nowhere.png": "a"}, "not in the pool"),
    ],
)
def test_labels_that_tell_nothing_are_a_sentence(tmp_path: Path, labels: dict[str, str], told: str) -> None:
    pool = write_digits(tmp_path / "pool", 10)
    ids = sorted(str(path.relative_to(pool)) for path in pool.glob("*/*"))
    features = Embeddings.from_numpy(np.eye(10), ids)
    with pytest.raises(UsageError, match=told):
        label_errors(pool, labels=labels, embeddings=features, quiet=True)
