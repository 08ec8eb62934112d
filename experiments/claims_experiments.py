"""The sentences of the pages of experiments; those of VeCAF's stand in ``claims_vecaf.py``."""

# Pieces of pages stand in one line, however long.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from claims import Claim, checked, mean, ordered
from experiment_tables import SELECTORS, stored_rows
from stored import read

from activetune.evaluation.statistics import mean_and_spread

ACTIVEFT, FACT = "experiments/activeft/README.md", "experiments/fact/README.md"
SEGMENTATION, DETECTION = "experiments/segmentation/README.md", "experiments/detection/README.md"
CALTECH, BUNDLED = "experiments/caltech101/README.md", "experiments/bundled_backbone/README.md"


# ActiveFT -----------------------------------------------------------------------------------------------------------


@cache
def ablations() -> dict[tuple[str, str], list[float]]:
    """Top-1 of each variant and budget, over the seeds."""
    return {
        (row["method"], row["budget"]): row["top1"]
        for row in read("experiments/activeft/results/caltech101.json")["rows"]
    }


def variant(method: str, budget: str) -> float:
    return mean(ablations()[method, budget])


def updates() -> list[str]:
    rows = ("activeft:paper", "activeft:paper;update=false")
    return [f"{variant(rows[0], k) - variant(rows[1], k):.1f}" for k in ("120", "300", "600")]


def unregularised() -> tuple[str, ...]:
    without, whole = "activeft:paper;balance=0", "activeft:paper"
    better = all(variant(without, k) > variant(whole, k) for k in ("120", "300", "600"))
    told = checked(better, "and 300, and no worse at 600", "it is worse at some budget")
    return f"{variant(without, '120'):.1f}", f"{variant(whole, '120'):.1f}", told


def contrastive() -> tuple[str, ...]:
    one, whole = "activeft:paper;loss=contrastive", "activeft:paper"
    level = all(variant(one, k) > variant(whole, k) - 0.5 for k in ("120", "300", "600"))
    told = ", ".join(f"{variant(one, k):.1f}" for k in ("120", "300", "600"))
    return checked(level, "level or better", "worse"), told


def temperatures() -> tuple[str, ...]:
    warm = [f"activeft:paper;temperature={tau}" for tau in ("0.2", "0.5")]
    gains = [variant(one, "120") - variant("activeft:paper", "120") for one in warm]
    level = all(abs(variant(one, "600") - variant("activeft:paper", "600")) < 0.5 for one in warm)
    return (*ordered(gains, 0), checked(level, "level", "not level"))


def swapped() -> list[str]:
    rows = [row for row, k in ablations() if k == "120" and row.startswith("activeft") and row not in UNSWAPPED]
    found = []
    for k in ("120", "300", "600"):
        means = [variant(row, k) for row in rows]
        near = max(means) - min(means) < 2 * max(100 * np.std(ablations()[row, k], ddof=1) for row in rows)
        found.append(checked(near, f"{np.median(means):.0f}", f"{min(means):.1f} to {max(means):.1f} at {k}"))
    return found


UNSWAPPED = {
    *("activeft:paper", "activeft:paper;update=false", "activeft:paper;balance=0", "activeft:paper;loss=contrastive"),
    *(f"activeft:paper;temperature={tau}" for tau in ("0.04", "0.2", "0.5")),
    *("activeft:swaps=0", "activeft:tail", "activeft:power=1"),
}


# Caltech-101, and the bundled backbone ------------------------------------------------------------------------------


def cell(selector: str, budget: int) -> dict[str, Any]:
    rows = read("experiments/caltech101/selectors.json")["rows"]
    return next(row for row in rows if (row["selector"], row["budget"]) == (selector, budget))


def classes_met() -> tuple[str, ...]:
    paper, plain = cell("activeft, paper loss", 120), cell("k_means", 120)
    return (f"{np.mean(paper['loss']):.1f}", *ordered(paper["classes_met"], 0), *ordered(plain["classes_met"], 0))


def highest() -> list[str]:
    found = []
    for name in ("selectors", "selectors-squash"):
        rows = read(f"experiments/caltech101/{name}.json")["rows"]
        for k in (120, 300, 600):
            found.append(
                max((row for row in rows if row["budget"] == k), key=lambda row: mean(row["top1"]))["selector"]
            )
    return [checked(set(found) == {"activeft"}, "the highest row at every budget", "not the highest")]


