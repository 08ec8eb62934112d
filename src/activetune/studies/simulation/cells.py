"""One chain of a simulation: selections, and a model trained and scored for each of their cells.

Labels of the pool are revealed for picked items alone. The test set chooses nothing: it is read when a finished model
is scored. A finished cell is one JSON file, written in one step, so a kill loses no more than the cells it hits.
"""

from __future__ import annotations

import importlib
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.artefact import MANIFEST, read_manifest
from activetune.base.errors import ActivetuneError, UsageError, is_disk_full
from activetune.base.files import write_json
from activetune.base.runtime import resolve_runtime
from activetune.base.settings import flatten
from activetune.base.tables import read_table
from activetune.data.labels import Labels, in_order
from activetune.data.pool import Pool
from activetune.evaluation.curves import Point, training_curve
from activetune.evaluation.evaluate import evaluate
from activetune.evaluation.model import Model
from activetune.features.artefact import Embeddings
from activetune.features.distances import coverage, unit_rows
from activetune.networks.network import CLASSIFICATION
from activetune.networks.regression import LinearHead
from activetune.selection.artefact import Selection, save_selection
from activetune.selection.budget import parse_budget
from activetune.selection.select import select
from activetune.selection.selectors import make_selector
from activetune.studies.simulation.budgets import Budget
from activetune.studies.simulation.features import Features
from activetune.studies.simulation.kept import (
    CELLS,
    MODELS,
    SELECTIONS,
    Row,
    joined,
    keep_last_loop,
    kept_cell,
    kept_selection,
)
from activetune.studies.simulation.plan import Cell, Chain, Entry, Round
from activetune.studies.simulation.scoring import score_head, score_on_features, scored_row
from activetune.studies.simulation.setup import Setup
from activetune.tasks import Scored
from activetune.training.finetune import finetune
from activetune.training.recipe import Recipe, make_recipe

GUIDE = "linear_probe"  # the recipe of the model that methods select by, where the task is not one class per image


