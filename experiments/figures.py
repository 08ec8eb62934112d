"""The figures of the pages, against the values that they were made of.

A page says ``85.0 ± 0.3``; the values of the single seeds lie in JSON and CSV files beside it. ``stored`` finds all
lists of values there, and ``unfounded`` the figures on a page that are the mean and sample standard deviation of none.
Some tables are made here as a whole; they stand between two marks of their page.

python experiments/figures.py      # writes those tables, and tells of each page what has no values behind it
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import check_tables
import experiment_tables
import numpy as np
import scale_tables
from stored import ROOT, brief, lines, read

from activetune.evaluation.statistics import mean_and_spread

FIGURE = re.compile(r"\d+(?:\.\d+)? ± \d+(?:\.\d+)?")
PAGES = {
    "experiments/activeft/README.md": "experiments/activeft",
    "experiments/caltech101/README.md": "experiments/caltech101",
    "experiments/fact/README.md": "experiments/fact",
    "experiments/segmentation/README.md": "experiments/segmentation",
    "experiments/vecaf/README.md": "experiments/vecaf",
    "benchmarks/accuracy/README.md": "benchmarks/accuracy",
    "docs/bundled_backbone.md": "experiments/bundled_backbone",
}
NAMES = ("budget", "features", "k", "method", "objective", "recipe", "row", "shots")  # columns that tell cells apart


PLAIN = ("dense", "autograd")  # ActiveFT's Algorithm 1, as ``benchmarks/plain.py`` has it
BEGIN, END = "<!-- made by experiments/figures.py -->", "<!-- end of what is made -->"


def main() -> None:
    for page, table in TABLES.items():
        path = ROOT / page
        path.write_text(with_tables(path.read_text(encoding="utf-8"), table()), encoding="utf-8")
    for page, folder in PAGES.items():
        missing = unfounded((ROOT / page).read_text(encoding="utf-8"), stored(ROOT / folder))
        print(f"{page}: {', '.join(missing) or 'all figures have their values'}")


def with_tables(text: str, made: Sequence[str]) -> str:
    """A page with what is made between its marks, one piece after the other."""
    before, *rest = text.split(BEGIN)
    if len(rest) != len(made):
        raise ValueError(f"the page has marks for {len(rest)} pieces, and {len(made)} are made")
    return before + "".join(
        f"{BEGIN}\n{piece}\n{END}{old.partition(END)[2]}" for piece, old in zip(made, rest, strict=True)
    )


def bundled_backbone() -> list[str]:
    """The tables of the model card: ``results.json`` by ``evaluate.py``, ``demo.csv`` by ``activetune demo``."""
    folder = ROOT / "experiments/bundled_backbone"
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    rows = content["rows"]
    named = {
        "random `resnet10t`": "bundled, random weights",
        "**bundled**": "bundled",
        "ViT-Tiny, the teacher": "ViT-Tiny (teacher)",
    }
    seen = [f"| {name} | {mean_and_spread(rows[key]['top1'], 3)} |" for name, key in named.items()]
    with (folder / "demo.csv").open(newline="", encoding="utf-8") as file:
        cells = [row for row in csv.DictReader(file) if row["method"] == "k_means"]
    budgets = sorted({int(row["budget"]) for row in cells})
    digits = []
    for name, features in (("raw pixels", "pixels"), ("**bundled**", "bundled")):
        by_budget = [
            [float(row["top1"]) for row in cells if (row["features"], row["budget"]) == (features, str(budget))]
            for budget in budgets
        ]
        digits.append(f"| {name} | {' | '.join(mean_and_spread(values, factor=100) for values in by_budget)} |")
    speed = rows["bundled"]
    text = [
        f"Measured on {content['machine']}, {content['date']}, by `experiments/bundled_backbone/evaluate.py`; "
        "Caltech-101 at short side",
        "128 px, 10 training and 10 test images per class, logistic regression C = 100, mean ± standard deviation "
        "over 5 draws.",
        "",
        "| network | Caltech-101 top-1 |",
        "|---|---|",
        *seen,
        "",
        "Handwritten digits (scikit-learn's, 1,258 to choose from, 539 held out, k-means picks, linear probe, "
        "3 seeds), by",
        "`activetune demo --data digits`:",
        "",
        f"| labels | {' | '.join(map(str, budgets))} |",
        "|---" * (len(budgets) + 1) + "|",
        *digits,
        "",
        f"Speed of the model alone, batches of 64: {speed['images_per_second_auto']} images/s in bf16, "
        f"{speed['images_per_second_fp32']} images/s in fp32.",
    ]
    return ["\n".join(text)]


def benchmarks() -> list[str]:
    """The benchmarks' tables: embedding, selection and how it grows, cached training, versions, pages, servers."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import growth

    rows = growth.read_rows()
    growing = (growth.growth(rows, part) for part in growth.AXES)
    return [
        embedding(),
        embedding_peers(),
        growth.cases(rows),
        *growing,
        scale_tables.pool_sizes(),
        on_a_gpu(),
        *cached_training(),
        versions(),
        labelling(),
        report(),
        load(),
    ]


