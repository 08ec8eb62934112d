"""Tasks: what is asked about an image, and how its answers are read, trained on and scored; one module per task."""

from __future__ import annotations

from typing import Any

from activetune.base.config import build
from activetune.base.discovery import class_of, modules_of
from activetune.tasks._augmentation import Crops, augmentation
from activetune.tasks._base import Batch, Loss, Measured, Metric, Sample, Task

__all__ = ["Batch", "Crops", "Loss", "Measured", "Metric", "Sample", "Task", "augmentation", "make_task", "tasks"]

DEFAULT = "classification"


def tasks() -> dict[str, type[Task]]:
    """The task classes by name."""
    return {name: class_of(module, Task) for name, module in modules_of(__name__).items()}


def make_task(name: str = DEFAULT, settings: dict[str, Any] | None = None) -> Task:
    """Build a task from its name and settings.

    Raises:
        UsageError: unknown task or setting, or a value of the wrong kind.
    """
    return build(tasks(), name, None, settings or {}, kind="task")