# FACT ---------------------------------------------------------------------------------------------------------------


@cache
def fact(name: str) -> dict[str, Any]:
    """The rows of a data set and budget: a list of seeds each."""
    found: dict[str, Any] = read(f"experiments/fact/results/{name}.json")["rows"]
    return found


def top1(name: str, row: str, column: str = "top1") -> float:
    return mean([one[column] for one in fact(name)[row]])


def leads() -> tuple[str, ...]:
    recipes = ("linear_probe", "full", "probe_then_full", "lora", "bitfit")
    own = top1("cifar10-1000", "fact")
    ahead = own - max(top1("cifar10-1000", row) for row in recipes if row in fact("cifar10-1000"))
    behind = []
    for name in ("caltech101-120", "caltech101-300", "caltech101-600", "cifar10-250", "cifar10-500"):
        best = max((row for row in recipes if row in fact(name)), key=lambda row: top1(name, row))
        behind.append(top1(name, best) - top1(name, "fact"))
    return f"{ahead:.1f}", checked(max(behind) < 0.1, "level with the best", f"{max(behind):.1f} behind the best")


def like_for_like() -> list[str]:
    return [f"{top1(name, 'fact') - top1(name, 'full'):.0f}" for name in ("caltech101-120", "cifar10-250")]


def by_the_images() -> list[str]:
    name, random = "caltech101-120", top1("caltech101-120", "full, random labels")
    return [f"{top1(name, 'fact') - random:.0f}", f"{top1(name, 'full') - random:.0f}"]


def pilot() -> tuple[str, ...]:
    (row,) = fact("cifar10-1000")["fact"]
    gain = top1("cifar10-1000", "fact") - top1("cifar10-1000", "fact without phase 3")
    seconds = (row["figures"]["pilot"]["seconds"], row["seconds"])
    head = row["figures"]["phases"]["head"]["head"]
    strength = head.rpartition(":")[2]
    told = checked(head.startswith("map with c2frofa:brightness:"), strength, f"{head} was taken")
    return (
        checked(0.4 < gain < 0.6, "half a point", f"{gain:.1f} points"),
        *(f"{one / 60:.0f}" for one in seconds),
        told,
    )


def light_heads() -> tuple[str, ...]:
    gains = {name: top1(name, "fact: linear") - top1(name, "fact") for name in
             ("cifar10-250", "cifar10-500", "caltech101-120", "caltech101-300", "caltech101-600")}  # fmt: skip
    cifar = [gains["cifar10-250"], gains["cifar10-500"]]
    caltech = [-gains[name] for name in gains if name.startswith("caltech")]
    return (*ordered(cifar), *ordered(caltech))


def pooled_gains() -> tuple[str, ...]:
    gains = [top1(name, row) - top1(name, "fact: map") for name in ("cifar10-250", "cifar10-500", "cifar10-1000")
             for row in ("fact: map, brightness", "fact: map, brightness and posterize")]  # fmt: skip
    none = max(
        top1("caltech101-300", row) - top1("caltech101-300", "fact: map")
        for row in fact("caltech101-300")
        if ", b" in row
    )
    return (*ordered(gains), checked(none <= 0, "nothing", f"{none:.1f}"))


def long_tail() -> list[str]:
    def gain(k: int, row: str, over: str) -> str:
        one, other = (top1(f"cifar10_lt-{k}", name, "balanced_accuracy") for name in (row, over))
        return f"{one - other:.1f}"

    told = [gain(k, row, "fact") for row in ("fact, adjusted", "fact, balanced") for k in (250, 500)]
    return [*told, *(gain(k, "fact, adjusted", "linear_probe, adjusted") for k in (250, 500))]


@cache
def frozen() -> dict[str, dict[str, list[float]]]:
    """FroFA on the frozen backbone: top-1 by what was done and labels per class."""
    found: dict[str, dict[str, list[float]]] = read("experiments/fact/results/frofa.json")["top1"]
    return found


def gains(row: str, *labels: str) -> list[float]:
    return [mean(frozen()[row][count]) - mean(frozen()["map"][count]) for count in labels or ("1", "5", "10", "25")]


def weak() -> tuple[str, ...]:
    told = " / ".join(f"{gain:.1f}" for gain in gains("c2frofa:brightness:0.1"))
    bits = [gain for count in ("2", "4") for gain in gains(f"cfrofa:posterize:{count}", "1", "5", "10")]
    return (told, *ordered(bits))


