"""What reaches the local servers besides the person at the page: other sites, other programs, slow senders."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from activetune.serving import guards
from activetune.serving.guards import Guards, new_token
from tests.labelling.conftest import pool as pool
from tests.labelling.conftest import sel as sel
from tests.labelling.test_labelling import Client
from tests.security.load import check, model_under_load, page_under_load

OTHER = "http://evil.example"
SERVER = """
import sys
from activetune.serving import listening
from activetune.serving.guards import Guards
from starlette.responses import PlainTextResponse

listening.HEAD_SECONDS = float(sys.argv[1])
listener = listening.bind(0)
url = listening.address(listener, "secret")
listening.run_server(Guards(PlainTextResponse("here"), "secret"), listener, url, kept="")
"""


@pytest.mark.parametrize("path", ["/api/answers", "/api/classes"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "rebound.example"}, 403),
        ({"Host": "127.0.0.1.nip.io:8000"}, 403),
        ({"Host": "localhost.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": OTHER}, 403),
        ({"Origin": "null"}, 403),
        ({"X-Token": "", "Content-Type": "text/plain", "Origin": OTHER}, 403),  # a form of another site
        ({"X-Token": ""}, 401),
        ({"X-Token": "secre"}, 401),
        ({"X-Token": "secret" + "x" * 4096}, 401),
    ],
)
def test_nothing_is_kept_of_what_another_site_sends(sel: Path, path: str, headers: dict[str, str], status: int) -> None:
    body = {"client": "x", "sequence": 1, "kind": "add", "name": "eel"}
    body["answers"] = [{"sequence": 1, "id": "00.png", "label": "cat"}]  # type: ignore[assignment]
    with Client(sel) as client:
        before = client.get("/api/state")["number"]
        answer = client.http.post(f"{path}?token=secret", content=json.dumps(body), headers=headers)
        assert answer.status_code == status
        assert "secret" not in answer.text
        assert client.get("/api/state")["number"] == before


@pytest.mark.parametrize(
    "path",
    [
        "/page/../../../../../../etc/passwd",
        "/page/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/page/..%5c..%5cetc",
        "/page//etc/passwd",
        "/page/%00",
        "/image/-1",
        "/image/99999999999999999999",
        "/image/1?size=../../x",
        "/image/²",
        "/labels.sqlite",
    ],
)
def test_no_file_but_the_pages_own(sel: Path, path: str) -> None:
    with Client(sel) as client:
        answer = client.http.get(path)
        assert answer.status_code in (400, 404)
        assert "root:" not in answer.text and "SQLite" not in answer.text


def test_tokens_are_compared_in_constant_time_and_are_too_long_to_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    same = secrets.compare_digest

    def compare(given: Any, known: Any) -> bool:
        compared.append((given, known))
        return same(given, known)

    monkeypatch.setattr(guards.secrets, "compare_digest", compare)
    token = new_token()
    client = TestClient(Guards(Starlette(), token), base_url="http://127.0.0.1")
    for given in (token[:-1], token[::-1], "", token + "x"):
        assert client.get("/", headers={"X-Token": given}).status_code == 401
    assert [known for _, known in compared] == [token.encode()] * 4
    assert len(token) * 6 >= 256  # bits: at 10,000 guesses a second the sun burns out first


def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "BODY_SECONDS", 0.05)
    sent: list[Any] = []

    async def ask() -> None:
        async def receive() -> Any:
            await asyncio.sleep(0.02)
            return {"type": "http.request", "body": b"x", "more_body": True}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"127.0.0.1"), (b"x-token", b"t")]
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
        await asyncio.wait_for(Guards(Starlette(), "t")(scope, receive, send), 20)

    asyncio.run(ask())
    assert sent[0]["status"] == 408 and b"did not come within" in sent[1]["body"]


def test_the_body_of_a_stranger_is_thrown_away_behind_the_answer() -> None:
    async def kept(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    client = TestClient(
        Guards(Starlette(routes=[Route("/", kept, methods=["POST"])]), "t"), base_url="http://127.0.0.1"
    )
    taken = 0

    def parts() -> Any:
        nonlocal taken
        for _ in range(3):
            taken += 1
            yield b"x" * 1000

    assert client.post("/", content=parts(), headers={"X-Token": "t"}).text == "3000"
    sent: list[Any] = []
    answered: list[int] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        answered.append(sent[0]["status"])  # nobody waits for a body that is not wanted
        return {"type": "http.request", "body": b"x" * 1000, "more_body": len(answered) < 3}

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [(b"host", b"127.0.0.1")]}
    asyncio.run(Guards(Starlette(), "t")(scope, receive, send))
    assert answered == [401, 401, 401]
    assert sent[-1]["body"] == b"" and not sent[-1].get("more_body")


@pytest.mark.slow
def test_connections_that_send_their_request_in_drops_are_closed() -> None:
    process = subprocess.Popen([sys.executable, "-c", SERVER, "0.5"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().split(":")[2].split("/")[0])
        drops = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
        for drop in drops[::2]:
            drop.sendall(b"GET / HTTP/1.1\r\nHost: 127")
        with socket.create_connection(("127.0.0.1", port)) as good:
            good.sendall(b"GET /?token=secret HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"200 OK" in good.recv(1000)  # others are answered meanwhile
        for drop in drops:
            drop.settimeout(60)
            assert drop.recv(1000) == b""
            drop.close()
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("load", [page_under_load, model_under_load])
def test_a_moment_of_many_requests(load: Any, tmp_path: Path) -> None:
    found = load(tmp_path, seconds=1.0, connections=8)
    check(found)
    assert found.requests > 20
