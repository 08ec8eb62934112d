"""Models for other programs: the same numbers, any batch, the same answers from the description alone, or a refusal."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import activetune
from activetune import ActivetuneError, Model, UsageError, load_backbone, open_pool
from activetune.base.errors import MissingExtra
from activetune.base.torchvision_ import import_torchvision
from activetune.cli import run
from activetune.data.images import decode_image
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.evaluation.model import Prepare
from activetune.handover.checks import BATCHES, differences
from activetune.handover.description import preprocessing
from activetune.handover.graph import Graph, Replayed
from activetune.handover.targets import make_target, targets
from activetune.networks.backbones import ImageSettings
from activetune.networks.network import Network
from activetune.networks.outputs import handed, named_tensors
from activetune.tasks import make_task
from tests.conftest import TINY, tiny_backbone, write_digits
from tests.contract.test_tasks import ANSWERS

GIVEN: dict[str, Any] = {"workers": 0, "quiet": True}
SMALL_HEADS = {
    "detr": "detr:layers=1;decoder_layers=1;width=32;decoder_width=32;hidden=32;attention_heads=2;queries=5",
    "mask2former": "mask2former:layers=1;width=32;hidden=32;attention_heads=2;queries=5;points=64",
}
EXPORTED = [  # task, head, backbone: each kind of head, and a transformer and two convolutions below
    ("classification", "map", TINY),
    ("multilabel", "linear", "bundled@32"),
    ("segmentation", "segmenter", TINY),
    ("detection", "fcos", TINY),
]
ALL_ALIKE = [
    ("classification", "linear", "timm/test_convnext@32"),
    ("classification", "logistic", TINY),
    ("segmentation", "linear", TINY),
    ("segmentation", "mask2former", TINY),
    ("detection", "detr", TINY),
    ("detection", "fcos", "bundled@32"),
]
EXPORTED += [pytest.param(*one, marks=pytest.mark.thorough) for one in ALL_ALIKE]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return open_pool(write_digits(tmp_path_factory.mktemp("pool") / "digits", 40))


@pytest.fixture(scope="module")
def labels(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Labels]:
    folder = tmp_path_factory.mktemp("labels")
    return {name: make_task(name).labels_of(given(pool, folder), pool) for name, given in ANSWERS.items()}


@pytest.fixture(scope="module")
def probe(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of digits on the tiny network."""
    out = tmp_path_factory.mktemp("probe") / "m"
    name, weights = tiny_backbone()
    activetune.finetune(pool, out=out, recipe="linear_probe", backbone=name, weights=weights, device="cpu", **GIVEN)
    return out


def untrained(task: str, labels: Labels, kind: str = "", backbone: str = TINY) -> Model:
    """A model whose weights are random, so that everything in it counts."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(load_backbone(backbone, pretrained=False))
        head = make_task(task).head(network.backbone, labels, SMALL_HEADS.get(kind, kind))
        for value in head.parameters():
            if not value.any():
                nn.init.normal_(value, std=0.1)
        network.put_head(head, task)
    return Model(network.eval(), list(labels.classes), {"task": task})


def left_in(folder: Path) -> list[str]:
    """What lies in a test's folder, beside its cache."""
    return sorted(path.name for path in folder.iterdir() if path.name != "cache")


