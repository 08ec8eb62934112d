"""Memory that runs out above so many images at a time: fewer go through the network, or a sentence says how many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import activetune
from activetune.base.errors import ActivetuneError
from activetune.base.memory import Portions
from activetune.cli import run
from activetune.networks.backbones import Backbone
from tests.conftest import TINY, tiny_backbone, write_digits

Short = Callable[[int], list[int]]
KINDS = {
    "of a GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "of the processor": RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    ),
    "of Python": MemoryError(),
}
QUIET: dict[str, Any] = {"workers": 0, "quiet": True, "device": "cpu", "precision": "fp32"}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Short:
    """Memory for so many images at a time: those that are tried are listed."""

    def limit(most: int, kind: str = "of a GPU", training: bool = False) -> list[int]:
        tried: list[int] = []
        plain = nn.Module.__call__

        def call(module: nn.Module, *given: Any, **options: Any) -> Any:
            if isinstance(module, nn.Conv2d) and isinstance(given[0], Tensor) and given[0].shape[1] == 3:
                tried.append(len(given[0]))
                if len(given[0]) > most and (module.training or not training):
                    raise KINDS[kind]
            return plain(module, *given, **options)

        monkeypatch.setattr(nn.Module, "__call__", call)
        return tried

    return limit


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = write_digits(tmp_path / "pool", 30)
    (folder / "0" / "0005.png").write_bytes(b"no image")
    (folder / "9" / "zz.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def tiny() -> Backbone:
    name, weights = tiny_backbone()
    return activetune.load_backbone(name, weights=weights)


def trained(pool: Path, out: Path, recipe: str = "linear_probe", **settings: Any) -> activetune.Model:
    name, weights = tiny_backbone()
    given: dict[str, Any] = {"backbone": name, "weights": weights, "recipe": recipe, "settings": settings}
    return activetune.finetune(pool, out=out, **given, **QUIET)


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_computed_by_halves(kind: str, pool: Path, tiny: Backbone, tmp_path: Path, short: Short) -> None:
    asked = activetune.EmbedOptions(batch_size=16, dtype="float32")
    options: dict[str, Any] = {"use_cache": False, "options": asked, **QUIET}
    whole = activetune.embed(pool, backbone=tiny, out=tmp_path / "whole", **options)
    tried = short(5, kind)
    found = activetune.embed(pool, backbone=tiny, out=tmp_path / "found", **options)
    assert found.ids == whole.ids and found.manifest["key"] == whole.manifest["key"]
    np.testing.assert_allclose(found.features_ND, whole.features_ND, rtol=1e-4, atol=1e-5)
    assert (tmp_path / "found" / "rejected.csv").read_bytes() == (tmp_path / "whole" / "rejected.csv").read_bytes()
    assert [count for count in tried if count > 5] == [15, 7]  # what does not fit is not tried again


def test_predictions_scores_and_lines_are_made_by_halves(pool: Path, tmp_path: Path, short: Short) -> None:
    model = trained(pool, tmp_path / "model")

    def made(name: str) -> tuple[list[Any], float, list[Any], Any]:
        rows = activetune.predict(model, pool, out=tmp_path / name, **QUIET)
        lines = list(activetune.stream_predictions(model, pool, **QUIET))
        some = model.predict(sorted(pool.rglob("1/*.png")), device="cpu", precision="fp32")
        return rows, activetune.evaluate(model, pool, **QUIET).value, lines, some

    whole = made("whole.csv")
    tried = short(7)
    found = made("found.csv")
    assert max(tried) > 7
    assert [row[:2] for row in found[0]] == [row[:2] for row in whole[0]]
    assert [line["id"] for line in found[2]] == [line["id"] for line in whole[2]]  # rejected ones where they were
    assert [line.get("error") for line in found[2]] == [line.get("error") for line in whole[2]]
    assert found[1] == whole[1]
    np.testing.assert_allclose(found[3], whole[3], atol=1e-5)
    listed = [(tmp_path / f"{name}.rejected.csv").read_text() for name in ("found", "whole")]
    assert listed[0] == listed[1]


def test_a_step_that_does_not_fit_says_what_does_and_that_trains(pool: Path, tmp_path: Path, short: Short) -> None:
    settings = {"epochs": 1, "batch_size": 24, "validation": 0.4, "validation_least": 9}
    short(7)
    with pytest.raises(ActivetuneError, match=r"20 images at a time than cpu has; 5 fit: .*accumulation=5"):
        trained(pool, tmp_path / "model", "full", **settings)
    trained(pool, tmp_path / "other", "full", **settings, accumulation=5)


def test_one_image_that_does_not_fit_is_a_sentence(
    pool: Path, tiny: Backbone, tmp_path: Path, short: Short, capsys: pytest.CaptureFixture[str]
) -> None:
    short(0)
    with pytest.raises(ActivetuneError, match="a single image needs more memory than cpu has"):
        activetune.embed(pool, backbone=tiny, out=tmp_path / "emb", use_cache=False, **QUIET)
    line = ["--backbone", TINY, "--weights", str(tiny_backbone()[1]), "--workers", "0", "--quiet", "--device", "cpu"]
    assert run(["embed", str(pool), "--out", str(tmp_path / "other"), *line, "--no-cache"]) == 1
    assert capsys.readouterr().err.startswith("error: not enough memory;")  # the backbone is tried when it is built


def test_training_that_does_not_fit_at_all_is_a_sentence(pool: Path, tmp_path: Path, short: Short) -> None:
    short(0, training=True)
    with pytest.raises(ActivetuneError, match="for a single image than cpu has; give --set checkpointing=true"):
        trained(pool, tmp_path / "model", "full", epochs=1, validation=0.0)


def test_an_error_that_is_none_of_memory_passes() -> None:
    def wrong(part: slice) -> int:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(Portions(torch.device("cpu")).of(4, wrong))


def test_memory_that_runs_out_elsewhere_is_a_sentence(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import activetune.selection.request as stage

    def short(*given: Any, **options: Any) -> Any:
        raise KINDS["of a GPU"]

    monkeypatch.setattr(stage, "make_selector", short)
    np.save(tmp_path / "features.npy", np.eye(6, dtype=np.float32))
    assert run(["select", str(tmp_path / "features.npy"), "--budget", "2", "--out", str(tmp_path / "sel")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: not enough memory; what was finished is kept")
