"""Round by round: a project asks, takes over what was answered, and says what more labels would bring."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from activetune import UsageError, embed, load_backbone, next_round, open_pool, select
from activetune.base.artefact import read_manifest
from activetune.base.tables import read_table, write_csv
from activetune.cli import run
from activetune.cli._options import class_list
from activetune.data.labels import read_labels
from activetune.evaluation.learning_curve import Gain
from activetune.selection.artefact import load_selection
from activetune.studies.rounds import answered
from activetune.studies.rounds import next_round as module
from activetune.studies.rounds.advice import agreement, sentence_of
from activetune.studies.rounds.answers import read_answers
from activetune.studies.rounds.ledger import told as ledger_told
from tests.conftest import tiny_backbone, write_digits

Answering = Callable[[str], str]


def true_class(item: str) -> str:
    return item.partition("/")[0]


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write_digits(tmp_path / "pool", 60)


def start(images: Path, **options: Any) -> module.NextRound:
    backbone, weights = tiny_backbone()
    given = {"pool": images, "budget": 8, "backbone": backbone, "weights": weights, **options}
    return step(images, **given)


def step(images: Path, **options: Any) -> module.NextRound:
    return next_round(images.parent / "project", **{"device": "cpu", "workers": 0, "quiet": True, **options})


def answer(pool: Path, number: int, by: Answering = true_class, only: int | None = None, **columns: str) -> Path:
    """Fill in the label file of a round, as an editor or the page does."""
    path = pool.parent / f"project/rounds/{number:03d}/labels.csv"
    ids = read_table(path)["id"]
    labels = [by(item) if only is None or row < only else "" for row, item in enumerate(ids)]
    rows = [(item, label, *columns.values()) for item, label in zip(ids, labels, strict=True)]
    write_csv(path, ("id", "label", *columns), rows)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    columns = read_table(path)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


# From call to call --------------------------------------------------------------------------------------------------


def test_from_a_folder_of_images_to_the_third_round(pool: Path) -> None:
    project = pool.parent / "project"
    first = start(pool, audit=6)
    assert (first.state, first.round, first.new, first.labels) == ("label", 1, True, 0)
    assert len(load_selection(project / "rounds/001")) == 8 and len(read_table(project / "audit.csv")["id"]) == 6
    again = step(pool)  # nothing was labelled: it says where, and changes nothing
    assert (again.round, again.new, again.merged) == (1, False, 0) and "rounds/001" in again.to_do
    answer(pool, 1, only=5)
    partly = step(pool)
    assert (partly.round, partly.merged, partly.labels) == (1, 5, 5) and partly.to_do.startswith("9 of 14 items wait")
    answer(pool, 1)
    second = step(pool)
    assert (second.round, second.new, second.merged, second.labels) == (2, True, 9, 8)
    assert second.advice["audit"]["n"] == 6 and second.advice["audit"]["interval"]["by"] == "Wilson"
    assert read_manifest(project / "models/001", "model")["figures"]["n_train"] == 8
    answer(pool, 2)
    third = step(pool)
    assert (third.round, third.labels) == (3, 16) and third.advice["stability"]["to"] == 16
    assert [entry.answered for entry in third.ledger] == [14, 8, 0]
    picked = [load_selection(project / f"rounds/{number:03d}").ids for number in (1, 2, 3)]
    assert len({item for ids in picked for item in ids}) == 24
    assert {row["round"] for row in rows_of(project / "labels.csv")} == {"1", "2"}


def test_until_nothing_is_left(pool: Path) -> None:
    start(pool, budget="50%")
    answer(pool, 1)
    assert step(pool).round == 2
    answer(pool, 2)
    done = step(pool)
    assert (done.state, done.labels) == ("done", 60) and "nothing is left to pick" in done.to_do
    gain = done.advice["gain"]
    assert gain is None  # no more labels can come
    assert step(pool).state == "done"


def test_a_round_is_closed_with_items_that_nobody_has_looked_at(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(pool)
    answer(pool, 1, only=6)
    closed = step(pool, close=True)
    assert (closed.round, closed.labels) == (2, 6)
    capsys.readouterr()
    step(pool, close=True, quiet=False)
    assert "nobody has looked at an image of round 2: they may be asked for again" in capsys.readouterr().err
    answer(pool, 1)  # late answers count too
    assert step(pool).labels == 8


def test_an_item_that_two_rounds_have_asked_for_counts_once(pool: Path) -> None:
    project = pool.parent / "project"
    start(pool, budget=20)
    path = answer(pool, 1, only=6)
    assert step(pool, close=True).round == 2
    answer(pool, 2)
    found = step(pool)
    first, second, third = (set(load_selection(project / f"rounds/{number:03d}").ids) for number in (1, 2, 3))
    again, distinct = len(first & (second | third)), len(first | second | third)
    assert 0 < again < 14 and not second & third
    assert [[entry.asked, entry.answered, entry.passed, entry.open] for entry in found.ledger] == [
        [20, 6, 0, 0],
        [20, 20, 0, 0],
        [20, 0, 0, 20],
    ]
    assert [(entry.unanswered, entry.elsewhere) for entry in found.ledger] == [(14 - again, again), (0, 0), (0, 0)]
    assert [row["elsewhere"] for row in rows_of(project / "ledger.csv")] == [str(again), "0", "0"]
    told = f"3 rounds asked for {distinct} items: 26 answered, 0 passed, 20 open, {distinct - 46} unanswered"
    assert ledger_told(found.ledger) == told
    write_csv(path, ("id", "label"), [(item, true_class(item)) for item in first])
    late = step(pool)  # answers of the first round's file: each counts in one round, by the answer that counts
    by_round = Counter(row["round"] for row in rows_of(project / "labels.csv"))
    assert [entry.answered for entry in late.ledger] == [by_round[str(entry.round)] for entry in late.ledger]
    assert sum(by_round.values()) == len(first | second) == late.labels
    for entry in late.ledger:
        counts = entry.answered, entry.passed, entry.open, entry.unanswered, entry.elsewhere
        assert sum(counts) == entry.asked and entry.unanswered == 0


def test_answers_from_elsewhere_to_what_a_round_asks_for_are_the_round_s(pool: Path) -> None:
    start(pool)
    ids = load_selection(pool.parent / "project/rounds/001").ids
    others = [item for item in open_pool(pool).ids if item not in ids][:5]
    given = pool.parent / "given.csv"
    write_csv(given, ("id", "label"), [(item, true_class(item)) for item in (*ids, *others)])
    found = step(pool, labels=given)
    assert [(entry.round, entry.asked, entry.answered) for entry in found.ledger] == [(0, 0, 5), (1, 8, 8), (2, 8, 0)]
    assert ledger_told(found.ledger) == "2 rounds asked for 16 items: 8 answered, 0 passed, 8 open"


def test_what_was_passed_is_not_asked_again(pool: Path) -> None:
    start(pool, budget=30)
    path = answer(pool, 1, state="")
    rows = rows_of(path)
    passed = [rows[number] | {"label": "", "state": state} for number, state in ((0, "skipped"), (1, "unsure"))]
    write_csv(path, ("id", "label", "state"), [list(row.values()) for row in (*passed, *rows[2:])])
    found = step(pool)
    assert found.labels == 28 and (found.ledger[0].answered, found.ledger[0].passed) == (28, 2)
    assert not {row["id"] for row in passed} & set(load_selection(pool.parent / "project/rounds/002").ids)


def test_answers_of_one_class_alone_train_no_model_and_the_next_round_comes(pool: Path) -> None:
    start(pool)
    answer(pool, 1, lambda item: "same")
    found = step(pool)
    assert found.round == 2 and not (pool.parent / "project/models").exists()
    assert "can't be told yet" in found.advice["sentence"]


def test_labels_from_elsewhere_begin_a_project_and_conflicts_are_listed(pool: Path) -> None:
    ids = sorted(str(path.relative_to(pool)) for path in pool.glob("*/*"))[::6]
    given = pool.parent / "given.csv"
    write_csv(given, ("id", "label"), [(item, true_class(item)) for item in ids])
    first = start(pool, labels=given)
    project = pool.parent / "project"
    assert first.merged == first.labels == len(ids) and (project / "models/000/manifest.json").is_file()
    assert not set(load_selection(project / "rounds/001").ids) & set(ids)
    wrong = pool.parent / "wrong.csv"
    write_csv(wrong, ("id", "label"), [(ids[0], "other")])
    found = step(pool, labels=wrong)
    assert len(found.conflicts) == 1 and "'other' counts, also '" in found.conflicts[0]
    (listed,) = rows_of(project / "conflicts.csv")
    assert (listed["id"], listed["counts"], listed["open"]) == (ids[0], "other", "yes")
    third = pool.parent / "third.csv"
    write_csv(third, ("id", "label"), [(ids[0], true_class(ids[0]))])
    settled = step(pool, labels=third)
    assert not settled.conflicts and rows_of(project / "conflicts.csv")[0]["open"] == ""
    assert {row["id"]: row["label"] for row in rows_of(project / "labels.csv")}[ids[0]] == true_class(ids[0])
    write_csv(wrong, ("id", "label"), [(ids[0], true_class(ids[0]))])
    step(pool, labels=wrong)  # corrected and given again: no second opinion
    assert not rows_of(project / "conflicts.csv")


def test_the_audit_beside_given_labels_is_the_project_s(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone, weights = tiny_backbone()
    sel, project = pool.parent / "sel", pool.parent / "project"
    embeddings = embed(pool, backbone=load_backbone(backbone, weights), quiet=True)
    chosen = select(embeddings, budget=24, audit=6, out=sel, quiet=True)
    write_csv(sel / "labels.csv", ("id", "label"), [(item, true_class(item)) for item in chosen.to_label])
    first = start(pool, labels=sel / "labels.csv", quiet=False)
    said = capsys.readouterr().err
    assert (first.merged, first.labels) == (30, 24) and first.advice["audit"]["n"] == 6
    assert read_manifest(project / "models/000", "model")["figures"]["n_train"] == 24
    assert set(read_table(project / "audit.csv")["id"]) == set(chosen.audit)
    assert "6 items of the labels' audit: models are scored on them, and none learns from them" in said
    assert "the labelled items were selected, so the pool's accuracy may differ; the audit tells it" in said
    answer(pool, 1)
    (project / "audit.csv").unlink()  # it is made anew
    found = step(pool)
    assert found.labels == 32 and set(read_table(project / "audit.csv")["id"]) == set(chosen.audit)
    assert (found.ledger[0].method, found.ledger[0].audit) == ("given", 6)


def test_an_audit_beside_given_labels_counts_and_a_damaged_one_is_told(pool: Path) -> None:
    sel = pool.parent / "sel"
    sel.mkdir()
    items = [path.relative_to(pool).as_posix() for path in sorted(pool.rglob("*.png"))][:20]
    write_csv(sel / "labels.csv", ("id", "label"), [(item, true_class(item)) for item in items])
    write_csv(sel / "audit.csv", ("name",), [(item,) for item in items[:5]])
    with pytest.raises(UsageError, match=r"audit.csv.*give it another name if it is no audit"):
        start(pool, labels=sel / "labels.csv", audit=8)
    write_csv(sel / "audit.csv", ("id", "note"), [(item, "kept") for item in (*items[:5], "not/there.png")])
    first = start(pool, labels=sel / "labels.csv", audit=8)
    assert first.labels == 15 and first.ledger[1].audit == 3  # 8 in all


def test_a_project_that_can_t_have_its_audit_is_refused(pool: Path) -> None:
    with pytest.raises(UsageError, match="a budget of 8 and an audit of 53 are more than the pool's 60 images"):
        start(pool, audit=53)
    with pytest.raises(UsageError, match=r"the seed is .* at most|seed can't be"):
        start(pool, seed=2**64)
    assert not (pool.parent / "project").exists()


def test_a_round_that_the_pool_is_too_small_for(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="a round can't ask for 61 of 60 images; give a smaller --budget"):
        start(pool, budget=61)
    assert not (pool.parent / "project").exists()
    start(pool, budget=40)
    answer(pool, 1)
    assert step(pool, quiet=False).round == 2
    assert "the last 20 images; a round asks for 40 otherwise" in capsys.readouterr().err


def test_an_answer_that_is_corrected_or_taken_back_stays_in_the_history(pool: Path) -> None:
    start(pool)
    path = answer(pool, 1)
    assert step(pool).round == 2
    first, second, *others = rows_of(path)
    write_csv(path, ("id", "label"), [(first["id"], "7"), (second["id"], ""), *(tuple(one.values()) for one in others)])
    found = step(pool)
    history = [row for row in rows_of(pool.parent / "project/history.csv") if row["id"] == first["id"]]
    assert [row["label"] for row in history] == [first["label"], "7"] and not found.conflicts
    assert found.labels == 7 and (found.ledger[0].answered, found.ledger[0].unanswered) == (7, 1)
    assert step(pool).merged == 0


def test_a_label_file_that_was_moved_away_takes_no_answer_back(pool: Path) -> None:
    start(pool)
    path = answer(pool, 1, only=5)
    assert step(pool).ledger[0].open == 3
    path.unlink()
    assert step(pool).merged == 0 and step(pool).merged == 0  # written anew by the first, and read by the second
    found = rows_of(path)
    assert len(found) == 8 and [row["label"] for row in found[:5]] == [true_class(row["id"]) for row in found[:5]]


def test_the_page_of_the_picks_is_made_where_a_run_ended_before_it(pool: Path) -> None:
    start(pool)
    path = pool.parent / "project/rounds/001/picks.html"
    path.unlink()
    assert step(pool).round == 1 and path.is_file()


def test_several_classes_an_image(pool: Path) -> None:
    low = "low; 0|4, or so"  # a name with every sign that stands between names
    start(pool, task="multilabel", classes=["even", "odd"])
    answer(pool, 1, lambda item: json.dumps([("even", "odd")[int(item[0]) % 2], *([low] if item[0] < "5" else [])]))
    found = step(pool)
    assert found.round == 2 and f"""--classes 'even,odd,"{low}"' --multilabel""" in found.to_do
    assert json.loads((pool.parent / "project/models/001/config.json").read_text())["classes"] == ["even", "odd", low]
    told = shlex.split(found.to_do)
    assert class_list(told[told.index("--classes") + 1]) == ["even", "odd", low]


@pytest.mark.parametrize(
    ("label", "labels", "names"),
    [
        ("cat;dog", '["cat", "dog"]', "cat;dog"),
        ("low; 0|4, or so", '["low; 0|4, or so"]', '["low; 0|4, or so"]'),
        ("", "dog", "dog"),
        ("cat", "", "cat"),
        ("cat", '["cat", "dog"]', None),
    ],
)
def test_two_columns_of_names_say_the_same_or_are_refused(
    label: str, labels: str, names: str | None, tmp_path: Path
) -> None:
    write_csv(tmp_path / "labels.csv", ("id", "label", "labels"), [("a", label, labels)])
    given: tuple[Any, ...] = (tmp_path / "labels.csv", "given", {"a": 0})
    if names is None:
        with pytest.raises(UsageError, match=r"label of 'a' can't be read \(label says 'cat' and labels .*correct one"):
            read_answers(*given, multilabel=True)
    else:
        assert [answer.label for answer in read_answers(*given, multilabel=True)] == [names]


def test_the_answers_of_one_call_are_none_of_the_round_before(pool: Path) -> None:
    start(pool, budget=20)
    answer(pool, 1)
    step(pool)
    answer(pool, 2)
    others = [
        item for item in open_pool(pool).ids if item not in load_selection(pool.parent / "project/rounds/001").ids
    ]
    write_csv(pool.parent / "given.csv", ("id", "label"), [(item, true_class(item)) for item in others])
    stability = step(pool, labels=pool.parent / "given.csv").advice["stability"]
    assert stability["from"] == 20


def test_a_pool_that_has_grown_is_embedded_again(pool: Path) -> None:
    start(pool)
    write_digits(pool, 70)
    answer(pool, 1)
    assert step(pool).round == 2
    assert read_manifest(pool.parent / "project/embeddings", "embeddings")["n"] == 70


def test_an_image_that_has_left_the_pool_stops_nothing(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = pool.parent / "project"
    start(pool, audit=4)
    path = answer(pool, 1, only=11)  # not the last of the audit
    rows = rows_of(path)
    gone = [rows[0]["id"], rows[8]["id"], rows[11]["id"]]
    for item in gone:
        (pool / item).unlink()
    found = step(pool, quiet=False)
    assert (found.round, found.labels) == (2, 7) and len(rows_of(project / "history.csv")) == 11
    first = found.ledger[0]
    assert (first.asked, first.answered, first.open, first.unanswered) == (12, 11, 0, 1)
    told_gone = "2 items with an answer are not in the pool any more: "
    assert told_gone in capsys.readouterr().err
    for name, count in (("labels.csv", 9), ("audit.csv", 2)):
        listed = {row["id"] for row in rows_of(project / name)}
        assert len(listed) == count and not listed & set(gone)
    assert [len(read_labels(project / "labels.csv", open_pool(pool)).ids), len(found.conflicts)] == [9, 0]
    (pool / gone[0]).parent.mkdir(exist_ok=True)
    write_digits(pool, 60)  # they are there again
    assert step(pool).labels == 8 and len(rows_of(project / "labels.csv")) == 11
    assert {row["id"] for row in rows_of(project / "audit.csv")} == {row["id"] for row in rows[8:]}


def test_a_conflict_about_an_image_that_is_gone_is_none_to_settle(pool: Path) -> None:
    start(pool)
    path = answer(pool, 1)
    item = rows_of(path)[0]["id"]
    write_csv(pool.parent / "given.csv", ("id", "label"), [(item, "other")])
    assert len(step(pool, labels=pool.parent / "given.csv").conflicts) == 1
    (pool / item).unlink()
    assert not step(pool).conflicts and not rows_of(pool.parent / "project/conflicts.csv")


def test_an_audit_that_is_gone_altogether_has_no_file(pool: Path) -> None:
    start(pool, audit=2)
    answer(pool, 1)
    for row in rows_of(pool.parent / "project/audit.csv"):
        (pool / row["id"]).unlink()
    assert step(pool).round == 2 and not (pool.parent / "project/audit.csv").exists()


# The audit ----------------------------------------------------------------------------------------------------------


def test_the_audit_is_never_picked_and_never_trained_on(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(pool, audit=10)
    aside = set(load_selection(pool.parent / "project/rounds/001").audit)
    seen: list[set[str]] = []
    for name, of in (("finetune", "labels"), ("select", "labelled"), ("advise", "")):
        monkeypatch.setattr(module, name, _watched(getattr(module, name), of, seen))
    for number in range(1, 4):
        answer(pool, number, lambda item: "audit" if item in aside else true_class(item))
        found = step(pool)
        assert not aside & set(load_selection(pool.parent / f"project/rounds/{number + 1:03d}").ids)
        assert found.advice["audit"] == found.advice["audit"] | {"n": 10, "value": 0.0}  # its class was never taught
    assert len(seen) >= 9 and not any(aside & one for one in seen)


def _watched(stage: Callable[..., Any], of: str, seen: list[set[str]]) -> Callable[..., Any]:
    def watching(*args: Any, **options: Any) -> Any:
        seen.append(set((options[of] if of else args[1]) or ()))
        return stage(*args, **options)

    return watching


# Cut off anywhere ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where", ["write_history", "write_decisions", "embed", "finetune", "advise", "select", "contact_sheet"]
)
def test_a_call_that_is_cut_off_is_called_again(pool: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    start(pool)
    answer(pool, 1)
    room = answered if where.startswith("write") else module
    with monkeypatch.context() as patched:
        stage = getattr(room, where)

        def cut_off(*args: Any, **options: Any) -> None:
            stage(*args, **options)
            raise KeyboardInterrupt

        patched.setattr(room, where, cut_off)
        with pytest.raises(KeyboardInterrupt):
            step(pool)
    found = step(pool)
    assert (found.round, found.labels, found.state) == (2, 8, "label")
    assert len(rows_of(pool.parent / "project/history.csv")) == 8
    assert (pool.parent / "project/rounds/002/labels.csv").is_file()


KILLED = """
import os, signal, sys
import activetune.studies.rounds.answered as module
stage = getattr(module, sys.argv[1])
def killed(*args, **options):
    stage(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(module, sys.argv[1], killed)
from activetune.cli import main
main(sys.argv[2:])
"""


@pytest.mark.slow
def test_killed_for_real_nothing_is_lost_or_twice(pool: Path) -> None:
    start(pool)
    answer(pool, 1)
    line = ["next", str(pool.parent / "project"), "--quiet", "--workers", "0", "--device", "cpu"]
    ended = subprocess.run([sys.executable, "-c", KILLED, "write_history", *line], check=False, env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL
    assert len(rows_of(pool.parent / "project/history.csv")) == 8
    assert step(pool).round == 2
    assert len(rows_of(pool.parent / "project/history.csv")) == 8


# Wrong use ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"budget": "2/class"}, "a number or a share of the pool"),
        ({"task": "detection"}, "classification or multilabel"),
        ({"method": "actveft"}, "activeft"),
        ({"recipe": "lineer_probe"}, "linear_probe"),
        ({"audit": -1}, "0 or more"),
        ({"pool": "nowhere"}, "does not exist"),
    ],
)
def test_a_project_that_can_t_be_is_refused_and_leaves_nothing(pool: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        start(pool, **options)
    assert not (pool.parent / "project/project.toml").exists()


def test_no_project_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["next", str(tmp_path / "none")]) == 2
    assert "make one with: activetune next" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    write_digits(tmp_path / "pool", 12)
    assert run(["next", str(tmp_path / "full"), "--pool", str(tmp_path / "pool"), "--budget", "3"]) == 2
    assert "holds something else ('notes.txt')" in capsys.readouterr().err


def test_a_project_that_has_lost_its_settings_is_made_again(pool: Path) -> None:
    start(pool)
    answer(pool, 1)
    kept = (pool.parent / "project/rounds/001/selection.csv").read_bytes()
    (pool.parent / "project/project.toml").unlink()
    with pytest.raises(UsageError, match="make one with"):
        step(pool)
    found = start(pool)
    assert (found.round, found.merged) == (2, 8)
    assert [entry.method for entry in found.ledger] == ["auto: activeft"] * 2
    assert (pool.parent / "project/rounds/001/selection.csv").read_bytes() == kept


@pytest.mark.parametrize("end", ["\n# trains each", "seed = 0\n", "# A project"])
def test_settings_that_were_cut_off_are_no_others(pool: Path, end: str) -> None:
    start(pool, audit=3)
    path = pool.parent / "project/project.toml"
    whole = path.read_text()
    cut = whole[: whole.index(end)]
    path.write_text(cut)
    missing = [line.split(" = ")[0] for line in whole[len(cut) :].splitlines() if " = " in line]
    with pytest.raises(UsageError, match=rf"does not say {', '.join(missing)}: it was cut off.*seed = 0\), or move"):
        step(pool)
    assert path.read_text() == cut
    path.rename(path.with_suffix(".cut"))
    assert start(pool, audit=3).round == 1 and path.read_text() == whole


def test_a_round_whose_picks_are_gone_is_moved_away(pool: Path) -> None:
    start(pool)
    answer(pool, 1)
    labels = step(pool).labels
    folder = pool.parent / "project/rounds/001"
    (folder / "selection.csv").unlink()
    with pytest.raises(UsageError, match=r"no such file\); bring it back from a copy, or move .*001 away: answers"):
        step(pool)
    folder.rename(pool.parent / "001")
    found = step(pool)
    assert (found.round, found.labels) == (2, labels)


def test_method_and_recipe_bring_settings(pool: Path) -> None:
    project = pool.parent / "project"
    start(pool, method="activeft:paper;iterations=20", recipe="linear_probe:strengths=0.1;folds=2")
    chosen = read_manifest(project / "rounds/001", "selection")
    assert (chosen["method"], chosen["preset"], chosen["options"]["iterations"]) == ("activeft", "paper", 20)
    answer(pool, 1)
    assert step(pool).round == 2
    trained = read_manifest(project / "models/001", "model")
    assert trained["recipe"] == "linear_probe" and trained["options"]["strengths"] == [0.1]
    with pytest.raises(UsageError, match=r"edit .*project.toml"):
        step(pool, recipe="linear_probe")


def test_settings_are_changed_in_the_file_and_nowhere_else(pool: Path) -> None:
    start(pool)
    with pytest.raises(UsageError, match=r"budget = '8', not '9'; edit .*project.toml"):
        step(pool, budget=9)
    assert step(pool, budget=8).round == 1
    path = pool.parent / "project/project.toml"
    path.write_text(path.read_text().replace('budget = "8"', "budget = 9").replace("seed = 0", "seeds = 1"))
    with pytest.raises(UsageError, match="no setting 'seeds'; did you mean 'seed'"):
        step(pool)
    path.write_text(path.read_text().replace("seeds = 1", "seed = 1"))
    answer(pool, 1)
    moved = pool.rename(pool.parent / "moved")
    with pytest.raises(
        UsageError, match=r"does not exist.*; if the project's pool was moved, change its place in .*project.toml"
    ):
        step(pool)
    path.write_text(path.read_text().replace(str(pool), str(moved)))
    step(pool)
    assert len(load_selection(pool.parent / "project/rounds/002")) == 9


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["id,label", "nothing.png,cat"], "not in the project's pool"),
        (["name,label", "a,b"], "no column 'id'"),
        (["id,class", "0/0000.png,b"], "no column 'label'"),
        (["id,label", "0/0000.png,"], "holds no label"),
    ],
)
def test_a_label_file_that_does_not_fit_changes_nothing(pool: Path, lines: Sequence[str], told: str) -> None:
    start(pool)
    (pool.parent / "given.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=told):
        step(pool, labels=pool.parent / "given.csv")
    assert not (pool.parent / "project/history.csv").exists()


def test_a_history_that_is_damaged_is_never_written_over(pool: Path) -> None:
    start(pool)
    answer(pool, 1)
    damaged = "id,label\n1,2\n"
    (pool.parent / "project/history.csv").write_text(damaged)
    with pytest.raises(UsageError, match="no column 'state'"):
        step(pool)
    assert (pool.parent / "project/history.csv").read_text() == damaged


# What is told -------------------------------------------------------------------------------------------------------


def test_the_command_ends_with_what_to_do(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(pool)
    line = ["next", str(pool.parent / "project"), "--quiet", "--workers", "0", "--device", "cpu"]
    assert run(line) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: 8 items wait for a label: activetune label ")
    assert run([*line, "--overwrite"]) == 2
    assert "never replaces what a project holds" in capsys.readouterr().err


def test_many_class_names_stand_in_a_file(pool: Path) -> None:
    names = [f"class, number {number}" for number in range(40)]
    told = shlex.split(start(pool, classes=names).to_do)
    given = told[told.index("--classes") + 1]
    assert given == str(pool.parent / "project" / "classes.txt") and class_list(given) == names


def test_the_ledger_counts_the_seconds_between_answers_without_pauses(pool: Path) -> None:
    start(pool)
    path = answer(pool, 1)
    minutes = [0, 1, 2, 30, 31, 31, 31, 32]
    rows = [
        (row["id"], row["label"], f"2026-01-01T10:{minute:02d}:00+00:00", "anna")
        for row, minute in zip(rows_of(path), minutes, strict=True)
    ]
    write_csv(path, ("id", "label", "answered", "by"), rows)
    assert step(pool).ledger[0].seconds == 4 * 60


@pytest.mark.parametrize(
    ("gain", "high", "kappa", "expected"),
    [
        (0.002, 0.008, 0.5, "the curve is flat: it may be time to stop"),
        (0.004, 0.03, 0.995, "the answers have settled: it may be time to stop"),
        (0.03, 0.08, 0.995, "the curve still rises"),
        (0.03, 0.08, 0.5, "(kappa 0.50)"),
    ],
)
def test_settled_answers_are_no_reason_to_stop_while_the_curve_rises(
    gain: float, high: float, kappa: float, expected: str
) -> None:
    found = Gain(labels=100, more=50, now=0.8, then=0.8 + gain, gain=gain, low=0.0, high=high, points=())
    told = sentence_of(found, {"agreement": kappa, "kappa": kappa}, 100)
    assert expected in told and ("time to stop" in told) == ("time to stop" in expected)


def test_kappa_of_answers_by_chance_is_zero() -> None:
    found = agreement(["a", "a", "b", "b"], ["a", "b", "a", "b"])
    assert found == {"agreement": 0.5, "kappa": 0.0}
    assert agreement(["a"], ["a"])["kappa"] == 1.0


# What is not in the pool for it -------------------------------------------------------------------------------------


def test_what_is_excluded_is_neither_picked_nor_learned_from(pool: Path) -> None:
    ids = open_pool(pool, quiet=True).ids
    start(pool)
    chosen = load_selection(pool.parent / "project/rounds/001").ids
    left_out = [*chosen[:3], *[item for item in ids if item not in chosen][:3]]
    file = pool.parent / "exclude.csv"
    write_csv(file, ("id",), [(item,) for item in left_out])
    project = pool.parent / "without"
    options: dict[str, Any] = {"workers": 0, "device": "cpu", "quiet": True}
    next_round(project, pool=pool, budget=8, exclude=file, **options)
    given = pool.parent / "given.csv"
    write_csv(given, ("id", "label"), [(item, item.split("/")[0]) for item in ids[:20] + left_out])
    found = next_round(project, labels=given, close=True, **options)
    usable = {*ids[:20]} - {*left_out}
    assert found.labels == len(usable)
    for number in range(1, found.round + 1):
        assert not {*left_out} & {*load_selection(project / f"rounds/{number:03d}").ids}
    file.write_text("id\n" + "\n".join(ids) + "\n")
    with pytest.raises(UsageError, match="excludes all"):
        next_round(project, **options)
    file.unlink()
    with pytest.raises(UsageError, match="change exclude in"):
        next_round(project, **options)


def test_a_project_of_an_earlier_version_excludes_nothing(pool: Path) -> None:
    start(pool)
    path = pool.parent / "project/project.toml"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "exclude" not in line))
    assert step(pool).state == "label"
