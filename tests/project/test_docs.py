"""What can be typed is documented, and what is documented can be typed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from activetune.cli import commands
from activetune.cli.showing import Listing
from activetune.report.subject import KINDS
from activetune.selection.selectors import selectors
from activetune.training.recipe import recipes

ROOT = Path(__file__).parents[2]
OPTIONS = {
    name: {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    for name, command in commands().items()
}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def documents() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}


def sections() -> dict[str, str]:
    """The text of docs/commands.md by the command that a section's heading names; what is common to all under ''."""
    common, *parts = re.split(r"^(?=## `activetune )", read("docs/commands.md"), flags=re.MULTILINE)
    named = {re.match(r"## `activetune ([\w-]+)", part).group(1): part for part in parts}  # type: ignore[union-attr]
    return {"": common, **named}


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))


@pytest.mark.parametrize("command", sorted(OPTIONS))
def test_every_command_is_documented(command: str) -> None:
    pattern = re.compile(rf"activetune {re.escape(command)}\b")
    assert any(pattern.search(text) for text in documents().values()), f"nothing says what activetune {command} does"


@pytest.mark.parametrize("command", sorted(OPTIONS))
def test_every_option_of_every_command_is_documented(command: str) -> None:
    told = sections()
    missing = sorted(OPTIONS[command] - options_in(told[""] + told.get(command, "")))
    assert not missing, f"docs/commands.md does not say what {', '.join(missing)} of activetune {command} does"


@pytest.mark.parametrize("command", sorted(sections().keys() - {""}))
def test_the_sections_name_only_commands_and_options_that_exist(command: str) -> None:
    assert command in OPTIONS
    assert options_in(sections()[command]) <= OPTIONS[command] | {"--help"}


@pytest.mark.parametrize("name", sorted(documents()))
def test_the_command_lines_in_the_documents_can_be_typed(name: str) -> None:
    joined = documents()[name].replace("\\\n", " ")
    for command, rest in re.findall(r"^\s*\$ activetune ([\w-]+)(.*)$", joined, flags=re.MULTILINE):
        assert command in OPTIONS, f"{name}: there is no command {command}"
        unknown = options_in(rest.partition("#")[0]) - OPTIONS[command] - {"--help"}
        assert not unknown, f"{name}: activetune {command} has no {', '.join(unknown)}"


@pytest.mark.parametrize("name", sorted(selectors()))
def test_every_selector_is_documented(name: str) -> None:
    assert f"`{name}`" in read("docs/select.md")


@pytest.mark.parametrize("name", sorted(recipes()))
def test_every_recipe_is_documented(name: str) -> None:
    assert f"`{name}`" in read("docs/finetune.md")


def test_every_extra_is_told_once() -> None:
    told = re.findall(r"^\| `([\w-]+)` \|", read("docs/install.md"), flags=re.MULTILINE)
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    assert sorted(told) == sorted(extras)


def test_the_pages_name_all_that_can_be_listed_and_reported_on() -> None:
    named = set(re.findall(r"`([a-z]+)`", sections()["list"].partition("\n")[2]))
    assert named == {one.value for one in Listing}
    made_by = {"embeddings": "embed", "selection": "select", "model": "finetune", "simulation": "simulate"}
    made_by |= {"comparison": "compare", "project": "next"}
    commands_of = {made_by.get(kind, kind) for kind in KINDS}
    table = read("docs/report.md").partition("| folder of |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall("`([a-z]+)`", row)} == commands_of
    assert commands_of <= set(re.findall(r"`([a-z]+)`", sections()["report"]))


def test_every_picture_is_shown_on_a_page_and_made_by_a_script() -> None:
    pictures = sorted((ROOT / "docs/pictures").iterdir())
    shown = set(re.findall(r"pictures/([\w.]+)\)", "".join(documents().values())))
    scripts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("make_*.py"))
    assert shown == {path.name for path in pictures}
    assert [path.name for path in pictures if f'"{path.stem}' not in scripts] == []


def test_a_word_has_one_row_in_the_glossary() -> None:
    rows = re.findall(r"^\| (\*\*.*?) \|", read("docs/glossary.md"), flags=re.MULTILINE)
    words = [word for row in rows for word in re.findall(r"\*\*(.+?)\*\*", row)]
    assert len(words) > 50 and [word for word, count in Counter(words).items() if count > 1] == []


def test_the_python_page_is_what_the_docstrings_say() -> None:
    ended = subprocess.run([sys.executable, ROOT / "docs/make_api.py", "--check"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_the_files_that_the_architecture_names_are_there() -> None:
    source, text = ROOT / "src/activetune", read("docs/architecture.md")
    named = set(re.findall(r"`([\w/]+\.py)`", text))
    assert len(named) > 30
    missing = [
        name for name in named if not any((place / name).is_file() for place in (ROOT, source, source / "training"))
    ]
    assert not missing, f"docs/architecture.md names {', '.join(missing)}, which are not there"
    untold = {path.name for path in (source / "training").glob("[a-z]*.py")} - named
    assert not untold, f"the table of training/ in docs/architecture.md lacks {', '.join(sorted(untold))}"
