"""ViSFT on 412 COCO images: does joint supervised finetuning make a backbone better, and by what?

python experiments/visft/run.py --data DIR --weights DIR --dose      # doses of the joint arm, in-domain validation
python experiments/visft/run.py --data DIR --weights DIR --seed 0    # all arms at the chosen dose, asked by suite.toml

DIR holds ``coco_small.zip``, ``caltech101.zip``, ``camvid.zip``, ``bccd.zip`` and ``cifar10/``. Three fifths of the
COCO images are trained on; the probes ask about the others. Arms have the same steps, rank, optimiser, and seeds:

- ``frozen``: the backbone as it came.
- ``joint``: detection, segmentation and captioning (weights 0.3, 0.3, 0.4), heads from stage 1.
- ``permuted``: the same with the answers shuffled across images: what is left is drift and the statistics of answers.
- ``random heads``: stage 2 under heads at their random start.
- ``random additions``: no training; additions at random, of each layer's ‖ΔW‖ in the joint arm.
- ``tags``: one task, the names of the classes that an image shows: from the same boxes.

The claim, fixed before anything was measured: "joint supervised finetuning makes this backbone better on P" is
supported where joint beats the frozen backbone, and the permuted, random-heads and random-additions arms, each beyond
the paired interval after Holm's correction, in at least two of three seeds.

A run that was cut off goes on where it was, and seeds may run beside each other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine

import activetune
from activetune.base.run import Run
from activetune.base.runtime import resolve_runtime
from activetune.data.kinds import ArrayMask, Boxes, Mask
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.networks.adapters import read_additions
from activetune.networks.backbones import load_backbone, save_backbone
from activetune.studies.compare.compare import read_suite
from activetune.studies.compare.sampled import Sampled, draws_for, holm, paired
from activetune.studies.compare.side import Side
from activetune.tasks import make_task

HERE = Path(__file__).parent
RESULTS = HERE / "results"
BACKBONE, WEIGHTS = "timm/vit_tiny_patch16_224", "vit_tiny_patch16_224.safetensors"
TASKS = {"detection": ("fcos", 0.3), "segmentation": ("linear", 0.3), "captioning": ("transformer", 0.4)}
STEPS = {"stage1_steps": 600, "steps": 300, "save_every": 50, "rank": 16}
DOSES = [(1e-4, 16), (1e-3, 16), (4e-3, 16)]  # with Adam, what moves the weights is the product
HELD = 0.4  # of COCO's images, which no stage sees
ARMS = ("joint", "permuted", "random heads", "random additions", "tags")


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--dose", action="store_true", help="try the doses of the joint arm, and nothing else")
    parser.add_argument("--stage-1", action="store_true", help="train the heads that need no dose, and nothing else")
    options = parser.parse_args()
    prepare(options.data, options.out / "data")
    arms = Arms(options.out, str(options.weights / WEIGHTS))
    if options.dose:
        keep("doses", {"rows": [arms.dose(lr, alpha) for lr, alpha in DOSES]})
    elif options.stage_1:
        arms.heads(options.seed)
    else:
        measure(arms, options.seed)


def options_of(about: str) -> argparse.ArgumentParser:
    """The options of both scripts: where things are, and the seed.

    Args:
        about: the script's docstring.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--out", type=Path, default=Path("build/visft"))
    parser.add_argument("--seed", type=int, default=0)
    return parser


def measure(arms: Arms, seed: int) -> None:
    """All arms of a seed, what each was trained to, and joint against each other one."""
    dose = best_dose()
    folders = {arm: arms.made(arm, seed, dose) for arm in ARMS}
    told = {arm: figures(folder) for arm, folder in folders.items() if arm != "random additions"}
    heads = figures(Path(arms.heads(seed)))["stage1"]
    keep(f"arms-{seed}", {"seed": seed, "dose": dose, "heads": heads, "arms": told})
    sides = {"frozen": (BACKBONE, arms.weights)} | {arm: (str(folder), None) for arm, folder in folders.items()}
    found = asked(sides, suite(arms.out / "data"), arms.out / f"asked-{seed}", seed)
    pairs = [(other, "joint") for other in sides if other != "joint"] + [("frozen", "permuted"), ("frozen", "tags")]
    keep(f"compared-{seed}", {"seed": seed, "pairs": {f"{a} -> {b}": pair(found, a, b, seed) for a, b in pairs}})