def labelling() -> str:
    """``labelling.json``: the page of ``activetune label`` in a browser, by the number of images."""
    header = [
        "images",
        "next image, ms",
        "95 %, ms",
        "single labels/s",
        "grid labels/s",
        "frame while scrolling, ms",
        "new suggestions, s",
        "lost",
    ]
    rows = []
    for row in read("benchmarks/labelling.json")["rows"]:
        times = [f"{row[name]:.0f}" for name in ("next_image_ms", "next_image_p95_ms", "single_per_s", "grid_per_s")]
        seconds = [one["seconds"] for one in row["refits"]]
        lost = f"{row['lost']} of {row['given']}"
        rows.append(
            [
                f"{row['images']:,}",
                *times,
                f"{row['scroll_frame_ms']:.0f}",
                f"{min(seconds):.2f} to {max(seconds):.2f}",
                lost,
            ]
        )
    return lines(header, rows)


def report() -> str:
    """``report.json``: the page of ``activetune report`` in a browser, by the number of items."""
    header = ["items", "page, MB", "tiles beside it, MB", "first paint, ms", "map after scrolling to it, ms"]
    header.append("lines in the console")
    rows = []
    for row in read("benchmarks/report.json")["rows"]:
        sizes = [f"{row[name]:.1f}" if row[name] else "-" for name in ("page_mb", "tiles_mb")]
        times = [f"{row[name]:,}" for name in ("first_paint_ms", "map_ms")]
        rows.append([f"{row['items']:,}", *sizes, *times, f"{len(row['said'])}"])
    return lines(header, rows)


def load() -> str:
    """``load.json``: servers under as many requests as the machine makes."""
    header = ["server", "requests per second", "seconds", "answers kept or told", "lost", "refused"]
    header += ["memory, MiB", "open files"]
    rows = []
    for row in read("benchmarks/load.json")["rows"]:
        counts = [f"{row['answers']:,}", row["lost"], row["refused"]]
        grown = [f"{row['memory_mib']:+.1f}", f"{row['open_files']:+d}"]
        speed = f"{row['requests'] / row['seconds']:,.0f}"
        rows.append([f"`{row['server']}`", speed, f"{row['seconds']:.0f}", *map(str, counts), *grown])
    return lines(header, rows)


def embedding() -> str:
    """``embedding.json``: the runs that compared the command with the model alone."""
    named = {"timm/vit_tiny_patch16_224": "ViT-Tiny, 224 px", "bundled": "bundled, 96 px"}
    pools = {"cifar10-test": "CIFAR-10 test", "caltech101": "Caltech-101"}
    rows = []
    for row in read("benchmarks/embedding.json")["rows"]:
        if "embed" in row:
            cells = [f"{named[row['backbone']]}, {row['precision']}", f"{pools[row['pool']]}, {row['images']:,}"]
            cells += [f"{row['model_alone']:.0f}", f"{row['embed']:.0f}", f"{row['ratio']:.2f}", row["bound"]]
            rows.append(cells)
    return lines(["backbone", "pool", "model alone, images/s", "embed, images/s", "ratio", "binds"], rows)


def embedding_peers() -> str:
    """``embedding_peers.json``: tools that make features, and how many times as fast `embed` is in their precision."""
    found = read("benchmarks/embedding_peers.json")["rows"]
    rate = {row["tool"]: row["images_per_second"] for row in found}
    ours = {"fp32": rate["activetune, fp32"], "bf16": rate["activetune, auto"]}
    rows = []
    for row in found:
        own, precision = row["tool"].startswith("activetune"), row["tool"].rpartition(", ")[2]
        times = "" if own else f"{ours[precision] / row['images_per_second']:.2f}"
        name = row["tool"].replace("activetune, auto", "activetune, bf16").replace("activetune", "`embed`")
        rows.append([name, f"{row['images_per_second']:.0f}", times, f"{row['least_cosine']:.4f}"])
    return lines(["", "images/s", "`embed` is so many times as fast", "least cosine to timm's features in fp32"], rows)


