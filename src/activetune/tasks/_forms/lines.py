"""Predictions as lines of JSON in a file, whatever the task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from activetune.base.errors import UsageError
from activetune.base.files import parse_json, replacing
from activetune.tasks._forms._form import Form, Row


class JsonLines(Form):
    """A line of JSON per image: its answer as the task's form records it, or ``error`` where it can't be used.

    Args:
        form: the task's.
    """

    suffix: ClassVar[str] = ".jsonl"
    lists_rejects: ClassVar[bool] = False

    def __init__(self, form: Form):
        self.form = form

    def file(self, out: Path) -> Path:
        """See :class:`Form`."""
        return out

    def own(self, file: Path) -> bool:
        """See :class:`Form`."""
        return holds_lines(file)

    def row(self, item: str, answer: Any, file: Path | None) -> Row:
        """See :class:`Form`."""
        return item, self.form.record(item, answer)

    def refused(self, item: str, reason: str) -> Row:
        """See :class:`Form`."""
        return item, {"id": item, "error": reason}

    def record(self, item: str, answer: Any) -> dict[str, Any]:
        """See :class:`Form`."""
        return self.form.record(item, answer)

    def picture(self, image: Image.Image, row: Row, file: Path) -> Image.Image:
        """See :class:`Form`; a line is no answer that could be drawn.

        Raises:
            UsageError: always.
        """
        raise UsageError("pictures are not drawn of JSON lines; leave --draw out, or give --out another name")

    def write(self, file: Path, rows: Sequence[Row]) -> None:
        """See :class:`Form`."""
        with replacing(file) as partial, partial.open("wb") as lines:
            for _, record in rows:
                lines.write(json.dumps(record).encode("ascii") + b"\n")

    def read(self, file: Path, items: Sequence[str]) -> list[Row]:
        """See :class:`Form`."""
        found = map(parse_json, file.read_bytes().splitlines())
        return [(str(record["id"]), record) for record in found]


def holds_lines(path: Path) -> bool:
    """Whether a file begins with a line of ours, or is empty."""
    with path.open("rb") as file:
        first = file.readline()
    try:
        found = parse_json(first) if first else {"id": ""}
    except ValueError:
        return False
    return isinstance(found, dict) and "id" in found
