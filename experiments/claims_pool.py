"""The sentences of the page on learning from the pool."""

# Pieces of pages stand in one line, however long.
# ruff: noqa: E501

from __future__ import annotations

from functools import cache

import numpy as np
from claims import Claim, checked, ordered
from pool_rounds_tables import BY_DOUBT, doubts_apart, over_coverage
from pool_tables import (
    added_by_training,
    by_cell,
    by_rank,
    correlations,
    gains,
    leads,
    moved_by_foreign,
    of_cells_with_foreign,
    of_selections,
    of_tuned,
    orders,
    over_activeft,
    over_labels_alone,
    over_one_backbone,
    runs,
    sets_of,
    sizes,
    typical_gains,
)

PAGE = "experiments/pool/README.md"
ROLES = ("design", "confirm")
NOT_CHOSEN_ON = ("CIFAR-10, long tail", "Tiny-ImageNet, ten classes", "Cells")  # of typical picks


def confirmed() -> tuple[str, ...]:
    found = gains("confirm")
    above = sum(gain > 0 for gain in found)
    others = gains("confirm", names=set(sets_of("confirm")) - {"Scenes"})
    return f"{above} of {len(found)}", f"{np.mean(found):.1f}", *ordered(found), f"{np.mean(others):.1f}"


def balanced() -> tuple[str, ...]:
    """Points that the pool adds in balanced accuracy and in top-1, on the sets whose test set is uneven."""
    return tuple(
        f"{np.mean(gains('confirm', names={name}, score=score)):.1f}"
        for name in ("Cells", "Scenes")
        for score in ("balanced_accuracy", "top1")
    )


def constant_answers() -> tuple[str, ...]:
    """Top-1 of the most frequent class of Scenes, and in how many entries the probe and that with the pool are above it."""
    largest = next(size["largest"] for name, size in sizes().items() if name == "Scenes")
    told = [f"{100 * largest:.1f}"]
    for recipe in ("linear_probe", "pool_probe"):
        ((_, _, found),) = (cell for cell in by_cell("confirm") if cell[0] == "Scenes")
        means = [float(np.mean(values)) for (one, *_), values in found.items() if one == recipe]
        told.append(f"{sum(value > largest for value in means)} of {len(means)}")
    return tuple(told)


def few() -> tuple[str, str]:
    return tuple(f"{np.mean(gains(role, lowest=2)):.1f}" for role in ("design", "confirm"))  # type: ignore[return-value]


def beside(peer: str) -> tuple[str, str, str, str]:
    found = leads(peer)
    return f"{sum(lead > 0 for lead in found)} of {len(found)}", f"{np.mean(found):.1f}", *ordered(found)


def together() -> tuple[str, str, str, str, str]:
    """How far two backbones are below the better one, and what whitening that one does."""
    below = [-gain for gain in over_one_backbone("both", "Caltech-101")]
    whitened = over_one_backbone("ViT-Tiny, whitened", "Caltech-101")
    why = checked(min(below) > 0, "the second backbone is the weaker one, and weighs as much", "not everywhere")
    return (*ordered(below), why, f"{min(whitened):+.1f}", f"{max(whitened):+.1f}")


def strangers() -> tuple[str, str, str, str, str, str]:
    """What foreign images cost of what the pool adds, and where it still adds something."""
    cells = of_cells_with_foreign()
    lost = [pool - mixed for pool, mixed in cells]
    left = [mixed for _, mixed in cells]
    above = sum(gain > 0 for gain in left)
    return (
        f"{np.mean([pool for pool, _ in cells]):.1f}",
        f"{np.mean(left):.1f}",
        *(f"{one:.1f}" for one in (max(lost),)),
        f"{above} of {len(left)}",
        *ordered(left),
    )


def flooded() -> tuple[str, str, str, str]:
    """What a pool adds of which nine in ten images are foreign, and what its own images add alone."""
    cells = of_cells_with_foreign(flooded=True)
    left = [mixed for _, mixed in cells]
    return (f"{np.mean(left):.1f}", f"{np.mean([pool for pool, _ in cells]):.1f}", *ordered(left))


