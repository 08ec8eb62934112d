"""Child processes that end with their parent, whatever ends it, and that leave Ctrl-C to it."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import FrameType
from typing import Any

from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.interrupts import signals_held

GRACE = 30.0  # seconds that a child which was told to end has, unless its parent ends it before
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def begin_child() -> None:
    """What a child process does first: leave Ctrl-C and SIGTERM to its parent, and die when that does.

    Schedulers send SIGTERM to all processes at once, and the parent needs its children for the step that it keeps. So a
    child works on for half a minute; a second SIGTERM, which is its parent's, ends it at once.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_soon if hasattr(signal, "setitimer") else signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # blocked by signals_held() while it was started
    end_with_parent()


def _end_soon(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, GRACE)


def refuse_while_starting() -> None:
    """Refuse to work in a child that is still importing the script of its parent: it would start all of it once more.

    Raises:
        UsageError: it is.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing tells it from a start
        raise UsageError(
            "a process that this script has started imports the script again, and begins anew; put what it does under "
            "if __name__ == '__main__':"
        )


def end_with_parent() -> None:
    """Have this process killed when its parent ends: by the system on Linux, by a thread that watches elsewhere."""
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return
    if sys.platform == "linux" and not ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL):
        if os.getppid() != parent.pid:  # it died before the system was told
            os._exit(1)
        return
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: Any) -> None:
    parent.join()  # waits on a pipe that the system closes with the parent
    os._exit(1)


@contextlib.contextmanager
def process_pool(count: int, begin: Callable[..., None] | None = None, *args: Any) -> Iterator[ProcessPoolExecutor]:
    """``count`` processes that start afresh; left by an exception, they are killed, as nothing in them needs an end.

    Args:
        begin, args: what each process calls when it starts. They travel as bytes that :func:`_begin` opens last, so
            that a process is tied to its parent before it imports what they need.

    Raises:
        ActivetuneError: one of the processes died.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(pickle.dumps((begin, args)),))
    try:
        with signals_held():
            for _ in range(count):  # a task that finds no idle process starts one
                executor.submit(os.getpid)
        yield executor
    except BrokenProcessPool:
        raise ActivetuneError(
            "a process of this run died, most often for want of memory; what was finished is kept: go on with --resume "
            "and fewer --workers (a script of your own must stand under if __name__ == '__main__')"
        ) from None
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _begin(content: bytes) -> None:
    begin_child()
    begin, args = pickle.loads(content)
    if begin is not None:
        begin(*args)
