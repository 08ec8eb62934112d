"""The finetuned model: saving it, loading it, using it on images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from activetune.base.artefact import read_manifest
from activetune.base.errors import ActivetuneError, RejectedImage, UsageError, first_line, some
from activetune.base.files import read_json, write_json
from activetune.base.fingerprint import digest, digest_file
from activetune.base.memory import Portions
from activetune.base.progress import progress
from activetune.base.runtime import Runtime, resolve_runtime
from activetune.data.identity import Contents
from activetune.data.images import decode_image, to_rgb
from activetune.data.loading import Loaded, image_loader
from activetune.data.pool import Pool
from activetune.data.reading import read_image_file
from activetune.networks.backbones import Backbone, ImageSettings
from activetune.networks.network import CLASSIFICATION, Network, not_finite
from activetune.networks.outputs import all_finite
from activetune.networks.storage import build, describe, tensors_of
from activetune.networks.tensors import write_tensors
from activetune.tasks import ClassTask, Task, make_task

MODEL_FILES = ("model.safetensors", "config.json", "history.csv")


@dataclass(frozen=True)
class Model:
    """A finetuned network, for one task.

    Attributes:
        network: the backbone under its heads.
        classes: C class names, in the order of the outputs.
        config: the content of ``config.json``.
    """

    network: Network
    classes: Sequence[str]
    config: Mapping[str, Any]

    @property
    def backbone(self) -> Backbone:
        """The network below the heads, and how its images are prepared."""
        return self.network.backbone

    @property
    def task(self) -> Task:
        """What the model answers."""
        return make_task(self.config.get("task", CLASSIFICATION))

    @property
    def fingerprint(self) -> str:
        """Digest of all weights and of the classes."""
        return digest(self.network.fingerprint, *self.classes)

    def predict(
        self, images: Sequence[Image.Image | str | os.PathLike[str]], *, device: str = "auto", precision: str = "auto"
    ) -> Any:
        """What the model says of PIL images or image files.

        Returns:
            Probabilities (B, C) float32 of a task with classes per image; of others a list of B answers, such as
            masks of the images' own sizes (:class:`activetune.data.kinds.Mask`).

        Raises:
            RejectedImage: a file that is not a usable image, or none; its path is named.
            ActivetuneError: the outputs are not finite.
        """
        if not images:
            by_class = isinstance(self.task, ClassTask)
            return np.empty((0, len(self.classes)), dtype=np.float32) if by_class else []
        runtime = resolve_runtime(device, precision)
        prepare = Prepare(self.task, self.backbone.settings)
        opened = [
            to_rgb(image) if isinstance(image, Image.Image) else _open_image(Path(image), prepare.enough)
            for image in images
        ]
        network, pixels = self.network.to(runtime.device).eval(), torch.stack([prepare(image) for image in opened])
        portions = Portions(runtime.device, quiet=True).of(len(pixels), partial(_portion, network, runtime, pixels))
        if isinstance(self.task, ClassTask):
            return np.concatenate([self.task.probabilities(outputs).cpu().numpy() for _, outputs in portions])
        sizes = [(image.height, image.width) for image in opened]
        decoded = (
            self.task.decode(outputs, sizes[part], self.backbone.settings, self.classes) for part, outputs in portions
        )
        return [answer for answers in decoded for answer in answers]


@dataclass(frozen=True)
class Prepare:
    """Makes the network's input of an image, as a task has it evaluated; it can be sent to other processes."""

    task: Task
    settings: ImageSettings

    @property
    def name(self) -> str:
        """What images are prepared for."""
        return self.task.name

    @property
    def enough(self) -> int:
        """See :meth:`Task.enough`."""
        return self.task.enough(self.settings, None)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """An RGB image to uint8 (3, H, W)."""
        return self.task.transform(image, None, self.settings, None)[0]


def _open_image(path: Path, about: int) -> Image.Image:
    try:
        if path.exists() and not path.is_file():
            raise RejectedImage("not a file")
        return decode_image(read_image_file(path), about=about)
    except RejectedImage as error:
        raise RejectedImage(f"{path}: {error}") from None
    except OSError as error:
        raise RejectedImage(f"{path}: unreadable: {error.strerror or error}") from None


@dataclass(frozen=True)
class Prediction:
    """What a model says of a batch, or of a portion of one where memory is short.

    Attributes:
        outputs: as its head gives them for B items; None where all were rejected. positions: of these in the pool.
        sizes: height and width of their images. rejected: position and reason of each image that can't be used, in
            order with them.
    """

    outputs: Any
    positions: Sequence[int]
    sizes: Sequence[tuple[int, int]]
    rejected: Sequence[tuple[int, str]]


