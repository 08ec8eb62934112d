"""One run at a time on an output: a lock file names the process that holds it.

A folder's lock is ``FOLDER/.lock``, a file's is ``.NAME.lock`` beside it. It holds host, process number and the start
of that process, and is removed on every exit. A killed process leaves its lock behind: the next run on the same host
sees that no process of that number and start is alive, and takes the lock over. Of another host nothing can be known,
so the sentence says which file to remove.

While it runs, the holder also keeps a POSIX record lock on the file, so that two runs never take over a dead one's lock
at once. The system drops a record lock when its process ends, and forked children do not inherit it. Where a file
system or the operating system has none, the content of the file decides alone.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.files import BEGUN, LOCK, sweep
from activetune.base.processes import refuse_while_starting

_NO_RECORD_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_CLOCK_ERROR = 2.0  # seconds by which two readings of one process's start may differ
_SAME_RUN_TRIES = 100  # how often a lock file that vanishes while it is opened is tried again

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_held: dict[str, tuple[int, int]] = {}  # lock files held here, each by (process, thread): a fork inherits this table
_guard = threading.Lock()


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: ``started`` is when its process began, ``since`` when it took the lock."""

    host: str
    pid: int
    started: float
    since: str

    @classmethod
    def here(cls) -> Holder:
        """The holder that this process is."""
        import psutil

        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time(), since)

    @property
    def foreign(self) -> bool:
        """Whether it runs on another host, where this process can't look."""
        return self.host != socket.gethostname()

    def alive(self) -> bool:
        """Whether its process may still run: another host's always may."""
        import psutil

        if self.foreign:
            return True
        if self.pid == os.getpid():
            return False  # this process holds no such lock, so it is left from an earlier one with this number
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) <= _CLOCK_ERROR
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


class InUse(ActivetuneError):
    """Another run works on the same output; nothing was written."""


def lock_of(path: Path, *, folder: bool) -> Path:
    """The lock file of an output folder or output file."""
    return path / LOCK if folder else path.with_name(f".{path.name}{LOCK}")


