"""Examples in the documents do what they say: config files are used, settings are accepted, snippets are run."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import activetune.selection.selectors
import activetune.training.recipe
from activetune import Embeddings, finetune, open_pool, predict, select
from activetune.base.artefact import read_manifest
from activetune.base.tables import read_table, write_csv
from activetune.cli import run
from activetune.features.artefact import save_embeddings
from activetune.networks.backbones import bundled
from activetune.studies.compare.compare import read_suite
from activetune.studies.demo.pools import demo_pool
from activetune.studies.simulation.plan import read_methods, read_recipes
from tests.conftest import tiny_backbone, write_digits
from tests.labelling.conftest import write_selection
from tests.labelling.test_labelling import Running

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a document in one language."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_config_file_of_the_commands_selects(tmp_path: Path) -> None:
    (config,) = blocks("docs/commands.md", "toml")
    (tmp_path / "options.toml").write_text(config, encoding="utf-8")
    features = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    save_embeddings(Embeddings([str(row) for row in range(60)], features), tmp_path / "emb")
    out = tmp_path / "sel"
    assert run(["select", str(tmp_path / "emb"), "--config", str(tmp_path / "options.toml"), "--out", str(out)]) == 0
    manifest = read_manifest(out, "selection")
    assert (manifest["method"], manifest["budget"], manifest["seed"]) == ("activeft", "5%", 1)
    assert manifest["options"]["loss"] == "released" and manifest["options"]["optimiser"] == "adam"


def test_the_config_file_of_simulations_names_what_there_is() -> None:
    (config,) = blocks("docs/simulate.md", "toml")
    asked = tomllib.loads(config)["simulate"]
    methods = read_methods(asked["methods"], asked["settings"])
    recipes = read_recipes(asked["recipes"], asked["settings"])
    assert [one.name for one in methods] == ["random", "k_means", "activeft"]
    assert methods[2].options["loss"] == "released" and recipes[1].options["epochs"] == 30


@pytest.mark.parametrize("text", re.findall(r"`(activeft:[^`]+)`", (ROOT / "docs/simulate.md").read_text("utf-8")))
def test_the_entries_with_settings_are_accepted(text: str) -> None:
    assert read_methods([text], {})[0].text == text


@pytest.mark.parametrize("name", ["docs/annotations.md", "docs/tasks.md"])
def test_the_examples_of_answers_and_tasks(name: str) -> None:
    for code in blocks(name, "python"):
        made: dict[str, Any] = {}
        exec(compile(code, name, "exec"), made)
        if "def as_coco_results" not in code:  # a function alone, which the test of the console examples calls
            assert len(made["labels"]) == len(made["pool"])


def test_the_model_elsewhere_opens_without_activetune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "SETTINGS", replace(bundled.SETTINGS, size=(32, 32)))
    pool = open_pool(write_digits(tmp_path / "digits", 30))
    finetune(pool, out=tmp_path / "MODEL", recipe="linear_probe", workers=0, device="cpu", quiet=True)
    first = blocks("docs/finetune.md", "python")[0]
    code = f"{first}\nimport sys\nassert 'activetune' not in sys.modules\n"
    code += "print(tuple(network(torch.zeros(2, 3, *config['image']['size'])).shape))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "(2, 10)"


# Whole examples -----------------------------------------------------------------------------------------------------

NOT_RUN = {  # (document, first words of a block): why no test runs it
    ("README.md", "$ make demo"): "installs; make test is what runs this",
    ("README.md", "$ pip install ."): "installs",
    ("README.md", "$ activetune embed"): "fetches published weights; test_docs.py checks its options",
    ("docs/security.md", "$ make fuzz"): "takes hours, installs or loads the machine; tests/security runs short forms",
    ("docs/visft.md", "$ torchrun"): "needs several GPUs; test_visft_ranks.py starts processes",
    ("docs/report.md", "$ activetune report SEL"): "an outline; test_report.py makes the pages of all kinds of folder",
    ("docs/report.md", "$ activetune label-errors"): "an outline; the walk through docs/rounds.md does it in a project",
    ("docs/report.md", "$ activetune report MODEL"): "an outline; test_report.py makes it",
    ("docs/report.md", "activetune.write_report"): "an outline; test_report.py makes all of them",
    ("docs/captions.md", "$ activetune caption"): "fetches published weights; test_docs.py checks its options",
    ("docs/finetune.md", "$ activetune finetune"): "fetches published weights; test_docs.py checks its options",
    ("docs/finetune.md", "$ torchrun"): "fetches published weights; test_finetune_ranks.py starts processes",
    ("docs/finetune.md", "described ="): "goes on from the block before; test_model_io.py runs it for every head",
    ("docs/label.md", "$ activetune embed"): "serves until it is ended; test_labelling.py starts and ends it",
    ("docs/label.md", "$ activetune finetune"): "goes on, and serves; test_labelling.py asks a model",
    ("docs/simulate.md", "$ activetune simulate POOL --test 30% --methods random,activeft"): "trains for minutes",
    ("docs/simulate.md", "$ activetune simulate POOL --test 30% --methods activeft"): "trains for minutes",
    ("docs/visft.md", "$ activetune merge"): "needs a published file; test_visft.py makes one of its layout",
    ("docs/visft.md", "$ activetune compare"): "needs fonts, and trains a head; test_compare.py runs every probe",
    ("docs/select.md", "$ activetune embed recordings"): "needs videos; test_video.py makes some",
    ("docs/select.md", "$ torchrun"): "test_select_ranks.py starts processes",
    ("docs/deploy.md", "$ activetune predict"): "pipes of a shell; test_streaming.py gives the same on stdin",
    ("docs/deploy.md", "$ activetune serve"): "runs until a signal; test_serve.py starts it",
    ("docs/deploy.md", "$ TOKEN="): "asks a server; test_serve.py does",
    ("docs/deploy.md", "$ activetune export-model model/ --to onnx --int8"): "test_export_model.py runs it",
    ("docs/exchange.md", "$ export LABEL_STUDIO"): "asks a server; test_label_studio.py and _real.py have one",
    ("docs/check.md", "@dataclass"): "an outline of a file; the contract tests of test_check.py run every check",
    ("docs/scaling.md", "$ torchrun"): "several processes; test_shared_runs.py starts them",
    ("docs/scaling.md", "$ activetune embed"): "needs a Ray cluster; test_shared_runs.py starts one",
    ("docs/operations.md", "while activetune"): "waits until nothing kills it; test_walk.py kills and resumes",
    ("docs/vil.md", "$ activetune embed"): "needs a checkpoint of the publisher",
}
RUN_HERE = {  # the blocks that the tests of this file run
    *(("docs/commands.md", "seed = 1"), ("docs/simulate.md", "[simulate]"), ("docs/finetune.md", "import json, torch")),
    *(("README.md", "import activetune"), ("docs/simulate.md", "simulation = activetune.simulate(")),
    *(("docs/annotations.md", "import activetune"), ("docs/tasks.md", "import activetune")),
    ("docs/exchange.md", "$ activetune embed"),
    ("docs/label.md", "import json, sys, urllib.request"),
    *(("docs/deploy.md", start) for start in ("import ", "$ activetune export-model model/ --to onnx --out")),
    *(("docs/rounds.md", "$ activetune demo"), ("docs/rounds.md", "$ sed"), ("docs/tour.md", "$ ")),
    *(("docs/tasks.md", start) for start in ("import json", "$ activetune embed", "$ activetune finetune to_label")),
    *(("docs/visft.md", "backbone ="), ("docs/visft.md", "[[probes]]"), ("docs/visft.md", "$ pip install")),
    *(
        ("docs/select.md", "$ activetune select"),
        ("docs/check.md", "$ activetune"),
        ("docs/operations.md", "$ "),
        ("docs/simulate.md", "$ activetune simulate POOL --test 30% --methods random,k"),
        ("docs/simulate.md", "$ activetune simulate POOL --test 30% --splits per-seed"),
        ("docs/simulate.md", "$ activetune simulate FRAMES"),
    ),
}


def test_every_example_is_run_or_says_why_not() -> None:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        name = path.relative_to(ROOT).as_posix()
        for block in blocks(name, "(?:console|python|toml|bash)"):
            known = [key for key in (*NOT_RUN, *RUN_HERE) if key[0] == name and block.startswith(key[1])]
            assert known, f"{name}: no test runs the example that begins with {block[:60]!r}"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos/ and held_out/, and the bundled network on small images."""
    monkeypatch.setattr(bundled, "SETTINGS", replace(bundled.SETTINGS, size=(32, 32)))
    monkeypatch.chdir(tmp_path)
    for name, count in (("photos", 150), ("held_out", 30), ("POOL", 150)):
        write_digits(tmp_path / name, count)
    (tmp_path / "photos/cat.jpg").write_bytes(next((tmp_path / "photos/0").iterdir()).read_bytes())
    return tmp_path


