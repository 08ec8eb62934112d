"""Gather the pages of the documentation site, and write one for each selector, recipe and task.

python docs/make_site.py            # build/site/source, from which `make docs` builds build/site/html

The pages of docs/, experiments/ and benchmarks/ are copied as they are, so that their links lead to the same places.
Pages of methods are made from what stands elsewhere already: the module's docstring, its section or row of the guide,
the settings with their defaults, and figures that were measured.
"""

from __future__ import annotations

import csv
import inspect
import json
import re
import shlex
import shutil
import statistics
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from make_api import names_in, one_entry_per_line, prose

from activetune.base.config import field_defaults
from activetune.base.settings import Settings
from activetune.evaluation.statistics import mean_and_spread
from activetune.selection.selectors import selectors
from activetune.tasks import make_task, tasks
from activetune.training.recipe import recipes

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "build" / "site" / "source"
COPIED = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "experiments/**/*.md", "benchmarks/**/*.md")
METHODS = Path("docs", "methods")
UP = "../../../"  # from docs/methods/KIND/NAME.md to the root
POOLS = {
    "caltech101-vit": "Caltech-101, ViT-Tiny",
    "caltech101-bundled": "Caltech-101, bundled",
    "cifar10-vit": "CIFAR-10, ViT-Tiny",
    "cifar10-bundled": "CIFAR-10, bundled",
    "cifar10-lt-vit": "CIFAR-10, long tail, ViT-Tiny",
    "cifar10-lt-bundled": "CIFAR-10, long tail, bundled",
}
BASELINE = "random"
TOO_MANY = {("tasks", page) for page in ("fact", "pool", "vecaf")}  # rows of one class per image: the pages have them
DATA = {"caltech101": "Caltech-101", "cifar10": "CIFAR-10", "cifar10_lt": "CIFAR-10, long tail"}
ELSEWHERE = {  # experiments with figures that are in no table of simulations
    "auto": ("pool", "fact", "vecaf"),
    "captioning": ("visft",),
    "classification": ("fact", "pool", "vecaf"),
    "detection": ("detection",),
    "frozen_map": ("fact",),
    "segmentation": ("segmentation",),
}


class Row(NamedTuple):
    """A row of a table that was run here.

    Attributes:
        folder: of the experiment. run: the name of the run. content: of the row in the TOML file. recipe: with its
            settings. column: of the figures. cells: of the results file, one per budget.
    """

    folder: str
    run: str
    content: Mapping[str, Any]
    recipe: str
    task: str
    column: str
    cells: Sequence[Mapping[str, Any]]

    def seconds(self, kind: str) -> str:
        """What the selection, or the training, took at the most labels that were measured; empty where nobody knows."""
        column = "select_seconds" if kind == "selectors" else "train_seconds"
        taken = [self.cells[-1][column]] if self.cells and self.cells[-1].get(column) else []
        median = statistics.median(taken[0]) if taken else 0.0
        return f"{median:,.{0 if median >= 10 else 1}f}" if taken else ""


def main() -> None:
    """Write all pages."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    copy(SOURCE)
    for path, text in pages().items():
        file = SOURCE / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    print(SOURCE.relative_to(ROOT))


def copy(source: Path) -> None:
    """Copy the pages that are written by hand, and what they link to: pictures, small files, folders of results."""
    for pattern in COPIED:
        for page in sorted(ROOT.glob(pattern)):
            text = page.read_text(encoding="utf-8")
            for link in sorted(set(re.findall(r"\]\(([^)#\s]+)", text))):
                linked = (page.parent / link).resolve()
                if linked.is_file() and linked.is_relative_to(ROOT):
                    _copy(linked, source)
                elif linked.is_dir() and linked.is_relative_to(ROOT) and (linked / "README.md").is_file():
                    text = text.replace(f"]({link})", f"]({link.rstrip('/')}/README.md)")
                elif linked.is_dir() and linked.is_relative_to(ROOT):
                    _list(linked, source)
                    text = text.replace(f"]({link})", f"]({link.rstrip('/')}/index.md)")
            copied = source / page.relative_to(ROOT)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_text(text, encoding="utf-8")
    (source / "README.md").rename(source / "index.md")


def _copy(file: Path, source: Path) -> None:
    copied = source / file.relative_to(ROOT)
    if file.suffix != ".md":
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copied)


def _list(folder: Path, source: Path) -> None:
    """Copy the files of a folder, and write a page that lists them."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    for file in files:
        _copy(file, source)
    rows = [f"- [{file.name}]({file.name})" for file in files]
    (source / folder.relative_to(ROOT) / "index.md").write_text("\n".join([f"# {folder.name}", "", *rows, ""]))


