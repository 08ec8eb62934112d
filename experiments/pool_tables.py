"""The tables of the experiment with the pool, from its results files."""

from __future__ import annotations

import functools
import tomllib
from collections import Counter
from collections.abc import Container, Iterator
from typing import Any

import numpy as np
from stored import ROOT, lines, read

from activetune.evaluation.statistics import mean_and_spread

FOLDER = "experiments/pool"
METHODS = {"random": "random", "k_means": "k-means", "activeft": "ActiveFT"}
RECIPES = ("linear_probe", "pool_probe")
SEEDS = 3
OTHERS = {"Tiny-ImageNet, ten classes": "confirm"}  # sets of the typical picks alone
UNEVEN = 1.5  # the largest class of a test set over an even share, from which balanced accuracy is told too
LEAST_FOREIGN = 0.2  # of a pool that is called one with foreign images
PEERS = {"label_spreading": "LabelSpreading", "self_training": "SelfTrainingClassifier", "fixmatch": "FixMatch"}


def measured() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each run of ``here.toml`` that was measured, with its results file."""
    content = tomllib.loads((ROOT / FOLDER / "here.toml").read_text(encoding="utf-8"))
    paths = [f"{FOLDER}/results/here-{number + 1}.json" for number in range(len(content["runs"]))]
    return [(run, read(path)) for run, path in zip(content["runs"], paths, strict=True) if (ROOT / path).is_file()]


def runs() -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each run that was measured, with its rows."""
    return [(run, results["rows"]) for run, results in measured()]


def sets_of(role: str) -> list[str]:
    """The sets with that role."""
    return [name for name, *_ in by_cell(role)]


def sizes() -> dict[str, dict[str, Any]]:
    """By set with a frozen backbone: its role, items of pool and test set, classes, and the largest one's share."""
    return {
        run["name"].removesuffix(", frozen"): {"role": run["role"], **results["set"]}
        for run, results in measured()
        if run["name"].endswith(", frozen")
    }


def role_of(name: str) -> str:
    """What a set is for: ``design`` or ``confirm``."""
    return str(sizes()[name]["role"]) if name in sizes() else OTHERS[name]


def heading(name: str, *more: str) -> str:
    """A set's name above its rows, with what it is for."""
    return f"**{', '.join((name, *more))}** ({role_of(name)})"


def sets() -> str:
    """What each set holds, and the share of its test set that the largest class has."""
    rows = [
        [
            name,
            size["role"],
            *(f"{size[one]:,}" for one in ("pool", "test", "classes")),
            f"{100 * size['largest']:.1f} %",
        ]
        for name, size in sizes().items()
    ]
    return lines(["", "", "pool", "test", "classes", "largest class of the test set"], rows)


def by_cell(
    *roles: str, score: str = "top1"
) -> Iterator[tuple[str, list[str], dict[tuple[str, str, str], list[float]]]]:
    """Of each set with a frozen backbone: its name, its budgets, and a score by (recipe, budget, method)."""
    for run, cells in runs():
        name = run["name"].removesuffix(", frozen")
        if run["role"] in roles and name != run["name"]:
            found = {(cell["recipe"], cell["budget"], cell["method"]): cell[score] for cell in cells if cell["top1"]}
            yield name, sorted({cell["budget"] for cell in cells}, key=int), found


def frozen(*roles: str, names: Container[str] | None = None, score: str = "top1") -> str:
    """The probe, and how much the pool adds, by set, selector and budget.

    Args:
        names: of the sets; None: all of the roles.
    """
    rows = []
    for name, budgets, found in by_cell(*roles, score=score):
        if names is not None and name not in names:
            continue
        rows.append([heading(name), *(f"**{int(one):,}**" for one in budgets)])
        for method, told_as in METHODS.items():
            pairs = [[found.get((recipe, one, method), []) for recipe in RECIPES] for one in budgets]
            rows.append([told_as, *(_told(*pair) if all(pair) else "" for pair in pairs)])
    return by_budget(rows)


