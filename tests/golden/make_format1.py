"""Makes ``format1.tar.xz``; see README.md.

python tests/golden/make_format1.py FOLDER
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

import activetune

CONVOLUTION, SEQUENCE = "timm/test_efficientnet", "vil/test_vil"
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "linear_probe": (CONVOLUTION, "linear_probe", {}),
    "full": (SEQUENCE, "full", {"epochs": 4, "lr": 3e-3, "batch_size": 16}),
    "lora": (SEQUENCE, "lora", {"epochs": 1, "rank": 2}),
    "logistic": (SEQUENCE, "fact", {"phases": "probe,head", "head": "logistic", "head_steps": 20, "views": 2}),
    "fact": (SEQUENCE, "fact", {"phases": "probe,head", "head": "map", "head_steps": 100, "head_lr": 0.01, "views": 2}),
}
RUN = {"seed": 0, "workers": 0, "quiet": True, "use_cache": False, "device": "cpu", "precision": "fp32"}


def write_digits(folder: Path) -> None:
    """The first 60 of scikit-learn's handwritten digits as PNG files, one folder per class."""
    data = load_digits()
    for number in range(60):
        path = folder / str(data.target[number]) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(data.images[number] * (255 / 16)).astype(np.uint8)).save(path)


def write_weights(name: str) -> Path:
    """Random weights of nine values each, so that those which training leaves alone compress well."""
    torch.manual_seed(0)
    state = {}
    for key, value in activetune.load_backbone(name, pretrained=False).network.state_dict().items():
        if value.is_floating_point() and value.ndim > 1:
            unit = value.std().clamp_min(1e-8) / 2
            value = torch.round(value / unit).clamp(-4, 4) * unit
        state[key] = value.contiguous().clone()
    path = Path(name.replace("/", "-") + ".safetensors")
    save_file(state, path)
    return path


def main(folder: Path) -> None:
    """Make every artefact in ``folder``, then pack them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chdir(folder)
    torch.set_num_threads(1)
    write_digits(Path("digits"))
    pool, out = activetune.open_pool("digits"), Path("format1")
    weights = {name: write_weights(name) for name in (CONVOLUTION, SEQUENCE)}
    features = activetune.embed(
        pool, backbone=CONVOLUTION, weights=weights[CONVOLUTION], out=out / "EMB", use_cache=False, quiet=True
    )
    activetune.select(features, budget=12, method="activeft", seed=0, out=out / "SEL")
    for name, (backbone, recipe, settings) in MODELS.items():
        activetune.finetune(
            pool,
            out=out / name,
            backbone=backbone,
            weights=weights[backbone],
            recipe=recipe,
            settings=settings,
            **RUN,  # type: ignore[arg-type]
        )
        model, ids = activetune.load(out / name), list(pool.ids[::10])
        probs = model.predict([Path("digits") / item for item in ids], device="cpu", precision="fp32")
        scores = activetune.evaluate(model, pool, device="cpu", precision="fp32", workers=0, quiet=True)
        told = {"ids": ids, "probabilities": np.round(probs.astype(float), 6).tolist(), "top1": scores.top1}
        (out / f"{name}.json").write_text(json.dumps({**told, "n": scores.n}))
    with tarfile.open("format1.tar.xz", "w:xz") as archive:
        archive.add(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
