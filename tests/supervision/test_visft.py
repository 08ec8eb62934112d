"""ViSFT: heads on a frozen backbone, additions under them, a merged backbone; cut off anywhere, and wrong configs."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import activetune
from activetune import UsageError, load_backbone, open_pool
from activetune.base.runtime import Runtime
from activetune.cli import run as command
from activetune.data.pool import Pool
from activetune.networks.adapters import LowRank, inject, read_additions
from activetune.networks.network import Network
from activetune.supervision import joint as joint_module
from activetune.supervision import run as run_module
from activetune.supervision.config import Visft, read_config
from activetune.supervision.cost import _of_head, costs, told
from activetune.supervision.drift import Features
from activetune.supervision.heads import Stretches, held_out, load_head
from activetune.tasks import make_task
from activetune.training.job import Job
from activetune.training.network_state import fused_attention, to_training
from activetune.training.steps import Steps
from tests.conftest import tiny_backbone, write_digits
from tests.contract.test_tasks import ANSWERS
from tests.told_to_end import told_to_end_in_steps

QUIET: dict[str, Any] = {"workers": 0, "device": "cpu", "precision": "fp32", "quiet": True}
SMALL = {"detection": "detr:layers=1;decoder_layers=1;queries=4;width=32;decoder_width=32;hidden=32;attention_heads=2"}
HEADS = {"detection": SMALL["detection"], "segmentation": "linear", "captioning": "lstm"}
QUICK = {"stage1_steps": 5, "steps": 7, "save_every": 3, "batch_size": 4, "stage1_batch_size": 4, "rank": 4, "alpha": 8}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return open_pool(write_digits(tmp_path_factory.mktemp("pool") / "digits", 30))


@pytest.fixture(scope="module")
def config(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder, (name, weights) = tmp_path_factory.mktemp("labels"), tiny_backbone()
    tasks = []
    for number, (task, head) in enumerate(HEADS.items()):
        labels = make_task(task).labels_of(ANSWERS[task](pool, folder), pool)
        tasks.append({"task": task, "pool": pool, "labels": labels, "head": head, "weight": 0.2 + 0.1 * number})
    return {"backbone": name, "weights": str(weights), **QUICK, "tasks": tasks}


@pytest.fixture(scope="module")
def made(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> activetune.Supervised:
    return activetune.visft(config, out=tmp_path_factory.mktemp("visft") / "out", **QUIET)


def images(backbone: activetune.Backbone) -> torch.Tensor:
    return torch.randint(
        0, 256, (3, 3, *backbone.settings.size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those that tell seconds."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("manifest.json", "history.csv") and not path.name.endswith(".lock")
    }


# What it makes ------------------------------------------------------------------------------------------------------


def test_files_figures_and_a_history_of_both_stages(made: activetune.Supervised) -> None:
    names = {path.name for path in made.folder.iterdir()}
    assert names >= {"heads", "lora", "backbone.safetensors", "config.json", "history.csv", "manifest.json"}
    assert not (made.folder / ".unfinished").exists()
    figures = made.figures
    assert set(figures["stage1"]) == set(figures["in_domain"]) == set(HEADS)
    assert all(found["seconds"] > 0 for found in (figures["stage2"], *figures["stage1"].values()))
    assert figures["weight_drift"] > 0 and figures["feature_cosine"]["pooled"] < 1
    assert made.figures == json.loads((made.folder / "manifest.json").read_text())["figures"]
    with (made.folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["phase"] for row in rows] == [f"head_{name}" for name in HEADS for _ in range(2)] + ["joint"] * 3
    drifts = [float(row["weight_drift"]) for row in rows[-3:]]
    assert 0 < drifts[0] < drifts[-1] == pytest.approx(figures["weight_drift"], rel=1e-3)


def test_losses_of_the_joint_stage_are_told_task_by_task(made: activetune.Supervised) -> None:
    """Pixels, words and images have no common mean: a task's losses are means over its own."""
    with (made.folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    alone = {row["phase"].removeprefix("head_"): row for row in rows[: 2 * len(HEADS)]}
    drawn = {name: [row for row in rows[-3:] if row[f"train_{name}_loss"]] for name in HEADS}
    assert all(drawn.values())
    for row in rows[-3:]:
        losses = [float(row[f"train_{name}_loss"]) for name in HEADS if row[f"train_{name}_loss"]]
        assert min(losses) - 1e-6 <= float(row["train_loss"]) <= max(losses) + 1e-6
    words = [float(row["train_captioning_words"]) for row in drawn["captioning"]]
    assert max(words) == pytest.approx(float(alone["captioning"]["train_words"]), rel=0.3)
    assert all(not row["train_captioning_words"] for row in rows[-3:] if row not in drawn["captioning"])


def test_the_merged_backbone_is_the_additions_on_the_pretrained_one(
    made: activetune.Supervised, config: dict[str, Any]
) -> None:
    peft = pytest.importorskip("peft")
    merged, plain = made.backbone().eval(), load_backbone(config["backbone"], config["weights"]).eval()
    with torch.inference_mode():
        before, found = plain.last(images(plain)), merged.last(images(plain))
    plain.network = peft.PeftModel.from_pretrained(plain.network, made.folder / "lora").eval()
    with torch.inference_mode():
        normal = plain.normalise(images(plain))
        wanted = plain.network.base_model.model.forward_features(normal)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, before, rtol=1e-5, atol=1e-5)


