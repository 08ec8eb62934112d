"""The sentences of README.md and docs/."""

# Pieces of pages stand in one line, however long.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

import claims_experiments
import claims_vecaf
import numpy as np
from claims import Claim, checked, mean
from claims_benchmarks import series, top1
from claims_experiments import cell
from claims_experiments import top1 as fact_top1
from pool_tables import of_tuned
from stored import ROOT, read


def published(page: str) -> dict[str, Any]:
    """What a page had told before its values were kept."""
    return dict(read("experiments/published.json")[page])


def listed(values: list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def radius() -> tuple[Any, ...]:
    found = published("docs/select.md")["radius"]
    half, most = found["half"], found["eighty_percent"]
    return (
        found["radius"],
        f"{found['items']:,}",
        half["probcover"],
        half["max_herding"],
        *(f"{k:,}" for k in most.values()),
    )


def helper(name: str) -> list[int]:
    """Seconds of training what selectors in rounds read, at two sizes."""
    return list(published("docs/select.md")["helpers_seconds"][name])


def losses() -> tuple[str, ...]:
    found = published("docs/select.md")
    return tuple(listed(found[name][row]) for name in ("losses", "top1_by_similarity") for row in ("descent", "paper"))


def long_tail() -> tuple[Any, ...]:
    found = published("docs/select.md")["long_tail"]
    told = [listed(found[name]) for name in ("activeft", "activeft:tail", "k_means", "usl")]
    return (", ".join(map(str, found["budgets"])), found["seeds"], found["standard_error"], *told)


def tail_costs() -> list[str]:
    return [
        f"{top1('caltech101-vit', 'activeft', k) - top1('caltech101-vit', 'activeft:tail', k):.1f}" for k in (300, 600)
    ]


def speeds() -> list[float]:
    found = published("docs/vil.md")["images_per_second"]
    return [found[name][precision] for name in ("vil2_tiny", "vit_tiny") for precision in ("fp32", "bf16")]


def recipes() -> list[str]:
    rows = ("full, random labels", "full", "linear_probe", "probe_then_full", "lora", "fact")
    told = [f"{fact_top1('caltech101-120', row):.0f}" for row in rows]
    return told[:5] if told[4] == told[5] else [*told[:4], f"[no longer so: lora {told[4]} and fact {told[5]}]"]


ODS = "ods:ensemble=5"


def vecaf(file: str, method: str, budget: str = "5%", recipe: str = "") -> dict[str, Any]:
    """A row of VeCAF's loops: of a selector, a budget, and a recipe whose text ends so."""
    rows = read(f"experiments/vecaf/results/{file}.json")["rows"]
    found = [
        row for row in rows if (row["method"], row["budget"]) == (method, budget) and row["recipe"].endswith(recipe)
    ]
    return dict(found[0])


def paper_regime() -> tuple[str, ...]:
    ods, everything = vecaf("here_caltech101-1", ODS), vecaf("here_caltech101-1", "random", "100%")
    curves = [np.asarray(row["curves"]).mean(axis=0) for row in (ods, everything)]  # batches, scored items, accuracy
    equal = curves[0][np.flatnonzero(curves[0][:, 2] >= curves[1][-1, 2])[0], 0]
    first = curves[1][np.flatnonzero(curves[1][:, 2] >= curves[1][-1, 2])[0], 0]
    gain = mean(ods["top1"]) - mean(everything["top1"])
    return f"{gain:.0f}", checked(equal == first / 2, "half", f"{equal:.0f} of {first:.0f}")


def from_a_probe() -> list[str]:
    rows = (vecaf("here_caltech101-3", "random", "100%"), vecaf("here_caltech101-3", ODS))
    return [f"{mean(row['top1']):.1f}" for row in rows]


def adjusted() -> list[str]:
    gains = [float(gain) for gain in claims_experiments.long_tail()[:2]]
    return [f"{one:.0f}" for one in (min(gains), max(gains))]


def time_of_auto() -> list[str]:
    """Minutes of ``pool_fact`` without a student and of FACT with ViT-Tiny; medians over the seeds, least and most."""
    tuned = [cells for (_, backbone), cells in of_tuned().items() if backbone == "ViT-Tiny"]
    told = []
    for recipe in ("pool_fact:turns=0", "fact"):
        taken = [
            np.median(cell["train_seconds"]) / 60
            for cells in tuned
            for (one, _), cell in cells.items()
            if one == recipe
        ]
        told += [f"{value:.0f}" if value >= 1 else f"{value:.1f}" for value in (min(taken), max(taken))]
    return told


def with_the_pool() -> list[str]:
    """Top-1 with 202 labels of Caltech-101."""
    cells = of_tuned()["Caltech-101", "ViT-Tiny"]
    return [f"{mean(cells[one, '202']['top1']):.1f}" for one in ("fact", "pool_probe", "pool_fact:turns=0")]


def size() -> list[str]:
    path = ROOT / "src/activetune/networks/backbones/bundled.safetensors"
    return [f"{path.stat().st_size / 1e6:.1f}"]


def selecting() -> str:
    gain = np.mean(cell("activeft", 120)["top1"]) - np.mean(cell("random", 120)["top1"])
    return "20" if 20 < gain < 25 else f"[no longer so: {gain:.0f}]"


def tour() -> dict[str, Any]:
    """The run of docs/make_tour_pictures.py with photos."""
    return read("docs/tour_photos.json")


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def labelled() -> tuple[Any, ...]:
    """What labelling took: seconds of a label, and how the answers were given."""
    first = tour()["labelling"][0]
    typed = (first["keys"] - first["accepted"] - first["key"]) / first["searched"]
    ways = (first["accepted"], first["labels"], first["key"], f"{typed:.1f}")
    return (f"{first['seconds'] / first['labels']:.1f}", *ways)


def scored() -> list[str]:
    """Top-1 on the audit with its interval, and on the photos that were held out."""
    run = tour()
    shares = (run["scores"]["audit"]["top1"], run["audit"]["low"], run["audit"]["high"], run["scores"]["test"]["top1"])
    return [percent(share) for share in shares]


def exported() -> tuple[str, str]:
    found = tour()["onnx"]
    same = found["pytorch"] == found["exported"]
    return (
        checked(found["difference"] < 1e-5, "a hundred thousandth", str(found["difference"])),
        checked(same, percent(found["exported"]), f"{found['pytorch']} in PyTorch"),
    )


def more_labels() -> list[str]:
    """What 100 more labels were expected to bring, how they were given, and what they brought."""
    run, (_, second) = tour(), tour()["labelling"]
    expected = [percent(run["gain"][name]) for name in ("gain", "low", "high")]
    scores = run["scores"]
    brought = [percent(scores["next"]["top1"]), percent(scores["next"]["top1"] - scores["test"]["top1"])]
    return [*expected, str(second["accepted"]), f"{second['seconds'] / second['labels']:.1f}", *brought]


CLAIMS = {
    "README.md": [
        Claim(
            "120 labels on Caltech-101, the choice of selector is worth over {} points of accuracy",
            lambda: [selecting()],
        )
    ],
    "docs/bundled_backbone.md": [Claim("at 96 px, {} MB as float16 safetensors in the package.", size)],
    "docs/finetune.md": [
        Claim(
            "In the paper's regime (SGD, a head at zero) ODS ends {} points above training on everything on Caltech-101, which it "
            "equals after {} the batches, or after as many as everything needs once scoring is counted.",
            paper_regime,
        ),
        Claim("`auto` may take {} to {} minutes where `fact` takes {} to {} (ViT-Tiny,", time_of_auto),
        Claim("With 202 labels `fact` has {}, `pool_probe` {} and `pool_fact` without a student {}.", with_the_pool),
        Claim("`logit_adjustment=1` is worth {} to {} points to `fact`", adjusted),
        Claim("(`select_with=all`, {} % against {} on Caltech-101,", from_a_probe),
        Claim(
            "With `one_vs_all:CLASS` (two seeds) it buys {} to {} points of that class's balanced accuracy, {} to {} of its recall, for {} to {} "
            "on all of them (CIFAR-10, birds and cats).",
            claims_vecaf.one_class,
        ),
        Claim(
            "`full` on random images {} %, on selected ones {}, `linear_probe` {}, `probe_then_full` {}, `lora` and `fact` {}",
            recipes,
        ),
    ],
    "docs/select.md": [
        Claim("`top_loss`, `ods` | {} / {} |", lambda: helper("probe")),
        Claim("20 draws of it | `bald` | {} / {} |", lambda: helper("dropout")),
        Claim("500 steps together | `learn_loss`, `ta_vaal` | {} / {} |", lambda: helper("loss prediction")),
        Claim("300 to 1,000 steps of both | `vaal`, `ta_vaal` | {} / {} |", lambda: helper("adversary")),
        Claim(
            "On Caltech-101 with ViT-Tiny that is {}: half of the {} items are covered by {} picks of `probcover` ({} of "
            "`max_herding`), 80 % by {} ({}), as items that lie by themselves take a pick each.",
            radius,
        ),
        Claim(
            "distances under about {} are not told apart from 0.", lambda: [published("docs/select.md")["told_apart"]]
        ),
        Claim(
            "On Caltech-101 (ViT-Tiny, K = 120, 300, 600) the descent ends at {} where Algorithm 1 ends at {}; the items most "
            "similar to its centroids are worse picks all the same ({} % against {} %,",
            losses,
        ),
        Claim(
            "Swapping picks until it is lowest gives {} % (five seeds,", lambda: [series("caltech101-vit", "activeft")]
        ),
        Claim(
            "On CIFAR-10 with ViT-Tiny, imbalance 100 and a balanced test set (K = {}, {} seeds, standard error {}) `activeft` gets {} %, "
            "with `--preset tail` {}; k-means {}, `usl` {}:",
            long_tail,
        ),
        Claim("On Caltech-101 `tail` costs {} and {} points at K = 300 and 600.", tail_costs),
        Claim(
            "On unit features `eps` 0.2 turns {} to {} % of a pool",
            lambda: published("docs/select.md")["alfa_mix_turned_percent"],
        ),
        Claim(
            "from the {} % or so nearest to a boundary.",
            lambda: [published("docs/select.md")["alfa_mix_released_percent"]],
        ),
    ],
    "docs/tour.md": [
        Claim(
            "Caltech-101's {} photos of {} classes, and {} more in `test/`",
            lambda: [f"{tour()['photos']:,}", tour()["classes"], tour()["scores"]["test"]["n"]],
        ),
        Claim("Measured on {}, {}, while other programs ran there.", lambda: [tour()["machine"], tour()["date"]]),
        Claim(
            "`check` finds {} that lie in `test/` too and {} near copies, and `select` leaves them out.",
            lambda: [tour()["found"][kind] for kind in ("in_test", "near_duplicate")],
        ),
        Claim(
            "Whoever looks at each photo for a second, and types five keys in one, needs {} s for a label: the suggestion was "
            "right for {} of the {}, {} were of a class with a key, and for the others {} keys were typed, the first letters "
            "of the name and Enter.",
            labelled,
        ),
        Claim("The audit says that {} % are right ({} to {}); of the photos in `test/` {} % are.", scored),
        Claim("differ from the model's by less than {} of the largest, and {} % of `test/`", exported),
        Claim(
            "`next` expected {} points ({} to {}) of 100 more labels. Of those {} were suggested rightly, and each took {} s. "
            "With them {} % of `test/` are right, {} points more.",
            more_labels,
        ),
    ],
    "docs/vil.md": [
        Claim("`vil2_tiny` {} images/s in fp32 and {} in bf16; ViT-Tiny, of the same size, {} and {}.", speeds)
    ],
}
GIVEN = {
    "docs/api.md": [
        "its 95 % interval",
        "on its scale (of shares: 0.01 is a point)",
        "np.asarray([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.95, 0.05]])",
        '["scores"]["exported"]["top1"] 1.0',  # of examples, which tests run
        "unreadable 0 0.00 % 0 exact_duplicate 0 0.00 % 0",
    ],
    "docs/backbones.md": ["keep a cosine of 0.999 to those of fp32;"],  # a limit
    "docs/check.md": ["each have the setting `common` = 0.2"],
    "docs/deploy.md": ["(0.01, one point of a share)", "a score by more than 0.005"],  # SAME of handover/checks.py
    "docs/exchange.md": ["come back to within 0.0001", 'uploaded as "CVAT 1.1"'],  # tests/property/test_exchange.py
    "docs/other_tools.md": ["states two million images on a laptop", "shows up to 100,000 points"],
    "docs/security.md": ["takes more than five seconds or 3 GB"],
    "docs/report.md": ["boxes by F1 at an IoU of 0.5"],
    "docs/visft.md": [
        "with 1/64 = 0.015625",
        "2,000 draws, or 200 for each row where that is more, so that the clearest row can reach p = 0.01",
        "`--scale 0.03125`",
        "with a 95 % interval: the test images",
        "come to 6 GB in stage 2 in fp32, so they fit",
        "a card of 24 GB. The paper's 4.4 billion",
        "come to 19 GB in fp16 on one card.",
    ],  # settings, and what papers have
    "docs/bundled_backbone.md": ["(4.9 M parameters, 512 features)"],
    "docs/commands.md": ["boxes from a score of 0.3 on", "(0.01: what the primary score may lose)"],
    "docs/tasks.md": ["more than 64 times as long as wide", "boxes from a score of 0.3 on"],  # settings
    "docs/captions.md": ["the published 0.998, at which 0.2 % of the move is"],  # a setting
    "docs/finetune.md": [
        "makes up `probe_share` (0.3) of the average",  # settings
        "(`alphas` 0.8, 0.5, 0.95: from 0, not at all, to below 1)",
        "(`probe_share` 0.3, 0.1, 0.5)",
        "`even` (0.5) says how much a class weighs",
        "the surest 70 % of each class's (`pseudo_share`)",
        "SGD 0.01, batch 512, 1,000 epochs, 5 of warm-up, clip 2.0, drop-path 0.1",
        "Wilson's 95 % interval",
    ],
    "docs/formats.md": ["more than 64 times as long as wide"],
    "docs/tour.md": ["[CC BY 4.0"],  # a licence
    "docs/select.md": [
        "N = 100,000,000, D = 384 (77 GB in float16), K = 10,000, R = 8 processes",
        "a ball around an item holds 1 % of the other items",
        "a ball holds `share`, 1 %, of the items",
        "the largest at which 95 % of the balls hold one",
        "the authors' code has 0.7071",
        "a share `core` (0.25) of the budget",
    ],
    "docs/simulate.md": ["100 % is training on everything"],
}
