"""One cache for several runs, a clock that goes back, and images that change while a run reads them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import activetune
from activetune.base.errors import ActivetuneError
from activetune.data.loading import batch_loader
from activetune.features import computing, sharing
from tests.conftest import ROOT, tiny_backbone, write_digits

QUIET: dict[str, Any] = {"workers": 0, "quiet": True, "device": "cpu", "precision": "fp32"}
GIVEN: dict[str, Any] = dict(zip(("backbone", "weights"), tiny_backbone(), strict=True))


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write_digits(tmp_path / "pool", 20)


def test_two_runs_fill_one_cache_at_once(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have computed the features before either writes them to the cache."""
    both, seal = threading.Barrier(2), computing._seal

    def meeting(*given: Any) -> Any:
        both.wait(timeout=120)
        return seal(*given)

    monkeypatch.setattr(computing, "_seal", meeting)
    found: dict[int, Any] = {}

    def embed(number: int) -> None:
        found[number] = activetune.embed(pool, out=tmp_path / str(number), **GIVEN, **QUIET)

    threads = [threading.Thread(target=embed, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.undo()
    assert found[0].fingerprint == found[1].fingerprint
    entries = [path for path in (tmp_path / "cache" / "embeddings").iterdir() if not path.name.startswith(".")]
    assert len(entries) == 1
    assert activetune.load_embeddings(entries[0]).fingerprint == found[0].fingerprint
    assert not list((tmp_path / "cache").rglob("*.lock"))


MEETING = """
import sys
import activetune
from activetune.features import computing
from tests.faults.test_cache import GIVEN, QUIET

seal = computing._seal

def meeting(*given):
    print("computed", flush=True)
    sys.stdin.readline()  # until the other one has come here too
    return seal(*given)

computing._seal = meeting
print(activetune.embed(sys.argv[1], out=sys.argv[2], **{**GIVEN, "weights": sys.argv[3]}, **QUIET).fingerprint)
"""


@pytest.mark.slow
@pytest.mark.thorough
def test_two_processes_fill_one_cache_at_once(pool: Path, tmp_path: Path) -> None:
    """As the threads above: both have computed the features before either writes them to the cache."""
    command = [sys.executable, "-c", MEETING, str(pool)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    two = [
        subprocess.Popen([*command, str(tmp_path / name), str(GIVEN["weights"])], text=True, cwd=ROOT, **pipes)
        for name in ("one", "other")
    ]
    try:
        assert [process.stdout.readline() for process in two if process.stdout] == ["computed\n"] * 2
        said = [process.communicate("\n", timeout=900) for process in two]
    finally:
        for process in two:
            process.kill()
            process.wait()
    assert [process.returncode for process in two] == [0, 0], said
    (entry,) = (path for path in (tmp_path / "cache" / "embeddings").iterdir() if not path.name.startswith("."))
    kept = activetune.load_embeddings(entry).fingerprint
    assert [out.strip() for out, _ in said] == [kept, kept]
    assert not list((tmp_path / "cache").rglob("*.lock"))


def test_a_clock_that_goes_back_changes_nothing(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes back by a day whenever it is read; a file that is replaced then is older than what it replaces."""
    embedded = activetune.embed(pool, out=tmp_path / "one", **GIVEN, **QUIET)
    days = count()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 86_400 * next(days))
    first, second = sorted(pool.rglob("*.png"))[:2]
    first.write_bytes(second.read_bytes())
    os.utime(first, (now - 10**8, now - 10**8))
    again = activetune.embed(pool, out=tmp_path / "two", **GIVEN, **QUIET)
    assert again.manifest["pool_fingerprint"] != embedded.manifest["pool_fingerprint"]
    np.testing.assert_array_equal(again.features_ND[0], again.features_ND[1])
    picks = activetune.select(again, budget=3, method="k_center", out=tmp_path / "sel", quiet=True)
    assert activetune.load_selection(tmp_path / "sel").ids == picks.ids
    options: dict[str, Any] = {"out": tmp_path / "model", "recipe": "linear_probe", "settings": {"strengths": 1}}
    activetune.finetune(pool, **options, **GIVEN, **QUIET)
    activetune.finetune(pool, **options, **GIVEN, **QUIET, resume=True)


def test_an_image_that_changes_during_a_run_is_noticed_when_it_goes_on(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = activetune.EmbedOptions(batch_size=5)
    options: dict[str, Any] = {"out": tmp_path / "emb", "options": asked, "use_cache": False, **GIVEN, **QUIET}
    first, second = sorted(pool.rglob("*.png"))[:2]

    def changing(*given: Any, **more: Any) -> Any:
        batches = batch_loader(*given, **more)
        yield next(batches)
        first.write_bytes(second.read_bytes())
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sharing, "batch_loader", changing)
        with pytest.raises(KeyboardInterrupt):
            activetune.embed(pool, **options)
    with pytest.raises(ActivetuneError, match=r"were changed since; start again with --overwrite"):
        activetune.embed(pool, **options, resume=True)
    assert not (tmp_path / "emb" / "manifest.json").exists()
    found = activetune.embed(pool, **options, overwrite=True)
    np.testing.assert_array_equal(found.features_ND[0], found.features_ND[1])


def test_an_image_that_vanishes_during_training_is_named(pool: Path, tmp_path: Path) -> None:
    opened = activetune.open_pool(pool, quiet=True)
    from dataclasses import replace

    from activetune.data.pool import NO_PATIENCE

    gone = sorted(pool.rglob("*.png"))[3]
    gone.unlink()
    settings = {"epochs": 1, "validation": 0.0}
    with pytest.raises(ActivetuneError, match=gone.name):
        activetune.finetune(
            replace(opened, patience=NO_PATIENCE),
            out=tmp_path / "model",
            recipe="full",
            settings=settings,
            **GIVEN,
            **QUIET,
        )
    assert not (tmp_path / "model" / "manifest.json").exists()
