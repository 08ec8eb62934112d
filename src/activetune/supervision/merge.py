"""Low-rank additions x backbone -> a merged backbone that every command takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Unpack

import torch

from activetune.base.artefact import holds, prepare_folder, write_manifest
from activetune.base.errors import some
from activetune.base.fingerprint import digest, digest_array
from activetune.base.locks import holds_output
from activetune.base.progress import note
from activetune.base.run import NO_CHANCE, NO_PRODUCTS, ONE_PROCESS, PROCESSOR_ONLY, Run, RunOptions
from activetune.networks.adapters import add, read_additions
from activetune.networks.backbones import Backbone, load_backbone, save_backbone

KIND = "backbone"
FILES = ("backbone.safetensors", "config.json")


@holds_output(folder=True)
def merge(
    additions: str | os.PathLike[str],
    *,
    backbone: str,
    out: str | os.PathLike[str],
    weights: str | Path | None = None,
    scale: float | None = None,
    **run_options: Unpack[RunOptions],
) -> Backbone:
    """Add low-rank additions to the weights of the backbone that they were trained on.

    >>> activetune.merge("taught/lora", backbone="bundled", out="merged")  # after minutes of `visft`  # doctest: +SKIP
    >>> activetune.embed("photos", backbone="merged", out="emb")  # the same  # doctest: +SKIP

    Args:
        additions: a folder of peft (``lora/`` of :func:`activetune.visft`, or peft's own), or a file that ViSFT's
            authors have published.
        backbone, weights: see :func:`activetune.load_backbone`.
        out: folder for ``backbone.safetensors`` and ``config.json``; a name of the backbone.
        scale: factor of B A. None takes peft's config; the published files hold none, and were trained with 1 / 64,
            which their evaluation adds twice.
        run_options: see :class:`activetune.RunOptions`; of use are ``overwrite``, ``resume`` and ``quiet``.

    Raises:
        UsageError: additions that can't be read, do not fit the backbone, do not say their scale, or ask for what is
            not understood here (see ``docs/visft.md``); a scale that is not finite.
    """
    run = Run.of(
        "merge",
        run_options,
        seed=NO_CHANCE,
        device=PROCESSOR_ONLY,
        precision=NO_PRODUCTS,
        workers=ONE_PROCESS,
    )
    path, folder = Path(additions), Path(out)
    found = read_additions(path, scale)
    network = load_backbone(backbone, weights)
    tensors = sorted(found.tensors().items())
    made_from = {
        "backbone": network.name,
        "weights": network.fingerprint,
        "additions": digest(*(f"{name}:{digest_array(value.numpy())}" for name, value in tensors)),
    }
    if run.resume and not run.overwrite and holds(folder, KIND, made_from):
        return load_backbone(str(folder))
    with torch.no_grad():
        left_out = add(network.network, found, path, network.classifier_name)
    prepare_folder(folder, KIND, FILES, overwrite=run.overwrite)
    save_backbone(network, folder)
    write_manifest(folder, KIND, {**made_from, "layers": len(found.layers), "left_out": left_out}, files=FILES)
    note(f"additions to {len(found.layers):,} layers are merged into {network.name}", run.quiet)
    if left_out:
        note(f"left out, since a backbone has no classifier: {some(left_out)}", run.quiet)
    return load_backbone(str(folder))