def test_the_readmes_ten_lines(photos: Path) -> None:
    (code,) = blocks("README.md", "python")
    labels = {str(path.relative_to(photos / "photos")): path.parent.name for path in (photos / "photos").glob("*/*")}
    exec(compile(code, "README.md", "exec"), {"ask_somebody": lambda item: labels.get(item, "0")})
    assert (photos / "model/manifest.json").is_file()


def test_a_pool_is_checked_and_selected_from(photos: Path) -> None:
    """The console examples of docs/check.md, in their order."""
    write_digits(photos / "TEST", 30)
    for line in "".join(blocks("docs/check.md", "console")).splitlines():
        assert run([*line.removeprefix("$ activetune ").split(), "--quiet", "--workers", "0"]) == 0, line
    assert (photos / "SEL/selection.csv").is_file()


def test_what_to_do_when_a_run_stops(photos: Path) -> None:
    """The console examples of docs/operations.md, in their order; each line ends with 0."""
    lines = [line.removeprefix("$ ") for line in "".join(blocks("docs/operations.md", "console")).splitlines()]
    assert "rm -r" in "".join(lines) and os.environ["ACTIVETUNE_CACHE"].startswith(str(photos))
    programs = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    for line in lines:
        if line.startswith("cat emb/.lock"):
            (photos / "emb" / ".lock").write_text("{}")  # as a run has it, or a dead one has left it
        if line.startswith("activetune "):
            assert run([*shlex.split(line)[1:], "--quiet"] if "doctor" not in line else ["doctor"]) == 0, line
        else:
            subprocess.run(line, shell=True, check=True, env={**os.environ, **programs})
    assert (photos / "sel/report.html").is_file() and not (photos / "photos").exists()


