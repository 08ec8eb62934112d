"""Items that somebody names one by one, line by line: ids of a pool, or paths of image files."""

from __future__ import annotations

import codecs
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from activetune.base.interrupts import raise_if_interrupted
from activetune.base.names import as_known
from activetune.data.ids import refuse_unknown
from activetune.data.pool import Pool
from activetune.data.sources._files import FileSource, absent_files

WAIT = 0.2  # seconds between two looks at whether somebody has stopped


def named_lines(lines: Iterable[bytes]) -> Iterator[str]:
    r"""The names in lines of a file or of stdin, as they come; empty lines name nothing.

    >>> list(named_lines([b"\xef\xbb\xbfa.jpg\r\n", b"\n", b"b.jpg"]))  # some programs begin with a byte order mark
    ['a.jpg', 'b.jpg']
    """
    for number, line in enumerate(lines):
        name = os.fsdecode((line if number else line.removeprefix(codecs.BOM_UTF8)).rstrip(b"\r\n"))
        if name:
            yield name


def pool_of_paths(paths: Sequence[str]) -> Pool:
    """Image files by their paths, which are their ids; relative ones are taken from the current folder.

    One that is missing is rejected when it is read.
    """
    files = list(paths)
    return Pool("named files", files, None, FileSource(Path(), files, absent_files(Path(), files, range(len(files)))))


def pool_of_names(names: Iterable[str], pool: Pool | None) -> Pool:
    """The items that are named, each once, in their order.

    Args:
        pool: whose ids they are; None: they are paths.

    Raises:
        UsageError: an id that the pool does not have.
    """
    named = list(dict.fromkeys(names))
    if pool is None:
        return pool_of_paths(named)
    ids = as_known(named, pool.position)
    refuse_unknown(ids, pool.position, "stdin", pool.name)
    return pool.subset(ids)


def as_they_come(names: Iterable[str], most: int) -> Iterator[list[str]]:
    """Groups of at most so many names: whatever has come, without waiting for more, once there is one.

    >>> [len(group) for group in as_they_come(["a", "b", "c"], most=1)]
    [1, 1, 1]

    Raises:
        whatever ``names`` raises, after the names before it.
    """
    waiting: queue.Queue[str | BaseException | None] = queue.Queue(maxsize=2 * most)
    over = threading.Event()
    threading.Thread(target=_read, args=(names, waiting, over), daemon=True).start()
    try:
        while True:
            group = _next_group(waiting, most)
            if found := [name for name in group if isinstance(name, str)]:
                yield found
            if isinstance(group[-1], BaseException):
                raise group[-1]
            if group[-1] is None:
                return
    finally:
        over.set()


def _read(names: Iterable[str], waiting: queue.Queue[str | BaseException | None], over: threading.Event) -> None:
    """Put names into the queue, then None, or what reading them raised."""

    def put(value: str | BaseException | None) -> None:
        while not over.is_set():
            try:
                return waiting.put(value, timeout=WAIT)
            except queue.Full:
                continue

    try:
        for name in names:
            put(name)
            if over.is_set():
                return
    except Exception as error:
        put(error)
    else:
        put(None)


def _next_group(waiting: queue.Queue[str | BaseException | None], most: int) -> list[str | BaseException | None]:
    """What has come, at least one thing; nothing follows an end."""
    group: list[str | BaseException | None] = []
    while not group:
        raise_if_interrupted()
        try:
            group.append(waiting.get(timeout=WAIT))
        except queue.Empty:
            continue
    while len(group) < most and isinstance(group[-1], str):
        try:
            group.append(waiting.get_nowait())
        except queue.Empty:
            break
    return group
