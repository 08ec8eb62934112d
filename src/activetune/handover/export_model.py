"""Model -> a file for other programs, checked against the model itself before it is kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Unpack

from activetune import __version__
from activetune.base.artefact import read_manifest
from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest_json
from activetune.base.locks import locked
from activetune.base.progress import note
from activetune.base.run import FULL_PRECISION, NO_CHANCE, PROCESSOR_ONLY, Run, RunOptions
from activetune.data.identity import Contents
from activetune.data.kinds import fingerprint_of
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.evaluation.model import Model, load
from activetune.handover.checks import SAME, TOLERANCE, Truth, compare, differences, refuse_loss
from activetune.handover.description import KIND, describe
from activetune.handover.graph import Graph, refuse_loops
from activetune.handover.place import Place
from activetune.handover.targets import Target, make_target
from activetune.tasks import Scored

INT8_LIMIT = 0.01  # of the primary score


def export_model(
    model: Model | str | os.PathLike[str],
    *,
    to: str,
    out: str | os.PathLike[str],
    pool: Pool | str | os.PathLike[str] | None = None,
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    int8: bool = False,
    int8_limit: float = INT8_LIMIT,
    **run_options: Unpack[RunOptions],
) -> dict[str, Any]:
    """Export a model for programs that know nothing of activetune.

    The exported network is opened as another program would open it, and compared with PyTorch's in numbers at batches
    of 1, 3 and 7; with ``pool`` both are scored. What differs is refused, and nothing is left on disk.

    >>> activetune.export_model("model", to="hub", out="for_timm", pool="photos")["scores"]["exported"]["top1"]
    1.0

    Args:
        model: a model, or a folder of ``finetune``.
        to: ``onnx``, ``torch-export``, or ``hub`` (timm's layout).
        out: a folder; or a file such as ``a.onnx`` or ``a.pt2``, beside which ``a.onnx.json`` (how to use it) and
            ``a.onnx.report.json`` go.
        pool: images to score both networks on, with their labels. labels: see :func:`activetune.evaluate`.
        int8: make the weights 8-bit numbers (``onnx`` alone); needs ``pool``.
        int8_limit: what the primary score may lose by that, on its scale (of shares: 0.01 is a point).
        run_options: see :class:`activetune.RunOptions`; ``resume`` keeps a finished export of the same inputs. All is
            computed in full precision on the processor, and nothing is drawn at random.

    Returns:
        The content of the report: ``differences`` by batch (of the largest number), ``scores`` of both
        networks or None, ``int8``, ``files`` with their digests.

    Raises:
        UsageError: an unknown target, a model that it can't hold, an output that is there already.
        MissingExtra: a package of ``activetune[onnx]`` is not installed.
        ActivetuneError: the exported network says something else, or loses more than is allowed.
    """
    run = Run.of("export-model", run_options, seed=NO_CHANCE, device=PROCESSOR_ONLY, precision=FULL_PRECISION)
    target = make_target(to)
    _refuse_options(to, target, pool, labels, int8, int8_limit)
    manifest = {} if isinstance(model, Model) else read_manifest(Path(model), "model")
    model = model if isinstance(model, Model) else load(model)
    refuse_loops(model)
    target.refuse(model)
    place = Place.of(Path(out), target)
    with locked(place.main, folder=False):
        truth = None if pool is None else Truth.of(pool, labels, quiet=run.quiet)
        key = _key(model, to, truth, int8, int8_limit)
        if run.resume and not run.overwrite and (kept := place.finished(key)) is not None:
            note(f"{place.main} holds this model already, finished", run.quiet)
            return kept
        place.prepare(overwrite=run.overwrite)
        with tempfile.TemporaryDirectory(prefix="activetune-") as work:
            report = _made(model, to, manifest, Path(work), truth, int8_limit if int8 else None, run)
            return place.fill(Path(work), {**report, "key": key})


def _refuse_options(to: str, target: Target, pool: object, labels: object, int8: bool, int8_limit: float) -> None:
    """Raise a :class:`UsageError` for options that do not go together."""
    if labels is not None and pool is None:
        raise UsageError("labels are answers to a pool's images; give --pool beside --labels")
    if int8 and not target.quantises:
        raise UsageError(f"{to} holds no 8-bit numbers; leave --int8 out, or give --to onnx")
    if int8 and pool is None:
        raise UsageError("8-bit numbers cost accuracy, which has to be measured; give labelled images by --pool")
    if not int8_limit >= 0:
        raise UsageError(f"an int8_limit of {int8_limit} is no loss; give 0 or more, for instance 0.01 for a point")
    if not int8 and int8_limit != INT8_LIMIT:
        raise UsageError("int8_limit says what int8 may cost; give both, or leave it out")


def _made(
    model: Model,
    to: str,
    manifest: Mapping[str, Any],
    made: Path,
    truth: Truth | None,
    limit: float | None,
    run: Run,
) -> dict[str, Any]:
    """Write all files to a folder, the network checked; returns the report.

    Args:
        limit: what int8 may cost; None: no int8.
    """
    target, graph = make_target(to), Graph(model)
    description = describe(model, graph, to, manifest)
    target.write(model, graph, description, made)
    found = differences(graph, target, made, tolerance=TOLERANCE)
    if limit is not None:
        target.quantise(made)
        found = differences(graph, target, made, tolerance=None)
    scores = None
    if truth is not None:
        before, after = compare(model, graph, target, made, truth, run)
        refuse_loss(before, after, SAME if limit is None else limit, int8=limit is not None)
        scores = _scores(before, after, truth)
    report = {
        **{"kind": KIND, "activetune": __version__, "target": to, "differences": found, "tolerance": TOLERANCE},
        **{"int8": limit is not None, "int8_limit": limit, "scores": scores},
    }
    target.describe(made, description, report)
    return report


def _scores(before: Scored, after: Scored, truth: Truth) -> dict[str, Any]:
    """Both networks' scores, as the report has them."""
    both = {"pytorch": before.as_dict(), "exported": after.as_dict()}
    pool = PurePath(truth.pool.name).name  # others get the report, whom a path of here tells nothing
    return {"primary": before.primary, "n": before.n, "pool": pool, **both}


def _key(model: Model, to: str, truth: Truth | None, int8: bool, int8_limit: float) -> str:
    """Digest of what an export is made from."""
    made_from: dict[str, Any] = {"model": model.fingerprint, "to": to, "int8": int8_limit if int8 else None}
    if truth is not None:
        answers = model.task.truth_of(truth.labels, truth.pool, model.classes, quiet=True)
        images = Contents(truth.pool.subset(answers.ids)).fingerprint
        made_from["truth"] = [images, *map(fingerprint_of, answers.answers)]
    return digest_json({**made_from, "activetune": __version__})
