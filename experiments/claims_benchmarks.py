"""The sentences of ``benchmarks/README.md`` and of the findings in ``benchmarks/accuracy/README.md``."""

# Pieces of pages stand in one line, however long.
# ruff: noqa: E501

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any

import numpy as np
from claims import Claim, checked, mean, number, ordered
from stored import ROOT, read, three

sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "benchmarks/accuracy")]
growth, summary = (importlib.import_module(name) for name in ("growth", "summary"))

PAGE, ACCURACY = "benchmarks/README.md", "benchmarks/accuracy/README.md"
ALONE = ("Features only", "Other packages")  # groups of rows that use no labels


# Time and memory ----------------------------------------------------------------------------------------------------


def run_of(backbone: str, precision: str) -> dict[str, Any]:
    """A row of ``embedding.json``."""
    rows = read("benchmarks/embedding.json")["rows"]
    (row,) = (row for row in rows if (row["backbone"], row["precision"]) == (backbone, precision))
    return dict(row)


def case(name: str) -> dict[str, Any]:
    """A row of ``selection.json``."""
    (row,) = (row for row in growth.read_rows() if row["name"] == name)
    return dict(row)


def bundled() -> tuple[str, ...]:
    row = run_of("bundled", "bf16")
    decoding, model = row["decoding_ms"], row["model_ms"]
    low, high = row["embed_without_priority"]
    return f"{decoding}", f"{model}", f"{100 * model / (decoding + model):.0f}", f"{low}-{high}"


def apricot() -> tuple[str, ...]:
    row = case("max_herding-small")
    return f"{row['others']['apricot']['seconds']:.0f}", f"{row['seconds']:.0f}", f"{row['N'] ** 2 * 8 / 1e9:.1f}"


def flop(name: str, picks: int | None = None) -> float:
    """Of comparing all items of a row with all its picks once."""
    row = case(name)
    return 2.0 * row["N"] * (picks or row["K"]) * row["D"]


def assignments() -> tuple[str, ...]:
    costs = read("benchmarks/costs.json")
    seconds = costs["assignment_seconds"]
    return f"{flop('activeft-2500') / 1e9:.0f}", f"{seconds}", f"{300 * seconds:.0f}"


def descent() -> tuple[str, ...]:
    costs, row = read("benchmarks/costs.json"), case("activeft-2500")
    near = flop("activeft-2500", costs["near"]) / 1e9
    evaluations = f"{row['figures']['evaluations']:.0f}"
    parts = costs["seconds"]
    told = (costs["exact_evaluations"], costs["near"], f"{near:.1f}", costs["near_seconds"])
    return (evaluations, *told, f"{row['select_seconds']:.0f}", *parts.values())


def million() -> tuple[str, ...]:
    costs = read("benchmarks/costs.json")
    herding = costs["max_herding"]
    gains = flop("max_herding-500", herding["jury"]) / 1e9
    seconds = (herding["first_gains_seconds"], herding["lazy_seconds"])
    return f"{flop('activeft-million') / 1e12:.1f}", costs["assignment_seconds_million"], f"{gains:.0f}", *seconds


def memory() -> tuple[str, ...]:
    rows = [row for row in growth.read_rows() if row["N"] == 10**6 and "peak_anonymous_mb" in row]
    features = 4 * 10**6 * rows[0]["D"] / 1e9
    beside = max(row["peak_anonymous_mb"] for row in rows) / 1e3 - features
    return f"{features:.1f}", checked(beside < 1, "less than 1 GB", f"{beside:.1f} GB")


def on_a_gpu() -> tuple[str, ...]:
    small, large = (next(row for row in read("benchmarks/selection_gpu.json") if row["name"] == name)
                    for name in ("activeft-2500", "activeft-million"))  # fmt: skip
    share = small["others"]["dense"]["seconds"] / small["select_seconds"]
    evaluations = f"{small['figures']['evaluations']:.0f}"
    return f"{share:.2f}", evaluations, f"{large['seconds']:.0f}", f"{case('activeft-million')['seconds']:.0f}"


def embedding_on_a_gpu() -> tuple[str, ...]:
    few, many = read("benchmarks/embedding_gpu.json")["rows"]
    none = checked(many["embed"] <= few["embed"], "no more", "more")
    told = (f"{few['images']:,}", f"{few['embed']:,.0f}", number(few["workers"]), f"{few['ratio']:.2f}")
    return (*told, many["workers"], none, f"{many['embed']:,.0f}")


