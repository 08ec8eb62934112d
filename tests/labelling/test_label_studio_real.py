"""The whole way through a real Label Studio; `make test-label-studio` installs and names it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import activetune
from activetune.base.errors import ActivetuneError
from activetune.cli import run
from activetune.data.annotations import read_annotations
from activetune.labelling.studio_server import Server
from activetune.selection.artefact import Selection, save_selection

PROGRAM = os.environ.get("ACTIVETUNE_LABEL_STUDIO", "")
TOKEN = "0123456789abcdef0123456789abcdef01234567"
STARTS = 600.0  # seconds that it may take, with an empty database to set up
PICKS = ["day 2/ü.png", "a.png", "day 1/ü.png"]

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(not PROGRAM, reason="needs the package label-studio: make test-label-studio"),
]


@dataclass(frozen=True)
class Place:
    """A running server, and the folders of a pool and a selection that it sees."""

    server: Server
    pool: Path
    folder: Path

    def picks(self, name: str) -> Path:
        """A selection of its own, for a project of its own."""
        (self.folder / name).mkdir()
        selected = Selection(PICKS, [1.0] * 3, ["far"] * 3, {"method": "random", "budget": 3, "pool_fingerprint": "x"})
        save_selection(selected, self.folder / name)
        return self.folder / name

    def tasks(self, picks: Path) -> dict[str, Any]:
        """The tasks of a selection's project, by the ids of their images."""
        number = json.loads((picks / "label_studio.json").read_text())["project"]
        found = self.server.ask("GET", f"/api/projects/{number}/export?exportType=JSON&download_all_tasks=true")
        return {task["data"]["item"]: task for task in found}

    def answer(self, task: Any, **value: Any) -> None:
        """Give an answer as a person does on the page."""
        (kind,) = (key for key in value if key not in ("x", "y", "width", "height", "format", "rle", "text"))
        result = {"from_name": "answer", "to_name": "image", "type": kind, "value": value, "id": "r1"}
        size = {"original_width": 40, "original_height": 30, "image_rotation": 0}
        self.server.ask("POST", f"/api/tasks/{task['id']}/annotations", {"result": [{**result, **size}]})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("studio")
    for number, item in enumerate(PICKS):
        (folder / "pool" / item).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (number * 50, 0, 0)).save(folder / "pool" / item)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    local = {"LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true", "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder)}
    silent = {"COLLECT_ANALYTICS": "False", "LATEST_VERSION_CHECK": "False", "SENTRY_DSN": "", "PYTHONPATH": ""}
    silent["LABEL_STUDIO_BASE_DATA_DIR"] = str(folder / "data")
    options = ["--no-browser", "--port", port, "--internal-host", "127.0.0.1"]
    user = ["--username", "a@example.org", "--password", "a-long-secret", "--user-token", TOKEN]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, "start", *map(str, options), *user, "--enable-legacy-api-token"],
            env={**os.environ, **local, **silent},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Place(_ready(f"http://127.0.0.1:{port}", process, folder / "log"), folder / "pool", folder)
    finally:
        process.terminate()
        process.wait(30)


