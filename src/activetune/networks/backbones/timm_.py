"""Any timm model: ``timm/NAME``, published weights from the hub or a local file, its own pretrained transform.

``timm/NAME@224`` is the same on images of 224 pixels: a transformer's position embeddings are resampled, as timm does.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from activetune.base.errors import ActivetuneError, UsageError, first_line, nearest, some
from activetune.base.hub import reachable_hub
from activetune.base.quietly import quietly
from activetune.base.torchvision_ import import_torchvision
from activetune.networks.backbones import _vil
from activetune.networks.backbones._backbone import TIMM, Backbone, ImageSettings
from activetune.networks.backbones._reader import Reader
from activetune.networks.backbones._resized import in_patches, resized
from activetune.networks.backbones._size import as_option, readable, split_size, told

PREFIX = "timm"
ABOUT = "timm/NAME or timm/NAME@SIZE: every model of timm, published weights or a file"
SAVED_OPTIONS = {"img_size"}
BACKBONE = "backbone."  # what a multi-crop wrapper puts before the names of its network
SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".bin")


@cache
def _timm() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import_torchvision()
    import timm

    _vil.register()  # here, so that a saved model of it opens too
    return timm


def names() -> list[str]:
    """Every architecture, as ``timm/NAME``."""
    return [f"timm/{name}" for name in _own()]


def _own() -> list[str]:
    """The architectures that timm itself brings."""
    return [name for name in _timm().list_models() if name not in _vil.ARCHITECTURES]


def load(name: str, weights: Path | None, *, pretrained: bool = True, options: Mapping[str, Any]) -> Backbone:
    """Build ``name`` (an architecture, or ``architecture.tag``, or either with ``@SIZE``) and load its weights."""
    timm = _timm()
    given, (name, size) = f"{PREFIX}/{name}", split_size(PREFIX, name)
    architecture = name.partition(".")[0]
    if not timm.is_model(name) or architecture in _vil.ARCHITECTURES:
        found = nearest(architecture, _own())
        raise UsageError(f"timm has no model {name!r}; the nearest names are: " + ", ".join(f"timm/{n}" for n in found))
    sized = {"img_size": as_option(size)} if size and _takes_a_size(name) else {}
    options, fetch = {**options, **sized}, pretrained and weights is None
    network = create_network(name, pretrained=fetch and not size, options=options)
    if size:  # before weights are resampled, which fails in its own words
        with readable(given, size), torch.inference_mode():
            network(torch.zeros(1, 3, *size))
        network = create_network(name, pretrained=True, options=options) if fetch else network
    if weights is not None:
        load_weights(network, weights)
    return Backbone(network, given, architecture, image_settings(network).at(size), sized)


def build(architecture: str, options: Mapping[str, Any]) -> tuple[torch.nn.Module, Reader]:
    """The network of a saved model, its weights at random, and its reader.

    Raises:
        UsageError: no architecture, or an option that no model is saved with: timm would take more, even a checkpoint
            to unpickle.
    """
    foreign = sorted(options.keys() - SAVED_OPTIONS)
    if foreign or ":" in architecture or not _timm().is_model(architecture):
        raise UsageError(f"timm has no architecture {architecture!r}" + (f" with {some(foreign)}" if foreign else ""))
    return create_network(architecture, pretrained=False, options=options), TIMM


def _takes_a_size(name: str) -> bool:
    """Whether the architecture is built for one image size, as transformers are; convolutions take any."""
    config = _timm().get_pretrained_cfg(name, allow_unregistered=True)
    return bool(getattr(config, "fixed_input_size", False))


def image_settings(network: torch.nn.Module) -> ImageSettings:
    """How the publisher of a network's weights prepares its images."""
    config = _timm().data.resolve_model_data_config(network)
    return ImageSettings(
        size=tuple(config["input_size"][1:]),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        crop_pct=config["crop_pct"],
        crop_mode=config["crop_mode"],
    )


def create_network(name: str, *, pretrained: bool, options: Mapping[str, Any]) -> torch.nn.Module:
    """``timm.create_model`` without classifier; failures in one sentence.

    Raises:
        UsageError: an option that the architecture does not have.
        ActivetuneError: published weights that can't be fetched.
    """
    timm = _timm()
    options = {"num_classes": 0, **options}
    try:
        with quietly(), reachable_hub() if pretrained else contextlib.nullcontext():
            network: torch.nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except TypeError as error:
        raise UsageError(f"timm/{name} does not take these options ({error}); leave them out") from None
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise UsageError(f"timm/{name} can't be built ({error}); give another backbone") from None
        raise ActivetuneError(
            f"the published weights of timm/{name} can't be fetched ({first_line(error)}); "
            "give a local file with --weights FILE, or use --backbone bundled"
        ) from None
    return network.eval()