def answered_by_card(folder: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the code prints that stands in a model's card."""
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    import_torchvision()
    capsys.readouterr()
    exec(code.replace("FOLDER", str(folder), 1).replace("photo.jpg", str(photo)), {})
    return capsys.readouterr().out.strip()


def turned_photos(pool: Pool, folder: Path, number: int) -> list[Path]:
    """Some images of a pool as a phone would save them: on their side, with EXIF's note."""
    exif = Image.Exif()
    found: list[Path] = []
    exif[0x0112] = 6
    for index in np.linspace(0, len(pool) - 1, number).astype(int).tolist():
        found.append(folder / f"turned{len(found)}.png")
        image = Image.open(io.BytesIO(pool.read(index))).convert("RGB")
        image.transpose(Image.Transpose.ROTATE_90).save(found[-1], exif=exif)
    return found


def spread(values: torch.Tensor) -> float:
    """How far the outputs of several images lie apart: a check that constant outputs would pass is none."""
    return float(values.std(dim=0).mean())


@pytest.mark.parametrize(("task", "kind", "backbone"), EXPORTED)
def test_a_traced_network_gives_the_same_numbers_on_every_batch(
    task: str, kind: str, backbone: str, labels: dict[str, Labels], tmp_path: Path
) -> None:
    model = untrained(task, labels[task], kind, backbone)
    activetune.export_model(model, to="torch-export", out=tmp_path / "m.pt2", **GIVEN)
    network = torch.export.load(tmp_path / "m.pt2").module()
    told = json.loads((tmp_path / "m.pt2.json").read_text())
    for batch in (*BATCHES, 2, 12):
        images = torch.randn(batch, 3, 32, 32)
        with torch.no_grad():
            given = network(images)
            wanted = named_tensors(handed(model.network(images)))
        assert [one["name"] for one in told["outputs"]] == list(wanted)
        for one, value, found in zip(told["outputs"], wanted.values(), given, strict=True):
            assert list(found.shape) == [batch, *one["shape"][1:]]
            torch.testing.assert_close(found, value, atol=1e-4, rtol=1e-4)
            assert batch == 1 or spread(value) > 1e-6


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("classification", "linear"),
        pytest.param("segmentation", "segmenter", marks=pytest.mark.thorough),
        pytest.param("detection", "fcos", marks=pytest.mark.thorough),
    ],
)
def test_onnx_gives_the_same_numbers_and_scores(
    task: str, kind: str, pool: Pool, labels: dict[str, Labels], tmp_path: Path
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = untrained(task, labels[task], kind)
    report = activetune.export_model(model, to="onnx", out=tmp_path / "m.onnx", pool=pool, labels=labels[task], **GIVEN)
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    for batch in (*BATCHES, 2):
        images = torch.randn(batch, 3, 32, 32)
        with torch.no_grad():
            wanted = named_tensors(handed(model.network(images)))
        given = dict(
            zip((one.name for one in session.get_outputs()), session.run(None, {"images": images.numpy()}), strict=True)
        )
        assert list(given) == list(wanted)
        for name, value in wanted.items():
            np.testing.assert_allclose(given[name], value.numpy(), atol=1e-3, rtol=1e-3)
    primary = make_task(task).primary
    scores = activetune.evaluate(model, pool, labels=labels[task], device="cpu", precision="fp32", **GIVEN)
    assert report["scores"]["pytorch"][primary] == scores.value
    assert report["scores"]["exported"][primary] == pytest.approx(scores.value, abs=0.005)
    assert report["scores"]["exported"]["n"] == len(labels[task])
    kept = session.get_modelmeta().custom_metadata_map
    assert json.loads(kept["activetune"]) == json.loads((tmp_path / "m.onnx.json").read_text())
    assert json.loads(kept["classes"]) == model.classes and kept["task"] == task
    assert json.loads((tmp_path / "m.onnx.report.json").read_text()) == report


# What the description says is all that is needed ----------------------------------------------------------------------


def prepared_by(steps: dict[str, Any], encoded: bytes) -> np.ndarray:
    """An image as the values of ``preprocessing`` ask for it, with Pillow and NumPy alone."""
    image = Image.open(io.BytesIO(encoded))
    if steps["jpeg_sides"]:
        image.draft(None, (steps["jpeg_sides"], steps["jpeg_sides"]))
    rule, resample = steps["resize"], getattr(Image.Resampling, steps["interpolation"].upper())
    (height, width), (rows, columns) = steps["crop"], (image.height, image.width)
    if rule["rule"] == "shortest":
        sides = [int(rule["size"] * side / min(rows, columns)) for side in (rows, columns)]
    elif rule["rule"] == "squash":
        sides = rule["size"]
    else:
        ratios = (rows / rule["size"][0], columns / rule["size"][1])
        ratio = min(ratios) if rule["rule"] == "cover" else max(ratios)
        sides = [max(1, round(side / ratio)) for side in (rows, columns)]
    scaled = image.resize((sides[1], sides[0]), resample)
    upper_left = steps["crop_mode"] == "upper_left"
    pairs = zip(sides, (height, width), strict=True)
    middle = (round((have - want) / 2) if have > want else -((want - have) // 2) for have, want in pairs)
    top, left = (0, 0) if upper_left else middle
    canvas = Image.new("RGB", (width, height), tuple(rule.get("fill", (0, 0, 0))))
    canvas.paste(scaled, (-left, -top))
    numbers = (np.asarray(canvas, dtype=np.float32) / 255 - steps["mean"]) / steps["std"]
    return numbers.transpose(2, 0, 1).astype(np.float32)


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (32, 48)])
def test_images_can_be_prepared_by_the_description(crop_mode: str, placed: bool, size: tuple[int, int]) -> None:
    settings = ImageSettings(size, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), "bilinear", 0.875, crop_mode)
    task = make_task("detection" if placed else "classification")
    told = preprocessing(settings, placed=placed, jpeg_sides=task.enough(settings, None))
    backbone, prepare = replace_settings(settings), Prepare(task, settings)
    for shape, format in (((90, 60), "PNG"), ((57, 100), "PNG"), ((64, 64), "PNG"), ((700, 400), "JPEG")):
        image, written = Image.fromarray(np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)), io.BytesIO()
        image.save(written, format)
        encoded = written.getvalue()
        wanted = backbone.normalise(prepare(decode_image(encoded, about=prepare.enough))[None])[0].numpy()
        given = prepared_by(json.loads(json.dumps(told)), encoded)
        assert given.shape == wanted.shape
        assert float(np.abs(given - wanted).max()) < 1e-5