def evened() -> str:
    """The same in balanced accuracy, of the sets whose test part is uneven."""
    uneven = [name for name, size in sizes().items() if size["largest"] * size["classes"] > UNEVEN]
    return frozen("design", "confirm", names=uneven, score="balanced_accuracy")


def by_budget(rows: list[list[str]]) -> str:
    """A table of rows that have a cell for each of a set's budgets, of which some sets have fewer."""
    columns = max(map(len, rows), default=1)
    return lines(["", *["labels"] * (columns - 1)], [[*row, *[""] * (columns - len(row))] for row in rows])


def _told(alone: list[float], pool: list[float]) -> str:
    """``81.2 ± 0.5, +3.0 ± 0.2``: the probe, and the difference seed by seed."""
    differences = np.asarray(pool) - np.asarray(alone)
    return f"{mean_and_spread(alone, factor=100)}, {mean_and_spread(differences, factor=100, sign=True)}"


def of_peers() -> dict[tuple[str, str, str, str], list[float]]:
    """Top-1 of the peers by (set, peer, budget, method), where no seed is missing."""
    rows = read(f"{FOLDER}/results/peers.json")["rows"]
    return {
        (row["set"], row["peer"], row["budget"], row["method"]): row["top1"] for row in rows if None not in row["top1"]
    }


def beside_peers() -> str:
    """The probe with the pool, and the peers on the same features, splits and picks, by set, selector and budget."""
    theirs, rows = of_peers(), []
    for name, budgets, ours in by_cell("design", "confirm"):
        rows.append([heading(name), *(f"**{int(one):,}**" for one in budgets)])
        for method in ("random", "activeft"):
            found = {"pool_probe": [ours.get(("pool_probe", one, method), []) for one in budgets]}
            found |= {peer: [theirs.get((name, peer, one, method), []) for one in budgets] for peer in PEERS}
            for kind, cells in found.items():
                told = PEERS.get(kind, "`pool_probe`")
                figures = (mean_and_spread(values, factor=100) if values else "" for values in cells)
                rows.append([f"{METHODS[method]}, {told}", *figures])
    return by_budget(rows)


def of_two_backbones() -> str:
    """The probe with the pool by what reads the images: one backbone or two, as they are or whitened."""
    found: dict[str, dict[tuple[str, str], list[str]]] = {}
    budgets: dict[str, list[str]] = {}
    for row in read(f"{FOLDER}/results/ensembles.json")["rows"]:
        if row["recipe"] == "pool_probe":
            told = mean_and_spread(row["top1"], factor=100) if len(row["top1"]) == SEEDS else ""
            found.setdefault(row["set"], {}).setdefault((row["method"], row["features"]), []).append(told)
            budgets.setdefault(row["set"], []).append(f"**{row['budget']:,}**")
    rows = []
    for name, cells in found.items():
        rows.append([heading(name), *dict.fromkeys(budgets[name])])
        for method in ("random", "activeft"):
            rows += [[f"{METHODS[method]}, {way}", *told] for (picked, way), told in cells.items() if picked == method]
    return by_budget(rows)


def over_one_backbone(features: str, name: str) -> list[float]:
    """Points by which a way to read images is above ViT-Tiny as it is, of each selector and budget of a set."""
    rows = [
        row
        for row in read(f"{FOLDER}/results/ensembles.json")["rows"]
        if row["recipe"] == "pool_probe" and row["set"] == name and len(row["top1"]) == SEEDS
    ]
    top1 = {(row["features"], row["method"], row["budget"]): 100 * float(np.mean(row["top1"])) for row in rows}
    return [value - top1["ViT-Tiny", *key] for (way, *key), value in top1.items() if way == features]


def leads(peer: str, *names: str) -> list[float]:
    """Points by which the probe with the pool is above a peer, of each set, selector and budget that both have.

    Args:
        names: of the sets; none: all.
    """
    theirs = of_peers()
    return [
        100 * float(np.mean(ours["pool_probe", budget, method]) - np.mean(theirs[name, peer, budget, method]))
        for name, budgets, ours in by_cell("design", "confirm")
        for budget in budgets
        for method in METHODS
        if (not names or name in names)
        and ("pool_probe", budget, method) in ours
        and (name, peer, budget, method) in theirs
    ]


