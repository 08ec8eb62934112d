"""Pushing to Label Studio and pulling back, against a small server that behaves like it."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.locks import lock_of
from activetune.base.run import Run
from activetune.base.tables import write_csv
from activetune.cli import run
from activetune.labelling.journal import Entry, Journal
from activetune.labelling.label import Asked, page_of
from activetune.labelling.label_studio import label_in_studio
from activetune.labelling.studio_server import Server
from activetune.selection.artefact import Selection, save_selection
from tests.labelling.conftest import round_of

TOKEN = "0123456789abcdef"


class Studio(BaseHTTPRequestHandler):
    """Projects, imports and exports as Label Studio answers them; it keeps what it gets in its server."""

    server: Any

    def log_message(self, *_: Any) -> None: ...

    def answer(self, code: int, content: Any, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.handle_all()

    def do_POST(self) -> None:
        self.handle_all()

    def handle_all(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content: Any = json.loads(body) if body else None
        if self.path == "/api/token/refresh":
            self.answer(200, {"access": "fresh"} if content == {"refresh": "a.b.c"} else {})
        elif self.path.startswith("/moved"):
            self.answer(302, {}, Location="http://elsewhere.invalid/")
        elif self.headers.get("Authorization") not in (f"Token {TOKEN}", "Bearer fresh"):
            self.answer(401, {"detail": "Invalid token."})
        elif self.path == "/api/projects":
            self.server.config = content["label_config"]
            self.answer(201, {"id": 7})
        elif self.path == "/api/projects/7/import":
            if len(self.server.tasks) >= self.server.most:
                self.answer(500, {"detail": "database is locked"})
                return
            self.server.tasks += content
            self.answer(201, {"task_count": len(content)})
        elif self.path == "/api/projects/7":
            self.answer(200, {"id": 7, "task_number": len(self.server.tasks)})
        elif self.path == "/api/storages/localfiles":
            self.server.storages.append(content["path"])
            self.answer(201, {"id": 1})
        elif self.path.startswith("/data/local-files/?d=pool/") and self.server.storages:
            self.answer(200, b"an image", **{"Content-Type": "image/jpeg"})
        elif self.path == "/api/projects/7/export?exportType=JSON":
            self.answer(200, self.server.tasks)
        else:
            self.answer(404, {"detail": "Not found."})


@pytest.fixture
def server() -> Iterator[Any]:
    found: Any = ThreadingHTTPServer(("127.0.0.1", 0), Studio)
    found.tasks, found.storages, found.config, found.most = [], [], "", 100
    found.url = f"http://127.0.0.1:{found.server_address[1]}"
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    for name in ("1.jpg", "2 ü.jpg", "3.jpg"):
        (tmp_path / "pool").mkdir(exist_ok=True)
        Image.new("RGB", (20, 10)).save(tmp_path / "pool" / name)
    return tmp_path / "pool"


@pytest.fixture
def picks(tmp_path: Path) -> Path:
    (tmp_path / "sel").mkdir()
    manifest = {"method": "random", "budget": 2, "pool_fingerprint": "x"}
    save_selection(Selection(["2 ü.jpg", "1.jpg"], [1.0, 0.5], ["far", "far"], manifest), tmp_path / "sel")
    return tmp_path / "sel"


def test_picks_are_pushed_with_suggestions_and_their_answers_pulled(
    server: Any, pool: Path, picks: Path, tmp_path: Path
) -> None:
    (tmp_path / "predicted.csv").write_text("id,label,probability\n1.jpg,dog,0.75\n")
    options: dict[str, Any] = {"pool": pool, "url": server.url, "token": TOKEN, "quiet": True}
    done = label_in_studio(picks, classes=["cat", "dog"], suggestions=tmp_path / "predicted.csv", **options)
    assert (done.pushed, done.answered, done.address) == (2, 0, f"{server.url}/projects/7")
    assert [task["data"]["item"] for task in server.tasks] == ["2 ü.jpg", "1.jpg"]
    assert server.tasks[1]["predictions"][0]["score"] == 0.75
    assert '<Choice value="cat"' in server.config
    assert TOKEN not in (picks / "label_studio.json").read_text()

    assert label_in_studio(picks, **options).answered == 0  # pushed once, and predictions are no answers
    assert len(server.tasks) == 2 and not (picks / "labels.csv").exists()
    result = {"type": "choices", "from_name": "answer", "to_name": "image", "value": {"choices": ["cat"]}}
    server.tasks[0]["annotations"] = [{"result": [result], "was_cancelled": False}]
    server.tasks[1]["annotations"] = [{"result": [result], "was_cancelled": True}]
    assert label_in_studio(picks, **options).answered == 1
    assert (picks / "labels.csv").read_text() == "id,label\n2 ü.jpg,cat\n"
    (picks / "labels.csv").write_text("id,label,when\n2 ü.jpg,dog,1\n1.jpg,dog,2\n3.jpg,,\n")
    assert label_in_studio(picks, **options).answered == 1
    assert (picks / "labels.csv").read_text() == "id,label\n2 ü.jpg,cat\n1.jpg,dog\n"  # nobody gave another answer


def test_a_round_of_a_project_has_the_project_s_classes(server: Any, pool: Path, tmp_path: Path) -> None:
    second = round_of(tmp_path / "project", pool, ("dog",), ["fox"])
    label_in_studio(second, url=server.url, token=TOKEN, image_url="http://images/", quiet=True)
    assert [f'<Choice value="{name}"' in server.config for name in ("dog", "fox")] == [True, True]


def test_images_are_shown_from_the_pool_or_a_note_says_what_to_do(
    server: Any, pool: Path, picks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"url": server.url, "token": TOKEN, "classes": ["a"]}
    label_in_studio(picks, pool=pool, **options)
    assert server.storages == [str(pool)] and "can't show" not in capsys.readouterr().err
    label_in_studio(picks, pool=pool.rename(tmp_path / "moved"), out=tmp_path / "again", **options)
    assert f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={tmp_path}" in capsys.readouterr().err
    with zipfile.ZipFile(tmp_path / "pool.zip", "w") as packed:
        for path in (tmp_path / "moved").iterdir():
            packed.write(path, path.name)
    with pytest.raises(UsageError, match="give --image-url"):
        label_in_studio(picks, pool=tmp_path / "pool.zip", out=tmp_path / "zip", **options)


def test_a_push_that_was_cut_off_goes_on(server: Any, pool: Path, picks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activetune.labelling.label_studio.PIECE", 1)
    options: dict[str, Any] = {"pool": pool, "url": server.url, "token": TOKEN, "classes": ["a"], "quiet": True}
    server.most = 1
    with pytest.raises(ActivetuneError, match="database is locked"):
        label_in_studio(picks, **options)
    about = json.loads((picks / "label_studio.json").read_text())
    assert about["sent"] == 1
    (picks / "label_studio.json").write_text(json.dumps(about | {"sent": 0}))  # killed before it could be noted
    server.most = 2
    assert label_in_studio(picks, **options).pushed == 2
    assert [task["data"]["item"] for task in server.tasks] == ["2 ü.jpg", "1.jpg"]  # each once, in one project


def test_earlier_answers_of_several_classes_are_kept(server: Any, pool: Path, picks: Path) -> None:
    options: dict[str, Any] = {"pool": pool, "url": server.url, "token": TOKEN, "task": "multilabel", "quiet": True}
    label_in_studio(picks, classes=["cat", "dog"], **options)
    (picks / "labels.csv").write_text('id,labels\n1.jpg,cat;dog\n2 ü.jpg,dog\n3.jpg,""\n')
    result = {"type": "choices", "from_name": "answer", "to_name": "image", "value": {"choices": ["cat"]}}
    server.tasks[0]["annotations"] = [{"result": [result]}]
    assert label_in_studio(picks, **options).answered == 1
    assert (picks / "labels.csv").read_text() == "id,labels\n2 ü.jpg,cat\n1.jpg,cat;dog\n"


def test_a_call_while_another_goes_on_is_refused(server: Any, pool: Path, picks: Path) -> None:
    lock_of(picks, folder=True).write_text(json.dumps({"pid": 1, "host": "elsewhere", "started": 0.0, "since": "then"}))
    with pytest.raises(ActivetuneError, match="is in use by another run"):
        label_in_studio(picks, pool=pool, url=server.url, token=TOKEN, classes=["a"], quiet=True)
    assert not server.tasks


def test_what_is_asked_is_the_tasks(server: Any, pool: Path, picks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    there = ["label", str(picks), "--in", "label-studio", "--url", server.url, "--pool", str(pool), "--quiet"]
    assert run([*there, "--task", "detection", "--classes", "cat", "--image-url", "https://host/"]) == 0
    assert "<RectangleLabels" in server.config and not server.storages
    assert server.tasks[1]["data"]["image"] == "https://host/1.jpg"


def test_a_personal_access_token_is_exchanged_first(server: Any) -> None:
    assert Server.at(server.url, "a.b.c").header == "Bearer fresh"
    with pytest.raises(ActivetuneError, match="gives no access"):
        Server.at(server.url, "x.y.z")


def test_refusals_are_sentences_without_the_token(server: Any, pool: Path, picks: Path) -> None:
    with pytest.raises(ActivetuneError, match="refuses the access token") as refused:
        label_in_studio(picks, pool=pool, url=server.url, token="wrong-token", classes=["a"], quiet=True)
    assert "wrong-token" not in str(refused.value)
    with pytest.raises(ActivetuneError, match="which is not followed"):
        Server.at(server.url, TOKEN).ask("GET", "/moved")
    with pytest.raises(ActivetuneError, match="is not there"):
        Server.at(server.url, TOKEN).ask("GET", "/api/nothing")
    with pytest.raises(UsageError, match="LABEL_STUDIO_API_KEY"):
        Server.at(server.url, "")
    with pytest.raises(UsageError, match="no address of a server"):
        Server.at("file:///etc/passwd", TOKEN)
    assert TOKEN not in repr(Server.at(server.url, TOKEN))


def test_a_server_that_is_not_there_is_a_sentence(pool: Path, picks: Path) -> None:
    with pytest.raises(ActivetuneError, match="can't be reached"):
        label_in_studio(picks, pool=pool, url="http://127.0.0.1:9", token=TOKEN, classes=["a"], quiet=True)
    assert not (picks / "label_studio.json").exists()


def test_the_command_pushes_and_pulls(
    server: Any, pool: Path, picks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    there = ["label", str(picks), "--in", "label-studio", "--url", server.url, "--pool", str(pool), "--quiet"]
    assert run([*there, "--classes", "cat,dog"]) == 0
    assert "2 tasks; when they are labelled, run the same command again" in capsys.readouterr().out
    assert run(there) == 0
    assert "nobody has answered yet" in capsys.readouterr().out
    assert run([*there, "--no-suggestions"]) == 2
    assert "--no-suggestions is of the local page" in capsys.readouterr().err
    assert run(["label", str(picks), "--task", "detection"]) == 2
    assert "--task is of label-studio; leave it out, or give --in label-studio" in capsys.readouterr().err
    assert run(["label", str(picks), "--classes", "missing.txt"]) == 2
    assert "there is no file missing.txt of class names; give one with a name per line" in capsys.readouterr().err
    assert run(["label", str(picks), "--classes", ","]) == 2
    assert "names no class; give --classes a,b,c" in capsys.readouterr().err
    assert run(["label", str(picks), "--in", "elsewhere", "--url", server.url]) == 2
    assert "--in label-studio and --url ADDRESS" in capsys.readouterr().err


def opened_page(picks: Path, pool: Path) -> None:
    """Open the page, and end it."""
    with page_of(picks, Asked(classes=["cat", "dog"], pool=pool), Run(quiet=True)):
        pass


def test_answers_of_the_page_are_not_written_over(server: Any, pool: Path, picks: Path) -> None:
    opened_page(picks, pool)
    journal = Journal(picks / "labels.sqlite")
    journal.add([Entry("me", 1, {"kind": "answer", "id": "1.jpg", "labels": ["cat"], "state": "labelled"})])
    journal.close()
    with pytest.raises(UsageError, match="has answers of the local page"):
        label_in_studio(picks, pool=pool, url=server.url, token=TOKEN, quiet=True)


def test_a_page_that_nobody_answered_on_stands_in_no_way(server: Any, pool: Path, picks: Path) -> None:
    write_csv(picks / "labels.csv", ("id", "label"), [("2 ü.jpg", ""), ("1.jpg", "dog")])  # written by hand
    opened_page(picks, pool)
    options: dict[str, Any] = {"pool": pool, "url": server.url, "token": TOKEN, "quiet": True}
    assert label_in_studio(picks, classes=["cat", "dog"], **options).pushed == 2
    result = {"type": "choices", "from_name": "answer", "to_name": "image", "value": {"choices": ["cat"]}}
    server.tasks[0]["annotations"] = [{"result": [result], "was_cancelled": False}]
    server.tasks[1]["annotations"] = []
    assert label_in_studio(picks, **options).answered == 1
    assert (picks / "labels.csv").read_text() == "id,label\n2 ü.jpg,cat\n1.jpg,dog\n"


def test_a_selection_that_was_pushed_has_no_page(server: Any, pool: Path, picks: Path) -> None:
    options: dict[str, Any] = {"pool": pool, "url": server.url, "token": TOKEN, "quiet": True}
    label_in_studio(picks, classes=["cat", "dog"], **options)
    with pytest.raises(
        UsageError, match=r"is labelled in Label Studio.*: go on there, or .* remove label_studio\.json"
    ):
        opened_page(picks, pool)
    assert not (picks / "labels.sqlite").exists()
    assert label_in_studio(picks, **options).answered == 0  # and its answers can be pulled all the same


def test_a_table_of_images_below_it_is_shown_as_local_files(server: Any, pool: Path, picks: Path) -> None:
    write_csv(pool / "pool.csv", ("path",), [("1.jpg",), ("2 ü.jpg",)])
    options: dict[str, Any] = {"url": server.url, "token": TOKEN, "classes": ["cat"], "quiet": True}
    assert label_in_studio(picks, pool=pool / "pool.csv", **options).pushed == 2
    assert server.storages == [str(pool)]
    assert server.tasks[1]["data"]["image"] == "/data/local-files/?d=pool/1.jpg"