class Bench:
    """The simulation as one process sees it: features, and the answers that it may reveal, of one seed at a time."""

    def __init__(self, setup: Setup):
        self.setup = setup
        self.features = Features(setup.parts, setup.folder)
        self._seed: int | None = None
        for module in ("sklearn.linear_model", "sklearn.cluster"):
            importlib.import_module(module)  # now, so that it is not counted as the first cell's time

    def run(self, chain: Chain) -> list[Row]:
        """Make the missing cells of a chain; returns their rows, failed ones with a sentence as ``error``."""
        self.turn_to(chain.seed)
        return [row for round_rows in self._rounds_of(chain) for row in round_rows]

    def turn_to(self, seed: int) -> None:
        """Take up the pool and the test set of a seed; where all seeds share them, once."""
        if self._seed is not None and (seed == self._seed or not self.setup.parts.per_seed):
            return
        self._seed = seed
        self.labelled_pool, self.test = self.features.sides(seed)
        self.pool = replace(self.labelled_pool, labels=None)
        self.answers = in_order(self.setup.parts.answers, self.pool.ids)

    def _rounds_of(self, chain: Chain) -> Iterator[list[Row]]:
        chosen: Selection | None = None
        problem = ""
        for round_ in chain.rounds:
            if not problem and not all(cell.recipe.selects for cell in round_.cells):
                try:
                    chosen = self._selection(chain, round_, chosen)
                except Exception as error:
                    problem = explain(error)
            missing = [cell for cell in round_.cells if kept_cell(self.setup.folder, cell) is None]
            yield [self._cell(chain, round_, cell, chosen, problem) for cell in missing]

    # Selecting ----------------------------------------------------------------------------------------------------

    def _selection(self, chain: Chain, round_: Round, before: Selection | None) -> Selection:
        """The kept selection of this key, or a new one: the earlier picks, and those that the round adds."""
        folder = self.setup.folder / SELECTIONS / round_.name
        kept = kept_selection(folder, round_.key)
        if kept is not None:
            return kept
        chosen = select(
            self._features(round_, chain.seed),
            budget=round_.more,
            method=round_.by.name,
            seed=chain.seed,
            preset=round_.by.preset,
            settings=round_.by.settings,
            device=self.setup.device,
            quiet=True,
            **self._known(round_, before, chain.seed),
        )
        whole = joined(before, chosen, {"key": round_.key, "budget": round_.budget.text, "seed": chain.seed})
        if round_.by.tokens:  # measured on pooled features, as the other methods' picks are
            whole.manifest["figures"].update(self._coverage(whole))
        (folder / MANIFEST).unlink(missing_ok=True)
        return save_selection(whole, folder)

    def _features(self, round_: Round, seed: int) -> Embeddings:
        """What the round's method reads."""
        pool = self.labelled_pool if round_.budget.per_class is not None else self.pool
        return replace(self.features.tokens(seed), labels=pool.labels) if round_.by.tokens else pool

    def _known(self, round_: Round, before: Selection | None, seed: int) -> dict[str, Any]:
        """What a round's method may learn from: the answers so far or, where these are no classes, a model's doubt.

        The model is the frozen backbone under the simulation's kind of head, trained anew on all answers so far.
        """
        if before is None:
            return {}
        answers = self._reveal(before)
        if self.setup.parts.task.name == CLASSIFICATION:
            return {"labelled": answers}
        if not round_.by.in_rounds:
            return {"labelled": answers.ids}
        folder = self.setup.folder / MODELS / f"{round_.name}-{round_.key[:8]}-guide"
        model = self._finetune(answers, folder, seed, recipe=GUIDE)
        shutil.rmtree(folder)
        return {"labelled": answers.ids, "model": model, "pool": self.setup.images}

    def _coverage(self, selection: Selection) -> dict[str, float]:
        """EMD and radius of all picks, on pooled features."""
        picks = np.asarray([self.pool.position[item] for item in selection.ids])
        return coverage(unit_rows(self.pool.features_ND), picks, np.arange(len(self.pool)))

    def _reveal(self, selection: Selection) -> Labels:
        """The answers of the chosen items, in their order; of class names those that occur are the classes."""
        found = in_order(self.answers, selection.ids)
        if self.setup.parts.task.name == CLASSIFICATION:
            return Labels.of(dict(zip(found.ids, found.names, strict=True)))
        return found

    # Training and scoring -----------------------------------------------------------------------------------------

    def _cell(self, chain: Chain, round_: Round, cell: Cell, selection: Selection | None, problem: str) -> Row:
        """Train and score one model, and keep the row."""
        row: dict[str, Any] = {
            "method": chain.method.text,
            "recipe": cell.recipe.text,
            "budget": round_.budget.text,
            "seed": chain.seed,
            "started_by": chain.rounds[0].by.text if chain.method.in_rounds and not cell.recipe.selects else "",
        }
        try:
            if cell.recipe.selects:
                row |= self._score_selecting(chain.method, round_.budget, cell, chain.seed)
            elif problem or selection is None:
                raise ActivetuneError(problem)
            else:
                row |= self._score(selection, cell, chain.seed)
        except Exception as error:
            row["error"] = explain(error)
        write_json(self.setup.folder / CELLS / f"{cell.name}.json", {"key": cell.key, **row})
        return row

    def _score(self, selection: Selection, cell: Cell, seed: int) -> Row:
        labels = self._reveal(selection)
        if refusal := self.setup.parts.task.refusal(labels):
            raise UsageError(refusal)
        started = time.perf_counter()
        head = self._fitted(cell, labels, seed)
        if head is not None:
            seconds = time.perf_counter() - started
            scores: Scored = score_head(head, labels.classes, self.test)
        else:
            scores, made, _ = self._finetuned(labels, cell, seed, cell.recipe.settings)
            seconds = float(made["seconds"])
        figures = selection.manifest["figures"]
        return {
            **scored_row(scores, self.setup.parts.task),
            "seconds": round(figures["seconds"] + seconds, 4),
            "k": len(labels),
            "classes_met": len(self.setup.parts.stock(labels.ids).counts),
            "emd": figures["emd"],
            "radius": figures["radius"],
            "select_seconds": figures["seconds"],
            "train_seconds": round(seconds, 4),
        }

    def _fitted(self, cell: Cell, labels: Labels, seed: int) -> LinearHead | None:
        """The classifier of a cell whose recipe is fitted on the features that are there; None: it must be trained."""
        if self.setup.parts.task.name != CLASSIFICATION or self.setup.head not in ("", "linear"):
            return None
        recipe = make_recipe(cell.recipe.name, cell.recipe.preset, dict(cell.recipe.settings))
        return fit_head(recipe, self.pool, labels, seed)

    def _score_selecting(self, method: Entry, budget: Budget, cell: Cell, seed: int) -> Row:
        """A recipe that selects itself, among all labels: the method and the budget are its settings.

        The items of its row are those of a loop, on the mean: a share is one of the items that are not held out.
        """
        answers = Labels.of(dict(zip(self.answers.ids, self.answers.names, strict=True)))
        usual = flatten(make_selector(method.name))
        own = [f"{name}={value}" for name, value in method.options.items() if value != usual[name]]
        shared = parse_budget(budget.text)[0] == "share"  # a share leaves held-out ones out
        items = budget.text if shared else budget.count
        settings = {**cell.recipe.settings, "budget": items, "select_with": method.name, "select_settings": own}
        scores, figures, curve = self._finetuned(answers, cell, seed, settings)
        selecting = round(sum(loop["seconds"] for loop in figures["loops"]), 4)
        return {
            **scored_row(scores, self.setup.parts.task),
            "seconds": figures["seconds"],
            "k": round(float(np.mean([loop["k"] for loop in figures["loops"]]))),
            "classes_met": len(answers.classes),
            "select_seconds": selecting,
            "train_seconds": round(figures["seconds"] - selecting, 4),
            "batches": figures["batches"],
            "scored": figures["scored_items"],
            "curve": curve,
        }

    def _finetuned(
        self, labels: Labels, cell: Cell, seed: int, settings: Mapping[str, Any]
    ) -> tuple[Scored, Mapping[str, Any], list[Point]]:
        """Finetune as ``activetune finetune`` does, score as ``activetune evaluate`` does.

        Returns:
            The scores, the figures of the manifest, and the rows of the history that count batches.
        """
        setup = self.setup
        folder = setup.folder / MODELS / f"{cell.name}-{cell.key[:8]}"
        recipe = cell.recipe
        named = {"recipe": recipe.name, "preset": recipe.preset, "settings": settings}
        model = self._finetune(labels, folder, seed, **named)
        figures = read_manifest(folder, "model")["figures"]
        columns = read_table(folder / "history.csv")
        curve = training_curve(dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        if cell.recipe.selects:
            keep_last_loop(folder / "selections.csv", setup.folder / SELECTIONS / cell.name)
        test = setup.parts.sides(seed)[1]
        scores = self._scores(model, test, seed)
        if not setup.keep_models:
            shutil.rmtree(folder)
        return scores, figures, curve

    def _scores(self, model: Model, test: Pool, seed: int) -> Scored:
        """On features that are there already, where the backbone is the one that gave them; else on the images."""
        setup, truth = self.setup, self.setup.parts.truth(test)
        runtime = resolve_runtime(setup.device, setup.precision)
        for features in (self.test, self.features.test_tokens(seed)):
            if features is not None and (found := score_on_features(model, features, test, truth, runtime)) is not None:
                return found
        return evaluate(model, test, labels=truth, quiet=True, **setup.where)

    def _finetune(self, labels: Labels, folder: Path, seed: int, **asked: Any) -> Model:
        """Finetune as the setup says, with a recipe's settings; a test set that is a share of the pool is left out."""
        setup = self.setup
        aside = setup.parts.sides(seed)[1].ids if setup.parts.test is None else None
        return finetune(
            setup.images,
            exclude=aside,
            out=folder,
            task=setup.parts.task.name,
            head=setup.head or None,
            labels=labels,
            backbone=setup.backbone,
            weights=setup.weights,
            seed=seed,
            use_cache=setup.use_cache,
            resume=True,
            quiet=True,
            **setup.where,
            **asked,
        )


def fit_head(recipe: Recipe, pool: Embeddings, labels: Labels, seed: int) -> LinearHead | None:
    """The classifier of a recipe that leaves the backbone as it is, from features that are there already."""
    positions_L = np.asarray([pool.position[item] for item in labels.ids])
    held_out = recipe.hold_out(labels.indices, seed)
    return recipe.fit_on_features(pool.features_ND, positions_L, labels.indices, held_out=held_out, seed=seed)


def explain(error: Exception) -> str:
    """A failure as the sentence that is kept for it; a full disk is raised again, as it stops everything."""
    if is_disk_full(error):
        raise error
    if isinstance(error, ActivetuneError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory; try fewer workers or a smaller budget"
    told = str(error).strip().splitlines() or [""]
    return f"unexpected {type(error).__name__}: {told[0][:300]}"