def strong() -> list[str]:
    return [f"{-min(gain for row in frozen() if 'brightness:0.5' in row for gain in gains(row)):.0f}"]


def behind() -> tuple[str, ...]:
    return ordered(
        [mean(frozen()["linear"][count]) - mean(frozen()["map"][count]) for count in ("1", "5", "10", "25")], 0
    )


def below_a_thousand() -> tuple[str, ...]:
    """How far light heads are ahead of the classifier of phase 2, on average and at most, below 1,000 labels."""
    cells = ("caltech101-120", "caltech101-300", "caltech101-600", "cifar10-250", "cifar10-500")
    ahead = {
        row: [top1(cell, row) - top1(cell, "fact without phase 3") for cell in cells]
        for row in fact(cells[0])
        if row.startswith("fact: ")
    }
    best = max(ahead, key=lambda row: sum(ahead[row]))
    pooled = [-gain for row, gains in ahead.items() if row.startswith("fact: map") for gain in gains]
    told = checked(max(map(min, ahead.values())) < 0, "none", "one")
    least, most = ordered(pooled)
    return told, best.removeprefix("fact: "), f"{-np.mean(ahead[best]):.1f}", least, most


@cache
def pseudo_labels(shots: str) -> dict[str, list[float]]:
    """Top-1 by head and what it learns from, on the frozen backbone."""
    found: dict[str, list[float]] = read("experiments/fact/results/pseudo_labels.json")["cells"]["frozen"][shots][
        "top1"
    ]
    return found


def over(shots: str, row: str, other: str) -> float:
    """Points that a head is ahead of another."""
    return mean(pseudo_labels(shots)[row]) - mean(pseudo_labels(shots)[other])


def brought() -> tuple[str, ...]:
    """What pseudo-labels bring attention pooling and a linear head, and how far the first then lies behind."""
    gains = [
        over(one, f"{head}, pseudo-labels", f"{head}, labels") for head in ("map", "linear") for one in ("5", "25")
    ]
    left = [over(one, "linear, pseudo-labels", "map, pseudo-labels") for one in ("5", "25")]
    return tuple(f"{points:.1f}" for points in (*gains, *left))


def brightened() -> tuple[str, ...]:
    """What FroFA adds to attention pooling on pseudo-labels, and how far it then lies behind the linear head."""
    weak, strong = (f"map, pseudo-labels, brightness c² {value}" for value in ("0.1", "0.3"))
    gains = [over(one, kind, "map, pseudo-labels") for kind in (weak, strong) for one in ("5", "25")]
    few, many = (over(one, "linear, pseudo-labels", weak) for one in ("5", "25"))
    return (
        *(f"{points:+.1f}" for points in gains),
        checked(abs(many) < 0.5, "level with the linear head", f"{many:.1f} behind the linear head"),
        f"{few:.1f}",
    )


def on_tuned_backbones() -> tuple[str, ...]:
    """How far the best attention pooling on pseudo-labels is above the linear head, on backbones that are tuned."""
    cells = read("experiments/fact/results/pseudo_labels.json")["cells"]["fact"]
    top1 = [cells[one]["top1"] for one in ("5", "25")]
    best = [max(mean(values) for name, values in one.items() if name.startswith("map, pseudo")) for one in top1]
    return tuple(f"{found - mean(one['linear, pseudo-labels']):+.1f}" for found, one in zip(best, top1, strict=True))


def attention_on_truth() -> tuple[str, ...]:
    return ordered([over(one, "linear, true labels", "map, true labels") for one in ("5", "25")])


@cache
def camvid() -> dict[tuple[str, str], list[float]]:
    """The mIoU of selectors by budget."""
    rows = read("experiments/segmentation/results/here_camvid-1.json")["rows"]
    return {(row["method"], row["budget"]): row["miou"] for row in rows}


def over_random(budget: str) -> dict[str, float]:
    """What each selector has over random, in points."""
    means = {method: mean(values) for (method, share), values in camvid().items() if share == budget}
    return {method: value - means["random"] for method, value in means.items()}


