"""Two backbones x a suite of probes -> one table of differences with paired intervals, and its page."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

from PIL import Image

from activetune.base.artefact import REPORT, read_manifest, write_manifest
from activetune.base.config import configure, refuse_unknown_settings
from activetune.base.errors import RejectedImage, UsageError, repeated, unknown_name
from activetune.base.files import replacing
from activetune.base.fingerprint import digest, digest_json, record_of
from activetune.base.locks import holds_output
from activetune.base.printing import aligned
from activetune.base.progress import note, progress
from activetune.base.run import Run, RunOptions
from activetune.base.runtime import resolve_runtime
from activetune.base.tables import write_csv
from activetune.base.toml_files import Tables
from activetune.base.unfinished import RUN, WORK, Output, clear
from activetune.data.images import decode_image
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.report import write_report
from activetune.report.comparison import ATTENTION, TABLE, notes_of
from activetune.studies.compare.attention import last_attention, maps, picture
from activetune.studies.compare.kept import read_rows, write_rows
from activetune.studies.compare.probe import Probe, Row, probes
from activetune.studies.compare.sampled import draws_for, holm, paired
from activetune.studies.compare.side import Side

KIND = "comparison"
PROBES = "probes"
OUTPUT = Output(
    KIND,
    called="comparison",
    files=(TABLE, ATTENTION, REPORT, WORK, RUN),
    inputs="backbone, suite, images, answers, precision or seed",
)
COLUMNS = ("probe", "what", "metric", "n", "a", "b", "difference", "low", "high", "p", "p_holm")
PICTURES = 4


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` has measured.

    Attributes:
        rows: one per figure: ``probe``, ``what``, ``metric``, ``n`` items, ``a``, ``b``, ``difference`` (B - A), its
            95 % interval ``low`` to ``high``, ``p`` of no difference, and ``p_holm`` corrected for the number of rows;
            ``note`` where one must be known beside it.
    """

    folder: Path
    rows: Sequence[Mapping[str, Any]]

    def table(self) -> str:
        """The rows as aligned text, shares in percent."""
        header = ("probe", "what", "metric", "n", "A", "B", "B - A", "95 %", "p (Holm)")
        return "\n".join([*aligned([header, *map(_cells, self.rows)], texts=3), *notes_of(self.rows)])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    share = [f"{100 * float(row[name]):.1f}" for name in ("a", "b")]
    change = f"{100 * float(row['difference']):+.1f}"
    interval = f"{100 * float(row['low']):+.1f} to {100 * float(row['high']):+.1f}"
    return (row["probe"], row["what"], row["metric"], f"{row['n']:,}", *share, change, interval, f"{row['p_holm']:.3f}")


