"""One run at a time on an output: a second one is refused, a dead one's lock is taken over."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.locks import InUse, lock_of, locked, locked_if_free, locked_output
from activetune.cli import run
from tests.conftest import write_digits

HOLD = """
import sys
from contextlib import ExitStack
from pathlib import Path
from activetune.base.locks import locked
with ExitStack() as stack:
    for text in sys.argv[1:]:
        kind, path = text.split(":", 1)
        stack.enter_context(locked(Path(path), folder=kind == "folder"))
    print("held", flush=True)
    sys.stdin.read()
"""

Hold = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Start a process that holds the locks of ``folder:PATH`` or ``file:PATH`` until it is told to end."""
    started: list[subprocess.Popen[str]] = []

    def start(*places: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen([sys.executable, "-c", HOLD, *places], stdin=pipe, stdout=pipe, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[str]) -> None:
    process.communicate()
    assert process.returncode == 0


def leave_lock(lock: Path, **changed: object) -> None:
    """A lock file as a process that has ended left it; by default it names this very process."""
    here = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "since": "then",
    }
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps({**here, **changed}))


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_second_run_is_refused_and_the_next_one_is_not(tmp_path: Path, hold: Hold, kind: str) -> None:
    out = tmp_path / "out"
    holder = hold(f"{kind}:{out}")
    told = f"{out} is in use by another run of activetune .process {holder.pid} on {socket.gethostname()}, since 20"
    with pytest.raises(InUse, match=told), locked(out, folder=kind == "folder"):
        pass
    end(holder)
    with locked(out, folder=kind == "folder"):
        assert lock_of(out, folder=kind == "folder").is_file()
    assert not any(tmp_path.iterdir())


def test_a_killed_runs_lock_is_taken_over(tmp_path: Path, hold: Hold) -> None:
    out = tmp_path / "out"
    holder = hold(f"folder:{out}")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (out / ".lock").is_file()
    with locked(out, folder=True):
        assert json.loads((out / ".lock").read_text())["pid"] == os.getpid()
    assert not (out / ".lock").exists()


def test_a_lock_that_names_a_later_process_of_the_same_number_is_taken_over(tmp_path: Path) -> None:
    leave_lock(tmp_path / "out" / ".lock", pid=os.getppid(), started=1.0)
    with locked(tmp_path / "out", folder=True):
        pass
    assert not (tmp_path / "out" / ".lock").exists()


def test_a_live_process_is_believed_where_the_file_system_has_no_record_locks(tmp_path: Path) -> None:
    parent = psutil.Process(os.getppid())
    leave_lock(tmp_path / "out" / ".lock", pid=parent.pid, started=parent.create_time())
    with pytest.raises(InUse, match=f"process {parent.pid}"), locked(tmp_path / "out", folder=True):
        pass
    assert (tmp_path / "out" / ".lock").is_file()


def test_another_hosts_lock_stays_and_the_sentence_says_what_to_remove(tmp_path: Path) -> None:
    lock = tmp_path / "out" / ".lock"
    leave_lock(lock, host="elsewhere", pid=1)
    with (
        pytest.raises(InUse, match=f"process 1 on elsewhere, since then.*If that run is gone, remove {lock}"),
        locked(tmp_path / "out", folder=True),
    ):
        pass
    lock.unlink()
    with locked(tmp_path / "out", folder=True):
        pass


@pytest.mark.parametrize("content", ["", '{"host": "x', "[1]", '{"host": "x", "pid": "?", "started": 0, "since": ""}'])
def test_a_lock_whose_writer_was_killed_while_writing_holds_nobody_up(tmp_path: Path, content: str) -> None:
    (tmp_path / ".p.csv.lock").write_text(content)
    with locked(tmp_path / "p.csv", folder=False):
        pass
    assert not any(tmp_path.iterdir())


def test_folders_that_were_missing_go_again_only_if_nothing_was_put_into_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError), locked(tmp_path / "a" / "b", folder=True):
        raise UsageError("refused")
    assert not any(tmp_path.iterdir())
    with locked(tmp_path / "a" / "b", folder=True):
        (tmp_path / "a" / "result").touch()
    assert (tmp_path / "a" / "result").is_file()
    assert not (tmp_path / "a" / "b").exists()
    (tmp_path / "empty").mkdir()
    with locked(tmp_path / "empty", folder=True):
        pass
    assert (tmp_path / "empty").is_dir()


