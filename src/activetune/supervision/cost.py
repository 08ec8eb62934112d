"""What a ViSFT run would need, before anything is loaded: weights, activations, and what the optimiser keeps.

The backbone is built without memory (torch's device ``meta``), shown two images and then three, and what its backward
pass would read is counted tensor by tensor. Heads are small and are counted in the same way on random features. Left
out: what the loss itself keeps, the images, what stays in single precision where products are in half of it, and what
the allocator keeps beside these. Attention is counted with its matrix, which the fused kernels of GPUs compute again.
Shape legend: H x W places, D feature size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from activetune.base.artefact import read_manifest
from activetune.base.launch import launched
from activetune.base.printing import aligned
from activetune.data.labels import Labels
from activetune.networks.adapters import inject
from activetune.networks.backbones import Backbone, load_backbone
from activetune.networks.heads import Head
from activetune.networks.vocabulary import BEGIN
from activetune.supervision.config import Config, HeadStage, JointStage, Visft
from activetune.supervision.heads import KIND
from activetune.supervision.run import opened

FULL, HALF = 4, 2  # bytes of a number
STATES = 2  # that AdamW keeps per weight
SENTENCES = (5, 17)  # of an image, and words in each, that a captioning head is taught


@dataclass(frozen=True)
class Cost:
    """Bytes that a step of a stage holds at once, by what they are for.

    Attributes:
        stage: ``stage 1, detection``, ``stage 2``. weights: of the backbone and of the heads that are in memory.
        copies: of the weights that a step computes with: in half precision where products are computed in it, in
            single precision where a layer computes with the sum of its weights and its additions (EVA).
        trained: gradients and AdamW's states. activations: of the images that go through together.
    """

    stage: str
    weights: int
    copies: int
    trained: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.copies + self.trained + self.activations


@dataclass(frozen=True)
class Kept:
    """Numbers that are kept for the backward pass: of each image, and once for however many images."""

    each: int
    once: int


def costs(config: Config, *, precision: str, quiet: bool = True) -> tuple[list[Cost], Mapping[str, int]]:
    """What each stage of a run needs on each of its devices, and how many weights there are.

    Every process holds all weights, and its share of a batch.

    Args:
        precision: ``fp32``, ``bf16`` or ``fp16``; weights are kept in fp32 and copied for products.
    """
    with torch.device("meta"):
        backbone = load_backbone(config.backbone, pretrained=False)
    if config.heads is not None:
        read_manifest(Path(config.heads), KIND)  # refuses a folder that holds none
    lessons = {asked.entry.called: opened(asked, quiet) for asked in config.tasks}
    heads = {name: _head(backbone, task, labels, entry.head) for name, (entry, task, _, labels) in lessons.items()}
    size = FULL if precision == "fp32" else HALF
    stages = [entry.stage(config.options.heads) for entry, *_ in lessons.values()] if config.heads is None else []
    found = [
        _first_stage(name, stage, backbone, heads[name], size)
        for name, stage in zip(lessons, stages, strict=False)
        if stage.steps  # otherwise its head stays as it starts
    ]
    counts = {"backbone": _weights(backbone), **{name: _weights(head) for name, head in heads.items()}}
    second, added = _second_stage(config.options, backbone, list(heads.values()), size)
    return [*found, second], {**counts, "additions": added}


def _first_stage(name: str, stage: HeadStage, backbone: Backbone, head: Head, size: int) -> Cost:
    """A step of a head on the frozen backbone, which goes through layer by layer and keeps nothing."""
    own, trained = _weights(backbone), _weights(head)
    return Cost(
        f"stage 1, {name}",
        weights=(own + trained) * FULL,
        copies=0 if size == FULL else (trained + max(value.numel() for value in backbone.parameters())) * size,
        trained=trained * FULL * (1 + STATES),
        activations=_of_head(head, backbone).each * _together(stage) * size,
    )


def _second_stage(options: Visft, backbone: Backbone, heads: Sequence[Head], size: int) -> tuple[Cost, int]:
    """A step of the additions, under the head of which most is kept, and how many weights they have."""
    own, blocks = _weights(backbone), _blocks(backbone)
    with torch.device("meta"):
        inject(backbone.network, options.additions, seed=0)
    added = sum(value.numel() for value in backbone.parameters() if value.requires_grad)
    kept = _of_backbone(backbone)
    numbers, copied = kept.each, kept.once if size == FULL else own
    if options.joint.checkpointing:  # of all blocks their input, and the rest of one block at a time
        numbers, copied = _tokens(backbone) * blocks + numbers // blocks, copied // blocks
    numbers += max(_of_head(head, backbone).each for head in heads)
    if size != FULL:
        copied += added + max(map(_weights, heads))
    weights = own + added + sum(map(_weights, heads))
    activations = numbers * _together(options.joint) * size
    return Cost("stage 2", weights * FULL, copied * size, added * FULL * (1 + STATES), activations), added


def _together(stage: HeadStage | JointStage) -> int:
    """Images that go through a device at once: those of a process, in their parts."""
    return -(-stage.batch_size // (stage.accumulation * launched().world))


def told(found: list[Cost], counts: Mapping[str, int], precision: str) -> str:
    """The costs as aligned text."""
    header = ("", "weights", "copies", "gradients, AdamW", "activations", "in all")
    parts = [(one.weights, one.copies, one.trained, one.activations, one.total) for one in found]
    rows = [(one.stage, *map(_size, bytes_)) for one, bytes_ in zip(found, parts, strict=True)]
    weights = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    world = launched().world
    device = "on one device" if world == 1 else f"on each of {world:,} devices"
    about = f"a step in {precision} holds, {device}:"
    return "\n".join([f"weights: {weights}", about, *aligned([header, *rows])])


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB" if count else "0"


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


def _of_backbone(backbone: Backbone) -> Kept:
    """What the backward pass through the backbone reads."""
    backbone.network.train()

    def last(count: int) -> Any:
        images = torch.empty((count, 3, *backbone.settings.size), device="meta")
        return backbone.reader.last(backbone.network, images)

    return _kept(backbone, last)


def _of_head(head: Head, backbone: Backbone) -> Kept:
    """The same of a head, on the backbone's map."""
    grid, generator = backbone.grid, torch.Generator().manual_seed(0)
    shape = {
        "map": (grid.height, grid.width, head.size),
        "tokens": (grid.prefix + grid.height * grid.width, head.size),
        "pooled": (head.size,),
    }[head.reads]
    head.eval()

    def outputs(count: int) -> Any:
        taught = (torch.full((count, *SENTENCES), BEGIN),) if hasattr(head, "vocabulary") else ()
        return head(torch.randn((count, *shape), generator=generator), *taught)

    return _kept(head, outputs)


def _kept(module: nn.Module, forward: Callable[[int], Any]) -> Kept:
    """What is kept of a module's forward pass.

    Args:
        forward: of so many images.
    """
    two, three = (_saved(module, partial(forward, count)) for count in (2, 3))  # some copies of one are none
    return Kept(each=three - two, once=3 * two - 2 * three)


def _saved(module: nn.Module, forward: Callable[[], Any]) -> int:
    """Numbers that are kept for the backward pass of what a module computes, its weights left out."""
    own = {value.untyped_storage()._cdata for value in (*module.parameters(), *module.buffers())}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in own:
            held = value  # so that no other storage comes to its address
            kept[storage._cdata] = storage.nbytes() // value.element_size(), held
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value), torch.enable_grad():
        forward()
    return sum(count for count, _ in kept.values())