def at_five() -> tuple[str, ...]:
    gains = over_random("5%")
    best = max(gains, key=lambda method: gains[method])
    within = gains[best] < 100 * np.std(camvid()["random", "5%"], ddof=1)
    told = checked(best == "token_max_herding", "MaxHerding on tokens", f"{best} leads")
    return told, f"{gains[best]:.1f}", checked(bool(within), "less than random's own spread", "it is more")


def at_ten() -> tuple[str, ...]:
    gains = over_random("10%")
    best = max(gains, key=lambda method: gains[method])
    return checked(best == "every_nth", "every n-th frame", f"{best} leads"), f"{gains[best]:.1f}"


def at_twenty() -> tuple[str, ...]:
    gains = over_random("20%")
    pooled = [gains[name] for name in ("k_means", "activeft")]
    least, most = ordered([-gain for gain in pooled])
    return f"{max(gains.values()):.1f}", f"{least} and {most}"


def segmenter() -> tuple[str, ...]:
    """How far below the linear head the mask transformer is, and every n-th frame above random under it."""
    rows = read("experiments/segmentation/results/here_camvid-2.json")["rows"]
    found = {row["method"]: mean(row["miou"]) for row in rows}
    below = [mean(camvid()[name, "10%"]) - found[name] for name in ("every_nth", "random")]
    best = max(found, key=lambda name: found[name])
    gain = found[best] - found["random"]
    spread = 100 * np.std(next(row["miou"] for row in rows if row["method"] == "random"), ddof=1)
    told = checked(best == "every_nth", "every n-th frame is the highest row", f"{best} leads")
    return (
        f"{below[0]:.1f}",
        f"{below[1]:.1f}",
        told,
        f"{gain:.1f}",
        checked(gain < spread + 0.05, "as large", f"{spread:.1f}"),
    )


def on_camvid(*numbers: int) -> dict[tuple[str, str], float]:
    """The mean mIoU of some runs by method and budget."""
    rows = [row for number in numbers for row in stored_rows("segmentation", f"here_camvid-{number}")]
    return {(row["method"], row["budget"]): mean(row["miou"]) for row in rows}


def leader(found: Mapping[tuple[str, str], float], budget: str) -> tuple[str, str]:
    """The highest row of a budget, and what it has over random."""
    values = {method: value for (method, share), value in found.items() if share == budget}
    best = max(values, key=lambda method: values[method])
    return SELECTORS[best], f"{values[best] - values['random']:.1f}"


SHARES = ("5%", "10%", "20%")


def added(found: Mapping[tuple[str, str], float], to: Mapping[tuple[str, str], float]) -> list[str]:
    """The least and the most that some runs are above others, by the share of frames."""
    told: list[str] = []
    for share in SHARES:
        told += ordered([value - to[key] for key, value in found.items() if key[1] == share])
    return told


def lora_by_frames() -> tuple[str, ...]:
    """What LoRA adds to the frozen backbone by the share of frames, and the highest row of each."""
    found = on_camvid(3, 6, 9)
    leaders = [told for share in SHARES for told in leader(found, share)]
    pooled = [found["random", "20%"] - found[name, "20%"] for name in ("k_means", "activeft")]
    return (*added(found, on_camvid(1)), *leaders, *ordered(pooled))


def segmenter_lora_by_frames() -> tuple[str, ...]:
    """What LoRA adds to the mask transformer, how far below the linear head it is, and the highest row of each."""
    found, frozen, linear = on_camvid(7, 11, 12), on_camvid(2, 8, 10), on_camvid(3, 6, 9)
    gains = [np.mean([value - frozen[key] for key, value in found.items() if key[1] == share]) for share in SHARES]
    more = checked(gains[0] < gains[1] < gains[2], "the more frames, the more", "not in order")
    leaders = [told for share in SHARES for told in leader(found, share)]
    below = ordered([linear[key] - value for key, value in found.items()])
    first = checked(leaders[0] == "random", "random", f"{leaders[0]} leads")
    return (*added(found, frozen), more, *below, first, *leaders[2:])


def segmenter_by_frames() -> tuple[str, ...]:
    """How far the mask transformer is below the linear head by the share of frames, and its highest row at each end."""
    found = on_camvid(2, 8, 10)
    told = added(on_camvid(1), found)
    for share in ("5%", "20%"):
        over = [
            value - found["random", share] for (name, one), value in found.items() if one == share and name != "random"
        ]
        told.append(f"{max(over):+.1f} points from" if abs(max(over)) >= 0.05 else "level with")
    return tuple(told)


