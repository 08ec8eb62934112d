"""Artefacts that version 0.1.0 wrote (README.md) open, and give what they gave."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

import activetune
from tests.conftest import write_digits

MODELS = ("linear_probe", "full", "lora", "logistic", "fact")
RUN = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(Path(__file__).with_name("format1.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    write_digits(folder / "digits", 60)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_a_model_predicts_what_it_predicted(name: str, golden: Path) -> None:
    told = json.loads((golden / f"format1/{name}.json").read_text())
    model = activetune.load(golden / "format1" / name)
    probs = model.predict([golden / "digits" / item for item in told["ids"]], **RUN)
    np.testing.assert_allclose(probs, told["probabilities"], atol=2e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_evaluated_and_predicts_through_the_commands(name: str, golden: Path, tmp_path: Path) -> None:
    told = json.loads((golden / f"format1/{name}.json").read_text())
    model, pool = golden / "format1" / name, golden / "digits"
    scores = activetune.evaluate(model, pool, workers=0, quiet=True, **RUN)
    assert scores.n == told["n"]
    assert scores.top1 == pytest.approx(told["top1"], abs=1.01 / 60)  # an item between two classes may change sides
    rows = activetune.predict(model, pool, out=tmp_path / "predictions.csv", workers=0, quiet=True, **RUN)
    found = {item: (label, prob) for item, label, prob in rows}
    for item, probs in zip(told["ids"], told["probabilities"], strict=True):
        assert found[item][1] == pytest.approx(max(probs), abs=2e-5)


def test_embeddings_open_and_are_selected_from(golden: Path) -> None:
    embeddings = activetune.load_embeddings(golden / "format1/EMB")
    assert embeddings.features_ND.shape == (60, 256)
    assert embeddings.labels is not None and embeddings.ids[0] == f"{embeddings.labels[0]}/0000.png"
    with (golden / "format1/SEL/selection.csv").open() as file:
        picks = [row["id"] for row in csv.DictReader(file)]
    assert set(picks) <= set(embeddings.ids)
    again = activetune.select(embeddings, budget=12, method="activeft", seed=0, device="cpu")
    assert list(again.ids) == picks


def test_a_selection_goes_on(golden: Path, tmp_path: Path) -> None:
    selection = activetune.load_selection(golden / "format1/SEL")
    assert len(selection.ids) == 12
    labelled = activetune.select(golden / "format1/EMB", budget=5, method="coreset", labelled=selection.ids)
    assert not set(labelled.ids) & set(selection.ids)
