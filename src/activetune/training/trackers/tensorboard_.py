"""Event files of TensorBoard: ``tensorboard --logdir OUT/tracking/tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from activetune.training.trackers._tracker import Tracker


@dataclass
class TensorBoard(Tracker):
    """Scalars, and the settings as a table."""

    package: ClassVar[str] = "tensorboard"

    def begin(self) -> None:
        """See :class:`Tracker`."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(self.folder))
        rows = "\n".join(f"| {name} | {value} |" for name, value in self.settings.items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}")
        self._writer.flush()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self, scores: Mapping[str, float], *, finished: bool) -> None:
        """See :class:`Tracker`."""
        self.log(0, scores)
        self._writer.close()
