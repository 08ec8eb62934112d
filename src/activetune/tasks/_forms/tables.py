"""Predictions as a table with a row per image, per name or per sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from activetune.base.errors import UsageError
from activetune.base.files import replacing
from activetune.base.tables import header_of, read_table, write_csv
from activetune.tasks._forms._form import Form, Row
from activetune.tasks._pictures import with_text


class Table(Form):
    """A ``.csv`` or ``.parquet`` file with the columns id, label, probability; an answer is (label, probability)."""

    suffix: ClassVar[str] = ".csv"
    header: ClassVar[tuple[str, ...]] = ("id", "label", "probability")

    def file(self, out: Path) -> Path:
        """See :class:`Form`."""
        if out.suffix.lower() not in (".csv", ".parquet"):
            raise UsageError(
                f"{out}: predictions are written as .csv, .parquet or .jsonl; give --out such a name, or - for JSON "
                "lines on stdout"
            )
        return out

    def own(self, file: Path) -> bool:
        """See :class:`Form`."""
        return header_of(file) == self.header

    def row(self, item: str, answer: Any, file: Path | None) -> Row:
        """See :class:`Form`."""
        return item, *answer

    def record(self, item: str, answer: Any) -> dict[str, Any]:
        """See :class:`Form`."""
        name, prob = answer
        return {"id": item, "label": name, "probability": round(prob, 6)}

    def picture(self, image: Image.Image, row: Row, file: Path) -> Image.Image:
        """See :class:`Form`: the class and its probability below it."""
        return with_text(image, f"{row[1]} {100 * row[2]:.0f} %")

    def write(self, file: Path, rows: Sequence[Row]) -> None:
        """See :class:`Form`."""
        if file.suffix.lower() == ".csv":
            write_csv(file, self.header, [(item, name, f"{prob:.6f}") for item, name, prob in rows])
            return
        columns = list(zip(*rows, strict=True)) or [(), (), ()]
        types = (pa.string(), pa.string(), pa.float32())
        table = pa.table({name: pa.array(c, t) for name, c, t in zip(self.header, columns, types, strict=True)})
        with replacing(file) as partial:
            pq.write_table(table, partial)

    def read(self, file: Path, items: Sequence[str]) -> list[Row]:
        """See :class:`Form`."""
        found = read_table(file)
        columns = (found[name] for name in self.header)
        return [(str(item), str(name), float(prob)) for item, name, prob in zip(*columns, strict=True)]


class NameTable(Table):
    """The same with a row per name; an answer is a list of (name, probability), and without one the label is empty."""

    def row(self, item: str, answer: Any, file: Path | None) -> Row:
        """See :class:`Form`."""
        return item, [list(pair) for pair in answer]

    def record(self, item: str, answer: Any) -> dict[str, Any]:
        """See :class:`Form`: all names in one object."""
        return {"id": item, "labels": [{"label": name, "probability": round(prob, 6)} for name, prob in answer]}

    def picture(self, image: Image.Image, row: Row, file: Path) -> Image.Image:
        """See :class:`Form`: the names and their probabilities below it."""
        return with_text(image, ", ".join(f"{name} {100 * prob:.0f} %" for name, prob in row[1]) or "nothing")

    def write(self, file: Path, rows: Sequence[Row]) -> None:
        """See :class:`Form`."""
        super().write(file, [(item, *pair) for item, named in rows for pair in named or [("", 0.0)]])

    def read(self, file: Path, items: Sequence[str]) -> list[Row]:
        """See :class:`Form`."""
        found: dict[str, list[list[Any]]] = {}
        for item, name, prob in super().read(file, items):
            found.setdefault(item, []).extend([[name, prob]] if name else [])
        return list(found.items())


class SentenceTable(Table):
    """The same with the columns id, caption; an answer is :class:`~activetune.data.kinds.Sentences` of one sentence."""

    header: ClassVar[tuple[str, ...]] = ("id", "caption")

    def row(self, item: str, answer: Any, file: Path | None) -> Row:
        """See :class:`Form`."""
        return item, answer.texts[0]

    def record(self, item: str, answer: Any) -> dict[str, Any]:
        """See :class:`Form`."""
        return {"id": item, "caption": answer.texts[0]}

    def picture(self, image: Image.Image, row: Row, file: Path) -> Image.Image:
        """See :class:`Form`: the sentence below it."""
        return with_text(image, row[1])

    def write(self, file: Path, rows: Sequence[Row]) -> None:
        """See :class:`Form`."""
        if file.suffix.lower() == ".csv":
            write_csv(file, self.header, rows)
            return
        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)] or [
            pa.array([], pa.string())
        ] * 2
        table = pa.table(dict(zip(self.header, columns, strict=True)))
        with replacing(file) as partial:
            pq.write_table(table, partial)

    def read(self, file: Path, items: Sequence[str]) -> list[Row]:
        """See :class:`Form`."""
        found = read_table(file)
        return [(str(item), str(text)) for item, text in zip(found["id"], found["caption"], strict=True)]
