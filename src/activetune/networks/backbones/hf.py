"""``hf/NAME``: any vision model of transformers (DINOv2, ViT, Swin, ConvNeXt, the image tower of CLIP or SigLIP, …).

NAME is a folder that holds the model, or else its name on the hub, which is asked for that model alone. How images are
prepared is read from ``preprocessor_config.json`` beside the weights. Weights are read without unpickling, and code
that comes with a model is not run.

Pooled features are those that the model's own pooling gives: a class token behind its norm, a mean, or attention. The
pooling of ViT and DeiT, a dense layer that most checkpoints do not have, is left out as their classifiers leave it out.
Shape legend: B items, T tokens, D feature size.
"""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from activetune.base.errors import ActivetuneError, MissingExtra, UsageError, first_line
from activetune.base.hub import reachable_hub
from activetune.base.torchvision_ import import_torchvision
from activetune.networks.backbones._backbone import Backbone, ImageSettings
from activetune.networks.backbones._processor import settings_of
from activetune.networks.backbones._reader import MeasuredReader, Reader
from activetune.networks.backbones._size import readable, split_size
from activetune.networks.backbones.timm_ import fit_state, read_state
from activetune.networks.transformers_ import whole

PREFIX = "hf"
ABOUT = "hf/NAME or hf/NAME@SIZE: every vision model of transformers, by its name on the hub or its folder"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
RESAMPLED = ("vit", "deit", "swin", "beit", "clip_vision_model", "siglip_vision_model")  # others do it by themselves


def names() -> list[str]:
    """Some of the models, as ``hf/NAME``; any other of transformers loads too."""
    models = (
        "facebook/dinov2-small",
        "facebook/dinov2-base",
        "google/vit-base-patch16-224-in21k",
        "microsoft/swin-tiny-patch4-window7-224",
        "facebook/convnext-tiny-224",
        "openai/clip-vit-base-patch32",
        "google/siglip-base-patch16-224",
    )
    return [f"{PREFIX}/{model}" for model in models]


def load(name: str, weights: Path | None, *, pretrained: bool = True, options: Mapping[str, Any]) -> Backbone:
    """Load a folder or a model of the hub, or its architecture with the weights in a file.

    Raises:
        UsageError: no vision model, no ``preprocessor_config.json``, weights that do not fit, an option that it lacks.
        ActivetuneError: a download that failed. MissingExtra: transformers is not installed.
    """
    if not name:
        raise UsageError("hf/ needs a model: a folder, or a name on the hub such as hf/facebook/dinov2-small")
    library = _transformers()
    given, (name, size) = f"{PREFIX}/{name}", split_size(PREFIX, name)
    with _explained(name):
        config = library.AutoConfig.from_pretrained(name, trust_remote_code=False)
        processor = _processor(name)
    config = getattr(config, "vision_config", config)
    for option, value in options.items():
        if not hasattr(config, option):
            raise UsageError(
                f"hf/{name} ({config.model_type}) does not take the option {option}; leave that setting out"
            )
        setattr(config, option, value)
    try:
        settings = settings_of(processor).at(size)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"hf/{name}: its {PROCESSORS[0]} is not understood ({error!r}); give another model") from None
    extra = _without_dense_pooling(config)
    if pretrained and weights is None:
        plain = {"use_safetensors": True, "dtype": torch.float32, "trust_remote_code": False}
        with _explained(name):
            network = whole(library.AutoModel, name, config=config, **plain, **extra)
    else:
        network = library.AutoModel.from_config(config, **extra)
    if weights is not None:
        _load_file(network, weights)
    network = network.eval()
    saved = {"config": _plain(config)}
    with readable(given, size):
        reader = _measure(network, settings)
    return Backbone(network, given, config.model_type, settings, saved, reader)


def build(architecture: str, options: Mapping[str, Any]) -> tuple[nn.Module, Reader]:
    """The network of a saved model, its weights at random, and its reader."""
    library = _transformers()
    try:
        config = library.AutoConfig.for_model(architecture, **_plain(options["config"]))
        network = library.AutoModel.from_config(config, **_without_dense_pooling(config)).eval()
    except (ImportError, AttributeError, RuntimeError, ValueError) as error:
        raise UsageError(f"transformers can't build {architecture!r} ({first_line(error)}); update it") from None
    return network, _measure(network, None)


def _transformers() -> Any:
    import_torchvision()
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "hf") from None
    return transformers


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what transformers raises about an unknown, unreachable or damaged model into a sentence."""
    logging: Any = importlib.import_module("transformers.utils.logging")
    local = Path(name).is_dir()
    shown, before = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.set_verbosity_error()  # it lists the tensors of a text tower as left over
    if shown and local:
        logging.disable_progress_bar()
    try:
        with contextlib.nullcontext() if local else reachable_hub():
            yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if local:
            raise UsageError(
                f"the folder {name} holds no vision model of transformers ({first_line(error)}); give one that does"
            ) from None
        raise ActivetuneError(
            f"hf/{name} can't be loaded ({first_line(error)}), and there is no folder of that name; without a network "
            "give the folder of a model that was downloaded elsewhere: hf/FOLDER"
        ) from None
    finally:
        logging.set_verbosity(before)
        if shown and local:
            logging.enable_progress_bar()


def _processor(name: str) -> dict[str, Any]:
    hub: Any = importlib.import_module("transformers.utils.hub")
    for file in PROCESSORS:
        path = hub.cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        if path is not None:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            found: dict[str, Any] = content.get("image_processor", content)
            return found
    raise ValueError(f"it has no {PROCESSORS[0]}, which says how its images are prepared")


def _plain(config: Any) -> dict[str, Any]:
    """A configuration as JSON holds it, without paths and without anything that names code to run."""
    content = dict(config) if isinstance(config, Mapping) else json.loads(config.to_json_string(use_diff=False))
    dropped = ("auto_map", "model_type", "transformers_version", "quantization_config", "dtype", "torch_dtype")
    return {
        name: value
        for name, value in content.items()
        if not name.startswith("_") and name not in dropped and "attn_implementation" not in name
    }


def _without_dense_pooling(config: Any) -> dict[str, bool]:
    """The argument that leaves out a pooling of ViT's kind, which is no part of most checkpoints."""
    library = _transformers()
    try:
        with torch.device("meta"):
            network = library.AutoModel.from_config(config)
    except ValueError as error:
        raise UsageError(
            f"{config.model_type} is no vision model of transformers ({first_line(error)}); give one"
        ) from None
    if network.main_input_name != "pixel_values":
        raise UsageError(f"{config.model_type} reads {network.main_input_name}, not images; give a vision model")
    return {"add_pooling_layer": False} if hasattr(getattr(network, "pooler", None), "dense") else {}