def test_a_stage_within_a_stage_is_part_of_it_and_another_thread_is_not(tmp_path: Path) -> None:
    refused: list[BaseException] = []

    def second() -> None:
        try:
            with locked(tmp_path, folder=True):
                pass
        except InUse as error:
            refused.append(error)

    with locked(tmp_path, folder=True):
        with locked(tmp_path, folder=True):
            pass
        assert (tmp_path / ".lock").is_file()
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "another thread" in str(refused[0])


def test_a_forked_child_neither_keeps_the_lock_nor_removes_it(tmp_path: Path) -> None:
    with locked(tmp_path, folder=True):
        pid = os.fork()
        if not pid:
            try:
                with locked(tmp_path, folder=True):
                    os._exit(1)
            except InUse:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert (tmp_path / ".lock").is_file()


def test_what_can_be_done_without_the_lock_is_told_that_it_is_taken(tmp_path: Path, hold: Hold) -> None:
    with locked_if_free(tmp_path / "entry", folder=True) as free:
        assert free
    hold(f"folder:{tmp_path / 'entry'}")
    with locked_if_free(tmp_path / "entry", folder=True) as free:
        assert not free


@pytest.mark.parametrize("place", ["file/out", "file", "a\0b"])
def test_a_place_that_can_t_be_an_output_is_a_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ActivetuneError, match=r"is a file, where a folder is expected|NUL"),
        locked(tmp_path / place, folder=True),
    ):
        pass


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which no file system makes another one")
def test_a_place_where_no_folder_can_be_made_is_not_said_to_be_in_use() -> None:
    told = pytest.raises(ActivetuneError, match="nothing can be written to /proc/out; choose another output")
    with told, locked(Path("/proc/out"), folder=True):
        pass


def test_every_command_is_refused_while_another_run_writes_to_its_output(
    tmp_path: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_digits(tmp_path / "pool", 12)
    lines = {
        "embed pool --out emb": "folder:emb",
        "select emb --budget 3 --out sel": "folder:sel",
        "finetune pool --out model": "folder:model",
        "evaluate model pool": "file:model/scores.json",
        "predict model pool --out p.csv": "file:p.csv",
        "caption pool --out c.csv": "file:c.csv",
        "corrupt pool --kinds fog --out shifts": "folder:shifts",
        "simulate pool --test 30% --methods random --budgets 4 --out sim": "folder:sim",
        "demo --out demo": "folder:demo",
        "report demo": "folder:demo",
    }
    hold(*set(lines.values()))
    before = sorted(tmp_path.rglob("*"))
    for line, place in lines.items():
        for extra in ([], ["--overwrite"]):
            assert run([*line.split(), *extra]) == 1, line
            assert f"{place.partition(':')[2]} is in use by another run of activetune" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "line",
    [
        "embed pool",
        "select emb --budget 3",
        "finetune pool",
        "evaluate model pool",
        "predict model pool",
        "caption pool",
        "corrupt pool --kinds fog",
        "simulate pool --test 30% --methods random --budgets 4",
        "demo",
    ],
)
def test_an_output_below_a_file_is_a_sentence_and_leaves_the_file(
    tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    assert run([*line.split(), "--out", "file/below/it.csv", "--overwrite"]) == 2
    assert "file is a file, where a folder is expected; give a folder, or a file in one" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.rglob("*")] == [("file", "mine")]


ELSEWHERE = """
import os, signal, sys
import psutil, torch.utils.data  # built for this system, they import what it has
for name in ("fcntl", "resource"):
    sys.modules[name] = None
del os.pread, os.pwrite, os.nice, os.O_CLOEXEC, signal.pthread_sigmask
from activetune.cli import run
sys.exit(run(["embed", sys.argv[1], "--out", sys.argv[2], "--workers", "1", "--no-cache"]))
"""


@pytest.mark.slow
def test_without_what_posix_systems_alone_have_a_stage_runs(tmp_path: Path) -> None:
    pool = write_digits(tmp_path / "pool", 10)
    command = [sys.executable, "-c", ELSEWHERE, str(pool), str(tmp_path / "emb")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "emb" / "manifest.json").is_file() and not (tmp_path / "emb" / ".lock").exists()


def test_a_child_that_imports_its_parents_script_does_not_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with (
        pytest.raises(UsageError, match="put what it does under if __name__ == '__main__':"),
        locked_output(tmp_path / "out", folder=True),
    ):
        pass
    assert not (tmp_path / "out").exists()
