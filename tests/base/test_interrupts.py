"""Ctrl-C, SIGTERM and SIGKILL at any moment: a sentence and an exit code, what is finished kept, no child left behind.

The processes are real and nothing is timed: a run that has come to the moment in question says so through a pipe, and
the end of all its children is the end of that pipe.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import activetune
from tests.conftest import write_digits

pytestmark = pytest.mark.slow

AT_IMPORT = """
import os, sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), int(sys.argv[2]))
sys.meta_path.insert(0, Stop())
from activetune.cli import main
main(sys.argv[3:])
"""

SENTENCE = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
CODE = {signal.SIGINT: 130, signal.SIGTERM: 143}


def hears_interrupts() -> None:
    """Tests that run in the background are started with SIGINT ignored, which a child would inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("pools") / "pool", 140)


@pytest.mark.parametrize(
    ("module", "number"),
    [
        *(("typer", signal.SIGINT), ("numpy", signal.SIGTERM), ("torch", signal.SIGINT)),
        *(("torch.nn.functional", signal.SIGTERM), ("timm.models.resnet", signal.SIGINT)),
    ],
)
def test_a_signal_during_an_import_ends_the_run_with_a_sentence(
    pool: Path, tmp_path: Path, module: str, number: signal.Signals
) -> None:
    line = ["embed", str(pool), "--out", str(tmp_path / "emb"), "--workers", "0"]
    command = [sys.executable, "-c", AT_IMPORT, module, str(int(number)), *line]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=hears_interrupts)
    assert ended.returncode == CODE[number], ended.stderr
    assert ended.stderr == f"{SENTENCE[number]}; what was finished is kept, --resume goes on\n"
    assert not (tmp_path / "emb").exists()


SWALLOWED = """
import os, signal, sys
from activetune.base.interrupts import answer_signals
from activetune.base.progress import progress
class Careless:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
answer_signals()
with progress(2, "work", quiet=True) as meter:
    Careless()
    try:
        meter.advance()
    except KeyboardInterrupt as error:
        sys.exit(type(error).__name__)
"""


def test_a_signal_that_a_destructor_swallows_is_raised_at_the_next_step() -> None:
    ended = subprocess.run([sys.executable, "-c", SWALLOWED], capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1] == "Terminated"


CHILD = """
import sys
import activetune.base.processes as processes
processes.GRACE = float(sys.argv[1])
processes.begin_child()
print("ready", flush=True)
for line in sys.stdin:
    print("works", flush=True)
"""


@pytest.mark.parametrize(("grace", "ends_by"), [("60", signal.SIGTERM), ("0.01", signal.SIGALRM)])
def test_a_child_works_on_when_all_processes_are_told_to_end_but_not_for_long(
    grace: str, ends_by: signal.Signals
) -> None:
    """A step of training needs it still: see test_a_run_told_to_end_in_its_steps_loses_none_of_them."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", CHILD, grace], **pipes) as child:  # type: ignore[call-overload]
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
        if ends_by == signal.SIGTERM:
            child.stdin.write("more\n")
            child.stdin.flush()
            assert child.stdout.readline() == "works\n"
            child.send_signal(signal.SIGTERM)
        assert child.wait() == -ends_by


AT_WORK = """
import os, sys
def stop(*arguments, **options):
    sys.stderr.flush()
    pipe = os.open(os.environ["STOPPED"], os.O_WRONLY)
    os.write(pipe, b"x")
    with open(os.environ["NEVER"]) as file:
        file.read()

import activetune.data.corruption, activetune.data.loading, activetune.studies.simulation.processes
activetune.data.corruption._corrupt_piece = stop
activetune.studies.simulation.processes._run = stop
activetune.data.loading.decode_image = stop

if __name__ == "__main__":
    from activetune.cli import main
    main(sys.argv[1:])
"""
RUNS = {
    "corrupt": "--kinds fog --severity 1",
    "simulate": "--test 30% --methods random,k_means --budgets 20 --seeds 1 --backbone bundled",
    "embed": "--no-cache",
}


class Stopped:
    """A run of two child processes, both of which are in the middle of their work."""

    def __init__(self, folder: Path, stage: str, pool: Path, out: Path):
        (folder / "run.py").write_text(AT_WORK)
        self.stopped, self.never = folder / "stopped", folder / "never"
        os.mkfifo(self.stopped)
        os.mkfifo(self.never)
        self.hold = os.open(self.never, os.O_RDWR)
        environment = {**os.environ, "STOPPED": str(self.stopped), "NEVER": str(self.never)}
        arguments = [stage, str(pool), "--out", str(out), "--workers", "2", *RUNS[stage].split()]
        self.process = subprocess.Popen(
            [sys.executable, str(folder / "run.py"), *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=hears_interrupts,
        )
        self.pipe = os.open(self.stopped, os.O_RDONLY)  # waits for a child to come
        found = b""
        while len(found) < 2:
            if not (read := os.read(self.pipe, 2)) and self.process.poll() is not None:
                raise AssertionError(self.process.communicate()[1])
            found += read

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal to the parent alone; its exit code and what it said, once no child is left."""
        self.process.send_signal(number)
        while os.read(self.pipe, 100):  # ends when the last child has
            pass
        os.close(self.pipe)
        said = self.process.communicate()[1]
        os.close(self.hold)
        return self.process.returncode, said


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("corrupt", signal.SIGINT),
        *(
            pytest.param(stage, number, marks=pytest.mark.thorough)
            for stage, number in (
                ("simulate", signal.SIGKILL),
                ("corrupt", signal.SIGKILL),
                ("corrupt", signal.SIGTERM),
                ("simulate", signal.SIGTERM),
                ("embed", signal.SIGKILL),
                ("embed", signal.SIGTERM),
            )
        ),
    ],
)
def test_no_child_outlives_its_parent(stage: str, number: signal.Signals, pool: Path, tmp_path: Path) -> None:
    if stage == "simulate":  # its pool is embedded before its children start, and from the cache
        activetune.embed(pool, quiet=True, workers=0)
    run = Stopped(tmp_path, stage, pool, tmp_path / "out")
    code, said = run.end(number)
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
        return
    assert code == CODE[number], said
    assert said.splitlines()[-1] == f"{SENTENCE[number]}; what was finished is kept, --resume goes on"
    assert "Traceback" not in said
    assert not (tmp_path / "out" / ".lock").exists()
