"""Parquet as values: those that pyarrow itself gives, in memory that does not grow with how often a value stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from activetune import UsageError, open_pool
from activetune.base.parquet import open_parquet, read_cells, schema_of
from activetune.base.tables import read_table

LARGE = "x" * 1_000_000
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
COLUMNS: dict[str, pa.Array] = {
    "texts": pa.array(["a", None, "b", "a"]),
    "bytes": pa.array([b"a", b"", None, b"a"]),
    "categories": pa.array(["a", "b", "a", None]).dictionary_encode(),
    "counted": pa.array([3, 4, 3, None]).dictionary_encode(),
    "lists": pa.array([["a", "b"], None, [], ["a", None]]),
    "structs": pa.array([{"bytes": b"a", "path": "p"}, None, {"bytes": None, "path": "p"}, None], STRUCT),
    "deep": pa.array([[{"p": ["a"]}], [], None, [{"p": None}]], pa.list_(pa.struct([("p", pa.list_(pa.string()))]))),
    "times": pa.array([0, 10**18, None, 5], pa.timestamp("ns")),
    "flags": pa.array([True, None, False, True]),
    "a.dot": pa.array(["1", "2", "3", "4"]),
    "a": pa.array([0.5, None, 1.5, 2.5]),
}


def written(path: Path, columns: dict[str, pa.Array], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize("store_schema", [True, False])
def test_a_bit_anywhere_ends_in_values_or_in_an_error(store_schema: bool, tmp_path: Path) -> None:
    """In rows that name no value of their dictionary, too: Arrow would read past its end."""
    texts, structs = pa.array(["aaaa", "bbbb", "cccc"] * 8), pa.array([{"b": b"xxxx"}, {"b": b"yyyy"}] * 12)
    path = written(
        tmp_path / "table.parquet", {"t": texts, "s": structs}, compression="none", store_schema=store_schema
    )
    content, wild = path.read_bytes(), 0
    for place in range(4, min(300, len(content))):  # the pages, which stand before all that describes them
        path.write_bytes(content[:place] + bytes([content[place] ^ 3]) + content[place + 1 :])
        try:
            with open_parquet(path) as file:
                found = read_cells(file, ["t", "s"], path)
        except pa.ArrowException as error:
            wild += "not there" in str(error)
        except (OSError, ValueError, UsageError):
            pass
        else:
            assert all(isinstance(cell, str | None) for cell in found["t"])
    assert wild


def repeated(value: Any, kind: pa.DataType, rows: int) -> pa.Array:
    """A column of one value, as it stands in a file: once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value], kind))


@pytest.mark.parametrize("stored", [True, False])
def test_values_types_and_names_are_those_of_pyarrow(stored: bool, tmp_path: Path) -> None:
    path = written(tmp_path / "table.parquet", COLUMNS, row_group_size=3, store_schema=stored)
    plain = pq.read_table(path)
    with open_parquet(path) as file:
        assert read_cells(file, plain.column_names, path) == {name: plain.column(name).to_pylist() for name in COLUMNS}
        assert schema_of(file).metadata == plain.schema.metadata
        kinds = [field.type for field in plain.schema]
        kinds = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in kinds]
        assert [field.type for field in schema_of(file)] == kinds


def test_rows_that_share_a_text_share_one_value(tmp_path: Path) -> None:
    path = written(tmp_path / "pool.parquet", {"path": repeated(LARGE, pa.string(), 5_000)}, store_schema=False)
    assert path.stat().st_size < 2 * len(LARGE)
    values = read_table(path)["path"]
    assert len(values) == 5_000 and len({id(value) for value in values}) == 1


@pytest.mark.parametrize("kind", ["list", "struct"])
def test_what_would_have_to_be_made_for_each_row_is_counted_first(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [LARGE] * 40
    cells: Sequence[Any] = [[text] for text in texts] if kind == "list" else [{"p": text} for text in texts]
    path = written(tmp_path / "names.parquet", {"labels": pa.array(cells)})
    memory = psutil.virtual_memory()._replace(available=20 * len(LARGE))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(UsageError, match=r"unpacks to 0\.0 GB, and .* are free"):
        read_table(path)


def test_an_image_in_many_rows_is_held_once(tmp_path: Path) -> None:
    encoded = bytes(1_000_000)
    image = pa.StructArray.from_arrays(
        [repeated(encoded, pa.binary(), 300), pa.array([None] * 300, pa.string())], ["bytes", "path"]
    )
    path = written(tmp_path / "shard.parquet", {"image": image, "label": pa.array(["a"] * 300)}, store_schema=False)
    pool = open_pool(path, quiet=True)
    assert pool.read(299) == encoded and pool.labels == ["a"] * 300
    assert sum(group.nbytes for group in pool.source._groups.values()) < 3 * len(encoded)  # type: ignore[attr-defined]
