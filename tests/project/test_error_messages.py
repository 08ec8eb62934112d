"""Every error that activetune explains, read as a set: each says what to do next."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import activetune

SOURCE = Path(activetune.__file__).parent
BASE = {"ActivetuneError", "UsageError"}
REASONS = {"RejectedImage", "ReadingFault"}  # a reason in a list of images, not a sentence to a person
# What to do next, or what is allowed: as a command, or as the values that there are.
NEXT = re.compile(
    r"\b(add|allowed|apply|ask|at least|at most|below|beyond|build|can be|change|check|choose|close|compare|copy"
    r"|correct|cut|do you mean|drop|embed|expected|fill|finetune|finish|free|give|in place of|install|it holds|it takes"
    r"|keep|known are|label|leave|less|lower|make|mend|merge|must|name|nearest|needs?|only|or|pack|predict|put|reads"
    r"|remove|rename|run|save|say|see|select|set|shorten|start|such as|take|there are|try|turn|unpacked|update|use|wait"
    r"|write)\b|:? \d|--\w|\{\}$",
    re.IGNORECASE,
)
# Reasons that another sentence goes round, which says what to do; and limits that say by themselves what is allowed.
PARTS = {
    "base/config.py",  # the setting's own check says what it may be
    "data/annotations/_columns.py",
    "data/annotations/_legend.py",
    "data/annotations/_listed.py",
    "data/sources/_frames.py",
    "data/sources/video.py",
    "selection/images.py",
}


def kinds() -> set[str]:
    """The names of the error classes of the house."""
    found = set(BASE)
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and found & {ast.unparse(base) for base in node.bases}:
                found.add(node.name)
    return found - REASONS - {"MissingExtra"}  # which says by itself what to install


def sentences() -> Iterator[tuple[str, int, str]]:
    """File, line and text of every error that is written out, with ``{}`` where a value stands."""
    known = kinds()
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known and node.args:
                text = node.args[0]
                if isinstance(text, ast.JoinedStr | ast.Constant):
                    yield path.relative_to(SOURCE).as_posix(), node.lineno, told(text)


def told(text: ast.JoinedStr | ast.Constant) -> str:
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)


def test_there_are_hundreds_of_them() -> None:
    assert len(list(sentences())) > 400


def test_each_says_what_to_do_next() -> None:
    lost = [f"{file}:{line} {text}" for file, line, text in sentences() if file not in PARTS and not NEXT.search(text)]
    assert not lost, "say what is allowed or what to do next:\n" + "\n".join(lost)


def test_each_is_one_sentence_in_small_letters() -> None:
    """The command line puts ``error: `` before it."""
    wrong = [
        f"{file}:{line} {text}"
        for file, line, text in sentences()
        if text.endswith(".") or "\n" in text or re.match(r"(?!Label Studio)[A-Z][a-z]+ ", text)
    ]
    assert not wrong, "\n".join(wrong)
