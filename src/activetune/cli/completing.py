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


CHOICES: dict[str, Callable[[], Sequence[str]]] = {  # by the name of an option, in whichever command it is
    "backbone": _backbones,
    "data": _one("studies.demo.pools"),
    "device": lambda: ("auto", "cpu", "cuda", "mps"),
    "head": _heads,
    "method": _one("selection.selectors"),
    "methods": _one("selection.selectors"),
    "precision": lambda: PRECISIONS,
    "recipe": _one("recipes"),
    "recipes": _one("recipes"),
    "start": _one("selection.selectors"),
    "task": _one("tasks"),
    "track": _one("training.trackers"),
}
LISTS = frozenset({"methods", "recipes", "track"})  # options that take several names with commas between


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
            if parameter.name in CHOICES:
                parameter.shell_complete = _completer(parameter.name)
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
