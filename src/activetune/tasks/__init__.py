"""Tasks: what is asked about an image, and how its answers are read, trained on and scored; one module per task."""

from __future__ import annotations

from activetune.base.discovery import classes_of
from activetune.base.errors import unknown_name
from activetune.evaluation.metrics import Measured
from activetune.networks.loss import Loss
from activetune.tasks._augmentation import Crops, augmentation
from activetune.tasks._base import Task
from activetune.tasks._batch import Batch, Sample
from activetune.tasks._classes import ClassTask
from activetune.tasks._forms import Form, JsonLines, Row, holds_lines, picture_name, refuse_one_name, refuse_others
from activetune.tasks._pictures import with_answer
from activetune.tasks._scorer import Metric, Scored, Scorer

__all__ = [
    "Batch",
    "ClassTask",
    "Crops",
    "Form",
    "JsonLines",
    "Loss",
    "Measured",
    "Metric",
    "Row",
    "Sample",
    "Scored",
    "Scorer",
    "Task",
    "augmentation",
    "holds_lines",
    "make_task",
    "picture_name",
    "refuse_one_name",
    "refuse_others",
    "task_of",
    "tasks",
    "with_answer",
]

DEFAULT = "classification"


def tasks() -> dict[str, type[Task]]:
    """The task classes by name."""
    return classes_of(__name__, Task)


def make_task(name: str = DEFAULT) -> Task:
    """A task by its name.

    >>> make_task("classification").primary
    'top1'

    Raises:
        UsageError: unknown task.
    """
    known = tasks()
    if name not in known:
        raise unknown_name("task", name, known)
    return known[name]()


def task_of(name: str, head: str | None) -> Task:
    """A task by its name, for models with a kind of head; None: the one that it prefers.

    Raises:
        UsageError: unknown task, or a head that does not answer it.
    """
    task = make_task(name)
    if head and head.partition(":")[0] not in task.head_kinds():
        raise unknown_name(f"head of {name}", head.partition(":")[0], task.head_kinds())
    return task.for_head(task.head_class(head or ""))
