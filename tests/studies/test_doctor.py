"""``activetune doctor``: what it finds, and what it says where something is broken."""

from __future__ import annotations

import json
import socket
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

import activetune
from activetune.cli import run
from activetune.features import embedding
from activetune.studies import doctor

TOLD = """Name: activetune
Provides-Extra: near
Provides-Extra: far
Requires-Dist: numpy>=1
Requires-Dist: pillow>=1; extra == "near"
Requires-Dist: package-that-is-not>=2; extra == "far"
"""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says what the installed activetune needs."""
    from email import message_from_string

    def say(text: str) -> None:
        monkeypatch.setattr(metadata, "metadata", lambda name: message_from_string(text))

    say(TOLD)
    return say


@pytest.fixture
def no_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_self_test", lambda: iter(()))


def by_name(health: doctor.Health) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in health.findings}


def test_a_machine_that_is_well_says_so_and_sends_nothing(
    installed: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("doctor goes to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert run(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["well"]
    found = {finding["name"]: finding for finding in told["findings"]}
    assert found["embed 8 images"]["value"].startswith("well")
    assert found["numpy"]["value"] == metadata.version("numpy")
    assert found["chosen by auto"]["value"].startswith("device ")
    assert {finding["part"] for finding in told["findings"]} == {"versions", "machine", "cache", "extras", "self test"}


@pytest.mark.usefixtures("no_self_test", "installed")
def test_a_torchvision_of_another_torch_is_told_and_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    from activetune.base.torchvision_ import import_torchvision

    import_torchvision()

    def lacking(*_: object) -> None:
        raise NotImplementedError("Could not run 'torchvision::nms' with arguments from the 'CPU' backend")

    def there(*_: object) -> None:
        return None

    for operator, told in ((lacking, True), (there, False)):
        monkeypatch.setattr(torch.ops.torchvision, "nms", operator)
        health = activetune.doctor()
        assert ("torchvision's build" in by_name(health)) == told and not health.faults


@pytest.mark.usefixtures("no_self_test")
def test_a_missing_extra_has_its_pip_line_and_is_no_fault(installed: Any, capsys: Any) -> None:
    found = by_name(activetune.doctor())
    assert found["near"].value == "installed"
    assert found["far"].remedy == "pip install 'activetune[far]'"
    assert run(["doctor"]) == 0
    assert "package-that-is-not missing  (pip install 'activetune[far]')" in capsys.readouterr().out


@pytest.mark.usefixtures("no_self_test")
@pytest.mark.parametrize("line", ["numpy>=999", "package-that-is-not>=2"])
def test_a_needed_package_that_is_missing_or_old_is_a_fault(line: str, installed: Any, capsys: Any) -> None:
    installed(f"Name: activetune\nRequires-Dist: {line}\n")
    assert run(["doctor", "--quiet"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: 1 of what activetune needs is broken")
    assert f"pip install '{line}'" in captured.err


def test_a_backbone_that_breaks_is_a_line_and_exit_code_1(
    installed: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(embedding, "embed", breaks)
    assert run(["doctor"]) == 1
    captured = capsys.readouterr()
    assert "RuntimeError: operator torchvision::nms does not exist" in captured.out
    assert "Traceback" not in captured.out + captured.err


@pytest.mark.usefixtures("no_self_test")
def test_the_size_of_the_cache_is_that_of_its_files(
    installed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVETUNE_CACHE", str(tmp_path / "here"))
    (tmp_path / "here/embeddings").mkdir(parents=True)
    (tmp_path / "here/embeddings/a").write_bytes(bytes(2_500_000))
    found = [finding for finding in activetune.doctor().findings if finding.part == "cache"]
    assert [(finding.name, finding.value) for finding in found] == [(str(tmp_path / "here"), "2.5 MB in 1 file")]
