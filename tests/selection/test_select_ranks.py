"""``select`` in two processes that hold a part of the rows each: the picks of one process, one voice, one end."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from activetune.features.holding import WHOLE
from tests.selection.selection_rank import BUDGET, CASES, METHODS, REFUSED, draws, features, selected, told
from tests.together import ended, start_two

SLOW = pytest.mark.slow  # by two processes
# Sums in another order: what they lead to is the same objective, within this share of it.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path, list[tuple[str, str]]]:
    """What two processes tell, the folder that they wrote into, and what they said."""
    out = tmp_path_factory.mktemp("select_by_two")
    codes, said = ended(start_two(["-m", "tests.selection.selection_rank", str(out)], out))
    assert codes == [0, 0], "\n".join(stderr for _, stderr in said)
    return [json.loads((out / f"told-{rank}.json").read_text()) for rank in range(2)], out, said


By = tuple[list[dict[str, Any]], Path, list[tuple[str, str]]]


@SLOW
@pytest.mark.parametrize("name", CASES)
def test_two_processes_pick_what_one_picks(name: str, by_two: By) -> None:
    first, other = (found["cases"][name] for found in by_two[0])
    alone = told(selected(CASES[name]))
    assert {key: value for key, value in first.items() if key != "figures"} == {
        key: value for key, value in other.items() if key != "figures"
    }
    if "of copies" in name and not name.startswith("random"):  # which of equal items is picked, rounding decides
        assert len(set(first["ids"])) == BUDGET
        assert [first["figures"][figure] for figure in ("emd", "radius")] == [0, 0]
        return
    assert first["ids"] == alone["ids"]
    assert first["audit"] == alone["audit"]
    np.testing.assert_allclose(first["scores"], alone["scores"], rtol=1e-4, atol=1e-6)
    for figure in ("emd", "radius", "loss", "loss_start"):
        if figure in alone["figures"]:
            assert first["figures"][figure] == pytest.approx(alone["figures"][figure], rel=TOLERANCE)
    assert first["figures"].keys() == alone["figures"].keys()
    assert first["manifest"] == alone["manifest"]


@SLOW
@pytest.mark.thorough
def test_four_processes_pick_what_one_picks(tmp_path: Path) -> None:
    codes, said = ended(start_two(["-m", "tests.selection.selection_rank", str(tmp_path)], tmp_path, 4))
    assert codes == [0] * 4, "\n".join(stderr for _, stderr in said)
    found = [json.loads((tmp_path / f"told-{rank}.json").read_text()) for rank in range(4)]
    expected = draws(WHOLE, slice(0, 100))
    for name, options in CASES.items():
        if "of copies" not in name or name.startswith("random"):  # which of equal items is picked, rounding decides
            alone = told(selected(options))
            assert [one["cases"][name]["ids"] for one in found] == [alone["ids"]] * 4, name
    assert [one["draws"] for one in found] == [expected] * 4


@SLOW
def test_a_shard_answers_as_one_process_does(by_two: By) -> None:
    expected = draws(WHOLE, slice(0, 100))
    for found in by_two[0]:
        assert found["draws"] == expected


@SLOW
@pytest.mark.parametrize("name", REFUSED)
def test_what_processes_can_not_share_is_refused_in_a_sentence(name: str, by_two: By) -> None:
    sentences = {
        "bilaf": "bilaf needs all features in one process, and 2 were started; choose one of: activeft, auto, ",
        "contrastive": "activeft can't share its rows with loss=contrastive, which compares each centroid",
        "jury": "max_herding can't share its rows with jury=0, which judges by all items",
        "distance": "--min-distance compares all picks as they are made; leave it out for several processes",
        "coverage": "several processes share out a number or a share of the items; give a budget like 500 or 5%",
        "class": "several processes share out a number or a share of the items; give a budget like 500 or 5%",
        "balance": "--balance looks at the whole pool, which several processes do not hold",
        "losses": "ods over several processes reads losses that are known; give them with --losses",
        "answers": "auto reads more than features here, which several processes do not gather",
        "nothing": "absent",
    }
    (kind, sentence), (other_kind, other) = (found["refused"][name] for found in by_two[0])
    assert kind == "UsageError"
    assert other_kind == "OthersEnded"
    assert sentences[name] in sentence
    assert other == sentence


@SLOW
def test_the_first_process_alone_writes_and_speaks(by_two: By) -> None:
    (first, other), out, ((said, noted), (silence, _)) = by_two
    assert {path.name for path in (out / "saved").iterdir()} == {"selection.csv", "labels.csv", "manifest.json"}
    assert first["saved"]["ids"] == first["resumed"]["ids"] == other["saved"]["ids"] == other["resumed"]["ids"]
    assert first["codes"] == [0, 2, 2, 2]
    assert other["codes"] == [0, 0, 0, 0]
    assert silence == ""
    assert said.count("by activeft, EMD") == 1
    rows = (out / "by_command" / "selection.csv").read_text().splitlines()
    assert len(rows) == BUDGET + 1
    assert (out / "by_command" / "picks.html").is_file()
    assert not (out / "by_command" / ".lock").exists()
    errors = [line for line in noted.splitlines() if line.startswith("error: ")]
    assert "is not empty" in errors[0]
    assert "usl needs all features in one process" in errors[1]
    assert errors[2] == "error: --partitions is for a pool that is partitioned; give --levels 2 too, or leave it out"


KILLED = """
import os, signal, sys
from activetune.selection.selectors import {module} as module

original = module.{function}

def until_killed(*args, **kwargs):
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)

module.{function} = until_killed
from activetune.cli import main
main(sys.argv[1:])
"""


@SLOW
def test_a_process_that_is_killed_ends_the_other_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(KILLED.format(module="activeft", function="minimise"))
    np.save(tmp_path / "features.npy", features())
    arguments = [
        "select",
        str(tmp_path / "features.npy"),
        "--budget=20",
        "--out",
        str(tmp_path / "out"),
        "--device=cpu",
    ]
    codes, said = ended(start_two([str(tmp_path / "run.py"), *arguments, "--method=activeft"], tmp_path))
    assert codes == [1, -signal.SIGKILL], said
    assert said[0][1].splitlines()[-1].startswith("error: another of the 2 processes of this run has ended, ")
    assert not (tmp_path / "out").exists()


def test_every_method_that_processes_share_is_tested() -> None:
    from activetune.selection.selectors import selectors

    shared = {name for name, cls in selectors().items() if cls.shares_rows}
    assert shared == {*METHODS, "coreset"}  # which is k_center by another name
