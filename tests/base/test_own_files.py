"""Files that activetune itself has written, damaged: a sentence names them, also where no digest has found it before.

Manifests of earlier versions hold no digests, and some files stand beside a manifest that does not know them.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from activetune import Embeddings, UsageError, check, load_selection, select
from activetune.base.artefact import MANIFEST
from activetune.base.files import write_json
from activetune.base.numpy_files import load_array
from activetune.base.tables import read_own_table
from activetune.cli import run
from activetune.features.artefact import save_embeddings
from activetune.networks.heads import make_head
from activetune.networks.tensors import write_tensors
from activetune.recipes.vecaf.record import LoopRecord
from activetune.selection.problem import Picks
from activetune.supervision.heads import load_head
from tests.conftest import write_digits
from tests.project.test_layers import MODULES, room_of

RAW = {  # readers that raise whatever they like on a damaged file
    *("np.load", "json.load", "json.loads", "csv.reader", "csv.DictReader"),
    *("pq.read_table", "pq.ParquetFile", "tomllib.load", "tomllib.loads"),
}
GUARDED = {  # modules that answer for these readers themselves
    "activetune.cli._options": "csv.reader, of what was typed; csv.Error is told",
    "activetune.data.annotations._legend": "csv.reader, of text in memory; csv.Error is told",
    "activetune.data.sources._class_labels": "json.loads, of a schema's metadata; damage is a note",
    "activetune.data.sources._tar_headers": "pq.read_table, of the cache; a damaged file is made again",
    "activetune.data.sources.webdataset": "json.loads, of members of a tar; damage is an item without an answer",
    "activetune.networks.backbones.hf": "json.loads, of what transformers has read, or raises about",
    "activetune.selection.select": "json.loads, of what json.dumps gave",
    "activetune.studies.compare.kept": "json.loads, inside of one that tells of damage",
}


def raw_readers(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in RAW:
            yield name


def test_files_are_read_by_the_readers_that_tell_of_damage() -> None:
    found = {module for module, path in MODULES.items() if room_of(module) != "base" and any(raw_readers(path))}
    assert found == set(GUARDED), "read files by base/tables.py, base/parquet.py, base/files.py or base/numpy_files.py"


# A report's files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A check's folder as an earlier version left it: its manifest has no digests."""
    place = tmp_path_factory.mktemp("checked")
    pool = write_digits(place / "digits", 12)
    (pool / "0" / "copy.png").write_bytes(next((pool / "0").iterdir()).read_bytes())
    check(pool, out=place / "out", workers=0, quiet=True, use_cache=False)
    manifest = json.loads((place / "out" / MANIFEST).read_text())
    del manifest["files"]
    write_json(place / "out" / MANIFEST, manifest)
    return place / "out"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("kind", "kinf", 1),
        lambda text: text + '"',
        lambda text: text + "one,cell,too,many,of,a,row,here\n",
        lambda text: text + "x" * 5_000_000 + ",,,,,,\n",
        lambda text: text + "\0,,,,,,\n",
        lambda text: "",
    ],
)
def test_damaged_findings_are_told(damage: object, checked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checked / "findings.csv"
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") > 1
    try:
        path.write_text(damage(text), encoding="utf-8")  # type: ignore[operator]
        assert run(["report", str(checked), "--overwrite", "--quiet"]) == 2
    finally:
        path.write_text(text, encoding="utf-8")
    (told,) = capsys.readouterr().err.splitlines()
    assert "findings.csv" in told and "check again with --overwrite" in told
    assert run(["report", str(checked), "--overwrite", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("ledger.csv", "runde,method\n1,random\n", "activetune next again"),
        ("conflicts.csv", "id,offen\na,yes\n", "activetune next again"),
        ("advice.json", "{}", "activetune next again"),
        ("advice.json", '{"rounds": {"gain": 1}}', "activetune next again"),
        ("advice.json", '{"rounds": [1]}', "activetune next again"),
        ("label_errors.csv", "item,label\na,b\n", "the report stands without it"),
    ],
)
def test_damaged_files_of_a_project_are_told(
    name: str, content: str, remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "project.toml").write_text('pool = "photos"\n')
    (tmp_path / "ledger.csv").write_text("round,method,asked\n1,random,10\n")
    save_embeddings(Embeddings.from_numpy(np.eye(4, dtype=np.float32)), tmp_path / "embeddings")
    (tmp_path / name).write_text(content)
    assert run(["report", str(tmp_path), "--quiet"]) in (1, 2)
    told = capsys.readouterr().err.strip()
    assert name in told and remedy in told and "\n" not in told


# Other files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [("score", "skore"), (",1,", ",1,,"), ("\n", '\n"')])
def test_a_damaged_selection_is_told(damage: tuple[str, str], tmp_path: Path) -> None:
    select(Embeddings.from_numpy(np.eye(4, dtype=np.float32)), budget=2, method="k_center", out=tmp_path / "sel")
    path = tmp_path / "sel" / "selection.csv"
    path.write_text(path.read_text().replace(*damage, 1))
    with pytest.raises(UsageError, match=r"selection\.csv.*select again with --overwrite"):
        load_selection(tmp_path / "sel")


def test_an_own_table_or_array_that_is_missing_is_told(tmp_path: Path) -> None:
    for read in (lambda path: read_own_table(path, (), "do it again"), lambda path: load_array(path, "do it again")):
        with pytest.raises(UsageError, match=r"gone\.x.*do it again"):
            read(tmp_path / "gone.x")


def test_a_damaged_head_is_told(tmp_path: Path) -> None:
    head = make_head("linear", 3, 2)
    described = {"head": {"kind": "linear", "size": 3, "outputs": 2}}
    write_json(tmp_path / "config.json", described)
    write_tensors(tmp_path / "head.safetensors", head.state_dict())
    assert torch.equal(load_head(tmp_path).state_dict()["classifier.weight"], head.state_dict()["classifier.weight"])
    whole = (tmp_path / "head.safetensors").read_bytes()
    (tmp_path / "head.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"head\.safetensors is damaged .* --overwrite"):
        load_head(tmp_path)
    write_tensors(tmp_path / "head.safetensors", {"other": torch.zeros(2)})
    with pytest.raises(UsageError, match=r"head\.safetensors does not fit config\.json .* --overwrite"):
        load_head(tmp_path)
    for wrong in ({}, {"head": 3}, {"head": {"kind": "linear", "size": 3}}):
        write_json(tmp_path / "config.json", wrong)
        with pytest.raises(UsageError, match=r"config\.json is damaged .* --overwrite"):
            load_head(tmp_path)


def test_a_damaged_record_of_a_loop_is_told(tmp_path: Path) -> None:
    record = LoopRecord(Picks(np.array([2, 0]), np.array([0.5, 0.25]), ["a", "b"]))
    record.write(tmp_path, 0)
    assert LoopRecord.read(tmp_path, 0).picks.positions.tolist() == [2, 0]
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(b"{}" if path.suffix == ".json" else whole[: len(whole) // 2])
        with pytest.raises(UsageError, match=r"damaged .* --overwrite instead of --resume"):
            LoopRecord.read(tmp_path, 0)
        path.write_bytes(whole)
