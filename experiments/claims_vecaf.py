"""The sentences of ``experiments/vecaf/README.md``."""

# Pieces of pages stand in one line, however long.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

import numpy as np
from claims import Claim, checked, mean, number, ordered
from stored import read
from vecaf_tables import (
    ASKED,
    BALANCED,
    EVERYTHING,
    FROM_A_PROBE,
    QUARTER,
    SCORED,
    SIZES,
    WITHIN,
    balanced,
    cell,
    cost,
    efficient,
    end_of_everything,
    mean_curve,
    one_against_all,
    reached,
)

PAGE = "experiments/vecaf/README.md"
CALTECH, CIFAR, TAIL = "Caltech-101", "CIFAR-10", "long-tailed CIFAR-10"


def top1(*which: str) -> float:
    """Of a row, the mean over its seeds in percent."""
    return mean(cell(*which)["top1"])


def spread(*which: str) -> float:
    return 100 * float(np.std(cell(*which)["top1"], ddof=1))


# Selections of 5 % --------------------------------------------------------------------------------------------------


def as_published() -> tuple[str, ...]:
    ods = top1(CALTECH, "ods")
    own, whole = (int(reached(cell(CALTECH, one), end_of_everything(CALTECH))[0]) for one in ("ods", EVERYTHING))
    ahead = [f"{ods - top1(CALTECH, one):.0f}" for one in ("activeft", EVERYTHING)]
    return (*ahead, f"{own}", f"{whole}", f"{whole / own:.0f}")


def little_to_gain() -> tuple[str, ...]:
    whole, best = top1(CIFAR, EVERYTHING), top1(CIFAR, "ods", "paper,eta=0.5")
    methods = ("random", "margin", "top_loss", "activeft", "ods")
    within = all(abs(top1(CIFAR, one) - whole) < 2 for one in methods)
    ahead = (f"{best - whole:.1f}", f"{best - top1(CIFAR, 'activeft'):.1f}")
    return (checked(within, "within two points", "further away"), *ahead, f"{fall():.0f}")


def fall() -> float:
    """By how much accuracy on the validation part falls from one measurement to a later one, with hard items."""
    most = 0.0
    for method in ("margin", "top_loss", "ods"):
        for curve in np.asarray(cell(CIFAR, method)["curves"]):
            best_before = np.maximum.accumulate(curve[:, 2])
            most = max(most, float((best_before - curve[:, 2]).max()))
    return 100 * most


def scoring() -> tuple[str, ...]:
    first = mean_curve(cell(CALTECH, "ods"))[0, 1] / SCORED
    beside = "paper,score_first=0.25"
    batches, scored = reached(cell(CALTECH, "ods", beside), end_of_everything(CALTECH))
    return f"{first:.0f}", batches, scored


def captions() -> tuple[str, ...]:
    gains = {
        (pool, method): top1(pool, method, "paper,eta=0.5") - top1(pool, method)
        for pool in (CALTECH, CIFAR)
        for method in ("activeft", "ods")
    }
    nothing = gains[CALTECH, "ods"] < spread(CALTECH, "ods")
    told = (f"{gains[CALTECH, 'activeft']:.1f}", checked(nothing, "adds nothing", "adds something"))
    return (*told, f"{-gains[CIFAR, 'activeft']:.1f}", f"{gains[CIFAR, 'ods']:.1f}")


# Class balance ------------------------------------------------------------------------------------------------------


def even(pool: str, method: str, drawn: str = "", column: str = "top1") -> float:
    """Of a row of the table of class balance."""
    return mean(dict(balanced(*BALANCED[pool]))[method, drawn][column])


def share_of_balance() -> tuple[str, ...]:
    column = "balanced_accuracy"
    whole = [even(CALTECH, EVERYTHING, drawn) for drawn in ("", "balance=1")]
    told = [f"{value:.1f}" for value in whole]
    told += [f"{even(CALTECH, EVERYTHING, drawn, column):.1f}" for drawn in ("", "balance=1")]
    told += [f"{even(CALTECH, 'ods', drawn):.1f}" for drawn in ("", "balance=1")]
    told += [f"{even(CALTECH, 'ods', drawn, column):.1f}" for drawn in ("", "balance=1")]
    leads = [even(CALTECH, "ods", "", one) - even(CALTECH, EVERYTHING, "", one) for one in ("top1", column)]
    left = even(CALTECH, "ods", "balance=1") - whole[1]
    rows = dict(balanced(*BALANCED[CALTECH]))
    times = int(cost(rows["ods", ""])) / int(cost(rows[EVERYTHING, ""]))
    return (*told, *(f"{lead:.0f}" for lead in leads), number(round(left)), f"{times:.1f}")


