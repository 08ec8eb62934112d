"""Files that a person would not write: whatever they hold, they are a sentence, and never a traceback."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

import activetune
from activetune import ActivetuneError, UsageError
from activetune.base.artefact import read_manifest
from activetune.base.config import read_config
from activetune.base.files import parse_json, read_json
from activetune.cli import run

DEEP = 100_000
ODD = [None, True, 0, -1, 10**400, 1.5, float("nan"), "", "x", [], [1], [[]], {}, {"a": 1}]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a = " + "[" * DEEP + "]" * DEEP, "is nested too deeply"),
        ("a = " + "{a = " * DEEP + "1" + "}" * DEEP, "is nested too deeply"),
        (".".join(["a"] * DEEP) + " = 1", "is nested too deeply in line 1"),
        ("seed = 1\n[" + ".".join(["a"] * DEEP) + "]", "is nested too deeply in line 2"),
        ("seed = 1" + "0" * 5000, "a number has thousands of digits"),
        ("seed = 1\n" + "#" * 2**20, "is larger than 1,048,576 bytes"),
        ("seed = 1 2", "is not TOML"),
        ("seed = 1\0", "is not TOML"),
        ("budget = 2020-01-01", "'budget' can't be datetime.date"),
        ("budget = [[1]]", "'budget' can't be"),
        ("set = 5", "'set' is a table of settings, not 5"),
        ("set = [1]", "'set' is a table of settings"),
        ("[set]\na = {b = 1}", "the setting 'a' can't be"),
    ],
    ids=lambda value: value[:12],
)
def test_hostile_config_files(content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(content)
    with pytest.raises(UsageError) as error:
        read_config(tmp_path / "c.toml", "select", ["budget", "seed", "set"], ["select"])
    assert told in str(error.value)
    assert len(str(error.value)) < 500


def test_config_files_in_other_encodings(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbfseed = 1")
    assert read_config(tmp_path / "c.toml", "select", ["seed"], ["select"]) == {"seed": 1}
    (tmp_path / "c.toml").write_bytes("seed = 1".encode("utf-16"))
    with pytest.raises(UsageError, match="is not UTF-8 text; save it as UTF-8"):
        read_config(tmp_path / "c.toml", "select", ["seed"], ["select"])


def test_config_files_that_are_no_files(tmp_path: Path) -> None:
    for path, told in (
        (tmp_path, "is a folder"),
        (Path("/dev/zero"), "is no file"),
        (tmp_path / "no", "can't be read"),
    ):
        with pytest.raises(UsageError, match=told):
            read_config(path, "select", ["seed"], ["select"])


def test_settings_in_a_config_file_may_be_lists(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[select.set]\nloss = 'released'\nsteps = [1, 2]\n")
    assert read_config(tmp_path / "c.toml", "select", ["set"], ["select"]) == {"set": ["loss=released", "steps=1,2"]}


@pytest.mark.parametrize("value", ["[1]", "{a = 1}", "true", "nan", "inf", "-1", "'x'", "2020-01-01", "1e400"])
@pytest.mark.parametrize("option", ["seed", "budget", "out", "quiet", "method", "min_distance"])
def test_values_of_the_wrong_kind_reach_no_traceback(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = {"budget": "5", "out": f"'{tmp_path / 'out'}'", option: value}
    (tmp_path / "c.toml").write_text("".join(f"{name} = {text}\n" for name, text in lines.items()))
    assert run(["select", str(tmp_path / "nothing"), "--config", str(tmp_path / "c.toml")]) == 2
    assert "defect" not in capsys.readouterr().err


# JSON ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["[" * DEEP, '{"a":' * DEEP, "1" * 5000, "{", "", "{'a': 1}", '"' * 3])
def test_json_that_is_none_is_a_value_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        parse_json(text)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ActivetuneError, match="is damaged"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[1]", b"3", b"null", b'"x"'])
def test_json_files_that_hold_no_object(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ActivetuneError, match=r"is damaged|does not hold a JSON object"):
        read_manifest(tmp_path, "model")


@pytest.mark.parametrize("value", [value for value in ODD if not isinstance(value, int)], ids=repr)
def test_manifests_with_an_odd_format(value: Any, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "model", "format": value}))
    with pytest.raises(UsageError, match="its format is"):
        read_manifest(tmp_path, "model")


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artefacts of the first format, whose files carry no digests."""
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(Path(__file__).parents[1] / "golden" / "format1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "format1"


def variants(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The content without each key, and with each value replaced by every odd one."""
    found = [{name: value for name, value in content.items() if name != gone} for gone in content]
    return found + [{**content, name: value} for name in content for value in ODD]


@pytest.mark.parametrize("name", ["linear_probe", "fact"])
def test_variants_of_a_model_s_config_load_or_are_a_sentence(name: str, golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / name, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    loaded = 0
    for variant in variants(config):
        path.write_text(json.dumps(variant))
        try:
            model = activetune.load(tmp_path / "model")
        except ActivetuneError as error:
            assert len(str(error)) < 1000
        else:
            loaded += 1
            assert all(isinstance(one, str) for one in model.classes)
    assert 0 < loaded < len(variants(config))  # what says nothing of the network may be anything


@pytest.mark.parametrize(("name", "load"), [("EMB", "load_embeddings"), ("SEL", "load_selection"), ("full", "load")])
def test_variants_of_a_manifest_load_or_are_a_sentence(name: str, load: str, golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / name, tmp_path / name)
    path = tmp_path / name / "manifest.json"
    manifest = json.loads(path.read_text())
    refused = 0
    for variant in variants(manifest)[:: 3 if name == "full" else 1]:
        path.write_text(json.dumps(variant))
        try:
            getattr(activetune, load)(tmp_path / name)
        except ActivetuneError as error:
            assert 20 < len(str(error)) < 1000
            refused += 1
    assert refused > 0
