"""``vil/NAME`` or ``vil/NAME@SIZE``: Vision-LSTM with the publisher's checkpoints from a local file.

The network is ``_vil/__init__.py``. The files are on a university's server without checksums, so that they are not
fetched from here: download one and give it with ``--weights``. Both published layouts load, that of version 1
(``vil_…``) and that of version 2 (``vil2_…``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from activetune.base.errors import ActivetuneError, unknown_name
from activetune.networks.backbones._backbone import Backbone
from activetune.networks.backbones._size import readable, split_size
from activetune.networks.backbones._vil import ARCHITECTURES
from activetune.networks.backbones.timm_ import build, create_network, image_settings, load_weights

__all__ = ["ABOUT", "PREFIX", "build", "load", "names"]

PREFIX = "vil"
ABOUT = "vil/NAME or vil/NAME@SIZE: Vision-LSTM, with a published checkpoint from a file"
SERVER = "https://ml.jku.at/research/vision_lstm/download"
PUBLISHED = {
    "vil2_tiny": "vil2_tiny16_e800_in1k.th",
    "vil2_small": "vil2_small16_e400_in1k.th",
    "vil2_base": "vil2_base16_e400_in1k.th",
    "vil_tiny": "vil_tiny16_e800_in1k.th",
    "vil_tinyplus": "vil_tinyplus16_e800_in1k.th",
    "vil_small": "vil_small16_e400_in1k.th",
    "vil_smallplus": "vil_smallplus16_e400_in1k.th",
    "vil_base": "vil_base16_e400_in1k.th",
    "vil_smallplus_stride8": "vil_smallplus16_e400_in1k_stride8.th",
    "vil_base_stride8": "vil_base16_e400_in1k_stride8.th",
}


def names() -> list[str]:
    """Every architecture, as ``vil/NAME``."""
    return [f"{PREFIX}/{name}" for name in ARCHITECTURES]


def load(name: str, weights: Path | None, *, pretrained: bool = True, options: Mapping[str, Any]) -> Backbone:
    """Build ``name`` and load a published checkpoint, or one saved from this network.

    Raises:
        ActivetuneError: no weights file was given. UsageError: a size that is no multiple of the patches'.
    """
    given, (name, size) = f"{PREFIX}/{name}", split_size(PREFIX, name)
    if name not in ARCHITECTURES:
        raise unknown_name("backbone", f"{PREFIX}/{name}", names())
    if weights is None and pretrained:
        published = f"download {SERVER}/{PUBLISHED[name]} and give it" if name in PUBLISHED else "give a file"
        raise ActivetuneError(f"{PREFIX}/{name} comes without weights; {published} with --weights FILE")
    network = create_network(name, pretrained=False, options=options)
    if size:  # positions are fitted to each image
        with readable(given, size), torch.inference_mode():
            network(torch.zeros(1, 3, *size))
    if weights is not None:
        load_weights(network, weights)
    return Backbone(network, given, name, image_settings(network).at(size))