def gains(
    role: str, *, lowest: int | None = None, names: Container[str] | None = None, score: str = "top1"
) -> list[float]:
    """Points that the pool adds, a mean over the seeds, of each set, selector and budget.

    Args:
        lowest: how many of a set's budgets count, from the lowest on; None: all. names: of the sets; None: all.
    """
    gained = []
    for name, budgets, found in by_cell(role, score=score):
        if names is not None and name not in names:
            continue
        for method in METHODS:
            for budget in budgets[:lowest]:
                alone, pool = (found.get((recipe, budget, method), []) for recipe in RECIPES)
                if alone and pool:
                    gained.append(100 * float(np.mean(pool) - np.mean(alone)))
    return gained


def orders() -> tuple[int, int]:
    """Of how many sets and budgets the probe's best selector is the best with the pool too, up to a point; all."""
    kept, count = 0, 0
    for _, budgets, found in by_cell("design", "confirm"):
        means = {key: float(np.mean(values)) for key, values in found.items()}
        for budget in budgets:
            there = [method for method in METHODS if ("pool_probe", budget, method) in means]
            best = max(there, key=lambda method: means["linear_probe", budget, method])
            kept += means["pool_probe", budget, best] >= max(means["pool_probe", budget, one] for one in there) - 0.01
            count += 1
    return kept, count


# Foreign images ------------------------------------------------------------------------------------------------------


def foreign() -> str:
    """The probe, what the pool adds, and what it adds with foreign images in it, by set, selector and budget."""
    rows = []
    for (name, kind), found in of_foreign().items():
        share = f"{kind} ({100 * foreign_share(name, kind):.0f} %)"
        rows.append([f"{heading(name)}, {share}", *(f"**{one:,}**" for one in dict.fromkeys(key[1] for key in found))])
        for method in ("random", "activeft"):
            told = [
                f"{100 * np.mean(alone):.1f}, {100 * np.mean(pool - alone):+.1f}, {100 * np.mean(mixed - alone):+.1f}"
                for (picked, _), (alone, pool, mixed) in found.items()
                if picked == method
            ]
            rows += [[METHODS[method], *told]] if told else []
    return by_budget(rows)


def of_foreign() -> dict[tuple[str, str], dict[tuple[str, int], Any]]:
    """By set and kind of foreign images, by selector and budget: top-1 (3, seeds), of the probe and of both pools."""
    found: dict[tuple[str, str], dict[tuple[str, int], Any]] = {}
    for row in read(f"{FOLDER}/results/foreign.json")["rows"]:
        cells = found.setdefault((row["set"], row["foreign"]), {})
        values = [row[name] for name in ("linear_probe", "pool_probe", "with_foreign")]
        cells.setdefault((row["method"], row["budget"]), []).append(values)
    return {
        key: {cell: np.asarray(values).T for cell, values in cells.items() if len(values) == SEEDS}
        for key, cells in found.items()
    }


@functools.cache
def foreign_share(name: str, kind: str) -> float:
    """How much of a set's pool is foreign, a mean over the seeds."""
    rows = read(f"{FOLDER}/results/foreign.json")["rows"]
    return float(np.mean([row["share"] for row in rows if (row["set"], row["foreign"]) == (name, kind)]))


def of_cells_with_foreign(*, flooded: bool = False) -> list[tuple[float, float]]:
    """Points that the pool adds without foreign images and with them, a mean over the seeds, of each cell.

    Args:
        flooded: where nine in ten images are foreign, in place of a third.
    """
    kinds = {key: found for key, found in of_foreign().items() if key[1].endswith("nine in ten") == flooded}
    cells = [cell for key, found in kinds.items() if foreign_share(*key) >= LEAST_FOREIGN for cell in found.values()]
    return [(100 * float(np.mean(pool - alone)), 100 * float(np.mean(mixed - alone))) for alone, pool, mixed in cells]


TRAINED = {
    ("fact", "own"): "`fact`",
    ("pool_fact", "own"): "`pool_fact`, no student",
    ("pool_fact", "mixed"): "the same, a third foreign",
    ("pool_fact-student", "own"): "`pool_fact`, one student",
    ("pool_fact-student", "mixed"): "the same, a third foreign",
}


