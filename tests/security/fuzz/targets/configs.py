"""Settings in TOML: of every command, of visft, of comparisons, of a project; and what browsers send to the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from activetune.base.config import read_config
from activetune.base.errors import ActivetuneError
from activetune.labelling.journal import Event
from activetune.labelling.requests import read_answers, read_class_change
from activetune.labelling.sheet import Sheet
from activetune.studies.rounds.project import ProjectSettings, described, open_project
from activetune.supervision.config import read_config as read_visft
from tests.security.fuzz.targets import Case, Target
from tests.security.fuzz.targets._pool import IDS

COMMAND = (
    'seed = 1\nbudget = "5%"\n[select]\nmethod = "activeft"\nset = {lr = 0.01, steps = [1, 2]}\n[embed]\nout = "x"\n'
)
VISFT = """backbone = "timm/test_vit@32"
stage1_steps = 10
steps = 20
rank = 4

[[tasks]]
task = "classification"
pool = "images"
labels = "labels.csv"
weight = 0.5
head = "linear"

[[tasks]]
task = "detection"
pool = "images"
labels = "coco.json"
weight = 0.5
"""
OPTIONS = ("budget", "seed", "set", "method", "out", "quiet", "workers")


def _commands(folder: Path) -> list[Case]:
    return [{"c.toml": COMMAND.encode()}, {"c.toml": b"set = ['a=1']\nquiet = true\n"}]


def _read_commands(folder: Path) -> None:
    read_config(folder / "c.toml", "select", OPTIONS, ["select", "embed"])


def _read_visft(folder: Path) -> None:
    read_visft(folder / "c.toml", None, {})


def _project(folder: Path) -> list[Case]:
    return [{"project.toml": described(ProjectSettings(pool="photos", budget="5%")).encode()}]


def _read_project(folder: Path) -> None:
    open_project(folder, {})


def _requests(folder: Path) -> list[Case]:
    answers = [
        {"sequence": 1, "id": IDS[0], "label": "cat", "state": "labelled", "by": "x", "suggestion": "cat"},
        {"sequence": 2, "id": IDS[1], "labels": ["cat", "dog"], "reason": "y"},
        {"sequence": 3, "id": IDS[1], "state": "skipped"},
    ]
    change = {"client": "c", "sequence": 4, "kind": "add", "name": "eel"}
    rename = {"client": "c", "sequence": 5, "kind": "rename", "name": "cat", "to": "dog"}
    return [{"r.json": json.dumps(body).encode()} for body in ({"client": "c", "answers": answers}, change, rename)]


def _read_requests(folder: Path) -> None:
    body, told, good = (folder / "r.json").read_bytes(), None, False
    sheet = Sheet(list(IDS))
    for number, name in enumerate(("cat", "dog"), start=1):
        sheet.apply(Event(number, "start", {"kind": "add", "name": name}, 0.0))
    for read in (read_answers, lambda content: [read_class_change(content)]):
        try:
            for number, entry in enumerate(read(body), start=3):
                sheet.refuse(entry.content)
                entry.text.encode()
                sheet.apply(Event(number, entry.client, entry.content, 0.0))
            good = True
        except ActivetuneError as error:
            told = error
    if told is not None and not good:
        raise told


def targets() -> Iterator[Target]:
    """One per kind of settings."""
    yield Target("config of a command", _commands, _read_commands)
    yield Target("config of visft", lambda folder: [{"c.toml": VISFT.encode()}], _read_visft, 0.5)
    yield Target("project.toml", _project, _read_project)
    yield Target("requests of the page", _requests, _read_requests)
