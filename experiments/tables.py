"""A paper's tables as TOML files: run what they say, and fill in what was measured.

A TOML file holds the command of each part of a table (``activetune simulate``), the published figures (mean, standard
deviation) and those measured here, a row for a method, or for a recipe where a table compares these; single values, and
the training curves of recipes that select themselves, go to results/. A run that names ``classes`` keeps the balanced
accuracy of each against all others, and its recall; the column ``classes`` is the mean of the first. A run that was cut
off goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import string
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from activetune.evaluation.statistics import mean_and_spread

SCORES = ("top1", "balanced_accuracy", "miou", "pixel_accuracy", "map", "map50", "map75", "ar")  # told in %
COLUMNS = (*SCORES, "classes_met", "emd", "radius", "select_seconds", "train_seconds")
SHARES = (*SCORES, "classes")
CELL = ("method", "recipe", "budget")
CURVE = ("batches", "scored", "val_top1")  # a point, one curve a seed


def main(folder: Path, description: str) -> None:
    """Run the tables of a folder, as the command line says."""
    options = _options(folder, description)
    places = {"DATA": str(options.data), "WEIGHTS": str(options.weights), "OUT": str(options.out)}
    for path in sorted(folder.glob("*.toml")):
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
        if options.table not in (None, str(recipe["table"])):
            continue
        for number, run in enumerate(recipe["runs"]):
            if options.run not in (None, run["name"]):
                continue
            print(f"{path.stem}, {run['name']}:", run.get("later") or run["command"].strip(), sep="\n", flush=True)
            if options.list or "later" in run:
                continue
            words = [string.Template(word).substitute(places) for word in shlex.split(run["command"])]
            missing = [name for name in _needed(words) if not Path(name).exists()]
            if missing:
                print(f"left out, as these are not there: {', '.join(missing)}", flush=True)
                continue
            if not options.collect:
                code = "import sys; from activetune.cli import main; sys.argv = ['activetune', *sys.argv[1:]]; main()"
                subprocess.run([sys.executable, "-c", code, *words[1:]], check=False)
            collect(path, recipe, number, Path(words[words.index("--out") + 1]))


def _options(folder: Path, description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    tables = [str(tomllib.loads(path.read_text(encoding="utf-8"))["table"]) for path in sorted(folder.glob("*.toml"))]
    parser.add_argument("--table", choices=tables, help="default: all that can be run")
    parser.add_argument("--run", help="the name of one run of a table; default: all of them")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--out", type=Path, default=Path("build") / folder.name)
    parser.add_argument("--list", action="store_true", help="print the commands and run none")
    parser.add_argument("--collect", action="store_true", help="run nothing, read what earlier runs left in --out")
    return parser.parse_args()


def _needed(words: Sequence[str]) -> list[str]:
    """The files that a command reads."""
    named = [words[words.index(option) + 1] for option in ("--test", "--weights") if option in words]
    return [word for word in (words[2], *named) if not word.endswith("%")]


def collect(path: Path, recipe: Mapping[str, Any], number: int, folder: Path) -> None:
    """Put the figures of a finished simulation into the TOML file, and its single values into results/."""
    if not (folder / "results.csv").is_file():
        print(f"{folder} holds no results", flush=True)
        return
    found = _cells(folder, recipe["runs"][number].get("classes", []))
    rows = [{"method": m, "recipe": r, "budget": b, **cell} for (m, r, b), cell in found.items()]
    suffix = f"-{number + 1}" if len(recipe["runs"]) > 1 else ""
    kept = path.parent / "results" / f"{path.stem}{suffix}.json"
    content = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    altered = {(row["method"], row["recipe"]) for row in rows if row not in content.get("rows", [])}
    if content.get("rows") != rows:  # figures that are collected again were measured when they were
        content = {**machine(), "rows": rows}
    content["set"] = _set(folder)
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    measured: dict[tuple[str, str], str] = {}
    factor = 100 if recipe["column"] in SHARES else 1
    for (method, trained, budget), cell in found.items():
        values = cell[recipe["column"]]
        if isinstance(values, dict):
            values = np.mean(list(values.values()), axis=0)
        told = f'"{budget}" = [{", ".join(mean_and_spread(values, factor=factor).split(" ± "))}]'
        for key in ((method, trained), (method, "")):  # a table of one recipe does not name it in its rows
            measured[key] = f"{measured[key]}, {told}" if key in measured else told
    altered |= {(method, "") for method, _ in altered}
    _fill_in(path, number, measured, altered, f"{content['date']}, commit {content['commit']}")


def _cells(folder: Path, classes: Sequence[str]) -> dict[tuple[str, ...], dict[str, Any]]:
    """Figures by (method, recipe, budget), a list over the seeds each; of a run that was cut off, its whole seeds.

    A cell that failed in one seed has no figures: those of its other seeds would be the lucky ones.
    """
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    results, failed = _rows(folder / "results.csv"), _rows(folder / "failed.csv")
    ended = Counter(row["seed"] for row in [*results, *failed])
    whole = {seed for seed, cells in ended.items() if cells == len({_cell(row) for row in [*results, *failed]})}
    lost = {_cell(row) for row in failed if row["seed"] in whole}

    def kept(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
        return (row for row in rows if row["seed"] in whole and _cell(row) not in lost)

    for row in kept(results):
        cell = found.setdefault(_cell(row), {})
        for name in (name for name in COLUMNS if name in row):
            cell.setdefault(name, []).extend([float(row[name])] if row[name] else [])
    for row in kept(_rows(folder / "per_class.csv")):
        if row["class"] in classes:
            cell = found[_cell(row)]
            for key, value in (("recalls", row["top1"]), ("classes", row["balanced_accuracy"])):
                cell.setdefault(key, {}).setdefault(row["class"], []).append(float(value))
    curves: dict[tuple[str, ...], list[Any]] = {}
    for row in kept(_rows(folder / "curves.csv")):
        point = [float(row[name]) for name in CURVE]
        curves.setdefault((*_cell(row), row["seed"]), []).append(point)
    for cell_and_seed, curve in curves.items():
        found[cell_and_seed[:-1]].setdefault("curves", []).append(curve)
    return found


def _set(folder: Path) -> dict[str, float]:
    """Items of pool and test set, and classes; of one class per item the share of the test set that the largest has."""
    about = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    rows = _rows(folder / "per_class.csv")
    sizes = {"pool": about["pool_items"], "test": about["test_items"], "classes": about["classes"]}
    if not rows or "n" not in rows[0]:
        return sizes
    first = [int(row["n"]) for row in rows if (*_cell(row), row["seed"]) == (*_cell(rows[0]), rows[0]["seed"])]
    return {**sizes, "largest": round(max(first, default=0) / max(sum(first), 1), 4)}


def _cell(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in CELL)


def _rows(path: Path) -> list[dict[str, str]]:
    """Of a CSV file; none where it is not there."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _fill_in(
    path: Path, number: int, measured: Mapping[tuple[str, str], str], altered: Container[tuple[str, str]], when: str
) -> None:
    """Rewrite the lines ``measured`` and ``when`` of one run's rows; every other line stays as it is.

    A row whose cells all failed has nothing measured; one that is not ``altered`` was measured when it was.
    """
    lines, run, method, recipe = [], -1, "", ""
    for line in path.read_text(encoding="utf-8").splitlines():
        run += line == "[[runs]]"
        key, _, value = line.partition(" = ")
        if key == "method":
            method, recipe = value.strip('"'), ""
        if key == "recipe":
            recipe = value.strip('"')
        if run == number and key in ("measured", "when"):
            told = measured.get((method, recipe))
            if key == "measured":
                line = f"measured = {{ {told} }}" if told else "measured = {}"
            elif not told or (method, recipe) in altered:
                line = f'when = "{when if told else ""}"'
        lines.append(line)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