def listing() -> tuple[str, ...]:
    named, unnamed = (
        next(row for row in read("benchmarks/listing.json")["rows"] if row["suffix"] is suffix)
        for suffix in (True, False)
    )
    counts = (f"{named['files']:,}", named["folders"], named["seconds"], named["processor_seconds"], named["peak_mb"])
    return (*counts, f"{named['seconds_a_million']:.0f}", f"{unnamed['seconds_a_million']:.0f}")


def identity() -> tuple[str, ...]:
    found = read("benchmarks/identity.json")
    parts, ratio = found["processor_us"], found["embed_ratio"]
    share = 100 * sum(parts.values()) / 1000 / found["embedding_ms"]
    return (found["image_kb"], found["images"], number(found["runs"]), *parts.values(), f"{share:.1f}", found["embedding_ms"],
            found["reading_us"], number(ratio["runs"]), ratio["images"], ratio["median"], ratio["least"],
            ratio["with_cache_median"], ratio["with_cache_least"], ratio["spread_percent"])  # fmt: skip


def attention() -> tuple[str, ...]:
    costs = read("benchmarks/costs.json")
    size, rate = 197 * 192 * 2, trained("classification", "map")["images_per_second"]  # tokens, numbers, bytes
    gigaflops = rate * costs["attention_mflop"] / 1e3
    return f"{size / 1e3:.0f}", costs["attention_mflop"], three(rate), f"{rate * size / 1e9:.1f}", f"{gigaflops:.0f}"


def trained(task: str, head: str) -> dict[str, float]:
    """A head of ``cached_training.json``."""
    return dict(read("benchmarks/cached_training.json")[task]["heads"][head])


def shared_machine() -> tuple[float, float]:
    """The least and the most images per second of one model at one size."""
    rates = [
        row["model_alone"] for row in read("benchmarks/cached_training.json").values() if "@" not in row["backbone"]
    ]
    return min(rates), max(rates)


def head_rates() -> tuple[Any, ...]:
    """How often faster than the backbone a linear head of masks is, and the heads with layers of their own; all the latter."""
    heavy = [
        trained(task, head)["times_plain"]
        for task, heads in (
            ("segmentation", ("segmenter", "mask2former")),
            ("detection", ("fcos", "detr")),
            ("captioning", ("lstm", "transformer")),
        )
        for head in heads
    ]
    return f"{trained('segmentation', 'linear')['times_plain']:.0f}", f"{min(heavy):.1f}", f"{max(heavy):.1f}"


def versions() -> tuple[Any, ...]:
    rows = read("benchmarks/versions.json")["rows"]
    level = [row for row in rows if row["processor_ratio_least"] <= 1 <= row["processor_ratio_most"]]
    ratios = {row["name"]: f"{row['processor_ratio']:.2f}" for row in rows}
    slower = [row["name"] for row in rows if row["processor_ratio_least"] > 1]
    none = checked(not slower, "none is", f"{', '.join(slower)} is")
    return len(level), len(rows), ratios["finetune fact"], ratios["embed, bundled"], none


