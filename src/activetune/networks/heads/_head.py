"""The contract of every head.

Shape legend: B items, T tokens, H x W places of a map, D feature size, Y outputs.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from activetune.networks.heads._single_precision import LastLinear

Reads = Literal["pooled", "tokens", "map"]
CLASSES = "classes"  # the room that models of format 2 don't name: it was the only one


class Head(nn.Module):
    """A module on a backbone's features, which gives what the loss and the metric of its task take.

    Attributes:
        kind: its name, which is the name of its file. room: that of its answers, where the file lies.
        reads: pooled features (B, D); all tokens (B, T, D); or the map (B, H, W, D) that patch tokens make.
        stride: pixels of the canvas per pixel of the masks that it learns from, at most, where it learns from masks.
        batch_size, lr: of its training on cached features, unless others are asked for. decays: whether its weights
            decay there.
        size: D. outputs: Y, the number of classes, or of words.
    """

    kind: ClassVar[str]
    room: ClassVar[str]
    reads: ClassVar[Reads] = "pooled"
    stride: ClassVar[int] = 8
    batch_size: ClassVar[int] = 64
    lr: ClassVar[float] = 1e-3
    decays: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        *_, cls.room, name = cls.__module__.split(".")
        cls.kind = name.rstrip("_")

    def __init__(self, size: int, outputs: int):
        super().__init__()
        self.size, self.outputs = size, outputs

    def adapt(self, features: Tensor) -> None:
        """Set what depends on the features that the head will be trained on, such as their scale; by default nothing.

        Args:
            features: (V, L, T, D) tokens of L items under V views, or (V, L, D) pooled features.
        """

    def options(self) -> dict[str, Any]:
        """Arguments of the constructor beside ``size`` and ``outputs``; none by default."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What rebuilds the head beside its tensors, for ``config.json``."""
        found = {"kind": self.kind, "size": self.size, "outputs": self.outputs}
        found |= {} if self.room == CLASSES else {"room": self.room}
        more = self.options()
        return {**found, **({"options": more} if more else {})}


class ClassHead(Head):
    """A head that gives a logit per class.

    Attributes:
        fixed: whether nothing below the classifier is learned, so that logistic regression on :meth:`embedded` fits it.
        classifier: the last layer, (Y, D), at zero until it is fitted: a fresh head is undecided.
    """

    fixed: ClassVar[bool] = False

    def __init__(self, size: int, outputs: int):
        super().__init__(size, outputs)
        self.classifier = LastLinear(size, outputs)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def embedded(self, features: Tensor) -> Tensor:
        """What the classifier reads, (B, D), of the features; by default they themselves."""
        return features

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, Y)."""
        logits: Tensor = self.classifier(self.embedded(features))
        return logits
