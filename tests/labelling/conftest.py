"""A pool of small images, a selection of most of them, and one that is a round of a project."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from activetune.selection.artefact import Selection, save_selection
from activetune.studies.rounds.answers import Answer, write_history
from activetune.studies.rounds.project import ProjectSettings, described


def write_selection(folder: Path, ids: list[str], pool: Path, embeddings: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"pool": str(pool), "pool_path": str(pool.absolute()), "n": len(ids), "method": "test", "seed": 0}
    manifest["embeddings"] = embeddings
    save_selection(Selection(ids, [0.0] * len(ids), [""] * len(ids), manifest), folder)
    return folder


def round_of(
    folder: Path, pool: Path, classes: tuple[str, ...], answered: list[str], task: str = "classification"
) -> Path:
    """The second round of a project with classes in its settings, and further ones that were answered."""
    second = write_selection(folder / "rounds/002", sorted(path.name for path in pool.iterdir())[1:3], pool)
    (folder / "project.toml").write_text(described(ProjectSettings(pool=str(pool), classes=classes, task=task)))
    answers = [Answer(f"{row:02d}.png", name, "labelled", "rounds/001/labels.csv") for row, name in enumerate(answered)]
    write_history(folder / "history.csv", answers)
    return second


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (30, 20), (20 * number, 0, 0)).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture
def sel(tmp_path: Path, pool: Path) -> Path:
    return write_selection(tmp_path / "sel", [f"{number:02d}.png" for number in range(10)], pool)
