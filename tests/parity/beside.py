"""Programs that are installed in environments of their own, as their packages are not ours: ``make test-beside``."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest


def python_of(name: str, licence: str) -> str:
    """The Python that has a program, by the variable ``ACTIVETUNE_NAME``; without one the test is skipped."""
    python = os.environ.get(f"ACTIVETUNE_{name.upper()}")
    if not python:
        pytest.skip(f"needs {name} ({licence}) in an environment of its own: make test-beside")
    return python


def told_by(python: str, script: str, *arguments: object, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON that a script prints last."""
    command = [python, "-c", script, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | (env or {}))
    assert not ended.returncode, ended.stderr[-2000:]
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found
