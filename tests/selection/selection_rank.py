"""What each of two processes does for ``test_select_ranks.py``: every case, one after another, in one launch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import activetune
from activetune.base.errors import ActivetuneError
from activetune.base.launch import launched, leave
from activetune.cli import run as run_command
from activetune.features.holding import Holding

ITEMS = 401  # which two can't share evenly
BUDGET = 24
METHODS = ("activeft", "k_center", "k_means", "max_herding", "typiclust", "ods", "random", "auto")
FEW = {"iterations": 12}
LABELLED, EXCLUDED = [str(row) for row in range(0, 60, 7)], [str(row) for row in range(300, 330)]
CANDIDATES = [str(row) for row in range(ITEMS) if row % 3]
LIMITS: dict[str, Any] = {"labelled": LABELLED, "exclude": EXCLUDED, "candidates": CANDIDATES}

CASES: dict[str, dict[str, Any]] = {
    **{method: {"method": method} for method in METHODS},
    **{f"{method} with limits": {"method": method, **LIMITS} for method in METHODS},
    # more picks than either process has items
    **{f"{method} of nearly all": {"method": method, "budget": 230} for method in METHODS},
    # a first process whose items are all excluded
    **{
        f"{method} of one": {"method": method, "exclude": [str(row) for row in range(200)], "budget": 30}
        for method in METHODS
    },
    # fewer distinct rows than picks
    **{f"{method} of copies": {"method": method, "copies": 40} for method in METHODS},
    "activeft as published": {"method": "activeft", "preset": "paper", "settings": FEW},
    "activeft as released": {"method": "activeft", "preset": "released", "settings": FEW},
    "activeft held": {"method": "activeft", "settings": {"update": False, "swaps": 0}},
    "activeft swapped again": {"method": "activeft", "settings": {"swaps": 3}},
    "activeft of few": {"method": "activeft", "settings": {"typical": 200}, "budget": 2},  # each stands for many
    "activeft of few with limits": {"method": "activeft", "settings": {"typical": 8}, **LIMITS},
    "ods of three": {"method": "ods", "settings": {"ensemble": 3, "iterations": 12}},
    "typiclust in turns": {"method": "typiclust", "settings": {"clusters": 5}},
    "max_herding by a jury": {"method": "max_herding", "settings": {"jury": 90}},
    "max_herding of a point": {"method": "max_herding", "settings": {"bandwidth": 0.01}},
    "with an audit": {"method": "k_center", "audit": 20},
    "levels": {"method": "activeft", "levels": 2, "partitions": 4},
    "levels of any method": {"method": "probcover", "levels": 2, "partitions": 3, **LIMITS},
    "levels by losses": {"method": "ods", "levels": 2, "partitions": 3},
    "levels refined": {"method": "auto", "levels": 2, "partitions": 4, "refine": True, **LIMITS},
}
REFUSED: dict[str, dict[str, Any]] = {
    "bilaf": {"method": "bilaf"},
    "contrastive": {"method": "activeft", "preset": "paper", "settings": {"loss": "contrastive"}},
    "jury": {"method": "max_herding", "settings": {"jury": 0}},
    "distance": {"method": "k_center", "min_distance": 0.1},
    "coverage": {"method": "k_center", "budget": "coverage:0.5"},
    "class": {"method": "k_center", "budget": "1/class"},
    "balance": {"method": "k_center", "balance": "label"},
    "losses": {"method": "ods", "losses": None},
    "answers": {"method": "auto", "labelled": {"0": "a", "1": "b", "2": "a"}},
    "nothing": {"method": "k_center", "exclude": ["absent"]},
}


def features(copies: int = 0) -> np.ndarray:
    rows = load_digits().data[:ITEMS].astype(np.float32)
    return rows[np.arange(ITEMS) % 12] if copies else rows


def case_of(options: dict[str, Any]) -> tuple[activetune.Embeddings, dict[str, Any]]:
    """The embeddings and the arguments of a case."""
    options = {"budget": BUDGET, "seed": 3, "quiet": True, "threads": 1, "device": "cpu", **options}
    rows = features(options.pop("copies", 0))
    if options["method"] == "ods" and "losses" not in options:
        options["losses"] = {str(row): float(1 + 3 * (row % 5 == 0)) for row in range(ITEMS)}
    return activetune.Embeddings.from_numpy(rows, labels=[f"class {row % 4}" for row in range(ITEMS)]), options


def selected(options: dict[str, Any]) -> activetune.Selection:
    """The selection of a case."""
    embeddings, options = case_of(options)
    return activetune.select(embeddings, **options)


def told(selection: activetune.Selection) -> dict[str, Any]:
    """What tests compare."""
    manifest = {name: value for name, value in selection.manifest.items() if name not in ("figures", "created")}
    return {
        "ids": list(selection.ids),
        "scores": list(selection.scores),
        "reasons": list(selection.reasons),
        "audit": list(selection.audit),
        "figures": dict(selection.manifest["figures"]),
        "manifest": json.loads(json.dumps(manifest, default=str)),
    }


def draws(holding: Holding, own: slice) -> dict[str, Any]:
    """Answers of a holding of 100 rows."""
    mine = np.arange(own.stop - own.start)
    values = np.arange(100.0)[own]
    weights = (1 + np.arange(100, dtype=np.float32) % 7)[own]
    return {
        "drawn": holding.drawn(mine[::2], 20, np.random.default_rng(1)).tolist(),
        "by weight": holding.drawn(mine, 60, np.random.default_rng(1), weights).tolist(),
        "shuffled": holding.shuffled(mine, 30, np.random.default_rng(1)).tolist(),
        "joined": holding.joined(values).tolist(),
        "rows": holding.rows(values, np.array([99, 0, 50, 49])).tolist(),
        "first": list(holding.first_of(float((values % 10).max()), int((values % 10).argmax()))),
        "total": holding.total(float(values.sum())),
    }


def main(out: Path) -> None:
    from activetune.base.ranks import joined

    found: dict[str, Any] = {"cases": {}, "refused": {}}
    with joined():
        found["draws"] = draws(*Holding.of(100))
        for name, options in CASES.items():
            found["cases"][name] = told(selected(options))
        for name, options in REFUSED.items():
            try:
                found["refused"][name] = ["", list(selected(options).ids)]
            except ActivetuneError as error:
                found["refused"][name] = [type(error).__name__, str(error)]
        found["saved"] = told(selected({"method": "k_means", "out": out / "saved"}))
        again = selected({"method": "k_means", "out": out / "saved", "resume": True})
        found["resumed"] = told(again)
    np.save(out / f"features-{launched().rank}.npy", features())
    command = ["select", str(out / "features-0.npy"), f"--budget={BUDGET}", "--seed=3", "--device=cpu"]
    found["codes"] = [
        run_command([*command, "--out", str(out / "by_command"), "--method=activeft"]),
        run_command([*command, "--out", str(out / "by_command"), "--method=activeft"]),
        run_command([*command, "--out", str(out / "refused"), "--method=usl"]),
        run_command([*command, "--out", str(out / "refused"), "--partitions=3"]),
    ]
    (out / f"told-{launched().rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave(0)
