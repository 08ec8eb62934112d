"""Photos of 12 megapixels: `embed` with JPEGs decoded at the size that is enough, and with all of their pixels.

python benchmarks/photos.py --images FOLDER [--photos 40] [--backbone bundled] [--weights FILE]

Images of FOLDER are brought to 4000 x 3000 pixels and get a sensor's noise, so that a photo takes some 4 MB. Both ways
embed the same photos in turn, decoding in the process itself; what counts is processor time, which other work on the
machine disturbs least. The parts of an image's way are timed by themselves, too: reading, its digest, decoding,
preparing, and the model; their sum is what `embed` can't be faster than. The least that decoding a JPEG can take is
that at an eighth of its size: all of its coefficients are unpacked, and hardly any pixels are made.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import keep_row

import activetune
from activetune.base.runtime import limited_threads, resolve_runtime
from activetune.data.identity import content_digest
from activetune.data.images import decode_image
from activetune.features.embedding import EmbedOptions, embed
from activetune.networks.backbones import Backbone

SIZE, QUALITY = (4000, 3000), 92
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="a folder of images that photos are made of")
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--noise", type=int, default=7, help="of a sensor, of 255; 0: smooth photos, which unpack fast")
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the photos are kept; default: a temporary one")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, limited_threads(1):
        folder = options.folder or Path(temporary)
        paths = make_photos(sorted(options.images.rglob("*.jpg"))[: options.photos], folder, options.noise)
        backbone = activetune.load_backbone(options.backbone, options.weights)
        row: Row = {"backbone": options.backbone, "noise": options.noise, "photos": len(paths)}
        row["megabytes"] = round(statistics.mean(path.stat().st_size for path in paths) / 1e6, 2)
        row["enough"] = backbone.settings.enough
        embedded(folder, backbone, True)  # what a process does once
        rounds = [(embedded(folder, backbone, True), embedded(folder, backbone, False)) for _ in range(options.rounds)]
        row["parts_ms"] = parts(paths, backbone)
    for place, way in enumerate(("enough", "whole")):
        row[f"{way}_ms"] = round(1000 * statistics.median(one[place][0] for one in rounds) / len(paths), 1)
    row["times"] = round(statistics.median(whole / enough for (enough, _), (whole, _) in rounds), 1)
    row["least_cosine"] = round(least_cosine(rounds[0][0][1], rounds[0][1][1]), 5)
    print(json.dumps(row))
    keep_row(options.out, row, ("backbone", "noise"))


def make_photos(images: Sequence[Path], folder: Path, noise: int) -> list[Path]:
    """Write the photos that a folder lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, source in enumerate(images):
        path = folder / f"{number:03d}.jpg"
        paths.append(path)
        if path.exists():
            continue
        with Image.open(source) as image:
            large = np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC), dtype=np.int16)
        grain = np.random.default_rng(number).integers(-noise, noise + 1, (*large.shape[:2], 1), dtype=np.int16)
        Image.fromarray((large + grain).clip(0, 255).astype(np.uint8)).save(path, "JPEG", quality=QUALITY)
    return paths


def embedded(folder: Path, backbone: Backbone, enough: bool) -> tuple[float, np.ndarray]:
    """Processor seconds of embedding the photos, and their features; ``enough``: as it is, else with all pixels."""
    whole = mock.patch("activetune.data.loading.decode_image", lambda encoded, about=0: decode_image(encoded))
    with tempfile.TemporaryDirectory() as out, contextlib.nullcontext() if enough else whole:
        started = time.process_time()
        found = embed(folder, backbone=backbone, out=out, options=EmbedOptions(workers=0), use_cache=False, quiet=True)
        return time.process_time() - started, np.array(found.features_ND, dtype=np.float32)


def least_cosine(one_ND: np.ndarray, other_ND: np.ndarray) -> float:
    """The least similarity of a photo's two features."""
    lengths_N = np.linalg.norm(one_ND, axis=1) * np.linalg.norm(other_ND, axis=1)
    return float(((one_ND * other_ND).sum(axis=1) / lengths_N).min())


def parts(paths: Sequence[Path], backbone: Backbone) -> Row:
    """Processor milliseconds per photo of each part of its way."""
    encoded = [path.read_bytes() for path in paths]
    about = backbone.settings.enough
    enough = [decode_image(one, about=about) for one in encoded]
    batch = torch.stack([backbone.prepare(image) for image in enough[:32]])
    runtime = resolve_runtime("cpu")
    backbone.to(runtime.device)
    with torch.inference_mode(), runtime.autocast():
        backbone(batch)
        return {
            "reading": spent(lambda: [path.read_bytes() for path in paths], len(paths)),
            "digest": spent(lambda: [content_digest(one) for one in encoded], len(paths)),
            "decoding, enough": spent(lambda: [decode_image(one, about=about) for one in encoded], len(paths)),
            "decoding, an eighth": spent(lambda: [decode_image(one, about=1) for one in encoded], len(paths)),
            "decoding, whole": spent(lambda: [decode_image(one) for one in encoded[:8]], len(encoded[:8])),
            "preparing": spent(lambda: [backbone.prepare(image) for image in enough], len(paths)),
            "model": spent(lambda: backbone(batch), len(batch)),
        }


def spent(work: Callable[[], object], count: int) -> float:
    started = time.process_time()
    work()
    return round(1000 * (time.process_time() - started) / count, 2)


if __name__ == "__main__":
    main()