def holds_output(
    parameter: str = "out", *, folder: bool
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorate a stage so that it holds the lock of its output, the argument ``parameter``, for as long as it runs."""

    def decorate(stage: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(stage)

        @functools.wraps(stage)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            out = signature.bind(*args, **kwargs).arguments.get(parameter)
            with locked_output(out, parameter, folder=folder):
                return stage(*args, **kwargs)

        return run

    return decorate


@contextlib.contextmanager
def locked_output(out: str | os.PathLike[str] | None, parameter: str = "out", *, folder: bool) -> Iterator[None]:
    """Hold the lock of an output as it was given; without one nothing is locked.

    Raises:
        InUse: another run holds it. UsageError: it is an empty text, or this process is still importing its script.
    """
    refuse_while_starting()
    if out is None:
        yield
        return
    if out == "":
        raise UsageError(f"{parameter} is an empty text; give a folder or file, or '.' for the folder you are in")
    with locked(Path(out), folder=folder):
        yield


@contextlib.contextmanager
def locked(path: Path, *, folder: bool) -> Iterator[None]:
    """Hold the lock of an output folder or output file; folders that are missing are made, and go again if left empty.

    A stage that runs inside another one on the same output is part of it. An output in a folder that can't be written
    to is not locked: nothing can be changed there, and what a finished run left can still be read.

    Raises:
        InUse: another run holds it. UsageError: the place can't be an output.
    """
    if "\0" in str(path):
        raise UsageError(f"{str(path)!r} can't be an output: its name holds a NUL character")
    lock = lock_of(path, folder=folder)
    made: list[Path] = []
    name = os.path.realpath(lock.parent) + os.sep + lock.name
    if _held_by_this_thread(name, path):
        yield
        return
    try:
        handle = _open(lock, path, made)
        if handle is not None:
            sweep(lock.parent, None if folder else path.name)
    except BaseException:
        _forget(name)
        _remove_empty(made)
        raise
    try:
        yield
    finally:
        if handle is not None:
            _withdraw(lock.parent, folder)
            _release(lock, handle)
        _forget(name)
        _remove_empty(made)


@contextlib.contextmanager
def locked_if_free(path: Path, *, folder: bool) -> Iterator[bool]:
    """Like :func:`locked`, but yields False where another run holds the lock; for what can be done without."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(path, folder=folder))
        except InUse:
            free = False
        else:
            free = True
        yield free


# In this process --------------------------------------------------------------------------------------------------


def _held_by_this_thread(name: str, path: Path) -> bool:
    """Note that this thread wants the lock; True: it has it already.

    Raises:
        InUse: another thread of this process has it. (A second opening would lose the first one's record lock.)
    """
    this = (os.getpid(), threading.get_ident())
    with _guard:
        holder = _held.get(name, (0, 0))
        if holder[0] != this[0]:
            _held[name] = this
            return False
    if holder != this:
        raise InUse(f"{path} is in use by another thread of this process; wait for it, or choose another output")
    return True


def _forget(name: str) -> None:
    with _guard:
        _held.pop(name, None)


# On disk ----------------------------------------------------------------------------------------------------------


def _open(lock: Path, path: Path, made: list[Path]) -> int | None:
    """The open lock file, held; None where nothing can be written. ``made`` gets the folders that were missing."""
    for tries_left in reversed(range(_SAME_RUN_TRIES)):
        try:
            _make_folders(lock.parent, made)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            if tries_left:  # another run has just removed the folder that it had made
                continue
            raise ActivetuneError(f"nothing can be written to {lock.parent}; choose another output") from None  # /proc
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and lock.parent.is_dir():
                return None
            raise
        try:
            if not _record_lock(handle):
                raise _in_use(path, lock, _read(handle))
            if not _is_still(handle, lock):
                os.close(handle)
                continue
            before = _read(handle)
            if before is not None and before.alive():
                raise _in_use(path, lock, before)
            _write(handle, lock)
            return handle
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(handle)
            raise
    raise InUse(f"{path} is in use by another run of activetune; wait for it to end, or choose another output")


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it that are missing.

    Raises:
        UsageError: a file stands where a folder should.
    """
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file, where a folder is expected; give a folder, or a file in one")
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        made.append(place)


def _remove_empty(made: list[Path]) -> None:
    """Remove the folders that were made, as far as nothing was put into them."""
    for folder in reversed(made):
        try:
            folder.rmdir()
        except OSError:
            return


def _withdraw(place: Path, folder: bool) -> None:
    """Take back the mark of a run that was refused, or ended before it had kept anything."""
    with contextlib.suppress(OSError):
        if folder and {entry.name for entry in place.iterdir()} == {LOCK, BEGUN}:
            (place / BEGUN).unlink()


def _record_lock(handle: int) -> bool:
    """Lock the open file against other processes; True also where there are no record locks."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno not in _NO_RECORD_LOCKS:
            raise
    return True


def _is_still(handle: int, lock: Path) -> bool:
    """Whether the open file is still the one of this name: its holder may have removed it in between."""
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False


def _read(handle: int) -> Holder | None:
    """Whom the lock file names; None: nobody, as its writer was killed before it had written."""
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        content = json.loads(os.read(handle, 4096))
        return Holder(str(content["host"]), int(content["pid"]), float(content["started"]), str(content["since"]))
    except (ValueError, KeyError, TypeError):
        return None


def _write(handle: int, lock: Path) -> None:
    try:
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps(asdict(Holder.here())).encode() + b"\n")
    except BaseException:  # a full disk, an interrupt
        lock.unlink(missing_ok=True)
        raise


def _release(lock: Path, handle: int) -> None:
    """Remove the lock; a forked child that comes here by an exception leaves its parent's alone."""
    holder = _read(handle)
    if holder is None or holder.pid == os.getpid():
        with contextlib.suppress(OSError):  # Windows keeps a file that is open: the next run finds its holder dead
            lock.unlink()
    os.close(handle)


def _in_use(path: Path, lock: Path, holder: Holder | None) -> InUse:
    if holder is None:
        return InUse(f"{path} is in use by another run of activetune; wait for it to end, or choose another output")
    where = f"process {holder.pid} on {holder.host}, since {holder.since}"
    if holder.foreign:
        return InUse(
            f"{path} is in use by another run of activetune ({where}); wait for it to end, or choose another output. "
            f"If that run is gone, remove {lock} and try again"
        )
    return InUse(
        f"{path} is in use by another run of activetune ({where}); wait for it to end, end it, or choose another output"
    )
