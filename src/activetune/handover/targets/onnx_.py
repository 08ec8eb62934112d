"""``onnx``: a file for onnxruntime and everything else that reads ONNX, on batches of any size.

``torch.onnx.export`` by tracing (``dynamo=True``). The description lies in the file's metadata too, as JSON under the
key ``activetune``, and the most asked-for parts of it under keys of their own.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from activetune.base.errors import ActivetuneError, MissingExtra, UsageError, first_line
from activetune.base.quietly import quietly
from activetune.evaluation.model import Model
from activetune.handover.graph import INPUT, Graph
from activetune.handover.targets._target import Answer, Target

EXTRA = "onnx"
LARGEST = 1_900_000_000  # bytes of weights; an ONNX file ends at two gigabytes
TRACED = 2  # images that the network is traced with: a batch of one would be taken for the only size


class Onnx(Target):
    """ONNX, for onnxruntime and most other runtimes; ``--int8`` makes its weights 8-bit numbers."""

    file: ClassVar[str] = "model.onnx"
    quantises: ClassVar[bool] = True

    def refuse(self, model: Model) -> None:
        """See :class:`Target`."""
        bytes_of_weights = sum(value.numel() for value in model.network.state_dict().values()) * 4
        if bytes_of_weights > LARGEST:
            raise UsageError(
                f"{bytes_of_weights / 1e9:.1f} GB of weights do not fit into one ONNX file of 2 GB; "
                "use --to torch-export"
            )

    def write(self, model: Model, graph: Graph, description: Mapping[str, Any], folder: Path) -> None:
        """See :class:`Target`."""
        onnx = _package("onnx")
        _package("onnxscript")
        batch = {INPUT: {0: torch.export.Dim("batch", min=1)}}
        try:
            with _silence():
                program = torch.onnx.export(
                    graph,
                    (graph.example(TRACED),),
                    dynamo=True,
                    dynamic_shapes=batch,
                    input_names=[INPUT],
                    output_names=list(graph.names),
                    verbose=False,
                )
        except Exception as error:  # the exporter wraps whatever a network raises while it is traced
            raise ActivetuneError(
                f"the network can't be exported to ONNX ({first_line(error)}); use --to torch-export"
            ) from error
        assert program is not None
        found = program.model_proto
        for key, value in _metadata(description).items():
            found.metadata_props.add(key=key, value=value)
        onnx.save_model(found, folder / self.file)

    def quantise(self, folder: Path) -> None:
        """See :class:`Target`: onnxruntime's dynamic quantisation, of weights per channel and of what they meet.

        Products of matrices alone where there are some below the classifier; a network of convolutions has its
        convolutions quantised too, with weights without a sign, as onnxruntime computes no others.
        """
        onnx = _package("onnx")
        quantization = _package("onnxruntime.quantization")
        whole, path = folder / f"whole-{self.file}", folder / self.file
        path.rename(whole)
        kinds = [node.op_type for node in onnx.load_model(whole).graph.node]
        convolutions = kinds.count("Conv") > kinds.count("MatMul") + kinds.count("Gemm")
        with _silence():
            quantization.quantize_dynamic(
                whole,
                path,
                op_types_to_quantize=["Conv", "MatMul"] if convolutions else ["MatMul"],
                per_channel=not convolutions,
                weight_type=quantization.QuantType.QUInt8 if convolutions else quantization.QuantType.QInt8,
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
        whole.unlink()

    def open(self, folder: Path) -> Answer:
        """See :class:`Target`: a session of onnxruntime on the processor."""
        runtime = _package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        session = runtime.InferenceSession(str(folder / self.file), options, providers=["CPUExecutionProvider"])

        def answer(images: Tensor) -> Sequence[Tensor]:
            return [torch.from_numpy(found) for found in session.run(None, {INPUT: images.numpy()})]

        return answer


def _package(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtra(name.partition(".")[0], EXTRA) from None


def _metadata(description: Mapping[str, Any]) -> dict[str, str]:
    """The description as texts by key."""
    parts = {"task": description["task"], "classes": description["classes"], **description["preprocessing"]}
    told = {key: value if isinstance(value, str) else json.dumps(value) for key, value in parts.items()}
    return {**told, "activetune": json.dumps(description, ensure_ascii=False)}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what the exporter tells of its own steps off the screen."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with quietly(), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