@pytest.mark.slow
def test_a_script_that_labels(photos: Path) -> None:
    """The script of docs/label.md, which is started again after it has given an answer."""
    sel = write_selection(photos / "sel", ["0/0000.png", "1/0001.png", "2/0002.png"], photos / "photos")
    (script,) = blocks("docs/label.md", "python")
    page = Running(sel, "--classes", "0,1,2")
    try:
        assert page.post("by-folder", 2, "0/0000.png", "2") == {"saved": [2]}
        subprocess.run([sys.executable, "-c", script, page.url], check=True)
    finally:
        page.end(signal.SIGTERM)
    assert read_table(sel / "labels.csv")["label"] == ["2", "1", "2"]


def test_the_sentences_that_operators_look_up_are_said_somewhere() -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    table = text.partition("| the sentence | section |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| ")]
    told = [one for row in rows for one in re.findall("`([^`]+)`", row)]
    assert len(told) >= 10
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    source = re.sub(r'"\s*f?"', "", source)  # pieces of one text
    assert [one for one in told if one not in source] == []


def test_answers_go_to_other_tools_and_back(photos: Path) -> None:
    """The first example of docs/exchange.md."""
    write_digits(photos / "images", 12)
    ids = sorted(path.relative_to(photos / "images").as_posix() for path in (photos / "images").glob("*/*"))
    rows = "".join(f"{item},{'cat' if number % 2 else 'dog'}\n" for number, item in enumerate(ids))
    for line in blocks("docs/exchange.md", "console")[0].splitlines():
        if line.startswith("$ activetune label"):  # a person answers
            (photos / "sel/labels.csv").write_text(f"id,label\n{rows}")
        else:
            assert run([*line.removeprefix("$ activetune ").split(), "--quiet"]) == 0, line
    assert sorted((photos / "back.csv").read_text().splitlines()) == sorted(f"id,label\n{rows}".splitlines())


