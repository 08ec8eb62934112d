"""The options that every stage has: each is used there, or refused with a sentence; none is taken and ignored."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import activetune
from activetune.base.run import Idle, Run
from activetune.cli import commands, run
from tests.conftest import write_digits

OPTIONS = tuple(field.name for field in dataclasses.fields(Run))
STAGES = {
    "embed": "embed pool --out emb",
    "select": "select emb --budget 3 --method k_center --out sel",
    "finetune": "finetune pool --out model --recipe linear_probe --set strengths=1",
    "evaluate": "evaluate model pool",
    "predict": "predict model pool --out p.csv",
    "export-model": "export-model model --to hub --out hub --pool pool",
    "visft": "visft tasks.toml --out taught --set targets=conv1,conv2",
    "check": "check pool --backbone bundled --out checked",
    "compare": "compare bundled taught --suite suite.toml --out compared",
    "merge": "merge taught/lora --backbone bundled --out merged",
    "caption": "caption pool --out c.csv",
    "corrupt": "corrupt pool --kinds fog --severity 1 --out shifts",
    "simulate": "simulate pool --test 30% --methods random --budgets 4 --seeds 1 --out sim",
    "export": "export p.csv --pool pool --to cvat --out e.xml",
    "import": "import e.xml --pool pool --out i.csv",
    "report": "report sim",
    "label-errors": "label-errors pool --out errors.csv",
}
# The demo, servers, and what goes on from call to call have tests of their own.
OTHERS = {"demo", "serve", "label", "next"}
TASKS = """
stage1_steps = 1
steps = 1
rank = 2
[[tasks]]
task = "classification"
pool = "pool"
weight = 1
"""
SUITE = """
[[probes]]
probe = "classification"
pool = "pool"
shots = [1]
repeats = 1
"""
REFUSED = {  # what can't change anything in a stage, and a value that would claim it does
    "embed": {"seed": "7"},
    "check": {"seed": "7"},
    "evaluate": {"seed": "7"},
    "predict": {"seed": "7"},
    "export-model": {"seed": "7", "device": "cuda", "precision": "bf16"},
    "select": {"precision": "bf16"},
    "caption": {"seed": "7", "precision": "bf16"},
    "corrupt": {"device": "cuda", "precision": "bf16"},
    "merge": {"seed": "7", "device": "cuda", "precision": "bf16", "workers": "4"},
    "report": {"device": "cuda", "precision": "bf16", "workers": "4"},
    "export": {"seed": "7", "device": "cuda", "precision": "bf16", "workers": "4"},
    "import": {"seed": "7", "device": "cuda", "precision": "bf16", "workers": "4"},
}
WORKERS = {"export": "1", "import": "1", "simulate": "1", "report": "1", "merge": "1"}
ELSEWHERE = {("caption", "workers"), ("caption", "device")}  # used by its models alone: tests/features/test_captions.py


class Watched(Run):
    """A run that remembers which of its options were asked for."""

    asked: set[str]

    def __getattribute__(self, name: str) -> Any:
        if name in OPTIONS:
            Watched.asked.add(name)
        return super().__getattribute__(name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage has run once, and ``asked`` for what each of them read of its options."""
    folder = tmp_path_factory.mktemp("stages")
    write_digits(folder / "pool", 30)
    (folder / "tasks.toml").write_text(TASKS)
    (folder / "suite.toml").write_text(SUITE)
    return folder


