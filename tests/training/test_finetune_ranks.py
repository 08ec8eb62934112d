"""``finetune`` as a whole in two processes: the model of one, one voice, and an end for all where one ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import activetune
from activetune.base.errors import UsageError
from activetune.base.launch import SHARED, Place, launched
from activetune.base.ranks import device_of_rank
from activetune.base.unfinished import WORK
from activetune.networks.heads import make_head
from activetune.networks.network import Network
from activetune.training.network_state import norm_over_all
from tests.conftest import ROOT, write_digits
from tests.together import ended, start_two
from tests.training.finetune_rank import ON, RECIPES, SMALL, finetuned

SLOW = pytest.mark.slow  # by two processes
QUICK = ("linear_probe", "fact")  # whose phases are those of nearly all others
SPOKEN_OF = ("full", "vecaf", "auto")  # what the tests of messages ask about
THOROUGH = pytest.mark.thorough


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_digits(tmp_path_factory.mktemp("pools") / "digits", 60)
    (folder / "0" / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    network = activetune.load_backbone(SMALL, pretrained=False).network
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    return path


# Recipes ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_two(
    pool: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, list[tuple[str, str]]]:
    """What two processes leave, and what they said; they train by the recipes that are asked for in this run."""
    out = tmp_path_factory.mktemp("by_two")
    own = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    asked = {*QUICK, *SPOKEN_OF, *(item.callspec.params.get("recipe") for item in own)}
    recipes = [name for name in RECIPES if name in asked]
    script = ["-m", "tests.training.finetune_rank", *map(str, (pool, weights, out)), *recipes]
    codes, said = ended(start_two(script, out))
    assert codes == [0, 0], "\n".join(stderr for _, stderr in said)
    return out, said


def told(by_two: tuple[Path, list[tuple[str, str]]], rank: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((by_two[0] / f"told-{rank}.json").read_text())
    return found


@SLOW
@pytest.mark.parametrize("recipe", [pytest.param(one, marks=() if one in QUICK else THOROUGH) for one in RECIPES])
def test_two_processes_make_the_model_of_one(
    recipe: str, by_two: tuple[Path, list[tuple[str, str]]], pool: Path, weights: Path, tmp_path: Path
) -> None:
    by_one(recipe, pool, tmp_path / "alone", weights)
    alone, together = tmp_path / "alone", by_two[0] / recipe
    assert sorted(path.name for path in together.iterdir()) == sorted(path.name for path in alone.iterdir())
    same_weights(together, alone, weights)
    ours, theirs = (json.loads((folder / "manifest.json").read_text()) for folder in (together, alone))
    for name in ("run", "rejected", "classes", "options"):
        assert ours.get(name) == theirs.get(name)
    for name in ("n_train", "n_validation", "trainable_parameters", "recipe"):
        assert ours["figures"].get(name) == theirs["figures"].get(name)
    assert (together / "rejected.csv").read_text() == (alone / "rejected.csv").read_text()
    if recipe == "vecaf":
        assert picks(together) == picks(alone)


@SLOW
@pytest.mark.parametrize(("name", "steps"), [("cut_off", 0), ("told_to_end", 2)])
def test_one_process_goes_on_with_what_two_began(
    name: str, steps: int, by_two: tuple[Path, list[tuple[str, str]]], pool: Path, weights: Path, tmp_path: Path
) -> None:
    kept = torch.load(by_two[0] / name / WORK / "full.pt", weights_only=True)
    assert [kept["epoch"], kept["told"][0]["steps"]] == [not steps, steps]
    shutil.copytree(by_two[0] / name, tmp_path / "m")
    finetuned("full", pool, tmp_path / "m", weights, quiet=True, resume=True)
    finetuned("full", pool, tmp_path / "alone", weights, quiet=True)
    assert not (tmp_path / "m" / WORK).exists()
    same_weights(tmp_path / "m", tmp_path / "alone", weights)


SIGNALLED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background inherit that it is ignored
from activetune.base.launch import launched
from activetune.cli import main
from activetune.training.steps import Steps
ranks, numbers = sys.argv[1].split(","), [int(number) for number in sys.argv[2].split(",")]
update = Steps._update
def last(steps, step):
    if step == 0 and str(launched().rank) in ranks:
        for number in numbers:
            os.kill(os.getpid(), number)
    update(steps, step)
Steps._update = last
main(sys.argv[3:])
"""


