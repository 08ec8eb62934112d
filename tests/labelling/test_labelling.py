"""Labelling: the journal, the label file, the server's contract, and what survives a kill. No browser."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

import activetune
from activetune.base.errors import UsageError
from activetune.base.run import Run
from activetune.base.tables import read_table
from activetune.data.labels import read_labels
from activetune.data.opening import open_pool
from activetune.features.artefact import Embeddings, save_embeddings
from activetune.labelling import label_file
from activetune.labelling.desk import Desk
from activetune.labelling.features import alike, features_of
from activetune.labelling.journal import Contradiction, Entry, Journal
from activetune.labelling.label import Asked, page_of
from activetune.labelling.server import Page
from activetune.labelling.sheet import Sheet
from activetune.labelling.suggestions import Known, Suggested, by_classes, named_by, suggested_by_labels
from activetune.selection.artefact import Selection, load_selection, save_selection
from tests.labelling.conftest import write_selection

CLASSES = ["cat", "dog"]
HERE = "http://127.0.0.1:8000"
MANY = ",".join(f"class {number}" for number in range(40))  # longer than the name of a file may be


class Client:
    """A page and a client of it, as long as it is open."""

    def __init__(self, folder: Path, **asked: Any):
        self.folder = folder
        self._page = page_of(folder, Asked(**{"classes": CLASSES, **asked}), Run(quiet=True))
        self.page: Page = self._page.__enter__()
        self.http = TestClient(self.page.app("secret"), base_url=HERE, headers={"X-Token": "secret"})

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: Any) -> None:
        self._page.__exit__(None, None, None)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def answer(self, sequence: int, item: str, label: object = None, client: str = "one", **more: Any) -> Any:
        state = "labelled" if label is not None else "skipped"
        return self.post(client, {"sequence": sequence, "id": item, "label": label, "state": state, **more})

    def post(self, client: str, *answers: dict[str, Any]) -> Any:
        return self.http.post("/api/answers", json={"client": client, "answers": list(answers)})

    def change(self, sequence: int, **content: Any) -> Any:
        return self.http.post("/api/classes", json={"client": "one", "sequence": sequence, **content})


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def labels_in(folder: Path) -> dict[str, str]:
    return {row["id"]: row["label"] for row in rows_of(folder) if row["label"]}


# The contract -----------------------------------------------------------------------------------------------------


def test_the_page_asks_for_the_audit_behind_the_picks(tmp_path: Path, pool: Path) -> None:
    manifest = {"pool": str(pool), "pool_path": str(pool), "n": 12, "method": "test", "seed": 0}
    (tmp_path / "sel").mkdir()
    selection = Selection(["03.png", "01.png"], [0.0, 0.0], ["", ""], manifest, ["08.png"])
    save_selection(selection, tmp_path / "sel")
    with Client(tmp_path / "sel") as client:
        found = client.get("/api/items", start=0, count=10)
        assert {item["id"] for item in found["items"]} == {"01.png", "03.png", "08.png"} and found["total"] == 3
        assert [item["id"] for item in found["items"] if item["audit"]] == ["08.png"]
        assert client.answer(1, "08.png", "cat").json() == {"saved": [1]}
    assert labels_in(tmp_path / "sel") == {"08.png": "cat"}


def test_items_and_answers_are_as_the_contract_says(sel: Path, pool: Path) -> None:
    with Client(sel) as client:
        found = client.get("/api/items", start=0, count=3)
        assert found["total"] == 10
        assert [(item["id"], item["label"], item["suggestion"]) for item in found["items"]] == [
            ("00.png", None, None),
            ("01.png", None, None),
            ("02.png", None, None),
        ]
        assert client.get("/api/items", start=8, count=100)["items"][-1]["id"] == "09.png"
        assert client.get("/api/items", start=10**9, count=5)["items"] == []
        saved = client.post(
            "one",
            {"sequence": 1, "id": "00.png", "label": "cat", "state": "labelled"},
            {"sequence": 2, "id": "01.png", "label": None, "state": "skipped"},
            {"sequence": 3, "id": "02.png", "state": "unsure"},
        )
        assert (saved.status_code, saved.json()) == (200, {"saved": [1, 2, 3]})
        rows = rows_of(sel)  # it is there when the answer is
        assert [(row["id"], row["label"], row["state"]) for row in rows[:4]] == [
            ("00.png", "cat", "labelled"),
            ("01.png", "", "skipped"),
            ("02.png", "", "unsure"),
            ("03.png", "", ""),
        ]
        assert client.get("/api/items", start=0, count=1)["items"][0]["label"] == "cat"
    labels = read_labels(sel / "labels.csv", open_pool(pool))
    assert (list(labels.ids), list(labels.answers), labels.unanswered) == (["00.png"], ["cat"], 9)


def test_a_retry_is_no_second_answer_and_a_number_is_not_given_twice(sel: Path) -> None:
    with Client(sel) as client:
        assert client.answer(1, "00.png", "cat").json() == {"saved": [1]}
        assert client.answer(2, "00.png", "dog").json() == {"saved": [2]}
        assert client.answer(1, "00.png", "cat").json() == {"saved": [1]}  # late, and twice: the second one stands
        refused = client.answer(1, "01.png", "cat")
        assert refused.status_code == 409
        assert "sequence number 1" in refused.json()["error"]
        assert client.answer(1, "01.png", "cat", client="two").json() == {"saved": [1]}
        assert client.get("/api/state")["states"] == {"labelled": 2}
    assert labels_in(sel) == {"00.png": "dog", "01.png": "cat"}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"sequence": 1, "id": "none.png", "label": "cat"}, "'none.png' is not one of the 10 items"),
        ({"sequence": 1, "id": "../00.png", "label": "cat"}, "is not one of the 10 items"),
        ({"sequence": 1, "id": 5, "label": "cat"}, "id must be a text"),
        ({"sequence": 1, "id": "00.png", "label": "bird"}, "'bird' is not one of the 2 classes: 'cat', 'dog'"),
        ({"sequence": 1, "id": "00.png", "label": ["cat"]}, "label must be a text"),
        ({"sequence": 1, "id": "00.png"}, "a labelled item needs its class"),
        ({"sequence": 1, "id": "00.png", "labels": ["cat", "dog"]}, "start with --multilabel"),
        ({"sequence": 1, "id": "00.png", "label": "cat", "labels": ["dog"]}, "give one of both, or the same class"),
        ({"sequence": 1, "id": "00.png", "label": "cat", "labels": []}, "give one of both, or the same class"),
        ({"sequence": 1, "id": "00.png", "labels": []}, "0 classes were given"),
        ({"sequence": 1, "id": "00.png", "label": "cat", "state": "done"}, "state 'done' is not known; allowed"),
        ({"sequence": 0, "id": "00.png", "label": "cat"}, "sequence must be a whole number from 1 on"),
        ({"sequence": True, "id": "00.png", "label": "cat"}, "sequence must be"),
        ({"sequence": "1", "id": "00.png", "label": "cat"}, "sequence must be"),
        ({"sequence": 1, "id": "00.png", "label": "cat", "reason": "x" * 3000}, "reason must be a text of at most"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_of_its_request_is_kept(sel: Path, answer: dict[str, Any], told: str) -> None:
    with Client(sel) as client:
        refused = client.post("one", {"sequence": 9, "id": "05.png", "label": "cat"}, answer)
        assert refused.status_code == 400
        assert told in refused.json()["error"]
        assert client.get("/api/state")["states"] == {}
    assert labels_in(sel) == {}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff", b'{"client": "a"}', b'{"client": "", "answers": []}', b"[" * 9999]
)
def test_a_body_that_is_no_answer_is_told(sel: Path, body: bytes) -> None:
    with Client(sel) as client:
        refused = client.http.post("/api/answers", content=body)
        assert refused.status_code == 400
        assert refused.json()["error"]


def test_nothing_but_the_page_and_the_picks_is_served(sel: Path, pool: Path) -> None:
    with Client(sel) as client:
        assert client.http.get("/").headers["content-type"].startswith("text/html")
        for name in ("main.js", "lit-html.js", "page.css", "icon.svg"):
            assert client.http.get(f"/page/{name}", headers={"X-Token": ""}).status_code == 200
        for path in ("/page/../label.py", "/page/%2e%2e%2flabel.py", "/page/LICENSE", "/page//etc/passwd", "/page/"):
            assert client.http.get(path).status_code == 404, path
        for path in ("/image/10", "/image/-1", "/image/00.png", "/image/..%2f..%2fetc", "/image/0?size=huge"):
            assert client.http.get(path).status_code == 404, path
        assert client.http.get("/image/0", headers={"X-Token": ""}).status_code == 401


# Pictures ---------------------------------------------------------------------------------------------------------


def test_pictures_are_upright_and_right_whatever_the_file_holds(tmp_path: Path) -> None:
    pool = tmp_path / "odd"
    pool.mkdir()
    lying = Image.new("RGB", (300, 200), "red")
    lying.paste("blue", (0, 0, 150, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # the left side is the top
    lying.save(pool / "exif.jpg", exif=exif)
    lying.convert("CMYK").save(pool / "cmyk.jpg")
    Image.fromarray(np.tile(np.linspace(0, 65535, 300).astype(np.uint16), (200, 1))).save(pool / "deep.png")
    (pool / "bad.jpg").write_bytes((pool / "cmyk.jpg").read_bytes()[:200])
    sel = write_selection(tmp_path / "sel", ["exif.jpg", "cmyk.jpg", "deep.png", "bad.jpg"], pool)
    with Client(sel) as client:

        def picture(row: int, size: str) -> Image.Image:
            answer = client.http.get(f"/image/{row}", params={"size": size})
            assert answer.status_code == 200, answer.text
            return Image.open(io.BytesIO(answer.content)).convert("RGB")

        for size in ("small", "large", "full", "small"):  # the second time from the cache
            upright = picture(0, size)
            assert upright.height > upright.width
            assert near(upright, (0.5, 0.2), "blue") and near(upright, (0.5, 0.8), "red")
            assert near(picture(1, size), (0.2, 0.5), "blue") and near(picture(1, size), (0.8, 0.5), "red")
            grey = np.asarray(picture(2, size).convert("L"))[50]
            assert grey[0] < 10 and grey[-1] > 245 and abs(int(grey[len(grey) // 2]) - 128) < 8
        assert max(picture(0, "small").size) == 256
        broken = client.http.get("/image/3")
        assert broken.status_code == 422
        assert "can't be shown" in broken.json()["error"]


def test_an_image_that_has_gone_is_told_without_advice_for_a_run(sel: Path, pool: Path) -> None:
    with Client(sel) as client:
        (pool / "00.png").unlink()
        for size in ("small", "large"):
            gone = client.http.get("/image/0", params={"size": size})
            said = gone.json()["error"]
            assert gone.status_code == 422 and "put it back and look again, or skip the image" in said
            assert "No such file" in said and "--resume" not in said
        (pool / "00.png").write_bytes((pool / "01.png").read_bytes())
        assert client.http.get("/image/0").status_code == 200


def near(image: Image.Image, place: tuple[float, float], colour: str) -> bool:
    wanted = {"red": (255, 0, 0), "blue": (0, 0, 255)}[colour]
    found = image.getpixel((int(place[0] * image.width), int(place[1] * image.height)))
    return max(abs(a - b) for a, b in zip(found, wanted, strict=True)) < 60  # type: ignore[arg-type]


def test_a_thumbnail_is_made_once_and_again_when_the_file_changes(sel: Path, pool: Path) -> None:
    Image.new("RGB", (400, 400), "red").save(pool / "00.png")
    with Client(sel) as client:
        made: list[str] = []
        original = client.page.pictures._made
        client.page.pictures._made = lambda item, side: (made.append(item), original(item, side))[1]  # type: ignore
        first = client.http.get("/image/0?size=small").content
        assert client.http.get("/image/0?size=small").content == first
        assert made == ["00.png"]
        Image.new("RGB", (401, 400), "blue").save(pool / "00.png")
        assert client.http.get("/image/0?size=small").content != first
        assert len(made) == 2


# Classes ----------------------------------------------------------------------------------------------------------


def test_classes_are_added_renamed_and_merged_on_the_way(sel: Path) -> None:
    with Client(sel) as client:
        client.answer(1, "00.png", "cat")
        client.answer(2, "01.png", "dog")
        assert client.change(3, kind="add", name=" bird ").json() == {"saved": [3]}
        client.answer(4, "02.png", "bird")
        assert client.change(5, kind="rename", name="cat", to="kitten").json() == {"saved": [5]}
        assert client.change(5, kind="rename", name="cat", to="kitten").json() == {"saved": [5]}  # a retry
        assert client.answer(6, "03.png", "cat").status_code == 200  # a tab that does not know yet
        assert client.change(7, kind="rename", name="dog", to="bird").json() == {"saved": [7]}
        state = client.get("/api/state", since=5)
        assert state["classes"] == [{"name": "kitten", "count": 2}, {"name": "bird", "count": 2}]
        assert state["renames"] == [
            {"client": "one", "name": name, "to": to} for name, to in (("cat", "kitten"), ("dog", "bird"))
        ]
        assert [(one["id"], one["label"]) for one in state["changes"]] == [("03.png", "kitten"), ("02.png", "bird")]
        for wrong in (
            {"kind": "add", "name": "bird"},
            {"kind": "add", "name": " "},
            {"kind": "rename", "name": "x", "to": "y"},
        ):
            assert client.change(8, **wrong).status_code == 400
        expected = {"00.png": "kitten", "01.png": "bird", "02.png": "bird", "03.png": "kitten"}
        assert labels_in(sel) == expected
    with Client(sel) as client:  # the names of the command line that were given up stay so
        assert [one["name"] for one in client.get("/api/state")["classes"]] == ["kitten", "bird"]
        assert labels_in(sel) == expected


def test_a_rename_and_a_merge_are_taken_back(sel: Path) -> None:
    with Client(sel, classes=["cat", "dog", "bird"]) as client:
        for sequence, label in enumerate(["cat", "dog", "bird", "dog"]):
            client.answer(sequence + 1, f"{sequence:02d}.png", label, by="Ada")
        before = rows_of(sel)
        assert "no class was renamed" in client.change(5, kind="undo", name="dog", to="bird").json()["error"]
        assert client.change(5, kind="rename", name="cat", to="kitten").json() == {"saved": [5]}
        assert client.change(6, kind="rename", name="dog", to="bird").json() == {"saved": [6]}
        wrong = client.change(7, kind="undo", name="cat", to="kitten")  # not the last one
        assert wrong.status_code == 400 and "the last one was 'dog' to 'bird'" in wrong.json()["error"]
        client.answer(7, "03.png", "kitten")  # anew
        client.answer(8, "04.png", "dog", client="another")  # of a tab that knows of no rename
        seen = client.get("/api/state")["number"]
        for _ in range(2):  # and a retry
            assert client.change(9, kind="undo", name="dog", to="bird").json() == {"saved": [9]}
        after = {"00.png": "kitten", "01.png": "dog", "02.png": "bird", "03.png": "kitten", "04.png": "dog"}
        assert labels_in(sel) == after
        changes = client.get("/api/state", since=seen)["changes"]
        assert [(one["id"], one["label"]) for one in changes] == [("04.png", "dog"), ("01.png", "dog")]
    with Client(sel, classes=None) as client:  # which is no correction by hand
        assert labels_in(sel) == after and client.page.desk.sheet.classes == ["kitten", "dog", "bird"]
        assert client.change(10, kind="undo", name="cat", to="kitten").json() == {"saved": [10]}
        assert client.get("/api/state")["renames"][-1] == {"client": "one", "name": "kitten", "to": "cat"}
        assert client.answer(11, "03.png", "dog").json() == {"saved": [11]}
        assert client.answer(12, "04.png", state="open").json() == {"saved": [12]}
        assert client.page.desk.sheet.classes == ["cat", "dog", "bird"]
        for row, (old, new) in enumerate(zip(before[:4], rows_of(sel)[:4], strict=True)):
            same = ("id", "label", "by", "answered") if row < 3 else ("id", "label")
            assert [new[name] for name in same] == [old[name] for name in same]


def test_of_several_classes_an_undone_merge_puts_back_both(sel: Path) -> None:
    with Client(sel, classes=["cat", "dog", "bird"], multilabel=True) as client:
        client.post("one", {"sequence": 1, "id": "00.png", "labels": ["bird", "cat", "dog"], "state": "labelled"})
        client.post("one", {"sequence": 2, "id": "01.png", "labels": ["bird", "cat"], "state": "labelled"})
        before = labels_in(sel)
        client.change(3, kind="rename", name="cat", to="dog")
        client.change(4, kind="rename", name="bird", to="dog")
        assert labels_in(sel) == {"00.png": "dog", "01.png": "dog"}
        client.change(5, kind="undo", name="bird", to="dog")
        assert labels_in(sel) == {"00.png": "bird;dog", "01.png": "bird;dog"}
    for _ in range(2):  # a file that was not written before the page was stopped says no more than the journal
        written = (sel / "labels.csv").read_bytes()
        with Client(sel, classes=None, multilabel=True) as client:
            client.change(6, kind="undo", name="cat", to="dog")
            assert labels_in(sel) == before
            assert {one["name"]: one["count"] for one in client.get("/api/state")["classes"]} == {
                "cat": 2,
                "dog": 1,
                "bird": 2,
            }
        (sel / "labels.csv").write_bytes(written)
    with Client(sel, classes=None, multilabel=True):
        assert labels_in(sel) == before


def test_the_label_file_is_read_once(sel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sel / "labels.csv").write_text("id,label\n00.png,cat\n")
    read: list[Path] = []

    def counted(path: Path) -> Any:
        read.append(path)
        return read_table(path)

    monkeypatch.setattr(label_file, "read_table", counted)
    desk = Desk(sel / "labels.sqlite", sel / "labels.csv", ["00.png"])
    desk.begin([], of_model=["cat"], multilabel=True, told=lambda: None)
    desk.end()
    assert len(read) == 1 and rows_of(sel)[0]["labels"] == '["cat"]'


def test_a_class_is_removed_while_no_answer_has_it(sel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def names(client: Client) -> list[str]:
        return [one["name"] for one in client.get("/api/state")["classes"]]

    with Client(sel, classes=["cat", "dgo", "dog"]) as client:
        client.change(1, kind="rename", name="dgo", to="wolf")
        assert client.change(2, kind="remove", name="wolf").json() == {"saved": [2]}
        assert client.change(2, kind="remove", name="wolf").json() == {"saved": [2]}  # a retry
        assert names(client) == ["cat", "dog"]
        assert client.answer(3, "01.png", "dgo").json() == {"saved": [3]}  # of a tab that does not know yet
        assert names(client) == ["cat", "dog", "wolf"] and labels_in(sel) == {"01.png": "wolf"}
        client.answer(4, "01.png", "dog")
        assert client.change(9, kind="remove", name="wolf").status_code == 200
        client.answer(10, "00.png", "cat")
        refused = client.change(5, kind="remove", name="cat")
        assert refused.status_code == 400 and "1 answer has the class 'cat'; rename it" in refused.json()["error"]
        assert client.change(6, kind="remove", name="fox").status_code == 400
        assert names(client) == ["cat", "dog"]
        client.answer(7, "00.png", "dog")
        assert client.change(8, kind="remove", name="cat").status_code == 200
    capsys.readouterr()
    with page_of(sel, Asked(classes=["dog", "cat"]), Run()) as page:  # asked for again, it is there again
        assert page.desk.sheet.classes == ["dog", "cat"]
        assert labels_in(sel) == {"00.png": "dog", "01.png": "dog"}
    assert "1 class beside the 1 that were there: 'cat'; Shift+R" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/items?from=3", "/api/items has no parameter 'from'; known: start, count"),
        ("/api/order?x=1", "/api/order has no parameter 'x'; it has none"),
        ("/api/item", "not found; there are GET /api/items"),
        ("/api/answers", "method not allowed; answers are sent by POST"),
    ],
)
def test_what_there_is_not_is_refused_in_one_form(sel: Path, path: str, says: str) -> None:
    with Client(sel) as client:
        refused = client.http.get(path)
        assert refused.status_code in (400, 404, 405) and says in refused.json()["error"]


def test_a_mistyped_field_is_refused(sel: Path) -> None:
    with Client(sel) as client:
        for content, says in (
            ({"client": "one", "answers": [{"sequence": 1, "id": "00.png", "lable": "cat"}]}, "an answer has no field"),
            ({"client": "one", "answer": [], "answers": []}, "the request has no field 'answer'"),
        ):
            refused = client.http.post("/api/answers", json=content)
            assert refused.status_code == 400 and says in refused.json()["error"]
        assert "no field 'too'" in client.change(1, kind="add", name="x", too="y").json()["error"]


def test_a_name_that_is_given_again_takes_no_answer_of_its_first_bearer(sel: Path) -> None:
    with Client(sel, classes=["x", "cat", "dog"]) as client:
        client.answer(1, "00.png", "x", by="Ada", suggestion="dog")
        client.answer(2, "01.png", "cat", by="Ada")
        client.change(3, kind="rename", name="x", to="cat")
        client.change(4, kind="rename", name="cat", to="kitten")
        client.change(5, kind="add", name="cat")
        client.answer(6, "02.png", "cat", by="Ada")
        client.answer(7, "03.png", "x", by="Ada")  # of a tab that knows of neither
        before = rows_of(sel)
        assert labels_in(sel) == {"00.png": "kitten", "01.png": "kitten", "02.png": "cat", "03.png": "kitten"}
    with Client(sel):  # nothing was changed by hand: who gave an answer, when and on what suggestion stays
        assert rows_of(sel) == before


def test_not_any_of_these_is_kept_with_its_reason_and_can_be_taken_back(sel: Path) -> None:
    with Client(sel) as client:
        client.answer(1, "00.png", state="none", reason="bad image", by="Ada")
        assert [rows_of(sel)[0][name] for name in ("label", "state", "reason", "by")] == [
            "",
            "none",
            "bad image",
            "Ada",
        ]
        client.answer(2, "00.png", state="open")
        assert [rows_of(sel)[0][name] for name in ("label", "state", "reason")] == ["", "", ""]
        client.answer(3, "00.png", "dog", suggestion="cat")
        assert [rows_of(sel)[0][name] for name in ("label", "suggestion")] == ["dog", "cat"]


def test_several_classes_per_image_are_read_by_the_multilabel_task(sel: Path, pool: Path) -> None:
    with Client(sel, classes=["cat", "dog", "a;b"], multilabel=True) as client:
        client.post(
            "one",
            {"sequence": 1, "id": "00.png", "labels": ["dog", "a;b"]},
            {"sequence": 2, "id": "01.png", "labels": []},
        )
        client.answer(3, "02.png", "cat")
    with Client(sel, classes=None) as client:  # it stays so without being told again
        assert client.get("/api/state")["multilabel"]
        assert client.get("/api/items", count=1)["items"][0]["label"] == ["a;b", "dog"]
        client.post("two", {"sequence": 1, "id": "03.png", "labels": ["cat", "dog"]})
    labels = activetune.read_annotations(sel / "labels.csv", open_pool(pool), task="multilabel")
    found = {item: answer.names for item, answer in zip(labels.ids, labels.answers, strict=True)}
    assert found == {"00.png": ("a;b", "dog"), "01.png": (), "02.png": ("cat",), "03.png": ("cat", "dog")}


# The label file ---------------------------------------------------------------------------------------------------


def test_what_was_written_by_hand_is_taken_up_and_other_columns_and_rows_stay(sel: Path) -> None:
    (sel / "labels.csv").write_text(
        "id,label,note\n00.png,cat,first\n01.png,,\n05.png,zebra,\nold.png,dog,of another selection\n"
    )
    with Client(sel) as client:
        assert [one["name"] for one in client.get("/api/state")["classes"]] == ["cat", "dog", "zebra"]
        client.answer(1, "01.png", "dog")
    rows = {row["id"]: row for row in rows_of(sel)}
    assert {item: row["label"] for item, row in rows.items() if row["label"]} == {
        "00.png": "cat",
        "01.png": "dog",
        "05.png": "zebra",
        "old.png": "dog",
    }
    assert (rows["00.png"]["note"], rows["old.png"]["note"]) == ("first", "of another selection")
    text = (sel / "labels.csv").read_text().replace("01.png,dog,labelled", "01.png,cat,labelled")
    (sel / "labels.csv").write_text(text)
    with Client(sel):
        pass
    assert labels_in(sel)["01.png"] == "cat"
    with Client(sel) as client:  # and it is no news the next time
        assert client.page.desk.sheet.answer("01.png").number == int(rows_of(sel)[1]["event"])


def test_a_label_file_whose_numbers_a_spreadsheet_made_floats_of_says_the_same(sel: Path) -> None:
    with Client(sel, classes=["1", "2"]) as client:
        client.answer(1, "00.png", "1")
        client.answer(2, "01.png", "2")
        before = rows_of(sel)
    text = (sel / "labels.csv").read_text().replace("00.png,1,", "00.png,1.0,").replace("01.png,2,", "01.png,2.0,")
    (sel / "labels.csv").write_text(text)
    with Client(sel, classes=None) as client:
        assert [one["name"] for one in client.get("/api/state")["classes"]] == ["1", "2"]
        assert rows_of(sel) == before


def test_classes_that_read_like_numbers_are_kept_as_they_are_written(sel: Path) -> None:
    with Client(sel, classes=["1.0", "2.0", "nan"]) as client:
        for number, name in enumerate(("1.0", "2.0", "nan")):
            client.answer(number + 1, f"{number:02d}.png", name)
        before = rows_of(sel)
    with Client(sel, classes=None) as client:
        assert [one["name"] for one in client.get("/api/state")["classes"]] == ["1.0", "2.0", "nan"]
        assert rows_of(sel) == before and len({row["label"] for row in before}) == 4


def test_rows_of_another_journal_are_answers_of_their_own(sel: Path) -> None:
    with Client(sel) as client:
        client.answer(1, "02.png", "cat", by="Ada")
    event = rows_of(sel)[2]["event"]
    (sel / "labels.csv").write_text(f"id,label,state,event\n00.png,cat,labelled,{event}\n02.png,cat,labelled,{event}\n")
    with Client(sel):
        assert labels_in(sel) == {"00.png": "cat", "02.png": "cat"}
        assert rows_of(sel)[2]["by"] == "Ada"


def test_a_label_file_whose_journal_is_gone_keeps_all_that_it_says(sel: Path) -> None:
    with Client(sel) as client:
        client.answer(1, "00.png", "cat", by="Ada", suggestion="dog")
        client.answer(2, "01.png", state="none", reason="bad image", by="Ben")
    before = [{name: cell for name, cell in row.items() if name != "event"} for row in rows_of(sel)]
    (sel / "labels.sqlite").unlink()
    with Client(sel):
        pass
    assert [{name: cell for name, cell in row.items() if name != "event"} for row in rows_of(sel)] == before


def test_a_reason_that_is_corrected_by_hand_is_kept(sel: Path) -> None:
    with Client(sel) as client:
        client.answer(1, "01.png", state="none", reason="bad image", by="Ben")
    text = (sel / "labels.csv").read_text()
    (sel / "labels.csv").write_text(text.replace("bad image", "a dog's tail"))
    for _ in range(2):
        with Client(sel) as client:
            assert client.page.desk.sheet.answer("01.png").reason == "a dog's tail"
            number = client.page.desk.sheet.number
    assert number == client.page.desk.sheet.number


def test_rows_of_no_item_stay_in_the_file_alone_and_double_ones_are_refused(sel: Path) -> None:
    (sel / "labels.csv").write_text("id,label,note\n00.png,cat,\nim9,dog,typed wrongly\n")
    with Client(sel) as client:
        assert "im9" not in client.page.desk.sheet.answers
    last = rows_of(sel)[-1]
    assert (last["id"], last["label"], last["note"], last["event"]) == ("im9", "dog", "typed wrongly", "")
    (sel / "labels.csv").write_text("id,label\n00.png,cat\n00.png,dog\n")
    with pytest.raises(UsageError, match=r"has several rows of '00.png'; keep one row per item"):
        Client(sel)


def test_a_class_whose_name_holds_the_separator_stays_one(sel: Path) -> None:
    with Client(sel, classes=["Felis; catus", "dog"]) as client:
        client.answer(1, "00.png", "Felis; catus")
    with Client(sel, classes=None, multilabel=True) as client:
        assert client.page.desk.sheet.classes == ["Felis; catus", "dog"]
        assert client.get("/api/items", start=0, count=1)["items"][0]["label"] == ["Felis; catus"]


def test_a_model_whose_classes_were_renamed_or_removed_is_taken_again(sel: Path) -> None:
    given: dict[str, Any] = {"of_model": ["cat", "dog", "fox"], "multilabel": False, "told": lambda: None}
    desk = Desk(sel / "labels.sqlite", sel / "labels.csv", ["00.png"])
    desk.begin([], **given)
    changes = [("cat", "Felis"), ("dog", "Canis"), ("fox", "Vulpes")]
    entries = [
        Entry("one", number + 1, {"kind": "rename", "name": name, "to": to})
        for number, (name, to) in enumerate(changes)
    ]
    for entry in (*entries, Entry("one", 9, {"kind": "remove", "name": "Vulpes"})):
        desk.save([entry]).result()
    desk.end()
    desk = Desk(sel / "labels.sqlite", sel / "labels.csv", ["00.png"])
    desk.begin([], **given)
    assert desk.sheet.classes == ["Felis", "Canis"]
    desk.end()


def test_a_class_in_the_column_of_events_is_told(sel: Path) -> None:
    (sel / "labels.csv").write_text("id,label,event\n00.png,,cat\n")
    with pytest.raises(UsageError, match=r"event of '00.png' holds 'cat'.*write the class into the column label"):
        Client(sel)
    assert "00.png,,cat" in (sel / "labels.csv").read_text()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"label": "bird"}, ("bird",)),
        ({"label": "dog;bird"}, ("bird", "dog")),
        ({"label": ""}, None),
        ({"labels": "dog"}, ("dog",)),
        ({"labels": ""}, ("cat", "dog")),
        ({"label": "bird", "labels": '["dog"]'}, ("dog",)),
        ({"label": None}, ("cat", "dog")),  # the column was taken out
    ],
)
def test_of_two_columns_of_names_the_one_that_was_changed_by_hand_counts(
    sel: Path, written: dict[str, str | None], expected: tuple[str, ...] | None
) -> None:
    with Client(sel, multilabel=True) as client:
        client.post("one", {"sequence": 1, "id": "00.png", "labels": ["cat", "dog"]})
    rows = [{**row, **(written if row["id"] == "00.png" else {})} for row in rows_of(sel)]
    names = [name for name in rows[0] if rows[0][name] is not None]
    with (sel / "labels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, names, extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    with Client(sel, multilabel=True) as client:
        answer = client.page.desk.sheet.answer("00.png")
        assert (answer.labels if answer.state == "labelled" else None) == expected


def test_a_label_file_that_can_not_be_read_is_told_and_left_alone(sel: Path) -> None:
    (sel / "labels.csv").write_text("file;class\na;b\n")
    with pytest.raises(UsageError, match="has no column 'id'"):
        Client(sel)
    assert (sel / "labels.csv").read_text() == "file;class\na;b\n"


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda name: "\0" not in name)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(NAMES, NAMES, min_size=1, max_size=6), st.booleans())
def test_any_name_comes_back_from_the_label_file(
    tmp_path_factory: pytest.TempPathFactory, labels: dict[str, str], several: bool
) -> None:
    from activetune.base.tables import read_table
    from activetune.labelling.journal import Event
    from activetune.labelling.label_file import LabelFile

    sheet = Sheet(list(labels), multilabel=several)
    path = tmp_path_factory.mktemp("names") / "labels.csv"
    for number, name in enumerate(dict.fromkeys(labels.values()), start=1):
        sheet.apply(Event(number, "", {"kind": "add", "name": name}, 0.0))
    for number, (item, name) in enumerate(labels.items(), start=100):
        sheet.apply(Event(number, "", {"kind": "answer", "id": item, "state": "labelled", "labels": [name]}, 1.0))
    LabelFile(path, sheet).write()
    columns = read_table(path)
    assert columns["id"] == list(labels)
    assert columns["label"] == list(labels.values())
    if several:
        assert [json.loads(cell) for cell in columns["labels"]] == [[name] for name in labels.values()]


# The journal ------------------------------------------------------------------------------------------------------


def test_the_journal_keeps_all_of_a_request_or_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "labels.sqlite")
    assert [event.number for event in journal.add([Entry("a", 1, {"x": 1}), Entry("a", 2, {"x": 2})])] == [1, 2]
    assert journal.add([Entry("a", 2, {"x": 2}), Entry("a", 3, {"x": 3})])[0].content == {"x": 3}
    with pytest.raises(Contradiction):
        journal.add([Entry("a", 4, {"x": 4}), Entry("a", 1, {"x": 9})])
    assert [event.content["x"] for event in journal.events()] == [1, 2, 3]
    assert journal._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    journal.close()
    assert not (tmp_path / "labels.sqlite-wal").exists()


def test_a_journal_with_a_damaged_page_is_told_before_it_is_added_to(sel: Path) -> None:
    journal = Journal(sel / "labels.sqlite")
    journal.add([Entry("page", number, {"id": f"{number % 10:02}.png", "label": "a"}) for number in range(1, 400)])
    ask = journal._connection.execute
    (page,) = ask("SELECT rootpage FROM sqlite_master WHERE type = 'index'").fetchone()
    (size,) = ask("PRAGMA page_size").fetchone()
    journal.close()
    content = bytearray((sel / "labels.sqlite").read_bytes())
    content[(page - 1) * size : page * size] = bytes(size)
    (sel / "labels.sqlite").write_bytes(content)
    with pytest.raises(UsageError, match=r"labels.sqlite is damaged .* move it away"):
        Journal(sel / "labels.sqlite")
    assert (sel / "labels.sqlite").read_bytes() == content


def test_a_damaged_journal_is_told(sel: Path) -> None:
    (sel / "labels.sqlite").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(UsageError, match=r"is damaged .* move it away"):
        Client(sel)


def test_a_script_that_starts_again_counts_on(sel: Path) -> None:
    with Client(sel) as client:
        assert client.get("/api/state", client="script")["sequence"] == client.get("/api/state")["sequence"] == 0
        client.answer(7, "00.png", "cat", client="script")
        client.answer(3, "01.png", "cat", client="script")  # late
        client.answer(9, "02.png", "nothing", client="script")  # refused
        client.answer(40, "03.png", "cat", client="another")
        assert client.get("/api/state", client="script")["sequence"] == 7
    with Client(sel) as client:
        assert client.get("/api/state", client="script")["sequence"] == 7
        assert client.answer(8, "04.png", "dog", client="script").status_code == 200
        item = client.get("/api/items", start=4, count=1)["items"][0]
        assert (item["label"], item["client"], item["audit"]) == ("dog", "script", False)


def test_two_columns_of_an_answer_that_say_the_same_are_one(sel: Path) -> None:
    with Client(sel) as client:
        given: dict[str, Any] = {"sequence": 1, "id": "00.png", "label": "cat", "labels": ["cat", "cat"]}
        assert client.post("one", given, {"sequence": 2, "id": "01.png", "label": None, "labels": ["dog"]}).json() == {
            "saved": [1, 2]
        }
    assert labels_in(sel) == {"00.png": "cat", "01.png": "dog"}


def test_two_tabs_and_many_requests_at_once_lose_nothing(sel: Path) -> None:
    with Client(sel) as client:
        items = [f"{number:02d}.png" for number in range(10)]

        def work(name: str, seed: int) -> None:
            for sequence in range(1, 26):
                item = random.Random(seed * 100 + sequence).choice(items)
                assert client.answer(sequence, item, CLASSES[sequence % 2], client=name).status_code == 200

        threads = [threading.Thread(target=work, args=(f"tab {seed}", seed)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        state = client.get("/api/state", since=0, client="x", at=3)
        assert sum(state["states"].values()) == len(labels_in(sel))
        client.get("/api/state", client="y", at=7)
        assert client.get("/api/state", client="x", at=3)["others"] == [7]
        number = state["number"]
        assert client.get("/api/state", since=number)["changes"] == []
        client.answer(1, "03.png", "dog", client="z")
        changed = client.get("/api/state", since=number)["changes"]
        assert [(item["row"], item["label"]) for item in changed] == [(3, "dog")]
    journal = Journal(sel / "labels.sqlite")
    answers = [event for event in journal.events() if event.content["kind"] == "answer"]
    assert len(answers) == 101
    last = {event.content["id"]: event.content["labels"] for event in answers}
    assert labels_in(sel) == {item: labels[0] for item, labels in last.items()}


def test_a_full_disk_is_told_and_the_answer_can_be_sent_again(sel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    with Client(sel) as client:
        journal = client.page.desk._journal
        whole = journal._insert
        monkeypatch.setattr(
            journal, "_insert", lambda entry: (_ for _ in ()).throw(sqlite3.OperationalError("disk is full"))
        )
        refused = client.answer(1, "00.png", "cat")
        assert refused.status_code == 507
        assert "free some space" in refused.json()["error"]
        monkeypatch.setattr(journal, "_insert", whole)
        assert client.answer(1, "00.png", "cat").json() == {"saved": [1]}
    assert labels_in(sel) == {"00.png": "cat"}


# Suggestions ------------------------------------------------------------------------------------------------------


def clouds(count: int, classes: int, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    kinds = [number % classes for number in range(count)]
    centres = rng.normal(size=(classes, 16))
    rows = centres[kinds] + 0.1 * rng.normal(size=(count, 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), kinds


def test_like_images_lie_together() -> None:
    rows_ND, kinds = clouds(240, 4)
    order = alike(rows_ND)
    assert sorted(order) == list(range(240))
    changes = sum(kinds[a] != kinds[b] for a, b in itertools.pairwise(order))
    assert changes == 3
    assert sorted(alike(rows_ND[:5])) == list(range(5))
    assert alike(rows_ND[:0]) == []


def test_a_probe_on_the_answers_suggests_the_right_classes() -> None:
    rows_ND, kinds = clouds(60, 3)
    known = Known(list(range(9)), [(f"k{kinds[row]}",) for row in range(9)], ["k0", "k1", "k2", "never"], 9)
    found = suggested_by_labels(rows_ND, known, 1, multilabel=False)
    assert found is not None
    assert [found.of(row) for row in range(60)] == [(f"k{kind}",) for kind in kinds]
    assert suggested_by_labels(rows_ND, Known([0], [("k0",)], ["k0"], 1), 1, multilabel=False) is None
    several = Known(list(range(9)), [(f"k{kinds[row]}",) if kinds[row] else () for row in range(9)], ["k1", "k2"], 9)
    found = suggested_by_labels(rows_ND, several, 1, multilabel=True)
    assert found is not None
    assert [found.of(row) for row in range(60)] == [(f"k{kind}",) if kind else () for kind in kinds]


def test_suggestions_follow_the_names_of_today() -> None:
    found = Suggested(3, ["a", "b", "c"], [(0,), (1,), (2,), None, (0, 1)], [0.9, 0.8, 0.7, 0.0, 0.6])
    today = by_classes(found, {"a": "x", "b": "x", "c": None})
    assert [today.of(row) for row in range(5)] == [("x",), ("x",), None, None, ("x",)]
    assert named_by(np.array([[0.2, 0.8], [0.9, 0.1]]), multilabel=False) == ([(1,), (0,)], [0.8, 0.9])


def with_embeddings(tmp_path: Path, pool: Path) -> Path:
    ids = sorted(path.name for path in pool.iterdir())
    rows_ND = np.zeros((len(ids), 4), dtype=np.float32)
    rows_ND[:, 0], rows_ND[:, 1] = (
        [number % 2 for number in range(len(ids))],
        [1 - number % 2 for number in range(len(ids))],
    )
    saved = save_embeddings(Embeddings(ids, rows_ND, None, {}), tmp_path / "emb")
    return write_selection(tmp_path / "near" / ".." / "sel2", ids[::-1], pool, saved.fingerprint)


def test_features_are_found_beside_the_selection(tmp_path: Path, pool: Path) -> None:
    (tmp_path / "near").mkdir()
    sel = with_embeddings(tmp_path, pool)
    found = features_of(load_selection(sel), sel)
    assert found is not None
    assert found.rows_ND[:, 0].tolist() == [1.0, 0.0] * 6  # in the selection's order
    (tmp_path / "emb" / "manifest.json").rename(tmp_path / "emb" / "gone.json")
    assert features_of(load_selection(sel), sel) is None


@pytest.mark.slow
def test_suggestions_come_in_the_background_unless_they_are_off(tmp_path: Path, pool: Path) -> None:
    (tmp_path / "near").mkdir()
    sel = with_embeddings(tmp_path, pool)
    for wanted in (True, False):
        with Client(sel, suggestions=wanted) as client:
            for sequence, item in enumerate(("11.png", "10.png", "09.png", "08.png"), start=1):
                client.answer(sequence, item, CLASSES[int(item[:2]) % 2], client=f"{wanted}")
            assert client.page.suggestions.wait(60)
            found = client.get("/api/items", count=12)["items"]
            expected = [CLASSES[int(item["id"][:2]) % 2] for item in found] if wanted else [None] * 12
            assert [item["suggestion"] for item in found] == expected
            compact = client.get("/api/suggestions")
            assert len(compact["named"]) == (12 if wanted else 0)


@pytest.mark.slow
def test_a_model_suggests(tmp_path: Path, digits: Path, small: None) -> None:
    from tests.conftest import NETWORK

    activetune.finetune(digits, recipe="linear_probe", out=tmp_path / "model", quiet=True, **NETWORK)
    ids = list(open_pool(digits).ids)[:20]
    sel = write_selection(tmp_path / "sel", ids, digits)
    model = activetune.load(tmp_path / "model")
    expected = [row[1] for row in activetune.predict(model, open_pool(digits).subset(ids), quiet=True)]
    with Client(sel, classes=None, model=tmp_path / "model") as client:
        assert [one["name"] for one in client.get("/api/state")["classes"]] == list(model.classes)
        assert client.page.suggestions.wait(60)
        assert [item["suggestion"] for item in client.get("/api/items")["items"]] == expected
    with pytest.raises(UsageError, match="suggestions are off"):
        Client(sel, model=tmp_path / "model", suggestions=False)


def test_a_model_s_classes_come_behind_those_that_are_there_and_a_model_of_others_is_refused(
    tmp_path: Path, digits: Path, small: None
) -> None:
    from tests.conftest import NETWORK

    activetune.finetune(digits, recipe="linear_probe", out=tmp_path / "model", quiet=True, **NETWORK)
    ids = list(open_pool(digits).ids)[:20]
    sel = write_selection(tmp_path / "sel", ids, digits)
    with Client(sel, classes=["smudge", "3"]) as client:
        client.answer(1, ids[0], "3")
    with Client(sel, classes=None, model=tmp_path / "model") as client:
        assert [one["name"] for one in client.get("/api/state")["classes"]][:3] == ["smudge", "3", "0"]
    other = write_selection(tmp_path / "other", ids, digits)
    with Client(other, classes=["cat", "dog"]):
        pass
    with pytest.raises(UsageError, match=r"the model tells .* apart, and the classes here are 'cat', 'dog'"):
        Client(other, classes=None, model=tmp_path / "model", multilabel=True).__enter__()
    with pytest.raises(UsageError, match=r"the classes here are 'zebra'"):
        Client(
            write_selection(tmp_path / "third", ids, digits), classes=["zebra"], model=tmp_path / "model"
        ).__enter__()
    with Client(other, classes=None) as client:
        state = client.get("/api/state")
        assert [one["name"] for one in state["classes"]] == ["cat", "dog"] and not state["multilabel"]


# The command ------------------------------------------------------------------------------------------------------


class Running:
    """``activetune label`` in a process of its own."""

    def __init__(self, folder: Path, *words: str):
        command = [sys.executable, "-m", "activetune", "label", str(folder), "--no-browser", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.base, _, self.token = self.url.partition("?token=")

    def post(self, client: str, sequence: int, item: str, label: str) -> Any:
        answer = {"sequence": sequence, "id": item, "label": label, "state": "labelled"}
        body = json.dumps({"client": client, "answers": [answer]}).encode()
        request = urllib.request.Request(f"{self.base}api/answers", body, {"X-Token": self.token})
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, error = self.process.communicate(timeout=60)
        return self.process.returncode, error


@pytest.fixture
def started(sel: Path) -> Iterator[list[Running]]:
    found: list[Running] = []
    yield found
    for running in found:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


@pytest.mark.slow
def test_killed_and_started_again_nothing_is_lost_and_nothing_is_there_twice(sel: Path, started: list[Running]) -> None:
    items, saved = [f"{number:02d}.png" for number in range(10)], 0
    words = ["--classes", "cat,dog"]
    for _ in range(2):
        started.append(Running(sel, *words))
        for sequence in range(saved + 1, saved + 5):
            assert started[-1].post("one", sequence, items[sequence - 1], "cat") == {"saved": [sequence]}
        saved += 4
        started[-1].end(signal.SIGKILL)
    started.append(Running(sel))
    assert len({running.base for running in started}) == 1  # where a browser keeps what could not be sent
    assert started[-1].post("one", saved, items[saved - 1], "cat") == {"saved": [saved]}  # its answer had got lost
    assert labels_in(sel) == dict.fromkeys(items[:saved], "cat")
    refused = subprocess.run(
        [sys.executable, "-m", "activetune", "label", str(sel)], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "is in use by another run" in refused.stderr
    code, error = started[-1].end(signal.SIGTERM)
    assert code == 143
    assert "8 of 10 items are answered" in error
    assert sorted(os.listdir(sel)) == ["labels.csv", "labels.sqlite", "manifest.json", "selection.csv"]
    journal = Journal(sel / "labels.sqlite")
    assert sum(event.content["kind"] == "answer" for event in journal.events()) == saved


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["SEL", "--classes", "a,a"], "classes must be distinct; repeated: 'a'"),
        (["SEL", "--classes", MANY + ",a,a"], "classes must be distinct; repeated: 'a'"),
        (["SEL", "--classes", "POOL/00.png,foo"], "00.png', which is a file; give it alone, or names alone"),
        (["SEL", "--pool", "POOL/00.png"], "not a pool"),
        (["SEL", "--embeddings", "POOL"], "holds images, not their features"),
        (["SEL", "--model", "POOL", "--no-suggestions"], "leave one of both out"),
        (["SEL", "--model", "SEL"], "holds 'selection', where 'model' is expected"),
        (["SEL", "--overwrite"], "replaces no answer"),
        (["SEL", "--port", "70000"], "70000"),
    ],
)
def test_wrong_use_is_told_in_a_sentence(
    sel: Path, pool: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from activetune.cli import run

    given_words = [word.replace("SEL", str(sel)).replace("POOL", str(pool)) for word in words]
    assert run(["label", *given_words, "--no-browser"]) in (1, 2)
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert not (sel / "labels.sqlite").exists()


def test_a_text_that_is_no_models_folder_is_told_however_long(sel: Path) -> None:
    for text in ("nowhere", MANY):
        with pytest.raises(UsageError, match="which is no model's folder; give a list of names"):
            activetune.label(sel, classes=text, browser=False, quiet=True)