def load_weights(network: torch.nn.Module, path: Path) -> None:
    """Load a file of tensors (see ``SUFFIXES``), never unpickled; a classifier in it is left out.

    Raises:
        UsageError: not a weights file, or weights of another architecture.
    """
    _fit_checkpoint(network, read_state(path), path)


def refit(found: Backbone, own: Backbone, place: str) -> None:
    """Put a backbone's weights into its network as it was built for images of another size, or by other options.

    timm reads a file's positions as those of a square, so that they are resampled by the network that has them.

    Args:
        place: the folder of ``own``, for messages.

    Raises:
        UsageError: positions that can't be resampled from the size that they are of.
    """
    size, before = found.settings.size, own.settings.size
    states = [own.network.state_dict()]
    if size != before and in_patches(own.network):
        states = [resized(own, size).network.state_dict(), *states]
    elif size != before and found.options:
        states = []
    for state in states:
        if _shapes(state) == _shapes(found.network.state_dict()):
            fit_state(found.network, state, Path(place))
            return
    if before[0] != before[1] or math.prod(before) == math.prod(size):
        raise UsageError(
            f"the positions of {own.architecture} in {place}, those of images of {told(before)} pixels, can't be "
            f"resampled to {told(size)}; leave @{told(size)} out, or give another backbone"
        )
    _fit_checkpoint(found.network, own.network.state_dict(), Path(place))


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def _fit_checkpoint(network: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Put tensors of a published layout, or of another image size where timm knows how, into a network."""
    try:
        with contextlib.suppress(AttributeError, KeyError):  # neither is known of this network
            module = __import__(type(network).__module__, fromlist=["checkpoint_filter_fn"])
            state = module.checkpoint_filter_fn(state, network)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"the weights in {path} can't be resampled for this backbone ({first_line(error)}); give them without "
            "@SIZE, or with the size that they were saved at"
        ) from None
    heads = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    fit_state(network, state, path, heads=(heads,) if isinstance(heads, str) else tuple(heads))


def fit_state(
    network: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path, *, heads: Sequence[str] = ()
) -> None:
    """Put a file's tensors into a network, all of them or none.

    Args:
        heads: modules of a checkpoint that are left out where the network lacks them.

    Raises:
        UsageError: tensors are missing, left over, or of another shape.
    """
    wanted = network.state_dict()
    left = {key for key in state if key not in wanted and key.startswith(tuple(f"{head}." for head in heads))}
    missing = sorted(wanted.keys() - state.keys())
    foreign = sorted(state.keys() - wanted.keys() - left)
    shapes = sorted(k for k in wanted.keys() & state.keys() if wanted[k].shape != state[k].shape)
    if missing or foreign or shapes:
        problems = [("missing", missing), ("unexpected", foreign), ("of another shape", shapes)]
        told = "; ".join(f"{len(keys)} {what}: {some(keys)}" for what, keys in problems if keys)
        raise UsageError(
            f"the weights in {path} do not fit this backbone ({told}); give the backbone that they are of, or others"
        )
    network.load_state_dict({key: state[key] for key in wanted})


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint; wrappers such as ``state_dict``, ``module.`` and ``backbone.`` are taken off.

    Of a self-supervised training's checkpoint (DINO, iBOT), which holds two networks, the teacher's backbone is taken.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is not a weights file; expected {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    try:
        _timm()
        from timm.models import clean_state_dict, load_state_dict

        state = load_state_dict(str(path), weights_only=True)
        if isinstance(state.get("teacher"), Mapping):
            state = clean_state_dict(state["teacher"])
        backbone = {key: value for key, value in state.items() if key.startswith(BACKBONE)}
        state = {key.removeprefix(BACKBONE): value for key, value in (backbone or state).items()}
    except Exception as error:  # every reader has its own errors for a damaged or a pickled file
        raise UsageError(
            f"the weights file {path} can't be read ({first_line(error)}); only safetensors and plain tensor "
            "checkpoints are loaded, never pickled objects"
        ) from None
    return {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
