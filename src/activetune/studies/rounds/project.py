"""A project's folder: its settings, ``project.toml``, and where everything else lies in it.

=================== ======================================================================================
``project.toml``    the settings; to be edited
``embeddings/``     the pool's features
``rounds/001/``     a selection, with the ``labels.csv`` that people fill in; the program never writes answers there
``models/001/``     the model of all answers after round 1
``history.csv``     every answer that was ever taken over, one row each; rows are added and never changed
``labels.csv``      the answer that counts of each item, made from the history
``conflicts.csv``   items with different answers
``audit.csv``       the items that no model learns from; ``given_audit.csv``: those of them that came with ``--labels``
``ledger.csv``      what each round has asked for and got
``advice.json``     after each round: what more labels would bring
=================== ======================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from activetune.base.config import configure, parse_named
from activetune.base.errors import UsageError
from activetune.base.files import replacing
from activetune.base.names import whole_number
from activetune.base.printing import counted
from activetune.base.progress import note
from activetune.base.run import MOST_SEED
from activetune.base.settings import Settings
from activetune.base.toml_files import read_toml
from activetune.base.urls import is_address, without_secrets
from activetune.report.subject import SETTINGS
from activetune.selection.artefact import Selection, load_selection
from activetune.selection.audit import read_audit
from activetune.selection.budget import parse_budget
from activetune.selection.selectors import make_selector
from activetune.tasks import make_task
from activetune.training.recipe import Recipe, make_recipe

GIVEN_AUDIT, CLASSES, ROUNDS = "given_audit.csv", "classes.txt", "rounds"
TASKS = ("classification", "multilabel")  # whose answers are class names, which a table holds


@dataclass(frozen=True)
class ProjectSettings(Settings):
    """What ``project.toml`` says.

    Attributes:
        pool: the images. budget: picks of a round, a number or a share of the pool. method: the selector.
        recipe: of each round's model; both as ``NAME``, ``NAME:PRESET`` or ``NAME:setting=value;setting=value``.
        backbone, weights: of the features and the models. task: what is asked.
        audit: random items of the first round that models are scored on, and that none learns from.
        classes: names, in the order of a model's outputs; those that are answered are added.
        exclude: a file with ids that are treated as if they were not in the pool, such as the findings of a check.
        seed: of every choice.
    """

    later: ClassVar[frozenset[str]] = frozenset({"exclude"})  # projects of earlier versions don't say it

    explained: ClassVar[Mapping[str, str]] = {
        "pool": "the images: a folder, or what else 'activetune embed' takes",
        "budget": "how many items a round asks for: a number (100) or a share of the pool (5%)",
        "method": "chooses them, see 'activetune list selectors'; with settings: NAME:PRESET, NAME:setting=value;...",
        "recipe": "trains each round's model, see 'activetune list recipes'; written as the method is",
        "backbone": "of the features and of the models; a change takes effect from the next call on",
        "weights": "a local file of the backbone's weights; empty: none",
        "task": f"what is asked about the images: {' or '.join(TASKS)}",
        "audit": "random items of the first round that models are scored on, and that none learns from",
        "classes": "names in the order of a model's outputs; names that people add come after them",
        "exclude": "a file with ids to treat as if they were not in the pool, as 'activetune check' makes; empty: none",
        "seed": "of every random choice",
    }

    pool: str = ""
    budget: str = "100"
    method: str = "auto"
    recipe: str = "linear_probe"
    backbone: str = "bundled"
    weights: str = ""
    task: str = TASKS[0]
    audit: int = 0
    classes: tuple[str, ...] = ()
    exclude: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what no round could be made with.

        Raises:
            UsageError: unknown names, an impossible number, a task whose answers are no class names.
        """
        if parse_budget(self.budget)[0] not in ("count", "share"):
            raise UsageError(
                f"a round's budget is a number or a share of the pool, not {self.budget!r}; give 100 or 5%"
            )
        if is_address(self.pool) and without_secrets(self.pool) != self.pool:
            raise UsageError(
                f"a project keeps the address of its pool, so that {without_secrets(self.pool)} can hold no password "
                "and no signature; give credentials as the store's own programs take them"
            )
        if min(self.audit, self.seed) < 0 or self.seed > MOST_SEED:
            raise UsageError(f"a project's audit and seed are 0 or more, and the seed is {MOST_SEED:,} at most")
        make_task(self.task)
        if self.task not in TASKS:
            raise UsageError(
                f"a project's answers are class names, so its task is {' or '.join(TASKS)}, not {self.task}; for "
                "others go round by round with 'activetune select' and 'activetune finetune'"
            )
        make_selector(*parse_named(self.method))
        self.chosen_recipe.refuse(parse_named(self.recipe)[0], self.task, None)

    @property
    def chosen_recipe(self) -> Recipe:
        """The recipe with its settings."""
        return make_recipe(*parse_named(self.recipe))

    @property
    def multilabel(self) -> bool:
        """Whether an image may show several classes."""
        return self.task == TASKS[1]


