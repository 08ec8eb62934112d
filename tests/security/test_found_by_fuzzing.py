"""What fuzzing the readers has found: each ended in a traceback, and is a sentence or a result now."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.applications import Starlette

from activetune import ActivetuneError, UsageError, open_pool
from activetune.base.config import check_settings
from activetune.base.names import whole_number
from activetune.data.annotations import read_annotations, tasks_at
from activetune.data.annotations._legend import legend_of_names, read_legend
from activetune.evaluation.journal import _line, _whole
from activetune.features.artefact import Embeddings, load_embeddings, save_embeddings
from activetune.features.writer import _shape_and_dtype
from activetune.handover.given import given_at
from activetune.labelling.journal import Entry, Journal
from activetune.labelling.label_file import LabelFile
from activetune.labelling.sheet import Sheet
from activetune.networks.backbones._size import split_size
from activetune.report.panels.map import _kept
from activetune.report.panels.per_class import _row
from activetune.selection.artefact import Selection, load_selection, save_selection
from activetune.serving.guards import Guards
from activetune.studies.rounds.project import Project, ProjectSettings

NO_NUMBERS = ("²", "١²", "9" * 5000, "-1", "1_0", "")


def header(text: str) -> bytes:
    """The beginning of a .npy file with this header."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.fixture
def pool(tmp_path: Path) -> Any:
    (tmp_path / "pool").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pool" / "1.png")
    return open_pool(tmp_path / "pool", quiet=True)


@pytest.mark.parametrize("text", ["{'descr': (", "(" * 900, "'" * 3, "9" * 5000, "{'descr': '<f4', 'fortran_order': 1"])
def test_array_headers_that_are_no_python(text: str, tmp_path: Path) -> None:
    save_embeddings(Embeddings(["a"], np.ones((1, 2), dtype=np.float32)), tmp_path / "emb")
    (tmp_path / "emb" / "features.npy").write_bytes(header(text))
    with pytest.raises(UsageError, match="is damaged"):
        load_embeddings(tmp_path / "emb")
    with pytest.raises(UsageError, match="is damaged"):
        _shape_and_dtype(tmp_path / "emb" / "features.npy")
    assert _kept(tmp_path / "emb" / "features.npy", "key", 3) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("samples.json", '{"samples": [{"filepath": "1.png", "ground_truth": NaN}, {"ground_truth": -1}, -1]}'),
        ("boxes.jsonl", f'{{"id": "1.png", "label": "cat", "x": 1, "y": 2, "width": 3, "height": {10**400}}}'),
        (
            "coco.json",
            '{"images": [{"id": 1, "file_name": "1.png"}], "categories": [{"id": 1, "name": "cat"}], "annotations": '
            '[{"image_id": 1, "category_id": 1, "segmentation": {"counts": [9], "size": [1e400, 9]}}]}',
        ),
    ],
)
def test_numbers_that_are_none_or_have_no_end(name: str, text: str, pool: Any, tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / name).write_text(text)
    for task in ("detection", "segmentation"):
        with pytest.raises(UsageError):
            read_annotations(tmp_path / "answers", pool, task)


def test_a_field_that_is_too_long_in_a_selection(tmp_path: Path) -> None:
    save_selection(Selection(["a"], [0.0], [""], {}), tmp_path / "sel")
    (tmp_path / "sel" / "selection.csv").write_text("id,rank,score,reason\n" + "x" * 10**7 + ",1,0,\n")
    with pytest.raises(UsageError, match="can't be read"):
        load_selection(tmp_path / "sel")


