"""One of several processes that run ``visft``; ``test_visft_ranks.py`` starts them, and runs the same alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import activetune
from activetune.base.launch import launched, leave
from activetune.cli import run
from activetune.training.streams import Draws
from tests.training.finetune_rank import error_of, seen_by_the_first_alone

ON: dict[str, Any] = {"device": "cpu", "precision": "fp32", "workers": 0}


def config_of(folder: Path) -> dict[str, Any]:
    """The config, with its paths."""
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


if __name__ == "__main__":
    folder, results = map(Path, sys.argv[1:])
    told: dict[str, Any] = {}
    drawn: list[Any] = []
    begin = Draws.begin

    def followed(self: Draws, *given: Any) -> Any:
        found = begin(self, *given)
        drawn.append(found.tolist())
        return found

    Draws.begin = followed  # type: ignore[method-assign]
    made = activetune.visft(config_of(folder), out=results / "out", **ON)
    Draws.begin = begin  # type: ignore[method-assign]
    told |= {"drawn": drawn, "figures": made.figures, "weights": made.backbone().fingerprint}

    config = config_of(folder)
    for task in config["tasks"]:
        task["pool"] = seen_by_the_first_alone(Path(task["pool"]))
    told["unreadable"] = error_of(lambda: activetune.visft(config, out=results / "unreadable", **ON))
    told["occupied"] = error_of(lambda: activetune.visft(config_of(folder), out=results / "out", **ON))
    command = ["visft", str(folder / "config.toml"), "--out"]
    told["codes"] = [
        run([*command, str(results / "out"), "--resume", "--device=cpu", "--precision=fp32"]),
        run([*command, str(results / "new"), "--set", "stepps=3"]),
        run([*command, str(results / "new"), "--dry-run"]),
    ]
    (results / f"told-{launched().rank}.json").write_text(json.dumps(told))
    leave(0)