def test_from_a_coco_file_to_a_backbone(photos: Path) -> None:
    """The config and the commands of docs/visft.md, with a tiny network, small heads and few steps."""
    write_digits(photos / "coco/images", 16)
    write_coco(photos / "coco")
    (photos / "labels.csv").write_text(
        "id,label\n"
        + "".join(f"{path.parent.name}/{path.name},{path.parent.name}\n" for path in (photos / "photos").glob("*/*"))
    )
    config, suite = blocks("docs/visft.md", "toml")
    name, weights = tiny_backbone()
    for given, taken in (
        ('"timm/vit_tiny_patch16_224"', f'"{name}"\nweights = "{weights}"'),
        ("stage1_steps = 400", "stage1_steps = 2"),
        ("steps = 200", "steps = 2"),
    ):
        assert config.count(given) == 1, given
        config = config.replace(given, taken)
    (photos / "coco.toml").write_text(config)
    console = next(block for block in blocks("docs/visft.md", "console") if block.startswith("$ pip install"))
    lines = [line.removeprefix("$ activetune ") for line in console.splitlines() if line.startswith("$ activetune ")]
    for line in lines:
        assert run([*line.split(), "--quiet", "--workers", "0"]) == 0, line
    assert read_manifest(photos / "model", "model")["backbone"] == str(photos / "taught")
    assert [kind for _, kind, _ in read_suite(tomllib.loads(suite))] == ["classification", "detection", "words"]
    many = config.replace(
        '"fcos"', '"detr:layers=1;decoder_layers=1;width=32;decoder_width=32;hidden=32;attention_heads=2"'
    )
    many = many.replace('"linear"', '"mask2former:layers=1;width=32;hidden=32;attention_heads=2;queries=9;points=64"')
    (photos / "many.toml").write_text(many)
    assert run(["visft", "many.toml", "--out", "many", "--quiet", "--workers", "0"]) == 0


