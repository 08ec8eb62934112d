"""What a report is about: a finished folder, and the artefacts that panels ask for, each loaded when it is asked for.

An artefact that is not there is None. Panels name those that they need, and stand where all of them are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.files import parse_json, read_json
from activetune.base.run import Run
from activetune.base.tables import read_own_table, read_table
from activetune.data.ids import refuse_foreign_ids
from activetune.data.labels import Labels, labels_of
from activetune.data.opening import open_pool
from activetune.data.pool import NO_PATIENCE, Pool
from activetune.evaluation.model import Model, load
from activetune.features.artefact import Embeddings, load_embeddings
from activetune.features.embedding import EmbedOptions, features_of, take
from activetune.report.answered import Answered, answered
from activetune.report.comparison import ATTENTION
from activetune.report.simulation_results import Results
from activetune.selection.artefact import ANSWERS, Selection, load_selection
from activetune.selection.images import items_of, pool_of

EMBEDDINGS, SELECTION, MODEL = "embeddings", "selection", "model"
SIMULATION, DEMO, COMPARISON, VISFT = "simulation", "demo", "comparison", "visft"
CHECK, PROJECT = "check", "project"
USED = {  # what each kind of report reads beside its folder
    EMBEDDINGS: {"pool", "labels", "layouts"},
    SELECTION: {"pool", "labels", "embeddings", "layouts"},
    MODEL: {"pool", "labels", "embeddings", "layouts"},
    SIMULATION: {"pool", "layouts"},
    DEMO: {"layouts"},
    COMPARISON: set(),
    VISFT: set(),
    CHECK: set(),
    PROJECT: {"pool", "layouts"},
}
KINDS = tuple(USED)  # of folders, by their manifests
REMARKS = ("suggestion", "round", "state")  # columns of labels.csv that items are coloured by
FINDINGS = "findings.csv"
FOUND = ("id", "kind", "other", "why")  # columns of it that the page tells
NEXT = "run activetune next again, which writes it anew"
SETTINGS, LEDGER, ADVICE, CONFLICTS = "project.toml", "ledger.csv", "advice.json", "conflicts.csv"  # of a project
SCORES, HISTORY, LABEL_ERRORS = "scores.json", "history.csv", "label_errors.csv"


@dataclass(frozen=True)
class Given:
    """What is given beside the folder.

    Attributes:
        pool: where the images are. labels: known answers. embeddings: features for the map. layouts: of the map.
    """

    pool: Pool | None = None
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None = None
    embeddings: Embeddings | None = None
    layouts: Sequence[str] = ("pca",)


@dataclass(frozen=True)
class Subject:
    """A folder and what is known of it."""

    folder: Path
    manifest: Mapping[str, Any]
    run: Run
    given: Given = field(default_factory=Given)

    @property
    def kind(self) -> str:
        """Of the folder, by its manifest."""
        return str(self.manifest["kind"])

    def has(self, name: str) -> bool:
        """Whether an artefact is there."""
        return getattr(self, name) is not None

    # Artefacts ----------------------------------------------------------------------------------------------------

    @cached_property
    def selection(self) -> Selection | None:
        """The picks."""
        return load_selection(self.folder) if self.kind == SELECTION else None

    @cached_property
    def results(self) -> Results | None:
        """What came out of a simulation."""
        return Results.read(self.folder) if self.kind == SIMULATION else None

    @cached_property
    def found_pool(self) -> tuple[Pool | None, str]:
        """Where the images are, and a sentence where that can't be told or reached."""
        if self.given.pool is not None:
            self._refuse_another(self.given.pool)
            return replace(self.given.pool, patience=NO_PATIENCE), ""  # what is not at hand now is left out
        if self.kind == DEMO:
            return open_pool(self.folder / "images", quiet=True), ""
        if self.kind == CHECK:
            return _opened(self.manifest["names"]["pool"])
        artefact = self.selection or self.embeddings
        if artefact is None or self.kind == MODEL:
            return None, ""
        try:
            return replace(pool_of(artefact), patience=NO_PATIENCE), ""
        except (ActivetuneError, OSError) as error:
            return None, str(error)

    def _refuse_another(self, pool: Pool) -> None:
        """Refuse a pool that has none of the folder's items: every picture would be missing."""
        artefact = self.selection or (self.embeddings if self.kind == EMBEDDINGS else None)
        if artefact is not None and not any(item in pool.position for item in artefact.ids):
            refuse_foreign_ids(artefact.ids, pool, self.folder)

    @cached_property
    def test_pool(self) -> tuple[Pool | None, str]:
        """Where the images are that a pool was checked against, as :attr:`found_pool`."""
        place = self.manifest["names"]["test"] if self.kind == CHECK else None
        return (None, "") if place is None else _opened(place)

    @property
    def pool(self) -> Pool | None:
        """Where the images are."""
        return self.found_pool[0]

    @cached_property
    def embeddings(self) -> Embeddings | None:
        """The features that the map is drawn of."""
        if self.given.embeddings is not None:
            return self._belonging(self.given.embeddings)
        if self.kind == EMBEDDINGS:
            return load_embeddings(self.folder)
        if self.kind in (DEMO, PROJECT):
            return load_embeddings(self.folder / "embeddings")
        if self.results is not None:
            return load_embeddings(self.folder / "embeddings" / ("whole" if self.results.split_per_seed else "pool"))
        if self.selection is not None:
            return self._selected_from()
        if self.answered is not None and self.given.pool is not None:
            options, backbone = EmbedOptions().within(self.run), self.model.backbone
            ids = self.answered.ids
            return features_of(self.given.pool, ids, backbone=backbone, options=options, quiet=self.run.quiet)
        return None

    def _belonging(self, embeddings: Embeddings) -> Embeddings:
        """The embeddings that were given, if they are those of the folder.

        Raises:
            UsageError: a selection was made from others, or none of a model's answers is among them.
        """
        if self.selection is not None and self.manifest.get("embeddings") != embeddings.fingerprint:
            raise UsageError(f"{self.folder} was not selected from these embeddings; give those that it was made from")
        if self.answered is None:
            return embeddings
        ids = [item for item in self.answered.ids if item in embeddings.position]
        if not ids:
            raise UsageError(
                "none of the images that the model has answered is in these embeddings; give the pool's own"
            )
        return take(embeddings, ids)

    def _selected_from(self) -> Embeddings | None:
        """The embeddings that a selection names, where they are still there and the same."""
        path = self.manifest.get("embeddings_path")
        if not path or not Path(path).exists():
            return None
        try:
            found = load_embeddings(path)
        except (ActivetuneError, OSError):
            return None
        return found if found.fingerprint == self.manifest.get("embeddings") else None

    @cached_property
    def model(self) -> Model:
        """The model, of a folder of ``finetune``."""
        return load(self.folder)

    @cached_property
    def answered(self) -> Answered | None:
        """What a model answers to the items of the pool that is given."""
        if self.kind != MODEL or self.given.pool is None:
            return None
        labels = self.given.labels
        path = os.fspath(labels) if isinstance(labels, os.PathLike) else labels
        return answered(self.model, self.given.pool, path, self.run)

    @cached_property
    def scores(self) -> Mapping[str, Any] | None:
        """A model's scores on held-out items: those just measured, or the ones that ``evaluate`` has left."""
        if self.answered is not None:
            return self.answered.scores
        path = self.folder / SCORES
        return read_json(path) if self.kind == MODEL and path.is_file() else None

    @property
    def by_class(self) -> Answered | None:
        """The answers, where each is one class."""
        return self.answered if self.answered is not None and self.answered.probs_NC is not None else None

    @property
    def worst(self) -> Answered | None:
        """The answers, where each has a place in the image, or is several names, or a sentence."""
        return self.answered if self.answered is not None and self.answered.worst else None

    @cached_property
    def history(self) -> Mapping[str, Sequence[str]] | None:
        """The rows of a training, by columns."""
        path = self.folder / HISTORY
        again = "train again, or remove it: the report stands without it"
        found = read_own_table(path, (), again) if self.kind in (MODEL, VISFT) and path.is_file() else {}
        return found if any(len(column) for column in found.values()) else None

    @cached_property
    def known(self) -> Mapping[str, str] | None:
        """Class names by item: those that people gave, then those of the embeddings."""
        found: dict[str, str] = {}
        if self.embeddings is not None and self.embeddings.labels is not None:
            named = zip(self.embeddings.ids, self.embeddings.labels, strict=True)
            found = {item: name for item, name in named if name is not None}
        return {**found, **self._answers()} or None

    @cached_property
    def known_classes(self) -> Mapping[str, Sequence[str]]:
        """The classes of each item of :attr:`known`: one, or the several that ``labels.csv`` lists."""
        several = {item: names for item, text in self._noted("labels").items() if (names := _names(text)) is not None}
        given = self.given.labels is not None
        return {item: [name] if given else several.get(item, [name]) for item, name in (self.known or {}).items()}

    @cached_property
    def _listed(self) -> Mapping[str, Sequence[Any]]:
        """The columns of a selection's ``labels.csv``; empty where there is none that can be read."""
        path = self.folder / ANSWERS
        if self.kind not in (SELECTION, PROJECT) or not path.is_file():
            return {}
        try:
            found = read_table(path)
        except UsageError:
            return {}
        return found if {"id", "label"} <= found.keys() else {}

    def _answers(self) -> dict[str, str]:
        """Class names that were given, or written into a selection's ``labels.csv``."""
        given = self.given.labels
        if given is None or self.kind == MODEL:  # a model's task reads them, whatever they are
            return self._noted("label")
        pool = self.pool or (items_of(self.embeddings) if self.embeddings is not None else None)
        if pool is None:
            raise UsageError(f"labels name items of a pool, and that of {self.folder} is not there; give --pool POOL")
        found = labels_of(given, pool, quiet=self.run.quiet)
        return dict(zip(found.ids, found.names, strict=True))

    def _noted(self, column: str) -> dict[str, str]:
        """What a column of ``labels.csv`` says of each item."""
        values = zip(self._listed.get("id", ()), self._listed.get(column, ()), strict=False)
        return {str(item): str(value) for item, value in values if value not in (None, "")}

    @cached_property
    def remarks(self) -> Mapping[str, Mapping[str, str]]:
        """What ``labels.csv`` says of items beside their labels, by column: suggestion, round, state."""
        found = {column: self._noted(column) for column in REMARKS}
        return {column: values for column, values in found.items() if values}

    @cached_property
    def label_errors(self) -> Mapping[str, Sequence[Any]] | None:
        """The rows of ``label_errors.csv``, by columns: likely label errors, the likeliest first."""
        path = self.folder / LABEL_ERRORS
        again = "list them again (activetune label-errors --overwrite), or remove it: the report stands without it"
        found = read_own_table(path, ("id",), again) if path.is_file() else {}
        return found if found.get("id") else None

    @cached_property
    def ledger(self) -> Mapping[str, Sequence[Any]] | None:
        """What each round of a project has asked for and got, by columns."""
        path = self.folder / LEDGER
        return read_own_table(path, ("round",), NEXT) if self.kind == PROJECT and path.is_file() else None

    @cached_property
    def conflicts(self) -> Mapping[str, Sequence[Any]] | None:
        """A project's items with different answers, by columns."""
        path = self.folder / CONFLICTS
        return read_own_table(path, ("open",), NEXT) if self.kind == PROJECT and path.is_file() else None

    @cached_property
    def advice(self) -> Sequence[Mapping[str, Any]] | None:
        """What was said after each round of a project."""
        path = self.folder / ADVICE
        if self.kind != PROJECT or not path.is_file():
            return None
        rounds = read_json(path).get("rounds")
        if not isinstance(rounds, list) or not all(isinstance(one, dict) for one in rounds):
            raise UsageError(f"{path} is damaged: it holds no list of rounds; {NEXT}")
        return rounds

    @cached_property
    def findings(self) -> Mapping[str, Sequence[Mapping[str, str]]] | None:
        """The rows of a check's ``findings.csv``, by kind."""
        if self.kind != CHECK:
            return None
        columns = read_own_table(self.folder / FINDINGS, FOUND, "check again with --overwrite")
        found: dict[str, list[Mapping[str, str]]] = {}
        for cells in zip(*columns.values(), strict=True):
            row = dict(zip(columns, cells, strict=True))
            found.setdefault(row["kind"], []).append(row)
        return found

    @cached_property
    def differences(self) -> Sequence[Mapping[str, Any]] | None:
        """The rows of a comparison."""
        return self.manifest["figures"]["rows"] if self.kind == COMPARISON else None

    @cached_property
    def attention(self) -> Path | None:
        """The picture of where class tokens look."""
        path = self.folder / ATTENTION
        return path if path.is_file() else None


def _opened(place: Mapping[str, Any]) -> tuple[Pool | None, str]:
    """A pool that a manifest names, and a sentence where it can't be reached."""
    try:
        return replace(open_pool(place["pool_path"] or place["pool"], quiet=True), patience=NO_PATIENCE), ""
    except (ActivetuneError, OSError) as error:
        return None, str(error)


def _names(text: str) -> list[str] | None:
    """The class names of a list in JSON; None where it is none."""
    try:
        found = parse_json(text)
    except ValueError:
        return None
    return [str(name) for name in found] if isinstance(found, list) else None