def on_the_tail() -> tuple[str, ...]:
    drawn = [even(TAIL, one, "balance=1") for one in (EVERYTHING, "ods", "random")]
    plain = max(even(TAIL, one) for one in ("random", "activeft", "ods"))
    ahead = checked(drawn[0] > max(*drawn[1:], even(TAIL, "activeft", "balance=1"), plain), "is ahead", "is not ahead")
    return f"{drawn[0]:.1f}", ahead, f"{drawn[1]:.1f}", f"{drawn[2]:.1f}", f"{plain:.1f}"


def within_classes() -> tuple[str, ...]:
    within = "select_within=classes"
    ods = [even(pool, "ods", within) for pool in (CALTECH, TAIL)]
    random = [even(pool, "random", within) for pool in (CALTECH, TAIL)]
    whole = [even(pool, EVERYTHING, "balance=1") for pool in (CALTECH, TAIL)]
    more = [one - other for one, other in zip(ods, random, strict=True)]
    both = f"{more[0]:.1f} and {more[1]:.1f} points"
    beyond = [f"{one - other:.1f}" for one, other in zip(ods, whole, strict=True)]
    level = checked(abs(random[0] - whole[0]) < 1, "are level", f"are {random[0] - whole[0]:.1f} ahead")
    return (*(f"{one:.1f}" for one in ods), both, *beyond, level, f"{whole[1] - random[1]:.0f}")


def from_a_probe() -> tuple[str, ...]:
    found = {pool: dict(balanced(*files)) for pool, files in FROM_A_PROBE.items()}

    def of(pool: str, method: str, drawn: str, column: str = "top1") -> float:
        return mean(found[pool][method, drawn][column])

    ahead = all(
        of(pool, EVERYTHING, drawn if drawn in ("", "balance=1") else "balance=1") > of(pool, method, drawn)
        for pool in found
        for method, drawn in found[pool]
        if method != EVERYTHING
    )
    gains = [of(pool, EVERYTHING, "balance=1", column) - of(pool, EVERYTHING, "", column)
             for pool, column in ((TAIL, "top1"), (CALTECH, "balanced_accuracy"), (CALTECH, "top1"))]  # fmt: skip
    return checked(ahead, "is ahead", "is not ahead"), f"{gains[0]:.1f}", f"{gains[1]:.1f}", f"{-gains[2]:.1f}"


# Sizes, one class, loops --------------------------------------------------------------------------------------------


def by_size() -> tuple[str, ...]:
    leads = [top1(pool, "ods", "paper", share) - top1(pool, "activeft", "paper", share) for pool, share in SIZES]
    clear = [lead for lead in leads if lead > 1.5]
    level = [lead for lead in leads if lead <= 1.5]
    near = checked(max(map(abs, level)) < 0.7, "level", "not level")
    return (*ordered(clear, 0), number(len(clear)), number(len(leads)), near, number(len(level)))


def typical_and_hard() -> tuple[str, ...]:
    def worst_and_best(share: str) -> tuple[str, str]:
        methods = ("margin", "top_loss", "activeft", "ods")
        ordered_by = sorted(methods, key=lambda one: top1(CALTECH, one, "paper", share))
        return ordered_by[0], ordered_by[-1]

    few, many = worst_and_best("2%"), worst_and_best("10%")
    turned = few[0] == "top_loss" and many[0] == "activeft"
    return (checked(turned, "the other way round", f"worst: {few[0]}, {many[0]}"),)


def soon_at_all_sizes() -> tuple[str, ...]:
    end = end_of_everything(CALTECH)
    batches = {reached(cell(CALTECH, "ods", "paper", share), end)[0] for pool, share in SIZES if pool == CALTECH}
    return ("/".join(sorted(batches)), reached(cell(CALTECH, EVERYTHING), end)[0])


def one_class() -> tuple[str, ...]:
    return tuple(
        bound for column, sign in (("balanced", 1), ("recall", 1), ("top1", -1)) for bound in gained(column, sign)
    )


def largest_losses() -> tuple[str, ...]:
    def means(column: str) -> list[tuple[float, float]]:
        cells = [(one_against_all(method, name, True) for method in ("top_loss", "ods")) for name in ASKED]
        return [(mean(largest[column]), mean(ods[column])) for largest, ods in cells]

    less = all(largest < ods for largest, ods in means("balanced"))
    dearer = all(largest < ods for largest, ods in means("top1"))
    return checked(less, "less", "more"), checked(dearer, "a higher", "a lower")


def gained(column: str, sign: int = 1) -> tuple[str, ...]:
    """By how many points the loss that asks for a class changes a column, from the least to the most."""
    with_it, without = (
        [mean(one_against_all("ods", name, asked)[column]) for name in ASKED] for asked in (True, False)
    )
    return ordered([sign * (one - other) for one, other in zip(with_it, without, strict=True)])


