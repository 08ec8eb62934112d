"""A selection, in memory and as the folder ``SEL``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from activetune.base.artefact import check_files, read_manifest, write_manifest
from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest_stream
from activetune.base.tables import read_own_table, read_table, write_csv
from activetune.selection.audit import AUDIT, read_audit, write_audit


@dataclass(frozen=True)
class Selection:
    """The chosen items, best first; ``manifest`` holds method, options, seed and figures.

    Attributes:
        audit: random items that are labelled beside them, to score models on; see :mod:`activetune.selection.audit`.
    """

    ids: Sequence[str]
    scores: Sequence[float]
    reasons: Sequence[str]
    manifest: Mapping[str, Any]
    audit: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def to_label(self) -> list[str]:
        """All ids that ask for a label: the picks by rank, then the audit."""
        return [*self.ids, *self.audit]


AUTO = "auto"  # the selector that takes another
CONTACT_SHEET = "picks.html"
PICKS, AGAIN = "selection.csv", "select again with --overwrite"
SELECTION_FILES = (PICKS, AUDIT, CONTACT_SHEET)
ANSWERS = "labels.csv"  # for people to fill in; not a file that is replaced


def made_by(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a selection keeps of the backbone that made its embeddings, by their manifest; empty where none is named."""
    names = ("backbone", "weights", "weights_file", "transform")
    return {name: manifest[name] for name in names if manifest.get(name) is not None} if "backbone" in manifest else {}


def save_selection(selection: Selection, folder: Path) -> Selection:
    """Write ``selection.csv`` (id, rank, score, reason), ``audit.csv`` (id) and the manifest into a prepared folder."""
    columns = zip(selection.ids, selection.scores, selection.reasons, strict=True)
    rows = ((item, rank, f"{score:.6g}", reason) for rank, (item, score, reason) in enumerate(columns, start=1))
    write_csv(folder / PICKS, ("id", "rank", "score", "reason"), rows)
    write_audit(selection.audit, folder)
    aside = {"audit_ids": digest_stream(selection.audit)} if selection.audit else {}
    content = {**selection.manifest, **aside, "picks": digest_stream(selection.ids)}
    return replace(selection, manifest=write_manifest(folder, "selection", content, files=(PICKS, AUDIT)))


def write_blank_labels(ids: Sequence[str], folder: Path) -> str:
    """Write ``labels.csv`` (id, label) with an empty label for each pick; a file that holds anything else is kept.

    Returns:
        A sentence where a file is kept, else "".
    """
    path = folder / ANSWERS
    if path.exists():
        try:
            columns = read_table(path)
        except UsageError as error:
            return f"{path} is kept as it is: {error}"
        answered = sum(bool(str(label or "").strip()) for label in columns.get("label", ()))
        if not answered and list(columns.get("id", ())) == list(ids):
            return ""
        if answered or set(columns) != {"id", "label"}:
            missing = len(set(ids) - set(map(str, columns.get("id", ()))))
            return f"{path} is kept, as it holds {answered:,} answers" + (
                f"; {missing:,} of the {len(ids):,} picks are not in it" if missing else ""
            )
    write_csv(path, ("id", "label"), ((item, "") for item in ids))
    return ""


def told_method(manifest: Mapping[str, Any]) -> str:
    """The selector by its name; of ``auto`` also the one that it has taken, with which its note begins.

    >>> told_method({"method": "auto", "notes": {"auto": "activeft: no label is known"}})
    'auto: activeft'
    """
    name = str(manifest.get("method", ""))
    taken = str(manifest.get("notes", {}).get(name, "")).partition(":")[0]
    return f"{name}: {taken}" if taken and name == AUTO else name


def explained_figures(figures: Mapping[str, Any]) -> str:
    """EMD and radius with half a sentence each."""
    return (
        f"EMD {figures['emd']:.4f} (mean distance of an item to its nearest pick, 0 to 2), "
        f"radius {figures['radius']:.4f} (the largest)"
    )


def load_selection(path: str | os.PathLike[str], *, again: str = AGAIN) -> Selection:
    """Load a ``SEL`` folder.

    Args:
        again: what to do where it can't be read.

    Raises:
        UsageError: not a selection, or a ``selection.csv`` that its manifest does not know.
    """
    path = Path(path)
    manifest = read_manifest(path, "selection")
    columns = read_own_table(path / PICKS, ("id", "score", "reason"), again)
    ids = columns["id"]
    try:
        scores = [float(score) for score in columns["score"]]
    except ValueError as error:
        raise UsageError(f"{path / PICKS} can't be read ({error}); {again}") from None
    if digest_stream(ids) != manifest.get("picks"):
        raise UsageError(f"{path / PICKS} was changed after it was made; {again}")
    audit = read_audit(path)
    if "audit_ids" in manifest and digest_stream(audit) != manifest["audit_ids"]:
        raise UsageError(f"{path / AUDIT} was changed after it was made; {again}")
    check_files(path, manifest)
    return Selection(ids, scores, columns["reason"], manifest, audit)