def first_ranks() -> tuple[str, ...]:
    """The three best by mean rank with the pool, and without it."""
    probes = ("pool_probe", "linear_probe")
    return tuple(f"`{name}`" for probe in probes for name, _ in by_rank(probe)[:3])


def above_default() -> tuple[str, ...]:
    """How far two presets are above ActiveFT's default, and how far below it at worst."""
    told = []
    for method in ("activeft:tail", "activeft:released"):
        for role in ROLES:
            found = over_activeft(method, *sets_of(role))
            told += [f"{np.mean(found):+.1f}", f"{min(found):+.1f}"]
    return tuple(told)


def few_labels() -> tuple[str, ...]:
    """Top-1 with the pool of typical picks and of ActiveFT's, at one label per class of two sets."""
    places = (("CIFAR-10", 10), ("Caltech-101", 101))
    return tuple(
        f"{100 * np.mean([row['pool_probe'] for row in of_selections()[place] if row['method'] == method]):.1f}"
        for place in places
        for method in ("typiclust", "activeft")
    )


def behind_on_cells() -> tuple[str, str]:
    """Points by which LabelSpreading is ahead of the probe with the pool on Cells; least and most."""
    return ordered([max(0.0, -lead) for lead in leads("label_spreading", "Cells")])


def by_training() -> tuple[str, ...]:
    """What training ViT-Tiny adds to the probe with the pool, on the two sets."""
    found = [list(added_by_training(name, "ViT-Tiny").values()) for name in ("CIFAR-10", "Caltech-101")]
    return tuple(f"{one:+.1f}" for added in found for one in (min(added), max(added)))


def sparse_regions() -> tuple[str, str]:
    """What ActiveFT gains by weighing sparse regions more, on the long tail."""
    found = [over_activeft(f"activeft, by density {power}", "CIFAR-10, long tail") for power in ("0.5", "1")]
    return tuple(f"{np.mean(gains_there):+.1f}" for gains_there in found)  # type: ignore[return-value]


def predicted() -> tuple[str, ...]:
    """The mean correlation of what is known of picks with accuracy, over the sets but Scenes."""
    asked = {name for name, _ in of_selections()} - {"Scenes"}
    sets = [name for role in ROLES for name in sets_of(role) if name in asked]
    found = [correlations(name, "pool_probe") for name in sets]
    return tuple(f"{np.mean([one[kind] for one in found]):.2f}" for kind in ("emd", "unreached", "faint", "radius"))


def tuned_gains(name: str, backbone: str = "ViT-Tiny") -> tuple[str, ...]:
    """Points of ``pool_fact`` without a student over the best recipe that reads no pool, at a set's budgets."""
    found = over_labels_alone(name, backbone)
    return tuple(f"{found[budget]:+.1f}" for budget in sorted(found, key=int))


def best_columns() -> tuple[str, str]:
    """In how many columns ``pool_fact`` without a student is the best row, and how far below it at most it is elsewhere."""
    behind = []
    for cells in of_tuned().values():
        for budget in {budget for recipe, budget in cells if recipe == "pool_fact:turns=0"}:
            means = {recipe: 100 * float(np.mean(cell["top1"])) for (recipe, at), cell in cells.items() if at == budget}
            behind.append(max(means.values()) - means["pool_fact:turns=0"])
    below = f", and elsewhere {max(behind):.1f} points below the best at most" if max(behind) else ""
    return f"{sum(one == 0 for one in behind)} of {len(behind)}", below


def seconds() -> tuple[str, ...]:
    """What trainings took, by recipe and set."""
    found, places = of_tuned(), (("Caltech-101", "202"), ("CIFAR-10", "250"))
    return tuple(
        f"{np.median(found[name, 'ViT-Tiny'][recipe, budget]['train_seconds']):.0f}"
        for name, budget in places
        for recipe in ("pool_probe", "fact", "pool_fact:turns=0")
    )


