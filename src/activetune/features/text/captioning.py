"""Pool -> captions: a sentence for every image, as a file that ``--recipe vecaf`` reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.errors import UsageError
from activetune.base.files import prepare_file, replacing
from activetune.base.locks import holds_output
from activetune.base.progress import note
from activetune.base.run import FULL_PRECISION, NO_CHANCE, Run, RunOptions
from activetune.base.runtime import resolve_runtime
from activetune.base.tables import header_of, write_csv
from activetune.data.labels import Labels, labels_of
from activetune.data.loading import rejected_items
from activetune.data.opening import open_pool
from activetune.data.pool import Pool, check_complete
from activetune.features.text.captions import Captioner, make_captioner, read_captions

UNKNOWN = "thing"  # stands for the class name where there is none

COLUMNS = ("id", "caption")


@holds_output(folder=False)
def caption(
    pool: Pool | str | os.PathLike[str],
    *,
    captioner: str | os.PathLike[str] | Mapping[str, str] = "template",
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    prompt: str | None = None,
    out: str | os.PathLike[str] | None = None,
    batch_size: int = 8,
    use_cache: bool = True,
    **run_options: Unpack[RunOptions],
) -> dict[str, str]:
    """Describe every image of a pool.

    Args:
        captioner: ``template``, ``hf/MODEL``, or a file (or mapping) of captions, see docs/captions.md.
        labels: answers, for the class name in the prompt; None takes the pool's own where it has them.
        prompt: replaces the captioner's own; ``{class_name}`` in it stands for the class.
        out: a ``.csv`` or ``.parquet`` file with the columns id and caption.
        use_cache: keep what a model said, so that a run that is cut off goes on.
        run_options: see :class:`activetune.RunOptions`; ``resume`` keeps ``out`` if it holds what this run says.
            Nothing is drawn here, so no ``seed``, and models run in full precision.

    Returns:
        ``{id: caption}``, without the images that can't be decoded.

    Raises:
        UsageError: unknown captioner or model, a prompt that asks for a class where none is known, an ``out`` to
            resume that holds other captions.
    """
    run = Run.of("caption", run_options, seed=NO_CHANCE, precision=FULL_PRECISION)
    pool = pool if isinstance(pool, Pool) else open_pool(pool, quiet=run.quiet)
    kept = read_captions(out) if out is not None and run.resume and not run.overwrite and Path(out).is_file() else None
    path = (
        None
        if out is None or kept is not None
        else prepare_file(Path(out), own=_holds_captions, suffixes=(".csv", ".parquet"), overwrite=run.overwrite)
    )
    runtime = resolve_runtime(run.device, "fp32")
    speaker = make_captioner(
        captioner, prompt=prompt, batch_size=batch_size, device=runtime.device, use_cache=use_cache
    )
    speaker.check()
    names = _class_names(pool, labels, run.quiet)
    if speaker.name == "template" and not any(names.values()):
        raise UsageError(
            f"the template needs class names, and the pool {pool.name} has none; give --labels, or --with hf/MODEL"
        )
    found = _captions(pool, speaker, names, run)
    as_read = {item: " ".join(sentence.split()) for item, sentence in found.items() if sentence.strip()}
    if kept not in (None, as_read):
        raise UsageError(
            f"{out} holds other captions than this run makes of {pool.name}: it was made from another pool, captioner, "
            "prompt or labels; choose another --out, or give --overwrite"
        )
    if path is not None:
        _write(path, found)
    return found


def _captions(pool: Pool, speaker: Captioner, names: Mapping[str, str], run: Run) -> dict[str, str]:
    """What the captioner says of the images that can be decoded."""
    rejected = rejected_items(pool, workers=run.workers) if speaker.name.startswith("hf/") else {}
    note(f"{len(rejected):,} of {len(pool):,} images were skipped: they can't be decoded", run.quiet or not rejected)
    positions = [position for position, item in enumerate(pool.ids) if item not in rejected]
    known = [names.get(pool.ids[position]) or UNKNOWN for position in positions]
    sentences = speaker.describe(pool, positions, known, quiet=run.quiet)
    found = dict(zip((pool.ids[position] for position in positions), sentences, strict=True))
    check_complete(len(pool), len(found), len(rejected), "the captions")
    return found


def _holds_captions(path: Path) -> bool:
    return header_of(path) == COLUMNS


def _write(path: Path, found: Mapping[str, str]) -> None:
    if path.suffix.lower() == ".csv":
        write_csv(path, COLUMNS, list(found.items()))
        return
    with replacing(path) as partial:
        pq.write_table(pa.table({"id": list(found), "caption": list(found.values())}), partial)


def _class_names(
    pool: Pool, labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None, quiet: bool
) -> dict[str, str]:
    """Class name by id, as far as known."""
    if labels is None and not any(pool.labels or ()):
        return {}
    answers = labels_of(labels, pool, quiet=quiet)
    return dict(zip(answers.ids, answers.names, strict=True))
