"""Images per second of `embed` beside other tools that make features, with the same weights and images.

python benchmarks/embedding_peers.py --images FOLDER --weights FILE [--fastembed PYTHON]

Every tool (``embedders/``) is a process of its own, which loads the model and then takes the time until the features of
all images are on the disk. Each is run with its ways to decode images, in turn, several times; of the medians the best
one counts. ``--fastembed`` names the Python of an environment that has it.
FiftyOne has no row, as its datasets need a MongoDB server, nor has LightlyTrain, whose ``embed`` takes checkpoints of
its own trainings alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import machine

from activetune.base.torchvision_ import import_torchvision

import_torchvision()
import timm  # noqa: E402, after what it imports itself

NAME, SIDE = "vit_tiny_patch16_224", 224
FOLDER = Path(__file__).parent / "embedders"
WAYS: dict[str, tuple[str, list[list[str]]]] = {  # a tool's script, and the options that it is run with
    "activetune, auto": ("activetune_embed", [["--precision", "auto"]]),
    "activetune, fp32": ("activetune_embed", [["--precision", "fp32"]]),
    "timm and a loader, bf16": ("timm_loader", [["--precision", "bf16", "--workers", count] for count in "02"]),
    "timm and a loader, fp32": ("timm_loader", [["--precision", "fp32", "--workers", count] for count in "02"]),
    "transformers' pipeline, bf16": ("hugging_face", [["--precision", "bf16", "--workers", count] for count in "02"]),
    "transformers' pipeline, fp32": ("hugging_face", [["--precision", "fp32", "--workers", count] for count in "02"]),
    "fastembed, fp32": ("fastembed_onnx", [["--workers", count] for count in "02"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="a folder; its JPEGs in the order of their names")
    parser.add_argument("--weights", type=Path, required=True, help="of timm's vit_tiny_patch16_224")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fastembed", type=Path, help="the Python of an environment with fastembed")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        write_model(work / "model", options.weights)
        drawn = sorted(options.images.rglob("*.jpg"))
        rows = np.random.default_rng(0).permutation(len(drawn))[: options.count]
        (work / "images").mkdir()
        files = [shutil.copy(drawn[row], work / "images" / f"{place:05}.jpg") for place, row in enumerate(rows)]
        (work / "files.txt").write_text("\n".join(map(str, files)) + "\n", encoding="utf-8")
        found = measured(work, options)
    kept = {"images": options.count, "rounds": options.rounds, "rows": found, "measured_on": machine()}
    options.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def measured(work: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row per tool: images per second, each way's seconds, and how near its features are to timm's own."""
    seconds: dict[str, dict[str, list[float]]] = {}
    for _ in range(options.rounds):
        for name, (script, ways) in WAYS.items():
            python = options.fastembed if script.startswith("fastembed") else Path(sys.executable)
            for way in ways if python else []:
                took = run(python, script, work, [*way], work / f"{name}.npy")
                seconds.setdefault(name, {}).setdefault(" ".join(way), []).append(took)
                print(f"{name} {' '.join(way)}: {options.count / took:.0f} images/s", flush=True)
    exact = np.load(work / "timm and a loader, fp32.npy")
    rows = []
    for name, taken in seconds.items():
        best = min(statistics.median(values) for values in taken.values())
        features = np.load(work / f"{name}.npy").astype(np.float32)
        cosine = (features * exact).sum(1) / np.linalg.norm(features, axis=1) / np.linalg.norm(exact, axis=1)
        row = {"tool": name, "images_per_second": round(options.count / best, 1)}
        row |= {"least_cosine": round(float(cosine.min()), 5), "mean_cosine": round(float(cosine.mean()), 5)}
        rows.append({**row, "seconds": {way: [round(one, 2) for one in values] for way, values in taken.items()}})
    return rows


def run(python: Path, script: str, work: Path, way: list[str], out: Path) -> float:
    """Seconds that a tool tells."""
    line = [str(python), str(FOLDER / f"{script}.py"), str(work / "model"), str(work / "files.txt"), str(out), *way]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    told = subprocess.run(line, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return float(told.split()[-1])


def write_model(folder: Path, weights: Path) -> None:
    """The backbone as timm and transformers load it, and as ONNX with what fastembed knows of images."""
    model = timm.create_model(NAME, checkpoint_path=str(weights)).eval()
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    about["model_args"].pop("num_classes")  # transformers gives it a second time
    (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")
    model.reset_classifier(0)
    settings = timm.data.resolve_model_data_config(model)
    options: dict[str, Any] = {"input_names": ["pixel_values"], "output_names": ["features"], "dynamo": True}
    shapes = {"x": {0: torch.export.Dim("batch", min=1)}}
    torch.onnx.export(
        model,
        (torch.zeros(2, 3, SIDE, SIDE),),
        folder / "model.onnx",
        dynamic_shapes=shapes,
        external_data=False,
        **options,
    )
    about = {"image_processor_type": "CLIPImageProcessor", "do_resize": True, "do_center_crop": True}
    about |= {"size": {"shortest_edge": int(SIDE / settings["crop_pct"])}, "crop_size": {"height": SIDE, "width": SIDE}}
    about |= {"resample": 3, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    about |= {"image_mean": list(settings["mean"]), "image_std": list(settings["std"])}
    (folder / "preprocessor_config.json").write_text(json.dumps(about), encoding="utf-8")


if __name__ == "__main__":
    main()
