"""README.md and figures from the committed CSV files; nothing is computed again.

python benchmarks/accuracy/summary.py

What stands between the marks of the findings in README.md is written by hand and kept.
"""

from __future__ import annotations

import csv
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

sys.path.append(str(Path(__file__).parent))
from tasks import TASKS

from activetune.evaluation.statistics import mean_and_spread, spread

HERE = Path(__file__).parent
ORDER = (
    *("caltech101-vit", "caltech101-bundled", "cifar10-lt-vit", "cifar10-lt-bundled"),
    *("cifar10-vit", "cifar10-bundled"),
)
OBJECTIVES = {"emd": "EMD", "radius": "radius", "paper_loss": "ActiveFT's loss"}
COUNTERPARTS = {
    "scikit-activeml CoreSet": "k_center",
    "scikit-activeml TypiClust": "typiclust",
    "scikit-activeml ProbCover": "probcover",
    "faiss k-means": "k_means",
}
BEGIN, END = "<!-- findings: written by hand -->", "<!-- end of findings -->"
HEADER = """# Accuracy: which few images to label

```console
$ pip install -e '.[benchmarks]'
$ python benchmarks/accuracy/run.py --data DIR --weights vit_tiny_patch16_224.safetensors
$ python benchmarks/accuracy/summary.py     # this page and its figures, from results/*.csv
```

Every selector on the same features, then the recipe `linear_probe` (logistic regression on frozen features, strength
chosen on the labelled items alone) on its picks, scored on the test set, which chooses nothing. The cells are those of
`activetune simulate`; picks of other packages are trained and scored by the same function. Top-1 in %, mean ± standard
deviation over the seeds; rank: mean rank over the budgets among all rows of the table (1 is best; rounds are ranked
from their second budget on); seconds: median, of the selection at the highest budget (of all its rounds), on one
core of a shared machine, so good for orders of magnitude.

- **Features only**: one selection per budget, without any label.
- **Other packages**: their own code, with their defaults ([peers.py](../peers.py)).
- **In rounds**: random picks at the lowest budget, from then on each method adds what is missing to the next budget
  with all labels so far. At their lowest budget they are therefore the random row. So is `auto`, which begins with
  `activeft` where nothing forces it into rounds.

`free_sel` reads patch tokens and is not among these. `activeft:paper` is Algorithm 1 of the paper, `activeft:released`
what the authors' code computes, `activeft` this package's default, `activeft:power=1` the same with swaps that lower
the EMD itself, `activeft:tail` with swaps that look after far-off items.
"""


@dataclass(frozen=True)
class Table:
    """One CSV file: ``cells[method, k]`` holds its columns over the seeds."""

    name: str
    about: dict[str, Any]
    rows: Sequence[dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Table:
        """A CSV file and the JSON file beside it."""
        numbers = ("top1", "emd", "radius", "paper_loss", "select_seconds")
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                {**row, **{name: float(row[name]) for name in numbers}, "k": int(row["k"]), "seed": int(row["seed"])}
                for row in csv.DictReader(file)
            ]
        return cls(path.stem, json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), rows)

    @property
    def budgets(self) -> list[int]:
        """Ascending numbers of items."""
        return sorted({row["k"] for row in self.rows})

    @property
    def methods(self) -> list[str]:
        """In the order in which they were asked for."""
        known = {row["method"] for row in self.rows}
        return [method for method in self.about["settings"] if method in known]

    def group(self, method: str) -> str:
        """The part of the table that a method stands in."""
        if method in self.about["peers"]:
            return "Other packages"
        return "In rounds" if method in self.about["rounds"] else "Features only"

    def values(self, method: str, k: int, name: str = "top1") -> list[float]:
        """One column over the seeds."""
        return [row[name] for row in self.rows if row["method"] == method and row["k"] == k]

    def budgets_of(self, method: str) -> list[int]:
        """The budgets at which a method's own picks are measured: rounds begin with random ones."""
        return self.budgets[1:] if self.group(method) == "In rounds" else self.budgets

    def ranks(self) -> dict[str, float]:
        """Mean rank over a method's own budgets, of those that have them all; equal means share theirs."""
        whole = [m for m in self.methods if all(self.values(m, k) for k in self.budgets_of(m))]
        found: dict[str, list[float]] = {method: [] for method in whole}
        for k in self.budgets:
            means = {m: np.mean(self.values(m, k)) for m in whole if k in self.budgets_of(m)}
            for method, mean in means.items():
                others = np.asarray([value for name, value in means.items() if name != method])
                found[method].append(1 + (others > mean).sum() + (others == mean).sum() / 2)
        return {method: float(np.mean(ranks)) for method, ranks in found.items()}


