"""``label``: from selected items to their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import typer

from activetune.base.errors import UsageError
from activetune.base.printing import counted, say
from activetune.base.run import RunOptions
from activetune.cli._app import app
from activetune.cli._options import class_list, with_run_options

STUDIO = "label-studio"
Classes = Annotated[
    str | None,
    typer.Option(
        help="Names: a,b,c, a file with one per line, or a model's folder; more can be added on the page.",
        show_default=False,
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="With --in: the task, classification (default), multilabel, detection, segmentation, captioning."
    ),
]
Guesses = Annotated[
    Path | None,
    typer.Option("--suggestions", metavar="PREDICTIONS", help="With --in: predictions that the tool shows first."),
]
ImageUrl = Annotated[
    str | None,
    typer.Option(
        help="With --in: what stands in front of an image's id; default: the pool's folder as a local storage."
    ),
]


@app.command()
@with_run_options(idle=("overwrite", "workers"))
def label(
    selection: Annotated[Path, typer.Argument(metavar="SEL", help="A folder of 'select'.")],
    classes: Classes = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="A finetuned model that suggests; default: a probe on the labels so far."),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            metavar="EMB", help="What SEL was selected from; default: looked for beside SEL and in the cache."
        ),
    ] = None,
    pool: Annotated[
        str | None, typer.Option(metavar="POOL", help="Where the images are, if not where they were embedded.")
    ] = None,
    multilabel: Annotated[
        bool, typer.Option("--multilabel", help="An image may have several classes, or none.")
    ] = False,
    no_suggestions: Annotated[bool, typer.Option("--no-suggestions", help="Suggest no classes.")] = False,
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0 takes the selection's usual one, or a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser; the address is printed.")] = False,
    inside: Annotated[
        str | None,
        typer.Option("--in", metavar=STUDIO, help="Label there: the first call pushes the picks, later ones pull."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="With --in label-studio: the address of the server.")] = None,
    task: Task = None,
    guesses: Guesses = None,
    image_url: ImageUrl = None,
    **run_options: Unpack[RunOptions],
) -> None:
    """Label the selected images on a local page, until Ctrl-C. Answers go to SEL/labels.csv."""
    from activetune.labelling.label import label as run

    of_studio = {"task": task, "suggestions": guesses, "image_url": image_url}
    if inside is not None or url is not None:
        idle = {"--model": model, "--embeddings": embeddings, "--no-suggestions": no_suggestions, "--port": port}
        _refuse([name for name, value in idle.items() if value], "the local page", f"leave out --in {STUDIO}")
        told = task or ("multilabel" if multilabel else "classification")
        asked = of_studio | {"task": told, "pool": pool, "classes": _classes(classes, told)}
        _in_studio(selection, inside, url, asked, run_options)
        return
    _refuse(
        [f"--{name.replace('_', '-')}" for name, value in of_studio.items() if value], STUDIO, f"give --in {STUDIO}"
    )
    run(
        selection,
        classes=_classes(classes, "multilabel" if multilabel else "classification"),
        model=model,
        embeddings=embeddings,
        pool=pool,
        multilabel=multilabel,
        suggestions=not no_suggestions,
        port=port,
        browser=not no_browser,
        **run_options,
    )


def _classes(given: str | None, task: str) -> list[str] | Path | None:
    """Names for a task, or the folder of a model that has them."""
    from activetune.base.artefact import MANIFEST
    from activetune.base.files import is_file

    a_model = given is not None and is_file(Path(given) / MANIFEST)
    return Path(given) if a_model and given else class_list(given, task)


def _refuse(given: Sequence[str], place: str, else_: str) -> None:
    """Refuse options of the other place to label in."""
    if given:
        raise UsageError(
            f"{' and '.join(given)} {'are' if len(given) > 1 else 'is'} of {place}; leave it out, or {else_}"
        )


def _in_studio(
    selection: Path, inside: str | None, url: str | None, asked: dict[str, Any], run_options: RunOptions
) -> None:
    """Push a selection to Label Studio, or pull its answers."""
    from activetune.labelling.label_studio import label_in_studio

    if inside is None or inside.replace("_", "-") != STUDIO or url is None:
        raise UsageError(
            f"labelling elsewhere takes --in {STUDIO} and --url ADDRESS, for instance --url http://127.0.0.1:8080"
        )
    done = label_in_studio(selection, url=url, quiet=bool(run_options.get("quiet")), **asked)
    if done.pushed:
        say(f"{done.address}: {counted(done.pushed, 'task')}; when they are labelled, run the same command again")
    elif done.file is not None:
        say(f"{done.file}: {counted(done.answered, 'answer')} of {done.address}")
    else:
        say(f"{done.address}: nobody has answered yet")
