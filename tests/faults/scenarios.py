"""The stages to be killed: what is there before, and the command. Every stage that writes is here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from tests.conftest import TINY, tiny_backbone, write_digits

Prepare = Callable[[Path], None]


def _do(place: Path, *lines: str) -> None:
    """Run commands in a place, in this process: that is the warming up."""
    from activetune.cli import run

    torch.set_num_threads(1)
    os.chdir(place)
    os.environ["ACTIVETUNE_CACHE"] = str(place / "cache")
    for line in lines:
        code = run([*line.split(), "--quiet"])
        assert code == 0, line


def _pool(place: Path, count: int = 16) -> None:
    write_digits(place / "pool", count)
    (place / "pool" / "0" / "broken.png").write_bytes(b"no image")
    shutil.copyfile(tiny_backbone()[1], place / WEIGHTS)


WEIGHTS = "tiny.safetensors"
BACKBONE = f"--backbone {TINY} --weights {WEIGHTS}"
EMBED = f"embed pool --out emb --batch-size 4 --workers 0 {BACKBONE}"
FINETUNE = f"finetune pool --out model --workers 0 --recipe linear_probe --set strengths=1 {BACKBONE}"
EPOCHS = f"finetune pool --out model --workers 0 --recipe full --set epochs=2 {BACKBONE}"
SIMULATE = f"simulate pool --test 30% --methods random --budgets 4,6 --seeds 1 --workers 1 {BACKBONE}"


def _pooled(*lines: str) -> Prepare:
    def prepare(place: Path) -> None:
        _pool(place)
        _do(place, *lines)

    return prepare


def _warmed(*lines: str) -> Prepare:
    """The same, but what the lines leave is not there: they only import what they need."""

    def prepare(place: Path) -> None:
        _pool(place)
        before = set(place.iterdir())
        _do(place, *lines)
        for path in set(place.iterdir()) - before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return prepare


def _masked(*lines: str) -> Prepare:
    """The same with masks beside the images."""

    def prepare(place: Path) -> None:
        _pool(place, 8)
        (place / "pool" / "0" / "broken.png").unlink()
        for path in (place / "pool").rglob("*.png"):
            mask = place / "masks" / path.relative_to(place / "pool")
            mask.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as image:
                image.point(lambda value: int(value > 100)).save(mask)
        _do(place, *lines)

    return prepare


def taught(*lines: str) -> Prepare:
    """With masks, the same images upside down to test on, and a config of two tasks."""

    def prepare(place: Path) -> None:
        _masked()(place)
        for path in (place / "pool").rglob("*.png"):
            turned = place / "turned" / path.relative_to(place / "pool")
            turned.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as image:
                image.transpose(Image.Transpose.ROTATE_180).save(turned)
        (place / "tasks.toml").write_text(TASKS.format(TINY, WEIGHTS), encoding="utf-8")
        (place / "suite.toml").write_text(SUITE, encoding="utf-8")
        _do(place, *(lines or (VISFT.replace("--out taught", "--out other"),)))

    return prepare


def _rejects_gone(place: Path) -> None:
    """Predictions with a list of rejects, of a pool that has none any more."""
    _pooled(FINETUNE, "predict model pool --out p.csv --workers 0")(place)
    (place / "pool" / "0" / "broken.png").unlink()


RECIPES = {  # with the settings that keep them short
    "fact": "epochs=1 trials=2 views=1 head_steps=3 head_batch=8",
    "lora": "epochs=2",
    "pool_probe": "strengths=1",
    "vecaf": "batches=2 loops=2 measurements=1 batch_size=6 budget=6 warm_up=selected",
}


def _by(recipe: str, settings: str) -> tuple[str, Prepare]:
    """A recipe's command, and the place before it."""
    options = " ".join(f"--set {one}" for one in settings.split())
    line = f"finetune pool --out model --workers 0 --recipe {recipe} {options} {BACKBONE}"
    return line, _warmed(line)


