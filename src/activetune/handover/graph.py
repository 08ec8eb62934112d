"""The network as other programs run it: normalised images in, tensors with names out.

Shape legend: B images, H x W pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from activetune.base.errors import UsageError
from activetune.evaluation.model import Model
from activetune.networks.network import Network
from activetune.networks.outputs import handed, named_tensors, with_tensors

INPUT = "images"


def refuse_loops(model: Model) -> None:
    """Raise a :class:`UsageError` for a model whose answers no network of a fixed length gives."""
    if model.task.reading is None:
        raise UsageError(
            f"a model of {model.task.name} answers word by word, in a loop that no exported network holds; "
            "use 'activetune predict' or 'activetune serve'"
        )


class Graph(nn.Module):
    """A model's network on images of floating-point numbers, (B, 3, H, W), to a tuple of tensors.

    Attributes:
        network: a copy, on the processor, in float32. names: of the tensors.
        given: what the head hands over of one image, see :func:`activetune.networks.outputs.handed`.
        reading: how answers are made of the tensors.
    """

    def __init__(self, model: Model):
        super().__init__()
        self.network: Network = copy.deepcopy(model.network).float().cpu().eval().requires_grad_(False)
        _ = self.network.backbone.grid  # it is measured on an image, once, and not while the network is traced
        self.size = model.backbone.settings.size
        with torch.no_grad():
            self.given = handed(self.network(self.example(1)))
        self.names = tuple(named_tensors(self.given))
        self.reading = "; ".join(filter(None, (getattr(self.given, "reading", ""), model.task.reading)))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The tensors of :attr:`names`."""
        return tuple(named_tensors(handed(self.network(images))).values())

    def example(self, batch: int) -> Tensor:
        """Images of noise, the same at each call."""
        return torch.randn(batch, 3, *self.size, generator=torch.Generator().manual_seed(batch))

    def shapes(self) -> list[dict[str, Any]]:
        """The tensors with their names and shapes, as a description has them."""
        tensors = named_tensors(self.given).items()
        return [{"name": name, "dtype": "float32", "shape": ["batch", *value.shape[1:]]} for name, value in tensors]


class Replayed(Network):
    """A network whose answers another program computes, so that it can be scored like the one that it was made from.

    Args:
        graph: of the model. answer: gives the tensors of the graph's names for normalised images.
    """

    def __init__(self, graph: Graph, answer: Callable[[Tensor], Sequence[Tensor]]):
        super().__init__(graph.network.backbone)
        self.given, self.names, self.answered = graph.given, graph.names, answer

    def forward(self, images: Tensor, head: str | None = None) -> Any:
        """See :class:`Network`."""
        tensors = self.answered(self.backbone.normalise(images).contiguous())
        return with_tensors(self.given, dict(zip(self.names, tensors, strict=True)))
