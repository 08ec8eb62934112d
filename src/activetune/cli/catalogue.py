"""What can be named on the command line, with one line on each: the text of ``activetune list``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from activetune.base.config import field_defaults


def catalogue(what: str) -> Iterator[str]:
    """Lines for what can be listed: ``selectors``, ``formats`` and the like."""
    if what == "selectors":
        from activetune.selection.selectors import selectors

        yield from _methods(selectors())
    elif what == "recipes":
        from activetune.training.recipe import recipes

        yield from _methods(recipes())
    elif what == "probes":
        from activetune.studies.compare.probe import probes

        yield from _methods(dict(probes()))
    elif what == "checks":
        from activetune.studies.check.finding import checks

        yield from _methods(dict(checks()))
    elif what == "tasks":
        from activetune.evaluation.metrics import told
        from activetune.tasks import make_task, tasks

        for name in sorted(tasks()):
            task = make_task(name)
            yield f"{name}: {_about(type(task))}"
            kinds = ", ".join(task.head_kinds())
            yield f"    chosen and scored by {told(task.primary)}; heads, the default first: {kinds}"
    elif what == "backbones":
        from activetune.networks.backbones import backbone_names, sources

        yield from (module.ABOUT for module in sources().values())
        yield from backbone_names()
    elif what == "heads":
        from activetune.networks.heads import ROOMS, heads, options_of
        from activetune.tasks import tasks

        for room in ROOMS:
            answers = ", ".join(name for name, task in tasks().items() if task.room == room)
            for name, cls in heads(room).items():
                yield f"{name}: {_about(cls)}" if room == "classes" else f"{name} ({answers}): {_about(cls)}"
                options = ", ".join(f"{option}={default}" for option, default in options_of(cls).items())
                yield from [f"    options: {options}"] if options else []
    else:
        from activetune.data.annotations import formats, how_written
        from activetune.data.sources import sources

        yield from (module.ABOUT for module in sources().values())
        for name, module in formats().items():
            also = f" (also {', '.join(module.ALSO)})" if hasattr(module, "ALSO") else ""
            yield f"{name}{also}: {module.ABOUT}"
            one_class = ["classification"] if "multilabel" in module.TASKS else []  # where no image has several
            yield f"    read: {', '.join(sorted([*module.TASKS, *one_class]))}"
            written = getattr(module, "WRITES", None)
            yield (
                f"    written: {', '.join(written)}" if written else f"    {how_written(module).removeprefix('it is ')}"
            )


def _methods(found: dict[str, type]) -> Iterator[str]:
    """Name, first line of the docstring, settings with their defaults, presets."""
    for name, cls in sorted(found.items()):
        yield f"{name}: {_about(cls)}"
        for field, default in field_defaults(cls).items():
            yield f"    {field} = {default!r}"
        for preset, values in getattr(cls, "presets", {}).items():
            yield f"    --preset {preset}: " + ", ".join(f"{key}={value}" for key, value in values.items())


def _about(cls: type) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(cls) or "").splitlines()[0]