def test_stage_two_starts_at_the_bits_of_stage_one(made: activetune.Supervised, config: dict[str, Any]) -> None:
    backbone = load_backbone(config["backbone"], config["weights"])
    network = Network(backbone, {name: load_head(made.folder / "heads" / name) for name in HEADS}).eval()
    with torch.inference_mode():
        before = [network(images(backbone), name) for name in HEADS]
    inject(backbone.network, LowRank(rank=64, alpha=1), seed=0)
    with torch.inference_mode():
        after = [network.eval()(images(backbone), name) for name in HEADS]
    for one, other in zip(before, after, strict=True):
        for (key, value), same in zip(vars_of(one).items(), vars_of(other).values(), strict=True):
            assert torch.equal(value, same), key


def vars_of(outputs: Any) -> dict[str, torch.Tensor]:
    """The tensors of a head's outputs."""
    if isinstance(outputs, torch.Tensor):
        return {"outputs": outputs}
    found: dict[str, torch.Tensor] = {}
    for name, value in vars(outputs).items():
        many = value if isinstance(value, tuple) else (value,)
        found |= {f"{name}{number}": one for number, one in enumerate(many) if isinstance(one, torch.Tensor)}
    assert found
    return found


def test_queries_and_values_alone_have_moved(made: activetune.Supervised, config: dict[str, Any]) -> None:
    start = load_file(config["weights"])
    for name, value in load_file(made.folder / "backbone.safetensors").items():
        if "qkv.weight" not in name:
            assert torch.equal(value, start[name]), name
            continue
        moved = (value != start[name]).view(3, len(value) // 3, -1).any(dim=2).any(dim=1)
        assert moved.tolist() == [True, False, True], name


def test_the_folder_is_a_backbone_in_every_command(made: activetune.Supervised, pool: Pool, tmp_path: Path) -> None:
    place = str(made.folder)
    found = activetune.embed(pool, backbone=place, out=tmp_path / "emb", **QUIET)
    assert found.manifest["backbone"] == place
    model = activetune.finetune(
        pool, backbone=place, out=tmp_path / "m", recipe="linear_probe", settings={"strengths": [1.0]}, **QUIET
    )
    assert model.backbone.fingerprint == made.backbone().fingerprint
    shutil.copytree(place, tmp_path / "moved")
    moved = activetune.finetune(
        pool,
        backbone=str(tmp_path / "moved"),
        out=tmp_path / "n",
        recipe="linear_probe",
        settings={"strengths": [1.0]},
        **QUIET,
    )
    shutil.rmtree(tmp_path / "moved")
    assert activetune.load(tmp_path / "n").fingerprint == moved.fingerprint == model.fingerprint
    assert load_backbone(f"{place}@96x128").settings.size == (96, 128)
    with pytest.raises(UsageError, match="holds its own weights; give none beside it"):
        load_backbone(place, made.folder / "backbone.safetensors")


def test_a_finished_folder_is_kept_with_resume_and_not_overwritten(
    made: activetune.Supervised, config: dict[str, Any]
) -> None:
    before = contents(made.folder)
    assert activetune.visft(config, out=made.folder, resume=True, **QUIET).figures == made.figures
    with pytest.raises(UsageError, match="is not empty"):
        activetune.visft(config, out=made.folder, **QUIET)
    with pytest.raises(UsageError, match=r"is not empty|another"):
        activetune.visft({**config, "lr": 1e-2}, out=made.folder, resume=True, **QUIET)
    assert contents(made.folder) == before


# Interruptions ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cut_off_in_every_stretch_it_ends_at_the_same_bytes(
    made: activetune.Supervised, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, left = Steps.epoch, [0]

    def epoch(self: Steps, *given: Any) -> float:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(self, *given)

    monkeypatch.setattr(Steps, "epoch", epoch)
    for _ in range(20):
        left[0] = 1
        try:
            activetune.visft(config, out=tmp_path / "out", resume=(tmp_path / "out").exists(), **QUIET)
        except KeyboardInterrupt:
            continue
        break
    assert contents(tmp_path / "out") == contents(made.folder)


def test_told_to_end_in_its_steps_it_ends_at_the_same_bytes(
    made: activetune.Supervised, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    ended = told_to_end_in_steps(
        monkeypatch, lambda: activetune.visft(config, out=out, resume=out.exists(), **QUIET), 3
    )
    assert ended >= 3
    assert contents(out) == contents(made.folder)


def test_a_run_of_other_settings_is_not_gone_on_with(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Steps, "epoch", interrupted)
        activetune.visft(config, out=tmp_path / "out", **QUIET)
    with pytest.raises(UsageError, match="unfinished run with another backbone, tasks, labels, settings or seed"):
        activetune.visft(config, out=tmp_path / "out", seed=1, resume=True, **QUIET)
    with pytest.raises(UsageError, match="go on with --resume"):
        activetune.visft(config, out=tmp_path / "out", **QUIET)


def test_heads_are_kept_where_stage_two_fails_and_gets_other_settings(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**config, "tasks": config["tasks"][1:]}
    options: dict[str, Any] = {"out": tmp_path / "out", **QUIET}
    lost, trained = Steps._lost, []

    def lost_of(self: Steps, *given: Any) -> float:
        trained.append(self.phase)
        return float("nan") if self.phase == "joint" and self.options.lr > 1 else lost(self, *given)

    monkeypatch.setattr(Steps, "_lost", lost_of)
    with pytest.raises(
        activetune.ActivetuneError, match=r"lower --set lr=… \(it is 9\) with --resume, which keeps the heads"
    ):
        activetune.visft(config, settings={"lr": 9.0}, **options)
    heads = {name: data for name, data in contents(tmp_path / "out").items() if name.startswith("heads/")}
    with pytest.raises(UsageError, match="unfinished run with another"):
        activetune.visft(config, settings={"stage1_lr": 0.1}, resume=True, **options)
    trained.clear()
    tasks = [{**one, "weight": 1.0} for one in config["tasks"]]
    found = activetune.visft({**config, "tasks": tasks}, settings={"alpha": 2, "steps": 4}, resume=True, **options)
    assert trained == ["joint"] * 4 and heads.items() <= contents(tmp_path / "out").items()
    anew = activetune.visft(
        {**config, "tasks": tasks}, settings={"alpha": 2, "steps": 4}, out=tmp_path / "anew", **QUIET
    )
    assert contents(found.folder) == contents(anew.folder)


def test_a_loss_of_stage_one_that_is_not_finite_names_its_own_rate(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Steps, "_lost", lambda *_: float("nan"))
    with pytest.raises(activetune.ActivetuneError, match=r"lower --set stage1_lr=… .*, with --overwrite"):
        activetune.visft(config, settings={"stage1_lr": 9.0}, out=tmp_path / "out", **QUIET)


def test_a_task_may_be_called_as_a_stage(config: dict[str, Any], tmp_path: Path) -> None:
    tasks = [{**config["tasks"][1], "name": "joint"}]
    found = activetune.visft({**config, "tasks": tasks}, out=tmp_path / "out", **QUIET)
    assert {"seconds", "peak_memory_mb"} == set(found.figures["stage2"])


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_images_too_few_to_score_or_to_decode_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool, (name, weights) = write_digits(tmp_path / "pool", 2), tiny_backbone()
    one: dict[str, Any] = {"task": "classification", "pool": str(pool), "weight": 1}
    few = {"backbone": name, "weights": str(weights), "stage1_steps": 0, "steps": 1, "rank": 1, "tasks": [one]}
    found = activetune.visft({**few, "validation": 1e-9}, out=tmp_path / "out", **{**QUIET, "quiet": False})
    assert found.figures["in_domain"] == {}
    assert "no image of classification is held out, so it is not scored; label more" in capsys.readouterr().err
    for path in pool.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"none of the 2 labelled images .* \(the first: 0/0000.png: corrupt"):
        activetune.visft(few, out=tmp_path / "none", **QUIET)
    assert not (tmp_path / "none").exists()


# Stages -------------------------------------------------------------------------------------------------------------


def test_norms_that_stay_keep_their_statistics_where_the_map_is_asked_for_while_training() -> None:
    backbone = load_backbone("bundled@32", pretrained=False)
    backbone.requires_grad_(False)
    to_training(backbone)
    assert backbone.grid.tokens == 1 and backbone.network.training
    norms = [layer for layer in backbone.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)


def test_an_image_is_held_out_of_every_task_or_of_none(config: dict[str, Any]) -> None:
    labels = [one["labels"] for one in config["tasks"]]
    held = [{one.ids[row] for row in held_out(one, 0.3, 5)} for one in labels]
    every = set.union(*held)
    for one, out in zip(labels, held, strict=True):
        assert out == every & set(one.ids)
    assert 0.1 < len(every) / len(labels[1]) < 0.5
    assert not len(held_out(labels[0], 0.0, 5))


def test_an_image_that_two_pools_name_otherwise_is_held_out_of_both_and_scores_tell_how_far_they_are(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_digits(tmp_path / "inner" / "pool", 30)
    pools = [open_pool(tmp_path / name) for name in ("inner", "inner/pool")]
    tasks = [
        {"task": "classification", "name": name, "pool": pool, "labels": dict(zip(pool.ids, names, strict=True)), **one}
        for name, pool, one in zip(("outer", "inner"), pools, ({"weight": 1}, {"weight": 0}), strict=True)
        for names in [[Path(item).parent.name for item in pool.ids]]
    ]
    told: dict[str, list[str]] = {}
    scored: dict[str, list[int]] = {}

    def joint(job: Any, lessons: Any, *given: Any) -> Any:
        told.update({one.name: [Path(one.labels.ids[row]).name for row in one.held_out] for one in lessons})
        return original(job, lessons, *given)

    @contextlib.contextmanager
    def progress(total: int, label: str, **_: Any) -> Iterator[Any]:
        scored[label] = counts = [total]
        yield SimpleNamespace(advance=counts.append)

    original = joint_module.train_jointly
    monkeypatch.setattr(run_module, "train_jointly", joint)
    monkeypatch.setattr(joint_module, "progress", progress)
    given = {**config, "stage1_steps": 1, "steps": 1, "tasks": tasks}
    activetune.visft(given, out=tmp_path / "out", **QUIET)
    assert told["outer"] == told["inner"]
    assert {label: counts[0] == sum(counts[1:]) == len(told["inner"]) for label, counts in scored.items()} == {
        "scoring outer": True,
        "scoring inner": True,
    }


@pytest.mark.parametrize("what", ["targets", "head"])
def test_what_a_later_stage_would_refuse_is_refused_at_once(
    what: str, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stage 1 takes hours."""
    original = Job.fresh_head

    def fresh_head(job: Job, kind: str = "") -> Any:
        if job.task.name == "captioning":
            raise UsageError("a nothere of a head")
        return original(job, kind)

    monkeypatch.setattr(Steps, "epoch", interrupted)
    if what == "head":
        monkeypatch.setattr(Job, "fresh_head", fresh_head)
    more = {"targets": "nothere"} if what == "targets" else {}
    with pytest.raises(UsageError, match="nothere"):
        activetune.visft({**config, **more}, out=tmp_path / "out", **QUIET)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and not path.name.startswith(".")]


@pytest.mark.parametrize(("steps", "schedule", "every"), [(7, 7, 3), (6, 100, 3), (2, 2, 50), (9, 9, 9)])
def test_stretches_end_at_the_steps_that_are_wanted(steps: int, schedule: int, every: int) -> None:
    course = Stretches(steps, schedule, warmup=0.1, every=every)
    ends = [course.until(epoch) for epoch in range(course.epochs + 1)]
    assert ends[0] == 0 and ends[-1] == steps and course.total == schedule
    assert all(0 < after - before <= every for before, after in itertools.pairwise(ends))


def test_no_dose_leaves_the_backbone_as_it_was(config: dict[str, Any], tmp_path: Path) -> None:
    tasks = [one for one in config["tasks"] if one["task"] == "segmentation"]
    made = activetune.visft({**config, "tasks": tasks, "alpha": 0}, out=tmp_path / "out", **QUIET)
    start = load_file(config["weights"])
    assert all(
        torch.equal(value, start[name]) for name, value in load_file(tmp_path / "out/backbone.safetensors").items()
    )
    assert made.figures["weight_drift"] == 0 and made.figures["feature_cosine"]["pooled"] == pytest.approx(1)
    scores = made.figures["in_domain"]["segmentation"]
    assert scores["frozen"] == scores["joint"]


def test_parts_of_a_batch_make_its_gradient(config: dict[str, Any], tmp_path: Path) -> None:
    """Each part counts by the units of its loss (boxes, pixels, words), not by its images."""
    tasks = [one for one in config["tasks"] if one["task"] == "captioning"]
    plain = {**config, "tasks": tasks, "head_dropout": False}
    whole = activetune.visft(plain, out=tmp_path / "whole", **QUIET)
    parts = activetune.visft({**plain, "accumulation": 2, "checkpointing": True}, out=tmp_path / "parts", **QUIET)
    one, other = (load_file(found.folder / "backbone.safetensors") for found in (whole, parts))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-5)


def test_heads_of_an_earlier_run_are_taken(made: activetune.Supervised, config: dict[str, Any], tmp_path: Path) -> None:
    taken = {**config, "heads": str(made.folder), "stage1_steps": 500}
    found = activetune.visft(taken, out=tmp_path / "out", **QUIET)
    same = {key: value for key, value in contents(made.folder).items() if not key.startswith("rejected")}
    assert {key: value for key, value in contents(tmp_path / "out").items() if not key.startswith("rejected")} == same
    assert found.figures["in_domain"] == made.figures["in_domain"]
    with pytest.raises(UsageError, match="were trained with other seed; give the same ones here"):
        activetune.visft(taken, out=tmp_path / "other", seed=1, **QUIET)
    with pytest.raises(UsageError, match="has no head for the task boxes"):
        one = {**config["tasks"][0], "name": "boxes"}
        activetune.visft({**taken, "tasks": [one]}, out=tmp_path / "other", **QUIET)
    with pytest.raises(UsageError, match="were trained with other validation; give the same ones here"):
        activetune.visft({**taken, "validation": 0.3}, out=tmp_path / "other", **QUIET)
    assert not (tmp_path / "other").exists() or not (tmp_path / "other/manifest.json").exists()


def test_no_steps_leave_heads_as_they_start(config: dict[str, Any], tmp_path: Path) -> None:
    one = {**config, "tasks": config["tasks"][:1], "stage1_steps": 0}
    found = activetune.visft(one, out=tmp_path / "out", **QUIET)
    assert found.figures["weight_drift"] > 0
    with (tmp_path / "out/history.csv").open(newline="") as file:
        assert {row["phase"] for row in csv.DictReader(file)} == {"joint"}


# What it would need --------------------------------------------------------------------------------------------------


def test_a_dry_run_counts_weights_and_writes_nothing(
    config: dict[str, Any], made: activetune.Supervised, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = read_config(config, None, {})
    found, counts = costs(asked, precision="fp32")
    start = load_file(config["weights"])
    assert [one.stage for one in costs(read_config(config, None, {"stage1_steps": 0}), precision="fp32")[0]] == [
        "stage 2"
    ]
    with pytest.raises(UsageError, match="nothere"):
        costs(read_config({**config, "heads": "nothere"}, None, {}), precision="fp32")
    assert counts["backbone"] == sum(value.numel() for value in start.values())
    assert counts["additions"] == made.figures["trainable_parameters"]
    for name in HEADS:
        state = load_file(made.folder / "heads" / name / "head.safetensors")
        head = load_head(made.folder / "heads" / name)
        assert (
            counts[name] == sum(value.numel() for value in head.parameters()) <= sum(v.numel() for v in state.values())
        )
    assert [one.stage for one in found] == [*(f"stage 1, {name}" for name in HEADS), "stage 2"]
    joint = found[-1]
    assert joint.weights == 4 * sum(counts.values()) and joint.trained == 12 * counts["additions"]
    assert joint.total == joint.weights + joint.copies + joint.trained + joint.activations
    more, fewer, again = (
        costs(read_config(config, None, changed), precision="fp32")[0][-1]
        for changed in ({"batch_size": 8}, {"accumulation": 4}, {"checkpointing": True})
    )
    assert more.activations == 2 * joint.activations == 8 * fewer.activations
    assert again.activations < joint.activations
    half = costs(asked, precision="bf16")[0][-1]
    assert half.activations == joint.activations // 2
    heads = [counts[name] for name in HEADS]
    assert half.copies == 2 * (counts["backbone"] + counts["additions"] + max(heads))  # a step is of one task
    (tmp_path / "c.toml").write_text('[[tasks]]\ntask = "classification"\npool = "pool"\nweight = 1\n')
    write_digits(tmp_path / "pool", 20)
    assert (
        command(["visft", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out"), "--dry-run", "--precision=fp16"])
        == 0
    )
    assert "stage 1, classification" in capsys.readouterr().out and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_vit2"])
def test_a_dry_run_counts_what_a_step_keeps(name: str, config: dict[str, Any]) -> None:
    counted = costs(read_config({**config, "backbone": name, "weights": None}, None, {}), precision="fp32")[0][-1]
    backbone = load_backbone(name, pretrained=False)
    inject(backbone.network.requires_grad_(False), LowRank(rank=QUICK["rank"], alpha=8), seed=0)
    for layer in fused_attention(backbone):
        layer.fused_attn = False
    own = {value.untyped_storage()._cdata for value in (*backbone.parameters(), *backbone.buffers())}
    kept: dict[int, Any] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes(), value
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        backbone.reader.last(backbone.network.train(), torch.zeros(4, 3, *backbone.settings.size))
    head = max(
        _of_head(make_task(task).head(backbone, config["tasks"][number]["labels"], kind), backbone).each
        for number, (task, kind) in enumerate(HEADS.items())
    )
    assert counted.copies + counted.activations == sum(size for size, _ in kept.values()) + 4 * 4 * head


def test_a_dry_run_for_several_devices_counts_the_share_of_one(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = read_config(config, None, {"batch_size": 8})
    alone = costs(asked, precision="fp16")[0][-1]  # for a card that this machine need not have
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "4"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    found, counts = costs(asked, precision="fp16")
    assert found[-1].activations * 4 == alone.activations and found[-1].weights == alone.weights
    assert "on each of 4 devices" in told(found, counts, "fp16")


# The config ---------------------------------------------------------------------------------------------------------

GOOD = """
backbone = "timm/test_vit"
steps = 3
[[tasks]]
task = "segmentation"
pool = "images"
labels = "masks"
weight = 1
"""
WRONG = {
    "no tasks": (
        GOOD.partition("[[tasks]]")[0],
        "holds no tasks; give \\[\\[tasks\\]\\] tables with task, pool",
    ),
    "unknown task": (
        GOOD.replace("segmentation", "segmentatoin"),
        "unknown task .*'segmentatoin'; there are: .*segmentation",
    ),
    "no weight": (GOOD.replace("weight = 1", ""), "task 1 \\(segmentation\\) has no weight; say how often"),
    "no pool": (GOOD.replace('pool = "images"', ""), "task 1 \\(segmentation\\) has no pool"),
    "weight 0": (GOOD.replace("weight = 1", "weight = 0"), "every task has weight 0"),
    "negative weight": (GOOD.replace("weight = 1", "weight = -1"), "weight can't be -1.0; allowed: 0 or more"),
    "no number": (GOOD.replace("weight = 1", 'weight = "often"'), "weight can't be 'often'"),
    "head of another task": (GOOD + 'head = "detr"', "unknown head of segmentation 'detr'; there are: linear"),
    "unknown key": (GOOD + "wieght = 2", "has no setting 'wieght'; did you mean 'weight'"),
    "unknown setting": ("stepz = 3" + GOOD, "visft has no setting 'stepz'; did you mean 'steps'"),
    "unknown preset": ('preset = "papr"' + GOOD, "visft has no preset 'papr'; it has: paper"),
    "twice": (GOOD + GOOD[GOOD.index("[[tasks]]") :], "two tasks are called 'segmentation'; give each a name"),
    "bad name": (GOOD + 'name = "My task"', "a task can't be called 'My task'"),
    "a table": ("[tasks.a]\n" + GOOD.partition("[[tasks]]")[0], "the config holds no tasks"),
    "no steps": (GOOD.replace("steps = 3", "steps = 0"), "steps can't be 0; allowed: 1 or more"),
    "short schedule": ("schedule = 2" + GOOD, "a schedule of 2 ends before 3 steps"),
    "no toml": ("steps = ", "the config .* is not TOML .*; correct it there"),
    "backbone": (GOOD.replace('"timm/test_vit"', "3"), "backbone can't be 3 \\(input should be a valid string\\)"),
    "no name": (GOOD.replace("timm/test_vit", ""), "backbone is empty; give a value, or leave it out"),
    "nearly a key": ("backbon = 3" + GOOD, "visft has no setting 'backbon'; did you mean 'backbone'"),
    "nearly a pool": (GOOD.replace("pool =", "pol ="), "has no setting 'pol'; did you mean 'pool'"),
    "no path": (GOOD.replace('"images"', "3"), "task 1 \\(segmentation\\): pool can't be 3; give a path"),
    "no rate": ("stage1_lr = -1" + GOOD, "visft: stage1_lr can't be -1"),
    "no parts": ("stage1_accumulation = 9" + GOOD, "visft: stage1_accumulation can't be 9; allowed: 1 to 8"),
    "a list": (GOOD.replace('"segmentation"', '["captioning"]'), "unknown task "),
    "a list of labels": (GOOD.replace('"masks"', "3"), "labels can't be 3; give a path"),
    "a list of presets": ("preset = []" + GOOD, "preset"),
    "another table": (GOOD + "[joint]\nsteps = 3", "has a table \\[joint\\]; only \\[\\[tasks\\]\\] are tables"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_config_is_a_sentence(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, told = WRONG[what]
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UsageError, match=told):
        read_config(tmp_path / "c.toml", None, {})
    assert command(["visft", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_labels_of_another_task_are_a_sentence(config: dict[str, Any], tmp_path: Path) -> None:
    one, other = config["tasks"][:2]
    with pytest.raises(UsageError, match="visft, task detection: "):
        wrong = {**one, "labels": other["labels"]}
        activetune.visft({**config, "tasks": [wrong]}, out=tmp_path / "out", **QUIET)
    with pytest.raises(UsageError, match=r"missing.toml can't be read"):
        activetune.visft(tmp_path / "missing.toml", out=tmp_path / "out", **QUIET)


def test_the_papers_settings(tmp_path: Path) -> None:
    tasks = "".join(f'[[tasks]]\ntask = "{name}"\npool = "x"\n' for name in ("captioning", "segmentation", "detection"))
    (tmp_path / "c.toml").write_text(tasks)
    found = read_config(tmp_path / "c.toml", "paper", {})
    options = found.options
    assert [one.entry.weight for one in found.tasks] == [0.4, 0.3, 0.3]
    assert [one.entry.head for one in found.tasks] == ["lstm", "mask2former", "detr"]
    stages = [one.entry.stage(options.heads) for one in found.tasks]
    assert [(one.steps, one.lr, one.batch_size) for one in stages] == [
        (100_000, 4e-4, 256),
        (150_000, 5e-5, 8),
        (150_000, 5e-5, 8),
    ]
    assert [round(stage.warmup * stage.steps) for stage in stages] == [2_000] * 3
    quick = {"stage1_steps": 10, "stage1_lr": 1e-3, "stage1_batch_size": 4}  # what is asked for wins over the preset
    for asked in (
        read_config(tmp_path / "c.toml", "paper", quick),
        read_config({**quick, "tasks": [{"task": "captioning", "pool": "x"}]}, "paper", {}),
    ):
        one = asked.tasks[0].entry.stage(asked.options.heads)
        assert (one.steps, one.lr, one.batch_size, one.warmup) == (10, 1e-3, 4, 0.02)
    assert (options.additions.rank, options.additions.alpha) == (64, 1)
    joint = options.joint
    assert (joint.lr, joint.steps, joint.schedule, joint.clip, joint.weight_decay) == (1e-5, 50_000, 100_000, 0.1, 1e-4)
    assert round(joint.warmup * joint.schedule) == 2_000 and joint.head_dropout
    assert read_config(tmp_path / "c.toml", "paper", {"steps": 100}).options.joint.steps == 100


def test_paths_are_looked_for_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/images").mkdir(parents=True)
    (tmp_path / "a/c.toml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    found = read_config("a/c.toml", None, {}).tasks[0]
    assert (found.pool, found.labels) == ("a/images", "masks")


def test_a_backbone_is_a_folder_beside_the_config_even_with_an_at(
    made: activetune.Supervised, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "at@1/taught"
    shutil.copytree(made.folder, place)
    (tmp_path / "at@1/c.toml").write_text(GOOD.replace("timm/test_vit", "taught"))
    (tmp_path / "at@1/timm/test_vit").mkdir(parents=True)  # no folder of a backbone
    monkeypatch.chdir(tmp_path)
    assert read_config("at@1/c.toml", None, {}).backbone == "at@1/taught"
    (tmp_path / "at@1/d.toml").write_text(GOOD)
    assert read_config("at@1/d.toml", None, {}).backbone == "timm/test_vit"
    expected = activetune.load_backbone(str(made.folder)).fingerprint
    assert activetune.load_backbone("at@1/taught").fingerprint == expected
    assert activetune.load_backbone("at@1/taught@192").settings.size == (192, 192)


def test_settings_win_over_the_config_and_this_over_its_preset(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('preset = "paper"\n' + GOOD)
    options = read_config(tmp_path / "c.toml", None, {"alpha": 5}).options
    assert (options.joint.steps, options.additions.alpha, options.joint.lr) == (3, 5, 1e-5)
    assert Visft().additions.rank == 64


# Drift --------------------------------------------------------------------------------------------------------------


def test_the_drift_of_features_is_measured_in_single_precision() -> None:
    name, weights = tiny_backbone()
    backbone = load_backbone(name, weights)
    shape = (2, 3, *backbone.settings.size)
    images = list(torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))
    found = [Features.of(backbone, images, Runtime(torch.device("cpu"), precision)) for precision in ("bf16", "fp32")]
    assert torch.equal(found[0].pooled, found[1].pooled) and torch.equal(found[0].tokens, found[1].tokens)
    assert found[0].cosine(found[0]) == pytest.approx({"pooled": 1, "tokens": 1}, abs=1e-12)
    with torch.no_grad():
        for value in backbone.network.parameters():
            value *= 1 + 1e-5  # below what half precision can tell
    moved = Features.of(backbone, images, Runtime(torch.device("cpu"), "bf16")).cosine(found[0])
    assert all(0 < 1 - value < 1e-6 for value in moved.values())


# Merging ------------------------------------------------------------------------------------------------------------


def test_merging_the_additions_makes_the_same_backbone(
    made: activetune.Supervised, config: dict[str, Any], tmp_path: Path
) -> None:
    options = {"backbone": config["backbone"], "weights": config["weights"], "quiet": True}
    merged = activetune.merge(made.folder / "lora", out=tmp_path / "merged", **options)
    wanted = made.backbone().network.state_dict()
    for name, value in merged.network.state_dict().items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-6)
    again = activetune.merge(made.folder / "lora", out=tmp_path / "merged", resume=True, **options)
    assert again.fingerprint == merged.fingerprint
    with pytest.raises(UsageError, match="is not empty"):
        activetune.merge(made.folder / "lora", out=tmp_path / "merged", **options)
    nothing = activetune.merge(made.folder / "lora", out=tmp_path / "none", scale=0.0, **options)
    assert nothing.fingerprint == load_backbone(config["backbone"], config["weights"]).fingerprint


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_published_layout_is_read_with_a_scale(suffix: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {}
    network = load_backbone("timm/test_vit", pretrained=False).network
    weight = dict(network.named_parameters())["blocks.1.attn.qkv.weight"]
    size, rank = weight.shape[1], 5
    state["visual.blocks.1.attn.qkv.lora_A"] = torch.randn(2 * rank, size, generator=generator)
    state["visual.blocks.1.attn.qkv.lora_B"] = torch.randn(2 * size, rank, generator=generator)
    path = tmp_path / f"eva_g_lora_5000{suffix}"
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    found = read_additions(path, 1 / 64).layers["blocks.1.attn.qkv"].product
    lowered, raised = state.values()
    query, key, value = found.chunk(3)
    torch.testing.assert_close(query, raised[:size] @ lowered[:rank] / 64)
    torch.testing.assert_close(value, raised[size:] @ lowered[rank:] / 64)
    assert not key.any()
    with pytest.raises(UsageError, match=r"does not say how its additions are scaled; give --scale: 0.015625"):
        read_additions(path)


def test_additions_that_do_not_fit_are_a_sentence(made: activetune.Supervised, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"do not fit .* unknown"):
        activetune.merge(made.folder / "lora", backbone="bundled", out=tmp_path / "m", quiet=True)
    with pytest.raises(UsageError, match="holds no additions of peft"):
        activetune.merge(tmp_path, backbone="bundled", out=tmp_path / "m", quiet=True)
    with (tmp_path / "x.pt").open("wb") as file:  # given a name, NumPy would add .npz to it
        np.savez(file, a=np.ones(3))
    with pytest.raises(UsageError, match=r"can't be read|more than tensors"):
        activetune.merge(tmp_path / "x.pt", backbone="bundled", scale=1.0, out=tmp_path / "m", quiet=True)
    half, other = {"blocks.0.attn.qkv.lora_A": torch.zeros(2, 4)}, [torch.zeros(1)]
    for content, words in (
        (half, "alone for 'blocks.0.attn.qkv'"),
        (other, "holds no pairs"),
        ({"a": Path()}, "more than"),
    ):
        torch.save(content, tmp_path / "y.pt")
        with pytest.raises(UsageError, match=words):
            read_additions(tmp_path / "y.pt", 1.0)
    torch.save(half, tmp_path / "y.pt")
    for damaged, words in (((tmp_path / "y.pt").read_bytes()[:300], "cut off|can't be read"), (b"text", "cut off")):
        (tmp_path / "z.pt").write_bytes(damaged)
        with pytest.raises(UsageError, match=words):
            read_additions(tmp_path / "z.pt", 1.0)
    with pytest.raises(UsageError, match=r"there is no .*gone.pt"):
        activetune.merge(tmp_path / "gone.pt", backbone="bundled", scale=1.0, out=tmp_path / "m", quiet=True)
    assert not (tmp_path / "m").exists() or not any((tmp_path / "m").glob("*.safetensors"))