def asked(
    sides: Mapping[str, tuple[str, str | None]], probes: Mapping[str, Any], work: Path, seed: int
) -> dict[str, dict[tuple[str, str, str], Sampled]]:
    """What each backbone answers: a figure with its items by (probe, what, metric). A probe asks two at a time."""
    run = Run(seed=seed, workers=0)
    runtime = resolve_runtime(run.device, run.precision)
    opened = {
        name: Side(given, weights, runtime, run, work / name.replace(" ", "-"))
        for name, (given, weights) in sides.items()
    }
    found: dict[str, dict[tuple[str, str, str], Sampled]] = {name: {} for name in sides}
    names = list(sides)
    for name, _, probe in read_suite(probes):
        for two in zip(names[::2], names[1::2], strict=True):
            print(f"{name}: {' and '.join(two)}", flush=True)
            for row in probe.rows(opened[two[0]], opened[two[1]], seed):
                for side, figure in zip(two, row.sides, strict=True):
                    found[side][name, row.what, row.metric] = figure
    return found


def pair(
    found: Mapping[str, Mapping[tuple[str, str, str], Sampled]], a: str, b: str, seed: int
) -> list[dict[str, Any]]:
    """Every figure of two backbones as ``compare`` tells it: difference, interval, and p corrected for all rows."""
    draws = draws_for(len(found[a]))
    told = {key: paired(figure, found[b][key], seed=seed, draws=draws) for key, figure in found[a].items()}
    corrected = holm([one.p for one in told.values()])
    return [
        {
            **dict(zip(("probe", "what", "metric"), key, strict=True)),
            **{"n": one.n, "a": one.a, "b": one.b, "low": one.interval[0], "high": one.interval[1]},
            **{"p": one.p, "p_holm": p},
        }
        for (key, one), p in zip(told.items(), corrected, strict=True)
    ]


class Arms:
    """The runs of the experiment, each in a folder of its own that is gone on with."""

    def __init__(self, out: Path, weights: str):
        self.out, self.weights, self.pool = out, weights, activetune.open_pool(out / "data/coco/images", quiet=True)
        files = {"captioning": "captions.json"}
        self.labels = {
            task: make_task(task).labels_of(
                out / "data/coco" / files.get(task, "instances.json"), self.pool, quiet=True
            )
            for task in (*TASKS, "multilabel")
        }

    def dose(self, lr: float, alpha: int) -> dict[str, Any]:
        """The joint arm at a dose: scores on the images that no stage was trained on."""
        found = self._visft(f"dose-{lr:g}-{alpha}", 0, lr, alpha, heads=self.heads(0))
        return {"lr": lr, "alpha": alpha, **figures(found)}

    def made(self, arm: str, seed: int, dose: Mapping[str, float]) -> Path:
        """The folder of an arm's backbone."""
        lr, alpha = dose["lr"], int(dose["alpha"])
        if arm == "joint":
            return self._visft(f"joint-{seed}", seed, lr, alpha, heads=self.heads(seed))
        if arm == "permuted":
            return self._visft(
                f"permuted-{seed}",
                seed,
                lr,
                alpha,
                labels={t: permuted(self.labels[t], self.pool, seed) for t in TASKS},
            )
        if arm == "random heads":
            return self._visft(f"random-heads-{seed}", seed, lr, alpha, stage1_steps=0)
        if arm == "tags":
            tags = {"multilabel": ("linear", 1.0)}
            return self._visft(f"tags-{seed}", seed, lr, alpha, tasks=tags)
        return self._random_additions(seed)

    def heads(self, seed: int) -> str:
        """Stage 1 of the joint arm, once for all runs of a seed; its own stage 2 is one step."""
        return str(self._visft(f"heads-{seed}", seed, 1e-6, 1, steps=1))

    def _visft(
        self,
        name: str,
        seed: int,
        lr: float,
        alpha: int,
        *,
        tasks: Mapping[str, tuple[str, float]] = TASKS,
        labels: Mapping[str, Labels] | None = None,
        heads: str | None = None,
        **more: Any,
    ) -> Path:
        every = {**self.labels, **(labels or {})}
        listed = [
            {"task": task, "pool": self.pool, "labels": every[task], "head": head, "weight": weight}
            for task, (head, weight) in tasks.items()
        ]
        config = {
            "backbone": BACKBONE,
            "weights": self.weights,
            **STEPS,
            "lr": lr,
            "alpha": alpha,
            "tasks": listed,
            **more,
        }
        config |= {} if heads is None else {"heads": heads}
        return activetune.visft(config, out=self.out / name, seed=seed, resume=True).folder

    def _random_additions(self, seed: int) -> Path:
        """The pretrained backbone with additions at random: of the joint arm's rank, and of its norm in each layer."""
        folder = self.out / f"random-additions-{seed}"
        if (folder / "config.json").is_file():
            return folder
        backbone = load_backbone(BACKBONE, self.weights)
        generator = torch.Generator().manual_seed(seed)
        state = dict(backbone.network.named_parameters())
        with torch.no_grad():
            for layer, addition in read_additions(self.out / f"joint-{seed}" / "lora").layers.items():
                change = addition.product
                size = len(change) // 3
                drawn = torch.zeros_like(change)
                for part in (0, 2):  # queries and values
                    raised, lowered = (
                        torch.randn(shape, generator=generator)
                        for shape in ((size, STEPS["rank"]), (STEPS["rank"], change.shape[1]))
                    )
                    product = raised @ lowered
                    rows = slice(part * size, (part + 1) * size)
                    drawn[rows] = product * (change[rows].norm() / product.norm())
                state[f"{layer}.weight"] += drawn
        folder.mkdir(parents=True, exist_ok=True)
        save_backbone(backbone, folder)
        return folder