def test_json_that_is_about_no_task(pool: Any, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('[{"image_id": "1.png", "bbox": [1, 2, 3, 4], "score": 0.5}]')
    for ask in (lambda: tasks_at(tmp_path / "p.json"), lambda: given_at(tmp_path / "p.json", pool, None, None, True)):
        with pytest.raises(UsageError, match="holds no answers"):
            ask()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"bbox": [1, 2, 3]}, "no box"),
        ({"bbox": 7}, "no box"),
        ({"bbox": [1, 2, "x", 4]}, "no box"),
        ({"bbox": [1, 2, 10**400, 4]}, "no box"),
        ({"bbox": [1, 2, float("nan"), 4]}, "no box"),
        ({"score": 10**400}, "no number"),
        ({"score": None}, "no number"),
        ({"category_id": None}, "category_id"),
        ({"category_id": "x"}, "category_id"),
    ],
)
def test_predicted_boxes_that_are_none(wrong: dict[str, Any], told: str, pool: Any, tmp_path: Path) -> None:
    good = {"image_id": "1.png", "category": "cat", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    (tmp_path / "p.json").write_text(json.dumps([good]))
    assert given_at(tmp_path / "p.json", pool, None, None, True).task == "detection"
    (tmp_path / "p.json").write_text(json.dumps([{**good, **wrong}]))
    with pytest.raises(UsageError, match=told):
        given_at(tmp_path / "p.json", pool, None, None, True)


def test_annotations_whose_metadata_are_no_json(pool: Any, tmp_path: Path) -> None:
    table = pa.table({"id": ["1.png"], "label": ["cat"]})
    pq.write_table(table.replace_schema_metadata({b"activetune": b"\xff["}), tmp_path / "a.parquet")
    for ask in (
        lambda: tasks_at(tmp_path / "a.parquet"),
        lambda: read_annotations(tmp_path / "a.parquet", pool, "multilabel", quiet=True),
    ):
        with pytest.raises(UsageError, match="metadata are damaged"):
            ask()


def test_a_table_that_is_no_parquet(pool: Any, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UsageError, match=r"can't be read|holds no answers"):
        given_at(tmp_path / "a.parquet", pool, None, None, True)


def test_a_column_twice_beside_images(tmp_path: Path) -> None:
    schema = pa.schema([("image", pa.binary()), ("labels", pa.string()), ("labels", pa.string())])
    pq.write_table(
        pa.Table.from_arrays([pa.array([b"x"]), pa.array(["a"]), pa.array(["b"])], schema=schema),
        tmp_path / "p.parquet",
    )
    with pytest.raises(UsageError, match="names the column 'labels' twice"):
        open_pool(tmp_path / "p.parquet", quiet=True)


def test_shards_with_other_columns(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    for number, more in enumerate(({"caption": ["a"]}, {})):
        table = pa.table({"image": [{"bytes": file.getvalue(), "path": f"{number}.png"}], **more})
        pq.write_table(table, tmp_path / f"train-{number}.parquet")
    further = open_pool(tmp_path, quiet=True).further
    assert further is not None
    assert list(further.given("caption")) == [True, False]
    assert list(further.values("caption")) == ["a", None]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_signs_that_only_look_like_numbers(text: str, pool: Any, tmp_path: Path) -> None:
    assert whole_number(text) is None
    assert whole_number("0012") == 12
    (tmp_path / "labels.csv").write_text(f"id,label,event\n1.png,cat,{text}\n")
    file = LabelFile(tmp_path / "labels.csv", Sheet(["1.png"]))
    if text.strip():
        with pytest.raises(UsageError, match="is for numbers of this program"):
            list(file.by_hand({}))
    else:
        assert [content["id"] for content in file.by_hand({})] == ["1.png"]
    assert legend_of_names([text or "x", "cat"], "here").classes == (text or "x", "cat")
    with pytest.raises(UsageError):
        read_legend(b'{"%s": 3, "2": 70000}' % text.encode(), "classes.json", "here")
    with pytest.raises(UsageError, match="pixels"):
        split_size("timm", f"vit@{text}x32")
    (tmp_path / "rounds" / (text[:200] or "x")).mkdir(parents=True)
    (tmp_path / "rounds" / (text[:200] or "x") / "manifest.json").write_text("{}")
    assert Project(tmp_path, ProjectSettings()).rounds == []


def test_a_yolo_class_that_only_looks_like_a_number(pool: Any, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "1.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    found = read_annotations(tmp_path / "labels", pool, "detection", classes=["²"], quiet=True)
    assert list(found.classes) == ["²"]


@pytest.mark.parametrize("declared", ["²", "9" * 5000, "-1", "x", "1_0"])
def test_a_body_of_no_length(declared: str) -> None:
    sent: list[Any] = []

    async def ask() -> None:
        headers = [(b"host", b"127.0.0.1"), (b"x-token", b"t"), (b"content-length", declared.encode("latin-1"))]
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await Guards(Starlette(), "t")(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 413


@pytest.mark.parametrize(
    ("ids", "labels"),
    [
        (pa.array([1.5]), pa.array(["a"])),
        (pa.array([b"\xff"]), pa.array(["a"])),
        (pa.array(["a"]), pa.array([2**62], pa.duration("s"))),
        (pa.array([["a"]]), pa.array([None], pa.string())),
        (pa.array([None], pa.string()), pa.array(["a"])),
    ],
)
def test_items_of_another_kind(ids: pa.Array, labels: pa.Array, tmp_path: Path) -> None:
    save_embeddings(Embeddings(["a"], np.ones((1, 2), dtype=np.float32)), tmp_path / "emb")
    pq.write_table(pa.table({"id": ids, "label": labels}), tmp_path / "emb" / "items.parquet")
    with pytest.raises(UsageError, match=r"is damaged|does not belong|one label an image"):
        load_embeddings(tmp_path / "emb")


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: b"[7, 8, 9]",
        lambda line: b"[[], [], [], []]",
        lambda line: b"7",
        lambda line: b"\xff" + line,
        lambda line: line.replace(b'"cat"', b'"cow"'),
        lambda line: line.replace(b"0.5", b"0.6"),
        lambda line: line[:-4],
    ],
)
def test_a_damaged_line_of_predictions_is_made_again(damage: Any) -> None:
    batches = [[[["a", "cat", 0.5]], [], ["00"]], [[["b", "cat", 0.5]], [["c", "empty: 0 bytes"]], ["01", "02"]]]
    lines = [_line(batch).rstrip() for batch in batches]
    assert _whole(lines) == batches
    assert _whole([lines[0], damage(lines[1])]) == batches[:1]


@pytest.mark.parametrize("value", ["Infinity", "-Infinity", "NaN", "[Infinity, 0, 0]"])
def test_values_of_masks_that_are_no_whole_numbers(value: str) -> None:
    with pytest.raises(UsageError, match="give a value from 0 to 65,535"):
        read_legend(f'{{"dog": {value}}}'.encode(), "classes.json", "classes.json")


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan")])
def test_settings_of_any_length(value: float) -> None:
    with pytest.raises(UsageError, match="allowed: 1 or more"):
        check_settings("visft", ("steps", value, 1, float("inf")))


@pytest.mark.parametrize("column", ["content", "client", "at"])
@pytest.mark.parametrize("value", [None, b"\xff", 3.5, "[1]"])
def test_rows_of_a_journal_that_are_no_answers(column: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "labels.sqlite"
    row = {"number": 1, "client": "a", "sequence": 1, "content": "{}", "at": 1.0, column: value}
    journal = Journal(path)
    journal.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE events")
        connection.execute("CREATE TABLE events (number, client, sequence, content, at)")
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", tuple(row.values()))
    journal = Journal(path)
    with contextlib.closing(journal):
        if (column, value) in (("at", 3.5), ("client", "[1]")):
            assert len(list(journal.events())) == 1
            return
        with pytest.raises(UsageError, match=r"is damaged .* labels\.csv beside it holds the answers"):
            list(journal.events())


def test_a_journal_whose_words_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "labels.sqlite"
    Journal(path).close()
    content = path.read_bytes()
    start, told = content.index(b"CREATE TABLE events"), 0
    for place in range(start - 16, start + 60):
        path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
        try:
            Journal(path).close()
        except ActivetuneError as error:
            told += "codec can't decode" in str(error)
    assert told


def test_scores_of_a_class_that_are_no_numbers() -> None:
    row = {"f1": 10**400, "precision": "x", "recall": None, "n": float("nan")}
    assert _row("dog", row, ["f1", "precision", "recall", "n"])[:5] == ["dog", "-", "-", "-", "-"]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"kind": "anwser"},
        {"kind": "rename", "name": "cat"},
        {"kind": "undo", "name": "a", "to": "b"},
        {"kind": "add"},
    ],
)
def test_an_event_of_the_journal_that_is_none(content: dict[str, Any], tmp_path: Path) -> None:
    journal = Journal(tmp_path / "labels.sqlite")
    journal.add([Entry("one", 1, content)])
    with pytest.raises(UsageError, match=r"labels\.sqlite is damaged \(event 1: .*holds the answers"):
        list(Sheet(["1.png"]).replayed(journal.events(), tmp_path / "labels.sqlite"))
    journal.close()
