"""The demo's second part: the job as anyone does it, with the picks of one selector, step after step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activetune.base.errors import MissingExtra
from activetune.base.progress import note
from activetune.base.run import Run, RunOptions
from activetune.base.tables import write_csv
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.evaluation.evaluate import evaluate
from activetune.evaluation.predict import predict
from activetune.handover.export_model import export_model
from activetune.selection.artefact import ANSWERS, load_selection
from activetune.studies.demo.pools import DemoPool
from activetune.training.finetune import finetune

METHOD = "activeft"
RECIPE = "linear_probe"  # the one that takes seconds on a laptop; others take minutes, and learn more
MODEL, PREDICTIONS = "model", "predictions.csv"
EXPORTED = "model.onnx"
EXPORT_FILES = (EXPORTED, f"{EXPORTED}.json", f"{EXPORTED}.report.json")


@dataclass(frozen=True)
class JobPlace:
    """Where each step reads and writes, in the demo's folder.

    Attributes:
        folder: of the demo. budget: how many picks are labelled.
    """

    folder: Path
    budget: int

    @property
    def selection(self) -> Path:
        """The picks."""
        return self.folder / "selections" / f"{METHOD}-{self.budget}-0"

    @property
    def labels(self) -> Path:
        """Their labels."""
        return self.selection / ANSWERS

    @property
    def pool(self) -> Path:
        """The images that are picked from."""
        return self.folder / "images" / "pool.csv"

    @property
    def test(self) -> Path:
        """The images that are held out."""
        return self.folder / "images" / "test.csv"

    @property
    def model(self) -> Path:
        """The finetuned model."""
        return self.folder / MODEL

    def commands(self, classes: Sequence[str]) -> list[str]:
        """What to type for the same."""
        return [
            f"activetune label {self.selection} --classes {','.join(classes)}",
            f"activetune finetune {self.pool} --labels {self.labels} --recipe {RECIPE} --out {self.model}",
            f"activetune evaluate {self.model} {self.test}",
            f"activetune predict {self.model} {self.test} --out {self.folder / PREDICTIONS}",
            f"activetune export-model {self.model} --to onnx --pool {self.test} --out {self.folder / EXPORTED}",
        ]


def do_job(place: JobPlace, pool: DemoPool, run: Run) -> dict[str, Any]:
    """All steps, one after the other; returns what the demo's manifest says of the model."""
    label(place, pool)
    train(place, run)
    scores = score(place, run)
    predict(place.model, _opened(place.test), out=place.folder / PREDICTIONS, **_anew(run))
    exported = export(place, run)
    return {
        "method": METHOD,
        "recipe": RECIPE,
        "labels": place.budget,
        "commands": place.commands(pool.classes),
        "scores": dict(scores),
        "exported": exported,
    }


def label(place: JobPlace, pool: DemoPool) -> None:
    """Give the picks their labels, which are known here; elsewhere a person gives them."""
    picks = load_selection(place.selection).ids
    write_csv(place.labels, ("id", "label"), [(item, pool.answers[item]) for item in picks])


def train(place: JobPlace, run: Run) -> None:
    """Finetune the bundled backbone on the labels."""
    options: RunOptions = {**_anew(run), "seed": run.seed}
    finetune(
        _opened(place.pool),
        labels=place.labels,
        backbone="bundled",
        recipe=RECIPE,
        out=place.model,
        **options,
    )


def score(place: JobPlace, run: Run) -> Mapping[str, Any]:
    """Score the model on the images that are held out."""
    path = place.model / "scores.json"
    return evaluate(place.model, _opened(place.test), out=path, **_anew(run)).as_dict()


def export(place: JobPlace, run: Run) -> dict[str, Any] | None:
    """Write the model as ONNX and score it again there; None where the packages for it are not installed."""
    options: RunOptions = {"overwrite": True, "quiet": run.quiet}
    try:
        made = export_model(place.model, to="onnx", out=place.folder / EXPORTED, pool=_opened(place.test), **options)
    except MissingExtra as missing:
        note(f"the model is not written as ONNX: {missing}", run.quiet)
        return None
    return {"largest_difference": max(made["differences"].values()), "scores": made["scores"]["exported"]}


def _opened(path: Path) -> Pool:
    return open_pool(path, quiet=True)


def _anew(run: Run) -> RunOptions:
    """The options of a step, which writes over what an earlier demo left."""
    return {**run.within(), "overwrite": True}


def told_job(job: Mapping[str, Any]) -> str:
    """What came out, in a sentence."""
    scores, exported = job["scores"], job["exported"]
    return (
        f"the model of {job['labels']} labels ({job['method']}, {job['recipe']}): balanced accuracy "
        f"{100 * scores['balanced_accuracy']:.1f} %, top-1 {100 * scores['top1']:.1f} % on {scores['n']:,} held-out "
        "images" + ("" if exported is None else f"; as ONNX top-1 {100 * exported['scores']['top1']:.1f} %")
    )