def of_foreign_trained() -> dict[str, dict[tuple[tuple[str, str], int], list[float]]]:
    """By set, by (recipe, pool) and budget: top-1 of all seeds."""
    found: dict[str, dict[tuple[tuple[str, str], int], list[float]]] = {}
    for row in read(f"{FOLDER}/results/foreign_trained.json")["rows"]:
        key = (row["recipe"], row["pool"]), row["budget"]
        found.setdefault(row["set"], {}).setdefault(key, []).append(row["top1"])
    return found


def foreign_trained() -> str:
    """Top-1 of FACT, with the pool and with foreign images in it, by set and budget."""
    rows = []
    for name, found in of_foreign_trained().items():
        budgets = sorted({budget for _, budget in found})
        rows.append([heading(name), *(f"**{one}**" for one in budgets)])
        for key, told in TRAINED.items():
            cells = (found.get((key, budget)) for budget in budgets)
            rows.append([told, *(mean_and_spread(cell, factor=100) if cell else "" for cell in cells)])
    return by_budget(rows)


def moved_by_foreign(name: str, recipe: str) -> list[tuple[float, float]]:
    """Points by which foreign images move a recipe, and by which it then is above FACT, at each of a set's budgets."""
    means = {key: 100 * float(np.mean(values)) for key, values in of_foreign_trained()[name].items()}
    return [
        (mixed - means[(recipe, "own"), budget], mixed - means[("fact", "own"), budget])
        for (key, budget), mixed in means.items()
        if key == (recipe, "mixed")
    ]


# Which labels --------------------------------------------------------------------------------------------------------

CRITERIA = {"emd": "EMD", "radius": "radius", "unreached": "unreached", "faint": "faint", "classes": "classes met"}


def of_selections() -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The rows of each set and budget at which every method has all its seeds."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in read(f"{FOLDER}/results/selections.json")["rows"]:
        found.setdefault((row["set"], row["budget"]), []).append(row)
    return {key: [row for row in rows if set(RECIPES) <= set(row)] for key, rows in found.items()}


def mean_ranks() -> dict[str, dict[str, dict[str, float]]]:
    """By method, set and recipe: the mean rank over the budgets; equal means share theirs."""
    from scipy.stats import rankdata

    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for (name, _), rows in of_selections().items():
        methods = [one for one, count in Counter(row["method"] for row in rows).items() if count == SEEDS]
        for recipe in RECIPES:
            means = [np.mean([row[recipe] for row in rows if row["method"] == one]) for one in methods]
            for method, rank in zip(methods, rankdata(-np.asarray(means)), strict=True):
                found.setdefault(method, {}).setdefault(name, {}).setdefault(recipe, []).append(float(rank))
    return {
        method: {
            name: {recipe: float(np.mean(values)) for recipe, values in kinds.items()} for name, kinds in sets.items()
        }
        for method, sets in found.items()
    }


def over_activeft(method: str, *names: str) -> list[float]:
    """Points with the pool by which a selector is above ActiveFT's default, of each budget of some sets."""
    found = []
    for (name, _), rows in of_selections().items():
        means = {one: [100 * row["pool_probe"] for row in rows if row["method"] == one] for one in (method, "activeft")}
        if name in names and len(means[method]) == SEEDS:
            found.append(float(np.mean(means[method]) - np.mean(means["activeft"])))
    return found


def overall(sets: dict[str, dict[str, float]], recipe: str) -> float:
    """A selector's mean rank over the sets that it has one on."""
    return float(np.mean([ranks[recipe] for ranks in sets.values()]))


def by_rank(probe: str = "pool_probe") -> list[tuple[str, dict[str, dict[str, float]]]]:
    """:func:`mean_ranks`, best mean under a probe first."""
    return sorted(mean_ranks().items(), key=lambda item: overall(item[1], probe))


