"""Warnings that tell a user nothing are kept off the screen in the thread that asks for it, and nowhere else."""

from __future__ import annotations

import ast
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from activetune.base.quietly import quietly
from activetune.data import images
from tests.project.test_layers import MODULES


def told(*texts: str, kind: type[Warning] = UserWarning) -> list[str]:
    """What is shown of warnings that are raised here."""
    with warnings.catch_warnings(record=True) as shown:
        for text in texts:
            warnings.warn(text, kind, stacklevel=1)
    return [str(one.message) for one in shown]


@pytest.mark.filterwarnings("always")
def test_threads_that_decode_at_a_time_leave_warnings_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    first_in, second_in, first_out = (threading.Event() for _ in range(3))
    steps = {b"first": (first_in, second_in), b"second": (second_in, first_out)}
    heard: list[str] = []

    def load(encoded: bytes, about: int, max_pixels: int) -> tuple[Image.Image, None]:
        entered, until = steps[encoded]
        if encoded == b"second":
            assert first_in.wait(20)
        entered.set()
        assert until.wait(20)
        heard.extend(told(encoded.decode()))
        return Image.new("RGB", (1, 1)), None

    def decode(encoded: bytes) -> None:
        images.decode_image(encoded)

    monkeypatch.setattr(images, "_load", load)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.submit(decode, b"first"), threads.submit(decode, b"second")
        first.result(20)
        assert told("between") == ["between"]  # while the second one is inside
        first_out.set()
        second.result(20)
    assert told("afterwards") == ["afterwards"] and heard == []


@pytest.mark.filterwarnings("always")
def test_only_what_is_named_is_kept_off_and_a_failure_ends_it_too() -> None:
    with quietly("The number of", "lbfgs"):
        assert told("The number of classes", "lbfgs failed", "another one") == ["another one"]
        with pytest.raises(ZeroDivisionError), quietly():
            assert told("another one") == []
            raise ZeroDivisionError
        assert told("The number of classes", "another one") == ["another one"]
    assert told("The number of classes") == ["The number of classes"]


def test_the_filter_goes_to_other_processes_with_the_rest() -> None:
    with quietly():
        assert pickle.loads(pickle.dumps(warnings.filters))[0] == warnings.filters[0]


def test_filters_that_others_set_later_stay_and_do_not_reach_inside() -> None:
    sizes = set()
    with warnings.catch_warnings():
        for change in (warnings.resetwarnings, lambda: warnings.simplefilter("error")):
            with quietly():
                change()
            for _ in range(3):
                warnings.simplefilter("error")
                warnings.simplefilter("default", BytesWarning)
                with quietly():
                    warnings.warn("unseen", stacklevel=1)
                sizes.add(len(warnings.filters))
                with pytest.raises(UserWarning, match="seen"):
                    warnings.warn("seen", stacklevel=1)
    assert len(sizes) == 1


def test_no_module_changes_the_filters_of_all_threads_for_a_while() -> None:
    named = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("catch_warnings", "simplefilter")
    }
    assert not named, "use base/quietly.py"