def foreign_and_trained() -> tuple[str, ...]:
    """What foreign images do to ``pool_fact``, without a student and with one, and how far it stays above FACT."""
    moved, above = zip(*moved_by_foreign("Cells", "pool_fact"), strict=True)
    ((with_one, _),) = moved_by_foreign("Cells", "pool_fact-student")
    return f"{min(moved):+.1f}", f"{max(moved):+.1f}", f"{with_one:+.1f}", *ordered(above)


def student_gains(name: str, *scores: str) -> tuple[str, ...]:
    """Points that a student adds to ``pool_fact`` without one, at a set's budgets, with the bundled network."""
    cells = of_tuned()[name, "bundled"]
    budgets = sorted({budget for recipe, budget in cells if recipe == ONE_STUDENT}, key=int)
    return tuple(
        f"{100 * float(np.mean(cells[ONE_STUDENT, one][score]) - np.mean(cells['pool_fact:turns=0', one][score])):+.1f}"
        for score in scores
        for one in budgets
    )


PLAINLY = ";student_augment=none"
ONE_STUDENT = f"pool_fact:pilot=false{PLAINLY}"
STUDENT = "pool_fact:pilot=false;pseudo_labels=1000"
PARTS = ("student_augment=trivial", "student_augment=rand", "ema=0.98", "pseudo_even=1", "pseudo_with=ods", "turns=2")


@cache
def in_parts() -> dict[str, float]:
    """Top-1 in percent by recipe, of the run that takes a student apart."""
    (cells,) = (cells for run, cells in runs() if run["name"] == "CIFAR-10, bundled, a student in parts")
    return {cell["recipe"].removesuffix(PLAINLY): 100 * float(np.mean(cell["top1"])) for cell in cells}


def parts_of_a_student() -> tuple[str, ...]:
    """What each part adds to the plain student, in points."""
    added = (in_parts()[f"{STUDENT};{part}"] - in_parts()[STUDENT] for part in PARTS)
    return tuple(f"{round(points, 1) + 0.0:+.1f}" for points in added)


def over_no_student() -> str:
    """Points by which the student with RandAugment is above none."""
    return f"{in_parts()[f'{STUDENT};student_augment=rand'] - in_parts()['pool_fact:turns=0']:+.1f}"


def by_randaugment() -> tuple[str, str]:
    """Points that a student with RandAugment adds to ``Cells`` with 30 labels, in top-1 and in balanced accuracy."""
    (with_it,) = (
        cell
        for run, cells in runs()
        if run["name"] == "Cells, bundled, a student by RandAugment"
        for cell in cells
        if cell["recipe"].endswith("rand")
    )
    none = of_tuned()["Cells", "bundled"]["pool_fact:turns=0", "30"]
    top1, balanced = (
        100 * float(np.mean(with_it[score]) - np.mean(none[score])) for score in ("top1", "balanced_accuracy")
    )
    return f"{top1:+.1f}", f"{balanced:+.1f}"


def classes_met() -> tuple[str]:
    """How many of Caltech's classes ActiveFT's 101 picks meet; the least and the largest of the seeds."""
    cells = of_tuned()["Caltech-101", "ViT-Tiny"]
    found = cells["fact", "101"]["classes_met"]
    return (f"{min(found):.0f} to {max(found):.0f}",)


def followed_doubts() -> tuple[str, ...]:
    """Points with the pool of the plain probe's doubt over coverage: below five labels per class, and from there on."""
    gained = [over_coverage(f"`{method}`") for method in BY_DOUBT]
    few, many = (
        [point for found in gained for shots, (_, pool) in found.items() if (shots < 5) == below for point in pool]
        for below in (True, False)
    )
    return f"{np.mean(few):+.1f}", f"{np.mean(many):+.1f}"


def medoids() -> tuple[str, ...]:
    """Points of ``uncertainty_medoids`` over coverage at two and at five labels per class, of both probes."""
    found = over_coverage("`uncertainty_medoids`")
    return tuple(f"{np.mean(points):+.1f}" for shots in (2, 5) for points in found[shots])


