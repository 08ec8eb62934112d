"""The endpoint for predictions: what it answers, and what it refuses in a sentence, whatever is sent."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import urllib.request
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

import activetune
from activetune import UsageError, open_pool
from activetune.base.runtime import resolve_runtime
from activetune.serving.predictions import Batches, Predictor, Ready, application
from tests.conftest import tiny_backbone, write_digits

TOKEN = "secret"
GIVEN: dict[str, Any] = {"workers": 0, "quiet": True, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``digits`` and a model ``m`` of them."""
    folder = tmp_path_factory.mktemp("place")
    pool = open_pool(write_digits(folder / "digits", 40))
    name, weights = tiny_backbone()
    activetune.finetune(pool, out=folder / "m", recipe="linear_probe", backbone=name, weights=weights, **GIVEN)
    return folder


@pytest.fixture
def predictor(place: Path) -> Predictor:
    return Predictor(activetune.load(place / "m"), resolve_runtime("cpu", "fp32"), max_pixels=250_000)


@pytest.fixture
def client(predictor: Predictor) -> TestClient:
    app = application(predictor, TOKEN, max_body=200_000)
    return TestClient(app, base_url="http://127.0.0.1", headers={"X-Token": TOKEN}, raise_server_exceptions=False)


def bomb(width: int, height: int) -> bytes:
    """A small PNG file that declares a large image."""

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000), 9)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


def test_an_image_gets_the_answer_of_predict(client: TestClient, place: Path) -> None:
    rows = activetune.predict(place / "m", place / "digits", precision="fp32", **GIVEN)
    for item, name, prob in rows[:3]:
        found = client.post("/predict", params={"id": item}, content=(place / "digits" / item).read_bytes())
        assert found.status_code == 200
        assert found.json() == {"id": item, "label": name, "probability": pytest.approx(prob, abs=1e-5)}
        assert found.headers["x-content-type-options"] == "nosniff"


def test_several_files_of_a_form(client: TestClient, place: Path) -> None:
    rows = {item: name for item, name, _ in activetune.predict(place / "m", place / "digits", **GIVEN)}
    items = ["3/0003.png", "1/0001.png"]
    files = [("images", (item, (place / "digits" / item).read_bytes())) for item in items]
    found = client.post("/predict", files=[*files, ("images", ("bad.png", b"none"))])
    assert found.status_code == 200
    told = found.json()["predictions"]
    assert [one["id"].rpartition("/")[2] for one in told] == ["0003.png", "0001.png", "bad.png"]
    assert [one["label"] for one in told[:2]] == [rows[item] for item in items]
    assert told[2]["error"].startswith("corrupt")
    named = client.post("/predict", params={"id": "mine"}, files=files)
    assert named.status_code == 400 and "leave the parameter id out" in named.json()["error"]


def test_what_the_model_is(client: TestClient, place: Path) -> None:
    found = client.get("/model").json()
    model = activetune.load(place / "m")
    assert (found["task"], found["classes"]) == ("classification", list(model.classes))
    assert found["fingerprint"] == model.fingerprint and found["max_pixels"] == 250_000
    assert client.get("/health", headers={"X-Token": ""}).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("content", "headers", "status", "says"),
    [
        (b"", {}, 400, "empty: 0 bytes"),
        (b"GIF89a nothing", {}, 400, "corrupt"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), {}, 400, "corrupt"),
        (b"%PDF-1.7", {"content-type": "image/png"}, 400, "corrupt"),
        (bomb(20_000, 20_000), {}, 413, "decompression bomb"),
        (bomb(600, 500), {}, 413, "600 x 500 pixels, 250,000 are allowed"),
        (bytes(200_001), {}, 413, "longer than 200,000 bytes"),
        (bomb(14_000, 14_000), {}, 413, "the 250,000 pixels that are allowed"),
        (b"--x", {"content-type": "multipart/form-data"}, 400, "missing boundary in multipart; send the bytes of one"),
        (b"{}", {"content-type": "multipart/form-data; boundary=x"}, 400, "; send the bytes of one image, or a form"),
        (b"--x--\r\n", {"content-type": "multipart/form-data; boundary=x"}, 400, "the form holds no file"),
        (b"x", {"X-Token": "wrong"}, 401, "the token is missing, or another run's"),
        (b"x", {"Host": "evil.example"}, 403, "is not this machine"),
        (b"x", {"Origin": "http://evil.example"}, 403, "are not let in"),
    ],
)
def test_what_is_refused(
    content: bytes, headers: dict[str, str], status: int, says: str, client: TestClient,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = client.post("/predict", content=content, headers=headers)
    assert found.status_code == status
    assert says in found.json()["error"] and "Traceback" not in found.text
    assert capfd.readouterr().err == ""
    assert client.get("/health").status_code == 200


def test_a_form_of_nothing_but_bad_images(client: TestClient) -> None:
    one = client.post("/predict", files=[("a", ("a.png", b"x"))])
    assert one.status_code == 400 and one.json()["error"].startswith("corrupt")
    two = client.post("/predict", files=[("a", ("a.png", b"x")), ("b", ("b.png", b""))])
    assert two.status_code == 400 and "none of the 2 images can be used" in two.json()["error"]
    many = client.post("/predict", files=[("a", (f"{number}.png", b"x")) for number in range(65)])
    assert many.status_code == 400 and "64" in many.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/predict", 405), ("GET", "/../m", 404), ("PUT", "/x", 404)]
)
def test_other_addresses_and_methods(method: str, path: str, status: int, client: TestClient) -> None:
    found = client.request(method, path)
    assert found.status_code == status and "POST /predict" in found.json()["error"]