def segmenter_under_lora() -> tuple[str, str, str]:
    """What LoRA adds under the mask transformer, and how far that is below the linear head under LoRA."""
    adapted, frozen, linear = on_camvid(7, 12), on_camvid(2, 8, 10), on_camvid(3, 6, 9)
    keys = [key for key in adapted if key[1] == "10%"]
    gains = [adapted[key] - frozen[key] for key in keys]
    below = [linear[key] - adapted[key] for key in keys]
    return (*ordered(gains), checked(min(below) > 4, "over 4", f"{min(below):.1f}"))


def peer_heads() -> tuple[str, ...]:
    """The heads of torchvision, and how far below the linear one on the same random frames."""
    rows = {row["method"]: row["miou"] for row in read("experiments/segmentation/results/peers.json")["rows"]}
    own = mean(camvid()["random", "10%"])
    told = [
        text
        for name in ("deeplabv3", "fcn")
        for text in (mean_and_spread(rows[name], factor=100), f"{own - mean(rows[name]):.1f}")
    ]
    return tuple(told)


def on_convnext() -> tuple[str, str, str]:
    """FACT's points over the probe's and over the best row's on the distilled ConvNeXt-Atto, and which that is."""
    found = of_convnext()
    best = max(found, key=lambda name: found[name])
    return f"{found['fact'] - found['linear_probe']:+.1f}", f"{found['fact'] - found[best]:+.1f}", f"`{best}`"


def pool_on_convnext() -> tuple[str]:
    found = of_convnext()
    return (f"{found['pool_probe'] - found['linear_probe']:+.1f}",)


def of_convnext() -> dict[str, float]:
    """Top-1 of each recipe, a mean over the seeds."""
    rows = read("experiments/fact/results/here_convnext.json")["rows"]
    return {row["recipe"]: mean(row["top1"]) for row in rows}


def fact_on_masks() -> tuple[str, ...]:
    """What FACT has over a frozen backbone, and over LoRA, on random and on every n-th frame."""
    frozen, lora, fact = (on_camvid(number) for number in (1, 3, 4))
    keys = [(name, "10%") for name in ("random", "every_nth")]
    over_frozen = [f"{fact[key] - frozen[key]:.1f}" for key in keys]
    over_lora = [f"{fact[key] - lora[key]:.1f}" for key in keys]
    return (*over_frozen, *over_lora)


def third_phase() -> tuple[str, str]:
    """How far a light head lies below the head that FACT's second phase trained, without and under FroFA."""
    rows = {
        row["recipe"]: mean(row["miou"]) for row in read("experiments/segmentation/results/here_camvid-5.json")["rows"]
    }
    (kept,) = (
        mean(row["miou"])
        for row in read("experiments/segmentation/results/here_camvid-4.json")["rows"]
        if row["method"] == "every_nth"
    )
    plain, augmented = rows["fact:head=linear;frofa=none"], rows["fact:head=linear;frofa=c2frofa:brightness:0.2"]
    return f"{kept - plain:.1f}", f"{kept - augmented:.1f}"


def cells() -> dict[tuple[str, str], list[float]]:
    """The mAP of selectors by budget."""
    rows = [row for part in (1, 2) for row in read(f"experiments/detection/results/here_bccd-{part}.json")["rows"]]
    return {(row["method"], row["budget"]): row["map"] for row in rows}


def no_selection() -> tuple[str, ...]:
    """How far below random the lowest row is at 25 % and 50 %, and random's largest spread there."""
    budgets = ("25%", "50%")
    gains = [
        mean(cells()[name, one]) - mean(cells()["random", one]) for name in ("k_means", "activeft") for one in budgets
    ]
    spread = max(100 * np.std(cells()["random", one], ddof=1) for one in budgets)
    return checked(max(gains) <= 0, "no row is above random", "a row is"), f"{-min(gains):.1f}", f"{spread:.1f}"


def peer_boxes() -> tuple[str, ...]:
    """Torchvision's detector on the same images, and the package's own."""
    (peer,) = read("experiments/detection/results/peers.json")["rows"]
    (own,) = (
        row
        for row in read("experiments/detection/results/here_bccd-1.json")["rows"]
        if (row["method"], row["budget"]) == ("random", "50%")
    )
    return tuple(mean_and_spread(row[score], factor=100) for score in ("map", "map50") for row in (peer, own))


