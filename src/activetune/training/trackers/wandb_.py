"""A run of Weights & Biases, offline.

It is sent by you alone: ``wandb sync OUT/tracking/wandb/wandb/offline-run-…``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from activetune.training.trackers._tracker import PROJECT, Tracker


@dataclass
class Wandb(Tracker):
    """Metrics by phase, each over a step of its own."""

    package: ClassVar[str] = "wandb"

    def begin(self) -> None:
        """See :class:`Tracker`; the environment can't turn it online."""
        import wandb

        quiet = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True)
        self._run: Any = wandb.init(
            mode="offline",
            dir=str(self.folder),
            project=PROJECT,
            name=self.name,
            config=dict(self.settings),
            settings=quiet,
            reinit="create_new",
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See :class:`Tracker`. Phases begin again at step 1, which W&B's own step can't: it goes on beside."""
        for name in values:
            place = f"{name.rpartition('/')[0]}/step"
            self._run.define_metric(place, hidden=True)
            self._run.define_metric(name, step_metric=place)
        places = {f"{name.rpartition('/')[0]}/step": step for name in values}
        self._run.log({**values, **places})

    def end(self, scores: Mapping[str, float], *, finished: bool) -> None:
        """See :class:`Tracker`."""
        self._run.summary.update(dict(scores))
        self._run.finish(exit_code=0 if finished else 1)
