"""activetune: finetune pretrained vision models under a budget.

    pool -> embeddings -> selection -> labels -> model -> scores -> report

The public names are loaded when first used: ``import activetune`` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from activetune.backbones import Backbone, load_backbone
    from activetune.captioning import caption
    from activetune.corruption import corrupt
    from activetune.digits_demo import demo
    from activetune.embedding import EmbedOptions, embed
    from activetune.errors import ActivetuneError, UsageError
    from activetune.evaluation import evaluate, evaluate_shifts, predict
    from activetune.finetuning import finetune
    from activetune.labels import read_labels
    from activetune.model import Model, load
    from activetune.pool import open_pool
    from activetune.selection import select
    from activetune.simulation import Simulation, simulate
    from activetune.store import load_embeddings, load_selection
    from activetune.types import Embeddings, Labels, Pool, Scores, Selection

_HOME = {
    "ActivetuneError": "errors",
    "Backbone": "backbones",
    "EmbedOptions": "embedding",
    "Embeddings": "types",
    "Labels": "types",
    "Model": "model",
    "Pool": "types",
    "Scores": "types",
    "Selection": "types",
    "Simulation": "simulation",
    "UsageError": "errors",
    "caption": "captioning",
    "corrupt": "corruption",
    "demo": "digits_demo",
    "embed": "embedding",
    "evaluate": "evaluation",
    "evaluate_shifts": "evaluation",
    "finetune": "finetuning",
    "load": "model",
    "load_backbone": "backbones",
    "load_embeddings": "store",
    "load_selection": "store",
    "open_pool": "pool",
    "predict": "evaluation",
    "read_labels": "labels",
    "select": "selection",
    "simulate": "simulation",
}

__all__ = [
    "ActivetuneError",
    "Backbone",
    "EmbedOptions",
    "Embeddings",
    "Labels",
    "Model",
    "Pool",
    "Scores",
    "Selection",
    "Simulation",
    "UsageError",
    "caption",
    "corrupt",
    "demo",
    "embed",
    "evaluate",
    "evaluate_shifts",
    "finetune",
    "load",
    "load_backbone",
    "load_embeddings",
    "load_selection",
    "open_pool",
    "predict",
    "read_labels",
    "select",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'activetune' has no attribute {name!r}")
    return getattr(importlib.import_module(f"activetune.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
