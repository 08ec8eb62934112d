"""Write docs/api.md from the signatures and docstrings of the public names.

python docs/make_api.py            # write it
python docs/make_api.py --check    # fail where it differs
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
import typing
from pathlib import Path
from typing import Any

import activetune

PAGE = Path(__file__).with_name("api.md")
GROUPS = {
    "Pools and labels": ("open_pool", "Pool", "read_labels", "Labels", "corrupt", "caption"),
    "Answers beyond one class an image": ("read_annotations", "pool_annotations", "save_annotations"),
    "Other tools": ("export_labels", "import_labels", "label_in_studio"),
    "Embeddings": ("embed", "EmbedOptions", "Embeddings", "load_embeddings", "load_backbone", "Backbone"),
    "Selection": ("select", "Selection", "load_selection", "contact_sheet", "write_report", "save_images", "label"),
    "Models": ("finetune", "load", "Model", "evaluate", "evaluate_shifts", "Scores", "predict"),
    "A model where it is used": ("stream_predictions", "serve", "export_model"),
    "Backbones that tasks have taught": ("visft", "Supervised", "merge", "compare", "Comparison"),
    "Studies": ("check", "Checked", "simulate", "Simulation", "demo", "doctor", "Health"),
    "Rounds": ("next_round", "NextRound", "label_errors", "LabelError"),
    "Options of every function, and errors": ("RunOptions", "ActivetuneError", "UsageError"),
}
NAMED = ("Args", "Attributes", "Raises")  # sections whose entries begin with a name
OPENING = """# Python

Every name here is imported from `activetune`, and is loaded when it is first used: `import activetune` alone loads no
torch. Functions have the name and the options of the command that does the same. This page is written by
`python docs/make_api.py` from the docstrings. Their examples run as they stand, where `import activetune` went before
and the current folder holds `photos` (a sub-folder of images for each class) and what was made of it: `emb` by `embed`,
`sel` by `select` and `model` by `finetune`. A line with `# doctest: +SKIP` is not run; the comment before it says why.
"""


def page() -> str:
    """The whole page.

    Raises:
        LookupError: a public name stands in no group.
    """
    missing = set(activetune.__all__) - {name for names in GROUPS.values() for name in names}
    if missing:
        raise LookupError(f"docs/make_api.py has no group for {', '.join(sorted(missing))}")
    parts = [OPENING]
    for group, names in GROUPS.items():
        parts.append(f"## {group}\n")
        parts += [_entry(name) for name in names if name in activetune.__all__]
    return "\n".join(parts)


def _entry(name: str) -> str:
    thing = getattr(activetune, name)
    text = inspect.cleandoc(thing.__doc__ or "")
    told = prose(one_entry_per_line(text, names_in(thing)))
    lines = [f"### `{name}`\n", f"```python skip\n{_signature(name, thing)}\n```\n", f"{told}\n"]
    if inspect.isclass(thing):
        lines += _members(thing)
    return "\n".join(lines)


def _signature(name: str, thing: Any) -> str:
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return f"class {name}({thing.__bases__[0].__name__})"
    if typing.is_typeddict(thing):
        return "\n".join([f"class {name}:", *(f"    {key}: {kind}" for key, kind in _kinds(thing).items())])
    signature = inspect.signature(thing)
    if inspect.isclass(thing):
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    line = name + re.sub(r"(?<=: )'([^']*)'|(?<=-> )'([^']*)'", r"\1\2", str(signature))
    line = re.sub(r"<(?:[\w.]+\.)?(\w+) object at 0x[0-9a-f]+>", r"\1()", line)
    if len(line) <= 110:
        return line
    opening, _, rest = line.partition("(")
    arguments, _, result = rest.rpartition(") -> ") if ") -> " in rest else (rest[:-1], "", "")
    rows = textwrap.indent(",\n".join(_split(arguments)), "    ")
    return f"{opening}(\n{rows},\n){' -> ' + result if result else ''}"


def _kinds(thing: type) -> dict[str, str]:
    """The fields of a typed dictionary, and their types as they are written."""
    kinds = {key: getattr(kind, "__forward_arg__", kind) for key, kind in thing.__annotations__.items()}
    return {key: getattr(kind, "__name__", str(kind)) for key, kind in kinds.items()}


def _split(arguments: str) -> list[str]:
    """The arguments of a signature, cut at the commas that stand in no bracket."""
    found, depth, start = [], 0, 0
    for place, letter in enumerate(arguments):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            found.append(arguments[start:place].strip())
            start = place + 1
    return [*found, arguments[start:].strip()]


def names_in(thing: Any) -> set[str]:
    """The names that a docstring may explain: parameters, fields, and attributes that are set when it is made."""
    names = set(getattr(thing, "__annotations__", {})) | (set(vars(thing)) if inspect.isclass(thing) else set())
    if not typing.is_typeddict(thing):
        names |= set(inspect.signature(thing).parameters)
    made = getattr(thing, "__init__", None)
    return names | (set(made.__code__.co_names) if inspect.isfunction(made) else set())


def one_entry_per_line(text: str, names: set[str]) -> str:
    """A docstring in which a name that is explained after another one in the same line begins a line of its own.

    >>> one_entry_per_line("    pool: the images. seed: of every choice.", {"pool", "seed"})
    '    pool: the images.\\n    seed: of every choice.'
    """

    def broken(found: re.Match[str]) -> str:
        return f"\n    {found[1]}: " if set(found[1].split(", ")) <= names else found[0]

    return re.sub(r"(?<=\.) ((?:[a-zA-Z_]+, )*[a-zA-Z_]+): ", broken, text)


def prose(text: str) -> str:
    """A docstring as Markdown: its sections as lists, roles as code."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?([\w]+)`", r"`\1`", text).replace("``", "`")
    out: list[str] = []
    section = ""
    for line in text.splitlines():
        heading = re.fullmatch(r"(Args|Attributes|Raises|Returns|Yields|Example|Examples):", line)
        if heading:
            section = heading.group(1)
            out += ["", f"**{section}**", ""]
        elif section and not section.startswith("Example") and re.match(r" {4}\S", line):
            name, colon, rest = line.strip().partition(": ")
            out.append(f"- `{name}`: {rest}" if colon and "`" not in name and section in NAMED else f"- {line.strip()}")
        elif section and not section.startswith("Example") and line.strip():
            out.append(f"  {line.strip()}")
        else:
            out.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()


def _members(thing: type) -> list[str]:
    found = []
    for name, member in vars(thing).items():
        plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if name.startswith("_") or not (inspect.isfunction(plain) or isinstance(plain, property)):
            continue
        first = inspect.cleandoc(plain.__doc__ or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")
        first = re.sub(r":\w+:`~?(?:[\w.]+\.)?([\w]+)`", r"`\1`", first)
        found.append(f"- `.{name}{'' if isinstance(plain, property) else '()'}`: {first}")
    return [*found, ""] if found else []


def main() -> int:
    """Write the page, or compare it."""
    text = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/api.md differs from the docstrings; run: python docs/make_api.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
