"""Tables in every dialect come in, what is written comes back, and damage is a sentence with its line."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activetune import UsageError
from activetune.base.tables import header_of, need_columns, read_table, write_csv

ROWS = {"id": ["a/1.png", "b, c.png", 'say "hi".png', "größe.png"], "label": ["cat", "dog", "", "犬"]}


def as_text(separator: str, newline: str = "\n") -> str:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    lines = ["id" + separator + "label", *(separator.join(map(cell, row)) for row in zip(*ROWS.values(), strict=True))]
    return newline.join(lines)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_dialect_gives_the_same_table(tmp_path: Path, encoding: str, separator: str, newline: str) -> None:
    (tmp_path / "t.csv").write_bytes(as_text(separator, newline).encode(encoding))
    assert read_table(tmp_path / "t.csv") == ROWS


def test_a_byte_order_mark_may_stand_twice(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(("\ufeff" + as_text(";")).encode("utf-16"))
    assert read_table(tmp_path / "t.csv") == ROWS


def test_json_in_one_piece_is_told_from_json_lines(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"id": "1", "label": "cat"}, {"id": "2", "label": "cat"}]')
    with pytest.raises(UsageError, match=r"t.json is JSON; give JSON lines .one object a line"):
        read_table(tmp_path / "t.json")


@pytest.mark.parametrize("name", ["t.tsv", "t.txt", "T.CSV", "t"])
def test_the_separator_is_found_whatever_the_suffix(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(as_text("\t"), encoding="utf-8")
    assert read_table(tmp_path / name) == ROWS


@pytest.mark.parametrize("line", ["sep=;\n", "SEP=;\r\n", '"sep=;"\r\n', "sep=|\n", "sep=;;\n"])
def test_a_line_may_tell_the_separator(tmp_path: Path, line: str) -> None:
    separator = "|" if "|" in line else ";"
    (tmp_path / "t.csv").write_text(line + as_text(separator), encoding="utf-8", newline="")
    assert read_table(tmp_path / "t.csv") == ROWS
    assert header_of(tmp_path / "t.csv") == ("id", "label")
    (tmp_path / "t.csv").write_text(f"{line}id{separator}label\n1{separator}a\n2{separator}b{separator}c\n", newline="")
    with pytest.raises(UsageError, match="line 4 has another number of fields"):
        read_table(tmp_path / "t.csv")


def test_separators_inside_cells_are_no_separators(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,note;more\n1;2.png,x;y\n")
    assert read_table(tmp_path / "t.csv") == {"id": ["1;2.png"], "note;more": ["x;y"]}
    (tmp_path / "t.csv").write_text("id\na;b.png\nc\td.png\n")
    assert read_table(tmp_path / "t.csv") == {"id": ["a;b.png", "c\td.png"]}


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n\nid,label\n\n1,a\n\n")
    assert read_table(tmp_path / "t.csv") == {"id": ["1"], "label": ["a"]}


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
HARD = st.sampled_from(
    ["a\rb", "\r", "\n", "\r\n", '"', '""', "=1+1", "+1", "-1", "@x", "'=1", " a ", ",", ";", "\t", "\x1b[2J"]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELLS | HARD, CELLS | HARD).filter(lambda row: any(map(str.strip, row))), max_size=6))
def test_what_is_written_comes_back(rows: list[tuple[str, str]], tmp_path: Path) -> None:
    """Through this module and through Python's own reader: ids keep every sign, formulas and line ends included."""
    write_csv(tmp_path / "t.csv", ("id", "label"), rows)
    columns = read_table(tmp_path / "t.csv")
    assert list(zip(columns["id"], columns["label"], strict=True)) == rows
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        assert [tuple(row) for row in csv.reader(file)][1:] == rows


def test_a_single_empty_cell_comes_back(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ("id",), [("",), ("a",)])
    assert read_table(tmp_path / "t.csv") == {"id": ["", "a"]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('id,label\n"a.png,cat\nb.png,dog\n', "a quotation mark that opens in line 2 is never closed"),
        ('id,label\na.png,cat\nb.png,"dog\nc.png,cat\n', "a quotation mark that opens in line 3 is never closed"),
        (
            'id,label\n"a.png,cat\nb.png,dog\n"c.png",cat\n',
            "begins in line 2 and reaches line 4 goes on after",
        ),
        ('id,label\n"a.png"x,cat\n', "begins in line 2 goes on after its closing mark; is a mark missing"),
        ('id,label\n"' + "a.png,cat\n" * 20_000, "a quotation mark that opens in line 2 is never closed"),
        ('id,"label\na.png,cat\n', "a quotation mark that opens in line 1 is never closed"),
        (
            "id,label\na.png,cat\n\n\nb.png\n",
            r"line 5 has .* fields \(1\) than the header \(2: 'id', 'label'\)",
        ),
        ('id,label\n"a\nb",cat\nb.png\n', "line 4 has another number of fields"),
        ("id,label\na.png," + "cat" * 1_500_000, "a text in line 2 has more than 4,194,304 characters"),
        ("id,label,id\n1,2,3\n", "names the column 'id' twice"),
        ("id,label\na.png,c\0t\n", "line 2 holds a zero character"),
    ],
)
def test_damage_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UsageError, match=told):
        read_table(tmp_path / "t.csv")


