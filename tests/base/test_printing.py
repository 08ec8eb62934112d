"""Names never steer the terminal, whichever message they stand in."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import activetune
from activetune.base.printing import printable, say, tell
from activetune.base.progress import note
from activetune.evaluation.scores import worst_classes

EVIL = "a\x1b[2J\x07\r\u202egpj\u2028\udcff\x9b31m.png"


@given(st.text())
def test_what_is_printable_stays_and_nothing_else_is_left(text: str) -> None:
    shown = printable(text)
    assert all(sign.isprintable() or sign in "\n\t" or sign.isspace() or ord(sign) > 127 for sign in shown)
    assert not set(shown) & set("\x1b\r\x07\x08\x7f\x9b\u202e\u2066\u2028")
    assert printable(shown) == shown
    if text.isprintable():
        assert printable(text) == shown
    shown.encode("utf-8")


def test_names_in_any_script_stay() -> None:
    for text in ("größe 犬 العربية हिन्दी 👩‍👩‍👧 é", "two\nlines\tand a tab", ""):
        assert printable(text) == text


@pytest.mark.parametrize("speak", [say, tell, note])
def test_all_that_is_said_is_escaped(speak: object, capsys: pytest.CaptureFixture[str]) -> None:
    speak(f"{EVIL}: unreadable")  # type: ignore[operator]
    captured = capsys.readouterr()
    assert captured.out + captured.err == ("a\\x1b[2J\\x07\\r\\u202egpj\\u2028\\udcff\\x9b31m.png: unreadable\n")


def test_nothing_is_printed_past_the_escapes() -> None:
    """Only base/printing.py writes to the screen."""
    source = Path(activetune.__file__).parent
    found = []
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "typer.echo", "sys.stdout.write"):
                found.append(f"{path.relative_to(source)}:{node.lineno}")
    assert [place for place in found if not place.startswith("base/printing.py")] == []


def test_a_class_name_begins_no_line_of_its_own() -> None:
    told = worst_classes({"cat\nerror: none\tat all": {"top1": 0.5, "n": 2}})
    assert told == r"cat\nerror: none\tat all (50.0 % of 2)"
