"""What a local server lets in, and how it starts and ends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from activetune.base.errors import UsageError
from activetune.serving.guards import Guards, new_token
from activetune.serving.listening import address, bind

HERE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def token() -> str:
    return new_token()


@pytest.fixture(scope="module")
def client(token: str) -> TestClient:
    async def echo(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await request.body())

    routes = [Route("/{path:path}", echo, methods=["GET", "POST"])]
    guards = Middleware(Guards, token=token, open_paths=("/page/",), max_body=100)
    return TestClient(Starlette(routes=routes, middleware=[guards]), base_url=HERE)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/api", {"X-Token": "TOKEN"}, 200),
        ("GET", "/?token=TOKEN", {}, 200),
        ("GET", "/api", {}, 401),
        ("GET", "/?token=", {}, 401),
        ("GET", "/api", {"X-Token": "TOKENx"}, 401),
        ("GET", "/api", {"X-Token": "tökén".encode()}, 401),
        ("GET", "/?token=TOKEN", {"X-Token": "wrong"}, 401),
        ("POST", "/api", {"X-Token": "TOKEN"}, 200),
        ("POST", "/api?token=TOKEN", {}, 401),  # a form of another site could send it
        ("GET", "/page/page.js", {}, 200),
        ("POST", "/page/page.js", {}, 401),
        ("GET", "/pages", {}, 401),
        ("GET", "/api", {"X-Token": "TOKEN", "Host": "localhost:9000"}, 200),  # the end of a tunnel
        ("GET", "/api", {"X-Token": "TOKEN", "Host": "[::1]:9000"}, 200),
        ("GET", "/api", {"X-Token": "TOKEN", "Host": "rebound.example"}, 403),
        ("GET", "/api", {"X-Token": "TOKEN", "Host": "127.0.0.1.example"}, 403),
        ("GET", "/api", {"X-Token": "TOKEN", "Host": "127.0.0.1@example:80"}, 403),
        ("GET", "/api", {"X-Token": "TOKEN", "Host": "[127.0.0.1"}, 403),
        ("GET", "/page/page.js", {"Host": "rebound.example"}, 403),
        ("POST", "/api", {"X-Token": "TOKEN", "Origin": HERE}, 200),
        ("POST", "/api", {"X-Token": "TOKEN", "Origin": "http://127.0.0.1:8001"}, 403),
        ("POST", "/api", {"X-Token": "TOKEN", "Origin": "null"}, 403),
    ],
)
def test_what_is_let_in(client: TestClient, token: str, method: str, path: str, headers: dict, status: int) -> None:
    given = {
        name: value.replace("TOKEN", token) if isinstance(value, str) else value for name, value in headers.items()
    }
    answer = client.request(method, path.replace("TOKEN", token), headers=given)
    assert answer.status_code == status
    if status != 200:
        assert len(answer.json()["error"]) > 20
        assert token not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_browser_is_told_in_plain_text(client: TestClient) -> None:
    answer = client.get("/<script>", headers={"Accept": "text/html,*/*"})
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("text/plain")


def test_a_body_that_is_too_long_is_refused_and_one_that_is_not_arrives_whole(client: TestClient, token: str) -> None:
    headers = {"X-Token": token}
    assert client.post("/api", content=b"x" * 100, headers=headers).text == "x" * 100
    assert client.post("/api", content=b"x" * 101, headers=headers).status_code == 413
    parts = (b"x" * 60 for _ in range(2))  # its length is not declared
    assert client.post("/api", content=parts, headers=headers).status_code == 413


@pytest.mark.parametrize(("given", "status"), [("right", 413), ("wrong", 401)])
def test_who_sends_too_much_reads_why_and_meets_no_cut_connection(token: str, given: str, status: int) -> None:
    guarded = Guards(Starlette(), token=token, max_body=100)
    listener = bind(0)
    server = uvicorn.Server(uvicorn.Config(guarded, lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        url = address(listener, "").partition("?")[0]
        for _ in range(3):  # whether it was cut was a matter of chance
            headers = {"X-Token": token if given == "right" else given}
            request = urllib.request.Request(url, b"x" * 20_000_000, headers)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request)
            assert refused.value.code == status and len(json.load(refused.value)["error"]) > 20
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def test_tokens_differ() -> None:
    assert len({new_token() for _ in range(20)}) == 20
    assert min(len(new_token()) for _ in range(20)) >= 40


def test_a_port_that_is_taken_or_impossible_is_told() -> None:
    with bind(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        port = listener.getsockname()[1]
        assert address(listener, "t") == f"http://127.0.0.1:{port}/?token=t"
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is taken .* choose another --port"):
            bind(port)
    with pytest.raises(UsageError, match="port 70000 does not exist"):
        bind(70000)


SERVER = """
import sys
from activetune.base.interrupts import Terminated, answer_signals
from activetune.serving.guards import Guards
from activetune.serving.listening import address, bind, run_server
from starlette.responses import PlainTextResponse

answer_signals()
listener = bind(0)
try:
    run_server(Guards(PlainTextResponse("here"), "secret"), listener, address(listener, "secret"), kept="")
except Terminated:
    sys.exit(143)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("signal_name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_the_address_is_printed_first_and_a_signal_ends_the_server(tmp_path: Path, signal_name: str, code: int) -> None:
    import signal
    import urllib.request

    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in the background
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with urllib.request.urlopen(url) as answer:  # connections wait from the line on
        assert answer.read() == b"here"
    process.send_signal(getattr(signal, signal_name))
    out, error = process.communicate(timeout=30)
    assert (process.returncode, out, error) == (code, "", "")
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/")[0]))):
        pass