def test_other_encodings_are_told_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("id,label\n1,a\n2,Größe\n".encode("cp1252"))
    with pytest.raises(UsageError, match=r"it is not UTF-8 text \(line 3, byte 0xf6\); save it as UTF-8"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes("id,label\n1,a\n".encode("utf-16")[:-1])
    with pytest.raises(UsageError, match="it is not UTF-16 text"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"id": 1}\n{"id": ', "line 2 is no JSON"),
        ('{"id": 1}\n\n[1]', "one JSON object a line.*line 3 is something else"),
        ("[" * 100_000, "line 1 is no JSON .nested too deeply"),
        ('{"id": 1' + "0" * 5000 + "}", "line 1 is no JSON"),
    ],
    ids=["cut", "list", "deep", "long"],
)
def test_damaged_json_lines_are_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "t.jsonl").write_text(text)
    with pytest.raises(UsageError, match=told):
        read_table(tmp_path / "t.jsonl")


def test_json_lines_with_different_names(tmp_path: Path) -> None:
    rows = [{"id": "1", "label": "a\u2028b"}, {"id": "2", "note": [1]}]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "t.jsonl").write_text(text, encoding="utf-8")
    assert read_table(tmp_path / "t.jsonl") == {"id": ["1", "2"], "label": ["a\u2028b", None], "note": [None, [1]]}


def test_a_folder_s_name_is_no_column_of_a_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "label=cat").mkdir()
    pq.write_table(pa.table({"id": ["1"]}), tmp_path / "label=cat" / "t.parquet")
    assert read_table(tmp_path / "label=cat" / "t.parquet") == {"id": ["1"]}


def test_odd_columns_of_parquet_do_no_harm(tmp_path: Path) -> None:
    odd = {
        "time": pa.array([1], pa.timestamp("ns")),
        "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        "struct": pa.array([{"a": [1]}]),
        "bytes": pa.array([b"\xff"]),
        "kinds": pa.array(["a"]).dictionary_encode(),
        "null": pa.nulls(1),
    }
    pq.write_table(pa.table({"id": ["1"], **odd}), tmp_path / "t.parquet")
    columns = read_table(tmp_path / "t.parquet")
    assert columns["id"] == ["1"]
    assert columns["kinds"] == ["a"]
    assert list(columns) == ["id", *odd]


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(UsageError, match="is no file"):
        read_table(tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UsageError, match="is no file"):
        read_table(tmp_path / "pipe.csv")


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"a/1.png": [], "cat": []}, r"has no line of column names: its first line is a row \('a/1.png', 'cat'\)"),
        ({"item-7": [], "cat": []}, "has no line of column names"),
        ({"ID": [], "label": []}, "has no column 'id'; its columns are: ID, label; rename 'ID' to 'id' if that is it"),
        ({"file": [], "label": []}, "has no column 'id'; its columns are: file, label; rename 'file' to 'id'"),
        ({}, "has no column 'id'; its columns are: none"),
    ],
)
def test_missing_columns_are_told(columns: dict[str, list[str]], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        need_columns(columns, ["id"], "t.csv", known={"item-7"})


FULL, SHORT = [f"{number}.png,cat" for number in range(15)], [f"{number}.png" for number in range(100, 116)]


@pytest.mark.parametrize(
    ("lines", "ids", "labels"),
    [
        (["id,label", "1.png,cat", "   ", "2.png,dog", "\t", ""], ["1.png", "2.png"], ["cat", "dog"]),
        (["id,label", "1.png,cat", ",", "2.png,dog", " , ", ",", ""], ["1.png", "2.png"], ["cat", "dog"]),
        (["id,label", "1.png,cat,,", "2.png,dog,", ""], ["1.png", "2.png"], ["cat", "dog"]),
        (["id,label,,", "1.png,cat,,", ""], ["1.png"], ["cat"]),
        # Excel: a last column that is empty in 16 rows together has no separator there
        (["id,label", *FULL, *SHORT, "z.png,dog", ""], None, ["cat"] * 15 + [""] * 16 + ["dog"]),
        (["id,label", *FULL, *SHORT[:3], ""], None, ["cat"] * 15 + [""] * 3),
    ],
)
def test_what_spreadsheets_make_of_empty_cells(
    lines: list[str], ids: list[str] | None, labels: list[str], tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_text("\r\n".join(lines), encoding="utf-8")
    columns = read_table(tmp_path / "labels.csv")
    assert columns["label"] == labels
    assert ids is None or columns["id"] == ids


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (["id,label", *FULL, *SHORT[:3]], 19),  # cut off: the end of the last line is missing
        (["id,label", *FULL, *SHORT[:3], "z.png,dog", ""], 17),  # one of these rows tells that the column is not empty
        (["id,label", "1.png,cat,brown", ""], 2),
    ],
)
def test_rows_that_miss_a_cell_are_refused(lines: list[str], line: int, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UsageError, match=f"line {line} has another number of fields"):
        read_table(tmp_path / "labels.csv")
