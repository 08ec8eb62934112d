"""Project -> the next round: what was answered is merged, a model is trained, and the next items are chosen.

Everything is derived from files that are whole at any moment: the settings, the selections, and the history of answers,
which is written before anything is made of it. A call that was killed is called again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any, Unpack

from activetune.base.artefact import MANIFEST, read_manifest
from activetune.base.config import parse_named
from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.files import read_json, write_bytes, write_json
from activetune.base.locks import holds_output
from activetune.base.printing import counted
from activetune.base.progress import note
from activetune.base.run import Idle, Run, RunOptions
from activetune.base.tables import csv_line
from activetune.data.ids import read_excluded
from activetune.data.labels import Labels
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.evaluation.estimate import SELECTED
from activetune.evaluation.model import Model
from activetune.features.artefact import Embeddings
from activetune.features.embedding import EmbedOptions, embed
from activetune.networks.backbones import load_backbone
from activetune.report.contact_sheet import contact_sheet
from activetune.report.subject import ADVICE, SETTINGS
from activetune.selection.artefact import ANSWERS, CONTACT_SHEET
from activetune.selection.budget import parse_budget
from activetune.selection.model_doubt import reads_model
from activetune.selection.select import select
from activetune.selection.selectors import make_selector
from activetune.studies.rounds.advice import advise, audited, split
from activetune.studies.rounds.answered import Answered, classes_of, take_over
from activetune.studies.rounds.ledger import NO_ROUND, Entry
from activetune.studies.rounds.project import CLASSES, Project, ProjectSettings, open_project
from activetune.training.finetune import finetune
from activetune.training.trackers import asked_trackers

KEEPS = Idle("never replaces what a project holds (another folder starts anew)")
LONG = 120  # characters of class names, from which on they stand in a file


@dataclass(frozen=True)
class NextRound:
    """Where a project stands after a call.

    Attributes:
        state: ``label``: a round has items that nobody has looked at; ``done``: nothing is left to pick.
        round: its number; 0: there is none. new: whether this call has selected it.
        labels: items with a class that may be learned from. merged: answers that this call has taken over.
        conflicts: items with different answers that nobody has settled. ledger: an entry per round.
        advice: of the last round that is finished; empty before. to_do: what to do next, in one line.
    """

    project: Path
    state: str
    round: int
    new: bool
    labels: int
    merged: int
    conflicts: Sequence[str]
    ledger: Sequence[Entry]
    advice: Mapping[str, Any]
    to_do: str


@holds_output("project", folder=True)
def next_round(
    project: str | os.PathLike[str],
    *,
    pool: str | os.PathLike[str] | None = None,
    budget: int | float | str | None = None,
    method: str | None = None,
    recipe: str | None = None,
    backbone: str | None = None,
    weights: str | Path | None = None,
    task: str | None = None,
    audit: int | None = None,
    exclude: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    close: bool = False,
    track: str | Sequence[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> NextRound:
    """Take over what was answered, and choose what to label next; see ``docs/rounds.md``.

    Args:
        project: a folder. The first call makes it, of ``pool`` and ``budget`` and the options up to ``classes``, which
            it keeps in ``project.toml``; later calls may leave them out, and can't change them.
        pool: what :func:`activetune.open_pool` opens; labels of its own are not looked at.
        budget: picks of a round: a number, or a share of the pool (``"5%"``).
        method, recipe: ``NAME``, ``NAME:PRESET`` or ``NAME:setting=value;setting=value``.
        backbone, weights, task: as of :func:`activetune.finetune`.
        audit: random items that the first round asks for too: models are scored on them, and none learns from them.
        exclude: a file with ids that are treated as if they were not in the pool: no round picks them, and no model
            looks at them; of the findings of :func:`activetune.check` those that it says to leave out.
        classes: names of the model's outputs, in order.
        labels: a file (id, label) of answers from elsewhere, to be merged too. An audit beside it (``audit.csv`` of a
            selection) becomes the project's.
        close: end the round although nobody has looked at some of its items.
        track: trackers that record the training of the round's model, as of :func:`activetune.finetune`.
        run_options: see :class:`activetune.RunOptions`; ``seed`` is the project's. Every call goes on where the last
            one was cut off, with ``resume`` or without.

    Raises:
        UsageError: no project and nothing to make one of; other settings than the project's; unknown ids in a file.
    """
    run = Run.of("next", run_options, overwrite=KEEPS)
    asked_trackers(track)  # those that can't be had are refused before any work
    paths = {"weights": _absolute(weights), "exclude": _absolute(exclude)}
    own = {"backbone": backbone, **paths, "task": task, "audit": audit, "seed": run.seed or None}
    asked = {"pool": _absolute(pool), "budget": budget, "method": method, "recipe": recipe, "classes": classes, **own}
    found = _opened(Path(project), asked, run.quiet)
    run = replace(run, seed=found.settings.seed, resume=True)
    images, excluded = _images(found, run)
    return _Call(found, images, run, track, take_over(found, images, labels, run.quiet, excluded=excluded)).go(close)


def _opened(folder: Path, asked: Mapping[str, Any], quiet: bool) -> Project:
    """The project, of what is asked for where it is new: then its pool must be there."""
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if "classes" in given:
        given["classes"] = tuple(given["classes"])
    if "pool" in given and not (folder / SETTINGS).exists():
        images = len(open_pool(given["pool"], quiet=True))
        size = _size(str(given["budget"]), images) if given.get("budget") else 0
        if size > images:
            raise UsageError(f"a round can't ask for {size:,} of {images:,} images; give a smaller --budget, or 10%")
        if (aside := given.get("audit") or 0) > images - size:
            raise UsageError(
                f"a budget of {size:,} and an audit of {aside:,} are more than the pool's {images:,} images; give less "
                "of either"
            )
    return open_project(folder, given, quiet=quiet)


def _images(project: Project, run: Run) -> tuple[Pool, frozenset[str]]:
    """The project's pool, without labels of its own and without what is excluded; and the ids of that."""
    where = project.folder / SETTINGS
    try:
        pool = replace(open_pool(project.settings.pool, quiet=run.quiet), labels=None)
    except UsageError as error:
        raise UsageError(f"{error}; if the project's pool was moved, change its place in {where}") from None
    if not project.settings.exclude:
        return pool, frozenset()
    try:
        excluded = frozenset(read_excluded(project.settings.exclude, pool.position, what="the pool"))
    except UsageError as error:
        raise UsageError(f"{error}; correct the file, or change exclude in {where}") from None
    left = [item for item in pool.ids if item not in excluded]
    if not left:
        raise UsageError(f"{where} excludes all {len(pool):,} images of the pool; give fewer ids in its file")
    note(f"{counted(len(excluded), 'image')} of the pool excluded, by {project.settings.exclude}", run.quiet)
    return pool.subset(left), excluded


