"""Pool -> shifted pools: the common corruptions of ImageNet-C (Hendrycks & Dietterich, ICLR 2019) on any images.

Each kind and severity becomes one Parquet file in Hugging Face's image schema, which is a pool with the ids and labels
of the one it was made from. Images keep their size and are stored without loss. The corruptions are the package
imagecorruptions-imaug's, with the strengths of ImageNet-C, or those of CIFAR-10-C (``small_corruption.py``), which are
made for 32 pixels. An image's randomness follows from the seed, the kind, the severity and its id alone.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Literal, Unpack, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from activetune.base.artefact import MANIFEST, prepare_folder, read_manifest, write_manifest
from activetune.base.errors import MissingExtra, RejectedImage, UsageError, unknown_name
from activetune.base.files import replacing
from activetune.base.fingerprint import digest
from activetune.base.locks import holds_output
from activetune.base.processes import process_pool
from activetune.base.progress import note, progress
from activetune.base.run import NO_PRODUCTS, PROCESSOR_ONLY, Run, RunOptions
from activetune.base.runtime import usable_cores
from activetune.data.images import decode_image, middle
from activetune.data.opening import open_pool
from activetune.data.pool import Pool, check_complete
from activetune.data.small_corruption import SMALL_KINDS, small_corrupted

KINDS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    *("speckle_noise", "gaussian_blur", "spatter", "saturate"),
)
Benchmark = Literal["imagenet_c", "cifar10_c"]
KINDS_OF: Mapping[str, tuple[str, ...]] = {"imagenet_c": KINDS, "cifar10_c": SMALL_KINDS}
SEEDED = ("glass_blur", "impulse_noise")
SEVERITIES = (1, 2, 3, 4, 5)
LEAST_SIDE = 32  # pixels, below which the corruptions are not defined; smaller images are enlarged to it
PIECE = 64  # images that a process takes at a time
AHEAD = 2  # pieces for each process that are asked for before they are written


@holds_output(folder=True)
def corrupt(
    pool: Pool | str | os.PathLike[str],
    *,
    kinds: Sequence[str],
    severities: Sequence[int] = SEVERITIES,
    benchmark: Benchmark = "imagenet_c",
    out: str | os.PathLike[str],
    **run_options: Unpack[RunOptions],
) -> list[Path]:
    """Write corrupted copies of a pool: ``OUT/fog-3.parquet`` and so on.

    Args:
        kinds: of :data:`KINDS`. severities: 1 to 5.
        benchmark: whose strengths a severity stands for: ``imagenet_c``, made for photos of 224 pixels, or
            ``cifar10_c``, made for images of 32 pixels (without ``spatter``).
        run_options: see :class:`activetune.RunOptions`; ``workers`` are processes, -1 is one per core; ``resume``
            keeps the files that are complete. ``device`` and ``precision`` can't be chosen.

    Returns:
        The files, by kind and severity.

    Raises:
        UsageError: unknown kind, severity or benchmark, or ``out`` not empty. MissingExtra: the package is not
            installed.
    """
    run = Run.of("corrupt", run_options, device=PROCESSOR_ONLY, precision=NO_PRODUCTS)
    seed, quiet = run.seed, run.quiet
    pool = pool if isinstance(pool, Pool) else open_pool(pool, quiet=quiet)
    _check(kinds, severities, benchmark)
    _library()
    names = [f"{kind}-{severity}.parquet" for kind in dict.fromkeys(kinds) for severity in sorted(set(severities))]
    folder = Path(out)
    made_from = {"pool_fingerprint": pool.fingerprint, "seed": seed}
    if benchmark != "imagenet_c":  # the only one once
        made_from["benchmark"] = benchmark
    going_on = run.resume and not run.overwrite and (folder / MANIFEST).is_file()
    if going_on:
        before = read_manifest(folder, "corruptions")
        if any(before.get(name) != made_from.get(name) for name in ("pool_fingerprint", "seed", "benchmark")):
            raise UsageError(
                f"{folder} holds corruptions of another pool, seed or benchmark; choose another --out, or give "
                "--overwrite"
            )
    else:
        prepare_folder(folder, "corruptions", _files_of(folder), overwrite=run.overwrite)
        write_manifest(folder, "corruptions", {**made_from, "pool": pool.name})
    waiting = [name for name in names if not (folder / name).is_file()]
    count = run.workers if run.workers >= 0 else usable_cores()
    apart = bool(waiting) and count > 1 and len(pool) > PIECE
    processes = process_pool(count, _begin, pool) if apart else contextlib.nullcontext()
    with progress(len(waiting) * len(pool), "corrupting", quiet=quiet) as meter, processes as executor:
        for name in waiting:
            with replacing(folder / name) as partial:
                pieces = _pieces(pool, *_kind_and_severity(name), seed, benchmark, executor, AHEAD * count)
                rejected = _write(partial, pool, pieces, meter.advance)
            told = f"{name}: {rejected:,} of {len(pool):,} images were skipped: they can't be decoded"
            note(told, quiet or not rejected)
    return [folder / name for name in names]


def _check(kinds: Sequence[str], severities: Sequence[int], benchmark: str) -> None:
    if benchmark not in get_args(Benchmark):
        raise unknown_name("benchmark", benchmark, get_args(Benchmark))
    for kind in kinds:
        if kind in KINDS and kind not in KINDS_OF[benchmark]:
            raise UsageError(f"{benchmark} has no {kind} here; leave it out, or take benchmark imagenet_c")
        if kind not in KINDS:
            raise unknown_name("corruption", kind, KINDS_OF[benchmark])
    if not kinds or not severities or set(severities) - set(SEVERITIES):
        raise UsageError(
            f"severities can't be {list(severities)}; allowed: 1 to 5, at least one, and at least one kind"
        )


def _kind_and_severity(name: str) -> tuple[str, int]:
    stem = Path(name).stem
    return stem[:-2], int(stem[-1])


def _files_of(folder: Path) -> list[str]:
    """The files of an earlier run, which ``overwrite`` may replace."""
    return [path.name for path in folder.glob("*-[1-5].parquet") if path.stem[:-2] in KINDS] if folder.is_dir() else []


def _library() -> Any:
    try:
        import imagecorruptions
    except ImportError:
        raise MissingExtra("imagecorruptions-imaug", "corrupt") from None
    return imagecorruptions


Corrupted = list[tuple[int, bytes | None]]  # positions with their PNG, None where the image can't be decoded


def _pieces(
    pool: Pool, kind: str, severity: int, seed: int, benchmark: str, executor: Executor | None, ahead: int = 0
) -> Iterator[Corrupted]:
    """The corrupted images in the pool's order, piece by piece, made by other processes or by this one alone.

    Args:
        ahead: pieces of other processes that are waited for at most; these processes have the pool already.
    """
    given = kind, severity, seed, benchmark
    parts = (range(start, min(start + PIECE, len(pool))) for start in range(0, len(pool), PIECE))
    if executor is None:
        yield from (_corrupt_piece(pool, *given, part) for part in parts)
        return
    waiting: deque[Future[Corrupted]] = deque()
    for part in parts:
        waiting.append(executor.submit(_corrupt_held, *given, part))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


_held: dict[str, Pool] = {}  # in a process of its own


def _begin(pool: Pool) -> None:
    """Runs once when a process starts."""
    _held["pool"] = pool


def _corrupt_held(kind: str, severity: int, seed: int, benchmark: str, part: range) -> Corrupted:
    return _corrupt_piece(_held["pool"], kind, severity, seed, benchmark, part)


def _corrupt_piece(pool: Pool, kind: str, severity: int, seed: int, benchmark: str, part: range) -> Corrupted:
    library = _library()
    found: Corrupted = []
    for position in part:
        try:
            pixels = np.asarray(_large_enough(middle(decode_image(pool.read(position)))))
        except RejectedImage:
            found.append((position, None))
            continue
        encoded = io.BytesIO()
        key = digest(str(seed), pool.ids[position])
        if benchmark == "cifar10_c":
            rng = np.random.default_rng(int(digest(key, kind, str(severity))[:16], 16))
            frosts = Path(library.__file__).parent / "frost"
            changed = small_corrupted(pixels, kind, severity, rng, frosts)
        else:
            changed = corrupted(pixels, library, kind, severity, key)
        Image.fromarray(changed).save(encoded, "PNG", compress_level=1)
        found.append((position, encoded.getvalue()))
    return found


def _write(path: Path, pool: Pool, pieces: Iterable[Corrupted], advance: Callable[[int], None]) -> int:
    """Write one shifted pool; returns how many images could not be decoded."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), *([("label", pa.string())] if pool.labels is not None else [])])
    written = rejected = 0
    with pq.ParquetWriter(path, schema) as writer:
        for piece in pieces:
            good = [(position, encoded) for position, encoded in piece if encoded is not None]
            rows: dict[str, list[Any]] = {
                "image": [{"bytes": encoded, "path": pool.ids[position]} for position, encoded in good]
            }
            if pool.labels is not None:
                rows["label"] = [pool.labels[position] for position, _ in good]
            writer.write_table(pa.table(rows, schema=schema))
            written += len(good)
            rejected += len(piece) - len(good)
            advance(len(piece))
    check_complete(len(pool), written, rejected, str(path.parent / path.name))
    return rejected