def replace_settings(settings: ImageSettings) -> Any:
    from activetune.networks.backbones import Backbone

    return Backbone(nn.Identity(), "none", "none", settings)


# timm's layout --------------------------------------------------------------------------------------------------------


def test_plain_timm_and_transformers_open_the_hub_folder(
    probe: Path, pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = activetune.export_model(probe, to="hub", out=tmp_path / "hub", pool=pool, **GIVEN)
    code = (
        "import sys, torch, importlib.util\n"
        "from torch.library import Library\n"
        "try:\n    import torchvision\n"
        "except RuntimeError:\n"
        "    one = Library('torchvision', 'FRAGMENT')\n"
        "    for name in ('nms', 'qnms'):\n"
        "        one.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "import timm\n"
        "network = timm.create_model('local-dir:hub', pretrained=True).eval()\n"
        "torch.manual_seed(0)\n"
        "torch.save(network(torch.randn(3, 3, 32, 32)).detach(), 'found.pt')\n"
        "assert 'activetune' not in sys.modules\n"
        "print(network.pretrained_cfg['label_names'])\n"
        "print(timm.data.create_transform(**timm.data.resolve_model_data_config(network)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    model = activetune.load(probe)
    torch.manual_seed(0)
    with torch.no_grad():
        wanted = model.network(torch.randn(3, 3, 32, 32))
    torch.testing.assert_close(torch.load(tmp_path / "found.pt", weights_only=True), wanted, atol=1e-5, rtol=1e-5)
    assert str(model.classes) in ended.stdout.replace("(", "[").replace(")", "]")
    assert "size=33" in ended.stdout  # 32 / 0.95
    from transformers import AutoModelForImageClassification

    theirs: Any = AutoModelForImageClassification.from_pretrained(tmp_path / "hub")
    torch.manual_seed(0)
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()(torch.randn(3, 3, 32, 32)).logits, wanted, atol=1e-5, rtol=1e-5)
    assert list(theirs.config.id2label.values()) == list(model.classes)
    card = (tmp_path / "hub/README.md").read_text()
    assert "`linear_probe`" in card and "40 labelled images" in card
    texts = [path.read_text() for path in (tmp_path / "hub").iterdir() if path.suffix in (".md", ".json")]
    assert texts and not any(str(tmp_path) in text or str(Path(pool.name).parent) in text for text in texts)
    assert f"{100 * report['scores']['exported']['top1']:.2f} %" in card
    photos = turned_photos(pool, tmp_path, 6)
    answers = [one["label"] for one in activetune.stream_predictions(probe, ids=map(str, photos), quiet=True)]
    assert [answered_by_card(tmp_path / "hub", photo, capsys) for photo in photos] == answers
    assert len(set(answers)) > 1


def test_a_merged_model_with_several_classes_per_image(
    pool: Pool, labels: dict[str, Labels], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, weights = tiny_backbone()
    activetune.finetune(
        *(pool,), task="multilabel", labels=labels["multilabel"], out=tmp_path / "m", recipe="lora", backbone=name,
        weights=weights, settings={"epochs": 1, "rank": 2}, device="cpu", **GIVEN,
    )  # fmt: skip
    model = activetune.load(tmp_path / "m")
    report = activetune.export_model(
        tmp_path / "m", to="hub", out=tmp_path / "hub", pool=pool, labels=labels["multilabel"], **GIVEN
    )
    assert report["scores"]["exported"] == report["scores"]["pytorch"]
    import_torchvision()
    import timm

    network = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images), model.network(images), atol=1e-5, rtol=1e-5)
    photos = turned_photos(pool, tmp_path, 3)
    for one, photo in zip(
        activetune.stream_predictions(tmp_path / "m", ids=map(str, photos), quiet=True), photos, strict=True
    ):
        named = [row["label"] for row in one["labels"]]
        assert sorted(named) == sorted(ast.literal_eval(answered_by_card(tmp_path / "hub", photo, capsys)))