def predictions(
    model: Model,
    pool: Pool,
    *,
    runtime: Runtime,
    batch_size: int = 64,
    workers: int = -1,
    contents: Contents | None = None,
    all_usable: bool = False,
    quiet: bool = False,
) -> Iterator[Prediction]:
    """Run a model over a pool, batch by batch, in the pool's order.

    Args:
        contents: of the pool; takes note of the images' digests. all_usable: see :func:`image_loader`.

    Raises:
        ActivetuneError: the outputs are not finite.
    """
    network, prepare = model.network.to(runtime.device).eval(), Prepare(model.task, model.backbone.settings)
    loader = image_loader(
        pool,
        prepare,
        batch_size=batch_size,
        about=prepare.enough,
        workers=workers,
        contents=contents,
        all_usable=all_usable,
        device=runtime.device,
    )
    portions = Portions(runtime.device, quiet)
    with progress(len(pool), "predicting", quiet=quiet) as meter:
        for batch in loader:
            yield from predicted(network, batch, runtime, portions)
            meter.advance(len(batch.images) + len(batch.rejected))


def predicted(network: Network, batch: Loaded, runtime: Runtime, portions: Portions) -> Iterator[Prediction]:
    """What a network, on its device, says of a batch, in as many portions as its memory asks for.

    Raises:
        ActivetuneError: the outputs are not finite, or memory does not suffice for one image.
    """
    if not len(batch.images):
        yield Prediction(None, (), (), batch.rejected)
    rejected = list(batch.rejected)
    for part, outputs in portions.of(len(batch.images), partial(_portion, network, runtime, batch.images)):
        last = part.stop == len(batch.images)
        among = [one for one in rejected if last or one[0] < batch.positions[part.stop]]
        rejected = rejected[len(among) :]
        yield Prediction(outputs, batch.positions[part], batch.sizes[part], among)


def _portion(network: Network, runtime: Runtime, images: torch.Tensor, part: slice) -> Any:
    return _outputs(network, images[part], runtime)


def _outputs(network: Network, images: torch.Tensor, runtime: Runtime) -> Any:
    """What the network's head gives for images (B, 3, H, W), a tensor in float32."""
    with torch.inference_mode(), runtime.autocast():
        outputs = network(images.to(runtime.device, non_blocking=True))
    return checked(outputs, runtime)


def checked(outputs: Any, runtime: Runtime) -> Any:
    """What a head gives, a tensor in float32.

    Raises:
        ActivetuneError: it is not finite.
    """
    outputs = outputs.float() if isinstance(outputs, torch.Tensor) else outputs
    if not all_finite(outputs):
        advice = "try --precision fp32" if runtime.precision != "fp32" else "finetune again with a lower --set lr=…"
        raise ActivetuneError(f"the model's outputs are NaN or infinite in {runtime.precision}; {advice}")
    return outputs


def save_model(network: Network, classes: Sequence[str], folder: Path, details: Mapping[str, Any]) -> Model:
    """Write ``model.safetensors`` and ``config.json`` (``storage.py`` says how).

    Raises:
        ActivetuneError: weights that are not finite; nothing is written.
    """
    state = tensors_of(network)
    if bad := not_finite(state):
        raise ActivetuneError(f"the trained weights are not finite ({some(bad)}); give a lower --set lr=…")
    config = {**describe(network, classes), **details}
    write_tensors(folder / "model.safetensors", state)
    write_json(folder / "config.json", config)
    return Model(network, list(classes), config)


def task_at(path: str | os.PathLike[str]) -> str:
    """The name of the task that the model in a folder was trained for; no weight is read.

    Raises:
        UsageError: not a finished model.
    """
    return str(read_manifest(Path(path), "model").get("task", CLASSIFICATION))


def load(path: str | os.PathLike[str]) -> Model:
    """Load a ``MODEL`` folder.

    Raises:
        UsageError: not a finished model; files that are damaged, not finite, or not those that were written.
    """
    folder = Path(path)
    manifest = read_manifest(folder, "model")
    try:
        _check_digests(folder, manifest)
        config = read_json(folder / "config.json")
        classes = _classes_of(config)
        state = load_file(folder / "model.safetensors")
        network = build(config, state).eval()
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"the model in {folder} is damaged ({first_line(error)}); finetune again") from None
    if bad := not_finite(state):
        raise UsageError(
            f"the model in {folder} holds NaN or infinite weights ({some(bad)}); finetune again with a lower --set lr=…"
        )
    return Model(network, classes, config)


def _check_digests(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare the files with what finetuning wrote; format 1 has no digests.

    Raises:
        UsageError: a file was changed.
        KeyError, OSError: a digest, or a file, is missing.
    """
    if manifest.get("format", 1) == 1:
        return
    for name in ("config.json", "model.safetensors"):
        if digest_file(folder / name) != manifest["files"][name]:
            raise UsageError(
                f"{folder / name} is not the file that finetuning wrote (its digest differs from the manifest's); "
                "copy the whole folder again, or finetune again"
            )


def _classes_of(config: Mapping[str, Any]) -> list[str]:
    """The names of the outputs.

    Raises:
        ValueError: they are no distinct names, or of another number.
    """
    classes = config["classes"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("its classes are no list of names")
    if len(set(classes)) != len(classes) or len(classes) != config["num_classes"]:
        raise ValueError(f"{len(set(classes))} names for {config['num_classes']} classes")
    return classes