def permuted(labels: Labels[Any], pool: Pool, seed: int) -> Labels[Any]:
    """The answers of other images, stretched to the size of those that they are given to."""
    order = np.random.default_rng([seed, 7]).permutation(len(labels)).tolist()
    sizes = [pool.size(pool.position[item]) for item in labels.ids]
    answers = [stretched(labels.answers[row], sizes[row], size) for row, size in zip(order, sizes, strict=True)]
    return Labels(list(labels.ids), answers, list(labels.classes))


def stretched(answer: Any, old: tuple[int, int], new: tuple[int, int]) -> Any:
    """Boxes and masks of an image of the old size (height, width) in one of the new size; sentences as they are."""
    if isinstance(answer, Boxes):
        scale = np.asarray([new[1] / old[1], new[0] / old[0]] * 2, dtype=np.float32)
        return Boxes(answer.xyxy_K4 * scale, answer.names, answer.crowd_K)
    if isinstance(answer, Mask):
        rows, columns = (np.arange(after) * before // after for before, after in zip(old, new, strict=True))
        return ArrayMask(answer.pixels()[np.ix_(rows, columns)])
    return answer


def suite(data: Path) -> dict[str, Any]:
    """``suite.toml`` with its paths below the data."""
    content = tomllib.loads((HERE / "suite.toml").read_text(encoding="utf-8"))
    for probe in content["probes"]:
        for name in ("pool", "test", "labels", "test_labels"):
            if name in probe and not probe[name].endswith("%"):
                probe[name] = str(data / probe[name])
    return dict(content)


def figures(folder: Path) -> dict[str, Any]:
    """What a run tells of itself."""
    found = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["figures"]
    return {name: found[name] for name in ("in_domain", "weight_drift", "feature_cosine", "stage1", "stage2")}


def best_dose() -> dict[str, float]:
    """By in-domain validation alone: the dose with the highest mean gain of the tasks' scores, relative to frozen."""
    rows = json.loads((RESULTS / "doses.json").read_text(encoding="utf-8"))["rows"]

    def gain(row: Mapping[str, Any]) -> float:
        pairs = [
            (next(iter(one["frozen"].values())), next(iter(one["joint"].values()))) for one in row["in_domain"].values()
        ]
        return float(np.mean([(after - before) / max(before, 1e-3) for before, after in pairs]))

    best = max(rows, key=gain)
    return {"lr": best["lr"], "alpha": best["alpha"]}


def keep(name: str, content: Mapping[str, Any]) -> None:
    """Write a results file."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({**machine(), **content}, indent=1) + "\n", encoding="utf-8")


def prepare(data: Path, out: Path) -> None:
    """The data sets as the suite names them; COCO in two parts, of which one is never trained on."""
    if not (out / "coco_held").is_dir():
        with zipfile.ZipFile(data / "coco_small.zip") as archive:
            divide(archive, out)
    if not (out / "caltech101").is_dir():
        with zipfile.ZipFile(data / "caltech101.zip") as archive:
            archive.extractall(out)
    for room, name in (("segmentation", "camvid"), ("detection", "bccd")):
        if not (out / name).is_dir():
            script = Path(__file__).parents[1] / room / "pools.py"
            subprocess.run([sys.executable, str(script), "--data", str(data), "--out", str(out)], check=True)
    if not (out / "cifar10").exists():
        (out / "cifar10").symlink_to((data / "cifar10").resolve())


def divide(archive: zipfile.ZipFile, out: Path) -> None:
    """COCO's images and annotations, by their names: to be trained on (``coco``), to be asked about (``coco_held``)."""
    names = [name for name in archive.namelist() if name.startswith("images/") and not name.endswith("/")]
    held = {name for name in names if int(blake2b(name.encode(), digest_size=4).hexdigest(), 16) / 2**32 < HELD}
    for room, of_room in (("coco", set(names) - held), ("coco_held", held)):
        (out / room / "images").mkdir(parents=True, exist_ok=True)
        for name in sorted(of_room):
            (out / room / name).write_bytes(archive.read(name))
        for file in ("instances.json", "captions.json"):
            content = json.loads(archive.read(file))
            content["images"] = [one for one in content["images"] if one["file_name"] in of_room]
            kept = {one["id"] for one in content["images"]}
            content["annotations"] = [one for one in content["annotations"] if one["image_id"] in kept]
            (out / room / file).write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()