@pytest.mark.parametrize(
    ("task", "kind", "says"),
    [
        ("classification", "map", "this model has the head 'map'; use --to onnx or --to torch-export"),
        ("segmentation", "linear", "this model answers segmentation; use --to onnx"),
    ],
)
def test_what_timm_does_not_hold(task: str, kind: str, says: str, labels: dict[str, Labels], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        activetune.export_model(untrained(task, labels[task], kind), to="hub", out=tmp_path / "h", **GIVEN)
    assert not (tmp_path / "h").exists()


@pytest.mark.parametrize("to", sorted(targets()))
def test_sentences_are_not_exported(to: str, labels: dict[str, Labels], tmp_path: Path) -> None:
    model = untrained("captioning", labels["captioning"])
    with pytest.raises(UsageError, match="use 'activetune predict' or 'activetune serve'"):
        activetune.export_model(model, to=to, out=tmp_path / "h", **GIVEN)
    assert left_in(tmp_path) == []


# 8-bit numbers --------------------------------------------------------------------------------------------------------


def test_int8_is_scored_and_refused_beyond_the_limit(
    pool: Pool, labels: dict[str, Labels], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    model = untrained("classification", labels["classification"])
    rows = activetune.predict(model, pool, device="cpu", precision="fp32", **GIVEN)
    own = {item: name for item, name, _ in rows}  # what it says by itself: 8 bits tip some of these close calls
    given: dict[str, Any] = {"to": "onnx", "pool": pool, "labels": own, "int8": True, **GIVEN}
    with pytest.raises(ActivetuneError, match=r"top-1 falls from 100.00 % to .* on 40 items as int8") as refused:
        activetune.export_model(model, out=tmp_path / "m.onnx", int8_limit=0.0, **given)
    assert "leave --int8 out" in str(refused.value) and refused.value.exit_code == 1
    assert left_in(tmp_path) == []
    report = activetune.export_model(model, out=tmp_path / "m.onnx", int8_limit=1.0, **given)
    before, after = (report["scores"][name]["top1"] for name in ("pytorch", "exported"))
    assert before == 1.0 > after
    assert max(report["differences"].values()) > 1e-3  # it is not the network of 32 bits
    assert report["int8"] is True and report["int8_limit"] == 1.0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"to": "onnx", "int8": True}, "give labelled images by --pool"),
        ({"to": "hub", "int8": True}, "hub holds no 8-bit numbers"),
        ({"to": "onnx", "labels": {"a": "b"}}, "give --pool beside --labels"),
        ({"to": "onnx", "int8_limit": -1.0}, "an int8_limit of -1.0 is no loss"),
        ({"to": "onnx", "int8_limit": 0.5}, "int8_limit says what int8 may cost; give both"),
        ({"to": "tflite"}, "unknown target 'tflite'; there are: hub, onnx, torch-export"),
        ({"to": "onnx", "out": "m.pt2"}, "give a name that ends in .onnx"),
        ({"to": "hub", "out": "m.onnx"}, "this export is a folder; give --out a name without a dot"),
        ({"to": "onnx", "device": "cuda"}, "works on the processor alone"),
    ],
)
def test_wrong_use(
    options: dict[str, Any], says: str, probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=says):
        activetune.export_model(probe, **{"out": "m", **options}, **GIVEN)
    assert left_in(tmp_path) == []


# What is there stays --------------------------------------------------------------------------------------------------