@holds_output(folder=True)
def compare(
    a: str,
    b: str,
    *,
    suite: Mapping[str, Any] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    weights: str | Path | None = None,
    weights_b: str | Path | None = None,
    **run_options: Unpack[RunOptions],
) -> Comparison:
    """Measure two frozen backbones on the same images, labels and draws, and tell their differences.

    >>> after = activetune.compare("bundled", "taught", suite="suite.toml", out="cmp")  # minutes  # doctest: +SKIP
    >>> print(after.table())  # the same  # doctest: +SKIP

    Args:
        a, b: backbones: names or folders, see :func:`activetune.load_backbone`.
        suite: a TOML file of ``[[probes]]``, or a mapping of the same content; see ``docs/visft.md``.
        out: folder for ``comparison.csv``, ``report.html`` and ``attention.png``.
        weights, weights_b: files of A's and B's weights, as :func:`activetune.load_backbone` takes them.
        run_options: see :class:`activetune.RunOptions`; ``resume`` keeps the probes that are done.

    Raises:
        UsageError: unknown probes or settings, pools or labels that a probe can't use, ``out`` not empty, or an
            unfinished run there whose images or answers have changed since.
    """
    run = Run.of("compare", run_options)
    asked = read_suite(suite)
    folder, runtime = Path(out), resolve_runtime(run.device, run.precision)
    files = (None if one is None else str(one) for one in (weights, weights_b))
    sides = [
        Side(given, file, runtime, run, folder / WORK / name)
        for given, file, name in zip((a, b), files, ("a", "b"), strict=True)
    ]
    made_from = {
        "a": sides[0].backbone.features_fingerprint,
        "b": sides[1].backbone.features_fingerprint,
        "probes": [
            {"name": name, "probe": kind, **record_of(probe), "shown": _shown(name, probe, run.seed)}
            for name, kind, probe in asked
        ],
        "seed": run.seed,
        "precision": runtime.precision,
    }
    this = digest_json(made_from)
    if OUTPUT.is_there(folder, this, run):
        return _finished(folder)
    found = {name: _measured(name, probe, sides, folder / WORK, run) for name, _, probe in asked}
    draws = draws_for(sum(map(len, found.values())))
    rows = _table(found, run, draws)
    write_csv(folder / TABLE, COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
    _draw_attention(asked, sides, folder)
    names = {"names": {"a": a, "b": b}, "figures": {"rows": rows, "draws": draws}}
    write_manifest(folder, KIND, {**made_from, "run": this, **names}, files=(TABLE,))
    return _finished(folder)


def read_suite(given: Mapping[str, Any] | str | os.PathLike[str]) -> list[tuple[str, str, Probe]]:
    """The probes of a suite: name, kind, and settings. Paths of a file are looked for beside it first.

    Raises:
        UsageError: a file that can't be read, no probes, an unknown probe or setting, a probe without its pool, a name
            that can't be printed, two of one name.
    """
    file, known = Tables.read(given, PROBES, what="the suite", of="probe = … and its settings"), probes()
    refuse_unknown_settings("the suite", file.keys, (PROBES,))
    found: list[tuple[str, str, Probe]] = []
    for number, row in enumerate(file.rows, 1):
        kind = str(row.pop("probe", ""))
        if kind not in known:
            raise unknown_name(f"probe (probe {number} of the suite)", kind, known)
        name = _name_of(row.pop("name", kind), number)
        settings = {key: file.beside(value) if key in known[kind].paths else value for key, value in row.items()}
        probe = configure(known[kind], settings, what=f"probe {name}", beside=("probe", "name"))
        if not getattr(probe, "pool", "no pool"):
            raise UsageError(f"probe {name}: pool is missing; give the folder of images with pool = …")
        found.append((name, kind, probe))
    if twice := repeated(name for name, *_ in found):
        raise UsageError(f"two probes of the suite are called {twice[0]!r}; give each a name of its own with name = …")
    return found


def _finished(folder: Path) -> Comparison:
    """What a folder with a manifest holds; its page is made where it is not there yet."""
    if not (folder / REPORT).is_file():
        write_report(folder, quiet=True)
    clear(folder)
    return Comparison(folder, read_manifest(folder, KIND)["figures"]["rows"])


def _name_of(given: Any, number: int) -> str:
    """A probe's name; files have others, so any that can be printed will do."""
    name = given if isinstance(given, str) else ""
    if not name.strip() or not name.isprintable():
        raise UsageError(
            f"probe {number} of the suite can't be called {given!r}; give a name of printable signs in one line, "
            "or leave it out"
        )
    return name


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """An error in here is told with the probe's name."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"probe {name}: {error}") from None


def _shown(name: str, probe: Probe, seed: int) -> list[str]:
    with _naming(name):
        return probe.shown(seed)


def _measured(name: str, probe: Probe, sides: Sequence[Side], work: Path, run: Run) -> list[Row]:
    """The figures of a probe; those that an earlier run has told are read."""
    kept = work / f"probe-{digest(name)}.npz"  # a name may be any text, and on some disks A and a are one file
    rows = read_rows(kept)
    if rows is None:
        note(f"probe {name}", run.quiet)
        with _naming(name):
            rows = probe.rows(sides[0], sides[1], run.seed)
        write_rows(kept, rows)
    return rows


def _table(found: Mapping[str, Sequence[Row]], run: Run, draws: int) -> list[dict[str, Any]]:
    """All rows, with p-values that are corrected for their number."""
    asked = [(name, row) for name, rows in found.items() for row in rows]
    table: list[dict[str, Any]] = []
    with progress(len(asked), "drawing test items again", unit="rows", quiet=run.quiet) as meter:
        for name, row in asked:
            values = asdict(told := paired(*row.sides, seed=run.seed, draws=draws))
            low, high = values.pop("interval")
            values |= {"difference": told.difference, "low": low, "high": high}
            beside = {"note": row.note} if row.note else {}
            table.append({"probe": name, "what": row.what, "metric": row.metric, **values, **beside})
            meter.advance(1)
    for line, p in zip(table, holm([line["p"] for line in table]), strict=True):
        line["p_holm"] = p
    return table


def _draw_attention(asked: Sequence[tuple[str, str, Probe]], sides: Sequence[Side], folder: Path) -> None:
    """A picture of where both class tokens look in some images of the first probe that has a pool."""
    place = next((getattr(probe, "pool", "") for *_, probe in asked if getattr(probe, "pool", "")), "")
    if not place or any(last_attention(side.backbone) is None for side in sides):
        return
    shown = _some_images(open_pool(place, quiet=True))
    seen = [[side.backbone.prepare(image) for image in shown] for side in sides]
    each = [maps(side, images) for side, images in zip(sides, seen, strict=True)] if shown else []
    found = [attention for attention in each if attention is not None]
    if len(found) < len(sides):
        return
    sheet = picture(seen, found)
    with replacing(folder / ATTENTION) as partial:
        sheet.save(partial, format="PNG")


def _some_images(pool: Pool) -> list[Image.Image]:
    """The first image that can be decoded of each of four parts of a pool."""
    step = max(1, len(pool) // PICTURES)
    starts = list(range(0, len(pool), step))[:PICTURES]
    parts = [range(start, end) for start, end in zip(starts, [*starts[1:], len(pool)], strict=True)]
    return [image for part in parts if (image := _first_decoded(pool, part)) is not None]


def _first_decoded(pool: Pool, positions: Iterable[int]) -> Image.Image | None:
    for position in positions:
        with contextlib.suppress(RejectedImage):
            return decode_image(pool.read(position))
    return None