CLAIMS = {
    PAGE: [
        Claim("ViT-Tiny in fp32: {:.0f} images/s.", lambda: [run_of("timm/vit_tiny_patch16_224", "fp32")["model_alone"]]),
        Claim(
            "decoding costs {} ms of processor time an image and the model {} ms: even without any overhead the two "
            "together end at {} % of the model alone.",
            lambda: bundled()[:3],
        ),
        Claim("took embed from {} to {:.0f} images/s.", lambda: (bundled()[3], run_of("bundled", "bf16")["embed"])),
        Claim("an N x N matrix of the last two would take {:.0f} GB", lambda: [50_000**2 * 4 / 1e9]),
        Claim("apricot takes {} s against {} on 10,000 items, for which it holds an N x N matrix of {} GB.", apricot),
        Claim(
            "an exact assignment is 2 N K D = {} GFLOP, which these cores multiply in {} s; Algorithm 1 needs 300 of them "
            "({} s).",
            assignments,
        ),
        Claim(
            "The descent needs {} evaluations, of which {} are exact; the others compare each item with the {} centroids "
            "around its last one ({} GFLOP, {} s). Of the {} s: exact assignments {}, swaps {} (finding new nearest picks "
            "for items whose pick was taken), K x K repulsion {}, neighbours' assignments {}, the rest",
            descent,
        ),
        Claim(
            "one exact assignment is {} TFLOP ({} s); five of them are most of the time. MaxHerding's first gains are 2 N "
            "J D = {} GFLOP ({} s), the lazy ones after it another {} s.",
            million,
        ),
        Claim("at a million items the peak is {} GB for the float32 features and {} beside them.", memory),
        Claim(
            "its 300 iterations take {} of the time that ours spends on selecting. Ours follows its {} evaluations with "
            "swaps, which choose the better picks and run on processor cores in part, and the rest of the seconds is "
            "start-up. Whoever selects many times from 50,000 items in one process on such a GPU would gain by moving the "
            "swaps there; for a million items all of it is done in {} s, against {} on two cores.",
            on_a_gpu,
        ),
        Claim(
            "`embed` of {} CIFAR-10 images with ViT-Tiny in bf16 reaches {} images/s with {} decoding processes, {} of the "
            "model alone in batches of 32: decoding binds, and {} processes gave {} ({} images/s).",
            embedding_on_a_gpu,
        ),
        Claim(
            "{} files in {} sub-folders list in {} s ({} s of processor time) at {} MB resident, no image opened; {} s "
            "for a million at that rate (2026-11-27, 2 cores with AVX2, other work on both: an upper bound). Files without "
            "a suffix are opened for their first bytes (`--no-suffix`): {} s for a million in the same way.",
            listing,
        ),
        Claim(
            "Processor time per image of {} KB, {} images of Caltech-101, the least of {} runs (2026-11-27, 2 cores, AMD "
            "EPYC with AVX2, busy with other work): looking at the file's entry {} µs, SHA-256 of bytes that are read "
            "anyway {} µs, recalling a digest {} µs, remembering one {} µs. Together that is {} % of the {} ms that "
            "embedding such an image with the bundled backbone in fp32 takes on the same machine. Reading a file only to "
            "recognise it costs {} µs. The whole of `embed`, this version against the first one in turn, {} runs of {} "
            "images each: {} times its processor time by the median, {} by the least run (with the cache {} and {}). Runs "
            "of one version differ by {} % on this machine",
            identity,
        ),
        Claim("at 224 pixels the model alone gave {:.0f} to {:.0f} images/s", shared_machine),
        Claim(
            "A linear head of masks takes an image {} times as fast as the backbone alone would. Heads with layers of "
            "their own ({} to {} times) are not what caching is for",
            head_rates,
        ),
        Claim(
            "Attention pooling reads all tokens of an image, {} KB in float16, and computes {} MFLOP for it forward and "
            "backward. At {} images/s that is {} GB/s read and {} GFLOP/s;",
            attention,
        ),
        Claim("(here commit {},", lambda: [read("benchmarks/versions.json")["rows"][0]["before"]]),
        Claim(
            "In {} of {} commands the range of the rounds holds 1. `finetune fact` takes {} of its processor time, `embed` "
            "with the bundled backbone {}; {} slower in every round.",
            versions,
        ),
    ]
}  # fmt: skip


# Accuracy -----------------------------------------------------------------------------------------------------------


@cache
def table(name: str) -> Any:
    """A stored table of accuracies."""
    return summary.Table.read(ROOT / "benchmarks/accuracy/results" / f"{name}.csv")


def top1(name: str, method: str, k: int) -> float:
    """Mean over the seeds, in percent."""
    return mean(table(name).values(method, k))


def series(name: str, method: str, *counts: int) -> str:
    """``74.4, 76.5, 79.0``: at some budgets, or at all of them."""
    return ", ".join(f"{top1(name, method, k):.1f}" for k in counts or table(name).budgets)


def among(name: str, k: int, groups: tuple[str, ...] = ALONE) -> dict[str, float]:
    """Top-1 of the methods of some groups, at a budget."""
    found = table(name)
    return {method: top1(name, method, k) for method in found.methods if found.group(method) in groups}


