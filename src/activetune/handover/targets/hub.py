"""``hub``: timm's layout of a model on a hub, which plain timm opens by ``timm.create_model("local-dir:FOLDER")``.

``model.safetensors`` and ``config.json`` (architecture, class names, size, mean, std, interpolation, crop) are what
timm's ``save_for_hf`` writes, and transformers reads; ``README.md`` is the model card: data, recipe, figures, limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from activetune.base.errors import UsageError
from activetune.base.files import read_json, write_bytes, write_json
from activetune.evaluation.model import Model
from activetune.handover.card import card_of
from activetune.handover.graph import Graph
from activetune.handover.targets._target import Answer, Target
from activetune.networks.backbones import source_of
from activetune.networks.backbones.timm_ import create_network
from activetune.networks.heads import CLASSES

SOURCES = ("timm", "bundled")  # whose architectures plain timm has
CARD, CONFIG = "README.md", "config.json"


class Hub(Target):
    """A folder in timm's layout, with a model card, to open in timm or to upload."""

    file: ClassVar[str] = "model.safetensors"
    beside: ClassVar[tuple[str, ...]] = (CONFIG, CARD)
    named: ClassVar[bool] = False

    def refuse(self, model: Model) -> None:
        """See :class:`Target`: timm knows its own networks, under a linear layer."""
        advice = "use --to onnx or --to torch-export"
        if model.task.room != CLASSES:
            raise UsageError(f"timm's layout holds classifiers, and this model answers {model.task.name}; {advice}")
        head = model.network.head().kind
        if head != "linear":
            raise UsageError(
                f"timm's layout holds a linear layer on the network, and this model has the head {head!r}; {advice}"
            )
        backbone = model.backbone
        if source_of(backbone.origin) not in SOURCES or backbone.classifier_name is None:
            raise UsageError(f"timm has no network {backbone.origin} with a linear classifier; {advice}")

    def write(self, model: Model, graph: Graph, description: Mapping[str, Any], folder: Path) -> None:
        """See :class:`Target`."""
        network = _timm_network(model)
        from timm.models import save_for_hf

        config = {"label_names": list(model.classes)}
        save_for_hf(
            network, str(folder), model_config=config, model_args=model.backbone.options, safe_serialization=True
        )
        written = read_json(folder / CONFIG)
        written.get("model_args", {}).pop("num_classes", None)  # stands beside them, and transformers refuses it twice
        write_json(folder / CONFIG, written)

    def open(self, folder: Path) -> Answer:
        """See :class:`Target`."""
        import timm

        network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()

        def answer(images: Tensor) -> Sequence[Tensor]:
            with torch.no_grad():
                return [network(images)]

        return answer

    def describe(self, folder: Path, description: Mapping[str, Any], report: Mapping[str, Any]) -> None:
        """See :class:`Target`: the model card."""
        write_bytes(folder / CARD, card_of(description, report).encode())


def _timm_network(model: Model) -> nn.Module:
    """Timm's own network with the model's weights and its classifier."""
    backbone, settings = model.backbone, model.backbone.settings
    options = {**backbone.options, "num_classes": len(model.classes)}
    network = create_network(backbone.architecture, pretrained=False, options=options)
    classifier = model.network.classifier().state_dict()
    place = f"{backbone.classifier_name}."
    state = {**backbone.network.state_dict(), **{place + name: value for name, value in classifier.items()}}
    network.load_state_dict({name: value.detach().cpu().contiguous() for name, value in state.items()})
    before: Any = network.pretrained_cfg
    described = {
        "architecture": backbone.architecture,
        "input_size": (3, *settings.size),
        "mean": settings.mean,
        "std": settings.std,
        "interpolation": settings.interpolation,
        "crop_pct": settings.crop_pct,
        "crop_mode": settings.crop_mode,
        "num_classes": len(model.classes),
    }
    of_publisher = {"url", "file", "hf_hub_id", "hf_hub_filename", "tag", "origin_url", "paper_name", "paper_ids"}
    of_publisher |= {"test_input_size", "test_crop_pct", "source", "license", "label_names", "notes"}
    kept = {name: value for name, value in dict(before).items() if name not in of_publisher}
    network.pretrained_cfg = {**kept, **described}  # type: ignore[assignment]
    return network
