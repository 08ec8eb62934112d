"""What is installed with the package is allowed, pinned and known; and the demo uses no network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT
from tests.security.dependencies import CONSTRAINTS, LOCK, direct, installed, licences_of, locked, pinned, refused

OFFLINE = """
import os, sys
from pathlib import Path

for name in [name for name in os.environ if name.startswith("HF_") or name.endswith("_OFFLINE")]:
    del os.environ[name]
asked = []


def note(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1"):
            asked.append(str(address))
            raise PermissionError("no network")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        asked.append(str(arguments)[:200])
        raise PermissionError("no network")


sys.addaudithook(note)
from activetune.cli import run

exec(sys.argv[3])
code = run(["demo", "--quiet", "--data", sys.argv[2], "--seeds", "1", "--workers", "0", "--out", sys.argv[1]])
print(code, asked)
sys.exit(code or len(asked))
"""
FEW = """
from activetune.studies.demo import comparison, demo
from tests.studies.test_demo import few

whole = demo.demo_pool
demo.demo_pool = lambda name, seed: few(whole(name, seed))
comparison.CELLS = (("activeft", "bundled"),)
demo.METHODS = ("activeft",)
"""


def test_no_licence_asks_for_more_than_a_user_may_give() -> None:
    found, _ = installed(direct())
    assert {"torch", "timm", "numpy", "starlette", "pillow"} <= found.keys()
    assert refused(found.values()) == {}


def test_other_licences_are_refused() -> None:
    class Package:
        def __init__(self, **about: str):
            self.about = {"Name": "x", **{name.replace("_", "-"): value for name, value in about.items()}}

        @property
        def metadata(self) -> Package:
            return self

        def __getitem__(self, name: str) -> str:
            return self.about[name]

        def get(self, name: str) -> str | None:
            return self.about.get(name)

        def get_all(self, name: str, default: tuple[str, ...]) -> list[str]:
            return [self.about[name]] if name in self.about else list(default)

    for about in (
        {"License_Expression": "AGPL-3.0-only"},
        {"License_Expression": "MIT AND GPL-2.0-or-later"},
        {"Classifier": "License :: OSI Approved :: GNU Affero General Public License v3"},
        {"License": "CC BY-NC 4.0"},
        {"License": ""},
        {},
    ):
        assert refused([Package(**about)]), about  # type: ignore[list-item]
    assert licences_of(Package(License_Expression="MIT OR Apache-2.0")) == ["MIT", "Apache-2.0"]  # type: ignore[arg-type]


def test_extras_are_followed_and_absent_packages_told() -> None:
    found, absent = installed([Requirement("no-such-package-here"), Requirement("typer")])
    assert absent == ["no-such-package-here"]
    assert "click" in found or "rich" in found


def test_the_lock_has_the_versions_of_the_constraints(tmp_path: Path) -> None:
    one = {
        "metadata": {"name": "numpy", "version": "2"},
        "download_info": {"archive_info": {"hashes": {"sha256": "ab"}}},
    }
    (tmp_path / "report.json").write_text(json.dumps({"install": [one]}))
    assert locked(tmp_path / "report.json").splitlines()[1:] == ["numpy==2 --hash=sha256:ab"]
    constraints = pinned(CONSTRAINTS)
    assert constraints["torch"] == "2.13.0"
    if not LOCK.is_file():
        pytest.skip("constraints.lock is not here; 'make lock' writes it")
    lock = {name: version.partition("+")[0] for name, version in pinned(LOCK).items()}
    assert lock.items() <= constraints.items()  # what is pinned since is locked by 'make lock'
    lines = LOCK.read_text().splitlines()[1:]
    assert all(" --hash=sha256:" in line and len(line.rpartition(":")[2]) == 64 for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "before"),
    [pytest.param("cells", FEW, id="few cells"), pytest.param("digits", "", id="digits")],
)
@pytest.mark.thorough
def test_the_demo_uses_no_network(data: str, before: str, tmp_path: Path) -> None:
    import os

    environment = {**os.environ, "ACTIVETUNE_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", OFFLINE, str(tmp_path / "demo"), data, before]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    assert ended.stdout.splitlines()[-1] == "0 []"
    assert (tmp_path / "demo" / "report.html").is_file()