def near(name: str, k: int, points: float = 1.0) -> set[str]:
    """The methods without labels that are within so many points of the best of them."""
    found = among(name, k)
    return {method for method, value in found.items() if value >= max(found.values()) - points}


def correlations(*names: str) -> list[float]:
    """Of the picks' EMD with accuracy, at every budget."""
    found = []
    for name in names:
        one = table(name)
        for k in one.budgets:
            rows = [row for row in one.rows if row["k"] == k]
            found.append(
                summary.correlation([r for r in rows if one.group(r["method"]) in ALONE or k != one.budgets[0]], "emd")
            )
    return found


def ahead_on_the_tail() -> tuple[str, ...]:
    name = "cifar10-lt-vit"
    methods = ("typiclust", "usl", "max_herding", "apricot facility location")
    gains = [top1(name, one, k) - top1(name, "activeft", k) for one in methods for k in table(name).budgets[1:]]
    spread = np.std(table(name).values("activeft", 124), ddof=1) * 100
    return (*ordered(gains), checked(max(gains) < spread, "within one standard deviation", f"{max(gains):.1f} points"))


def without_labels() -> tuple[str, ...]:
    vit = "caltech101-vit"
    own = {"activeft", "activeft:power=1", "activeft:tail"}
    first = all(max(found := among(vit, k), key=lambda one: found[one]) in own for k in (120, 300))
    bundled_level = max(
        abs(top1("caltech101-bundled", "max_herding", k) - top1("caltech101-bundled", "activeft", k))
        for k in (120, 300)
    )
    return (
        checked(first, "leads", "not the highest"),
        f"{top1(vit, 'apricot facility location', 600):.1f}",
        f"{top1(vit, 'activeft', 600):.1f} ± {100 * np.std(table(vit).values('activeft', 600), ddof=1):.1f}",
        checked(bundled_level < 0.15, "level", f"{bundled_level:.1f} points apart"),
        number(len(near("caltech101-bundled", 600))),
    )


def on_cifar10() -> tuple[str, ...]:
    name = "cifar10-vit"
    level = {
        method
        for method in among(name, 250)
        if all(abs(top1(name, method, k) - top1(name, "activeft", k)) <= 1 for k in table(name).budgets)
    }
    released = top1(name, "activeft:released", 250) - top1(name, "activeft", 250)
    values = table(name).values("activeft:released", 250)
    places = ((name, 500), *(("cifar10-bundled", budget) for budget in (250, 500, 1_000)))
    later = [f"{top1(one, 'activeft:released', k) - top1(one, 'activeft', k):.1f}" for one, k in places]
    told = f"{mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}"
    both = checked("max_herding" in level, "among them", "max_herding is not")
    times = (np.median(table(name).values(one, 1000, "select_seconds")) for one in ("max_herding", "activeft"))
    ratio = next(times) / next(times)
    tenth = checked(9 < ratio < 11, "a tenth", f"1/{ratio:.0f}")
    ahead = checked(not ahead_everywhere("activeft"), "no row is ahead of it on all pools", "some row is")
    others = number(len(level - {"activeft"}))
    herding = series(name, "max_herding")
    return series(name, "activeft"), others, herding, both, f"{released:.1f}", told, *later, ahead, tenth


def ahead_everywhere(method: str) -> set[str]:
    """The methods without labels whose mean over the budgets is higher in every table."""
    found = []
    for name in summary.ORDER:
        means = {
            one: np.mean([top1(name, one, k) for k in table(name).budgets])
            for one in among(name, table(name).budgets[0])
        }
        found.append({one for one, value in means.items() if value > means[method]})
    return set.intersection(*found)


def rounds() -> tuple[str, ...]:
    tail, cifar = "cifar10-lt-vit", "cifar10-vit"
    best = max(among(tail, 248).values())
    caltech = [among("caltech101-vit", k, ("In rounds",)) for k in (300, 600)]
    rankings = ("entropy", "least_confidence", "bald", "learn_loss")
    lose = all(
        top1(name, one, k) < top1(name, "random", k)
        for name in ("caltech101-vit", "caltech101-bundled")
        for one in rankings
        for k in (300, 600)
    )
    highest, second = sorted(caltech[1].values(), reverse=True)[:2]
    alfa = checked(caltech[1]["alfa_mix"] == highest, f"{highest:.1f}", "alfa_mix does not lead")
    pairs = [f"{top1(name, one, k):.1f}" for name, k in ((tail, 248), (cifar, 500), (cifar, 1000))
             for one in ("uncertainty_medoids", "uncertainty_herding")]  # fmt: skip
    seconds = [np.median(table(cifar).values(one, 1000, "select_seconds")) for one in ("uncertainty_herding", "auto")]
    speed = number(round(seconds[0] / seconds[1]))
    return checked(lose, "lose", "not all lose"), *pairs[:2], f"{best:.1f}", *pairs[2:], alfa, f"{second:.1f}", speed


