"""What was asked for: the command as it was typed, and every setting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import KINDS, Subject

OUTCOME = frozenset({"figures", "notes", "files", "balance", "command", "embeddings_path"})  # no settings
DIGEST = 32  # characters of one
LONGEST = 120  # characters of a value that is shown
FEW = 12  # entries of a list that are shown


class Asked(Panel):
    """See the module."""

    kinds = KINDS
    order = 10

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        manifest = subject.manifest
        page.heading("What was asked")
        if command := manifest.get("command"):
            page.code(str(command))
        else:
            page.note("Made from Python, or by an earlier version: no command was typed, or it was not kept.")
        for note in dict(manifest.get("notes") or {}).values():
            page.warning(str(note))
        if shortfall := manifest.get("shortfall"):
            page.warning(str(shortfall))
        page.table(["setting", "value"], list(_settings(manifest)), texts=2, folded="Every setting and input")


def _settings(manifest: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """The settings by name, those of a group below its name; digests tell people nothing and are left out."""
    for name, value in manifest.items():
        if not above and name in OUTCOME:
            continue
        if isinstance(value, Mapping):
            yield from _settings(value, f"{above}{name}.")
        elif value is not None and not _is_digest(value):
            yield f"{above}{name}", _told(value)


def _told(value: Any) -> str:
    if isinstance(value, list):
        more = f" … {len(value):,} in all" if len(value) > FEW else ""
        text = ", ".join(_told(one) for one in value[:FEW]) + more
    elif isinstance(value, Mapping):
        text = ", ".join(f"{name} {_told(one)}" for name, one in value.items() if not _is_digest(one))
    else:
        text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _is_digest(value: Any) -> bool:
    text = str(value).removeprefix("content:")
    return len(text) == DIGEST and not set(text) - set("0123456789abcdef")