def ranks() -> str:
    """Mean ranks of each selector with the pool, those without it in brackets, by set."""
    found = by_rank()
    names = list(dict.fromkeys(row["set"] for rows in of_selections().values() for row in rows))
    rows = []
    for method, sets in found:
        told = {name: f"{means['pool_probe']:.1f} ({means['linear_probe']:.1f})" for name, means in sets.items()}
        cells = [told.get(name, "") for name in names]
        rows.append([method, *cells, f"{overall(sets, 'pool_probe'):.1f} ({overall(sets, 'linear_probe'):.1f})"])
    return lines(["", *(f"{name} ({role_of(name)})" for name in names), "mean"], rows)


def correlations(name: str, recipe: str) -> dict[str, float]:
    """By criterion: Spearman's correlation with top-1 over all picks of a budget, a mean over the set's budgets."""
    from scipy.stats import spearmanr

    found: dict[str, list[float]] = {criterion: [] for criterion in CRITERIA}
    for (one, _), rows in of_selections().items():
        for criterion in CRITERIA if one == name else ():
            values = [row[criterion] for row in rows]
            if len(set(values)) > 1:
                found[criterion].append(float(spearmanr(values, [row[recipe] for row in rows]).statistic))
    return {criterion: float(np.mean(values)) if values else float("nan") for criterion, values in found.items()}


def predictors() -> str:
    """The correlations by set, with the pool and, in brackets, without it."""
    rows = []
    for name in dict.fromkeys(key[0] for key in of_selections()):
        alone, pool = (correlations(name, recipe) for recipe in RECIPES)
        rows.append([f"{name} ({role_of(name)})", *(f"{pool[one]:.2f} ({alone[one]:.2f})" for one in CRITERIA)])
    return lines(["", *CRITERIA.values()], rows)


# Typical picks -------------------------------------------------------------------------------------------------------

PROBES = {"linear_probe": "probe", "pool_probe": "with the pool"}


