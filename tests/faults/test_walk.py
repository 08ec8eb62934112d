"""A stage that is killed before any of its file operations comes, with --resume, to what an undisturbed run leaves.

``make faults`` ends each stage at every operation; here it is at those that differ in kind.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.scenarios import SCENARIOS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_killed_stage_ends_as_if_it_had_not_been(scenario: str, tmp_path: Path) -> None:
    everything = ["all"] if os.environ.get("ACTIVETUNE_FAULTS") == "all" else []
    command = [sys.executable, "-m", "tests.faults.walk", scenario, str(tmp_path / "walk"), *everything]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    assert " 0 problems" in ended.stdout
