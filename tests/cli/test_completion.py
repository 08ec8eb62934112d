"""Shell completion: the script, and the answers that a shell gets, without anything heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from activetune.base.discovery import names_of
from activetune.cli import commands, run
from activetune.cli.completing import CHOICES, LISTS, QUESTION, SCRIPTS
from activetune.data.annotations import formats
from activetune.handover.targets import targets
from activetune.networks.heads import ROOMS, heads
from activetune.report.maps import LAYOUTS
from activetune.selection.selectors import selectors
from activetune.studies.check.finding import checks
from activetune.tasks import tasks
from activetune.training.recipe import recipes
from activetune.training.trackers import trackers


def completed(line: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> list[str]:
    """What bash is told for a line whose last word is not finished."""
    monkeypatch.setenv(QUESTION, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"activetune {line}")
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" "))))
    assert run([]) == 0
    return str(capsys.readouterr().out).split()


@pytest.mark.parametrize(
    "line, wanted",
    [
        ("sel", ["select"]),
        ("select emb --method k_", ["k_center", "k_means"]),
        ("finetune pool --recipe lo", ["lora"]),
        ("finetune pool --task seg", ["segmentation"]),
        ("finetune pool --track mlflow,ten", ["mlflow,tensorboard"]),
        ("simulate pool --methods random,k_c", ["random,k_center"]),
        ("embed pool --backbone b", ["bundled"]),
        ("embed pool --precision bf", ["bf16"]),
        ("demo --data d", ["digits"]),
        ("list rec", ["recipes"]),
        ("export sel --to c", ["coco", "cvat"]),
        ("export sel --to box", []),  # read only
        ("import x --from box", ["box_table"]),
        ("export-model model --to t", ["torch-export"]),
        ("check pool --checks dark,blu", ["dark,blurred"]),
        ("check pool --drop no", ["none"]),
        ("report sel --layout pca,t", ["pca,tsne"]),
        ("label sel --in l", ["label-studio"]),
        ("embed pool --dtype float1", ["float16"]),
        ("select emb --method no_such", []),
    ],
)
def test_a_shell_gets_what_the_word_can_become(
    line: str, wanted: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert completed(line, monkeypatch, capsys) == wanted


def test_names_found_without_an_import_are_those_found_with_one() -> None:
    for option, found in (
        ("method", selectors()),
        ("recipe", recipes()),
        ("task", tasks()),
        ("track", trackers()),
        ("head", [name for room in ROOMS for name in heads(room)]),
        ("checks", checks()),
        ("drop", ["none", *checks()]),
        ("export to", [name for name, module in formats().items() if hasattr(module, "WRITES")]),
        ("export-model to", targets()),
        ("from_", formats()),
        ("layout", LAYOUTS),
    ):
        assert sorted(CHOICES[option]()) == sorted(set(found)), option
    assert "timm_" not in names_of("networks.backbones")


def test_every_name_in_the_table_is_an_option_of_some_command() -> None:
    found = [(command, one.name) for command, made in commands().items() for one in made.params]
    options = {name for _, name in found} | {f"{command} {name}" for command, name in found}
    assert CHOICES.keys() <= options
    assert CHOICES.keys() >= LISTS


def test_a_script_is_shown_and_installed(tmp_path: Path) -> None:
    # Typer looks for the shell that has started it, which is none that it knows where the tests run below make.
    where = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    start = [sys.executable, "-m", "activetune"]
    told = subprocess.run([*start, "--show-completion", "bash"], env=where, capture_output=True, text=True, check=True)
    assert f"{QUESTION}=complete_bash" in told.stdout
    subprocess.run([*start, "--install-completion", "bash"], env=where, capture_output=True, check=True)
    assert QUESTION in (tmp_path / ".bash_completions/activetune.sh").read_text(encoding="utf-8")


def test_a_script_for_the_shell_that_is_named(tmp_path: Path) -> None:
    where = {**os.environ, "HOME": str(tmp_path)}
    start = [sys.executable, "-m", "activetune"]
    told = subprocess.run([*start, "--show-completion=fish"], env=where, capture_output=True, text=True, check=True)
    assert f"{QUESTION}=complete_fish" in told.stdout
    subprocess.run([*start, "--install-completion", "fish"], env=where, capture_output=True, check=True)
    (written,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written.name == "activetune.fish"


@pytest.mark.parametrize("words", [["frob"], ["zsh", "bash"]])
def test_what_is_no_shell_gets_no_script(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for option in SCRIPTS:
        assert run([option, *words]) == 2
        assert f"{option} takes one of bash, zsh, fish, powershell, pwsh, or nothing" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_heavy_is_imported_while_a_person_waits() -> None:
    asked = {QUESTION: "complete_bash", "COMP_WORDS": "activetune select emb --method k_", "COMP_CWORD": "4"}
    check = (
        "import sys; from activetune.cli import run; run([]); "
        "print(*sorted({'torch', 'numpy', 'pyarrow', 'sklearn', 'timm', 'PIL'} & sys.modules.keys()), file=sys.stderr)"
    )
    told = subprocess.run(
        [sys.executable, "-c", check], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["k_center", "k_means"]
    assert told.stderr.split() == []