@SLOW
@pytest.mark.parametrize(
    ("ranks", "numbers", "codes"),
    [
        ("1", [signal.SIGTERM], [1, 143]),  # of a host that is taken away
        ("0,1", [signal.SIGINT, signal.SIGINT], [130, 130]),  # Ctrl-C, which the launcher hands on
    ],
)
def test_a_signal_ends_all_processes_after_the_same_step(
    ranks: str, numbers: list[int], codes: list[int], pool: Path, weights: Path, tmp_path: Path
) -> None:
    asked = ["finetune", str(pool), "--out", str(tmp_path / "m"), "--recipe", "full", "--backbone", SMALL]
    asked += [
        "--weights",
        str(weights),
        "--set",
        "epochs=2",
        "--set",
        "batch_size=20",
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    sent = ",".join(str(int(number)) for number in numbers)
    found, said = ended(start_two(["-c", SIGNALLED, ranks, sent, *asked], tmp_path))
    assert found == codes, said
    kept = torch.load(tmp_path / "m" / WORK / "full.pt", weights_only=True)
    assert kept["epoch"] == 0 and kept["told"][0]["steps"] in (1, 2)
    spoken = [stderr for _, stderr in said]
    assert "--resume" in spoken[0] and not spoken[1] and "Traceback" not in "".join(spoken)


@SLOW
@THOROUGH
def test_four_processes_make_the_model_of_one(pool: Path, weights: Path, tmp_path: Path) -> None:
    script = ["-m", "tests.training.finetune_rank", *map(str, (pool, weights, tmp_path)), "full", "linear_probe"]
    codes, said = ended(start_two(script, tmp_path, 4))
    assert codes == [0] * 4, "\n".join(stderr for _, stderr in said)
    by_one("full", pool, tmp_path / "alone", weights)
    same_weights(tmp_path / "full", tmp_path / "alone", weights)
    assert all((tmp_path / f"told-{rank}.json").is_file() for rank in range(4))


def by_one(recipe: str, pool: Path, out: Path, weights: Path) -> None:
    """A process of its own with one thread, as each of the two: other sums differ in their last digits."""
    code = (
        "import sys; from pathlib import Path; from tests.training.finetune_rank import finetuned; "
        "finetuned(sys.argv[1], *map(Path, sys.argv[2:]), quiet=True)"
    )
    command = [sys.executable, "-c", code, recipe, *map(str, (pool, out, weights))]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT, check=True, timeout=900)


def same_weights(one: Path, other: Path, before: Path) -> None:
    """Compare two models, up to rounding: a small part of how far training has moved the weights."""
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    start = load_file(before)
    assert ours.keys() == theirs.keys()
    moved = max([float((value - start[name]).abs().max()) for name, value in theirs.items() if name in start] or [0.0])
    for name, value in theirs.items():
        of_head = name not in start  # it may have been fitted on features in half precision
        scale = max(moved, (2e-1 if of_head else 1e-3) * float(value.abs().max()))
        torch.testing.assert_close(ours[name], value, rtol=0, atol=0.02 * scale, msg=name)


def picks(folder: Path) -> list[str]:
    """The items of each loop."""
    return [",".join(line.split(",")[:2]) for line in (folder / "selections.csv").read_text().splitlines()]


@SLOW
def test_the_first_process_alone_speaks(by_two: tuple[Path, list[tuple[str, str]]]) -> None:
    (said, noted), (silence, _) = by_two[1]
    assert silence == ""
    assert said.count("\n") == 1
    assert said.startswith(f"{by_two[0] / 'new'}: linear_probe on bundled, 10 classes")
    lines = noted.splitlines()
    sentences = (f"backbone: {SMALL}; recipe: fact", "auto: linear_probe, as fact would need", "loop 2/2: 12 of")
    for sentence in sentences:
        assert len([line for line in lines if line.startswith(sentence)]) == 1, noted
    other = by_two[1][1][1]
    assert "bundled" not in other and "error" not in other


@SLOW
def test_an_error_of_one_process_ends_all(by_two: tuple[Path, list[tuple[str, str]]]) -> None:
    first, other = told(by_two, 0), told(by_two, 1)
    assert first["occupied"][0] == "UsageError" and "linear_probe" in first["occupied"][1]
    assert other["occupied"] == ["OthersEnded", first["occupied"][1]]
    assert "can't be read (Input/output error)" in first["unreadable"][1]
    assert other["unreadable"][1] == first["unreadable"][1]
    assert first["finished"] == other["finished"] == [str(digit) for digit in range(10)]


