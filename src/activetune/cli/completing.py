"""Shell completion: what an option can be, from the files of each kind of method; none of them is imported.

``activetune --install-completion`` writes a script for the shell, which starts ``activetune`` again with a question in
the environment each time that the tab key is pressed. So nothing heavy may be loaded here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

from activetune.base.discovery import names_of
from activetune.base.errors import UsageError
from activetune.base.run import PRECISIONS

QUESTION = "_ACTIVETUNE_COMPLETE"  # the variable in which a shell asks
HEADS = ("classes", "boxes", "masks", "sentences")


def _backbones() -> list[str]:
    """``bundled``, and each source with the beginning of its names."""
    return ["bundled", *(f"{source}/" for source in names_of("networks.backbones") if source != "bundled")]


def _heads() -> list[str]:
    return sorted({name for room in HEADS for name in names_of(f"networks.heads.{room}")})


def _one(*packages: str) -> Callable[[], list[str]]:
    return lambda: [name for package in packages for name in names_of(package)]


def _targets() -> list[str]:
    return [name.replace("_", "-") for name in names_of("handover.targets")]


CHOICES: dict[str, Callable[[], Sequence[str]]] = {  # by the name of an option, or of a command and its option
    "backbone": _backbones,
    "checks": _one("studies.check.checks"),
    "data": _one("studies.demo.pools"),
    "device": lambda: ("auto", "cpu", "cuda", "mps"),
    "drop": lambda: ("none", *names_of("studies.check.checks")),
    "dtype": lambda: ("float16", "float32"),
    "export to": lambda: names_of("data.annotations", having="WRITES"),
    "export-model to": _targets,
    "from_": _one("data.annotations"),
    "head": _heads,
    "inside": lambda: ("label-studio",),
    "layout": lambda: ("pca", "tsne", "umap"),
    "method": _one("selection.selectors"),
    "methods": _one("selection.selectors"),
    "precision": lambda: PRECISIONS,
    "recipe": _one("recipes"),
    "recipes": _one("recipes"),
    "start": _one("selection.selectors"),
    "task": _one("tasks"),
    "track": _one("training.trackers"),
}
LISTS = frozenset(
    {"checks", "drop", "layout", "methods", "recipes", "track"}
)  # options that take several names with commas between


SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
SCRIPTS = ("--install-completion", "--show-completion")  # typer's options, which take no name of a shell


def asked_for_script(arguments: Sequence[str]) -> tuple[str, str] | None:
    """The option of :data:`SCRIPTS` that a command line begins with, and the shell that it names; None without both.

    Raises:
        UsageError: no shell that is known, or more than one word.
    """
    option, _, value = arguments[0].partition("=") if arguments else ("", "", "")
    words = [*([value] if value else []), *arguments[1:]]
    if option not in SCRIPTS or not words or words[0] in ("-h", "--help"):
        return None
    if len(words) > 1 or words[0] not in SHELLS:
        raise UsageError(
            f"{option} takes one of {', '.join(SHELLS)}, or nothing: the shell that it is typed in; it got "
            f"{' '.join(words)!r}"
        )
    return option, words[0]


def write_script(command: Any, option: str, shell: str) -> int:
    """Install or show the script for a shell that is named; returns the exit code.

    Args:
        command: the whole command line, as typer has built it. option: one of :data:`SCRIPTS`.
    """
    parameter = next(one for one in command.params if option in one.opts)
    with command.make_context("activetune", ["--version"]) as context:
        try:
            parameter.callback(context, parameter, shell)
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


def asked() -> bool:
    """Whether this process was started by a shell that completes."""
    return QUESTION in os.environ


def complete(command: Any) -> int:
    """Answer the shell; returns the exit code.

    Args:
        command: the whole command line, as typer has built it.
    """
    for inner in (command, *command.commands.values()):
        for parameter in inner.params:
            known = [name for name in (f"{inner.name} {parameter.name}", parameter.name) if name in CHOICES]
            if known:
                parameter.shell_complete = _completer(known[0])
    try:
        command.main(args=[], prog_name="activetune")
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _completer(name: str) -> Callable[[Any, str], list[Any]]:
    """What answers for an option."""

    def found(context: Any, incomplete: str) -> list[Any]:
        names = candidates(CHOICES[name](), incomplete, several=name in LISTS)
        return [SimpleNamespace(value=value, type="plain", help=None) for value in names]

    return found


def candidates(names: Iterable[str], incomplete: str, *, several: bool) -> list[str]:
    """Those names that what was typed can become.

    >>> candidates(["k_center", "k_means", "random"], "random,k_m", several=True)
    ['random,k_means']
    """
    before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
    taken = before.split(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last) and name not in taken]
