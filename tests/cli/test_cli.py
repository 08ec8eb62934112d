"""The command line: exit codes, sentences, config files, what goes to which stream, and the loop from end to end."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

import activetune
from activetune.cli import commands, run
from tests.conftest import write_digits

FAST = ("--workers", "0", "--device", "cpu", "--precision", "fp32")


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """Features made elsewhere: 40 items, so that commands have something to select from at once."""
    np.save(tmp_path / "features.npy", np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32))
    return tmp_path / "features.npy"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def manifest_of(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one_line(text: str) -> str:
    assert text.startswith("error: ")
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return text


# From end to end --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The five commands on 120 real images, once for all the tests below."""
    root = tmp_path_factory.mktemp("loop")
    write_digits(root / "digits", 120)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTIVETUNE_CACHE", str(root / "cache"))
        patch.chdir(root)
        for line in (
            "embed digits --backbone bundled --out emb",
            "select emb --budget 4/class --method k_means --seed 1 --out sel",
            "finetune digits --labels sel/selection.csv --backbone bundled --recipe linear_probe --out model",
            "evaluate model digits",
            "predict model digits --out predictions.csv",
        ):
            assert run([*line.split(), *FAST]) == 0, line
    yield root


def test_embed_leaves_its_stable_files(loop: Path) -> None:
    features = np.load(loop / "emb" / "features.npy")
    items = pq.read_table(loop / "emb" / "items.parquet")
    assert features.shape[0] == items.num_rows == 120
    assert items.column_names[:2] == ["id", "label"]
    assert manifest_of(loop / "emb")["kind"] == "embeddings"


def test_select_leaves_its_stable_files(loop: Path) -> None:
    header, *rows = rows_of(loop / "sel" / "selection.csv")
    assert header == ["id", "rank", "score", "reason"]
    assert [int(row[1]) for row in rows] == list(range(1, 41))
    assert sorted(row[0].split("/")[0] for row in rows) == sorted("0123456789" * 4)
    manifest = manifest_of(loop / "sel")
    assert (manifest["method"], manifest["seed"], manifest["budget"]) == ("k_means", 1, "4/class")
    assert {"emd", "radius", "seconds", "peak_memory_mb"} <= set(manifest["figures"])  # type: ignore[call-overload]


def test_finetune_leaves_its_stable_files(loop: Path) -> None:
    config = json.loads((loop / "model" / "config.json").read_text())
    assert (config["architecture"], config["num_classes"]) == ("resnet10t", 10)
    assert config["classes"] == list("0123456789")
    shapes = {value.shape for value in load_file(loop / "model" / "model.safetensors").values()}
    assert {(10, 512), (10,)} <= shapes
    assert len(rows_of(loop / "model" / "history.csv")) > 1
    manifest = manifest_of(loop / "model")
    assert (manifest["kind"], manifest["recipe"]) == ("model", "linear_probe")


def test_finetune_used_just_the_selected_labels(loop: Path) -> None:
    figures = manifest_of(loop / "model")["figures"]
    assert isinstance(figures, dict)
    assert figures["n_train"] + figures["n_validation"] == 40


def test_evaluate_leaves_its_stable_file(loop: Path) -> None:
    scores = json.loads((loop / "model" / "scores.json").read_text())
    assert scores["n"] == 120
    assert scores["per_class"].keys() == set("0123456789")
    right = sum(entry["top1"] * entry["n"] for entry in scores["per_class"].values())
    assert scores["top1"] == pytest.approx(right / 120)
    assert scores["top1"] > 0.5  # chance is 0.1


def test_predict_leaves_its_stable_file(loop: Path) -> None:
    header, *rows = rows_of(loop / "predictions.csv")
    assert header == ["id", "label", "probability"]
    assert [row[0] for row in rows] == pq.read_table(loop / "emb" / "items.parquet").column("id").to_pylist()
    assert all(0.1 <= float(row[2]) <= 1 for row in rows)


