"""What a ViSFT run would need, before anything is loaded: weights, activations, and what the optimiser keeps.

The backbone is built without memory (torch's device ``meta``), shown one image, and what its backward pass would read
is counted tensor by tensor. Heads are small and are counted in the same way on random features. Left out: what the loss
itself keeps, the images, and what the allocator keeps beside these.
Shape legend: H x W places, D feature size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from activetune.base.artefact import read_manifest
from activetune.base.runtime import resolve_runtime
from activetune.data.labels import Labels
from activetune.networks.adapters import inject
from activetune.networks.backbones import Backbone, load_backbone
from activetune.networks.heads import Head
from activetune.networks.vocabulary import BEGIN
from activetune.supervision.config import Config
from activetune.supervision.heads import KIND
from activetune.supervision.run import opened

FULL, HALF = 4, 2  # bytes of a number
STATES = 2  # that AdamW keeps per weight
SENTENCES = (1, 5, 17)  # of an image, and words in each, that a captioning head is taught


@dataclass(frozen=True)
class Cost:
    """Bytes that a step of a stage holds at once, by what they are for.

    Attributes:
        stage: ``stage 1, detection``, ``stage 2``. weights: of the backbone and of the heads that are in memory.
        cast: their copies in half precision, where products are computed in it.
        trained: gradients and AdamW's states. activations: of the images that go through together.
    """

    stage: str
    weights: int
    cast: int
    trained: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cast + self.trained + self.activations


def costs(config: Config, *, precision: str, quiet: bool = True) -> tuple[list[Cost], Mapping[str, int]]:
    """What each stage of a run needs on one device, and how many weights there are.

    Args:
        precision: ``fp32``, ``bf16`` or ``fp16``; weights are kept in fp32 and cast for products.
    """
    precision = resolve_runtime("auto", precision).precision if precision == "auto" else precision
    size = FULL if precision == "fp32" else HALF
    with torch.device("meta"):
        backbone = load_backbone(config.backbone, pretrained=False)
    if config.heads is not None:
        read_manifest(Path(config.heads), KIND)  # refuses a folder that holds none
    places = [(asked.entry, *opened(asked, quiet)[1:]) for asked in config.tasks]
    heads = {entry.called: _head(backbone, task, labels, entry.head) for entry, task, _, labels in places}
    own, counts = _weights(backbone), {name: _weights(head) for name, head in heads.items()}
    found = []
    for entry, *_ in places if config.heads is None else ():
        stage, name = entry.stage(config.options.heads), entry.called
        if not stage.steps:
            continue  # its head stays as it starts
        together = -(-stage.batch_size // stage.accumulation)
        frozen = own + counts[name]
        spent = _of_head(heads[name], backbone) * together * size
        found.append(
            Cost(f"stage 1, {name}", frozen * FULL, _cast(frozen, size), counts[name] * FULL * (1 + STATES), spent)
        )
    options, joint = config.options, config.options.joint
    blocks = _blocks(backbone)
    with torch.device("meta"):
        inject(backbone.network, options.additions, seed=0)
    added = sum(value.numel() for value in backbone.parameters() if value.requires_grad)
    numbers = _of_backbone(backbone)
    if joint.checkpointing:
        numbers = _tokens(backbone) * blocks + numbers // blocks
    together = -(-joint.batch_size // joint.accumulation)
    heaviest = max(_of_head(head, backbone) for head in heads.values())
    every = own + added + sum(counts.values())
    activations = (numbers + heaviest) * together * size
    found.append(Cost("stage 2", every * FULL, _cast(every, size), added * FULL * (1 + STATES), activations))
    return found, {"backbone": own, **counts, "additions": added}


def told(found: list[Cost], counts: Mapping[str, int], precision: str) -> str:
    """The costs as aligned text."""
    header = ("", "weights", f"as {precision}", "gradients, AdamW", "activations", "in all")
    parts = [(one.weights, one.cast, one.trained, one.activations, one.total) for one in found]
    rows = [(one.stage, *map(_size, bytes_)) for one, bytes_ in zip(found, parts, strict=True)]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (header, *rows)
    ]
    weights = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return "\n".join([f"weights: {weights}", *(line.rstrip() for line in lines)])


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _cast(weights: int, size: int) -> int:
    return 0 if size == FULL else weights * size


def _weights(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def _head(backbone: Backbone, task: Any, labels: Labels, kind: str) -> Head:
    head: Head = task.head(backbone, labels, kind)
    return head


def _blocks(backbone: Backbone) -> int:
    """Layers whose activations would be computed again one after the other."""
    return max(1, len(getattr(backbone.network, "blocks", ())) or len(list(backbone.network.children())))


def _tokens(backbone: Backbone) -> int:
    """Numbers that the last layer gives of an image."""
    return (backbone.grid.prefix + backbone.grid.height * backbone.grid.width) * backbone.token_size


def _of_backbone(backbone: Backbone) -> int:
    """Numbers that the backward pass of one image reads."""
    image = torch.empty((1, 3, *backbone.settings.size), device="meta")
    return _saved(backbone, lambda: backbone.network.train() and backbone.reader.last(backbone.network, image))


def _of_head(head: Head, backbone: Backbone) -> int:
    """The same of a head, on the map of one image."""
    grid = backbone.grid
    shape = {
        "map": (1, grid.height, grid.width, head.size),
        "tokens": (1, grid.prefix + grid.height * grid.width, head.size),
        "pooled": (1, head.size),
    }[head.reads]
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    taught = (torch.full(SENTENCES, BEGIN),) if hasattr(head, "vocabulary") else ()
    return _saved(head, lambda: head.eval()(features, *taught))


def _saved(module: nn.Module, forward: Callable[[], Any]) -> int:
    """Numbers that are kept for the backward pass of what a module computes, its weights left out."""
    own = {value.untyped_storage()._cdata for value in (*module.parameters(), *module.buffers())}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = (
                storage.nbytes() // value.element_size(),
                value,
            )  # held, so that no address comes again
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value), torch.enable_grad():
        forward()
    return sum(count for count, _ in kept.values())
