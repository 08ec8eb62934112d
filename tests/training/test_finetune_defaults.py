"""What finetune takes where nothing is said, and the figure that it ends with."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from activetune import EmbedOptions, UsageError, embed, finetune, load_backbone, open_pool, select
from activetune.base.tables import write_csv
from activetune.cli import run
from activetune.data.labels import pool_labels
from activetune.evaluation.estimate import Estimate, describe_estimate, short_estimate
from activetune.evaluation.statistics import wilson_interval
from activetune.networks.backbones import bundled
from tests.conftest import write_digits

pytestmark = pytest.mark.slow  # trains a model in nearly every test

NAME = "timm/resnet10t@32"
FAST = {"workers": 0, "precision": "fp32", "device": "cpu"}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "SETTINGS", replace(bundled.SETTINGS, size=(32, 32)))


def save_weights(network: nn.Module, path: Path) -> None:
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """digits/, weights.safetensors of another network, emb/ by it, and sel/ with a labels.csv."""
    pool = open_pool(write_digits(tmp_path / "digits", 60))
    network = load_backbone(NAME, pretrained=False).network
    save_weights(network, tmp_path / "weights.safetensors")
    options = EmbedOptions(**{**FAST, "batch_size": 60})  # type: ignore[arg-type]
    file = tmp_path / "weights.safetensors"
    embed(pool, backbone=NAME, weights=file, out=tmp_path / "emb", options=options, quiet=True)
    chosen = select(tmp_path / "emb", budget=30, method="k_means", out=tmp_path / "sel", quiet=True)
    known = pool_labels(pool)
    names = dict(zip(known.ids, known.names, strict=True))
    write_csv(tmp_path / "sel" / "labels.csv", ("id", "label"), [(item, names[item]) for item in chosen.ids])
    return tmp_path


def probe(folder: Path, labels: Path | dict[str, str] | None, name: str = "model", **options: Any) -> dict[str, Any]:
    given = {"recipe": "linear_probe", **FAST, **options}
    finetune(folder / "digits", labels=labels, out=folder / name, **given)
    return json.loads((folder / name / "manifest.json").read_text())  # type: ignore[no-any-return]


def test_it_takes_the_backbone_weights_and_size_that_the_labels_were_selected_by(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = probe(made, made / "sel" / "labels.csv")
    assert manifest["backbone"] == NAME
    assert manifest["weights_file"] == str(made / "weights.safetensors")
    assert manifest["weights"] == json.loads((made / "emb/manifest.json").read_text())["weights"]
    assert json.loads((made / "model/config.json").read_text())["image"]["size"] == [32, 32]
    told = f"backbone: {NAME} (weights.safetensors), from which {made / 'sel'} was selected; recipe: linear_probe"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("where", ["sel/selection.csv", "labels.csv", "emb/labels.csv", "other/labels.csv"])
def test_it_finds_the_selection_wherever_the_label_file_lies(made: Path, where: str) -> None:
    file = made / where
    file.parent.mkdir(exist_ok=True)
    if where != "sel/selection.csv":
        shutil.copy(made / "sel/labels.csv", file)
    manifest = probe(made, file)
    assert manifest["backbone"] == ("bundled" if where == "other/labels.csv" else NAME)


def test_embeddings_of_the_same_pool_beside_the_file_will_do(made: Path) -> None:
    shutil.copy(made / "sel/labels.csv", made / "labels.csv")
    shutil.rmtree(made / "sel")
    assert probe(made, made / "labels.csv")["backbone"] == NAME


def test_what_is_typed_wins(made: Path) -> None:
    assert probe(made, made / "sel/labels.csv", backbone="bundled")["backbone"] == "bundled"
    other = made / "other.safetensors"
    save_weights(load_backbone(NAME, pretrained=False).network, other)
    manifest = probe(made, made / "sel/labels.csv", "second", weights=other)
    assert (manifest["backbone"], manifest["weights_file"]) == (NAME, str(other))


def test_selections_that_disagree_decide_nothing(made: Path) -> None:
    shutil.copy(made / "sel/labels.csv", made / "labels.csv")
    pool = open_pool(made / "digits")
    options = EmbedOptions(**{**FAST, "batch_size": 60})  # type: ignore[arg-type]
    embed(pool, backbone="bundled", out=made / "second-emb", options=options, quiet=True)
    select(made / "second-emb", budget=60, method="random", out=made / "second", quiet=True)
    assert probe(made, made / "labels.csv")["backbone"] == "bundled"


def test_weights_that_have_gone_are_named(made: Path) -> None:
    (made / "weights.safetensors").unlink()
    with pytest.raises(UsageError, match=r"with the weights .*weights.safetensors, which are no longer there; give"):
        probe(made, made / "sel/labels.csv")
    assert not (made / "model").exists()


def test_without_a_label_file_it_is_bundled_by_auto(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = made / "digits"
    settings = ["--set", "minutes=0.0001", "--workers", "0", "--precision", "fp32", "--device", "cpu"]
    assert run(["finetune", str(pool), "--out", str(made / "model"), *settings]) == 0
    seen = capsys.readouterr()
    assert "backbone: bundled; recipe: auto" in seen.err
    manifest = json.loads((made / "model/manifest.json").read_text())
    assert manifest["recipe"] == "auto" and manifest["figures"]["recipe"] == "linear_probe"
    assert "auto on bundled, 10 classes; the linear probe:" in seen.out


# The figure -------------------------------------------------------------------------------------------------------


def test_the_figure_is_the_cross_validation_that_chose_and_is_said_to_be_so(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = probe(made, made / "sel/labels.csv")
    found = manifest["figures"]["estimate"]
    assert found["value"] == manifest["figures"]["val_top1"]
    low, high = wilson_interval(round(found["value"] * found["n"]), found["n"])
    assert found["interval"] == {"low": low, "high": high, "level": 0.95, "by": "Wilson"}
    assert found["by"] == "5-fold cross-validation" and found["metric"] == "top1"
    assert found["chose"] == "the strength of the regularisation"
    told = capsys.readouterr().err
    assert "was chosen by it, so it is a little too high" in told and "the items were selected" in told
    assert "was not validated" not in told


def test_the_figure_counts_the_folds_that_there_were(made: Path) -> None:
    labels = {f"0/{path.name}": "zero" for path in sorted((made / "digits" / "0").iterdir())[:3]}
    labels |= {f"1/{path.name}": "one" for path in sorted((made / "digits" / "1").iterdir())[:1]}
    found = probe(made, labels, settings={"strengths": [10.0]}, backbone="bundled")["figures"]["estimate"]
    assert (found["n"], found["by"]) == (3, "3-fold cross-validation")


def test_a_single_strength_chooses_nothing_and_has_a_figure_all_the_same(made: Path) -> None:
    found = probe(made, None, settings={"strengths": [10.0]}, backbone="bundled")["figures"]
    assert found["estimate"]["chose"] == "" and "val_top1" not in found
    embeddings = embed(open_pool(made / "digits"), options=EmbedOptions(**FAST), quiet=True)  # type: ignore[arg-type]
    features = np.asarray(embeddings.features_ND, dtype=np.float32)
    features = (features - features.mean(axis=0)) / np.linalg.norm(features, axis=1).mean()
    model = LogisticRegression(C=10, max_iter=1000).fit(features, embeddings.labels)
    assert model.score(features, embeddings.labels) > found["estimate"]["value"]  # seen items are no test


def test_a_probes_figure_is_not_given_out_as_the_trained_networks(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = probe(made, None, recipe="probe_then_full", settings={"epochs": 1}, backbone="bundled")["figures"]
    assert found["estimate"]["of"] == "the linear probe"
    assert "the network trained on from it was not validated" in capsys.readouterr().err


def test_a_held_out_part_validates_the_network_itself(made: Path) -> None:
    options = {"epochs": 2, "validation_least": 5}
    found = probe(made, None, recipe="probe_then_full", settings=options, backbone="bundled")["figures"]
    assert found["estimate"]["of"] == "the trained network"
    assert found["estimate"]["n"] == found["n_validation"]
    assert found["estimate"]["value"] == found["val_top1"]


def test_with_one_label_per_class_there_is_none_and_the_reason_is_told(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = pool_labels(open_pool(made / "digits"))
    answers = dict(zip(known.names, known.ids, strict=True))
    labels = {item: name for name, item in answers.items()}
    found = finetune(made / "digits", labels=labels, recipe="linear_probe", out=made / "model", **FAST)  # type: ignore[arg-type]
    assert len(found.classes) == 10
    assert "estimate" not in json.loads((made / "model/manifest.json").read_text())["figures"]
    assert (
        "as all of them trained it; score it on other labelled images with: activetune evaluate"
        in capsys.readouterr().err
    )


def test_the_sentences() -> None:
    truth, predicted = np.asarray([0, 0, 1, 1, 1, 2]), np.asarray([0, 1, 1, 1, 1, 0])
    found = Estimate.count(predicted, truth, ["cat", "dog", "owl"], of="the trained network", by="a pilot").as_dict()
    first, second = describe_estimate({"estimate": found}, trained_on=True)
    assert first == (
        "the trained network: 66.7 % right (30.0 to 90.3 %, Wilson's 95 % interval) by a pilot, 6 labelled items"
    )
    assert second == "lowest by it: owl (0.0 % of 1), cat (50.0 % of 2)"
    assert short_estimate(found) == "; the trained network: 66.7 % right by a pilot (30.0 to 90.3 %)"
    assert short_estimate(None) == ""
    of_probe = {"estimate": {**found, "of": "the linear probe"}}
    told = [describe_estimate(of_probe, trained_on=trained_on)[0] for trained_on in (False, True)]
    assert ["was not validated" in sentence for sentence in told] == [False, True]


def test_a_selection_of_another_pool_with_the_same_names_is_none_of_these_labels(made: Path) -> None:
    shutil.copytree(made / "digits", made / "others")
    (made / "others.csv").write_bytes((made / "sel/labels.csv").read_bytes())
    finetune(made / "others", labels=made / "others.csv", out=made / "m", recipe="linear_probe", **FAST)
    assert json.loads((made / "m/manifest.json").read_text())["backbone"] == "bundled"
    (made / "others").rename(made / "moved")  # a pool that has moved keeps its selection
    (made / "digits").rename(made / "others")
    finetune(made / "others", labels=made / "others.csv", out=made / "n", recipe="linear_probe", **FAST)
    assert json.loads((made / "n/manifest.json").read_text())["backbone"] == NAME
