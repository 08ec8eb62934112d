"""Embeddings -> selection: which items to label."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from activetune.distances import coverage, unit_rows
from activetune.errors import UsageError
from activetune.fingerprint import digest
from activetune.labels import read_ids
from activetune.runtime import limited_threads, peak_memory_mb, resolve_runtime
from activetune.selectors import Selector, make_selector
from activetune.store import (
    MANIFEST,
    SELECTION_FILES,
    load_embeddings,
    load_selection,
    prepare_folder,
    read_manifest,
    save_selection,
)
from activetune.types import Embeddings, Evidence, Picks, Selection

BUDGET_FORMS = "a number (500), a share (5% or 0.05) or a number a class (2/class)"


def select(
    embeddings: Embeddings | str | os.PathLike[str],
    *,
    budget: int | float | str,
    method: str = "activeft",
    seed: int = 0,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    labelled: Sequence[str] | str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int = -1,
    overwrite: bool = False,
    resume: bool = False,
) -> Selection:
    """Choose the items to label.

    Args:
        embeddings: embeddings (N x D), or a folder or NumPy file of them.
        budget: how many: a number, a share of N (``"5%"``, ``0.05``), or ``"2/class"`` where labels are known.
        method: a selector's name. preset, settings: its settings, see ``activetune list selectors``.
        labelled: ids (or a CSV/Parquet file with a column ``id``) that have a label already: never picked.
        out: folder for ``selection.csv`` and ``manifest.json``; it must be empty unless ``overwrite``.
        device: where heavy products run. precision: ``fp32``, and ``auto`` is the same.
        threads: processor threads used, -1 for all.
        resume: keep what ``out`` holds if it is this very selection, finished.

    Returns:
        The selection, best first where the method ranks; figures in its manifest.

    Raises:
        UsageError: unknown method, setting or id; a budget that is impossible; tokens instead of pooled features.
    """
    embeddings = embeddings if isinstance(embeddings, Embeddings) else load_embeddings(embeddings)
    if embeddings.features_ND.ndim != 2:
        raise UsageError(f"{method} reads pooled features (N x D), not patch tokens; embed without --tokens")
    selector = make_selector(method, preset, dict(settings or {}))
    taken = _labelled_positions(embeddings, labelled)
    if precision not in ("auto", "fp32"):
        raise UsageError(f"select computes in fp32, not in {precision}; leave --precision out")
    runtime = resolve_runtime(device, "fp32")
    request = {
        "method": method,
        "preset": preset,
        "options": asdict(selector),
        "budget": str(budget),
        "n": len(embeddings),
        "labelled": len(taken),
        "labelled_ids": digest(*(embeddings.ids[row] for row in taken)),
        "seed": seed,
        "embeddings": embeddings.fingerprint,
        "pool_fingerprint": embeddings.manifest.get("pool_fingerprint"),
    }
    if out is not None and resume and not overwrite and _is_done(Path(out), request):
        return load_selection(out)
    plan = _plan(embeddings, taken, budget)
    folder = None if out is None else prepare_folder(Path(out), SELECTION_FILES, overwrite=overwrite)

    with limited_threads(threads):
        started = time.perf_counter()
        features_ND = unit_rows(embeddings.features_ND)
        if not np.isfinite(features_ND).all():
            raise UsageError("the features hold NaN or infinite values; embed again")
        evidence = Evidence(features_ND, taken, device=str(runtime.device))
        picks = _pick(selector, evidence, plan, np.random.default_rng(seed))
        seconds = time.perf_counter() - started
        covered = coverage(features_ND, np.concatenate([picks.positions, taken]))
    figures = {
        **picks.figures,
        **covered,
        "seconds": round(seconds, 4),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }
    if embeddings.labels is not None:
        figures["classes_met"] = len({embeddings.labels[row] for row in picks.positions} - {None})
        figures["classes_known"] = len(set(embeddings.labels) - {None})
    manifest = {**request, "k": len(picks.positions), "figures": figures}
    ids = [embeddings.ids[row] for row in picks.positions]
    selection = Selection(ids, [float(score) for score in picks.scores], list(picks.reasons), manifest)
    return selection if folder is None else save_selection(selection, folder)


def parse_budget(budget: int | float | str) -> tuple[str, float]:
    """``500`` -> ("count", 500); ``"5%"`` and ``0.05`` -> ("share", 0.05); ``"2/class"`` -> ("per_class", 2).

    Raises:
        UsageError: none of these forms, or not positive.
    """
    text = str(budget).strip()
    try:
        if text.endswith("/class"):
            kind, value = "per_class", float(text.removesuffix("/class"))
        elif text.endswith("%"):
            kind, value = "share", float(text[:-1]) / 100
        else:
            value = float(text.replace("_", "").replace(",", ""))
            kind = "share" if 0 < value < 1 else "count"
    except ValueError:
        raise UsageError(f"the budget {text!r} is not understood; it can be {BUDGET_FORMS}") from None
    whole = kind == "share" or value.is_integer()
    if not np.isfinite(value) or value <= 0 or not whole or (kind == "share" and value > 1):
        raise UsageError(f"the budget {text!r} is not possible; it can be {BUDGET_FORMS}, above zero")
    return kind, value


@dataclass(frozen=True)
class _Share:
    """A part of the budget: ``count`` items, none of them from ``outside``."""

    count: int
    outside: np.ndarray


def _plan(embeddings: Embeddings, labelled: np.ndarray, budget: int | float | str) -> list[_Share]:
    """Resolve a budget against what may be picked: one share, or one a class for ``2/class``.

    Raises:
        UsageError: more than there is, or a budget a class without known labels.
    """
    kind, value = parse_budget(budget)
    total = len(embeddings)
    if kind != "per_class":
        count = max(1, round(value * total)) if kind == "share" else int(value)
        left = total - len(labelled)
        if count > left:
            others = f" ({len(labelled):,} more are labelled already)" if len(labelled) else ""
            raise UsageError(f"the budget {count:,} is over the pool: {left:,} items can be picked{others}")
        return [_Share(count, np.empty(0, dtype=np.int64))]
    if embeddings.labels is None:
        raise UsageError(
            "a budget a class needs known labels, and these embeddings have none; give a number or a share"
        )
    names = np.asarray(["" if name is None else name for name in embeddings.labels])
    shares = []
    for name in sorted(set(names.tolist()) - {""}):
        members = np.setdiff1d(np.flatnonzero(names == name), labelled)
        if len(members) < value:
            raise UsageError(
                f"the budget {int(value)}/class is over what class {name!r} has: {len(members):,} items that are not "
                "labelled yet; give a smaller budget"
            )
        shares.append(_Share(int(value), np.flatnonzero(names != name)))
    return shares


def _pick(selector: Selector, evidence: Evidence, plan: list[_Share], rng: np.random.Generator) -> Picks:
    """Run the selector on each share of the budget; a class's share sees that class's items alone."""
    parts = []
    for share in plan:
        within = np.setdiff1d(evidence.labelled, share.outside, assume_unique=True)
        parts.append(selector.select(replace(evidence, labelled=within, excluded=share.outside), share.count, rng))
    if len(parts) == 1:
        return parts[0]
    return Picks(
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.scores for part in parts]),
        [reason for part in parts for reason in part.reasons],
    )


def _is_done(folder: Path, request: Mapping[str, Any]) -> bool:
    """Whether a folder holds the finished answer to this request."""
    if not (folder / MANIFEST).is_file():
        return False
    manifest = read_manifest(folder, "selection")
    return all(manifest.get(name) == value for name, value in request.items())


def _labelled_positions(embeddings: Embeddings, labelled: Sequence[str] | str | os.PathLike[str] | None) -> np.ndarray:
    if labelled is None:
        return np.empty(0, dtype=np.int64)
    if isinstance(labelled, str | os.PathLike):
        ids: Sequence[str] = read_ids(labelled, embeddings.position, what="these embeddings")
    else:
        ids = labelled
        unknown = [item for item in ids if item not in embeddings.position]
        if unknown:
            raise UsageError(f"{len(unknown):,} labelled ids are not in these embeddings, the first: {unknown[0]!r}")
    return np.asarray(sorted({embeddings.position[item] for item in ids}), dtype=np.int64)
