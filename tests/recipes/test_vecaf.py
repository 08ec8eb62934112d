"""VeCAF's loop: what is selected, described, moved and trained, and what it is said to cost."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from activetune import UsageError, open_pool
from activetune.data.pool import Pool
from activetune.evaluation.curves import first_at, training_curve
from activetune.features.text import cea, encoders
from activetune.networks.backbones import bundled
from activetune.recipes import vecaf
from activetune.recipes.vecaf import language as _language
from activetune.recipes.vecaf import loops as _selection_loops
from activetune.recipes.vecaf import scorer as _scorer
from activetune.recipes.vecaf.language import in_domain
from activetune.recipes.vecaf.loops import Loops
from activetune.recipes.vecaf.scoring import OneVsAll, make_objective
from activetune.tasks import Batch
from activetune.training.loop import _Run
from activetune.training.probe_phase import labelled_features
from activetune.training.recipe import make_recipe
from activetune.training.steps import Steps
from tests.conftest import tiny_backbone, write_digits
from tests.told_to_end import told_to_end_at
from tests.training.test_finetuning import cut_off, figures, history, learnt, some_labels, train, weights

pytestmark = pytest.mark.slow

SHORT: dict[str, Any] = {
    "batches": 12,
    "loops": 3,
    "measurements": 2,
    "batch_size": 8,
    "budget": 12,
    "captions": "none",
    "strengths": 100.0,  # nothing to choose
}


@pytest.fixture(autouse=True)
def _small(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny network, the bundled one on 32 px images, and texts by a table instead of a model."""
    monkeypatch.setattr(bundled, "SETTINGS", replace(bundled.SETTINGS, size=(32, 32)))
    monkeypatch.setattr("activetune.recipes.vecaf.language.load_text_encoder", lambda *_, **__: Table())