def pages() -> dict[Path, str]:
    """The pages that are made, by their path in the site: methods, notebooks, and lists of these and of decisions."""
    found: dict[Path, str] = {}
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        found[Path("docs", "notebooks", f"{notebook.stem}.md")] = "\n".join(_notebook(notebook))
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    titles = [(page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# "), page.name) for page in decisions]
    rows = [f"- [{title}]({name})" for title, name in titles]
    found[Path("docs", "decisions", "index.md")] = "\n".join(["# Decisions", "", *rows, ""])
    guides = {
        "selectors": ("select.md", "activetune select EMB --budget 100 --method {} --out SEL"),
        "recipes": ("finetune.md", "activetune finetune POOL --labels labels.csv --recipe {} --out MODEL"),
        "tasks": ("tasks.md", "activetune finetune POOL --labels ANSWERS --task {} --out MODEL"),
    }
    of: dict[str, Mapping[str, type]] = {
        "selectors": selectors(),
        "recipes": recipes(),
        "tasks": {name: type(make_task(name)) for name in tasks()},
    }
    for kind, methods in of.items():
        guide, command = guides[kind]
        text = (ROOT / "docs" / guide).read_text(encoding="utf-8")
        for name, cls in methods.items():
            found[METHODS / kind / f"{name}.md"] = "\n".join(_page(kind, name, cls, guide, text, command.format(name)))
        rows = [f"| [`{name}`]({kind}/{name}.md) | {first_line(cls)} |" for name, cls in sorted(methods.items())]
        head = [f"# {kind.capitalize()}", "", f"How they are used: [{guide}](../{guide}).", ""]
        found[METHODS / f"{kind}.md"] = "\n".join([*head, "| name | |", "|---|---|", *rows, ""])
    return found


def _notebook(notebook: Path) -> Iterator[str]:
    """The cells of a notebook as a page."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        yield from ((source, "") if cell["cell_type"] == "markdown" else ("```python", source, "```", ""))
    yield from (f"The notebook: [{notebook.name}]({notebook.name}).", "")


def _page(kind: str, name: str, cls: type, guide: str, guide_text: str, command: str) -> Iterator[str]:
    yield from (f"# `{name}`", "", first_line(cls), "", "```console", f"$ {command}", "```", "")
    if row := moved(table_row(guide_text, name), guide):
        yield from ("## When to use it", "", row, "")
    if section := moved(section_of(guide_text, name), guide):
        yield from ("## In the guide", "", section, "")
    yield from ("## How it works", "", prose(inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "")), "")
    yield from _settings(cls)
    yield from _measured(kind, name)
    yield from (f"More: [{guide}]({UP}docs/{guide}).", "")


def first_line(cls: type) -> str:
    """The first paragraph of a docstring."""
    return prose(inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0]).replace("\n", " ")


def section_of(text: str, name: str) -> str:
    """What stands below the heading of that name, up to the next heading."""
    found = re.search(rf"^### `{re.escape(name)}`\n(.*?)(?=^##)", text + "\n##", flags=re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def table_row(text: str, name: str) -> str:
    """The row of the guide's first table that has a row for each method, as sentences below its header."""
    found = re.search(rf"^\| `{re.escape(name)}` \|.*$", text, flags=re.MULTILINE)
    above = text[: found.start()] if found else ""
    if not found or section_of(text, name):
        return ""
    header = re.findall(r"^\|(.*)\|\n\|[-|]+\|$", above, flags=re.MULTILINE)[-1]
    titles, cells = ([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("| "))] for line in (header, found[0]))
    return "\n".join(f"- {title}: {cell}" for title, cell in zip(titles[1:], cells[1:], strict=True) if title)


def moved(text: str, guide: str) -> str:
    """A text of a guide whose links lead to the same places from a method's page."""
    text = re.sub(r"\]\(#", f"]({guide}#", text)
    return re.sub(r"\]\((?!https?:)", f"]({UP}docs/", text)


def _settings(cls: type) -> Iterator[str]:
    defaults = field_defaults(cls) if issubclass(cls, Settings) else {}
    if defaults:
        attributes = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:")
        meanings = prose(one_entry_per_line("".join(attributes[1:]), names_in(cls)))
        yield from ("## Settings", "", "`--set name=value` gives one.", "", "| setting | default |", "|---|---|")
        yield from (f"| `{field}` | `{default!r}` |" for field, default in defaults.items())
        yield from ("", meanings, "")
    for preset, values in getattr(cls, "presets", {}).items():
        yield f"`--preset {preset}`: " + ", ".join(f"`{key}={value}`" for key, value in values.items()) + "\n"


def _measured(kind: str, name: str) -> Iterator[str]:
    """Figures of a method, the pages that have more, and what it costs."""
    parts = [list(_selector_figures(name))] if kind == "selectors" else []
    parts += [list(_fact_figures(name))] if kind == "recipes" else []
    parts.append(list(_table_figures(kind, name)))
    pages = [f"[{page}]({UP}experiments/{page}/README.md)" for page in ELSEWHERE.get(name, ())]
    if pages:
        parts.append([f"{'More figures' if any(parts) else 'Figures'}: {', '.join(pages)}."])
    if not any(parts):
        parts = [["It has not been measured on its own."]]
    yield from ("## Measured", "")
    for part in parts:
        yield from (*part, "") if part else ()


def _selector_figures(name: str) -> Iterator[str]:
    """What benchmarks/accuracy has of a selector, beside random picks."""
    tables = ROOT / "benchmarks" / "accuracy" / "results"
    lines = []
    for pool, title in POOLS.items():
        cells = _cells(tables / f"{pool}.csv")
        if name not in {row_method for row_method, _ in cells}:
            continue
        for method in (name, BASELINE) if name != BASELINE else (name,):
            found = {k: rows for (row_method, k), rows in cells.items() if row_method == method}
            figures = ", ".join(f"{_spread(rows, 'top1')} (K = {k:,})" for k, rows in sorted(found.items()))
            last = [float(row["select_seconds"]) for row in found[max(found)]]
            lines.append(f"| {title} | `{method}` | {figures} | {statistics.median(last):.2g} |")
    if lines:
        yield "Top-1 in % of a linear probe on the picks, mean ± standard deviation over seeds, and median seconds of"
        yield f"the selection at the highest budget ([machine, date, command]({UP}benchmarks/accuracy/README.md)):"
        yield from ("", "| pool | picks | top-1 | seconds |", "|---|---|---|---|", *lines)


@cache
def _cells(path: Path) -> dict[tuple[str, int], list[dict[str, str]]]:
    cells: dict[tuple[str, int], list[dict[str, str]]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cells[row["method"], int(row["k"])].append(row)
    return cells


def _spread(rows: Iterable[Mapping[str, Any]], column: str) -> str:
    return mean_and_spread([float(row[column]) for row in rows], factor=100)


@cache
def _table_rows() -> list[Row]:
    """The rows of the tables that experiments/ has run here, but for those that were not measured."""
    found = []
    for path in sorted((ROOT / "experiments").glob("*/here*.toml")):
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        for number, run in enumerate(table["runs"]):
            options = shlex.split(run.get("command", ""))
            given = {option: options[place + 1] for place, option in enumerate(options[:-1])}
            several = f"-{number + 1}" if len(table["runs"]) > 1 else ""
            results = path.parent / "results" / f"{path.stem}{several}.json"
            cells = json.loads(results.read_text(encoding="utf-8"))["rows"] if results.is_file() else []
            for row in run["rows"]:
                if row.get("measured"):
                    recipe = row.get("recipe") or given.get("--recipes", "linear_probe")
                    own = [one for one in cells if (one["method"], one["recipe"]) == (row.get("method"), recipe)]
                    task = given.get("--task", "classification")
                    found.append(Row(path.parent.name, run["name"], row, recipe, task, table["column"], own))
    return found


def _table_figures(kind: str, name: str) -> Iterator[str]:
    """The rows of experiments/ that are of a method."""
    lines = []
    for row in _table_rows():
        of = {"selectors": row.content.get("method", ""), "recipes": row.recipe, "tasks": row.task}[kind]
        if of.partition(":")[0] == name and (kind, row.folder) not in TOO_MANY:
            what = row.content["name"] if of == name or kind != "recipes" else f"{row.content['name']}, `{row.recipe}`"
            figures = ", ".join(f"{budget}: {_told(value)}" for budget, value in row.content["measured"].items())
            link = f"[{row.folder}]({UP}experiments/{row.folder}/README.md)"
            about = f"{row.content['when']}, {link}"
            lines.append(f"| {row.run} | {what} | {row.column} | {figures} | {row.seconds(kind)} | {about} |")
    if lines:
        yield "Labels, and mean ± standard deviation over seeds; median seconds of selecting or training at the most"
        yield "labels. The pages have machines and commands."
        yield from (
            "",
            "| data | row | | labels: figure | seconds | when, and how |",
            "|---|---|---|---|---|---|",
            *lines,
        )


def _fact_figures(name: str) -> Iterator[str]:
    """What the experiment with FACT has of a recipe, on ActiveFT's picks."""
    lines = []
    for path in sorted((ROOT / "experiments" / "fact" / "results").glob("*-*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        data, _, labels = path.stem.partition("-")
        if runs := content["rows"].get(name, []):
            top1, seconds = _spread(runs, "top1"), statistics.median(run["seconds"] for run in runs)
            lines.append(f"| {DATA[data]} | {int(labels):,} | {top1} | {seconds:.0f} | {content['machine']} |")
    if lines:
        yield f"Top-1 in % on ActiveFT's picks, ViT-Tiny ([command, date]({UP}experiments/fact/README.md)):"
        yield from ("", "| data | labels | top-1 | seconds | machine |", "|---|---|---|---|---|", *lines)


def _told(value: Any) -> str:
    mean, *spread = value if isinstance(value, list) else [value]
    return f"{mean} ± {spread[0]}" if spread else str(mean)


if __name__ == "__main__":
    main()
