"""The tables of ``experiments/vecaf/README.md``, out of the values in its folder ``results``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
from stored import ROOT, lines, read

from activetune.evaluation.statistics import mean_and_spread

RESULTS = "experiments/vecaf/results"
EVERYTHING = "all"  # the selection that is none
SCORED = 96  # items that cost as much as a batch of 32: a forward pass is a third of a training step
POOLS = {
    "Caltech-101": ("here_caltech101", "here_loops"),
    "CIFAR-10": ("here_cifar10", "here_shift"),
}
USUAL = {  # settings that all runs of a pool have; others tell them apart
    *("lr=0.005", "lr=0.0025", "validation=0.05", "batch_size=32", "batches=150", "batches=144"),
    *("score_share=0.25", "captions=none", "measurements=2", "measurements=4", "measurements=9"),
}
NAMES = {
    EVERYTHING: "everything",
    "random": "random",
    "margin": "margin",
    "top_loss": "top-K loss",
    "activeft": "ActiveFT",
    "ods": "ODS",
}
Cell = Mapping[str, Any]


# What is stored -----------------------------------------------------------------------------------------------------


@cache
def cells(pool: str) -> dict[tuple[str, str, str], Cell]:
    """The rows of a pool by method, share per loop, and what the recipe has beside the usual settings.

    The last is ``paper`` or ``probe`` for the start, and further settings after commas: ``paper,eta=0.5``.
    """
    found: dict[tuple[str, str, str], Cell] = {}
    for start in POOLS[pool]:
        for path in sorted((ROOT / RESULTS).glob(f"{start}-*.json")):
            for row in read(f"{RESULTS}/{path.name}")["rows"]:
                method = EVERYTHING if row["budget"] == "100%" else row["method"].partition(":")[0]
                found.setdefault((method, row["budget"], _beside(row["recipe"])), row)
    return found


def _beside(recipe: str) -> str:
    settings = recipe.partition(":")[2]
    start = "paper" if settings.startswith("paper") else "probe"
    return ",".join([start, *(part for part in settings.split(";") if part not in USUAL and part != "paper")])


def cell(pool: str, method: str, beside: str = "paper", share: str = "5%") -> Cell:
    """One row; of everything whatever its share."""
    return cells(pool)[method, "100%" if method == EVERYTHING else share, beside]


def told(found: Cell, column: str = "top1") -> str:
    """Mean and spread over the seeds, in percent."""
    return mean_and_spread(found[column], factor=100)


def mean_curve(found: Cell) -> np.ndarray:
    """(points, 3): batches, items scored until then, accuracy on the validation part; the mean over the seeds."""
    return np.asarray(found["curves"]).mean(axis=0)


def cost(found: Cell, start: float = 0.0) -> str:
    """Batches of the whole run, with every scored item counted: the median over the seeds.

    Args:
        start: items that a first probe reads, where a run does not count them.
    """
    batches, scored, _ = np.median(found["curves"], axis=0)[-1]
    return f"{batches + (scored or start) / SCORED:.0f}"


def read_by_a_probe(found: Cell) -> float:
    """The items of the first pass of a run from a probe on the pool: the probe reads them whatever selects."""
    return float(mean_curve(found)[0, 1])


def reached(found: Cell, end: float) -> tuple[str, str]:
    """Batches until an accuracy on the validation part, without and with scoring."""
    curve = mean_curve(found)
    after = np.flatnonzero(curve[:, 2] >= end)
    if not len(after):
        return "never", "never"
    batches, scored, _ = curve[after[0]]
    return f"{batches:.0f}", f"{batches + scored / SCORED:.0f}"


def end_of_everything(pool: str) -> float:
    """The accuracy on the validation part that training on everything ends with."""
    return float(mean_curve(cell(pool, EVERYTHING))[-1, 2])


# Tables -------------------------------------------------------------------------------------------------------------


def tables() -> list[str]:
    """All tables, in the order of the page."""
    return [
        selections(),
        balance(),
        balance(FROM_A_PROBE),
        sizes(),
        one_class(),
        loops(),
        captions(),
        good_start(),
        shift(),
        neighbours(),
        efficiency(),
    ]


SELECTIONS = {  # method and settings: name
    (EVERYTHING, "paper"): "everything",
    ("random", "paper"): "random",
    ("margin", "paper"): "margin",
    ("top_loss", "paper"): "top-K loss",
    ("activeft", "paper"): "ActiveFT",
    ("activeft", "paper,eta=0.5"): "ActiveFT and CEA (`eta` 0.5)",
    ("ods", "paper"): "ODS",
    ("ods", "paper,eta=0.5"): "**VeCAF**: ODS and CEA (`eta` 0.5)",
    ("ods", "paper,eta=0.02"): "ODS and CEA (`eta` 0.02)",
}


def selections() -> str:
    """Selections of 5 % per loop."""
    rows = []
    for (method, beside), name in SELECTIONS.items():
        row = [name]
        for pool in POOLS:
            found = cell(pool, method, beside)
            row += [told(found), *reached(found, end_of_everything(pool))]
        rows.append(row)
    header = [column for pool in POOLS for column in (pool, "batches", "with scoring")]
    return lines(["", *header], rows)


BALANCED = {"Caltech-101": (1, 2), "long-tailed CIFAR-10": (3, 4)}  # the files of each pool
FROM_A_PROBE = {"Caltech-101": (5, 6), "long-tailed CIFAR-10": (7, 8)}
DRAWN = {"": "as they come", "balance=1": "`balance=1`", "select_within=classes": "within classes"}


def balance(files: Mapping[str, tuple[int, int]] = BALANCED) -> str:
    """Selections with and without balance: top-1, balanced accuracy and cost, on two pools."""
    rows = []
    found = {pool: dict(balanced(*numbers)) for pool, numbers in files.items()}
    starts = {pool: read_by_a_probe(found[pool]["ods", ""]) if files is FROM_A_PROBE else 0.0 for pool in files}
    for method, drawn in found["Caltech-101"]:
        row = [NAMES[method], DRAWN[drawn]]
        for pool in files:
            one = found[pool][method, drawn]
            row += [told(one), told(one, "balanced_accuracy"), cost(one, starts[pool])]
        rows.append(row)
    header = [column for pool in files for column in (f"{pool}: top-1", "balanced", "batches")]
    return lines(["", "classes", *header], sorted(rows, key=lambda row: row[0] != NAMES[EVERYTHING]))


def balanced(*numbers: int) -> Iterator[tuple[tuple[str, str], Cell]]:
    """The rows of some files by what is selected and how classes are drawn; everything comes once."""
    for number in numbers:
        for row in read(f"{RESULTS}/here_balance-{number}.json")["rows"]:
            method = EVERYTHING if row["budget"] == "100%" else row["method"]
            drawn = row["recipe"].rpartition(";")[2]
            yield (method, drawn if drawn in DRAWN else ""), row


SIZES = [("Caltech-101", "2%"), ("Caltech-101", "5%"), ("Caltech-101", "10%"),
         ("CIFAR-10", "1%"), ("CIFAR-10", "2%"), ("CIFAR-10", "5%")]  # fmt: skip
OF_EVERY_SIZE = [(method, "paper") for method in ("random", "margin", "top_loss", "activeft", "ods")]
OF_EVERY_SIZE += [("ods", "paper,eta=0.5")]


def sizes() -> str:
    """Selections of several sizes; the best of a size is bold."""
    columns = []
    for pool, share in SIZES:
        found = [cell(pool, method, beside, share) for method, beside in OF_EVERY_SIZE]
        best = max(np.mean(one["top1"]) for one in found)
        columns.append([f"**{told(one)}**" if np.mean(one["top1"]) == best else told(one) for one in found])
    rows = []
    for (method, beside), *row in zip(OF_EVERY_SIZE, *columns, strict=True):
        name = "VeCAF (`eta` 0.5)" if beside != "paper" else NAMES[method]
        rows.append([name, *row, *(cost(cell(pool, method, beside)) for pool in POOLS)])
    whole = [told(cell(pool, EVERYTHING)) if share == "5%" else "" for pool, share in SIZES]
    rows.append(["everything", *whole, *(cost(cell(pool, EVERYTHING)) for pool in POOLS)])
    shares = [
        f"{pool}: {share[:-1]} %" if number % 3 == 0 else f"{share[:-1]} %"
        for number, (pool, share) in enumerate(SIZES)
    ]
    return lines(["a loop", *shares, "batches with scoring: Caltech-101", "CIFAR-10"], rows)


ASKED = {"bird": 2, "cat": 3}  # the run that asks for each class


def one_against_all(method: str, name: str, objective: bool) -> Cell:
    """Balanced accuracy of a class against all others, its recall, and top-1 on all ten.

    Args:
        objective: whether the loss that selects asks for the class; otherwise it is cross-entropy.
    """
    rows = read(f"{RESULTS}/here_one_vs_all-{ASKED[name] if objective else 1}.json")["rows"]
    wanted = ("ods", "100%") if method == EVERYTHING else (method, "5%")
    (found,) = (row for row in rows if (row["method"], row["budget"]) == wanted)
    kept = {key: found[key] for key in ("top1", "curves")}
    return {"balanced": found["classes"][name], "recall": found["recalls"][name], **kept}


def one_class() -> str:
    """One class against all."""
    asked = {
        "cross-entropy: everything": (EVERYTHING, False),
        "cross-entropy: ODS": ("ods", False),
        "one against all: top-K loss": ("top_loss", True),
        "one against all: ODS": ("ods", True),
    }
    rows = []
    for name, (method, objective) in asked.items():
        found = [one_against_all(method, one, objective) for one in ASKED]
        shares = [told(one, column) for one in found for column in ("balanced", "recall", "top1")]
        rows.append([name, *shares, cost(found[0])])
    header = [text for name in ASKED for text in (name, "its recall", "top-1")]
    return lines(["", *header, "batches with scoring"], rows)


def loops() -> str:
    """How many loops."""
    found = [cell("Caltech-101", "ods", f"paper,loops={count}") for count in (1, 2)]
    found += [cell("Caltech-101", "ods"), *(cell("Caltech-101", "ods", f"paper,loops={count}") for count in (4, 5))]
    rows = [["ODS", *map(told, found)], ["batches with scoring", *map(cost, found)]]
    return lines(["loops", "1", "2", "3", "4", "5 (150 batches)"], rows)


def captions() -> str:
    """How much of the captions: ``lambda_bw``, whose default is 0.998."""
    besides = [f"paper,eta=0.5,lambda_bw={value}" for value in ("0.5", "0.9")]
    besides += ["paper,eta=0.5", "paper,eta=0.5,lambda_bw=1"]
    found = [cell("Caltech-101", "ods", beside) for beside in besides]
    rows = [["VeCAF", *map(told, found)], ["batches with scoring", *map(cost, found)]]
    return lines(["`lambda_bw` (`eta` 0.5)", "0.5", "0.9", "0.998", "1"], rows)


def good_start() -> str:
    """From a linear probe on the pool."""
    rows = []
    starts = [read_by_a_probe(cell(pool, "ods", "probe")) for pool in POOLS]
    for method in (EVERYTHING, "random", "activeft", "ods"):
        found = zip((cell(pool, method, "probe") for pool in POOLS), starts, strict=True)
        rows.append([NAMES[method], *(text for one, start in found for text in (told(one), cost(one, start)))])
    return lines(["", *(text for pool in POOLS for text in (pool, "batches with scoring"))], rows)


SHIFTED = {
    "all": ("everything", EVERYTHING),
    "random": ("random", "random"),
    "ActiveFT": ("ActiveFT", "activeft"),
    "ODS": ("ODS", "ods"),
    "VeCAF, captions of a snowy day": ('VeCAF, "It is a snowy day!" (`eta` 0.02)', "ods"),
    "VeCAF, captions of a foggy day": ('VeCAF, "It is a foggy day!" (`eta` 0.02)', "ods"),
}


def shift() -> str:
    """From clear days to others."""
    found = read(f"{RESULTS}/shift.json")["top1"]
    days = ("clear", "snow", "fog")
    rows = [
        [name, *(mean_and_spread(found[key][day], factor=100) for day in days), cost(cell("CIFAR-10", method))]
        for key, (name, method) in SHIFTED.items()
    ]
    return lines(["", *days, "batches with scoring"], rows)


def neighbours() -> str:
    """The share of a pick's neighbours that are of another class, by loop."""
    found = read(f"{RESULTS}/picks.json")["shares"]
    rows = []
    for method in ("random", "activeft", "margin", "top_loss", "ods:ensemble=5"):
        by_loop = np.asarray(found[method]).T
        rows.append([NAMES[method.partition(":")[0]], *(mean_and_spread(values, 0, 100) for values in by_loop)])
    return lines(["", "loop 1", "loop 2", "loop 3"], rows)


