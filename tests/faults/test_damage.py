"""Every file of every artefact, cut short or with a flipped bit: whoever reads it names it and says what to do.

The artefacts are those of real runs, found by their manifests; a kind that nobody here reads fails the test.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from activetune.base.artefact import MANIFEST
from activetune.cli import run
from tests.conftest import write_digits
from tests.faults.scenarios import (
    CHECK,
    COMPARE,
    CORRUPT,
    EMBED,
    FINETUNE,
    MERGE,
    NEXT,
    PREDICT,
    SIMULATE,
    VISFT,
    taught,
)

EXPORT = "export-model model --to hub --out exported"
LINES = (
    EMBED,
    "select emb --budget 3 --audit 2 --method k_center --out sel",
    FINETUNE,
    VISFT,
    MERGE,
    COMPARE,
    CHECK,
    CORRUPT,
    f"{SIMULATE.replace('pool', 'digits')} --out sim",
    PREDICT,
    EXPORT,
    NEXT.replace("--budget 6", "--budget 3"),
)
EMBED_BY = "embed pool --out again --workers 0 --no-cache --backbone {}"
READERS = {  # a command that reads an artefact of this kind
    "embeddings": "select {} --budget 2 --method k_center --out again",
    "selection": "export {} --pool pool --to csv --out again.csv",
    "model": "predict {} pool --out again.csv --workers 0",
    "visft": EMBED_BY,
    "backbone": EMBED_BY,
    "simulation": "report {} --overwrite",
    "check": "report {} --overwrite",
    "comparison": "report {} --overwrite",
    "corruptions": "evaluate model {} --workers 0 --overwrite",
}
PARTS = {  # of a folder of visft, by themselves
    "lora": MERGE.replace("--out merged", "--out again"),
    "heads": "visft again.toml --out again --workers 0",
}
FINISHED = {  # results without a manifest, and the command that takes a whole one for finished
    "p.csv": f"{PREDICT} --resume",
    "exported": f"{EXPORT} --resume",
}
SPARED = {  # what no later step computes with, and what people may change
    "model": ("history.csv", "rejected.csv"),
    "check": ("exclude.csv",),
    "simulation": ("cells", "simulation.json", "map.npz"),
    "selection": ("labels.csv",),
    "visft": ("history.csv", "rejected", "lora", "heads"),
}
Damage = Callable[[bytes], bytes]
REMEDIES = ("again", "--overwrite", "another --out", "from a copy")


def cut(content: bytes) -> bytes:
    """Half of a file."""
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    """A file with one bit of its first half another one: what stands at the end of a Parquet file is partly comment."""
    place = len(content) // 4
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Artefacts of every kind."""
    folder = tmp_path_factory.mktemp("damage")
    before = Path.cwd(), os.environ.get("ACTIVETUNE_CACHE")
    write_digits(folder / "digits", 16)
    taught(*LINES)(folder)
    yield folder
    os.chdir(before[0])
    if before[1] is None:
        del os.environ["ACTIVETUNE_CACHE"]


@pytest.fixture
def there(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setenv("ACTIVETUNE_CACHE", str(place / "cache"))
    return place


def kinds(place: Path) -> dict[str, Path]:
    """The folder of an artefact of each kind."""
    found = (path for path in sorted(place.rglob(MANIFEST)) if "cache" not in path.relative_to(place).parts)
    deepest_first = sorted(found, key=lambda path: -len(path.parts))
    return {json.loads(path.read_text())["kind"]: path.parent for path in deepest_first}


def test_every_kind_is_read_by_a_command(there: Path) -> None:
    assert set(READERS) >= set(kinds(there))


@pytest.mark.parametrize(
    ("kind", "damage"),
    # A pool's image with a flipped bit is one that can't be decoded, and rejected as such.
    [(kind, damage) for kind in READERS for damage in (cut, flipped) if (kind, damage) != ("corruptions", flipped)],
)
def test_a_damaged_file_is_named(kind: str, damage: Damage, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = kinds(there)[kind]
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in (".png", ".html")]
    nested = {path.parent for path in files if path.name == MANIFEST and path.parent != folder}
    read = [
        path
        for path in files
        if not set(path.relative_to(folder).parts) & {*SPARED.get(kind, ())}
        and not set(path.parents) & nested
        and not (path.name == MANIFEST and damage is flipped)  # it holds digests, and none of itself
    ]
    assert read
    assert not untold(read, damage, READERS[kind].format(folder.relative_to(there)), there, capsys)


@pytest.mark.parametrize("damage", [cut, flipped])
@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_part_of_visft_is_named(
    part: str, damage: Damage, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = (there / "tasks.toml").read_text()
    (there / "again.toml").write_text(f'heads = "taught"\n{tasks}')
    files = [path for path in sorted((there / "taught" / part).rglob("*")) if path.is_file()]
    assert len(files) >= 2
    assert not untold(files, damage, PARTS[part], there, capsys)


@pytest.mark.parametrize("damage", [cut, flipped])
@pytest.mark.parametrize("result", FINISHED)
def test_a_damaged_result_is_not_taken_for_a_finished_one(
    result: str, damage: Damage, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = there / result
    files = [path for path in sorted(found.rglob("*")) if path.is_file()] if found.is_dir() else [found]
    files = [path for path in files if not path.name.endswith(".report.json")]  # it holds digests, and none of itself
    assert run([*FINISHED[result].split(), "--quiet"]) == 0
    assert not untold(files, damage, FINISHED[result], there, capsys)


@pytest.mark.parametrize("damage", [cut, flipped])
def test_a_damaged_round_of_a_project_is_named(damage: Damage, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its answers and settings are tables and a file that people change, so they have no digests."""
    names = ("selection.csv", MANIFEST) if damage is cut else ("selection.csv",)
    files = [there / "project/rounds/001" / name for name in names]
    assert not untold(files, damage, "next project --workers 0", there, capsys)


def untold(
    files: Sequence[Path], damage: Damage, line: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """Files whose damage a command does not tell of, with what it says."""
    found = []
    for path in files:
        content = path.read_bytes()
        path.write_bytes(damage(content))
        try:
            code = run([*line.split(), "--quiet"])
            told = capsys.readouterr().err
        finally:
            path.write_bytes(content)
            for made in (place / "again", place / "again.csv"):
                shutil.rmtree(made) if made.is_dir() else made.unlink(missing_ok=True)
        if not code or "unexpected" in told or path.name not in told or not any(word in told for word in REMEDIES):
            found.append(f"{path.relative_to(place)}: {code} {told.strip()}")
    return found