NEXT = f"next project --pool pool --budget 6 --workers 0 {BACKBONE}"
EXPORT_MODEL = "export-model model --to torch-export --out exported"
PREDICT = "predict model pool --out p.csv --workers 0"
MASKS = f"{FINETUNE.replace('strengths=1', 'head_steps=2')} --task segmentation --labels masks"
PREDICT_MASKS = "predict model pool --out found --draw drawn --workers 0"
VISFT = "visft tasks.toml --out taught --workers 0"
TASKS = """
save_every = 1
stage1_steps = 2
steps = 2
rank = 2
backbone = "{}"
weights = "{}"
[[tasks]]
task = "classification"
pool = "pool"
weight = 1
[[tasks]]
task = "segmentation"
pool = "pool"
labels = "masks"
weight = 1
"""
MERGE = f"merge taught/lora --out merged {BACKBONE}"
COMPARE = f"compare {TINY} taught --suite suite.toml --weights {WEIGHTS} --out compared --workers 0"
SUITE = """
[[probes]]
probe = "classification"
pool = "pool"
test = "turned"
shots = [1]
repeats = 1
"""
CHECK = "check pool --out checked --workers 0"
CORRUPT = "corrupt pool --kinds fog,contrast --severity 1 --out shifts --workers 0"
SCENARIOS: dict[str, tuple[list[str], Prepare]] = {
    name: (line.split(), prepare)
    for name, line, prepare in (
        ("embed", f"{EMBED} --no-cache", _warmed(EMBED)),
        ("embed_filling_the_cache", EMBED, _warmed(EMBED)),
        ("embed_from_the_cache", EMBED, _pooled(EMBED.replace("emb ", "other "))),
        ("embed_over_another", f"{EMBED} --no-cache --overwrite", _pooled(f"{EMBED} --no-cache --dtype float32")),
        ("select", "select emb --budget 3 --method k_center --out sel", _pooled(EMBED)),
        (
            "select_over_another",
            "select emb --budget 3 --method k_center --out sel --overwrite",
            _pooled(EMBED, "select emb --budget 5 --method random --out sel"),
        ),
        ("finetune", FINETUNE, _warmed(FINETUNE)),
        ("finetune_over_another", f"{FINETUNE} --overwrite", _pooled(f"{FINETUNE} --seed 5")),
        (
            "finetune_epochs",
            EPOCHS,
            _warmed(EPOCHS.replace("epochs=2", "epochs=1")),
        ),
        *((f"finetune_{recipe}", *_by(recipe, settings)) for recipe, settings in RECIPES.items()),
        ("export_model", EXPORT_MODEL, _pooled(FINETUNE)),
        ("next", NEXT, _warmed(NEXT)),
        ("evaluate", "evaluate model pool --workers 0", _pooled(FINETUNE)),
        ("predict", PREDICT, _pooled(FINETUNE)),
        ("predict_over_another", f"{PREDICT} --overwrite", _rejects_gone),
        ("finetune_masks", MASKS, _masked(MASKS.replace("--out model", "--out other"))),
        ("predict_masks", PREDICT_MASKS, _masked(MASKS)),
        ("predict_masks_over_another", f"{PREDICT_MASKS} --overwrite", _masked(MASKS, f"{PREDICT_MASKS}")),
        ("visft", VISFT, taught()),
        ("visft_over_another", f"{VISFT} --overwrite", taught(f"{VISFT} --seed 3")),
        ("merge", MERGE, taught(VISFT)),
        ("compare", COMPARE, taught(VISFT)),
        ("check", CHECK, _warmed(CHECK)),
        ("caption", "caption pool --out c.csv", _pooled()),
        ("corrupt", CORRUPT, _warmed(CORRUPT)),
        ("corrupt_over_another", f"{CORRUPT} --overwrite", _pooled(f"{CORRUPT} --seed 3")),
        ("evaluate_shifts", "evaluate model shifts --workers 0", _pooled(FINETUNE, CORRUPT)),
        ("simulate", f"{SIMULATE} --out sim", _warmed(f"{SIMULATE} --out sim")),
        ("simulate_per_seed", f"{SIMULATE} --splits per-seed --out sim", _warmed(f"{SIMULATE} --out sim")),
        (  # of another test set: --resume would go on with one that differs by its seed
            "simulate_over_another",
            f"{SIMULATE} --out sim --overwrite",
            _pooled(f"{SIMULATE.replace('30%', '50%')} --out sim"),
        ),
        ("report", "report sim --overwrite", _pooled(f"{SIMULATE} --out sim")),
    )
}
