"""The card of a model: what it is for, what it has learned from and how, how good it is, and where it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from activetune.base.printing import counted
from activetune.evaluation.estimate import short_estimate
from activetune.evaluation.learned_from import told_lessons, told_recipe
from activetune.evaluation.metrics import told_score
from activetune.evaluation.multilabel import NAMED

CALIBRATION = "ece"
SHOWN = 40  # classes that a card names


def card_of(description: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """The text of ``README.md``, Markdown under the head that a hub reads.

    Args:
        description: see :func:`activetune.handover.description.describe`. report: what the checks have found.
    """
    parts = (_head, _use, _data, _recipe, _figures, _limits)
    return "\n".join(line for part in parts for line in part(description, report))


def _head(description: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    classes = description["classes"]
    yield from ("---", "library_name: timm", "pipeline_tag: image-classification", "tags:")
    yield from ("- image-classification", "- timm", "- activetune", "---")
    yield from (f"# {description['model']['architecture']}: {len(classes):,} classes", "")
    kind = "one class per image" if description["task"] == "classification" else "several classes per image, or none"
    made_by = f"finetuned by activetune {description['activetune']}"
    yield from (f"`{description['model']['architecture']}`, {made_by} to tell {kind}:", "")
    yield ", ".join(f"`{_code(name)}`" for name in classes[:SHOWN]) + (
        f" and {len(classes) - SHOWN:,} more (`label_names` in `config.json`)." if len(classes) > SHOWN else "."
    )


def _use(description: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    several = description["task"] != "classification"
    yield from ("", "## Use", "", "```python", "import timm", "from PIL import Image, ImageOps", "")
    yield 'network = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # FOLDER: where this card lies'
    yield "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))"
    yield 'image = Image.open("photo.jpg")'
    if sides := description["preprocessing"]["jpeg_sides"]:
        yield f"image.draft(None, ({sides}, {sides}))  # a large JPEG at a smaller scale"
    yield 'image = ImageOps.exif_transpose(image).convert("RGB")  # upright; transparent or 16-bit ones: see below'
    yield f"probabilities = network(transform(image)[None])[0].{'sigmoid()' if several else 'softmax(dim=0)'}"
    yield 'names = network.pretrained_cfg["label_names"]'
    if several:
        yield f"print([name for name, probability in zip(names, probabilities) if probability >= {NAMED}])"
    else:
        yield "print(names[probabilities.argmax()])"
    yield "```"
    yield from ("", "Images are prepared so:", "")
    yield from (f"{number}. {step}" for number, step in enumerate(description["preprocessing"]["steps"], 1))


def _data(description: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    figures = description["model"].get("figures", {})
    yield from ("", "## Data", "")
    if "n_train" not in figures:
        yield "The exported model did not tell what it was trained on."
        return
    chosen = figures.get("n_validation", 0)
    yield f"It was trained on {told_lessons(figures)}" + (
        f"; {counted(chosen, 'labelled image')} more chose among settings and epochs." if chosen else "."
    )
    yield f"The network had learned from its publisher's data before (`{_code(description['model']['backbone'])}`)."
    yield "Their licences are those of their owners; this card does not grant any."


def _recipe(description: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    model = description["model"]
    recipe = told_recipe(model.get("recipe"), model.get("figures", {}))
    yield from ("", "## Recipe", "", f"`{recipe}`, seed {model.get('seed', 'not told')}.")
    if options := model.get("options"):
        yield from ("", "| setting | |", "|---|---|")
        yield from (f"| {_cell(name)} | {_cell(json.dumps(value))} |" for name, value in options.items())


def _figures(description: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "## Figures", "")
    scores, estimate = report.get("scores"), description["model"].get("figures", {}).get("estimate")
    if scores:
        primary, found = scores["primary"], scores["exported"]
        pool = _code(scores["pool"])
        yield f"{told_score(primary, found[primary])} on {found['n']:,} labelled images of `{pool}`."
        if CALIBRATION in found:
            yield f"Its probabilities are off by {100 * found[CALIBRATION]:.1f} points there (calibration error)."
    if isinstance(estimate, Mapping):
        yield from ("", f"Estimated from the labelled images themselves{short_estimate(estimate)}.")
        worst = [
            f"`{_code(name)}` {100 * row['top1']:.0f} % of {row['n']:,}" for name, row in estimate["worst"].items()
        ]
        yield f"Right least often: {', '.join(worst)}." if worst else ""
    if not scores and not estimate:
        yield "None was measured. `activetune export-model --pool POOL --labels FILE` writes them here."


def _limits(description: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "## Limits", "")
    yield "- It answers with these classes alone, also for images that show none of them."
    lessons = told_lessons(description["model"].get("figures", {}))
    yield f"- What {lessons} do not show, it has not learned: other cameras, places, seasons, sizes."
    measured = CALIBRATION in (report.get("scores") or {}).get("exported", {})
    known = "are off as the calibration error above says" if measured else "were not compared with what is right"
    yield f"- Its probabilities {known}; measure them on images of your own."
    yield ""


def _code(text: object) -> str:
    """A name within backticks, which it must not close."""
    return " ".join(str(text).replace("`", "'").split())


def _cell(text: object) -> str:
    """A name within a table, whose columns it must not end."""
    return _code(text).replace("|", "\\|")