@pytest.fixture(scope="module")
def asked(place: Path) -> dict[str, set[str]]:
    """The options that each stage reads."""
    original = Run.of.__func__  # type: ignore[attr-defined]
    stage_of: list[str] = []

    def watched(cls: type[Run], stage: str, options: Any, **idle: Idle) -> Run:
        plain: Run = original(Run, stage, options, **idle)
        if stage != stage_of[-1]:  # a stage within a stage
            return plain
        return Watched(**dataclasses.asdict(plain))

    found: dict[str, set[str]] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        patched.setenv("ACTIVETUNE_CACHE", str(place / "cache"))
        patched.setattr(Run, "of", classmethod(watched))
        torch.set_num_threads(1)
        for stage, line in STAGES.items():
            stage_of.append(stage)
            Watched.asked = set()
            extra = ["--overwrite"] if stage == "report" else []
            assert run([*line.split(), "--workers", WORKERS.get(stage, "0"), *extra]) == 0
            found[stage] = Watched.asked
    return found


def test_every_stage_is_here() -> None:
    typed = {name for name, command in commands().items() if "seed" in {param.name for param in command.params}}
    assert typed == {*STAGES, *OTHERS}, "give a new stage a line in this table"


@pytest.mark.parametrize("stage", sorted(STAGES))
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_used_or_refused(
    asked: dict[str, set[str]], place: Path, stage: str, option: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(place)
    if option not in REFUSED.get(stage, {}):
        assert option in asked[stage] or (stage, option) in ELSEWHERE, f"{stage} takes --{option} and never looks at it"
        return
    before = sorted(place.rglob("*"))
    assert run([*STAGES[stage].split(), f"--{option}", REFUSED[stage][option], "--overwrite"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"--{option} {REFUSED[stage][option]} can't be given here; leave it out" in told
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("stage", sorted(STAGES))
@pytest.mark.parametrize("option", ["--device nonsense", "--precision fp8"])
def test_an_impossible_value_is_a_sentence_everywhere(
    asked: dict[str, set[str]], place: Path, stage: str, option: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(place)
    assert run([*STAGES[stage].split(), *option.split(), "--overwrite"]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) <= 2
    assert option.split()[1] in told


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_what_is_finished_is_kept_replaced_or_left_alone_as_asked(
    asked: dict[str, set[str]], place: Path, stage: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Without an option a second run is refused (embed keeps the same features anyway) and nothing changes."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("ACTIVETUNE_CACHE", str(place / "cache"))
    line = [*STAGES[stage].split(), "--workers", WORKERS.get(stage, "0"), "--quiet"]

    def state() -> dict[Path, tuple[int, int]]:
        found = (path for path in place.rglob("*") if path.is_file() and "cache" not in path.parts)
        return {path: (path.stat().st_ino, path.stat().st_size) for path in found}

    before = state()
    assert run(line) == (0 if stage == "embed" else 2)
    assert state() == before
    capsys.readouterr()
    if stage != "simulate":  # it writes its tables anew around the cells that it keeps
        assert run([*line, "--resume"]) == 0
        assert state() == before
    assert capsys.readouterr().err == ""


def test_an_unknown_keyword_is_pythons_own_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"embed.. got an unexpected keyword argument 'overwrit'"):
        activetune.embed(tmp_path, out=tmp_path / "emb", overwrit=True)  # type: ignore[call-arg]


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"workers": -2}, {"precision": "fp8"}])
def test_impossible_values_are_refused_from_python_too(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(activetune.UsageError, match=str(next(iter(wrong.values())))):
        activetune.predict(tmp_path, tmp_path, **wrong)


def test_the_options_of_embed_go_before_those_of_the_run() -> None:
    options = activetune.EmbedOptions(device="cpu").within(Run(device="cuda", precision="bf16", workers=3))
    assert (options.device, options.precision, options.workers) == ("cpu", "bf16", 3)


def test_threads_of_select_are_its_workers(asked: dict[str, set[str]], place: Path, monkeypatch: Any) -> None:
    from activetune.selection import select

    given: list[int] = []
    limited = select.limited_threads
    monkeypatch.setattr(select, "limited_threads", lambda threads: (given.append(threads), limited(threads))[1])
    activetune.select(place / "emb", budget=2, method="random", workers=1)
    activetune.select(place / "emb", budget=2, method="random", threads=1)
    assert given == [1, 1]