def _ready(url: str, process: subprocess.Popen[bytes], log: Path) -> Server:
    """The server, once it answers."""
    server, end = Server.at(url, TOKEN), time.monotonic() + STARTS
    while time.monotonic() < end and process.poll() is None:
        try:
            server.ask("GET", "/api/projects")
            return server
        except ActivetuneError:
            time.sleep(1)  # a server that another program starts tells nobody when it is there
    pytest.fail(f"Label Studio does not answer: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture
def command(place: Place, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line, with a token and the server's address."""
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    there = ["--in", "label-studio", "--url", place.server.url, "--pool", str(place.pool)]
    return lambda picks, *more: run(["label", str(picks), *there, *more])


def test_classes_with_suggestions(place: Place, command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    picks = place.picks("classes")
    (place.folder / "predicted.csv").write_text("id,label,probability\na.png,dog,0.75\n")
    assert command(picks, "--classes", "cat,dog", "--suggestions", str(place.folder / "predicted.csv")) == 0
    told = capsys.readouterr()
    assert "3 tasks" in told.out and "can't show" not in told.err
    tasks = place.tasks(picks)
    assert all(place.server.shows(task["data"]["image"]) for task in tasks.values())
    assert len(tasks["a.png"]["predictions"]) == 1
    assert command(picks) == 0
    assert "nobody has answered yet" in capsys.readouterr().out  # what a model says is no answer
    place.answer(tasks["a.png"], choices=["cat"])
    place.answer(tasks["day 2/ü.png"], choices=["dog"])
    assert command(picks) == 0
    assert (picks / "labels.csv").read_text(encoding="utf-8") == "id,label\nday 2/ü.png,dog\na.png,cat\n"


def test_boxes(place: Place, command: Any) -> None:
    picks = place.picks("boxes")
    assert command(picks, "--task", "detection", "--classes", "cat,dog") == 0
    place.answer(place.tasks(picks)["a.png"], x=10, y=20, width=50, height=40, rectanglelabels=["dog"])
    assert command(picks) == 0
    found = read_annotations(picks / "annotations.parquet", activetune.open_pool(place.pool), "detection", quiet=True)
    assert list(found.ids) == ["a.png"] and found.answers[0].names == ("dog",)
    np.testing.assert_allclose(found.answers[0].xyxy_K4, [[4, 6, 24, 18]], atol=1e-4)


@pytest.mark.parametrize("kind", ["JSON", "JSON_MIN"])
@pytest.mark.parametrize("task", ["classification", "multilabel", "detection", "segmentation", "captioning"])
def test_what_is_exported_comes_back(task: str, kind: str, place: Place, tmp_path: Path) -> None:
    pool = activetune.open_pool(place.pool, quiet=True)
    mask = np.zeros((30, 40), dtype=np.uint8)
    mask[5:20, 7:33] = 1
    Image.fromarray(mask).save(tmp_path / "a.png")
    boxes = {"bbox": [[3, 4, 10, 11]], "category": ["cat"]}
    rows: dict[str, Any] = {
        "classification": {"label": "cat"},
        "multilabel": {"labels": ["cat", "dog"]},
        "detection": {"objects": boxes},
        "segmentation": {"mask": str(tmp_path / "a.png")},
        "captioning": {"caption": "A cat that sleeps"},
    }
    (tmp_path / "answers.jsonl").write_text(json.dumps({"id": "a.png", **rows[task]}))
    given: dict[str, Any] = {"pool": pool, "task": task, "quiet": True}
    out = activetune.export_labels(tmp_path / "answers.jsonl", format="label_studio", out=tmp_path / "out", **given)
    made = {"title": f"{task} {kind}", "label_config": (out / "config.xml").read_text()}
    number = place.server.ask("POST", "/api/projects", made)["id"]
    place.server.ask("POST", f"/api/projects/{number}/import", json.loads((out / "tasks.json").read_text()))
    exported = place.server.ask("GET", f"/api/projects/{number}/export?exportType={kind}")
    (tmp_path / "back.json").write_text(json.dumps(exported))
    asked = None if task == "classification" else task
    found = activetune.import_labels(tmp_path / "back.json", format="label_studio", pool=pool, task=asked, quiet=True)
    want = activetune.import_labels(tmp_path / "answers.jsonl", **given)
    assert list(found.ids) == ["a.png"]
    if task == "segmentation":
        np.testing.assert_array_equal(found.answers[0].pixels() >= 0, want.answers[0].pixels() >= 0)
    elif task == "detection":
        np.testing.assert_allclose(found.answers[0].xyxy_K4, want.answers[0].xyxy_K4, atol=1e-4)
    else:
        assert found.answers == want.answers