@dataclass(frozen=True)
class Project:
    """A project's folder and settings."""

    folder: Path
    settings: ProjectSettings

    @property
    def embeddings(self) -> Path:
        """The pool's features."""
        return self.folder / "embeddings"

    def round(self, number: int) -> Path:
        """The selection of a round, counted from 1."""
        return self.folder / ROUNDS / f"{number:03d}"

    def selection(self, number: int) -> Selection:
        """What a round asks for.

        Raises:
            UsageError: its files are damaged or gone.
        """
        folder = self.round(number)
        again = f"bring it back from a copy, or move {folder} away: answers that were taken over from it stay"
        return load_selection(folder, again=again)

    def model(self, number: int) -> Path:
        """The model of all answers after a round; 0: of those that were there before the first."""
        return self.folder / "models" / f"{number:03d}"

    @property
    def rounds(self) -> list[int]:
        """The numbers of the rounds whose selection is finished, ascending."""
        found = (whole_number(path.parent.name) for path in self.folder.glob(f"{ROUNDS}/*/manifest.json"))
        return sorted(number for number in found if number is not None)

    @property
    def audit(self) -> frozenset[str]:
        """The items that no model may learn from, and that no round picks: a round's, or given beside labels."""
        return self.given_audit.union(*(read_audit(self.round(number)) for number in self.rounds))

    @property
    def given_audit(self) -> frozenset[str]:
        """The part of the audit that came with labels from elsewhere."""
        again = "bring it back from a copy, or move it away and give the labels that it came with again (--labels)"
        return frozenset(read_audit(self.folder, name=GIVEN_AUDIT, again=again))


def open_project(folder: Path, asked: Mapping[str, Any], *, quiet: bool = False) -> Project:
    """The project of a folder; a new one is made of what is asked for.

    Raises:
        UsageError: no project and no pool to make one of, other settings than the project's, or a file that is damaged
            or says less than a project's first call has written into it.
    """
    path = folder / SETTINGS
    if not path.exists():
        return _made(folder, asked, quiet)
    content = read_toml(path, "the project's settings")
    settings = _configured(content, str(path))
    _refuse_shortened(path, content)
    if not settings.pool:
        raise UsageError(f'{path} names no pool; give one there: pool = "…"')
    given = _configured({**content, **asked}, "what was given")
    changed = [name for name in asked if getattr(given, name) != getattr(settings, name)]
    if changed:
        name = changed[0]
        raise UsageError(
            f"{folder} has {name} = {getattr(settings, name)!r}, not {getattr(given, name)!r}; edit {path} to change "
            "it, or leave the option out"
        )
    return Project(folder, settings)


def project_around(selection: Path) -> Project | None:
    """The project of a round's folder; None where a selection belongs to none.

    Raises:
        UsageError: its settings are damaged.
    """
    rounds = selection.absolute().parent
    if rounds.name != ROUNDS or not (rounds.parent / SETTINGS).is_file():
        return None
    return open_project(rounds.parent, {})


def _refuse_shortened(path: Path, content: Mapping[str, Any]) -> None:
    missing = [field.name for field in fields(ProjectSettings) if field.name not in content]
    if set(missing) - ProjectSettings.later:  # what is cut off has lost its last line, which is of an earlier version
        lines = ", ".join(_line(ProjectSettings(), name) for name in missing)
        raise UsageError(
            f"{path} does not say {', '.join(missing)}: it was cut off, or lines were taken out. Add them as they were "
            f"(a new project has {lines}), or move the file away and give the options of the first call again: rounds "
            "and answers stay"
        )


def _made(folder: Path, asked: Mapping[str, Any], quiet: bool) -> Project:
    missing = [name for name in ("pool", "budget") if not asked.get(name)]
    if missing:
        raise UsageError(
            f"{folder} is no project yet (it has no {SETTINGS}); make one with: activetune next {folder} --pool POOL "
            "--budget 100"
        )
    settings = _configured(asked, "the project")
    if rounds := Project(folder, settings).rounds:
        told = counted(len(rounds), "round")
        note(f"{folder} had lost its {SETTINGS}: it is written anew, {told} and all answers stay", quiet)
        return _kept(folder, settings)
    others = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")] if folder.is_dir() else []
    if others:
        raise UsageError(f"{folder} holds something else ({others[0]!r}); nothing was written: choose another folder")
    return _kept(folder, settings)


def _kept(folder: Path, settings: ProjectSettings) -> Project:
    with replacing(folder / SETTINGS) as partial:
        partial.write_text(described(settings), encoding="utf-8")
    return Project(folder, settings)


def _configured(values: Mapping[str, Any], what: str) -> ProjectSettings:
    texts = {name: str(value) if name == "budget" else value for name, value in values.items()}
    return configure(ProjectSettings, texts, what=what)


def described(settings: ProjectSettings) -> str:
    r"""The settings as TOML, each with a line on what it is.

    >>> "budget = \"5%\"" in described(ProjectSettings(pool="photos", budget="5%"))
    True
    """
    parts = ["# A project of 'activetune next'. Values may be changed between two calls; answers are never kept here."]
    for field in fields(settings):
        parts += ["", f"# {settings.explained[field.name]}", _line(settings, field.name)]
    return "\n".join(parts) + "\n"


def _line(settings: ProjectSettings, name: str) -> str:
    value = getattr(settings, name)
    told = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    return f"{name} = {told.replace(chr(127), chr(92) + 'u007f')}"