@SLOW
def test_an_error_of_the_command_is_said_once(by_two: tuple[Path, list[tuple[str, str]]]) -> None:
    assert told(by_two, 0)["codes"] == [2, 2, 2, 2, 0]
    assert told(by_two, 1)["codes"] == [0, 0, 0, 0, 0]
    errors = [line for line in by_two[1][0][1].splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    assert "No such option: --nonsense" in errors[1]
    assert "on cuda, each on its own GPU, or on cpu, not on 'mps'" in errors[2]
    assert errors[3] == (
        "error: evaluate runs in one process, and 2 were started; start it without torchrun or accelerate launch, "
        f"which are for {', '.join(SHARED[:-1])} and {SHARED[-1]} alone"
    )
    assert not [line for line in by_two[1][1][1].splitlines() if line.startswith("error: ")]


# Ends -------------------------------------------------------------------------------------------------------------

STOPPING = """
import os, sys
import activetune.training.steps as steps

pipe = os.open(os.environ["STOPPED"], os.O_WRONLY)  # closed by the system when the last process has ended
update = steps.Steps._update

def stopping(run, number):
    update(run, number)
    if run.rank == 1 and number == int(os.environ["STOP_AFTER"]):
        os.write(pipe, str(os.getpid()).encode() + b" ")
        with open(os.environ["NEVER"]) as file:
            file.read()

steps.Steps._update = stopping
if __name__ == "__main__":
    from activetune.cli import main
    main(sys.argv[1:])
"""


@pytest.mark.thorough
@SLOW
def test_a_launcher_that_is_terminated_and_a_process_that_is_killed_leave_a_run_to_resume(
    pool: Path, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.py").write_text(STOPPING)
    stopped, never, out = tmp_path / "stopped", tmp_path / "never", tmp_path / "out"
    os.mkfifo(stopped)
    os.mkfifo(never)
    hold = os.open(never, os.O_RDWR)
    # two batches an epoch: a process that stops after the first one of an epoch knows that the epoch before is kept
    settings = {"epochs": 3, "batch_size": 30, "optimizer": "sgd", "lr": 0.05, "validation": 0.0}
    options = [f"--set={name}={value}" for name, value in settings.items()]
    arguments = ["finetune", str(pool), "--out", str(out), "--recipe", "full", *options]
    arguments += ["--backbone", SMALL, "--weights", str(weights), "--device=cpu", "--precision=fp32", "--workers=1"]
    script = [str(tmp_path / "run.py"), *arguments]
    pipes = {"STOPPED": str(stopped), "NEVER": str(never)}
    cache = {"ACTIVETUNE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}

    launcher = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *script],
        env={**os.environ, **cache, **pipes, "STOP_AFTER": "2"},
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    pipe = os.open(stopped, os.O_RDONLY)
    assert os.read(pipe, 100), launcher.communicate()[1]
    launcher.send_signal(signal.SIGTERM)
    while os.read(pipe, 100):  # ends when the last process has
        pass
    os.close(pipe)
    said = launcher.communicate()[1]
    assert launcher.returncode != 0
    assert said.count("what was finished is kept, --resume goes on") == 1, said
    assert (out / ".unfinished" / "full.pt").is_file()
    assert not (out / ".lock").exists()

    two = start_two([*script, "--resume"], tmp_path, **pipes, STOP_AFTER="4")
    pipe = os.open(stopped, os.O_RDONLY)
    os.kill(int(os.read(pipe, 100)), signal.SIGKILL)
    codes, spoken = ended(two)
    os.close(pipe)
    assert codes == [1, -signal.SIGKILL], spoken
    assert "going on after epoch 1" in spoken[0][1]
    assert spoken[0][1].splitlines()[-1] == (
        "error: another of the 2 processes of this run has ended, or its host can't be reached; what was finished is "
        "kept: go on with --resume"
    )

    two = start_two([*script, "--resume"], tmp_path, **pipes, STOP_AFTER="-1")
    pipe = os.open(stopped, os.O_RDONLY)
    codes, spoken = ended(two)
    os.close(pipe)
    os.close(hold)
    assert codes == [0, 0], spoken
    assert "going on after epoch 2" in spoken[0][1]
    assert not (out / ".unfinished").exists()
    given: dict[str, Any] = {"backbone": SMALL, "weights": weights, "recipe": "full", "settings": settings, **ON}
    activetune.finetune(pool, out=tmp_path / "alone", quiet=True, **given)
    same_weights(out, tmp_path / "alone", weights)


# Without processes ------------------------------------------------------------------------------------------------


def test_a_process_alone_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert launched() == Place()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert launched() == Place()  # a variable that something else has set says nothing of a launch
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert launched() == Place(1, 4, 1, 4)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert launched() == Place(1, 4, 0, 1)


@pytest.mark.parametrize(
    ("asked", "gpus", "device"),
    [("auto", 0, "cpu"), ("cpu", 2, "cpu"), ("auto", 2, "cuda:1"), ("cuda", 2, "cuda:1"), ("cuda", 0, "cuda")],
)
def test_each_process_has_a_gpu_of_its_own(asked: str, gpus: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    second_of_two(monkeypatch, gpus)
    assert device_of_rank(asked) == device


@pytest.mark.parametrize(
    ("asked", "gpus", "sentence"), [("cuda", 1, "a machine with 1 GPU;"), ("cuda:0", 2, "not on 'cuda:0'")]
)
def test_processes_do_not_share_a_gpu(asked: str, gpus: int, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    second_of_two(monkeypatch, gpus)
    with pytest.raises(UsageError, match=sentence):
        device_of_rank(asked)


def test_batch_norms_of_heads_see_the_whole_batch_on_gpus_too() -> None:
    network = Network(activetune.load_backbone(SMALL, pretrained=False))
    network.put_head(make_head("linear", 64, 3, "masks"), "segmentation")
    network.put_head(make_head("segmenter", 64, 3, "masks"), "other")
    before = network.state_dict()
    norm_over_all(network)
    kinds = [type(part).__name__ for part in network.modules() if "BatchNorm" in type(part).__name__]
    assert kinds == ["SyncBatchNorm", "SyncBatchNorm"]
    assert network.state_dict().keys() == before.keys()
    shown = torch.randn(2, 3, 3, 64)
    assert network.eval().heads["segmentation"](shown).shape[0] == 2  # on a processor, after training


def second_of_two(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    """Take the place of the second process of two on a machine with some GPUs."""
    place = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
