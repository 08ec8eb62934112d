"""The tables on the pages of experiments, out of the values stored beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pool_page
import stopping_tables
import vecaf_tables
import visft_tables
from stored import ROOT, lines, read

from activetune.evaluation.statistics import mean_and_spread

Seeds = Sequence[Mapping[str, Any]]


# ActiveFT -----------------------------------------------------------------------------------------------------------

ALGORITHM, DEFAULT = "Algorithm 1", "this package's default"
VARIANTS = {
    "activeft:paper": f"{ALGORITHM}: as it is",
    "activeft:paper;update=false": f"{ALGORITHM}: assignments never updated",
    "activeft:paper;balance=0": f"{ALGORITHM}: no regularisation",
    "activeft:paper;loss=contrastive": f"{ALGORITHM}: contrastive",
    **{f"activeft:paper;temperature={tau}": f"{ALGORITHM}: tau {tau}" for tau in ("0.04", "0.2", "0.5")},
    "activeft:paper;swaps=1": f"{ALGORITHM}: with swaps",
    "activeft": f"{DEFAULT}: as it is",
    "activeft:update=false": f"{DEFAULT}: assignments never updated",
    "activeft:balance=0": f"{DEFAULT}: no regularisation",
    "activeft:loss=contrastive;optimiser=adam;iterations=300": f"{DEFAULT}: contrastive (with Adam)",
    **{f"activeft:temperature={tau}": f"{DEFAULT}: tau {tau}" for tau in ("0.04", "0.2", "0.5")},
    "activeft:swaps=0": f"{DEFAULT}: without swaps",
    "activeft:power=1": f"{DEFAULT}: swaps for the EMD",
    "activeft:tail": "this package's preset for long tails",
    "random": "random",
    "k_means": "k-means",
}


def activeft() -> list[str]:
    """The ablations on Caltech-101."""
    cells = {
        (row["method"], row["budget"]): row for row in read("experiments/activeft/results/caltech101.json")["rows"]
    }
    rows = []
    for method, name in VARIANTS.items():
        told = [mean_and_spread(cells[method, k]["top1"], factor=100) for k in ("120", "300", "600")]
        emd, met = np.mean(cells[method, "300"]["emd"]), np.mean(cells[method, "120"]["classes_met"])
        rows.append([name, *told, f"{emd:.3f}", f"{met:.0f}"])
    return [lines(["", "K = 120", "K = 300", "K = 600", "EMD at 300", "classes met at 120"], rows)]


# Caltech-101 --------------------------------------------------------------------------------------------------------


def caltech101() -> list[str]:
    """Selectors under two transforms with the reference beside them, and recipes."""
    folder = "experiments/caltech101"
    stored = {name: read(f"{folder}/{file}.json")["rows"] for name, file in
              (("publisher's", "selectors"), ("squash", "selectors-squash"))}  # fmt: skip
    reference = read(f"{folder}/reference.json")["rows"]
    rows = []
    for selector in dict.fromkeys(row["selector"] for row in stored["squash"]):
        for transform, found in stored.items():
            cells = {row["budget"]: row for row in found if row["selector"] == selector}
            told = [mean_and_spread(cells[k]["top1"]) for k in (120, 300, 600)]
            rows.append([selector, transform, *told, f"{np.mean(cells[300]['emd']):.3f}"])
        if selector in reference:
            rows.append(["", "reference", *reference[selector], ""])
    recipes = [
        [f"`{row['recipe']}`", mean_and_spread(row["top1"]), f"{np.median(row['seconds']):.0f}"]
        for row in read(f"{folder}/recipes.json")["rows"]
    ]
    return [
        lines(["", "transform", "K = 120", "K = 300", "K = 600", "EMD at 300"], rows),
        lines(["recipe", "top-1", "seconds (median)"], recipes),
    ]


# FACT ---------------------------------------------------------------------------------------------------------------

RECIPES = {
    "full, random labels": "full, random labels",
    "full": "full",
    "linear_probe": "linear probe",
    "probe_then_full": "probe, then full",
    "lora": "LoRA",
    "bitfit": "BitFit",
    "fact": "**FACT**",
    "fact without phase 3": "FACT without phase 3",
    "fact: linear": "FACT, linear head",
    "fact: logistic": "FACT, logistic head",
    "fact: map": "FACT, attention pooling",
    "fact: map, brightness": "FACT, attention pooling, brightness",
    "fact: map, brightness and posterize": "FACT, attention pooling, brightness and posterize",
}
HEADS = tuple(RECIPES)[7:]  # rows fitted on the features of another one
LONG_TAIL = {
    "linear_probe": "linear probe",
    "probe_then_full": "probe, then full",
    "fact": "FACT",
    "linear_probe, adjusted": "linear probe, logits adjusted",
    "fact, balanced": "FACT, balanced classes",
    "fact, adjusted": "FACT, logits adjusted",
}
SCOPES = {"frofa": "", "cfrofa": " c", "c2frofa": " c²"}


def fact() -> list[str]:
    """Both data sets, the long tail, a ConvNeXt, FroFA on the frozen backbone, and pseudo-labels."""
    tails = [read(f"experiments/fact/results/cifar10_lt-{k}.json")["rows"] for k in (250, 500)]
    rows = [
        [name, *(told(tail[key], "balanced_accuracy") for tail in tails), seconds(tails[0][key])]
        for key, name in LONG_TAIL.items()
    ]
    return [
        recipes("caltech101", (120, 300, 600)),
        recipes("cifar10", (250, 500, 1000)),
        lines(["", "K = 250", "K = 500", "seconds at 250"], rows),
        convnext(),
        frozen(),
        pseudo_labels(),
    ]


def convnext() -> str:
    """Each recipe on the distilled ConvNeXt-Atto: top-1, balanced accuracy, and seconds."""
    rows = []
    for cell in read("experiments/fact/results/here_convnext.json")["rows"]:
        told_both = (mean_and_spread(cell[name], factor=100) for name in ("top1", "balanced_accuracy"))
        rows.append([f"`{cell['recipe']}`", *told_both, f"{np.mean(cell['train_seconds']):.0f}"])
    return lines(["", "top-1", "balanced", "seconds"], rows)


def recipes(data: str, budgets: Sequence[int]) -> str:
    """Recipes at three budgets."""
    found = [read(f"experiments/fact/results/{data}-{k}.json")["rows"] for k in budgets]
    rows = []
    for key, name in RECIPES.items():
        cells = [one.get(key) for one in found]
        if not any(cells):
            continue
        top1 = [told(cell) if cell else "" for cell in cells]
        top1 = [f"**{cell}**" for cell in top1] if name.startswith("**") else top1
        cost = ["", ""]
        if key not in HEADS:
            trained = next(cell for cell in reversed(cells) if cell)[0]["parameters"]
            cost = [" / ".join(seconds(cell) if cell else "-" for cell in cells), count(trained)]
        rows.append([name, *top1, *cost])
    return lines(["", *(f"K = {k:,}" for k in budgets), "seconds", "trained"], rows)


def told(cell: Seeds, column: str = "top1") -> str:
    return mean_and_spread([one[column] for one in cell], factor=100)


def seconds(cell: Seeds) -> str:
    return f"{np.median([one['seconds'] for one in cell]):.0f}"


def count(parameters: int) -> str:
    """Of weights, in words."""
    if parameters < 40_000:
        return f"{parameters / 1e3:.0f} thousand"
    return f"{parameters / 1e6:.{1 if parameters > 1e6 else 2}f} million"


def frozen() -> str:
    """FroFA by labels per class."""
    found, counts = read("experiments/fact/results/frofa.json")["top1"], ("1", "5", "10", "25")
    named = {"linear": "linear probe", "map": "attention pooling (MAP)",
             "brightness then posterize": "MAP, brightness c² 0.3, posterize c 4"}  # fmt: skip
    rows = []
    for key, values in found.items():
        scope, _, rest = key.partition(":")
        name = named.get(key) or f"MAP, {rest.partition(':')[0]}{SCOPES[scope]} {rest.partition(':')[2]}"
        rows.append([name, *(mean_and_spread(values[labels], factor=100) for labels in counts)])
    return lines(["", *counts], rows)


def pseudo_labels() -> str:
    """Linear heads and attention pooling by what they learn from, on frozen backbones and on those that are tuned."""
    content = read("experiments/fact/results/pseudo_labels.json")["cells"]
    columns = {
        f"{count}{suffix}": content[backbone][count]
        for backbone, suffix in (("frozen", ""), ("fact", ", tuned"))
        for count in sorted(content.get(backbone, ()), key=int)
    }
    named = {"linear": "linear", "map": "MAP", "pool": "`pool_probe`", "labels": "labels alone"}
    rows = []
    for key in content["frozen"]["5"]["top1"]:
        head, learned, *augmentation = key.split(", ")
        told = (mean_and_spread(cell["top1"][key], factor=100) for cell in columns.values())
        rows.append([", ".join([named[head], *augmentation]), named.get(learned, learned), *told])
    right = (mean_and_spread(cell["right"], factor=100) for cell in columns.values())
    return lines(["", "learns from", *columns], [*rows, ["pseudo-labels that are right", "", *right]])


# Segmentation and detection -----------------------------------------------------------------------------------------

SELECTORS = {
    "random": "random",
    "every_nth": "every n-th frame",
    "k_means": "k-means",
    "activeft": "ActiveFT",
    "free_sel": "FreeSel",
    "token_max_herding": "MaxHerding on tokens",
}
BEFOREHAND = {"random": ("35.5", "37.9", "41.1"), "every_nth": ("34.9", "36.5", "")}  # with another script


def segmentation() -> list[str]:
    """CamVid: selectors under a linear head; at 10 % under other heads and recipes too; the others by budget."""
    linear = dense("segmentation", ("here_camvid-1",), "miou", BEFOREHAND)
    others = [dense("segmentation", named(*numbers), "miou") for numbers in ((3, 6, 9), (2, 8, 10))]
    others.append(dense("segmentation", named(7, 11, 12), "miou", shared=True))
    return [linear, at_ten_percent(), *others]


def named(*numbers: int) -> list[str]:
    """The results files of some runs on CamVid."""
    return [f"here_camvid-{number}" for number in numbers]


def at_ten_percent() -> str:
    """Selectors by head and recipe, a column each, with the seconds of training below."""
    columns = {
        "linear, frozen": (1,),
        "segmenter, frozen": (2, 10),
        "linear, LoRA": (3, 6),
        "segmenter, LoRA": (7, 12),
        "linear, FACT": (4,),
    }
    found: dict[str, dict[str, Any]] = {}
    for told_as, numbers in columns.items():
        for row in (row for number in numbers for row in stored_rows("segmentation", f"here_camvid-{number}")):
            if row["budget"] == "10%":
                found.setdefault(row["method"], {})[told_as] = row
    there = [column for column in columns if any(column in cells for cells in found.values())]
    rows = []
    for method, name in SELECTORS.items():
        cells = [found.get(method, {}).get(column) for column in there]
        if len([cell for cell in cells if cell]) > 1:
            rows.append([name, *(mean_and_spread(cell["miou"], factor=100) if cell else "" for cell in cells)])
    first = {column: f"here_camvid-{columns[column][0]}" for column in there}
    measured_on = {
        column: read(f"experiments/segmentation/results/{first[column]}.json")["machine"] for column in there
    }
    spent = [
        [
            value
            for row in stored_rows("segmentation", first[column])
            if row["budget"] == "10%"
            for value in row["train_seconds"]
        ]
        if measured_on[column] == measured_on[there[0]]  # seconds of another processor compare with nothing
        else []
        for column in there
    ]
    rows.append(["seconds of training", *(f"{np.median(values):.0f}" if values else "" for values in spent)])
    return lines(["", *there], rows)


def detection() -> list[str]:
    """BCCD: selectors under a detection head that is learned from scratch."""
    return [dense("detection", ("here_bccd-1", "here_bccd-2"), score) for score in ("map", "map50")]


def stored_rows(folder: str, name: str) -> list[dict[str, Any]]:
    """The rows of a results file; none where nothing was measured yet."""
    path = f"experiments/{folder}/results/{name}.json"
    return list(read(path)["rows"]) if (ROOT / path).is_file() else []


def dense(
    folder: str,
    names: Sequence[str],
    score: str,
    beforehand: Mapping[str, Sequence[str]] | None = None,
    *,
    shared: bool = False,
) -> str:
    """Selectors by budget, with what was measured beforehand below them; seconds of training if one machine has all.

    Args:
        shared: other work ran beside them, so that their seconds compare with nothing.
    """
    stored = [row for name in names for row in stored_rows(folder, name)]
    paths = [f"experiments/{folder}/results/{name}.json" for name in names]
    timed = not shared and len({read(path)["machine"] for path in paths if (ROOT / path).is_file()}) == 1
    cells = {(row["method"], row["budget"]): row for row in stored}
    budgets = sorted({row["budget"] for row in stored}, key=lambda share: float(share.rstrip("%")))
    rows = []
    for method, told_as in SELECTORS.items():
        found = [cells.get((method, budget)) for budget in budgets]
        if not any(found):
            continue
        scores = [mean_and_spread(cell[score], factor=100) if cell else "" for cell in found]
        spent = [f"{np.median(cell['train_seconds']):.0f}" for cell in found if cell]
        rows.append([told_as, *scores, *([" / ".join(spent)] if timed else [])])
        if beforehand and method in beforehand:
            rows.append(["", *beforehand[method], *([""] if timed else [])])
    return lines(["", *(budget.replace("%", " %") for budget in budgets), *(["seconds"] if timed else [])], rows)


# What pages had told before their values were kept ------------------------------------------------------------------


def bundled_training() -> list[str]:
    """How the losses of the bundled backbone fell."""
    header = ["epoch", "px", "cosine distance", "KL", "glyphs' cross-entropy"]
    rows = read("experiments/published.json")["experiments/bundled_backbone/README.md"]["epochs"]
    return [lines(header, [[f"{e}", f"{px}", f"{c:.3f}", f"{kl:.2f}", f"{g:.2f}"] for e, px, c, kl, g in rows])]


TABLES = {
    "experiments/activeft/README.md": activeft,
    "experiments/bundled_backbone/README.md": bundled_training,
    "experiments/caltech101/README.md": caltech101,
    "experiments/detection/README.md": detection,
    "experiments/fact/README.md": fact,
    "experiments/pool/README.md": pool_page.tables,
    "experiments/segmentation/README.md": segmentation,
    "experiments/stopping/README.md": stopping_tables.tables,
    "experiments/vecaf/README.md": vecaf_tables.tables,
    "experiments/visft/README.md": visft_tables.tables,
}