def doubt_with_the_pool() -> tuple[str, str, str]:
    """Points of the doubt with the pool over the plain probe's."""
    found = doubts_apart()
    return f"{np.mean(found):+.1f}", f"{min(found):+.1f}", f"{max(found):+.1f}"


def typical_picks() -> tuple[str, ...]:
    """What typical picks gain where each stands for 300 items or more, by set; with the pool, then without it."""
    sets, probes = ("CIFAR-10", *NOT_CHOSEN_ON), ("pool_probe", "linear_probe")
    return tuple(f"{np.mean(typical_gains(name, probe)):+.1f}" for probe in probes for name in sets)


def typical_spread() -> tuple[str, str]:
    """The most that they lose and gain, with the pool, on the sets that nothing was chosen on."""
    found = [gained for name in NOT_CHOSEN_ON for gained in typical_gains(name, "pool_probe")]
    return f"{min(found):+.1f}", f"{max(found):+.1f}"


def apart() -> tuple[str, ...]:
    """How far both backbones are from the better one, on the other sets; lowest and highest."""
    found = [over_one_backbone("both", name) for name in ("CIFAR-10", "Scenes")]
    return tuple(f"{one:+.1f}" for gains_there in found for one in (min(gains_there), max(gains_there)))


def order() -> tuple[str]:
    return ("{} of {}".format(*orders()),)