def weak() -> tuple[str, ...]:
    name = "cifar10-bundled"
    best = [max(top1(name, method, k) for method in table(name).methods) for k in table(name).budgets]
    return series(name, "random"), ", ".join(f"{value:.1f}" for value in best)


CLAIMS[ACCURACY] = [
    Claim(
        "(EMD): rank correlations of {1} to {0} on Caltech-101 at every budget, {3} to {2} on CIFAR-10 with ViT-Tiny.",
        lambda: (
            *ordered(correlations("caltech101-vit", "caltech101-bundled"), 2),
            *ordered(correlations("cifar10-vit"), 2),
        ),
    ),
    Claim(
        "it predicts less ({1} to {0} with ViT-Tiny, {3} to {2} with the bundled backbone)",
        lambda: (*ordered(correlations("cifar10-lt-vit"), 2), *ordered(correlations("cifar10-lt-bundled"), 2)),
    ),
    Claim(
        "`typiclust`, `usl`, `max_herding` and apricot's facility location are {} to {} points ahead of `activeft` there "
        "with ViT-Tiny from K = 124 on, {} of the pools;",
        ahead_on_the_tail,
    ),
    Claim(
        "Without labels `activeft` {} on Caltech-101 with ViT-Tiny at the two lower budgets, with its own variants, and is "
        "level at the third (apricot {}, `activeft` {}); with the bundled backbone `max_herding` and `activeft` are {} up "
        "to 300, and at 600 {} methods lie within a point.",
        without_labels,
    ),
    Claim(
        "On CIFAR-10 with ViT-Tiny `activeft` has {}, and {} methods are within a point of it at each budget, `max_herding` "
        "({}) {}; the loss as released, without swaps, is {} points ahead at 250 ({}), {} at 500 and "
        "level at 1,000; with the bundled backbone it is {}, {} and {} ahead. So `activeft` is what `auto` takes: {}, and it takes {} of `max_herding`'s time "
        "there.",
        on_cifar10,
    ),
    Claim(
        "With balls that hold 1 % of the pool it is level with the best on CIFAR-10 ({})",
        lambda: [series("cifar10-vit", "probcover")],
    ),
    Claim(
        "Rankings (entropy, least confidence, BALD, LearnLoss) {} to random picks on Caltech-101. `uncertainty_medoids` and "
        "`uncertainty_herding`, which weigh coverage by doubt, lead on the long tail with ViT-Tiny ({} and {} "
        "at K = 248, where the best without labels has {}), on Caltech-101 with the bundled backbone at 600, and on CIFAR-10 with ViT-Tiny ({} and {} at "
        "500, {} and {} at 1,000); `alfa_mix` leads on Caltech-101 with ViT-Tiny at 600 ({} against {}). `auto` takes "
        "`uncertainty_medoids` from three labels per class on, which is {} times as fast as `uncertainty_herding` on CIFAR-10.",
        rounds,
    ),
    Claim("worth a point or two: random picks {}, the best rows {}.", weak),
    Claim(
        "there: `rep_div` has {} with ViT-Tiny, where `activeft` has {}; `drop_query` has {} from its second budget on, "
        "`alfa_mix` {}.",
        lambda: [
            *(series("caltech101-vit", method) for method in ("rep_div", "activeft")),
            *(series("caltech101-vit", method, 300, 600) for method in ("drop_query", "alfa_mix")),
        ],
    ),
]
GIVEN = {
    ACCURACY: [
        "`probcover`'s balls of 1 %",  # a setting
        "it was the last choice (CIFAR-10, ViT-Tiny, 250: 61.1)",  # LOG.md
    ]
}