PAGE = HERE / "README.md"


def main() -> None:
    tables = read_tables()
    for table in tables:
        draw(table)
    PAGE.write_text(page_of(tables), encoding="utf-8")
    print(f"{PAGE}: {len(tables)} tables")


def read_tables() -> list[Table]:
    """What is committed."""
    paths = [HERE / "results" / f"{name}.csv" for name in ORDER]
    return [Table.read(path) for path in paths if path.is_file()]


def page_of(tables: Sequence[Table]) -> str:
    """README.md, with the findings that it holds."""
    parts = [HEADER, findings(PAGE), *over_all(tables), *objectives(tables)]
    for table in tables:
        parts += section(table)
    return "\n".join(parts).rstrip() + "\n"


def findings(page: Path) -> str:
    """What was written by hand into the page, or room for it."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    kept = text.partition(BEGIN)[2].partition(END)[0].strip("\n")
    return f"## Findings\n\n{BEGIN}\n{kept}\n{END}\n"


# Tables -----------------------------------------------------------------------------------------------------------


def section(table: Table) -> Iterator[str]:
    """One pool under one backbone."""
    about, ranks = table.about, table.ranks()
    seeds = sorted({row["seed"] for row in table.rows})
    drawn = ", each with a pool drawn anew" if about.get("drawn") else ""
    yield f"## {table.name}\n"
    yield wrapped(
        f"Backbone `{about['backbone']}` ({about['size']} numbers), pool {about['pool_items']:,} items of "
        f"{about['classes']} classes ({about['smallest_class']:,} to {about['largest_class']:,} each), test set "
        f"{about['test_items']:,}. {len(seeds)} seeds{drawn}. {about['date']}, commit {about['commit']}"
        f"{' with changes' if about['uncommitted_changes'] else ''}, {about['machine']}, {about['versions']}."
    )
    if TASKS[table.name].drawn and not about.get("drawn"):
        yield wrapped(
            f"These figures of {about['date']} have one split for all seeds (that of seed 0), so ± does not hold what "
            "another split would change; tasks.py draws a split for each seed since, and these figures stand until the "
            "table is measured anew."
        )
    for note in notes(table):
        yield wrapped(note)
    yield f"![learning curves]({table.name}.png)\n"
    heads = " | ".join(f"K = {k:,}" for k in table.budgets)
    yield f"| | {heads} | rank | seconds | EMD at K = {table.budgets[-1]:,} |"
    yield "|---" * (len(table.budgets) + 4) + "|"
    best = {k: max(round(100 * float(np.mean(table.values(m, k))), 1) for m in table.methods) for k in table.budgets}
    for group in ("Features only", "Other packages", "In rounds"):
        yield f"| **{group}** |" + " |" * (len(table.budgets) + 3)
        for method in (method for method in table.methods if table.group(method) == group):
            yield table_row(table, method, ranks, best, len(seeds))
    yield ""


def wrapped(text: str) -> str:
    """A paragraph."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def table_row(table: Table, method: str, ranks: dict[str, float], best: dict[int, float], seeds: int) -> str:
    """Accuracies, rank, seconds and EMD of one method; bold where no other is higher."""
    cells = []
    for k in table.budgets:
        values = table.values(method, k)
        if not len(values):
            cells.append("-")
            continue
        told = mean_and_spread(values, factor=100)
        told = f"**{told}**" if round(100 * np.mean(values), 1) == best[k] else told
        cells.append(told if len(values) == seeds else f"{told} ({len(values)})")
    last = table.budgets[-1]
    seconds, emd = (table.values(method, last, name) for name in ("select_seconds", "emd"))
    cells.append(f"{ranks[method]:.1f}" if method in ranks else "-")
    cells.append(told_seconds(float(np.median(seconds))) if seconds else "-")
    cells.append(f"{np.mean(emd):.3f}" if emd else "-")
    return f"| {method} | " + " | ".join(cells) + " |"


def told_seconds(value: float) -> str:
    """Two digits are enough."""
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def notes(table: Table) -> Iterator[str]:
    """Peers that saw a part of the pool, methods that were measured later, and selections that are missing."""
    about = table.about
    if about["on_a_part"]:
        yield (
            f"On a random 10,000 of the pool, as they hold N x N numbers: {', '.join(about['on_a_part'])} (their EMD "
            "is over the whole pool)."
        )
    for method, on in about.get("later", {}).items():
        yield f"{method}: {on['date']}, commit {on['commit']}, {on['machine']}, so its seconds do not compare."
    for row in about["skipped"]:
        yield f"Missing: {row['method']}, {row['budget']}, seed {row['seed']}: {row['reason']}."