def test_from_images_to_a_model_of_each_task(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The console examples of docs/tasks.md, with a tiny network, few images and few steps."""
    name, weights = tiny_backbone()
    fewer = {"timm/vit_tiny_patch16_224@352x464": "timm/vit_tiny_patch16_224", "--budget 40": "--budget 12"}

    def type_in(block: str) -> None:
        for given, taken in (
            *fewer.items(),
            ("\\\n", " "),
            ("timm/vit_tiny_patch16_224", f"{name} --weights {weights}"),
        ):
            block = block.replace(given, taken)
        for line in block.splitlines():
            words = line.removeprefix("$ activetune ").split()
            few_steps = ["--set", "head_steps=4"] if words[0] == "finetune" and "multilabel" not in words else []
            assert run([*words, *few_steps, "--quiet", "--workers", "0" if words[0] != "select" else "1"]) == 0, line

    for folder in ("photos", "held_out"):  # digits as they come from a camera: without a folder per class
        for path in sorted((photos / folder).glob("*/*")):
            path.rename(photos / folder / f"{path.parent.name}_{path.name}")
            with contextlib.suppress(OSError):
                path.parent.rmdir()
    choose, *tasks = blocks("docs/tasks.md", "console")
    type_in(choose)
    for images, prefix in ((photos / "to_label/images", ""), (photos / "held_out", "held_out_")):
        label_all(images, photos, prefix)
    assert len(tasks) == 4
    for block in tasks:
        type_in(block)
    for folder in ("mask_pictures", "box_pictures", "tag_pictures", "caption_pictures"):
        assert len(list((photos / folder).glob("*.png"))) == len(list((photos / "photos").iterdir()))
    capsys.readouterr()

    (code,) = (block for block in blocks("docs/tasks.md", "python") if "def as_coco_results" in block)
    made: dict[str, Any] = {}
    exec(compile(code, "docs/tasks.md", "exec"), made)
    assert run(["predict", "box_model", "held_out/", "--out", "found.json", "--quiet", "--workers", "0"]) == 0
    results = made["as_coco_results"]("found.json", "held_out_boxes.json")
    assert len(results) == len(json.loads(Path("found.json").read_text("utf-8"))) > 0
    coco = pytest.importorskip("pycocotools.coco").COCO("held_out_boxes.json")
    opened = coco.loadRes(results)
    assert set(opened.getImgIds()) <= set(coco.getImgIds()) and set(opened.getCatIds()) == {3, 7}
    with pytest.raises(AssertionError):  # why the numbers have to be put in
        coco.loadRes("found.json")


def test_a_model_for_other_programs(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The examples of docs/deploy.md; the one for onnxruntime prepares images by the description alone."""
    pytest.importorskip("onnxruntime")
    name, weights = tiny_backbone()
    given: dict[str, Any] = {"workers": 0, "device": "cpu", "quiet": True, "precision": "fp32"}
    finetune("held_out", out="model", recipe="linear_probe", backbone=name, weights=weights, **given)
    exports = [block for block in blocks("docs/deploy.md", "console") if "--out birds_hub" in block]
    for line in exports[0].splitlines():
        assert run([*line.removeprefix("$ activetune ").split(), "--quiet", "--workers", "0"]) == 0, line
    assert {path.name for path in photos.glob("birds*")} == {
        *(f"birds.{kind}{end}" for kind in ("onnx", "pt2") for end in ("", ".json", ".report.json")),
        "birds_hub",
    }
    stream, outside, export = blocks("docs/deploy.md", "python")
    made: dict[str, Any] = {}
    exec(compile(outside, "docs/deploy.md", "exec"), made)
    rows = predict("model", "held_out", **given)
    assert made["classify"]([f"held_out/{item}" for item, *_ in rows]) == [label for _, label, _ in rows]
    capsys.readouterr()
    exec(compile(stream, "docs/deploy.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == len(open_pool("photos", quiet=True))
    exec(compile(export, "docs/deploy.md", "exec"), {})
    assert "1.0" in capsys.readouterr().out and (photos / "exported/model.pt2").is_file()


def test_a_walk_through_two_rounds(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The console examples of docs/rounds.md, with fewer digits than the demo has."""
    write_digits(photos / "digits/images", 200)
    first, *others = (
        line.removeprefix("$ ") for block in blocks("docs/rounds.md", "console") for line in block.splitlines()
    )
    assert first.startswith("activetune demo --data digits --out digits")
    for line in others:
        if line.startswith("activetune "):
            assert run([*line.split()[1:], "--quiet", "--workers", "0"]) == 0, line
        else:
            for _ in range(2):  # as by somebody who has labelled some, or goes back: what is answered stays so
                subprocess.run(line, shell=True, check=True)
    told = capsys.readouterr().out
    assert "you will gain about" in told and "on the 20 audited items" in told
    assert (photos / "project/rounds/003/selection.csv").is_file() and (photos / "project/label_errors.csv").is_file()
    assert "Likely label errors" in (photos / "project/report.html").read_text(encoding="utf-8")


def test_the_tour(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands of docs/tour.md, with a tenth of the cells; those who follow along label none of them."""
    pool = demo_pool("cells", 0)
    kept = {item: content for number, (item, content) in enumerate(pool.pictures.items()) if number % 10 == 0}
    for item, content in kept.items():
        (photos / "cells" / item).parent.mkdir(parents=True, exist_ok=True)
        (photos / "cells" / item).write_bytes(content)
    for name, wanted in (("pool.csv", False), ("test.csv", True)):
        rows = [(item, pool.answers[item]) for item in kept if (item in pool.test) == wanted]
        write_csv(photos / "cells" / name, ("path", "label"), rows)
    lines, _ = tour()
    assert [line.partition(" ")[0] for line in lines[:2]] == ["activetune", "cp"]
    for line in lines[2:]:
        if line.startswith("sed"):  # in place of the page that the command before it opens
            for _ in range(2):  # as after some were labelled there
                subprocess.run(line, shell=True, check=True)
            told = read_table(photos / "sel/labels.csv")
            assert list(told["label"]) == [pool.answers[item] for item in told["id"]]
        elif not line.startswith("activetune label"):
            assert run([*line.split()[1:], "--quiet", "--workers", "0"]) == 0, line
    told = capsys.readouterr().out
    assert "on 30 items" in told and "of onnx" in told and "activetune label project/rounds/001" in told
    assert {"cells.onnx", "predictions.csv"} <= {path.name for path in photos.iterdir()}
    assert (photos / "model/report.html").is_file()


def test_the_tour_with_photos(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other commands of docs/tour.md, with digits and a tiny network; the answers are filled in."""
    (photos / "held_out").rename(photos / "test")
    for path in (photos / "photos").glob("*/*"):
        path.rename(photos / "photos" / f"{path.parent.name}_{path.name}")
    (photos / "classes.txt").write_text("\n".join("0123456789") + "\n")
    name, weights = tiny_backbone()
    fewer = {"--budget 100": "--budget 40", "--audit 30": "--audit 10"}
    fewer["timm/vit_tiny_patch16_224"] = f"{name} --weights {weights}"
    _, lines = tour()
    for line in lines:
        words = shlex.split(re.sub("|".join(fewer), lambda found: fewer[found[0]], line))
        if words[1] == "label":
            path = photos / words[2] / "labels.csv"
            path.write_text(re.sub(r"^((\d)_[^,]*),", r"\1,\2", path.read_text(), flags=re.MULTILINE))
        else:
            assert run([*words[1:], "--quiet", "--workers", "0"]) == 0, line
    told = capsys.readouterr().out
    assert "on 10 items" in told and "of onnx" in told and "you will gain about" in told
    assert "activetune label project/rounds/002" in told
    assert all((photos / folder / "report.html").is_file() for folder in ("sel", "model", "project"))


def tour() -> tuple[list[str], list[str]]:
    """The lines that docs/tour.md has typed: with the demo's cells, and with photos."""
    cells, _, photos = (ROOT / "docs/tour.md").read_text(encoding="utf-8").partition("\n## The same with photos\n")
    found = (re.findall(r"^```console\n(.*?)^```", part, flags=re.MULTILINE | re.DOTALL) for part in (cells, photos))
    first, second = ("".join(part).replace("\\\n", " ").splitlines() for part in found)
    return [line.removeprefix("$ ") for line in first], [line.removeprefix("$ ") for line in second]


def label_all(images: Path, out: Path, prefix: str) -> None:
    """Masks, boxes, tags and captions of images of digits, as a tool for labelling writes them."""
    masks = out / f"{prefix}masks"
    masks.mkdir()
    (masks / "classes.txt").write_text("paper\nink\n")
    coco: dict[str, list[Any]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 3, "name": "even"}, {"id": 7, "name": "odd"}],
    }
    tags, captions = ["id,labels"], ["id,caption"]
    for number, path in enumerate(sorted(images.glob("*.png")), start=100):
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("L"))
        Image.fromarray((pixels > 100).astype(np.uint8)).save(masks / path.name)
        height, width = pixels.shape
        digit = int(path.name[0])
        coco["images"].append({"id": number, "file_name": f"shots/{path.name}", "width": width, "height": height})
        thing = {"id": number, "image_id": number, "category_id": 7 if digit % 2 else 3, "iscrowd": 0}
        coco["annotations"].append({**thing, "bbox": [1, 1, width - 3, height - 3], "area": (width - 3) * (height - 3)})
        tags.append(f"{path.name},{';'.join(['odd'] * (digit % 2) + ['low'] * (digit < 5)) or '[]'}")
        captions.append(f"{path.name},the digit {digit} on paper")
    (out / f"{prefix}boxes.json").write_text(json.dumps(coco))
    (out / f"{prefix}tags.csv").write_text("\n".join(tags) + "\n")
    (out / f"{prefix}captions.csv").write_text("\n".join(captions) + "\n")


def write_coco(folder: Path) -> None:
    """``instances.json`` and ``captions.json`` for a folder of digits: a box, a region and a sentence each."""
    images, things, said = [], [], []
    for number, path in enumerate(sorted((folder / "images").glob("*/*"))):
        with Image.open(path) as image:
            width, height = image.size
        images.append({"id": number, "file_name": f"{path.parent.name}/{path.name}", "width": width, "height": height})
        left, top, right, bottom = 1, 1, width - 2, height - 2
        region = [[left, top, right, top, right, bottom, left, bottom]]
        box = [left, top, right - left, bottom - top]
        things.append(
            {"id": number, "image_id": number, "category_id": number % 2, "bbox": box, "segmentation": region}
        )
        things[-1] |= {"area": box[2] * box[3], "iscrowd": 0}
        said.append({"id": number, "image_id": number, "caption": f"the digit {path.parent.name} on a page"})
    kinds = [{"id": 0, "name": "even"}, {"id": 1, "name": "odd"}]
    for name, content in (
        ("instances", {"categories": kinds, "annotations": things}),
        ("captions", {"annotations": said}),
    ):
        (folder / f"{name}.json").write_text(json.dumps({"images": images, **content}))


def test_simulate_from_python(photos: Path) -> None:
    (code,) = blocks("docs/simulate.md", "python")
    names: dict[str, object] = {"activetune": __import__("activetune")}
    exec(compile(code, "docs/simulate.md", "exec"), names)
    assert names["best"]["top1"] > 0  # type: ignore[index]


@pytest.mark.thorough
def test_the_selects_and_simulates_of_the_documents(photos: Path) -> None:
    features = np.random.default_rng(0).normal(size=(600, 8)).astype(np.float32)
    save_embeddings(Embeddings([str(row) for row in range(600)], features), photos / "EMB")
    (photos / "masks").mkdir()
    for number, path in enumerate(sorted((photos / "POOL").rglob("*.png"))[:40]):
        frame = photos / "FRAMES" / f"{number:02d}.png"
        frame.parent.mkdir(exist_ok=True)
        frame.write_bytes(path.read_bytes())
        Image.fromarray((np.asarray(Image.open(path)) > 100).astype(np.uint8)).save(photos / "masks" / frame.name)
    examples = (("docs/select.md", 0), ("docs/simulate.md", 0), ("docs/simulate.md", 1), ("docs/simulate.md", 2))
    for name, number in examples:
        first = blocks(name, "console")[number].replace("\\\n", " ").splitlines()[0]
        words = first.removeprefix("$ activetune ").partition("#")[0].split()
        assert run([*words, "--workers", "1"]) == 0, first  # otherwise processes of their own


def test_the_selector_and_the_recipe_of_contributing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = [textwrap.dedent(block) for _, block in re.findall(r"^( *)```python\n(.*?)^\1```", text, flags=re.M | re.S)]
    for name, content in zip(("my_method", "my_recipe"), code, strict=True):
        (photos / f"{name}.py").write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(photos)
    method, recipe = importlib.import_module("my_method").MyMethod, importlib.import_module("my_recipe").MyRecipe
    monkeypatch.setattr(activetune.selection.selectors, "selectors", lambda: {"my_method": method})
    monkeypatch.setattr(activetune.training.recipe, "recipes", lambda: {"my_recipe": recipe})

    angles = np.radians([0.0, 1.0, 2.0, 90.0, 60.0])
    embeddings = Embeddings.from_numpy(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    selection = select(embeddings, budget=2, method="my_method", settings={"sharpness": 2})
    assert selection.ids == ["3", "4"]

    settings = {"biases": "false", "epochs": 1}
    finetune(photos / "held_out", out=photos / "MODEL", recipe="my_recipe", settings=settings, workers=0, quiet=True)
    manifest = read_manifest(photos / "MODEL", "model")
    assert manifest["options"]["biases"] is False and manifest["options"]["lr"] == 3e-4
    weights = sum(value.numel() for value in activetune.load(photos / "MODEL").network.parameters())
    assert 0 < manifest["figures"]["trainable_parameters"] < weights
