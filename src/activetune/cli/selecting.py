"""``embed`` and ``select``: from images to the items to label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

import typer

from activetune.base.config import parse_settings
from activetune.base.errors import UsageError
from activetune.base.printing import counted, say
from activetune.base.run import Run, RunOptions
from activetune.cli._app import app
from activetune.cli._options import (
    Address,
    Backbone,
    EngineOption,
    Exclude,
    FollowLinks,
    NoCache,
    Out,
    PoolArgument,
    Preset,
    RayProcesses,
    Set,
    ShardSize,
    Weights,
    opened,
    with_run_options,
)

if TYPE_CHECKING:
    from activetune.data.labels import Labels
    from activetune.selection.artefact import Selection


@app.command()
@with_run_options(idle=("seed",))
def embed(
    pool: PoolArgument,
    out: Out,
    backbone: Backbone = "bundled",
    weights: Weights = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Patch tokens instead of pooled features.")] = False,
    dtype: Annotated[str, typer.Option(help="float16 or float32 on disk.")] = "float16",
    batch_size: Annotated[int, typer.Option(help="Images a forward pass.", min=1)] = 32,
    shard_size: ShardSize = None,
    engine: EngineOption = None,
    address: Address = None,
    processes: RayProcesses = None,
    no_cache: NoCache = False,
    follow_links: FollowLinks = False,
    **run_options: Unpack[RunOptions],
) -> None:
    """Compute the features of every image of a pool."""
    from activetune.features.embedding import EmbedOptions
    from activetune.features.embedding import embed as run

    options = EmbedOptions(tokens=tokens, dtype=dtype, batch_size=batch_size)
    embeddings = run(
        opened(pool, follow_links, run_options),
        backbone=backbone,
        weights=weights,
        out=out,
        options=options,
        use_cache=not no_cache,
        shard_size=shard_size,
        engine=engine,
        address=address,
        processes=processes,
        **run_options,
    )
    shape = " x ".join(f"{size:,}" for size in embeddings.features_ND.shape)
    rejected = embeddings.manifest.get("rejected", 0)
    say(f"{out}: {shape} features, {counted(rejected, 'image')} rejected")


Audit = Annotated[
    int, typer.Option(help="Random items beside the budget, to score models on: never picked, never trained on.")
]
Labelled = Annotated[
    Path | None, typer.Option(help="File with the ids (and, where known, labels) of what is labelled already.")
]
Balance = Annotated[str | None, typer.Option(metavar="COLUMN", help="Equal shares for its values: label, predicted, …")]
Answers = Annotated[Path | None, typer.Option(help="Answers to the items, which N/class and --balance label count.")]
ByModel = Annotated[
    Path | None, typer.Option(metavar="MODEL", help="A finetuned model, for methods that select by its doubt.")
]
ItsPool = Annotated[
    str | None, typer.Option(metavar="POOL", help="Where its images are, if not where they were embedded.")
]
Images = Annotated[Path | None, typer.Option(metavar="DIR", help="Also write the picks there, as image files.")]


@app.command()
@with_run_options(idle=("precision",), workers="Processor threads; -1 and 0 set no limit.")
def select(
    embeddings: Annotated[str, typer.Argument(metavar="EMB", help="Embeddings: a folder of 'embed', .npy or .npz.")],
    budget: Annotated[str, typer.Option(help="500, 5%, 2/class or coverage:0.95.", show_default=False)],
    out: Out,
    method: Annotated[str, typer.Option(help="See 'activetune list selectors'.")] = "auto",
    preset: Preset = None,
    set_: Set = None,
    labelled: Labelled = None,
    exclude: Exclude = None,
    candidates: Annotated[Path | None, typer.Option(help="File with the only ids that may be picked.")] = None,
    min_distance: Annotated[float | None, typer.Option(help="Least distance between picks, 0 to 2.")] = None,
    balance: Balance = None,
    metadata: Annotated[Path | None, typer.Option(help="CSV or Parquet with id and columns to balance.")] = None,
    losses: Annotated[Path | None, typer.Option(help="CSV or Parquet with id and loss, for ods and top_loss.")] = None,
    labels: Answers = None,
    task: Annotated[
        str | None, typer.Option(help="What --labels answer; default: the task of --model, or classification.")
    ] = None,
    model: ByModel = None,
    pool: ItsPool = None,
    audit: Audit = 0,
    levels: Annotated[int, typer.Option(help="1, or 2 for a pool beyond memory.", min=1, max=2)] = 1,
    partitions: Annotated[
        int | None, typer.Option(help="With --levels 2: how many parts; default: one per 50,000 items.")
    ] = None,
    refine: Annotated[bool, typer.Option("--refine", help="After --levels 2, swap picks across partitions.")] = False,
    images: Images = None,
    **run_options: Unpack[RunOptions],
) -> None:
    """Choose which items to label. Writes selection.csv, picks.html to look at, and labels.csv to fill in."""
    from activetune.base.ranks import from_first, is_first, together
    from activetune.selection.select import select as run

    together(lambda: _refuse_images(embeddings, images, out, run_options) if is_first() else None)
    known = together(lambda: _known_labels(embeddings, labels, task, model, run_options) if is_first() else None)
    selection = run(
        embeddings,
        budget=budget,
        method=method,
        preset=preset,
        settings=parse_settings(set_ or ()),
        labelled=labelled,
        exclude=exclude,
        candidates=candidates,
        min_distance=min_distance,
        balance=balance,
        metadata=metadata,
        losses=losses,
        labels=known,
        model=model,
        pool=pool,
        audit=audit,
        levels=levels,
        partitions=partitions,
        refine=refine,
        out=out,
        **run_options,
    )
    from_first(lambda: _tell(selection, out, known))
    from_first(lambda: _write_images(out, images, run_options))


def _tell(selection: Selection, out: Path, labels: Labels | None) -> None:
    """Say what was selected, and make the page that shows it."""
    from activetune.report.contact_sheet import contact_sheet
    from activetune.selection.artefact import ANSWERS, CONTACT_SHEET, explained_figures, told_method

    figures = selection.manifest["figures"]
    covered = ""
    if "coverage" in figures:
        covered = f"{100 * figures['coverage']:.1f} % within {figures['coverage_radius']:.3f}, "
    say(
        f"{out / 'selection.csv'}: {len(selection):,} of {selection.manifest['n']:,} items by "
        f"{told_method(selection.manifest)}, {covered}"
        f"{explained_figures(figures)}, {figures['seconds']:.2f} s"
    )
    sheet = out / CONTACT_SHEET
    if not sheet.exists():  # a new selection has removed an earlier one's
        contact_sheet(out, labels=labels)
    aside = f", and for those of {counted(len(selection.audit), 'random item')} to score on" if selection.audit else ""
    say(f"{sheet} shows the picks; {out / ANSWERS} is for their labels{aside}")


def _known_labels(
    embeddings: str, labels: Path | None, task: str | None, model: Path | None, run_options: RunOptions
) -> Labels | None:
    """The answers to the pool that embeddings were made from; None where none are given."""
    from activetune.features.artefact import load_embeddings
    from activetune.selection.images import items_of
    from activetune.selection.request import asked_task

    if labels is None:
        if task is not None:
            raise UsageError(f"--task {task} says what --labels answer, and there are none; give --labels too")
        return None
    pool = items_of(load_embeddings(embeddings))
    return asked_task(task, model).labels_of(labels, pool, quiet=run_options.get("quiet", False))


def _refuse_images(embeddings: str, folder: Path | None, out: Path, run_options: RunOptions) -> None:
    """Refuse a folder for the picks' images, where one is asked for, before anything is selected."""
    from activetune.base.artefact import MANIFEST, refuse_occupied
    from activetune.data.opening import refuse_in_pool
    from activetune.features.artefact import load_embeddings
    from activetune.selection.images import IMAGES, pool_of

    if folder is None:
        return
    if folder.resolve() == out.resolve():
        raise UsageError(f"--images and --out are both {out}; give the picks' images a folder of their own")
    try:
        pool = pool_of(load_embeddings(embeddings))
    except UsageError as error:
        raise UsageError(f"the picks' images can't be written: {error}; leave --images out, or bring it back") from None
    refuse_in_pool(folder, pool, "--images")
    run = Run(**run_options)
    if not (run.resume and (folder / MANIFEST).is_file()):  # what it holds is compared with the picks then
        refuse_occupied(folder, IMAGES, overwrite=run.overwrite, option="--images")


def _write_images(selection: Path, folder: Path | None, run_options: RunOptions) -> None:
    from activetune.selection.images import AUDIT, LIST, save_images

    if folder is None:
        return
    run = Run(**run_options)
    written = save_images(selection, out=folder, overwrite=run.overwrite, resume=run.resume, quiet=run.quiet)
    apart = sum(path.parent.name == AUDIT for path in written)
    aside = f", {apart:,} of them random ones to score on," if apart else ","
    say(f"{folder / LIST}: {counted(len(written), 'image')}{aside} a pool of their own")
