"""The contract of every head.

Shape legend: B items, T tokens, D feature size, Y outputs.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn


class Head(nn.Module):
    """A module on a backbone's features: pooled ones (B, D), or tokens (B, T, D) as ``reads_tokens`` says.

    Attributes:
        kind: its name, which is the name of its file.
        reads_tokens: whether it reads all tokens and not the pooled features.
        fixed: whether nothing below the classifier is learned, so that logistic regression on :meth:`embedded` fits it.
        classifier: the last layer, (Y, D), at zero until it is fitted: a fresh head is undecided.
    """

    kind: ClassVar[str]
    reads_tokens: ClassVar[bool] = False
    fixed: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        cls.kind = cls.__module__.rpartition(".")[2].rstrip("_")

    def __init__(self, size: int, outputs: int):
        super().__init__()
        self.size, self.outputs = size, outputs
        self.classifier = nn.Linear(size, outputs)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def embedded(self, features: Tensor) -> Tensor:
        """What the classifier reads, (B, D), of the features; by default they themselves."""
        return features

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, Y)."""
        logits: Tensor = self.classifier(self.embedded(features))
        return logits

    def adapt(self, features_VLTD: Tensor) -> None:
        """Set what depends on the features that the head will be trained on, such as their scale; by default nothing.

        Args:
            features_VLTD: tokens of L items under V views, or (V, L, D) pooled features.
        """

    def describe(self) -> dict[str, Any]:
        """What rebuilds the head beside its tensors, for ``config.json``."""
        return {"kind": self.kind, "size": self.size, "outputs": self.outputs}