def _absolute(path: str | os.PathLike[str] | None) -> str | None:
    """A path that holds from any folder; what is no file or folder here, as it is."""
    if path is None:
        return None
    return str(Path(path).absolute()) if os.fspath(path) and Path(path).exists() else str(path)


@dataclass(frozen=True)
class _Call:
    """One call: the project as it was found, the answers taken over, and what becomes of them."""

    project: Project
    pool: Pool
    run: Run
    track: str | Sequence[str] | None
    answered: Answered

    @property
    def settings(self) -> ProjectSettings:
        return self.project.settings

    def go(self, close: bool) -> NextRound:
        """See :func:`next_round`."""
        project, ledger = self.project, self.answered.write_tables()
        self.answered.tell_gone(self.run.quiet)
        latest = ledger[-1] if ledger else NO_ROUND
        number, waiting = latest.round, latest.open
        if number and not (project.round(number) / ANSWERS).exists():  # killed before it was there, or moved away
            self.answered.write_round(number, self.run.quiet)
        if waiting and not close:
            self._show(number)
            return self._stand("label", ledger, self._to_label(latest))
        unseen = f"nobody has looked at an image of round {number}: they may be asked for again"
        note(unseen, self.run.quiet or not waiting or waiting < latest.asked)
        embeddings = self._embeddings()
        model = self._model(number)
        left = [item for item in embeddings.ids if item not in self.answered.decisions and item not in project.audit]
        asked = _size(self.settings.budget, len(embeddings))
        size = min(asked, len(left))
        last = 0 < size < asked
        note(f"the last {counted(size, 'image')}; a round asks for {asked:,} otherwise", self.run.quiet or not last)
        self._advise(number, embeddings, model, size)
        if not left:
            final = f"{project.model(number)} is the last model" if model else "no model could be trained"
            return self._stand("done", ledger, f"nothing is left to pick: every image was looked at; {final}")
        self._select(number + 1, embeddings, model, size)
        ledger = self.answered.write_tables()
        return self._stand("label", ledger, self._to_label(ledger[-1]), new=True)

    # What is made of it ---------------------------------------------------------------------------------------------

    def _embeddings(self) -> Embeddings:
        """The pool's features; of a pool that has changed they are computed again."""
        settings, options = self.settings, EmbedOptions().within(self.run)
        backbone = load_backbone(settings.backbone, settings.weights or None)
        given: dict[str, Any] = {"backbone": backbone, "out": self.project.embeddings, "options": options}
        try:
            return embed(self.pool, **given, resume=True, quiet=self.run.quiet)
        except UsageError:
            note("the pool or the backbone has changed: the features are computed again", self.run.quiet)
            return embed(self.pool, **given, overwrite=True, quiet=self.run.quiet)

    def _model(self, number: int) -> Model | None:
        """The model of all answers so far; None where they can't teach one."""
        labels, settings, out = self.answered.taught, self.settings, self.project.model(number)
        names = self.answered.classes(labels)
        if len(names) < 2:
            why = f"all {len(labels):,} labels are {names.pop()!r}" if names else "there is no label yet"
            note(f"no model is trained: {why}", self.run.quiet or not number)
            return None
        classes = [*settings.classes, *sorted(names - set(settings.classes))] if settings.classes else None
        recipe, preset, own = parse_named(settings.recipe)
        given: dict[str, Any] = {
            "out": out, "task": settings.task, "labels": split(labels) if settings.multilabel else labels,
            "classes": classes, "backbone": settings.backbone, "weights": settings.weights or None,
            "recipe": recipe, "preset": preset, "settings": own, "seed": settings.seed, "exclude": self._unseen(),
            "track": self.track, **self.run.within(),
        }  # fmt: skip
        finished = (out / MANIFEST).is_file()
        try:
            model = finetune(self.pool, **given, resume=True)
        except UsageError:
            if not out.is_dir():
                raise
            finished, model = False, finetune(self.pool, **given, overwrite=True)  # an answer was corrected since
        if not finished and read_manifest(out, "model")["figures"].get("estimate"):
            told = "; the audit tells it" if self.project.audit else ""
            note(f"the labelled items were {SELECTED}{told}", self.run.quiet)
        return model

    def _unseen(self) -> list[str] | None:
        """The audit, where the recipe learns from images without a label too."""
        labels = Labels.of(self.answered.taught)
        if not self.settings.chosen_recipe.learns_from_pool(self.settings.task, "", labels, len(self.pool)):
            return None
        audit = sorted(self.project.audit & self.pool.position.keys())
        if audit:
            told = f"{self.settings.recipe} learns from images without a label too, but not from the audit's"
            note(f"{told}: {counted(len(audit), 'image')}", self.run.quiet)
        return audit

    def _advise(self, number: int, embeddings: Embeddings, model: Model | None, more: int) -> None:
        """Add to ``advice.json`` what there is to say after a round."""
        path, audit, taught = self.project.folder / ADVICE, self.project.audit, self.answered.taught
        if not number and not taught:
            return
        answers = self.answered.of(audit & self.pool.position.keys())
        multilabel, scored = self.settings.multilabel, None
        if model is not None and answers:
            scored = audited(model, self.pool, answers, self.run, multilabel=multilabel)
        found: dict[str, Any] = {"gain": None, "stability": None, "labels": len(taught), "sentence": ""}
        if not multilabel:
            before = self.answered.taught_before(number) if number else {}
            given: dict[str, Any] = {"aside": audit, "audit": scored, "quiet": self.run.quiet}
            found = advise(embeddings, taught, before, more, self.settings.seed, **given)
        others = [one for one in _kept(path) if one.get("round") != number]
        write_json(path, {"kind": "advice", "rounds": [*others, {"round": number, **found, "audit": scored}]})

    def _select(self, number: int, embeddings: Embeddings, model: Model | None, size: int) -> None:
        """The next round's items, by what is known."""
        settings, audit = self.settings, self.project.audit
        method, preset, own = parse_named(settings.method)
        selector = make_selector(method, preset, own)
        guided = model is not None and reads_model(selector) and self._model_tells_more()
        passed, labels, present = self.answered.passed, self.answered.taught, embeddings.position
        known = {item: name for item, name in labels.items() if item in present}
        wanted = max(0, settings.audit - len(audit)) if number == 1 else 0
        aside = min(wanted, max(0, len(embeddings) - len(self.answered.decisions) - size))
        folder = self.project.round(number)
        select(
            embeddings,
            budget=size,
            method=method,
            preset=preset,
            settings=own,
            labelled=list(known) if settings.multilabel else known or None,
            exclude=[item for item in passed if item in present and item not in audit] or None,
            candidates=[item for item in embeddings.ids if item not in audit] if audit else None,
            model=model if guided else None,
            pool=self.pool if guided else None,
            audit=aside,
            out=folder,
            seed=settings.seed + number - 1,
            device=self.run.device,
            workers=self.run.workers,
            quiet=self.run.quiet,
        )
        self._show(number)

    def _show(self, number: int) -> None:
        """The page of a round's picks, where it is not there: it comes last, and a run may have ended before."""
        folder = self.project.round(number)
        if not (folder / CONTACT_SHEET).exists():
            contact_sheet(folder)

    def _model_tells_more(self) -> bool:
        """Whether the round's model knows more than the probe that a selection itself learns from the labels."""
        return self.settings.multilabel or not self.settings.chosen_recipe.frozen

    # What is told ---------------------------------------------------------------------------------------------------

    def _to_label(self, latest: Entry) -> str:
        folder, names = self.project.round(latest.round), classes_of(self.project)
        told = csv_line(names).rstrip("\n") if names else "CLASS,CLASS,..."
        if len(told) > LONG and "," not in str(path := self.project.folder / CLASSES):
            write_bytes(path, "".join(f"{name}\n" for name in names).encode())
            told = str(path)
        several = " --multilabel" if self.settings.multilabel else ""
        waiting, asked = latest.open, latest.asked
        open_ = f"{waiting:,} of {asked:,} items" if waiting < asked else counted(waiting, "item")
        open_ += " waits" if waiting == 1 else " wait"
        return (
            f"{open_} for a label: activetune label {quote(str(folder))} --classes {quote(told)}{several} "
            f"(or fill in {folder / ANSWERS}); then: activetune next {quote(str(self.project.folder))}"
        )

    def _stand(self, state: str, ledger: Sequence[Entry], to_do: str, *, new: bool = False) -> NextRound:
        kept = _kept(self.project.folder / ADVICE)
        return NextRound(
            self.project.folder,
            state,
            (ledger[-1] if ledger else NO_ROUND).round,
            new,
            labels=len(self.answered.taught),
            merged=len(self.answered.added),
            conflicts=self.answered.conflicts,
            ledger=ledger,
            advice=kept[-1] if kept else {},
            to_do=to_do,
        )


def _kept(path: Path) -> list[dict[str, Any]]:
    """What ``advice.json`` holds of earlier rounds; a damaged one is made again."""
    try:
        found = read_json(path).get("rounds") if path.is_file() else None
    except ActivetuneError:
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _size(budget: str, total: int) -> int:
    """Picks of a round."""
    kind, value = parse_budget(budget)
    return max(1, round(value * total)) if kind == "share" else int(value)
