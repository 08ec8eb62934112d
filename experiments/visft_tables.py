"""The tables of the ViSFT experiment, from its results files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from stored import ROOT, lines, read

from activetune.evaluation.metrics import scale_of
from activetune.evaluation.statistics import mean_and_spread

FOLDER = "experiments/visft/results"
SURE = 0.05  # p after Holm's correction
TASKS = {"detection": "detection, mAP", "segmentation": "segmentation, mIoU", "captioning": "captions, CIDEr-D"}
TASKS |= {"multilabel": "names, mAP"}
ARMS = ("joint", "permuted", "random heads", "tags")
PAIRS = {
    "joint - frozen": "frozen -> joint",
    "- permuted": "permuted -> joint",
    "- random additions": "random additions -> joint",
    "- random heads": "random heads -> joint",
    "tags - frozen": "frozen -> tags",
}
AGAINST = ("frozen -> joint", "permuted -> joint", "random heads -> joint", "random additions -> joint")


def stored(kind: str) -> list[dict[str, Any]]:
    """The results files of a kind, one for each seed that was measured."""
    return [read(f"{FOLDER}/{path.name}") for path in sorted((ROOT / FOLDER).glob(f"{kind}-*.json"))]


def tables() -> list[str]:
    """Doses; what the tasks gain themselves; other questions; cheap labels as teachers; what a stage costs."""
    return [doses(), in_domain(), elsewhere(), lever(), cost()]


def doses() -> str:
    """The joint arm at three doses, on images that it was not trained on."""
    rows = []
    for row in read(f"{FOLDER}/doses.json")["rows"]:
        told = [_change(task, row["in_domain"][task]) for task in TASKS if task in row["in_domain"]]
        moved = f"{100 * row['weight_drift']:.1f} %"
        rows.append([f"{row['lr']:g}", *told, moved, f"{row['feature_cosine']['pooled']:.3f}"])
    return lines(["learning rate", *(TASKS[task] for task in list(TASKS)[:3]), "‖ΔW‖ / ‖W‖", "cosine"], rows)


def _change(task: str, scores: dict[str, Any]) -> str:
    """A task's score by the frozen backbone, and by the one that stage 2 made."""
    (name, before), (_, after) = (next(iter(scores[side].items())) for side in ("frozen", "joint"))
    scale = scale_of(name)
    digits = 1 + scale.digits
    return f"{scale.factor * before:.{digits}f} to {scale.factor * after:.{digits}f}"


def in_domain() -> str:
    """What stage 2 changes for its own tasks, by arm, seed by seed."""
    rows = []
    for arm in ARMS:
        told = [one["arms"][arm] for one in stored("arms")]
        cells = [
            ", ".join(_change(task, one["in_domain"][task]) for one in told) if task in told[0]["in_domain"] else ""
            for task in TASKS
        ]
        drift = ", ".join(f"{100 * one['weight_drift']:.0f} %" for one in told)
        rows.append([arm, *cells, drift, ", ".join(f"{one['feature_cosine']['pooled']:.2f}" for one in told)])
    return lines(["", *TASKS.values(), "‖ΔW‖ / ‖W‖", "cosine"], rows)


def rows_of(pair: str) -> Iterator[list[dict[str, Any]]]:
    """A pair's rows, each with those of all seeds."""
    seeds = [one["pairs"][pair] for one in stored("compared")]
    for same in zip(*seeds, strict=True):
        assert len({(row["probe"], _question(row["what"]), row["metric"]) for row in same}) == 1
        yield list(same)


def _question(what: str) -> str:
    """What is asked, without the number of classes that a seed's draw has left."""
    return re.sub(r"\d+ classes of", "classes of", what)


def elsewhere() -> str:
    """What joint has more than each other arm on other questions: mean over seeds, and how many are beyond chance."""
    columns = {told: list(rows_of(pair)) for told, pair in PAIRS.items()}
    rows = []
    for number, same in enumerate(columns["joint - frozen"]):
        name = f"{same[0]['probe']}: {_question(same[0]['what']).replace(', class token', '')}, {same[0]['metric']}"
        if "mean of tokens" not in name:
            rows.append(
                [
                    name,
                    f"{100 * np.mean([row['a'] for row in same]):.1f}",
                    *(_gain(column[number]) for column in columns.values()),
                ]
            )
    return lines(["", "frozen", *PAIRS], rows)


def _gain(same: list[dict[str, Any]]) -> str:
    """``+0.7`` points, with a ``*`` for each seed whose interval leaves out zero after Holm's correction."""
    gains = [100 * (row["b"] - row["a"]) for row in same]
    return f"{np.mean(gains):+.1f}" + "\\*" * sum(row["p_holm"] < SURE for row in same)


def supported() -> list[str]:
    """The rows in which the claim holds: joint above all four others, beyond chance, in two of three seeds at least."""
    pairs = [list(rows_of(pair)) for pair in AGAINST]
    seeds = len(stored("compared"))
    found = []
    for number, same in enumerate(pairs[0]):
        held = [
            all(
                pair[number][seed]["b"] > pair[number][seed]["a"] and pair[number][seed]["p_holm"] < SURE
                for pair in pairs
            )
            for seed in range(seeds)
        ]
        if sum(held) >= max(2, -(-2 * seeds // 3)):
            found.append(f"{same[0]['probe']}: {same[0]['what']}")
    return found


def lever_gains() -> dict[tuple[str, str, str, str], list[tuple[float, float]]]:
    """Points by the backbone as it came and by a taught one, seed by seed, by question, budget, method and teacher."""
    found: dict[tuple[str, str, str, str], list[tuple[float, float]]] = {}
    for one in stored("lever"):
        scores = {
            (row["question"], row["budget"], row["method"], row["taught"]): 100 * row.get("map", row.get("miou"))
            for row in one["rows"]
        }
        for (question, budget, method, taught), score in scores.items():
            if taught != "nothing":
                before = scores[question, budget, method, "nothing"]
                found.setdefault((question, budget, method, taught), []).append((before, score))
    return found


def lever() -> str:
    """What a backbone that a pool's cheap labels have taught does for select and finetune on that pool."""
    gains = lever_gains()
    teachers = list(dict.fromkeys(taught for *_, taught in gains))
    rows = []
    for question, budget, method in dict.fromkeys(key[:3] for key in gains):
        told = [gains.get((question, budget, method, taught), []) for taught in teachers]
        before = [pair[0] for pair in next(pairs for pairs in told if pairs)]
        cells = [
            mean_and_spread([after - start for start, after in pairs], sign=True) if pairs else "" for pairs in told
        ]
        rows.append([f"{question}, {budget}, {method}", mean_and_spread(before), *cells])
    return lines(["", "as it came", *(f"taught by {taught}" for taught in teachers)], rows)


def cost() -> str:
    """Seconds and peak memory of the stages, medians over the runs."""
    heads = [one["heads"] for one in stored("arms")]
    alone = [row["stage2"] for row in read(f"{FOLDER}/doses.json")["rows"]]
    rows = [
        [
            f"stage 1, {task}",
            _median([one[task]["seconds"] for one in heads]),
            _median([one[task]["peak_memory_mb"] for one in heads]),
        ]
        for task in ("detection", "segmentation", "captioning")
    ]
    rows.append(["stage 2", *(_median([one[name] for one in alone]) for name in ("seconds", "peak_memory_mb"))])
    return lines(["", "seconds", "MB"], rows)


def _median(values: list[float]) -> str:
    return f"{np.median(values):,.0f}"