def of_typical() -> dict[tuple[str, str, str], dict[tuple[int, int], tuple[float, float]]]:
    """By set, features and probe, by budget and items per pick: top-1 of middle picks, and what typical ones gain.

    Means in % over the draws in which both have a figure.
    """
    kinds: dict[tuple[Any, ...], dict[str, dict[str, float]]] = {}
    for row in read(f"{FOLDER}/results/typical.json")["rows"]:
        key = (row["set"], row["features"], row["probe"], row["budget"], row["items"] // row["budget"])
        kinds.setdefault(key, {})[row["picks"]] = row["top1"]
    found: dict[tuple[str, str, str], dict[tuple[int, int], tuple[float, float]]] = {}
    for (name, features, probe, budget, each), top1 in kinds.items():
        both = sorted(top1["middle"].keys() & top1["typical"].keys())
        middle = 100 * float(np.mean([top1["middle"][draw] for draw in both]))
        gained = 100 * float(np.mean([top1["typical"][draw] - top1["middle"][draw] for draw in both]))
        found.setdefault((name, features, probe), {})[budget, each] = middle, gained
    return found


def typical() -> str:
    """Picks in the middle of their groups, and what typical ones gain, by set, features, probe and budget."""
    rows, told = [], ""
    for (name, features, probe), cells in of_typical().items():
        if name != told:
            rows.append([heading(name), *(f"**{budget}** (1 of {each:,})" for budget, each in cells)])
            told = name
        figures = (f"{middle:.1f}, {gained:+.1f}" for middle, gained in cells.values())
        rows.append([f"{features}, {PROBES[probe]}", *figures])
    return by_budget(rows)


def typical_gains(name: str, probe: str, *, least: int = 300) -> list[float]:
    """Points that typical picks gain on a set, of all features and budgets with ``least`` items per pick or more."""
    return [
        gained
        for (one, _, read_by), cells in of_typical().items()
        if (one, read_by) == (name, probe)
        for (_, each), (_, gained) in cells.items()
        if each >= least
    ]


# Tuned networks ------------------------------------------------------------------------------------------------------

TOLD = {
    "linear_probe": "`linear_probe`",
    "pool_probe": "`pool_probe`",
    "lora": "`lora`",
    "probe_then_full": "`probe_then_full`",
    "fact": "`fact`",
    "pool_fact:turns=0": "`pool_fact`, no student",
    "pool_fact:pilot=false;student_augment=none": "`pool_fact`, one student",
}


@functools.cache
def of_tuned() -> dict[tuple[str, str], dict[tuple[str, str], dict[str, Any]]]:
    """By set and backbone: the cells of ActiveFT's picks by recipe and budget, frozen ones among them."""
    found: dict[tuple[str, str], dict[tuple[str, str], dict[str, Any]]] = {}
    for run, cells in runs():
        name, _, kind = run["name"].rpartition(", ")
        backbone = "bundled" if kind.startswith("bundled") else "ViT-Tiny"
        for cell in cells:
            if cell["method"] == "activeft" and cell["top1"]:
                found.setdefault((name, backbone), {})[cell["recipe"], cell["budget"]] = cell
    return {key: cells for key, cells in found.items() if any(recipe == "fact" for recipe, _ in cells)}


def on_other_picks() -> list[str]:
    """The sets and backbones some of whose recipes were measured on other picks than the others, by the picks' EMD."""
    mixed = []
    for (name, backbone), cells in of_tuned().items():
        budgets = {budget for recipe, budget in cells if recipe == "fact"}
        picks = [{tuple(cell["emd"]) for (_, one), cell in cells.items() if one == budget} for budget in budgets]
        mixed += [f"{name}, {backbone}"] if max(map(len, picks)) > 1 else []
    return mixed


def over_labels_alone(name: str, backbone: str) -> dict[str, float]:
    """Points by which ``pool_fact`` without a student is above the best recipe that reads no pool, by budget."""
    cells = of_tuned()[name, backbone]
    means = {key: 100 * float(np.mean(cell["top1"])) for key, cell in cells.items()}
    return {
        budget: mean - max(other for (one, at), other in means.items() if at == budget and "pool" not in one)
        for (recipe, budget), mean in means.items()
        if recipe == "pool_fact:turns=0"
    }


def steps() -> str:
    """What ``pool_fact`` without a student adds to ``pool_probe``, and what both and FACT took to train."""
    rows, recipes = [], ("pool_probe", "fact", "pool_fact:turns=0")
    for (name, backbone), cells in of_tuned().items():
        budgets = sorted({budget for recipe, budget in cells if recipe == "fact"}, key=int)
        rows.append([heading(name, backbone), *(f"**{int(one):,}**" for one in budgets)])
        three = [[cells[recipe, one] for recipe in recipes] for one in budgets]
        added = added_by_training(name, backbone)
        rows.append(["points added", *(f"{added[one]:+.1f}" for one in budgets)])
        told = ([f"{np.median(cell['train_seconds']):.0f}" for cell in found] for found in three)
        rows.append(["seconds", *(", ".join(one) for one in told)])
    return by_budget(rows)


def added_by_training(name: str, backbone: str) -> dict[str, float]:
    """Points by which ``pool_fact`` without a student is above ``pool_probe``, by budget."""
    cells = of_tuned()[name, backbone]
    return {
        budget: 100 * float(np.mean(cell["top1"]) - np.mean(cells["pool_probe", budget]["top1"]))
        for (recipe, budget), cell in cells.items()
        if recipe == "pool_fact:turns=0"
    }


def tuned() -> str:
    """Top-1 of each recipe on ActiveFT's picks, by set, backbone and budget; the best bold."""
    rows = []
    for (name, backbone), cells in of_tuned().items():
        budgets = sorted({budget for recipe, budget in cells if recipe == "fact"}, key=int)
        rows.append([heading(name, backbone), *(f"**{int(one):,}**" for one in budgets)])
        best = {one: max(np.mean(cells[key]["top1"]) for key in cells if key[1] == one) for one in budgets}
        for recipe, told_as in TOLD.items():
            told = []
            for one in budgets:
                values = cells[recipe, one]["top1"] if (recipe, one) in cells else []
                text = mean_and_spread(values, factor=100) if values else ""
                told.append(f"**{text}**" if values and np.mean(values) == best[one] else text)
            if any(told):
                rows.append([told_as, *told])
    return by_budget(rows)