def detr() -> list[str]:
    """The most that it has at any budget."""
    rows = read("experiments/detection/results/here_bccd-3.json")["rows"]
    return [f"{max(mean(row['map']) for row in rows):.1f}"]


def half_and_all() -> tuple[str, str]:
    return f"{mean(cells()['random', '100%']):.1f}", f"{mean(cells()['random', '50%']):.1f}"


def more_steps() -> list[str]:
    rows = {row["recipe"]: mean(row["map"]) for row in read("experiments/detection/results/design.json")["rows"]}
    return [
        f"{rows['linear_probe:head_batch=8;head_steps=400'] - rows['linear_probe:head_batch=8;head_steps=200']:.1f}"
    ]


def head_design() -> list[str]:
    rows = {row["recipe"]: mean(row["miou"]) for row in read("experiments/segmentation/results/design.json")["rows"]}
    return [f"{rows['linear_probe:head_batch=16;head_lr=1e-2'] - rows['linear_probe']:.1f}"]


CLAIMS = {
    DETECTION: [
        Claim("with 25 % and 50 % of the images {}, and the others lie within {} points below it, less than random's own spread of up to {}.", no_selection),
        Claim("all images give {}, half of them {}.", half_and_all),
        Claim("twice as many gained {}", more_steps),
        Claim("has {} mAP where `fcos` has {}, and {} AP at an overlap of a half where `fcos` has {}.", peer_boxes),
        Claim("has at most {} mAP after these 200 steps, with all images too:", detr),
    ],
    SEGMENTATION: [
        Claim("{} below it on every n-th frame, {} on random ones. There too no selection leads: {}, {} above random, whose spread is {}.", segmenter),
        Claim("{} to {} points with 5 % of the frames, {} to {} with 10 % and {} to {} with 20 %. The highest selection is {} random with 5 %, and {} it with 20 %.", segmenter_by_frames),
        Claim("By LoRA the mask transformer gains {} to {} points with 5 % of the frames (below zero it loses), {} to {} with 10 % and {} to {} with 20 %: {}. It stays {} to {} below the linear head under LoRA. The highest row is {} with 5 %, {} with 10 % ({} above random) and {} with 20 % ({}).", segmenter_lora_by_frames),
        Claim("LoRA adds {} to {} points to the linear head with 5 % of the frames, {} to {} with 10 % and {} to {} with 20 %. The highest row is {} with 5 % ({} above random), {} with 10 % ({}) and {} with 20 % ({}); there k-means and ActiveFT on pooled features are {} and {} below random.", lora_by_frames),
        Claim("adds {} to {} to it, and leaves it {} below the linear head under LoRA.", segmenter_under_lora),
        Claim("`deeplabv3` has {} mIoU, {} below this package's linear head, `fcn` {}, {} below.", peer_heads),
        Claim("On every n-th frame a light head, fitted anew on the tuned tokens, is {} below the head that was trained with them, and {} under frozen feature augmentation:", third_phase),
        Claim("FACT is {} above the frozen backbone on random frames and {} on every n-th, and {} and {} above LoRA:", fact_on_masks),
        Claim("With 5 % {} is {} above random, {} over the seeds;", at_five),
        Claim("with 10 % {} is the highest row, {} above random;", at_ten),
        Claim("with 20 % no row is more than {} above random, and k-means and ActiveFT on pooled features are {} below it.", at_twenty),
        Claim("where they gained {} over the learning rate and batch size that other heads have", head_design),
    ],
    ACTIVEFT: [
        Claim("yes, by {}, {} and {} points.", updates),
        Claim("Without it Algorithm 1 picks better at K = 120 ({} against {}) {}.", unregularised),
        Claim("no, it is {} ({}).", contrastive),
        Claim("0.2 and 0.5 are better by {} to {} points at K = 120 and {} at 600.", temperatures),
        Claim("all variants end within their spreads of each other at {}, {} and {} %", swapped),
    ],
    CALTECH: [
        Claim("at K = 120 it ends at {} with {} to {} of 101 classes met; k-means meets {} to {}.", classes_met),
        Claim("This package's `activeft` is {} under either transform.", highest),
    ],
    BUNDLED: [
        Claim(
            "teacher {} minutes ({} crops/s), training 26 epochs (12 at 64 px, 8 at 80 px, 6 at 96 px) from {} s an epoch at "
            "64 px to about two minutes at 96 px on a quiet machine.",
            lambda: read("experiments/published.json")[BUNDLED]["minutes_crops_seconds"],
        ),
        Claim(
            "64 px {:.3f}, 80 px {:.3f}, 96 px {:.3f}, 112 px {:.3f}, 128 px {:.3f}.",
            lambda: list(read("experiments/published.json")[BUNDLED]["top1_by_pixels"].values()),
        ),
    ],
    FACT: [
        Claim("At the highest budget of CIFAR-10 FACT is {} points ahead of every other recipe, elsewhere {} within the spread;", leads),
        Claim(
            "Compared with the probe FACT gains {} points on it, and {} with {}, the best row, within the spread of seeds:",
            on_convnext,
        ),
        Claim("The pool adds {} points to the probe.", pool_on_convnext),
        Claim("Like for like, on the same images, it is {} and {} points ahead of `full` at the lowest budgets.", like_for_like),
        Claim("with `full` on random images, where it is {} here, of which {} come from choosing the images.", by_the_images),
        Claim(
            "Phase 3 is worth {} where labels can be spared to choose its head by: at K = 1,000 a pilot ({} of {} minutes) "
            "took attention pooling under c² brightness {}.",
            pilot,
        ),
        Claim(
            "a light head on the same features is {} to {} points better on CIFAR-10 (`head=linear`) and {} to {} worse on "
            "Caltech-101.",
            light_heads,
        ),
        Claim(
            "Below 1,000 labels phase 3 is not worth its time: of five light heads {} is ahead of phase 2's classifier at all "
            "five such budgets, and the best of them on average, the {} one, is {} points behind; attention pooling is {} to {} "
            "behind.",
            below_a_thousand,
        ),
        Claim(
            "Pseudo-labels bring attention pooling {} and {} points at 5 and 25 labels per class, the linear head {} and {}; "
            "with these, attention pooling is {} and {} points behind the linear head.",
            brought,
        ),
        Claim(
            "Brightness c² 0.1 changes it by {} and {}, 0.3 by {} and {}: under 0.1 MAP is {} at 25 labels per class, at 5 still {} behind.",
            brightened,
        ),
        Claim(
            "the best of three MAP rows on pseudo-labels gains {} and {} points compared with the one linear head.",
            on_tuned_backbones,
        ),
        Claim("With true labels of the same items MAP is {} to {} points behind", attention_on_truth),
        Claim("Under attention pooling they bring {} to {} points on CIFAR-10, and {} with 3 labels per class of Caltech-101.", pooled_gains),
        Claim("`logit_adjustment=1` is worth {} points at 250 labels and {} at 500; `balance=1`, which draws the classes evenly, {} and {}. With the adjustment FACT is {} and {} points ahead of the probe with it.", long_tail),
        Claim("Here weak ones gain too: brightness c² 0.1 {}, posterize 2 to 4 bits {} to {} at up to 10 labels.", weak),
        Claim("Strong brightness loses, without a range for each channel by up to {} points.", strong),
        Claim("MAP stays {} to {} points behind the linear probe on the same features, at 25 labels too", behind),
    ],
}  # fmt: skip
GIVEN = {
    SEGMENTATION: [
        "(30 epochs, `peers.py`)",
        "trained on the same 37 frames",  # a setting
        "to learn from 37 frames. lightly-train (0.18) has no row: its trainers of masks take DINOv2, DINOv3,",
    ],
    ACTIVEFT: [
        "30 % of the images held out",  # a setting
        "(Table 5 a: 40.7 against 20.6 % on CIFAR-100 at 2 %)",  # the paper's figures
        "(Table 5 b, S1: 33.1)",
        "(S2: 26.8)",
        "A temperature of 0.04 to 0.07 is best (Table 6)",
        "torch 2.13.0+cpu",
    ],
    CALTECH: ["the first 70 % (6,074) are the pool", "224 x 224 px"],
    FACT: [
        "Caltech-101 (1.2, 3 and 6 labels per class)",
        "CIFAR-10 (0.5, 1 and 2 %)",
        'The paper\'s "over 20 points"',
        "brightness is c² 0.2, posterize 4 bits",
        "brightness c² gains 6.1 / 1.6 / 0.9 points over MAP at 1 / 5 / 10 labels per class",
    ],
}