def test_predictions_agree_with_the_scores(loop: Path) -> None:
    _, *rows = rows_of(loop / "predictions.csv")
    top1 = np.mean([row[0].split("/")[0] == row[1] for row in rows])
    assert json.loads((loop / "model" / "scores.json").read_text())["top1"] == pytest.approx(top1)


def test_the_model_file_may_be_read_by_whoever_may_read_the_others(loop: Path) -> None:
    modes = {(loop / "model" / name).stat().st_mode for name in ("model.safetensors", "config.json")}
    assert len(modes) == 1


def test_scores_are_not_replaced_unasked(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (loop / "model" / "scores.json").read_bytes()
    assert run(["evaluate", str(loop / "model"), str(loop / "digits"), *FAST]) == 2
    said = one_line(capsys.readouterr().err)
    assert "exists already; nothing was written" in said
    assert re.search(r"\(top-1 \d+\.\d\d %, \d+ items\)", said)
    assert (loop / "model" / "scores.json").read_bytes() == before


def test_a_test_folder_of_one_class(loop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(loop / "digits" / "3", tmp_path / "test" / "3")
    assert run(["evaluate", str(loop / "model"), str(tmp_path / "test"), "--out", str(tmp_path / "s.json"), *FAST]) == 0
    assert "lie in the folder '3', a class of the model: that is their label" in capsys.readouterr().err
    assert list(json.loads((tmp_path / "s.json").read_text())["per_class"]) == ["3"]


def test_predictions_are_not_replaced_unasked(loop: Path) -> None:
    before = (loop / "predictions.csv").read_bytes()
    arguments = ["predict", str(loop / "model"), str(loop / "digits"), "--out", str(loop / "predictions.csv"), *FAST]
    assert run(arguments) == 2
    assert (loop / "predictions.csv").read_bytes() == before


def test_a_model_is_not_replaced_unasked(loop: Path) -> None:
    before = tree(loop / "model")
    assert run(["finetune", str(loop / "digits"), "--out", str(loop / "model"), *FAST]) == 2
    assert tree(loop / "model") == before


def test_scores_go_where_they_are_asked_to(loop: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores" / "held_out.json"
    assert run(["evaluate", str(loop / "model"), str(loop / "digits"), "--out", str(out), *FAST]) == 0
    assert out.is_file()


def test_predictions_may_be_parquet(loop: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    assert run(["predict", str(loop / "model"), str(loop / "digits" / "3"), "--out", str(out), *FAST]) == 0
    assert pq.read_table(out).column_names == ["id", "label", "probability"]


def test_a_selection_is_no_model(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(loop / "sel"), str(loop / "digits"), *FAST]) == 2
    assert "holds 'selection', where 'model' is expected" in one_line(capsys.readouterr().err)


def test_a_model_without_its_config_is_a_sentence(
    loop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_bytes((loop / "model" / "manifest.json").read_bytes())
    assert run(["evaluate", str(tmp_path / "model"), str(loop / "digits"), *FAST]) == 2
    assert "config.json" in one_line(capsys.readouterr().err)


# Streams ----------------------------------------------------------------------------------------------------------


def test_results_go_to_stdout_and_notes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool, out = write_digits(tmp_path / "pool", 10), tmp_path / "emb"
    (pool / "0" / "broken.png").write_bytes(b"")
    assert run(["embed", str(pool), "--out", str(out), *FAST]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}: 10 x 512 features, 1 image rejected\n"
    assert "images/s" in printed.err
    assert f"1 of 11 images were skipped, as they can't be decoded; {out / 'rejected.csv'} lists the" in printed.err


@pytest.mark.slow
def test_quiet_silences_stderr(loop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = write_digits(tmp_path / "pool", 30)
    (pool / "0" / "broken.png").write_bytes(b"")
    quiet = [*FAST, "--quiet"]
    assert run(["embed", str(pool), "--out", str(tmp_path / "emb"), *quiet]) == 0
    assert run(["select", str(tmp_path / "emb"), "--budget", "5", "--out", str(tmp_path / "sel"), *quiet]) == 0
    assert run(["finetune", str(pool), "--recipe", "linear_probe", "--out", str(tmp_path / "model"), *quiet]) == 0
    assert run(["evaluate", str(tmp_path / "model"), str(pool), *quiet]) == 0
    assert run(["predict", str(tmp_path / "model"), str(pool), "--out", str(tmp_path / "p.csv"), *quiet]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert all(str(tmp_path / name) in printed.out for name in ("emb", "sel", "model", "p.csv"))


def test_quiet_does_not_silence_errors(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["embed", "gone", "--out", "emb", "--quiet"]) == 2
    assert one_line(capsys.readouterr().err)


def test_errors_go_to_stderr_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["embed", "gone", "--out", "emb"])
    assert capsys.readouterr().out == ""


# Wrong use --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "--nonsense",
        "list",
        "list nonsense",
        "list selectors --nonsense",
        "embed",
        "embed pool",
        "embed pool --out",
        "embed pool --out emb --batch-size many",
        "embed pool --out emb --batch-size 0",
        "select emb --out sel",
        "select emb --budget 3 --out sel --seed -1",
        "evaluate model",
        "list selectors extra",
    ],
)
def test_an_impossible_command_line_exits_with_2_and_a_sentence(
    here: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == 2
    assert "--help" in one_line(capsys.readouterr().err)


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Commands:" in "".join(capsys.readouterr())


@pytest.mark.parametrize("command", sorted(commands()))
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, option]) == 0
    assert f"Usage: activetune {command}" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"activetune {activetune.__version__}\n"


def wrong(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(line.split()) == 2
    return one_line(capsys.readouterr().err)


def test_a_missing_pool_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the pool gone does not exist" in wrong("embed gone --out emb", capsys)
    assert tree(here) == {}


def test_missing_embeddings_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gone does not exist" in wrong("select gone --budget 3 --out sel", capsys)


def test_an_unknown_selector_lists_the_known_ones(features: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = wrong(f"select {features} --budget 3 --method k_centre --out {features.parent / 'sel'}", capsys)
    assert "unknown selector 'k_centre'" in told
    assert "k_center" in told


def test_an_unknown_recipe_lists_the_known_ones(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = wrong(f"finetune {digits} --recipe linear --out {digits.parent / 'model'}", capsys)
    assert "unknown recipe 'linear'" in told
    assert "linear_probe" in told


def test_an_unknown_timm_model_names_the_five_nearest(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = wrong(f"embed {digits} --backbone timm/resnet5 --out {digits.parent / 'emb'}", capsys)
    assert "no model 'resnet5'" in told
    assert told.count("timm/") == 5
    assert "timm/resnet50" in told


def test_an_unknown_backbone_names_the_five_nearest(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = wrong(f"embed {digits} --backbone bundle --out {digits.parent / 'emb'}", capsys)
    assert "unknown backbone 'bundle'; the nearest names are: bundled" in told
    assert told.count(", ") == 4


def test_a_timm_model_without_its_source_is_put_right(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = wrong(f"embed {digits} --backbone resnet50 --out {digits.parent / 'emb'}", capsys)
    assert "do you mean 'timm/resnet50'?" in told


def test_an_unknown_setting_names_the_nearest(features: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = features.parent / "sel"
    told = wrong(f"select {features} --method activeft --budget 3 --set temperatur=0.1 --out {out}", capsys)
    assert "activeft has no setting 'temperatur'; did you mean 'temperature'?" in told


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--set temperature=warm", "temperature can't be 'warm'"),
        ("--set temperature", "not of the form name=value"),
        ("--preset best", "has no preset 'best'; it has: paper"),
        ("--labelled gone.csv", "gone.csv does not exist"),
        ("--device nonsense", "device 'nonsense' is not known; allowed: auto, cpu, cuda, cuda:1, mps"),
    ],
)
def test_a_wrong_value_is_a_sentence(
    features: Path, option: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = features.parent / "sel"
    assert sentence in wrong(f"select {features} --method activeft --budget 3 --out {out} {option}", capsys)


@pytest.mark.parametrize("value", ["1", "0.1,10"])
def test_a_setting_that_is_a_list_can_be_given(digits: Path, value: str) -> None:
    model = digits.parent / "model"
    given = ["--recipe", "linear_probe", "--set", f"strengths={value}"]
    assert run(["finetune", str(digits), *given, "--out", str(model), *FAST]) == 0


@pytest.mark.parametrize("recipe", ["linear_probe", "frozen_map", "fact", "lora"])
def test_a_wrong_strength_is_a_sentence(digits: Path, recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = wrong(f"finetune {digits} --recipe {recipe} --set strengths=-1 --out {digits.parent / 'model'}", capsys)
    assert "strengths can't be -1; allowed: positive numbers" in told


@pytest.mark.parametrize("option", ["--dtype int8", "--precision fp8", "--weights gone.safetensors"])
def test_a_wrong_value_of_embed_is_a_sentence(digits: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = wrong(f"embed {digits} --out {digits.parent / 'emb'} {option}", capsys)
    assert option.split()[1] in told
    assert not (digits.parent / "emb").exists()


@pytest.mark.parametrize("budget", ["many", "0", "-5", "1.5", "120%", "2/klass", "0/class"])
def test_an_impossible_budget_is_a_sentence(features: Path, budget: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["select", str(features), "--budget", budget, "--out", str(features.parent / "sel")]
    assert run(arguments) == 2
    assert f"the budget {budget!r} is not" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["embed", "", "--out", "emb"], "an argument is empty; give a value"),
        (["select", "x.npy", "--budget", "3", "--out", ""], "--out is empty; give a value"),
        (["select", "x.npy", "--budget=", "--out", "sel"], "--budget is empty; give a value"),
        (["finetune", "here", "--labels", "", "--out", "model"], "--labels is empty; give a value"),
        (["select", "x.npy", "--config", "empty.toml"], "empty.toml: 'out' is empty; give a value, or leave it out"),
    ],
)
def test_an_empty_argument_is_not_the_folder_one_is_in(
    here: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.toml").write_text('out = ""\nbudget = 3\n')
    assert run(arguments) == 2
    assert told in one_line(capsys.readouterr().err)
    assert tree(here).keys() == {"empty.toml"}


def test_a_prompt_may_be_empty(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["caption", "gone", "--prompt", "", "--out", "c.csv"]) == 2
    assert "the pool gone does not exist" in one_line(capsys.readouterr().err)


def test_lists_of_a_config_file_are_what_is_typed_with_commas(
    loop: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("lists.toml").write_text(
        '[finetune]\nclasses = ["none", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\nrecipe = "linear_probe"\n'
        'set = {strengths = [10, 100]}\n[corrupt]\nkinds = ["fog", "snow"]\n'
    )
    digits = str(loop / "digits")
    assert run(["finetune", digits, "--config", "lists.toml", "--out", "model", *FAST]) == 0
    assert json.loads(Path("model/config.json").read_text())["classes"] == ["none", *map(str, range(10))]
    assert run(["corrupt", digits, "--config", "lists.toml", "--severity", "9", "--out", "c"]) == 2
    assert "severity can't be '9'; give 1 to 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("select x.npy --budget 3 --out sel --budget=4", "--budget is given 2 times, and takes one value"),
        ("select x.npy --budget 3 --preset tail --preset paper --preset tail --out sel", "--preset is given 3 times"),
        ("select x.npy --quiet --budget 3 --quiet --out sel", "x.npy does not exist"),
    ],
)
def test_an_option_that_takes_one_value_is_given_once(
    here: Path, line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in wrong(line, capsys)


@pytest.mark.parametrize("line", ["evaluate gone here", "predict gone here --out gone/p.csv"])
def test_a_model_that_does_not_exist_is_said_to_be_missing(
    here: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "gone does not exist or is empty; give a 'model' folder" in wrong(line, capsys)
    assert not Path("gone").exists()


@pytest.mark.parametrize("method", ["k_center", "auto"])
def test_losses_that_no_one_would_read_are_refused(
    features: Path, here: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = wrong(f"select {features} --budget 3 --method {method} --losses gone.csv --out sel", capsys)
    assert f"{method} reads no losses; leave them out, or choose a method that does: ods, top_loss" in told


def test_predictions_leave_the_list_of_rejects_of_others_alone(
    loop: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("p.rejected.csv").write_text("id,reason\nmine.png,corrupt\n")
    told = wrong(f"predict {loop / 'model'} {loop / 'digits'} --out p.parquet", capsys)
    assert "p.rejected.csv exists already; nothing was written" in told
    assert Path("p.rejected.csv").read_text() == "id,reason\nmine.png,corrupt\n"


@pytest.mark.parametrize("budget", ["nan", "inf", "inf/class"])
def test_a_budget_that_is_no_number_is_a_sentence(features: Path, budget: str) -> None:
    assert run(["select", str(features), "--budget", budget, "--out", str(features.parent / "sel")]) == 2


def test_a_budget_over_the_pool_names_both_figures(features: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = wrong(f"select {features} --budget 41 --out {features.parent / 'sel'}", capsys)
    assert "the budget 41 is over the pool: 40 items" in told


def test_a_budget_a_class_needs_labels(features: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = wrong(f"select {features} --budget 2/class --out {features.parent / 'sel'}", capsys)
    assert "needs known labels" in told


def test_an_output_folder_that_holds_something_is_left_alone(
    features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sel").mkdir()
    (tmp_path / "sel" / "selection.csv").write_text("mine")
    told = wrong(f"select {features} --budget 3 --out {tmp_path / 'sel'}", capsys)
    assert "is not empty" in told
    assert "--overwrite" in told
    assert tree(tmp_path / "sel") == {"selection.csv": b"mine"}


def test_overwriting_with_an_impossible_budget_keeps_the_old_result(features: Path, tmp_path: Path) -> None:
    arguments = ["select", str(features), "--out", str(tmp_path / "sel"), "--method", "random"]
    assert run([*arguments, "--budget", "3"]) == 0
    before = tree(tmp_path / "sel")
    assert run([*arguments, "--budget", "41", "--overwrite"]) == 2
    assert tree(tmp_path / "sel") == before


def test_a_report_of_nothing_is_a_sentence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not exist or is empty" in wrong("report .", capsys)
    Path("mine.txt").write_text("mine")
    assert "holds nothing to report on" in wrong("report .", capsys)


# Listings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "lines"),
    [
        (
            "selectors",
            ["activeft: ", "k_center: ", "k_means: ", "random: ", "    temperature = 0.07", "    --preset paper: "],
        ),
        ("recipes", ["linear_probe: ", "full: ", "probe_then_full: ", "    folds = 5"]),
        ("heads", ["linear: ", "logistic: ", "map: "]),
        ("backbones", ["bundled", "timm/vit_tiny_patch16_224", "timm/resnet50", "hf/NAME", "open_clip/ARCH#WEIGHTS"]),
        ("formats", ["folder of images", ".csv, .tsv, .parquet or .jsonl manifest", ".zip of images"]),
    ],
)
def test_listings_name_what_there_is(what: str, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", what]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for line in lines:
        assert any(found.startswith(line) for found in printed.out.splitlines()), line


# Config files -----------------------------------------------------------------------------------------------------


def select_by(config: str, features: Path, *typed: str) -> dict[str, object]:
    """The manifest of a selection made with a config file and typed options."""
    (features.parent / "config.toml").write_text(config)
    out = features.parent / "sel"
    arguments = ["select", str(features), "--out", str(out), "--config", str(features.parent / "config.toml"), *typed]
    assert run(arguments) == 0
    return manifest_of(out)


def test_a_config_file_gives_the_options(features: Path) -> None:
    manifest = select_by('budget = 7\nmethod = "random"\nseed = 5\n', features)
    assert (manifest["k"], manifest["method"], manifest["seed"]) == (7, "random", 5)


@pytest.mark.parametrize("config_last", [True, False])
def test_typed_options_win_over_the_config_file(features: Path, config_last: bool) -> None:
    (features.parent / "config.toml").write_text('budget = 7\nmethod = "random"\n')
    config, typed = ["--config", str(features.parent / "config.toml")], ["--budget", "9"]
    out = features.parent / "sel"
    order = [*typed, *config] if config_last else [*config, *typed]
    assert run(["select", str(features), "--out", str(out), *order]) == 0
    assert (manifest_of(out)["k"], manifest_of(out)["method"]) == (9, "random")


def test_the_commands_own_table_wins_over_the_top_level(features: Path) -> None:
    config = 'seed = 5\nmethod = "random"\n[select]\nbudget = "10%"\nseed = 6\n[embed]\nbatch-size = 4\n'
    manifest = select_by(config, features)
    assert (manifest["k"], manifest["seed"]) == (4, 6)


@pytest.mark.parametrize("table", ["set", "select.set"])
def test_a_set_table_gives_settings(features: Path, table: str) -> None:
    manifest = select_by(f"budget = 3\nmethod = 'activeft'\n[{table}]\ntemperature = 0.2\niterations = 2\n", features)
    options = manifest["options"]
    assert isinstance(options, dict)
    assert (options["temperature"], options["iterations"]) == (0.2, 2)


def test_typed_settings_win_over_the_config_file(features: Path) -> None:
    config = "budget = 3\nmethod = 'activeft'\n[set]\niterations = 2\n"
    options = select_by(config, features, "--set", "iterations=3")["options"]
    assert isinstance(options, dict)
    assert options["iterations"] == 3


def test_keys_may_have_dashes_or_underscores(tmp_path: Path) -> None:
    pool = write_digits(tmp_path / "pool", 4)
    (tmp_path / "config.toml").write_text('workers = 0\n[embed]\nbatch-size = 2\nno_cache = true\ndtype = "float32"\n')
    arguments = ["embed", str(pool), "--out", str(tmp_path / "emb"), "--config", str(tmp_path / "config.toml")]
    assert run(arguments) == 0
    assert np.load(tmp_path / "emb" / "features.npy").dtype == np.float32
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("budgets = 3", "'budgets' is not an option of 'select'; the nearest is 'budget'"),
        ("[select]\nmetod = 'random'", "[select] 'metod' is not an option of 'select'; the nearest is 'method'"),
        ("batch-size = 3", "'batch-size' is not an option of 'select'"),
        ("config = 'other.toml'", "'config' is not an option of 'select'"),
        ("budget = ", "is not TOML"),
        ("method = 'activeft'\n[set]\ntemperatur = 1", "did you mean 'temperature'?"),
        ("workers = 'many'", "Invalid value for '--workers'"),
    ],
)
def test_a_wrong_config_file_is_a_sentence(
    features: Path, config: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = features.parent / "config.toml"
    path.write_text(config)
    arguments = ["select", str(features), "--out", str(features.parent / "sel"), "--config", str(path)]
    assert run([*arguments, "--budget", "3"]) == 2
    assert sentence in one_line(capsys.readouterr().err)
    assert not (features.parent / "sel").exists()


def test_a_table_of_no_command_is_a_sentence(features: Path) -> None:
    path = features.parent / "config.toml"
    path.write_text("[selct]\nseed = 5\n")
    arguments = ["select", str(features), "--out", str(features.parent / "sel"), "--config", str(path)]
    assert run([*arguments, "--budget", "3"]) == 2


def test_a_missing_config_file_is_a_sentence(features: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = wrong(f"select {features} --budget 3 --out {features.parent / 'sel'} --config gone.toml", capsys)
    assert "gone.toml can't be read" in told


# Failures ---------------------------------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> list[str]:
    """Make ``select`` fail in the middle; returns a command line that gets there."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("activetune.selection.select.select", fail)
    return ["select", "emb", "--budget", "3", "--out", "sel"]


def test_ctrl_c_exits_with_130(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(failing(monkeypatch, KeyboardInterrupt())) == 130


def test_ctrl_c_says_how_to_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(failing(monkeypatch, KeyboardInterrupt()))
    assert "--resume" in capsys.readouterr().err


def test_a_full_disk_is_a_sentence(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "sel/selection.csv")
    assert run(failing(monkeypatch, error)) == 1
    assert "the disk is full (sel/selection.csv)" in one_line(capsys.readouterr().err)


def test_a_full_disk_that_a_library_wraps_is_a_sentence_too(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = RuntimeError("I/O error: No space left on device (os error 28)")
    assert run(failing(monkeypatch, error)) == 1
    assert "the disk is full" in one_line(capsys.readouterr().err)


needs_full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which only Linux has")


@needs_full_disk
def test_a_disk_that_is_really_full_is_a_sentence_and_leaves_no_artefact(
    features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sel"
    out.mkdir()
    (out / f".selection.csv.{os.getpid()}.partial").symlink_to("/dev/full")
    assert run(["select", str(features), "--budget", "3", "--out", str(out), "--overwrite"]) == 1
    assert "the disk is full" in one_line(capsys.readouterr().err)
    assert tree(out) == {}


@needs_full_disk
def test_predictions_onto_a_full_disk_leave_no_half_file(
    loop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f".p.csv.{os.getpid()}.partial").symlink_to("/dev/full")
    arguments = ["predict", str(loop / "model"), str(loop / "digits" / "3"), "--out", str(tmp_path / "p.csv")]
    assert run([*arguments, *FAST, "--quiet"]) == 1
    assert "the disk is full" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "p.csv").exists()
    assert run([*arguments, *FAST, "--quiet", "--resume"]) == 0


@pytest.mark.slow
@needs_full_disk
def test_a_full_disk_behind_stdout_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        ended = command("list", "selectors", stdout=full)
    assert ended.returncode == 1
    assert "the disk is full" in one_line(ended.stderr)


def test_an_unexpected_error_is_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(failing(monkeypatch, ZeroDivisionError("boom\nand more"))) == 1
    told = one_line(capsys.readouterr().err)
    assert "unexpected ZeroDivisionError: boom" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "not enough memory"),
        (PermissionError(errno.EACCES, "denied", "/locked/out"), "/locked/out: permission denied"),
        (RuntimeError(), "unexpected RuntimeError"),
    ],
)
def test_other_failures_are_one_line_too(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    sentence: str,
) -> None:
    assert run(failing(monkeypatch, error)) == 1
    assert sentence in one_line(capsys.readouterr().err)


def test_a_file_that_ends_early_is_not_an_interruption(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(failing(monkeypatch, EOFError("no data left"))) == 1


def test_the_traceback_can_be_asked_for(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVETUNE_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        run(failing(monkeypatch, ZeroDivisionError("boom")))


# As a process -----------------------------------------------------------------------------------------------------


def python(code: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "check": False, **options}
    return subprocess.run([sys.executable, "-c", code, *arguments], **settings)  # type: ignore[call-overload,no-any-return]


def command(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return python("from activetune.cli import main; main()", *arguments, **options)


@pytest.mark.slow
def test_the_process_exits_with_the_code_of_run(here: Path) -> None:
    ended = command("embed", "gone", "--out", "emb")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "gone does not exist" in one_line(ended.stderr)


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_failure() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = command("list", "selectors", stdout=writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_importing_activetune_loads_no_torch() -> None:
    ended = python("import activetune, sys; print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))")
    assert ended.stdout == "[]\n"


def test_every_public_name_can_be_imported() -> None:
    assert set(activetune.__all__) <= set(dir(activetune))
    for name in activetune.__all__:
        assert getattr(activetune, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = activetune.nonsense


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", "2>&1 | true"])
def test_closed_streams_stop_no_work(tmp_path: Path, closed: str) -> None:
    features = tmp_path / "features.npy"
    np.save(features, np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32))
    out = tmp_path / "sel"
    command = f"{sys.executable} -m activetune select {features} --budget 3 --method k_means --out {out}"
    ended = subprocess.run(["bash", "-c", f"set -o pipefail; {command} {closed}"], check=False)
    assert ended.returncode == 0
    assert {entry.name for entry in out.iterdir()} >= {"selection.csv", "manifest.json", "labels.csv", "picks.html"}