def on_a_gpu() -> str:
    """``selection_gpu.json``: the whole command, selecting alone, and the plain algorithms on the same GPU."""
    rows = []
    for row in read("benchmarks/selection_gpu.json"):
        others = [f"{row['others'][name]['seconds']:.1f}" if name in row["others"] else "-" for name in PLAIN]
        seconds = [f"{row['seconds']:.1f}", f"{row['select_seconds']:.1f}"]
        rows.append([row["method"], f"{row['N']:,}", f"{row['K']:,}", *seconds, *others])
    return lines(["method", "N", "K", "seconds", "of it selecting", "dense", "autograd"], rows)


def cached_training() -> list[str]:
    """``cached_training.json``: images per second of the backbone and of each head, task by task."""
    tasks = read("benchmarks/cached_training.json")
    named = {
        "linear, by L-BFGS": "linear, by L-BFGS (all views an evaluation)",
        "map": "attention pooling",
        "map, brightness": "attention pooling, brightness",
        "map, posterize": "attention pooling, posterize",
    }
    backbone, heads = [], []
    for task, row in tasks.items():
        alone, plain = row["model_alone"], row["backbone_every_epoch"]
        size = row["backbone"].partition("@")[2].replace("x", " x ") or "224 x 224"
        backbone.append([task, size, brief(alone), brief(plain), f"{100 * plain / alone:.0f} %"])
        for key, cell in row["heads"].items():
            told = brief(cell["images_per_second"]), brief(cell["times_plain"])
            heads.append([task, named.get(key, key), *told])
    return [
        lines(["task", "pixels", "model alone", "backbone every epoch", "of the model alone"], backbone),
        lines(["task", "head", "images/s", "times the backbone"], heads),
    ]


def versions() -> str:
    """``versions.json``: seconds of this version per second of an earlier one, by command."""
    rows = []
    for row in read("benchmarks/versions.json")["rows"]:
        seconds = [f"{row[f'seconds_{version}']:.1f}" for version in ("before", "now")]
        ratios = [f"{row[f'{what}_ratio']:.2f}" for what in ("seconds", "processor")]
        span = f"{row['processor_ratio_least']:.2f} to {row['processor_ratio_most']:.2f}"
        rows.append([row["name"], *seconds, *ratios, span])
    return lines(["command", "seconds before", "seconds now", "ratio", "of processor time", "its range"], rows)


TABLES = {
    "benchmarks/README.md": benchmarks,
    "docs/bundled_backbone.md": bundled_backbone,
    **check_tables.TABLES,
    **experiment_tables.TABLES,
    **scale_tables.TABLES,
}


def unfounded(text: str, values: Iterable[Sequence[float]]) -> list[str]:
    """The figures of a page that are of none of the lists of values."""
    known = {
        mean_and_spread(found, digits, factor)
        for found in values
        if len(found) > 1 and np.isfinite(found).all()
        for digits in (0, 1, 3)
        for factor in (1, 100)
    }
    return [figure for figure in FIGURE.findall(text) if figure not in known]


def stored(folder: Path) -> Iterator[list[float]]:
    """Every list of numbers, one per seed, in the JSON and CSV files below a folder."""
    for path in sorted(folder.rglob("*.json")):
        yield from _in_json(json.loads(path.read_text(encoding="utf-8")))
    for path in sorted(folder.rglob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            yield from _by_cell(list(csv.DictReader(file)))


def _in_json(content: Any) -> Iterator[list[float]]:
    if isinstance(content, Mapping):
        values = list(content.values())
        if len(values) > 1 and all(map(_are_numbers, values)) and len({len(value) for value in values}) == 1:
            yield np.mean(values, axis=0).tolist()  # the mean of several classes, by seed
        for value in values:
            yield from _in_json(value)
    elif _are_numbers(content):
        yield list(content)
    elif isinstance(content, list):
        yield from _by_cell([row for row in content if isinstance(row, Mapping)])
        if content and all(map(_are_numbers, content)) and len({len(row) for row in content}) == 1:
            yield from map(list, zip(*content, strict=True))  # a row per seed, a column per loop
        for value in content:
            yield from _in_json(value)


def _by_cell(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[float]]:
    """The columns of rows that are alike but for the seed."""
    cells: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for row in rows:
        cell = cells.setdefault(tuple(str(row.get(name)) for name in NAMES), {})
        for name, value in row.items():
            try:
                cell.setdefault(name, []).append(float(value))
            except (TypeError, ValueError):
                continue
    for cell in cells.values():
        yield from cell.values()


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(one) in (int, float) for one in value)


if __name__ == "__main__":
    main()