def _large_enough(image: Image.Image) -> Image.Image:
    short = min(image.size)
    if short >= LEAST_SIDE:
        return image
    return image.resize([max(LEAST_SIDE, round(side * LEAST_SIDE / short)) for side in image.size])  # type: ignore[arg-type]


def corrupted(pixels: np.ndarray, library: Any, kind: str, severity: int, key: str) -> np.ndarray:
    """One image (H, W, 3) uint8; kinds that take no seed draw from NumPy's global state, set here and put back."""
    seed = int(digest(key, kind, str(severity))[:8], 16)
    state = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(seed)  # noqa: NPY002
        given = {"seed": seed} if kind in SEEDED else {}
        found: np.ndarray = library.corrupt(pixels, corruption_name=kind, severity=severity, **given)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return found


def shifted_pools(folder: Path) -> Iterator[tuple[str, int, Path]]:
    """Kind, severity and file of each shifted pool in a folder of :func:`corrupt`."""
    for path in sorted(folder.glob("*-[1-5].parquet")):
        if path.stem[:-2] in KINDS:
            yield path.stem[:-2], int(path.stem[-1]), path


def is_shifted(path: Path) -> bool:
    """Whether a folder was made by :func:`corrupt`."""
    if not (path / MANIFEST).is_file():
        return False
    try:
        read_manifest(path, "corruptions")
    except UsageError:
        return False
    return True
