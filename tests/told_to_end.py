"""Signals that arrive in the middle of training, without a process of its own for each."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from activetune.base import interrupts
from activetune.training.steps import Steps


def told_to_end_at(
    monkeypatch: pytest.MonkeyPatch, owner: type, method: str, run: Callable[[], Any], call: int = 1
) -> None:
    """Run until a method is called, told to end there, by default in its first call; then run to the end."""
    original, calls = getattr(owner, method), []

    def ending(self: Any, *given: Any) -> Any:
        calls.append(given)
        if len(calls) == call:
            interrupts._raise(signal.SIGTERM, None)
        return original(self, *given)

    with monkeypatch.context() as patched, pytest.raises(interrupts.Terminated):
        patched.setattr(owner, method, ending)
        patched.setattr(interrupts, "_received", [])
        run()
    run()


def told_to_end_in_steps(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any], step: int = 2) -> int:
    """Run again and again, each time told to end within a step, by default the second; returns how often it ended."""
    original = Steps._update
    for ended in range(200):
        made: list[int] = []

        def update(self: Steps, number: int, made: list[int] = made) -> None:
            made.append(number)
            if len(made) == step:
                interrupts._raise(signal.SIGTERM, None)
            original(self, number)

        with monkeypatch.context() as patched:
            patched.setattr(Steps, "_update", update)
            patched.setattr(interrupts, "_received", [])
            try:
                run()
            except interrupts.Terminated:
                assert len(made) == step
                continue
            return ended
    raise AssertionError("the run never ends")