def over_all(tables: Sequence[Table]) -> Iterator[str]:
    """Mean rank of each method in each table."""
    ranks = {table.name: table.ranks() for table in tables}
    methods = list(dict.fromkeys(method for table in tables for method in table.methods))
    means = {
        method: np.mean([ranks[name][method] for name in ranks])
        for method in methods
        if all(method in ranks[name] for name in ranks)
    }
    yield "## Ranks\n\nMean rank over the budgets of each table, and the mean of these.\n"
    yield "| | " + " | ".join(ranks) + " | mean |"
    yield "|---" * (len(ranks) + 2) + "|"
    for method in sorted(methods, key=lambda method: means.get(method, np.inf)):
        cells = [f"{ranks[name][method]:.1f}" if method in ranks[name] else "-" for name in ranks]
        yield (
            f"| {method} | " + " | ".join(cells) + f" | {means[method]:.1f} |"
            if method in means
            else (f"| {method} | " + " | ".join(cells) + " | - |")
        )
    yield ""


def objectives(tables: Sequence[Table]) -> Iterator[str]:
    """How well each objective orders selections by accuracy."""
    yield "## Which objective predicts accuracy\n"
    yield wrapped(
        "Spearman's correlation between top-1 and an objective of the picks, "
        "over all selections (methods and seeds) of a fixed budget; -1: lower is always better, 0: it tells nothing. "
        "EMD: mean distance of the pool's items to their nearest pick; radius: the largest such distance (k-center); "
        "ActiveFT's loss: equation 11 at the picks themselves, temperature 0.07. In brackets: features only and other "
        "packages, without methods that look at labels."
    )
    yield "| | K | " + " | ".join(OBJECTIVES.values()) + " | selections |"
    yield "|---" * (len(OBJECTIVES) + 3) + "|"
    for table in tables:
        for k in table.budgets:
            rows = [row for row in table.rows if row["k"] == k]
            rows = [row for row in rows if table.group(row["method"]) != "In rounds" or k != table.budgets[0]]
            alone = [row for row in rows if table.group(row["method"]) != "In rounds"]
            cells = [f"{correlation(rows, name):.2f} ({correlation(alone, name):.2f})" for name in OBJECTIVES]
            yield f"| {table.name} | {k:,} | " + " | ".join(cells) + f" | {len(rows)} ({len(alone)}) |"
    yield ""


def correlation(rows: Sequence[dict[str, Any]], name: str) -> float:
    """Spearman's rank correlation with top-1."""
    return float(spearmanr([row[name] for row in rows], [row["top1"] for row in rows]).statistic)


# Figures ----------------------------------------------------------------------------------------------------------


def draw(table: Table) -> None:
    """Learning curves in two panels: without labels (and other packages, dashed), and in rounds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(13, 5.2), sharey=True, layout="constrained")
    panels: list[tuple[str, Callable[[str], bool]]] = [
        ("without labels; other packages dashed", lambda method: table.group(method) != "In rounds"),
        ("in rounds, from random picks; activeft without labels", lambda method: table.group(method) == "In rounds"),
    ]
    colours = [*pyplot.get_cmap("tab10").colors, *pyplot.get_cmap("Dark2").colors]
    for axis, (title, wanted) in zip(axes, panels, strict=True):
        shown = [m for m in table.methods if wanted(m) or m in ("random", "activeft")]
        for method in shown:
            ks = [k for k in table.budgets if table.values(method, k)]
            means = [100 * np.mean(table.values(method, k)) for k in ks]
            spreads = [100 * (spread(table.values(method, k)) or 0.0) for k in ks]
            family = COUNTERPARTS.get(method, method)
            colour = {"random": "0.6", "activeft": "black"}.get(family, colours[shown.index(family) % len(colours)])
            style = "--" if table.group(method) == "Other packages" else "-"
            axis.errorbar(ks, means, spreads, label=method, color=colour, linestyle=style, capsize=2, linewidth=1.4)
        axis.set(title=title, xlabel="labelled items", xscale="log")
        axis.set_xticks(table.budgets, [f"{k:,}" for k in table.budgets])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, ncols=2, loc="lower right")
    axes[0].set_ylabel("top-1, %")
    figure.suptitle(table.name)
    figure.savefig(HERE / f"{table.name}.png", dpi=90, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