class Table(encoders.TextEncoder):
    """A random row for each sentence."""

    name, size, pooling = "table", 24, "its own"

    def batch(self, sentences: list[str]) -> torch.Tensor:
        seeds = [sum(sentence.encode()) for sentence in sentences]
        return torch.stack([torch.randn(24, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return open_pool(write_digits(tmp_path / "digits", 120))


def run(pool: Pool, out: Path, **settings: Any) -> Any:
    labels = some_labels(pool, 12, classes=5)
    name, weights = tiny_backbone()
    return train(pool, out, "vecaf", labels=labels, settings={**SHORT, **settings}, backbone=name, weights=weights)


def selections(folder: Path) -> list[dict[str, str]]:
    with (folder / "selections.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def by_loop(folder: Path) -> list[set[str]]:
    rows = selections(folder)
    return [{row["id"] for row in rows if row["loop"] == str(loop)} for loop in (1, 2, 3)]


# The loop ------------------------------------------------------------------------------------------------------------


def test_each_loop_trains_on_its_selection_for_its_share_of_the_batches(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from activetune.training.batches import Turn
    from activetune.training.streams import StreamItems

    seen: list[int] = []
    original = StreamItems.__getitem__

    def record(self: StreamItems, turn: Turn | int) -> Any:
        if isinstance(turn, Turn):
            seen.append(turn.position)
        return original(self, turn)

    monkeypatch.setattr(StreamItems, "__getitem__", record)
    run(pool, tmp_path / "m")
    ids = list(some_labels(pool, 12, classes=5))
    for loop, chosen in enumerate(by_loop(tmp_path / "m")):
        assert len(chosen) == 12
        trained = [ids[position] for position in seen[loop * 32 : (loop + 1) * 32]]  # 4 batches of 8
        assert set(trained) == chosen
        assert max(map(trained.count, chosen)) - min(map(trained.count, chosen)) <= 1
    assert len(seen) == 12 * 8
    rows = [row for row in history(tmp_path / "m") if row["phase"] == "vecaf"]
    assert [row["loop"] for row in rows] == ["1", "1", "2", "2", "3", "3"]
    assert [row["batches"] for row in rows] == ["2", "4", "6", "8", "10", "12"]
    assert [row["scored"] for row in rows] == ["54", "54", "108", "108", "162", "162"]  # 59 labels less 5 held out
    assert figures(tmp_path / "m")["batches_with_scoring"] == pytest.approx(12 + 162 / 3 / 8, abs=0.1)


def test_scoring_can_be_spared(pool: Pool, tmp_path: Path) -> None:
    run(pool, tmp_path / "share", score_share=0.5)
    assert [loop["scored"] for loop in figures(tmp_path / "share")["loops"]] == [54, 27, 27]
    run(pool, tmp_path / "first", score_loops="first")
    assert [loop["scored"] for loop in figures(tmp_path / "first")["loops"]] == [54, 0, 0]


@pytest.mark.parametrize("warm_up", ["none", "selected"])
def test_only_what_is_scored_is_looked_at(
    warm_up: str, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[int] = []

    def record(task: Any, positions: Any, **options: Any) -> Any:
        embedded.append(len(positions))
        return labelled_features(task, positions, **options)

    monkeypatch.setattr(vecaf, "labelled_features", record)
    run(pool, tmp_path / "m", score_first=0.5, score_share=0.25, warm_up=warm_up)
    assert embedded == [27]
    assert [loop["scored"] for loop in figures(tmp_path / "m")["loops"]] == [27, 14, 14]
    assert [len(chosen) for chosen in by_loop(tmp_path / "m")] == [12, 12, 12]


def test_a_probe_on_the_pool_reads_all_of_it(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"score_first can't be 0\.5 .* warm_up=selected or warm_up=none"):
        run(pool, tmp_path / "m", score_first=0.5)


@pytest.mark.parametrize(
    "method", ["random", "activeft", "margin", "top_loss", "ods", "auto", "alfa_mix", "drop_query", "learn_loss"]
)
def test_any_selector_runs_in_the_loop(method: str, pool: Pool, tmp_path: Path) -> None:
    run(pool, tmp_path / "m", select_with=method, batches=6)
    assert [len(chosen) for chosen in by_loop(tmp_path / "m")] == [12, 12, 12]


@pytest.fixture
def long_tail(pool: Pool) -> dict[str, str]:
    """Labels of which 0 has twelve, 1, 2 and 3 eight each, and 4 two."""
    names = some_labels(pool, 12, classes=5)
    of_class = {name: [item for item in names if names[item] == name] for name in "01234"}
    counts = {"0": 12, "1": 8, "2": 8, "3": 8, "4": 2}
    return {item: name for name, items in of_class.items() for item in items[: counts[name]]}


def classes_by_loop(folder: Path, labels: dict[str, str]) -> list[list[int]]:
    """How many items of the classes 0 to 4 each loop selected."""
    return [[[labels[item] for item in chosen].count(name) for name in "01234"] for chosen in by_loop(folder)]


@pytest.mark.parametrize("method", ["random", "activeft", "top_loss", "ods", "margin", "learn_loss"])
def test_a_budget_spread_over_the_classes(method: str, pool: Pool, long_tail: dict[str, str], tmp_path: Path) -> None:
    settings = {**SHORT, "select_with": method, "select_within": "classes", "validation": 0.0, "batches": 6}
    train(pool, tmp_path / "m", "vecaf", labels=long_tail, settings={**settings, "budget": 10})
    loops = classes_by_loop(tmp_path / "m", long_tail)
    assert loops[0] == [2, 2, 2, 2, 2]
    if method != "learn_loss":  # it takes no item twice: 4 has none left
        assert loops == [[2] * 5] * 3
        return
    for number, counts in enumerate(loops[1:], start=1):
        assert counts[4] == 0, number
        assert sorted(counts[:4]) == [2, 2, 3, 3]


def test_a_class_with_few_items_gives_all_of_them(pool: Pool, long_tail: dict[str, str], tmp_path: Path) -> None:
    settings = {**SHORT, "select_within": "classes", "budget": 22, "batches": 6, "validation": 0.0}
    train(pool, tmp_path / "m", "vecaf", labels=long_tail, settings=settings)
    assert classes_by_loop(tmp_path / "m", long_tail) == [[5, 5, 5, 5, 2]] * 3


def test_over_the_loops_every_class_has_its_turn(pool: Pool, long_tail: dict[str, str], tmp_path: Path) -> None:
    """Three items per loop for five classes: nine items in all, so that no class is chosen more than twice."""
    settings = {**SHORT, "select_within": "classes", "budget": 3, "batches": 6, "validation": 0.0}
    train(pool, tmp_path / "m", "vecaf", labels=long_tail, settings=settings)
    total = np.sum(classes_by_loop(tmp_path / "m", long_tail), axis=0)
    assert sorted(total.tolist()) == [1, 2, 2, 2, 2]


def test_within_a_class_the_selector_decides(pool: Pool, long_tail: dict[str, str], tmp_path: Path) -> None:
    settings = {**SHORT, "select_with": "top_loss", "batches": 6, "validation": 0.0}
    train(pool, tmp_path / "all", "vecaf", labels=long_tail, settings={**settings, "budget": "100%"})
    within = {"select_within": "classes", "budget": 8}
    train(pool, tmp_path / "m", "vecaf", labels=long_tail, settings={**settings, **within})
    rows = [row for row in selections(tmp_path / "m") if row["loop"] == "1"]
    for name in "01234":
        losses = [float(row["loss"]) for row in rows if long_tail[row["id"]] == name]
        assert losses == sorted(losses, reverse=True)
    assert figures(tmp_path / "m")["loops"][0]["k"] == 8


def test_the_scored_part_is_spread_over_the_classes_too(pool: Pool, long_tail: dict[str, str], tmp_path: Path) -> None:
    settings = {**SHORT, "select_within": "classes", "budget": 10, "batches": 6, "validation": 0.0}
    train(pool, tmp_path / "m", "vecaf", labels=long_tail, settings={**settings, "score_share": 0.01})
    assert [loop["scored"] for loop in figures(tmp_path / "m")["loops"]] == [38, 10, 10]
    assert classes_by_loop(tmp_path / "m", long_tail) == [[2] * 5] * 3


def test_items_with_the_largest_losses_are_the_top_losses(pool: Pool, tmp_path: Path) -> None:
    run(pool, tmp_path / "m", select_with="top_loss")
    losses = [float(row["loss"]) for row in selections(tmp_path / "m") if row["loop"] == "2"]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > figures(tmp_path / "m")["loops"][1]["mean_loss"] > losses[-1]


def test_selecting_everything_is_training_on_everything(pool: Pool, tmp_path: Path) -> None:
    run(pool, tmp_path / "m", select_with="all", batches=6)
    assert [len(chosen) for chosen in by_loop(tmp_path / "m")] == [54, 54, 54]
    assert figures(tmp_path / "m")["scored_items"] == 54  # by the probe on the pool
    assert [loop["scored"] for loop in figures(tmp_path / "m")["loops"]] == [54, 0, 0]


def test_drawing_at_random_looks_at_nothing(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vecaf, "labelled_features", lambda *_, **__: pytest.fail("nothing reads them"))
    monkeypatch.setattr(_scorer, "score", lambda *_, **__: pytest.fail("nothing reads it"))
    run(pool, tmp_path / "m", select_with="random", warm_up="none")
    assert [len(chosen) for chosen in by_loop(tmp_path / "m")] == [12, 12, 12]
    assert len(set.union(*by_loop(tmp_path / "m"))) > 24  # each loop draws anew
    assert figures(tmp_path / "m")["scored_items"] == 0
    assert {row["loss"] for row in selections(tmp_path / "m")} == {""}


@pytest.mark.parametrize("warm_up", ["pool", "selected", "none"])
def test_where_the_first_classifier_comes_from(warm_up: str, pool: Pool, tmp_path: Path) -> None:
    run(pool, tmp_path / "m", warm_up=warm_up, strengths="10,100")
    first = {float(row["loss"]) for row in selections(tmp_path / "m") if row["loop"] == "1"}
    if warm_up == "pool":
        assert len(first) > 6
        assert any(row["phase"] == "probe" for row in history(tmp_path / "m"))
    else:  # a classifier at zero says nothing: each loss is log 5
        np.testing.assert_allclose(list(first), np.log(5), rtol=1e-4)
    second = {row["loss"] for row in selections(tmp_path / "m") if row["loop"] == "2"}
    assert len(second) > 6


def test_everything_is_what_was_selected(pool: Pool, tmp_path: Path) -> None:
    for name in ("pool", "selected"):
        run(pool, tmp_path / name, warm_up=name, select_with="all", batches=6)
    assert weights(tmp_path / "pool") == weights(tmp_path / "selected")


def test_features_are_made_for_what_reads_them(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vecaf, "labelled_features", lambda *_, **__: pytest.fail("nothing reads them"))
    run(pool, tmp_path / "m", warm_up="none", select_with="all", batches=6)


def test_the_time_to_an_accuracy_counts_selection() -> None:
    rows = [
        {"val_top1": 0.3, "batches": 5, "scored": 50, "seconds": 2.0},
        {"val_top1": 0.6, "batches": 10, "scored": 50, "seconds": 1.0},
        {"val_top1": 0.5, "batches": 15, "scored": 90, "seconds": 2.5},
    ]
    curve = training_curve([{"phase": "probe", "val_top1": 0.9}, *rows])
    assert first_at(curve, 0.2) == {"batches": 5, "scored": 50, "seconds": 2.0, "val_top1": 0.3}
    assert first_at(curve, 0.55) == {"batches": 10, "scored": 50, "seconds": 3.0, "val_top1": 0.6}
    assert first_at(curve, 0.9) is None


# Objectives ----------------------------------------------------------------------------------------------------------


def test_one_vs_all_is_a_question_on_one_class() -> None:
    logits, targets = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 4
    found = make_objective("one_vs_all:c", ["a", "b", "c", "d"])(logits, targets)
    probs = torch.softmax(logits, 1)[:, 2]
    expected = -torch.where(targets == 2, probs, 1 - probs).log()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        make_objective("cross_entropy", ["a"])(logits, targets),
        functional.cross_entropy(logits, targets, reduction="none"),
    )


def test_one_class_and_the_rest_have_the_same_weight() -> None:
    objective = make_objective("one_vs_all:b", ["a", "b", "c"])
    assert isinstance(objective, OneVsAll)
    losses, targets = np.array([4.0, 2.0, 0.5, 0.1], np.float32), np.array([1, 1, 0, 2])
    found = objective.evened(losses, targets)
    np.testing.assert_allclose(found, [2.2, 1.1, 2.75, 0.55], rtol=1e-6)
    np.testing.assert_allclose(objective.evened(losses, np.ones(4, int)).sum(), 3.3, rtol=1e-6)  # it alone: half


def test_a_class_has_half_of_all_losses_whatever_the_folds(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class of one item is scored apart from the folds of the others."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    original = _selection_loops.Loops.start

    def start(self: _selection_loops.Loops, *given: Any) -> None:
        original(self, *given)
        first = self.scorer.score(0, self.candidates[:0])
        found.append((self.scorer.weighed(first), self.job.labels.indices[first.positions]))

    monkeypatch.setattr(_selection_loops.Loops, "start", start)
    alone = next(item for item in pool.ids if item.startswith("9/"))
    labels = {**some_labels(pool, 12, classes=5), alone: "9"}
    train(pool, tmp_path / "m", "vecaf", labels=labels, settings={**SHORT, "batches": 6, "objective": "one_vs_all:3"})
    ((losses, targets),) = found
    assert np.bincount(targets)[-1] == 1
    assert losses[targets == 3].sum() == pytest.approx(losses.sum() / 2, rel=1e-5)


@pytest.mark.parametrize("warm_up", ["none", "selected"])
def test_a_classifier_at_zero_has_one_loss_for_all(warm_up: str, pool: Pool, tmp_path: Path) -> None:
    """Else the first loop would select the class that an objective asks for and nothing else."""
    run(pool, tmp_path / "m", objective="one_vs_all:3", warm_up=warm_up, batches=6)
    run(pool, tmp_path / "all", warm_up=warm_up, batches=6)
    assert len({row["loss"] for row in selections(tmp_path / "m") if row["loop"] == "1"}) == 1
    assert by_loop(tmp_path / "m")[0] == by_loop(tmp_path / "all")[0]
    assert by_loop(tmp_path / "m")[1] != by_loop(tmp_path / "all")[1]


def test_an_objective_decides_what_is_selected(pool: Pool, tmp_path: Path) -> None:
    run(pool, tmp_path / "m", objective="one_vs_all:3", select_with="top_loss", budget=6, select_settings="")
    names = some_labels(pool, 12, classes=5)
    chosen = [names[row["id"]] for row in selections(tmp_path / "m") if row["loop"] == "1"]

    def only_twos(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (targets == 2).float() + 1e-3

    run(pool, tmp_path / "own", objective=only_twos, select_with="top_loss", budget=6)
    own = [names[row["id"]] for row in selections(tmp_path / "own") if row["loop"] == "1"]
    assert own == ["2"] * 6
    assert chosen != own


def test_impossible_objectives_are_a_sentence(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no class '33'; the nearest are: 3"):
        run(pool, tmp_path / "a", objective="one_vs_all:33")
    with pytest.raises(UsageError, match=r"unknown objective 'mse'; there are: cross_entropy, one_vs_all:CLASS"):
        run(pool, tmp_path / "b", objective="mse")
    with pytest.raises(UsageError, match="must give each a finite loss of at least 0"):
        run(pool, tmp_path / "c", objective=lambda logits, targets: logits.mean())


# Language ------------------------------------------------------------------------------------------------------------


def test_captions_of_the_selected_are_kept(pool: Pool, tmp_path: Path) -> None:
    run(pool, tmp_path / "m", captions="template", target_domain="snowy,Rain falls.")
    names = some_labels(pool, 12, classes=5)
    for row in selections(tmp_path / "m"):
        assert row["caption"] == f"a photo of a {names[row['id']]}. It is a snowy day! Rain falls."
    assert in_domain("A dog.", ("foggy",)) == "A dog. It is a foggy day!"
    assert figures(tmp_path / "m")["loops"][0]["text_map"]["name"].startswith(("ridge", "procrustes"))


@pytest.mark.parametrize("place", ["pooled", "tokens"])
def test_the_forward_pass_moves_what_the_head_reads(
    place: str, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss's gradient reaches the pooled feature times (1 - (1 - lambda) s), and the head sees the moved one."""
    checked: list[int] = []
    original = _selection_loops.Loops.outputs

    def outputs(self: _selection_loops.Loops, network: Any, batch: Batch, stream: Any) -> torch.Tensor:
        found = original(self, network, batch, stream)
        moved = self.done[-1].moved
        assert moved is not None
        network.eval()
        with torch.no_grad():
            again = original(self, network, batch, stream)
            rows = [moved.positions.tolist().index(position) for position in batch.positions.tolist()]
            features = network.backbone(batch.images)
            by_hand = torch.stack(
                [
                    0.5 * (e - step * (e - text)) + 0.5 * e
                    for e, step, text in zip(
                        features, moved.steps_K[rows].tolist(), torch.from_numpy(moved.texts_KD[rows]), strict=True
                    )
                ]
            )
            torch.testing.assert_close(again, network.head()(by_hand), rtol=1e-3, atol=1e-3)
        network.train()
        checked.append(len(rows))
        return found

    monkeypatch.setattr(_selection_loops.Loops, "outputs", outputs)
    run(pool, tmp_path / "m", captions="template", lambda_bw=0.5, place=place, batches=6)
    assert sum(checked) == 6 * 8


def test_without_language_the_forward_pass_is_the_usual_one(pool: Pool, tmp_path: Path) -> None:
    run(pool, tmp_path / "none")
    run(pool, tmp_path / "zero", captions="template", eta=0.0, lambda_bw=0.9)
    run(pool, tmp_path / "one", captions="template", eta=0.0, lambda_bw=1.0)
    assert by_loop(tmp_path / "none") == by_loop(tmp_path / "zero") == by_loop(tmp_path / "one")
    assert weights(tmp_path / "none") == weights(tmp_path / "one")


def test_moved_embeddings_feed_the_selection(pool: Pool, tmp_path: Path) -> None:
    run(pool, tmp_path / "none")
    run(pool, tmp_path / "moved", captions="template", eta=1.0, lambda_bw=1.0)
    (first, *later), (first_moved, *later_moved) = by_loop(tmp_path / "none"), by_loop(tmp_path / "moved")
    assert first == first_moved  # nothing has been described yet
    assert later != later_moved
    run(pool, tmp_path / "all", captions="template", eta=1.0, lambda_bw=1.0, moves="described")
    assert by_loop(tmp_path / "all")[0] != first


def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids that a captioning model is asked for."""
    from activetune.features.text import captions

    asked: list[str] = []

    def describe(self: object, pool: Pool, positions: Any, names: Any, *, quiet: bool) -> list[str]:
        asked.extend(pool.ids[position] for position in positions)
        return [f"I see {pool.ids[position]}" for position in positions]

    monkeypatch.setattr(captions._Model, "describe", describe)
    monkeypatch.setattr(captions, "check_speaks", lambda *_: None)
    return asked


def test_models_describe_what_was_selected_and_nothing_else(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = written(monkeypatch)
    run(pool, tmp_path / "m", captions="hf/somebody/something")
    assert sorted(asked) == sorted(set().union(*by_loop(tmp_path / "m")))
    assert all(row["caption"] == f"I see {row['id']}" for row in selections(tmp_path / "m"))


# Going on, and wrong input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saves", "settings"),
    [
        (1, {"captions": "template"}),
        (2, {"captions": "template"}),
        (5, {"captions": "template", "target_domain": "snowy"}),
        (3, {"score_loops": "first"}),
        (2, {"select_with": "alfa_mix"}),
        (2, {"select_within": "classes", "score_share": 0.5}),
    ],
)
def test_a_run_goes_on_wherever_it_was(
    saves: int, settings: dict[str, Any], pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"labels": some_labels(pool, 12, classes=5), "settings": {**SHORT, **settings}}
    train(pool, tmp_path / "whole", "vecaf", **options)
    cut_off(monkeypatch, lambda: train(pool, tmp_path / "cut", "vecaf", **options), saves=saves)
    train(pool, tmp_path / "cut", "vecaf", **options, resume=True)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    chosen = [(tmp_path / name / "selections.csv").read_text() for name in ("cut", "whole")]
    assert chosen[0] == chosen[1]
    assert learnt(tmp_path / "cut") == learnt(tmp_path / "whole")


@pytest.mark.parametrize(
    ("owner", "method", "call", "warm_up"),
    [
        (Loops, "_warm_up", 1, "selected"),  # before a step, the first classifier is not there yet
        (Loops, "end", 2, "pool"),  # after the last step of an epoch, what it noted is not put together yet
        (Steps, "_mean_loss", 2, "pool"),
        (_Run, "_validate", 2, "pool"),
    ],
)
def test_a_run_told_to_end_beside_its_steps_goes_on_as_if_it_had_not_been(
    owner: type, method: str, call: int, warm_up: str, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"batches": 12, "loops": 2, "measurements": 2, "budget": 6, "batch_size": 4, "scoring": "noted"}
    settings |= {"captions": "none", "warm_up": warm_up, "validation_least": 1}
    options = {"labels": some_labels(pool, 12, classes=5), "settings": settings}
    train(pool, tmp_path / "whole", "vecaf", **options)
    cut = tmp_path / "cut"
    told_to_end_at(monkeypatch, owner, method, lambda: train(pool, cut, "vecaf", **options, resume=True), call)
    assert weights(cut) == weights(tmp_path / "whole")
    assert (cut / "selections.csv").read_text() == (tmp_path / "whole" / "selections.csv").read_text()
    assert learnt(cut) == learnt(tmp_path / "whole")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batches": 3, "loops": 3, "measurements": 2}, "3 batches can't be shared out .* give at least 6"),
        ({"select_with": "nothing"}, "unknown selector 'nothing'"),
        ({"select_with": "all", "select_within": "classes"}, "give a selector, or balance=1"),
        ({"select_with": "free_sel"}, "free_sel reads patch tokens"),
        ({"select_settings": "temprature=1"}, "did you mean 'temperature'"),
        ({"captions": "none", "target_domain": "snowy"}, "target_domain is added to captions"),
        ({"lambda_bw": 1.5}, r"lambda_bw can't be 1.5; allowed: 0 to 1"),
        ({"targets": "0.5,2"}, r"targets can't be 2.0; allowed: 0 to 1"),
    ],
)
def test_wrong_settings_are_a_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_recipe("vecaf", settings=settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"select_with": "margin", "objective": "one_vs_all:1"}, "objective changes nothing here: select_with=margin"),
        (
            {"select_with": "random", "score_share": 0.5, "loss_balance": 0.5},
            "score_share changes nothing here: select",
        ),
        (
            {"select_with": "random", "loss_balance": 0.5},
            "loss_balance changes nothing here: select_with=random reads no",
        ),
        ({"select_with": "all", "select_settings": "share=0.5"}, "select_settings changes nothing here"),
        ({"loops": 1, "scoring": "proxy"}, "scoring changes nothing here: there is one loop"),
        ({"captions": "none", "eta": 0.1, "prompt": "a"}, "prompt and eta change nothing here: captions=none"),
        ({"select_with": "ods", "scoring": "head"}, ""),
    ],
)
def test_settings_that_change_nothing_are_told(
    settings: dict[str, Any], told: str, pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {**SHORT, **settings}
    name, weights = tiny_backbone()
    labels = some_labels(pool, 12, classes=5)
    train(pool, tmp_path / "m", "vecaf", labels=labels, settings=given, backbone=name, weights=weights, quiet=False)
    said = capsys.readouterr().err
    assert told in said and ("nothing here" in said) == bool(told)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": "2/class"}, r"budget can't be '2/class'; give a share such as 5%, or up to 54 items per loop"),
        ({"budget": 56}, "up to 54 items"),
        ({"budget": 30, "select_with": "learn_loss"}, "loop 2 has 24 items left to select 30 from"),
    ],
)
def test_impossible_budgets_are_a_sentence(settings: dict[str, Any], message: str, pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        run(pool, tmp_path / "m", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "one_vs_all:33"}, "there is no class '33'"),
        ({"captions": "captions.csv"}, "captions.csv does not exist"),
        ({"captions": "others.csv"}, r"others.csv has no caption for any of 54 items, such as '0/00"),
        ({"captions": "template", "text_encoder": "mniilm"}, "unknown text encoder 'mniilm'"),
    ],
)
def test_what_is_wrong_is_told_before_the_pool_is_read(
    settings: dict[str, Any], message: str, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vecaf, "labelled_features", lambda *_, **__: pytest.fail("too early"))
    monkeypatch.setattr("activetune.recipes.vecaf.language.load_text_encoder", encoders.load_text_encoder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "others.csv").write_text("id,caption\nsomething,a thing\n")
    with pytest.raises(UsageError, match=message):
        run(pool, tmp_path / "m", **settings)
    assert not (tmp_path / "m").exists()


def test_the_map_is_learnt_without_the_target_domain(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what the domain's sentence says would be a part of the mean, and gone."""
    seen: list[list[str]] = []
    original = _language.fit_map

    def fit_map(features: np.ndarray, texts: np.ndarray, sentences: list[str], **options: Any) -> Any:
        seen.append(list(sentences))
        return original(features, texts, sentences, **options)

    monkeypatch.setattr(_language, "fit_map", fit_map)
    run(pool, tmp_path / "m", captions="template", target_domain="snowy", batches=6)
    assert seen and not any("snowy" in sentence for sentences in seen for sentence in sentences)
    assert all("snowy" in row["caption"] for row in selections(tmp_path / "m"))


def test_few_items_go_without_captions(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(monkeypatch)
    run(pool, tmp_path / "m", budget=4, captions="hf/somebody/something")
    assert "text_map" not in figures(tmp_path / "m")["loops"][0]
    assert cea.attention(np.eye(2, dtype=np.float32), np.ones((2, 2), dtype=np.float32)).sum() == pytest.approx(1)


def test_few_items_take_the_map_of_the_whole_pool(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[int] = []
    original = _language.fit_map

    def fit_map(features: np.ndarray, *rest: Any, **options: Any) -> Any:
        fitted.append(len(features))
        return original(features, *rest, **options)

    monkeypatch.setattr(_language, "fit_map", fit_map)
    run(pool, tmp_path / "m", budget=4, captions="template")
    assert "text_map" in figures(tmp_path / "m")["loops"][0]
    assert fitted == [54, 54, 54]


def test_first_losses_are_those_of_probes_that_have_not_seen_the_item(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from activetune.recipes.vecaf import scoring as _scoring

    fitted: list[np.ndarray] = []
    original = _scoring.fit_linear

    def fit(features: np.ndarray, *given: Any, **options: Any) -> Any:
        fitted.append(features)
        return original(features, *given, **options)

    monkeypatch.setattr(_scoring, "fit_linear", fit)
    run(pool, tmp_path / "m", select_with="top_loss", batches=6)
    assert len(fitted) == 5
    rows = [{tuple(row) for row in features.round(6).tolist()} for features in fitted]
    assert set.union(*rows) - set.intersection(*rows) == set.union(*rows)  # each item is left out once
    assert {len(one) for one in rows} <= {43, 44}