WITHIN = "select_within=classes"
QUARTER = f"{WITHIN};score_first=0.25"
EFFICIENT = {  # settings beside those of all runs: name
    "balance=1;batches=144": "everything, `balance=1`: what to reach",
    "balance=1;batches=72": "everything, `balance=1`",
    "balance=1;warm_up=pool;strengths=10;batches=12": "everything, `balance=1`, `warm_up=pool`",
    f"{WITHIN};batches=72": "random items of each class",
    f"{WITHIN};warm_up=selected;batches=66": "random items of each class, `warm_up=selected`",
    f"{QUARTER};score_share=0.25;batches=24": "ODS, `scoring=full`",
    f"{QUARTER};score_share=0.25;score_size=0.5;batches=54": "ODS, `scoring=full`, `score_size=0.5`",
    f"{QUARTER};score_share=0.1;score_part=uncertain;batches=54": "ODS, `scoring=full`, `score_part=uncertain`",
    f"{QUARTER};scoring=noted;batches=54": "ODS, `scoring=noted`",
    f"{QUARTER};scoring=head;batches=54": "ODS, `scoring=head`",
    f"{QUARTER};scoring=proxy;batches=54": "ODS, `scoring=proxy`",
    f"{QUARTER};scoring=noted;loop_growth=2;batches=54": "ODS, `scoring=noted`, `loop_growth=2`",
    "loss_balance=1;score_first=0.25;scoring=noted;batches=54": "ODS, `scoring=noted`, `loss_balance=1`",
    f"{QUARTER};scoring=noted;warm_up=selected;batches=54": "ODS, `scoring=noted`, `warm_up=selected`",
}
EFFICIENCY = "vecaf:paper;lr=0.05;batch_size=32;measurements=2;validation=0.05;captions=none;"


def efficient() -> dict[str, Cell]:
    """The rows of the runs with half the batches, by what their settings have beside those of all."""
    rows = (
        row
        for path in sorted((ROOT / RESULTS).glob("here_efficiency-*.json"))
        for row in read(f"{RESULTS}/{path.name}")["rows"]
    )
    return {row["recipe"].removeprefix(EFFICIENCY): row for row in rows}


def efficiency() -> str:
    """Half the batches, everything counted."""
    found = efficient()
    rows = [
        [name, f"{mean_curve(one)[-1, 0]:.0f}", cost(one), told(one), told(one, "balanced_accuracy")]
        for name, one in ((name, found[key]) for key, name in EFFICIENT.items() if key in found)
    ]
    return lines(["", "batches", "with passes", "top-1", "balanced"], rows)
