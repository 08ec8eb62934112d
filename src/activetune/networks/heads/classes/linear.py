"""A linear layer on the pooled features: the classifier that most pretrained networks were trained with.

In a saved model on a timm network its weights stand where timm keeps its classifier, so that timm opens the file.
"""

from __future__ import annotations

from typing import ClassVar

from activetune.networks.heads._head import ClassHead


class Linear(ClassHead):
    """A linear layer on the pooled features."""

    fixed: ClassVar[bool] = True
