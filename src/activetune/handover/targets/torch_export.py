"""``torch-export``: PyTorch's own format of a traced network, which opens without the code that it was made by.

``torch.export.load(FILE)`` opens it; the description lies in the file too, under the name ``description.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from activetune.base.errors import ActivetuneError, first_line
from activetune.base.quietly import quietly
from activetune.evaluation.model import Model
from activetune.handover.graph import INPUT, Graph
from activetune.handover.targets._target import Answer, Target

INSIDE = "description.json"
TRACED = 2  # images that the network is traced with: a batch of one would be taken for the only size


class TorchExport(Target):
    """A traced network of torch.export, for PyTorch, AOTInductor and ExecuTorch."""

    file: ClassVar[str] = "model.pt2"

    def write(self, model: Model, graph: Graph, description: Mapping[str, Any], folder: Path) -> None:
        """See :class:`Target`."""
        batch = {INPUT: {0: torch.export.Dim("batch", min=1)}}
        try:
            with quietly():
                program = torch.export.export(graph, (graph.example(TRACED),), dynamic_shapes=batch, strict=False)
        except Exception as error:  # a network raises whatever it likes while it is traced
            raise ActivetuneError(f"the network can't be traced ({first_line(error)}); use --to onnx") from error
        text = json.dumps(description, ensure_ascii=False)
        with quietly():  # of tensors that share numbers, which it writes whole
            torch.export.save(program, folder / self.file, extra_files={INSIDE: text})

    def open(self, folder: Path) -> Answer:
        """See :class:`Target`."""
        network = torch.export.load(folder / self.file).module()

        def answer(images: Tensor) -> Sequence[Tensor]:
            with torch.no_grad():
                found: Sequence[Tensor] = network(images)
            return found

        return answer