def loops() -> tuple[str, ...]:
    means = [top1(CALTECH, "ods", f"paper,loops={one}") for one in (1, 2)]
    means += [top1(CALTECH, "ods"), *(top1(CALTECH, "ods", f"paper,loops={one}") for one in (4, 5))]
    return (checked(means == sorted(means), "Each further loop helps", "not each further loop helps"),)


def no_change() -> tuple[str, ...]:
    besides = ("paper,eta=0.5", *(f"paper,eta=0.5,lambda_bw={value}" for value in ("0.5", "0.9", "1")))
    means = [top1(CALTECH, "ods", one) for one in besides]
    widest = max(spread(CALTECH, "ods", one) for one in besides)
    return (checked(max(means) - min(means) <= widest, "nothing", f"{max(means) - min(means):.1f} points"),)


# A good start, other days -------------------------------------------------------------------------------------------


def good_start() -> tuple[str, ...]:
    methods = (EVERYTHING, "random", "activeft", "ods")
    gains = [top1(CALTECH, one, "probe") - top1(CALTECH, one) for one in methods]
    lost = all(
        top1(pool, one, "probe") < top1(pool, EVERYTHING, "probe") for pool in (CALTECH, CIFAR) for one in methods[1:]
    )
    return (*ordered(gains, 0), checked(lost, "no selection pays", "some selection pays"))


# Half the batches ---------------------------------------------------------------------------------------------------


def half(key: str) -> float:
    """Top-1 of a row of the table of half the batches."""
    return mean(efficient()[key]["top1"])


def without_passes() -> tuple[str, ...]:
    free = [half(f"{QUARTER};scoring={one};batches=54") for one in ("noted", "head", "proxy")]
    full, whole = half(f"{QUARTER};score_share=0.25;batches=24"), half("balance=1;batches=72")
    spread = 100 * float(np.std(efficient()["balance=1;batches=72"]["top1"], ddof=1))
    ahead = (
        "level with what" if max(free) - whole < spread else checked(min(free) > whole, "more than", "not more than")
    )
    others = ("score_share=0.25;score_size=0.5", "score_share=0.1;score_part=uncertain", "scoring=noted;loop_growth=2")
    more = (f"{half(f'{QUARTER};{one};batches=54'):.1f}" for one in others)
    return (*(f"{one:.1f}" for one in free), f"{full:.1f}", ahead, f"{whole:.1f}", *more)


def drawn_without_a_look() -> tuple[str, ...]:
    random = half(f"{WITHIN};batches=72")
    scored = max(half(key) for key in efficient() if "score_first" in key and "warm_up" not in key)
    losses = half("loss_balance=1;score_first=0.25;scoring=noted;batches=54")
    return f"{random:.1f}", checked(random > scored, "more than", "less than"), f"{losses:.1f}"


def a_head_of_the_first_selection() -> tuple[str, ...]:
    random = half(f"{WITHIN};batches=72"), half(f"{WITHIN};warm_up=selected;batches=66")
    ods = half(f"{QUARTER};scoring=noted;batches=54"), half(f"{QUARTER};scoring=noted;warm_up=selected;batches=54")
    read = mean_curve(efficient()[f"{WITHIN};warm_up=selected;batches=66"])[-1, 1]
    best, whole = max(half(key) for key in efficient() if key.startswith(WITHIN)), half("balance=1;batches=144")
    widest = 100 * float(np.std(efficient()[f"{QUARTER};scoring=noted;warm_up=selected;batches=54"]["top1"], ddof=1))
    less = "missed by less than the spread of seeds" if whole - best < widest else "missed"
    missed = checked(best == ods[1] < whole, less, "met")
    pairs = (f"{one:.1f}" for one in (*random, *ods))
    return (f"{read:.0f}", f"{read / SCORED:.0f}", *pairs, f"{whole - best:.1f}", f"{whole:.1f}", missed)


def a_fitted_head() -> tuple[str, ...]:
    started = efficient()["balance=1;warm_up=pool;strengths=10;batches=12"]
    batches = mean_curve(started)[-1, 0]
    end = float(mean_curve(efficient()["balance=1;batches=144"])[-1, 2])
    after = reached(started, end)[1]
    return (
        f"{float(cost(started)) - batches:.0f}",
        f"{batches:.0f}",
        f"{mean(started['top1']):.1f}",
        after,
        cost(started),
    )


def other_days() -> tuple[str, ...]:
    """Points of ODS over ActiveFT on snow and fog, and what the sentence of that day adds."""
    found = read("experiments/vecaf/results/shift.json")["top1"]
    mean = {(row, day): 100 * float(np.mean(values)) for row, days in found.items() for day, values in days.items()}
    days = {"snow": "snowy", "fog": "foggy"}
    ahead = [mean["ODS", day] - mean["ActiveFT", day] for day in days]
    added = [mean[f"VeCAF, captions of a {name} day", day] - mean["ODS", day] for day, name in days.items()]
    return tuple(f"{points:+.1f}".replace("-0.0", "0.0") for points in (*ahead, *added))


