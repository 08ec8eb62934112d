"""A network, one backbone with one head per task: it is what recipes train and what models save.

Shape legend: B items, T tokens, D feature size, Y outputs of a head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest, digest_json, digest_stream
from activetune.networks.backbones import Backbone, digests_of
from activetune.networks.heads import ClassHead, Head, Room, heads, make_head

CLASSIFICATION = "classification"  # the head of the task that there is today


class Network(nn.Module):
    """A backbone, which never carries a classifier, under its heads.

    >>> from activetune import load_backbone
    >>> network = Network(load_backbone("bundled"))
    >>> _ = network.add_head("linear", 10)
    >>> network(torch.zeros((2, 3, 96, 96), dtype=torch.uint8)).shape  # images (B, 3, H, W) to logits (B, 10)
    torch.Size([2, 10])

    Attributes:
        backbone: gives the features.
        heads: by the name of their task.
    """

    def __init__(self, backbone: Backbone, heads: Mapping[str, Head] | None = None):
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict()
        for name, head in (heads or {}).items():
            self.put_head(head, name)

    def forward(self, images: Tensor, head: str | None = None) -> Any:
        """A head's answer to images (B, 3, H, W), see :class:`Backbone`: logits (B, Y) of a class head.

        Args:
            head: its task; None: the only one.
        """
        return self.answer(self.backbone.last(images), head)

    def answer(self, features: Tensor, head: str | None = None) -> Any:
        """A head's answer to what the backbone's last layer gives."""
        found = self.head(head)
        return found(self.backbone.read(features, found.reads))

    def head(self, name: str | None = None) -> Head:
        """The head of a task; None: the only one.

        Raises:
            UsageError: there is none, or several and no name.
        """
        if name is None and len(self.heads) == 1:
            (name,) = self.heads
        if name is None or name not in self.heads:
            told = f"there are: {', '.join(self.heads)}" if len(self.heads) else "it has none"
            raise UsageError(f"the network has no head {name!r}; {told}" if name else f"name a head; {told}")
        head = self.heads[name]
        assert isinstance(head, Head)
        return head

    def classifier(self, name: str | None = None) -> nn.Linear:
        """The last layer of a task's head, which gives a logit per class.

        Raises:
            UsageError: the head gives something else, or there is none.
        """
        head = self.head(name)
        if not isinstance(head, ClassHead):
            raise UsageError(f"the head {head.kind} of {head.room} has no classifier; use another head")
        return head.classifier

    def add_head(self, kind: str, outputs: int, name: str = CLASSIFICATION) -> Head:
        """Put a fresh head of a kind (``activetune list heads``) on the backbone, in place of the task's last one.

        Raises:
            UsageError: unknown kind.
        """
        return self.put_head(make_head(kind, self.size_for(kind), outputs), name)

    def put_head(self, head: Head, name: str = CLASSIFICATION) -> Head:
        """Put a head on the backbone, in place of the task's last one.

        Raises:
            UsageError: it reads features of another size, or its name is no plain word.
        """
        size = self.backbone.size_of(head.reads)
        if head.size != size:
            raise UsageError(
                f"the {head.kind} head reads {head.size} numbers; "
                f"{self.backbone.name} gives {size}: build the head for it"
            )
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or hasattr(nn.ModuleDict, name):
            raise UsageError(f"a head can't be named {name!r}; give a word of small letters, digits and _")
        self.heads[name] = head.to(self.backbone.get_buffer("mean").device)
        return head

    def size_for(self, kind: str, room: Room = "classes") -> int:
        """D, the size of what a head of this kind reads: a token, or a pooled feature."""
        cls = heads(room).get(kind)
        return self.backbone.num_features if cls is None else self.backbone.size_of(cls.reads)

    def remove_heads(self) -> None:
        """Leave the backbone alone."""
        self.heads.clear()

    @property
    def fingerprint(self) -> str:
        """Digest of backbone and heads, as their weights are now."""
        parts = [self.backbone.fingerprint]
        for name, head in sorted(self.heads.items()):
            assert isinstance(head, Head)
            parts.append(digest(name, digest_json(head.describe()), *digests_of(head.state_dict())))
        return digest_stream(parts)


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors that hold NaN or infinite values."""
    return [
        name for name, value in state.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]
