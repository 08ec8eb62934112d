"""What a reader may not do while it reads, and how that is noticed."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROCESSOR_SECONDS = 5.0  # of one case
WALL_SECONDS = 60  # after which the process ends itself: it waits, or a library computes without an end
MEMORY = 3 * 2**30  # bytes beyond what the process had before the first case
FIRST = ("os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.truncate", "os.utime", "shutil.rmtree")
CHANGING = {  # events, and which of their arguments are paths that change
    **dict.fromkeys(FIRST, (0,)),
    **{"os.rename": (0, 1), "shutil.move": (0, 1), "os.link": (1,), "os.symlink": (1,)},
}
DESCRIPTORS = {"os.remove": 1, "os.rmdir": 1, "os.mkdir": 2, "os.rename": 2, "os.chmod": 2, "os.utime": 3}  # arguments
FORBIDDEN = {
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "socket.connect"),
    *("socket.bind", "socket.getaddrinfo", "pickle.find_class"),
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class TooLong(BaseException):
    """A case took more processor time than it may; no ``except Exception`` may keep it."""


class Watch:
    """Notes what is done outside of a folder, while a case is read; one per process, as hooks stay."""

    def __init__(self, folder: Path):
        self.folder = os.path.realpath(folder)
        self.seen: list[str] = []
        self._on = False
        sys.addaudithook(self._note)
        faulthandler.enable()
        signal.signal(signal.SIGPROF, _too_long)

    @contextlib.contextmanager
    def case(self) -> Iterator[None]:
        """One case: what is done in it is noted, and it ends after a while."""
        self.seen = []
        faulthandler.dump_traceback_later(WALL_SECONDS, exit=True)
        signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS, 1.0)
        self._on = True
        try:
            yield
        finally:
            self._on = False
            signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            path, _, flags = arguments
            if flags and flags & WRITING and not self._inside(path):
                self.seen.append(f"opens {path!r} for writing")
        elif event in CHANGING:
            for number, place in enumerate(CHANGING[event]):
                path, folder = arguments[place], _open_folder(event, arguments, number)
                if not self._inside(path if folder is None else os.path.join(folder, os.fsdecode(path))):
                    self.seen.append(f"{event} {path!r}")
        elif event in FORBIDDEN:
            self.seen.append(f"{event} {str(arguments)[:100]}")

    def _inside(self, path: Any) -> bool:
        if isinstance(path, int) or path is None:
            return True
        name = os.path.realpath(os.fsdecode(path))
        return name == os.devnull or name.startswith(self.folder + os.sep)


def _open_folder(event: str, arguments: tuple[Any, ...], number: int) -> str | None:
    """The folder that a relative path is meant in, where one was given by its open descriptor."""
    if event not in DESCRIPTORS or not isinstance(descriptor := arguments[DESCRIPTORS[event] + number], int):
        return None
    return str(Path(f"/proc/self/fd/{descriptor}").readlink()) if descriptor >= 0 else None


def limit_memory() -> None:
    """From here on the process gets so much more memory and no more."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def peak() -> int:
    """The most memory that the process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _too_long(number: int, frame: Any) -> None:
    raise TooLong