CLAIMS: dict[str, list[Claim]] = {
    PAGE: [
        Claim("ODS is {} points ahead of ActiveFT in the same loop and {} ahead of training on everything, which it equals after {} batches instead of {} ({} times fewer; the paper has 3.3 on ImageNet).", as_published),
        Claim("every selection ends {} of everything (VeCAF {} above it, {} above ActiveFT). Selections of hard items lose up to {} points in the second loop", little_to_gain),
        Claim("The first pass over the pool costs as much as {} batches,", lambda: scoring()[:1]),
        Claim("and equals everything after {} batches, {} with scoring.", lambda: scoring()[1:]),
        Claim("gives ActiveFT {} points on Caltech-101 (the paper: 2.6 on its own), and {} to ODS beyond the seeds' spread there (the paper: 1.1); on CIFAR-10 it takes {} from ActiveFT and gives ODS {}.", captions),
        Claim("everything rises from {} to {} top-1 ({} to {} balanced), ODS from {} to {} ({} to {}): of {} points ({} balanced) {} is left, for {} times the compute.", share_of_balance),
        Claim("On the long tail everything drawn evenly ({}) {} of every selection from the whole pool, drawn evenly (ODS {}, random {}) or not (at most {}).", on_the_tail),
        Claim("ODS then has {} and {}, {} more than random items of each class, and {} and {} more than everything drawn evenly. Random items of each class, which nothing has to be scored for, {} with everything drawn evenly on Caltech-101 and {} points behind it on the long tail.", within_classes),
        Claim("Here everything {} of every selection, drawn evenly or not. On an even test set `balance=1` is worth {} points to everything; on Caltech-101, whose test set is as uneven as the pool, it gives {} points of balanced accuracy for {} of top-1.", from_a_probe),
        Claim("ODS leads ActiveFT in the same loop by {} to {} points at {} of the {} sizes, and is {} with it at {}.", by_size),
        Claim("With 121 images per loop (2 %) on Caltech-101 typical ones are what counts, and hard ones alone are the worst of all; with 607 (10 %) it is {}.", typical_and_hard),
        Claim("At all three sizes on Caltech-101 ODS has everything's end after {} batches instead of {}.", soon_at_all_sizes),
        Claim("The largest losses alone gain {} at {} price", largest_losses),
        Claim("Over cross-entropy ODS gains {} to {} points of balanced accuracy on the class that is asked for, {} to {} of recall, and pays with {} to {} on all ten.", one_class),
        Claim("{}: it brings other items, and knows better which (the paper, CIFAR-10: 96.1 / 96.3 / 96.5 / 96.5 with two to five).", loops),
        Claim("The captions' part in the forward pass changes {} beyond the seeds' spread (the paper: 0.998 the best of four, by up to 0.8).", no_change),
        Claim("on Caltech-101 by {} to {} points, and {}:", good_start),
        Claim("At the same cost ODS has {}, {} and {} by `noted`, `head` and `proxy`, and {} by full passes, which leave 24 batches to train. The three are {} everything has with 72 batches, {}, whose seeds differ most. Full passes over images of half the side have {}, a look at the uncertain tenth {}, loops that grow {}.", without_passes),
        Claim("Random items of each class, which nothing is scored for, have {}, {} ODS has from a head at zero by any scoring. ODS whose losses are balanced in place of its picks has {}.", drawn_without_a_look),
        Claim("{} features, {} batches' worth, bring random items from {} to {} and ODS by `noted` from {} to {}. That is the nearest that a selection comes, {} points short of everything with twice the batches, {}: the factor of two is {}.", a_head_of_the_first_selection),
        Claim("Here what gains is ODS, by {} and {} points over ActiveFT on snow and fog where clear images are level, and the sentences add {} and {} to that:", other_days),
        Claim("A probe on the pool, whose pass is worth {} batches, and {} batches on everything have {}; validation is above what is to be reached after {} of these {}.", a_fitted_head),
    ]
}  # fmt: skip
GIVEN: dict[str, list[Any]] = {
    PAGE: [
        "Selections of 5 % per loop",  # settings
        "Caltech-101, 5 % per loop, SGD at 0.05 from a head at zero, three seeds.",
        "two seeds (5 %: three)",
        "CIFAR-10, 5 % per loop, two seeds.",
        "0.2 % of it in the forward pass",
        "With 0.998 it can't: 0.2 % of the move reaches the head.",
        "The paper gains 4 to 6 points over ActiveFT by these sentences.",
    ]
}
