"""activetune: finetune pretrained vision models under a budget.

    pool -> embeddings -> selection -> labels -> model -> scores -> report

The public names are loaded when first used: ``import activetune`` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from activetune.base.errors import ActivetuneError, UsageError
    from activetune.base.run import RunOptions
    from activetune.data.annotations import pool_annotations, read_annotations, save_annotations
    from activetune.data.corruption import corrupt
    from activetune.data.labels import Labels, read_labels
    from activetune.data.opening import open_pool
    from activetune.data.pool import Pool
    from activetune.evaluation.evaluate import evaluate, evaluate_shifts
    from activetune.evaluation.model import Model, load
    from activetune.evaluation.predict import predict
    from activetune.evaluation.scores import Scores
    from activetune.evaluation.streaming import stream_predictions
    from activetune.features.artefact import Embeddings, load_embeddings
    from activetune.features.embedding import EmbedOptions, embed
    from activetune.features.text.captioning import caption
    from activetune.handover.exchange import export_labels, import_labels
    from activetune.handover.export_model import export_model
    from activetune.labelling.label import label
    from activetune.networks.backbones import Backbone, load_backbone
    from activetune.report import write_report
    from activetune.report.contact_sheet import contact_sheet
    from activetune.selection.artefact import Selection, load_selection
    from activetune.selection.images import save_images
    from activetune.selection.select import select
    from activetune.serving.predictions import serve
    from activetune.studies.check.check import Checked, check
    from activetune.studies.compare.compare import Comparison, compare
    from activetune.studies.demo.demo import demo
    from activetune.studies.doctor import Health, doctor
    from activetune.studies.label_errors import LabelError, label_errors
    from activetune.studies.rounds.next_round import NextRound, next_round
    from activetune.studies.simulation.simulate import Simulation, simulate
    from activetune.supervision.merge import merge
    from activetune.supervision.run import Supervised, visft
    from activetune.training.finetune import finetune

_HOME = {
    "ActivetuneError": "base.errors",
    "Backbone": "networks.backbones",
    "Checked": "studies.check.check",
    "Comparison": "studies.compare.compare",
    "EmbedOptions": "features.embedding",
    "Embeddings": "features.artefact",
    "LabelError": "studies.label_errors",
    "Health": "studies.doctor",
    "Labels": "data.labels",
    "Model": "evaluation.model",
    "NextRound": "studies.rounds.next_round",
    "Pool": "data.pool",
    "RunOptions": "base.run",
    "Scores": "evaluation.scores",
    "Selection": "selection.artefact",
    "Simulation": "studies.simulation.simulate",
    "Supervised": "supervision.run",
    "UsageError": "base.errors",
    "caption": "features.text.captioning",
    "check": "studies.check.check",
    "compare": "studies.compare.compare",
    "contact_sheet": "report.contact_sheet",
    "corrupt": "data.corruption",
    "demo": "studies.demo.demo",
    "doctor": "studies.doctor",
    "embed": "features.embedding",
    "evaluate": "evaluation.evaluate",
    "evaluate_shifts": "evaluation.evaluate",
    "export_model": "handover.export_model",
    "finetune": "training.finetune",
    "label": "labelling.label",
    "label_in_studio": "labelling.label_studio",
    "export_labels": "handover.exchange",
    "import_labels": "handover.exchange",
    "label_errors": "studies.label_errors",
    "load": "evaluation.model",
    "load_backbone": "networks.backbones",
    "load_embeddings": "features.artefact",
    "load_selection": "selection.artefact",
    "merge": "supervision.merge",
    "next_round": "studies.rounds.next_round",
    "open_pool": "data.opening",
    "pool_annotations": "data.annotations",
    "predict": "evaluation.predict",
    "read_annotations": "data.annotations",
    "read_labels": "data.labels",
    "save_annotations": "data.annotations",
    "save_images": "selection.images",
    "select": "selection.select",
    "serve": "serving.predictions",
    "simulate": "studies.simulation.simulate",
    "stream_predictions": "evaluation.streaming",
    "visft": "supervision.run",
    "write_report": "report",
}

__all__ = [
    "ActivetuneError",
    "Backbone",
    "Checked",
    "Comparison",
    "EmbedOptions",
    "Embeddings",
    "Health",
    "LabelError",
    "Labels",
    "Model",
    "NextRound",
    "Pool",
    "RunOptions",
    "Scores",
    "Selection",
    "Simulation",
    "Supervised",
    "UsageError",
    "caption",
    "check",
    "compare",
    "contact_sheet",
    "corrupt",
    "demo",
    "doctor",
    "embed",
    "evaluate",
    "evaluate_shifts",
    "export_labels",
    "export_model",
    "finetune",
    "import_labels",
    "label",
    "label_errors",
    "label_in_studio",
    "load",
    "load_backbone",
    "load_embeddings",
    "load_selection",
    "merge",
    "next_round",
    "open_pool",
    "pool_annotations",
    "predict",
    "read_annotations",
    "read_labels",
    "save_annotations",
    "save_images",
    "select",
    "serve",
    "simulate",
    "stream_predictions",
    "visft",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'activetune' has no attribute {name!r}")
    return getattr(importlib.import_module(f"activetune.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