CLAIMS = {
    PAGE: [
        Claim(
            "On the confirming sets the pool adds something in {} entries, {} points on average ({} to {}; without `Scenes` {}).",
            confirmed,
        ),
        Claim(
            "In balanced accuracy it adds {} points on `Cells` (top-1: {}) and {} on `Scenes` ({}).",
            balanced,
        ),
        Claim(
            "Where every image is called a building, top-1 is {} %: the probe is above that answer in {} entries there, with the pool in {}.",
            constant_answers,
        ),
        Claim(
            "At the lowest two budgets of each set it adds {} points on average on the design sets and {} on the others.",
            few,
        ),
        Claim(
            "In {} sets and budgets the selector that is best for the probe is the best with the pool too, or within a point of it.",
            order,
        ),
        Claim(
            "With foreign images in it, what the pool adds falls from {} to {} points on average, by {} at most; in {} entries it still adds something ({} to {}).",
            strangers,
        ),
        Claim(
            "Where nine in ten images are foreign, the pool adds {} points with them and {} without ({} to {} with them).",
            flooded,
        ),
        Claim("By mean rank with the pool {}, {} and {} come first; without it {}, {} and {} do.", first_ranks),
        Claim(
            "`activeft:tail` is {} points above ActiveFT's default on the design sets ({} at worst) and {} on the others ({}), `activeft:released` {} ({}) and {} ({}):",
            above_default,
        ),
        Claim(
            "`typiclust` has {} % with the pool, `activeft` {}. At 101 labels of Caltech-101 they are behind, {} against {}.",
            few_labels,
        ),
        Claim(
            "The long tail gains nothing from that: {} and {} points compared with the default there.", sparse_regions
        ),
        Claim(
            "but for `Scenes`, the EMD goes along with top-1 by {} on average, unreached items by {}, faintness by {}, the radius by {}.",
            predicted,
        ),
        Claim(
            "methods that follow the plain probe's doubt gain {} points on average with the pool below five labels per class, and {} from there on.",
            followed_doubts,
        ),
        Claim(
            "`uncertainty_medoids` gains {} points with the probe and {} with the pool at two labels per class, {} and {} at five:",
            medoids,
        ),
        Claim(
            "The doubt of the probe with the pool is no better guide: the same methods gain {} points compared with the plain probe's doubt on average ({} to {}).",
            doubt_with_the_pool,
        ),
        Claim(
            "Where a pick stands for 300 items or more, typical ones gain {} points with the pool on CIFAR-10, {} on its long tail, {} on the pools of Tiny-ImageNet and {} on `Cells`; without it {}, {}, {} and {}.",
            typical_picks,
        ),
        Claim(
            "On the confirming sets the gain at one budget is {} to {} points with the pool,",
            typical_spread,
        ),
        Claim(
            "`pool_probe` is above LabelSpreading in {} entries, {} points on average ({} to {}),",
            lambda: beside("label_spreading"),
        ),
        Claim(
            "and above SelfTrainingClassifier in {} entries, {} points on average ({} to {}).",
            lambda: beside("self_training"),
        ),
        Claim(
            "`pool_probe` is above FixMatch in {} entries, {} points on average ({} to {};",
            lambda: beside("fixmatch"),
        ),
        Claim(
            "On Caltech-101 both are {} to {} points below ViT-Tiny alone: {}. Whitening ViT-Tiny's features moves the figures by {} to {}.",
            together,
        ),
        Claim("On CIFAR-10 both gain {} to {} points, on `Scenes` {} to {}:", apart),
        Claim("and on `Cells`, by {} to {} points.", behind_on_cells),
        Claim(
            "with 10, 20, 50, 100 and 250 labels of CIFAR-10 it gains {}, {}, {}, {} and {} points,",
            lambda: tuned_gains("CIFAR-10"),
        ),
        Claim(
            "with 101, 202, 505 and 1,010 labels of Caltech-101 {}, {}, {} and {} points,",
            lambda: tuned_gains("Caltech-101"),
        ),
        Claim(
            "with 6, 15 and 30 of `Cells` and the bundled network {}, {} and {}.",
            lambda: tuned_gains("Cells", "bundled"),
        ),
        Claim(
            "With that network and 101, 202, 505 and 1,010 labels of Caltech-101 it is {}, {}, {} and {} points.",
            lambda: tuned_gains("Caltech-101", "bundled"),
        ),
        Claim(
            "One busy core of an Intel Xeon with AMX took {}, {} and {} s to train `pool_probe`, `fact` and `pool_fact` without a student with 202 labels of Caltech-101, {}, {} and {} s with 250 of CIFAR-10, the pool's features being there.",
            seconds,
        ),
        Claim(
            "With 10, 20, 50, 100, 250, 500 and 1,000 of CIFAR-10 it is {}, {}, {}, {}, {}, {} and {},",
            lambda: tuned_gains("CIFAR-10", "bundled"),
        ),
        Claim(
            "with 10, 20, 50 and 100 of its long tail {}, {}, {} and {}.",
            lambda: tuned_gains("CIFAR-10, long tail", "bundled"),
        ),
        Claim("It is the best row in {} columns{}:", best_columns),
        Claim("it adds {} to {} points there, and {} to {} on Caltech-101.", by_training),
        Claim(
            "On `Cells` a third of foreign images moves `pool_fact` without a student by {} to {} points, and with one by {}; it stays {} to {} points above `fact`.",
            foreign_and_trained,
        ),
        Claim(
            "A student adds {}, {} and {} points to `Cells` with 6, 15 and 30 labels (in balanced accuracy {}, {} and {}),",
            lambda: student_gains("Cells", "top1", "balanced_accuracy"),
        ),
        Claim(
            "Of 250 labels of CIFAR-10, with 1,000 pseudo-labels: TrivialAugment adds {} points to a student and RandAugment {}, a moving average {}, classes alike {}, picks by ODS {} and a second student {}.",
            parts_of_a_student,
        ),
        Claim(
            "The student with RandAugment is {} points above none there, and {} with 30 labels of `Cells` ({} in balanced accuracy):",
            lambda: (over_no_student(), *by_randaugment()),
        ),
        Claim("and {}, {} and {} to CIFAR-10 with 10, 20 and 250,", lambda: student_gains("CIFAR-10", "top1")),
        Claim("On Caltech-101 the labels are the limit: 101 picks meet {} of its 101 classes.", classes_met),
    ],
}
GIVEN: dict[str, list[str]] = {
    PAGE: [
        "the share of the probe in the answers, from 0.5 to 0.3.",  # a setting
        "to the power of 0.5 or 1",  # of the methods
    ]
}
