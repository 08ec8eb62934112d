"""Where cleanvision is installed: both find the faults that were planted, and spare what is good."""

from __future__ import annotations

from pathlib import Path

import pytest

import activetune
from activetune.base.tables import read_table
from tests.studies.planted import FAULTS, plant

THEIRS = {
    "dark": "dark",
    "bright": "light",
    "blurred": "blurry",
    "grey": "grayscale",
    "blank": "low_information",
    "odd_aspect": "odd_aspect_ratio",
    "odd_size": "odd_size",
    "exact_duplicate": "exact_duplicates",
    "near_duplicate": "near_duplicates",
}


def test_both_find_the_planted_faults(tmp_path: Path) -> None:
    cleanvision = pytest.importorskip("cleanvision", reason="needs cleanvision (Apache-2.0), which is not installed")
    faults = plant(tmp_path / "pool")
    (tmp_path / "pool" / faults.pop("unreadable")).unlink()  # it ends with an error there
    activetune.check(tmp_path / "pool", out=tmp_path / "out", quiet=True, workers=0)
    columns = read_table(tmp_path / "out" / "findings.csv")
    ours = set(zip(columns["kind"], columns["id"], strict=True))
    lab = cleanvision.Imagelab(data_path=str(tmp_path / "pool"))
    lab.find_issues(n_jobs=1, verbose=False)
    for kind in FAULTS:
        listed = lab.issues.index[lab.issues[f"is_{THEIRS[kind]}_issue"]]
        assert faults[kind] in {Path(path).name for path in listed}, f"cleanvision does not find {kind}"
        assert (kind, faults[kind]) in ours