def _load_file(network: Any, path: Path) -> None:
    """Put a file's tensors in, with or without the model's name in front; other parts of the model are left out."""
    state = read_state(path)
    wanted = network.state_dict()
    for prefix in ("", f"{network.base_model_prefix}.", "vision_model."):
        inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if wanted.keys() <= inner.keys():
            state = {key: inner[key] for key in wanted}
            break
    fit_state(network, state, path)


# Reading features -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TransformersReader(MeasuredReader):
    """How features are read out of a model of transformers.

    Attributes:
        pooling: which of :func:`_poolings` the model's own is.
    """

    pooling: str

    def last(self, network: Any, images: Tensor) -> Tensor:
        """See :class:`Reader`."""
        found: Tensor = network(pixel_values=images, **_any_size(network, images)).last_hidden_state
        return found

    def pool(self, network: Any, features: Tensor) -> Tensor:
        """See :class:`Reader`."""
        return dict(_poolings(network))[self.pooling](features)

    def compute_activations_again(self, network: Any, on: bool) -> None:
        """See :class:`Reader`."""
        if on:
            network.gradient_checkpointing_enable()
        else:
            network.gradient_checkpointing_disable()


def _any_size(network: Any, images: Tensor) -> dict[str, bool]:
    """The argument that resamples position embeddings, for images of another size than the model was built for."""
    size = getattr(network.config, "image_size", None)
    built_for = (size, size) if isinstance(size, int) else tuple(size or images.shape[-2:])
    if built_for == tuple(images.shape[-2:]) or not hasattr(network, "embeddings"):
        return {}
    return {"interpolate_pos_encoding": True} if network.config.model_type in RESAMPLED else {}


def _poolings(network: Any) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """The ways in which a vision model pools what its last layer gives."""
    yield "class token", lambda last: last[:, 0]
    if hasattr(network, "post_layernorm"):
        yield "class token, norm", lambda last: network.post_layernorm(last[:, 0])
    if isinstance(getattr(network, "head", None), nn.Module):
        yield "attention", lambda last: network.head(last)
    if isinstance(getattr(network, "pooler", None), nn.Module):
        yield "pooler", lambda last: network.pooler(last).flatten(1)
        yield "pooler over places", lambda last: network.pooler(last.transpose(1, 2)).flatten(1)
    yield "mean", _mean
    if isinstance(getattr(network, "layernorm", None), nn.Module):
        yield "mean, norm", lambda last: network.layernorm(_mean(last))


def _mean(last: Tensor) -> Tensor:
    return last.mean(1) if last.ndim == 3 else last.mean((2, 3))


def _measure(network: Any, settings: ImageSettings | None) -> TransformersReader:
    """Find out how a network pools, and its sizes, by one image.

    Raises:
        UsageError: it gives no features that are understood here.
    """
    size = getattr(network.config, "image_size", None) or 224
    sides = settings.size if settings is not None else (size, size) if isinstance(size, int) else tuple(size)
    images = torch.randn((1, 3, *sides), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        given = network(pixel_values=images, **_any_size(network, images))
        last, expected = getattr(given, "last_hidden_state", None), getattr(given, "pooler_output", None)
        if last is None or last.ndim not in (3, 4):
            raise UsageError(f"{type(network).__name__} gives no tokens and no map; choose another model")
        prefix = _prefix(network, sides, last)
        wanted = None if expected is None else expected.flatten(1)
        name = _pooling_like(network, last, wanted, prefix)
        pooled = dict(_poolings(network))[name](last)
    return TransformersReader(int(last.shape[2 if last.ndim == 3 else 1]), int(pooled.shape[1]), prefix, name)


def _pooling_like(network: Any, last: Tensor, wanted: Tensor | None, prefix: int) -> str:
    """The pooling that gives the model's own pooled feature; where it has none, the class token, or the mean."""
    if wanted is None:
        return "class token" if prefix else "mean"
    for name, pool in _poolings(network):
        with contextlib.suppress(RuntimeError, TypeError, IndexError, ValueError):
            found = pool(last)
            if found.shape == wanted.shape and torch.allclose(found, wanted, atol=1e-5, rtol=1e-4):
                return name
    raise UsageError(f"{type(network).__name__} pools its tokens in a way that is not known here; choose another model")


def _prefix(network: Any, sides: tuple[int, ...], last: Tensor) -> int:
    """Class and register tokens: what is left of the tokens without the patches; none where stages merge patches."""
    patch = getattr(network.config, "patch_size", None)
    if last.ndim == 4 or patch is None or hasattr(network.config, "depths"):
        return 0
    height, width = (patch, patch) if isinstance(patch, int) else patch
    return max(0, last.shape[1] - (sides[0] // height) * (sides[1] // width))
