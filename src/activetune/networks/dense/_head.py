"""The contract of heads that read a map of features.

Shape legend: B items, H x W places of a map, D feature size, Y outputs.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn


class Head(nn.Module):
    """A module on the map (B, H, W, D) of a backbone's patch tokens.

    Attributes:
        kind: its name, which is the name of its file. room: that of its answers, where the file lies.
        size: D. outputs: Y, the number of classes, or of words.
    """

    kind: ClassVar[str]
    room: ClassVar[str]
    reads: ClassVar[str] = "map"

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        *_, cls.room, name = cls.__module__.split(".")
        cls.kind = name.rstrip("_")

    def __init__(self, size: int, outputs: int):
        super().__init__()
        self.size, self.outputs = size, outputs

    def options(self) -> dict[str, Any]:
        """Arguments of the constructor beside ``size`` and ``outputs``."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What rebuilds the head beside its tensors, for ``config.json``."""
        return {"kind": self.kind, "size": self.size, "outputs": self.outputs, "options": self.options()}