@pytest.mark.parametrize("error", [RuntimeError("secret words"), MemoryError(), activetune.ActivetuneError("said")])
def test_a_failure_is_a_sentence(error: Exception, predictor: Predictor, place: Path) -> None:
    def failing(images: Any) -> Any:
        raise error

    class Failing(Predictor):
        answer = staticmethod(failing)  # type: ignore[assignment]

    broken = Failing(predictor.model, predictor.runtime, predictor.max_pixels)
    app = application(broken, TOKEN)
    with TestClient(app, base_url="http://127.0.0.1", headers={"X-Token": TOKEN}) as client:
        found = client.post("/predict", content=(place / "digits/3/0003.png").read_bytes())
    assert found.status_code in (500, 507) and set(found.json()) == {"error"}
    assert "secret words" not in found.text and "Traceback" not in found.text


# Requests at the same time --------------------------------------------------------------------------------------------


def ready(number: int) -> Ready:
    return Ready(torch.full((3, 1, 1), number), (1, 1))


def test_images_that_wait_share_a_batch_and_get_their_own_answers() -> None:
    sizes, first = [], threading.Event()

    def answer(images: Sequence[Ready]) -> list[int]:
        sizes.append(len(images))
        if len(sizes) == 1:
            first.wait(10)  # until all others wait
        return [int(one.pixels[0, 0, 0]) for one in images]

    async def ask() -> list[int]:
        batches = Batches(answer, most=8)
        asked = [asyncio.create_task(batches.ask(ready(number))) for number in range(20)]
        while len(batches.waiting) + sum(sizes) < 20:
            await asyncio.sleep(0)
        first.set()
        return list(await asyncio.gather(*asked))

    assert asyncio.run(ask()) == list(range(20))
    assert sum(sizes) == 20 and max(sizes) == 8 and len(sizes) < 20


def test_one_who_has_gone_and_a_batch_that_fails_stop_nobody() -> None:
    def answer(images: Sequence[Ready]) -> list[int]:
        numbers = [int(one.pixels[0, 0, 0]) for one in images]
        if 1 in numbers:
            raise ValueError("one")
        return numbers

    async def ask() -> list[Any]:
        batches = Batches(answer, most=1)
        asked = [asyncio.create_task(batches.ask(ready(number))) for number in range(4)]
        await asyncio.sleep(0)
        asked[3].cancel()
        return list(await asyncio.gather(*asked, return_exceptions=True))

    zero, one, two, gone = asyncio.run(ask())
    assert (zero, two) == (0, 2) and isinstance(one, ValueError) and isinstance(gone, asyncio.CancelledError)


@pytest.mark.slow
def test_a_server_of_its_own_answers_many_and_ends_on_a_signal(place: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(activetune.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-m", "activetune", "serve", str(place / "m"), "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        base, token = url.split("/?token=")
        assert base.startswith("http://127.0.0.1:")

        def ask(item: str) -> dict[str, Any]:
            body = (place / "digits" / item).read_bytes()
            request = urllib.request.Request(f"{base}/predict?id={item}", body, {"X-Token": token})
            with urllib.request.urlopen(request) as response:
                return dict(json.load(response))

        rows = activetune.predict(place / "m", place / "digits", **GIVEN)
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(ask, [item for item, *_ in rows]))
        assert [(one["id"], one["label"]) for one in found] == [(item, name) for item, name, _ in rows]
    finally:
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in told
    assert "terminated; the server has ended; requests that had begun were answered" in told


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_pixels": 10**9}, "max_pixels between 1 and 89,478,485"),
        ({"port": 70_000}, "port 70000 does not exist"),
        ({"overwrite": True}, "serve keeps nothing on disk"),
        ({"workers": 4}, "serve answers in one process"),
    ],
)
def test_wrong_use(options: dict[str, Any], says: str, place: Path) -> None:
    with pytest.raises(UsageError, match=says):
        activetune.serve(place / "m", device="cpu", **options)


def test_a_photo_that_lies_on_its_side_is_turned(client: TestClient, place: Path) -> None:
    with Image.open(place / "digits/3/0003.png") as opened:
        upright = opened.convert("RGB").resize((64, 64))
    lying, exif = upright.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6
    answers = []
    for image, more in ((upright, {}), (lying, {"exif": exif.tobytes()})):
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", **more)
        answers.append(client.post("/predict", content=buffer.getvalue()).json())
    assert answers[0]["label"] == answers[1]["label"]
    assert answers[0]["probability"] == pytest.approx(answers[1]["probability"], abs=1e-5)
