"""The lever turned round: labels of a pool that cost little teach the backbone; do select and finetune gain from it?

python experiments/visft/lever.py --data DIR --weights DIR --seed 0      # after run.py --dose

All images of the pool have cheap labels: the names of what they show, or captions. ViSFT teaches the backbone by
these, at the dose that ``run.py`` has chosen. Then a few images get the answers that cost more, picked and learned from
on that backbone and on the one as it came. The images that are scored took no part in either. Each seed teaches, picks
and learns anew.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from run import BACKBONE, STEPS, WEIGHTS, best_dose, keep, options_of, prepare

import activetune
from activetune.data.kinds import Mask, Names
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.tasks import make_task

CHEAP = {  # what teaches the backbone: task and head of each lesson
    "names": {"multilabel": "linear"},
    "captions": {"captioning": "transformer"},
    "names and captions": {"multilabel": "linear", "captioning": "transformer"},
}


@dataclass(frozen=True)
class Question:
    """What a few images are labelled for.

    Attributes:
        taught: by which cheap labels. size: of the images that heads learn from.
    """

    task: str
    pool: str
    labels: str
    test: str
    test_labels: str
    budgets: str
    taught: tuple[str, ...]
    methods: str = "random,activeft"
    size: str = ""


COCO = ("coco/images", "coco/instances.json", "coco_held/images", "coco_held/instances.json")
CAMVID = ("camvid/train/images", "camvid/train/masks", "camvid/test/images", "camvid/test/masks")
QUESTIONS = {
    "COCO, names": Question("multilabel", *COCO, "10%,25%", ("captions",)),
    "COCO, masks": Question("segmentation", *COCO, "25%", tuple(CHEAP)),
    "CamVid, masks": Question(
        "segmentation", *CAMVID, "5%,10%", ("names",), methods="random,every_nth,activeft", size="@352x464"
    ),
}


def main() -> None:
    options = options_of(__doc__).parse_args()
    prepare(options.data, options.out / "data")
    weights, rows = str(options.weights / WEIGHTS), []
    for name, question in QUESTIONS.items():
        for taught in ("nothing", *question.taught):
            backbone: tuple[str, str | None] = (BACKBONE, weights)
            if taught != "nothing":
                backbone = (str(_taught(question, taught, weights, options.out, options.seed)), None)
            for row in _measured(name, question, taught, backbone, options.out, options.seed):
                rows.append({"question": name, "taught": taught, **row})
                print(rows[-1], flush=True)
    keep(f"lever-{options.seed}", {"seed": options.seed, "dose": best_dose(), "rows": rows})


def _taught(question: Question, taught: str, weights: str, out: Path, seed: int) -> Path:
    """The backbone after ViSFT on the pool's cheap labels."""
    pool = activetune.open_pool(out / "data" / question.pool, quiet=True)
    tasks = [
        {"task": task, "pool": pool, "labels": _cheap(task, question, pool, out / "data"), "head": head, "weight": 1.0}
        for task, head in CHEAP[taught].items()
    ]
    dose = best_dose()
    config = {"backbone": BACKBONE, "weights": weights, **STEPS, **dose, "alpha": int(dose["alpha"]), "tasks": tasks}
    name = f"lever-{question.pool.partition('/')[0]}-{taught.replace(' ', '-')}-{seed}"
    return activetune.visft(config, out=out / name, seed=seed, resume=True).folder


def _cheap(task: str, question: Question, pool: Pool, data: Path) -> Labels[Any]:
    """Captions, or the names of the classes that an image shows, where they have to be told from its masks."""
    if task == "captioning":
        return make_task(task).labels_of(data / question.labels.replace("instances", "captions"), pool, quiet=True)
    if question.labels.endswith(".json"):
        return make_task(task).labels_of(data / question.labels, pool, quiet=True)
    masks: Labels[Mask] = make_task("segmentation").labels_of(data / question.labels, pool, quiet=True)
    shown = [np.unique(mask.pixels()) for mask in masks.answers]
    names = [Names.of([masks.classes[number] for number in one.tolist() if number >= 0]) for one in shown]
    return Labels(list(masks.ids), names, list(masks.classes))


def _measured(
    name: str, question: Question, taught: str, backbone: tuple[str, str | None], out: Path, seed: int
) -> list[dict[str, Any]]:
    """The primary score of each method and budget."""
    data = out / "data"
    folder = out / f"lever-{name}-{taught}-{seed}".replace(",", "").replace(" ", "-")
    activetune.simulate(
        data / question.pool,
        test=data / question.test,
        task=question.task,
        labels=data / question.labels,
        test_labels=data / question.test_labels,
        methods=question.methods,
        budgets=question.budgets.split(","),
        recipes="linear_probe",
        seeds=1,
        seed=seed,
        backbone=backbone[0] + question.size,
        weights=backbone[1],
        out=folder,
        resume=True,
    )
    score = {"multilabel": "map", "segmentation": "miou"}[question.task]
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return [
            {"method": row["method"], "budget": row["budget"], score: float(row[score])} for row in csv.DictReader(file)
        ]


if __name__ == "__main__":
    main()
