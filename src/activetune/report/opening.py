"""How a page opens: its title and the sentence below it, for each kind of folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath

from activetune.base.printing import counted
from activetune.evaluation.learned_from import told_lessons, told_recipe
from activetune.evaluation.metrics import capital, told_score
from activetune.report.subject import (
    CHECK,
    COMPARISON,
    DEMO,
    EMBEDDINGS,
    MODEL,
    PROJECT,
    SELECTION,
    SIMULATION,
    VISFT,
    Subject,
)
from activetune.selection.artefact import told_method
from activetune.selection.audit import read_audit

Opening = tuple[str, str]


def opening(subject: Subject) -> Opening:
    """Title and lead of a folder's page."""
    return _OPENINGS[subject.kind](subject)


def _embeddings(subject: Subject) -> Opening:
    made = subject.manifest
    rejected = f"; {made['rejected']:,} images can't be decoded" if made.get("rejected") else ""
    features = " x ".join(f"{side:,}" for side in made["shape"])
    return (
        f"{made['n']:,} images of {_short(made.get('pool'))}",
        f"{features} features by {made.get('backbone', 'another program')}{rejected}.",
    )


def _selection(subject: Subject) -> Opening:
    made = subject.manifest
    by = made.get("made_by", {}).get("backbone", "another program")
    return (
        f"{made.get('k', len(subject.selection or ())):,} of {made['n']:,} images to label, {_short(made.get('pool'))}",
        f"Chosen by {told_method(made)}, seed {made['seed']}, on features by {by}.",
    )


def _model(subject: Subject) -> Opening:
    made, scores = subject.manifest, subject.scores
    figure = ""
    if scores is not None:
        on = f" of {_short(str(scores['pool']))}" if scores.get("pool") else ""
        score = capital(told_score(scores["primary"], scores[scores["primary"]], 1))
        figure = f" {score} on {scores['n']:,} images{on}."
    task = made.get("task", "classification")
    return (
        f"{task.capitalize()} model, {subject.folder.resolve().name}",
        f"{told_recipe(made['recipe'], made['figures'])} on {made['backbone']}, trained on "
        f"{told_lessons(made['figures'])}.{figure}",
    )


def _simulation(subject: Subject) -> Opening:
    assert subject.results is not None
    made, own = subject.manifest, subject.results.split_per_seed
    seeds, of_classes = len(made["seeds"]), f" of {made['classes']:,} classes" if made["classes"] else ""
    return (
        f"activetune simulate: {made['pool_name']}",
        f"{made['pool_items']:,} images{of_classes} to choose from, {made['test_items']:,} held out "
        f"({made['test_name']}{', others for each seed' if own else ''}), {counted(seeds, 'seed')}; "
        f"backbone: {made['made_from']['backbone']}.",
    )


def _demo(subject: Subject) -> Opening:
    made = subject.manifest
    return (
        f"activetune demo: {made['question']}",
        f"{made['about']} {made['pool_items']:,} images to choose from, {made['test_items']:,} held out, "
        f"{counted(made['seeds'], 'seed')}; backbone: bundled, recipe: linear probe.",
    )


def _comparison(subject: Subject) -> Opening:
    rows, names = subject.differences or (), subject.manifest["names"]
    clear = [row for row in rows if row["p_holm"] < 0.05]
    better = sum(row["difference"] > 0 for row in clear)
    return (
        "activetune compare",
        f"A: {names['a']}; B: {names['b']}; both frozen. Of {len(rows)} figures B is clearly higher in {better} and "
        f"clearly lower in {len(clear) - better} (p below 0.05, corrected for their number).",
    )


def _visft(subject: Subject) -> Opening:
    made = subject.manifest
    names = ", ".join(str(task.get("name") or task.get("task")) for task in made["tasks"])
    return f"activetune visft: {made['backbone']}", f"Finetuned by {len(made['tasks'])} tasks ({names}), then merged."


def _check(subject: Subject) -> Opening:
    figures, names = subject.manifest["figures"], subject.manifest["names"]
    total = sum(row["findings"] for row in figures["rows"])
    return (
        f"{total:,} findings in {figures['images']:,} images",
        f"{_short(names['pool']['pool'])}, checked by activetune check; {figures['excluded']:,} are in exclude.csv.",
    )


def _project(subject: Subject) -> Opening:
    made, known = subject.manifest, subject.known or {}
    aside = len(known.keys() & read_audit(subject.folder, again="call 'activetune next' again"))
    audit = f", {aside:,} more in the audit" if aside else ""
    ledger = subject.ledger or {}
    numbered = zip(ledger.get("round", ()), ledger.get("answered", ()), strict=False)
    rounds = sum(str(number) != "0" and str(count) not in ("", "0", "None") for number, count in numbered)
    told = {name: made[name] for name in ("recipe", "backbone") if name in made}  # people may write the settings
    trained = f"; {' on '.join(map(str, told.values()))}" if told else ""
    return (
        f"{subject.folder.resolve().name}: {counted(len(known) - aside, 'label')} to learn from{audit}, after "
        f"{counted(rounds, 'round')}",
        f"{_short(made.get('pool'))}, labelled round by round{trained}.",
    )


def _short(pool: object) -> str:
    """A pool's name without the folders above it."""
    return PurePath(str(pool)).name if pool else "an unnamed pool"


_OPENINGS: Mapping[str, Callable[[Subject], Opening]] = {
    EMBEDDINGS: _embeddings,
    SELECTION: _selection,
    MODEL: _model,
    SIMULATION: _simulation,
    DEMO: _demo,
    COMPARISON: _comparison,
    VISFT: _visft,
    CHECK: _check,
    PROJECT: _project,
}
