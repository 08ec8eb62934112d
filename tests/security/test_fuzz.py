"""Every reader has a fuzz target, and a short run of all of them finds nothing; ``make fuzz`` is the long one."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activetune import ActivetuneError
from activetune.base.files import parse_json
from activetune.data.annotations import formats, read_annotations, tasks_at
from activetune.data.sources import sources
from activetune.labelling.requests import read_answers, read_class_change
from tests.security.fuzz.__main__ import fuzzed, row
from tests.security.fuzz.structure import restructured, tree
from tests.security.fuzz.targets import targets
from tests.security.fuzz.targets._pool import IDS, pool

CASES, SEED = 40, 0  # in each reader, less where one is slow

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(IDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NUMBERS = st.integers() | st.floats() | VALUES
THING = st.fixed_dictionaries(
    {"image_id": st.integers(0, 2) | VALUES, "category_id": st.integers(0, 2) | VALUES},
    optional={"bbox": st.lists(NUMBERS, max_size=5), "segmentation": VALUES, "iscrowd": VALUES, "caption": VALUES},
)
IMAGE = st.fixed_dictionaries({"id": st.integers(0, 2), "file_name": st.sampled_from(IDS)})
COCO = st.fixed_dictionaries(
    {
        "images": st.lists(
            st.fixed_dictionaries({"id": st.integers(0, 2), "file_name": st.sampled_from(IDS)}) | VALUES
        ),
        "annotations": st.lists(THING | VALUES, max_size=4),
    },
    optional={"categories": st.lists(st.fixed_dictionaries({"id": st.integers(0, 2), "name": VALUES}), max_size=3)},
)
ANSWER = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("sequence", "id", "label", "labels", "state", "reason", "by", "suggestion"), VALUES)
)
REQUEST = st.fixed_dictionaries({"client": VALUES, "answers": st.lists(ANSWER | VALUES, max_size=3)}) | VALUES
MANY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def test_every_source_and_every_format_has_a_target() -> None:
    names = {target.name for target in targets()}
    assert {f"pool, {name}" for name in sources()} <= names
    assert {f"answers, {name}" for name in formats()} <= names
    assert len(names) == len(list(targets()))


def test_changes_differ_and_can_be_repeated() -> None:
    content = b'{"images": [{"id": 1, "file_name": "a.png"}], "annotations": []}'
    made = [restructured("a.json", content, random.Random(number)) for number in range(50)]
    assert made == [restructured("a.json", content, random.Random(number)) for number in range(50)]
    assert len(set(made)) > 30
    assert tree({"a": [1, 2]}, random.Random(0)) is not None


@MANY
@given(content=COCO)
def test_anything_in_the_form_of_coco(content: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("coco") / "coco.json"
    path.write_text(dumped(content))
    for task in ("detection", "segmentation", "multilabel", "captioning"):
        for ask in (lambda: tasks_at(path), lambda task=task: read_annotations(path, pool(), task, quiet=True)):
            try:
                ask()
            except ActivetuneError as error:
                assert str(error)


@MANY
@given(content=REQUEST)
def test_anything_that_a_browser_may_send(content: object) -> None:
    for read in (read_answers, lambda body: [read_class_change(body)]):
        try:
            entries = read(dumped(content).encode())
        except ActivetuneError as error:
            assert str(error)
        else:
            assert all(parse_json(entry.text) == entry.content for entry in entries)


def dumped(content: object) -> str:
    """As JSON."""
    import json

    return json.dumps(content)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limits of a case are those of Linux")
def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    wanted = {target.name: max(5, int(CASES * target.short)) for target in targets()}
    found = fuzzed(wanted, SEED, tmp_path / "kept")
    faults = {name: one.faults for name, one in found.items() if one.faults}
    assert not faults, f"{faults}; the cases are in {tmp_path / 'kept'}"
    assert {name: one.cases for name, one in found.items()} == wanted
    assert sum(len(one.sentences) for one in found.values()) > 50
    assert row(next(iter(found.values())))
