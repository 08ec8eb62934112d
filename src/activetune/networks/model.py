"""The finetuned model: saving it so that plain timm can open it, loading it, using it on images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from activetune.base.artefact import read_manifest
from activetune.base.errors import UsageError
from activetune.base.files import read_json, replacing, write_json
from activetune.base.progress import progress
from activetune.base.runtime import Runtime, resolve_runtime
from activetune.data.identity import Contents
from activetune.data.images import decode_image, to_rgb
from activetune.data.loading import image_loader
from activetune.data.pool import Pool
from activetune.networks.backbones import Backbone, ImageSettings
from activetune.networks.backbones.timm_ import create_network
from activetune.networks.heads.headed import Headed, head_size
from activetune.networks.heads.light import Head, make_head

MODEL_FILES = ("model.safetensors", "config.json", "history.csv")
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")  # beside the model of a recipe that has an adapter


@dataclass(frozen=True)
class Model:
    """A finetuned classifier.

    Attributes:
        backbone: the network with its classifier, and how its images are prepared.
        classes: C class names, in the order of the outputs.
        config: the content of ``config.json``.
    """

    backbone: Backbone
    classes: Sequence[str]
    config: Mapping[str, Any]

    @property
    def network(self) -> nn.Module:
        """The plain timm module: normalised images (B, 3, H, W) to logits (B, C)."""
        network: nn.Module = self.backbone.network
        return network

    def predict(
        self, images: Sequence[Image.Image | str | os.PathLike[str]], *, device: str = "auto", precision: str = "auto"
    ) -> np.ndarray:
        """Class probabilities (B, C) float32 of PIL images or image files.

        Raises:
            RejectedImage: a file that is not a usable image.
        """
        if not images:
            return np.empty((0, len(self.classes)), dtype=np.float32)
        runtime = resolve_runtime(device, precision)
        opened = [
            to_rgb(image) if isinstance(image, Image.Image) else decode_image(Path(image).read_bytes())
            for image in images
        ]
        batch = torch.stack([self.backbone.prepare(image) for image in opened])
        return _probabilities(self.backbone.to(runtime.device).eval(), batch, runtime)


@dataclass(frozen=True)
class Prediction:
    """Probabilities (B, C) of a batch, the positions of its items in the pool, and the rejected (position, reason)."""

    probs_BC: np.ndarray
    positions: Sequence[int]
    rejected: Sequence[tuple[int, str]]


def predictions(
    model: Model,
    pool: Pool,
    *,
    runtime: Runtime,
    batch_size: int = 64,
    workers: int = -1,
    first_batch: int = 0,
    contents: Contents | None = None,
    quiet: bool = False,
) -> Iterator[Prediction]:
    """Run a model over a pool, batch by batch, in the pool's order, from batch ``first_batch`` on.

    Args:
        contents: of the pool; takes note of the images' digests.
    """
    network = model.backbone.to(runtime.device).eval()
    loader = image_loader(
        pool, network.prepare, batch_size=batch_size, workers=workers, first_batch=first_batch, contents=contents
    )
    with progress(len(pool), "predicting", done=first_batch * batch_size, quiet=quiet) as meter:
        for batch in loader:
            probs = np.empty((0, len(model.classes)), dtype=np.float32)
            if len(batch.images):
                probs = _probabilities(network, batch.images, runtime)
            yield Prediction(probs, batch.positions, batch.rejected)
            meter.advance(len(batch.images) + len(batch.rejected))


def _probabilities(backbone: Backbone, images: torch.Tensor, runtime: Runtime) -> np.ndarray:
    with torch.inference_mode(), runtime.autocast():
        logits = backbone.network(backbone.normalise(images.to(runtime.device)))
    return torch.softmax(logits.float(), dim=1).cpu().numpy()


def classifier_of(network: nn.Module) -> nn.Linear:
    """The network's final linear layer.

    Raises:
        UsageError: the architecture's classifier is something else.
    """
    layer = network.get_classifier()  # type: ignore[operator]
    if not isinstance(layer, nn.Linear):
        raise UsageError(f"{type(network).__name__} has no single linear classifier; choose another backbone")
    return layer


def put_head(backbone: Backbone, head: Head) -> None:
    """Put a light head on a backbone; a linear one becomes the network's own classifier."""
    if head.kind == "linear":
        add_classifier(backbone, head.classifier.out_features).load_state_dict(head.classifier.state_dict())
        return
    backbone.network.reset_classifier(0)  # type: ignore[operator]
    backbone.network = Headed(backbone.network, head)


def add_classifier(backbone: Backbone, classes: int) -> nn.Linear:
    """Put a fresh linear classifier of ``classes`` outputs on a backbone, starting at zero."""
    backbone.network.reset_classifier(classes)  # type: ignore[operator]
    layer = classifier_of(backbone.network)
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def save_model(backbone: Backbone, classes: Sequence[str], folder: Path, details: Mapping[str, Any]) -> Model:
    """Write ``model.safetensors`` and ``config.json``.

    Key names are timm's; where ``config["head"]`` names a light head, they begin with ``body.`` and its own with
    ``head.``.
    """
    network = backbone.network
    config = {
        "format": 1,
        "backbone": backbone.name,
        "architecture": backbone.architecture,
        "architecture_options": backbone.options,
        "num_classes": len(classes),
        "classes": list(classes),
        "image": backbone.settings.as_dict(),
        **({"head": network.head.describe()} if isinstance(network, Headed) else {}),
        **details,
    }
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with replacing(folder / "model.safetensors") as partial:
        save_file(state, partial, metadata={"format": "pt"})
    write_json(folder / "config.json", config)
    return Model(backbone, list(classes), config)


def load(path: str | os.PathLike[str]) -> Model:
    """Load a ``MODEL`` folder.

    Raises:
        UsageError: not a finished model, or damaged files.
    """
    folder = Path(path)
    read_manifest(folder, "model")
    try:
        config = read_json(folder / "config.json")
        settings = ImageSettings.from_dict(config["image"])
        options = config.get("architecture_options", {})
        network = _empty_network(config["architecture"], options, config["num_classes"], config.get("head"))
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"the model in {folder} is damaged ({str(error).splitlines()[0]}); finetune again") from None
    backbone = Backbone(network, config["backbone"], config["architecture"], settings, options)
    return Model(backbone, config["classes"], config)


def _empty_network(
    architecture: str, options: Mapping[str, Any], classes: int, head: Mapping[str, Any] | None
) -> nn.Module:
    if head is None:
        return create_network(architecture, pretrained=False, options={**options, "num_classes": classes})
    body = create_network(architecture, pretrained=False, options=options)
    return Headed(body, make_head(head["kind"], head_size(body, head["kind"]), classes))
