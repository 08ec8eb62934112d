"""``label`` is killed (SIGKILL) while answers come in, again and again: what it called saved is there, once each.

``make test-faults`` kills it at 50 moments, drawn by a seed; here it is two.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from activetune.labelling.journal import Journal
from tests.labelling.conftest import write_selection
from tests.labelling.test_labelling import CLASSES, Running, labels_in

pytestmark = pytest.mark.slow

ITEMS = [f"{number:02d}.png" for number in range(10)]
LATEST = 0.3  # seconds after the first answer: time for some hundred
GONE = (urllib.error.URLError, http.client.HTTPException, OSError, json.JSONDecodeError)


def moments() -> Iterator[float]:
    """Seconds after the first answer of a page, a page each."""
    asked = os.environ.get("ACTIVETUNE_FAULTS", "").split()[1:]
    count, seed = asked or ("2", "0")
    drawn = random.Random(f"{seed} label")
    return (drawn.uniform(0, LATEST) for _ in range(int(count)))


class Answering:
    """Somebody who answers without a pause, and sends again what no page has confirmed."""

    def __init__(self) -> None:
        self.random = random.Random(0)
        self.sent: list[tuple[str, str]] = []  # the answer of each sequence number, from 1
        self.saved = 0  # how many of them a page has called saved

    def until_gone(self, page: Running, most: int = 100_000) -> None:
        """Answer until the page is gone, ``most`` answers at most."""
        try:
            for _ in range(most):
                if len(self.sent) == self.saved:
                    self.sent.append((self.random.choice(ITEMS), self.random.choice(CLASSES)))
                assert page.post("one", len(self.sent), *self.sent[-1]) == {"saved": [len(self.sent)]}
                self.saved = len(self.sent)
        except GONE:
            return


@pytest.mark.thorough
def test_answers_survive_a_page_that_is_killed_while_they_come(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    for item in ITEMS:
        Image.new("RGB", (8, 8)).save(tmp_path / "pool" / item)
    sel, person, killed = write_selection(tmp_path / "sel", ITEMS, tmp_path / "pool"), Answering(), 0
    for seconds in moments():
        page = Running(sel, "--classes", ",".join(CLASSES))
        person.until_gone(page, most=1)
        killing = threading.Timer(seconds, page.process.kill)
        killing.start()
        person.until_gone(page)
        killing.join()
        assert page.end(signal.SIGKILL)[0] == -signal.SIGKILL
        killed += 1
    last = Running(sel)
    person.until_gone(last, most=1)  # what no page has confirmed, or one more
    assert last.end(signal.SIGTERM)[0] == 143
    assert person.saved == len(person.sent) > killed
    journal = Journal(sel / "labels.sqlite")
    kept = [event.content for event in journal.events() if event.content["kind"] == "answer"]
    journal.close()
    assert [(one["id"], one["labels"]) for one in kept] == [(item, [label]) for item, label in person.sent]
    assert labels_in(sel) == dict(person.sent)
