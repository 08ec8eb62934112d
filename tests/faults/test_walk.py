"""A stage that is killed before any of its file operations comes, with --resume, to what an undisturbed run leaves.

``make faults`` ends each stage at every operation; here it is at those that differ in kind. ``make test-faults`` kills
it at 50 moments, drawn by a seed, wherever it is then. ``make test-full-disk`` gives it disks that are too small.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scenarios import RECIPES, SCENARIOS

pytestmark = pytest.mark.slow
Walker = subprocess.Popen[str]
ASKED = os.environ.get("ACTIVETUNE_FAULTS", "").split()
MOUNTING = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else [])]


@pytest.fixture(scope="module")
def may_mount() -> bool:
    """Whether this user may mount small disks, in a namespace of mounts of his own."""
    return shutil.which("unshare") is not None and not subprocess.run([*MOUNTING, "true"], check=False).returncode


@pytest.fixture(scope="module")
def walker(may_mount: bool) -> Iterator[Walker]:
    """The process that walks scenarios, with one thread, as it forks."""
    command = [*(MOUNTING if may_mount else []), sys.executable, "-m", "tests.faults.walk"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], env=environment, text=True, **pipes) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


OF_MANY_PARTS = ("compare", "visft", "finetune_masks", "simulate_per_seed", "export_model")


def marked(scenario: str) -> Any:
    """A scenario; what replaces another result does so alike at every stage, so two of these stand for all.

    Stages of many parts have tests of their own that cut them off; ``make test-all`` walks them too.
    """
    often = scenario.endswith("_over_another") and scenario not in ("embed_over_another", "predict_over_another")
    often = often or scenario in OF_MANY_PARTS or scenario.removeprefix("finetune_") in RECIPES
    return pytest.param(scenario, marks=pytest.mark.thorough if often else ())


@pytest.mark.parametrize("scenario", [marked(scenario) for scenario in SCENARIOS])
def test_a_killed_stage_ends_as_if_it_had_not_been(scenario: str, tmp_path: Path, walker: Walker) -> None:
    assert_walked(walker, scenario, tmp_path, ASKED)


def assert_walked(walker: Walker, scenario: str, tmp_path: Path, asked: list[str]) -> None:
    """Walk a scenario without a problem."""
    assert walker.stdin is not None and walker.stdout is not None
    walker.stdin.write("\t".join([scenario, str(tmp_path / "walk"), *asked]) + "\n")
    walker.stdin.flush()
    told = ""
    for line in walker.stdout:
        told += line
        if line.startswith("end "):
            break
    assert told.endswith("end 0\n"), told[-4000:]
    assert " 0 problems" in told


@pytest.mark.skipif(ASKED != [], reason="another walk is asked for")
def test_a_disk_that_is_really_full_is_told_and_made_up_for(tmp_path: Path, walker: Walker, may_mount: bool) -> None:
    if not may_mount:
        pytest.skip("mounting a small disk takes rights that this user does not have")
    assert_walked(walker, "select", tmp_path, ["full", "4"])