class Wrong(nn.Module):
    """A network that other numbers come out of."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.change = change

    def __call__(self, images: torch.Tensor) -> Sequence[torch.Tensor]:
        return [self.change(images)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda images: torch.zeros(len(images), 10), "differs from PyTorch's by"),
        (lambda images: torch.full((len(images), 10), torch.nan), "differs from PyTorch's by nan"),
        (lambda images: torch.zeros(2, 10), r"gives \(2, 10\) numbers where PyTorch gives \(1, 10\)"),
        (lambda images: 1 / 0, "does not take a batch of 1"),
    ],
)
def test_other_numbers_are_refused(
    change: Any, says: str, probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets()["hub"], "open", lambda self, folder: Wrong(change))
    with pytest.raises(ActivetuneError, match=says):
        activetune.export_model(probe, to="hub", out=tmp_path / "h", **GIVEN)
    assert not (tmp_path / "h").exists()


class Two(nn.Module):
    """A network of two tensors, and the runtime that gives the second one otherwise."""

    def __init__(self, second: float):
        super().__init__()
        self.second = second

    def example(self, batch: int) -> torch.Tensor:
        return torch.ones(batch, 3)

    def forward(self, images: torch.Tensor) -> Sequence[torch.Tensor]:
        return images, torch.full_like(images, self.second)

    def open(self, folder: object) -> Callable[[torch.Tensor], Sequence[torch.Tensor]]:
        return self


def test_numbers_of_every_tensor_are_compared() -> None:
    graph: Any = Two(1)
    assert differences(graph, Two(1.5), None, tolerance=None) == dict.fromkeys(map(str, BATCHES), 0.5)
    with pytest.raises(ActivetuneError, match="differs from PyTorch's by nan"):
        differences(graph, Two(torch.nan), None, tolerance=1e-3)


def test_lower_scores_are_refused(probe: Path, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replayed, "forward", lambda self, images, head=None: torch.eye(10)[[0] * len(images)])
    with pytest.raises(ActivetuneError, match=r"top-1 falls from .* and a loss of 0.50 % is allowed"):
        activetune.export_model(probe, to="hub", out=tmp_path / "h", pool=pool, **GIVEN)
    assert not (tmp_path / "h").exists()


def test_an_export_is_kept_replaced_or_left_alone(
    probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "hub"
    line = ["export-model", str(probe), "--to", "hub", "--out", str(out), "--quiet"]
    assert run(line) == 0
    assert "largest difference from PyTorch at batches of 1, 3, 7: 0.0e+00" in capsys.readouterr().out
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert set(before) == {"config.json", "model.safetensors", "README.md", "model.safetensors.report.json"}
    assert run(line) == 2 and "exists already" in capsys.readouterr().err
    assert run([*line, "--resume"]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    (out / "notes.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    capsys.readouterr()
    assert run([*line[:-2], str(tmp_path / "other")]) == 2 and "holds 'notes.txt'" in capsys.readouterr().err
    assert left_in(tmp_path / "other") == ["notes.txt"]
    assert run([*line, "--overwrite"]) == 0
    assert {path.name for path in out.iterdir()} == {*before, "notes.txt"}
    (out / "README.md").write_text("my own words")
    capsys.readouterr()
    assert run([*line, "--overwrite"]) == 2 and "did not write it as it is" in capsys.readouterr().err
    assert (out / "README.md").read_text() == "my own words"
    (out / "README.md").unlink()
    assert run([*line, "--resume"]) == 2  # it is not whole
    assert run([*line, "--overwrite"]) == 0 and (out / "README.md").is_file()


def test_a_run_that_was_killed_while_it_put_files_there_is_started_again(
    probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    copy, copied = shutil.copyfile, []

    def killed(source: Path, to: Path) -> Any:
        if copied:
            raise KeyboardInterrupt
        copied.append(to)
        return copy(source, to)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "copyfile", killed)
        activetune.export_model(probe, to="hub", out=tmp_path / "h", **GIVEN)
    assert not (tmp_path / "h/model.safetensors").exists()
    report = activetune.export_model(probe, to="hub", out=tmp_path / "h", **GIVEN)
    assert all((tmp_path / "h" / name).is_file() for name in report["files"])


def test_a_package_that_is_missing_is_named(probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtra, match=r"onnxscript; install it with: pip install 'activetune\[onnx\]'"):
        activetune.export_model(probe, to="onnx", out=tmp_path / "m.onnx", **GIVEN)
    assert left_in(tmp_path) == []


def test_the_graph_leaves_the_model_as_it_is(labels: dict[str, Labels]) -> None:
    model = untrained("classification", labels["classification"])
    before = model.fingerprint
    graph = Graph(model)
    assert graph.names == ("logits",) and not any(value.requires_grad for value in graph.parameters())
    assert all(value.requires_grad for value in model.network.parameters())
    assert model.fingerprint == before


def test_every_target_tells_its_files() -> None:
    assert set(targets()) == {"hub", "onnx", "torch-export"}
    for name in targets():
        target = make_target(name)
        assert target.files[-1] == target.file and len(set(target.files)) == len(target.files)
