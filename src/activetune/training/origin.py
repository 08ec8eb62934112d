"""What the labels of a file were selected from: the backbone whose features chose them is the one to finetune.

A selection keeps the backbone of its embeddings in its manifest; it is found beside a label file, or in a folder there.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activetune.base.artefact import MANIFEST
from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.files import read_json
from activetune.base.tables import read_table

PICKS = ("selection", "images")  # artefacts of picked items
LOOKED_AT = 1_000  # folders beside a label file, at most


@dataclass(frozen=True)
class Origin:
    """The backbone of a selection or of embeddings.

    Attributes:
        folder: of the selection or embeddings. kind: which of both. backbone: its name. weights: the file that was
            given for it, or None. fingerprint: of its weights; empty where it is not known.
    """

    folder: Path
    kind: str
    backbone: str
    weights: Path | None
    fingerprint: str

    @property
    def told(self) -> str:
        """``timm/vit_tiny (weights.safetensors), from which sel was selected``."""
        file = f" ({self.weights.name})" if self.weights else ""
        how = "from which {} was selected" if self.kind in PICKS else "with which {} was made"
        return f"{self.backbone}{file}, {how.format(self.folder)}"

    def check(self) -> None:
        """Refuse weights that are no longer there.

        Raises:
            UsageError: the file of the weights has gone.
        """
        if self.weights is not None and not self.weights.exists():
            raise UsageError(
                f"{self.folder} was made by {self.backbone} with the weights {self.weights}, which are no longer "
                "there; give --backbone, and --weights where it needs them"
            )


def origin_of(labels: str | os.PathLike[str] | None, ids: Collection[str], pool: str) -> Origin | None:
    """Where the items of a label file come from.

    Looked at, the first that fits wins: the folder of the file, that of the pool, selections of this pool beside the
    file that hold all the items, embeddings of this pool (by its name) beside it that hold them.

    Args:
        labels: None where they are the pool's own. pool: its name, a path where it was opened by one: picks that were
            written out as images are a pool.

    Returns:
        None where nothing is found, or where different backbones are.
    """
    folders = [Path(labels).parent] if labels is not None else []
    folders.append(Path(pool).parent if Path(pool).is_file() else Path(pool))
    own = next((origin for folder in folders if (origin := _read(folder)) is not None), None)
    if own is not None or labels is None:
        return own
    wanted = set(ids)
    found = [origin for folder in _beside(Path(labels)) if (origin := _read(folder)) is not None]
    selections = [one for one in found if one.kind == "selection" and _chosen(one.folder, pool, wanted)]
    embeddings = [one for one in found if one.kind == "embeddings" and _embedded(one.folder, pool, wanted)]
    for group in (selections, embeddings):
        if group:
            return group[0] if len({(one.backbone, one.fingerprint) for one in group}) == 1 else None
    return None


def _beside(labels: Path) -> Iterator[Path]:
    try:
        folders = sorted(entry for entry in labels.parent.iterdir() if entry.is_dir())
    except OSError:
        return iter(())
    return iter(folders[:LOOKED_AT])


def _read(folder: Path) -> Origin | None:
    """The origin that a folder's manifest tells; None: it is no selection or embeddings of a known backbone."""
    manifest = _manifest(folder)
    kind = manifest.get("kind")
    made = manifest.get("made_by", {}) if kind in PICKS else manifest if kind == "embeddings" else {}
    if not isinstance(made, Mapping) or not isinstance(made.get("backbone"), str):
        return None
    file = made.get("weights_file")
    return Origin(folder, str(kind), made["backbone"], Path(file) if file else None, str(made.get("weights", "")))


def _manifest(folder: Path) -> Mapping[str, Any]:
    try:
        found = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    except (ActivetuneError, OSError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _chosen(folder: Path, pool: str, wanted: set[str]) -> bool:
    """Whether a selection holds all the items, and is of this pool or of one that is no longer at its place."""
    made = _manifest(folder)
    place = str(made.get("pool_path") or made.get("pool") or pool)
    if place != pool and Path(place).exists() and os.path.realpath(place) != os.path.realpath(pool):
        return False
    try:
        return wanted <= {str(item) for item in read_table(folder / "selection.csv").get("id", ())}
    except ActivetuneError:
        return False


def _embedded(folder: Path, pool: str, wanted: set[str]) -> bool:
    """Whether embeddings are of a pool of this name and hold all the items."""
    if _manifest(folder).get("pool") != pool:
        return False
    try:
        return wanted <= {str(item) for item in read_table(folder / "items.parquet").get("id", ())}
    except ActivetuneError:
        return False
