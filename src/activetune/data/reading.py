"""Reading an image file's bytes: regular files only, up to a size."""

from __future__ import annotations

import errno
import os
import stat

from activetune.base.errors import RejectedImage
from activetune.data.images import MAX_BYTES

FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
FOREVER = {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR}  # reading again changes nothing


def read_image_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of an image file.

    Raises:
        RejectedImage: no regular file (a pipe would hang, a device never end), too large, or no path at all.
        OSError: it is missing, or can't be read at present.
    """
    try:
        _refuse(os.stat(path))
        descriptor = os.open(path, FLAGS)  # without blocking, should a pipe have taken the file's place
    except ValueError:
        raise RejectedImage("unreadable: the path holds a zero character or is no text") from None
    except OSError as error:
        if error.errno in FOREVER:
            raise RejectedImage(f"unreadable: {error.strerror}") from None
        raise
    with os.fdopen(descriptor, "rb") as file:
        _refuse(os.fstat(descriptor))
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _too_large(len(content))
    return content


def read_start(path: str, count: int) -> bytes:
    """The first ``count`` bytes of a regular file; none where it can't be read."""
    try:
        descriptor = os.open(path, FLAGS)
    except OSError:
        return b""
    try:
        return os.read(descriptor, count)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _refuse(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise RejectedImage("unreadable: a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise RejectedImage("unreadable: no regular file (a pipe, socket or device)")
    if status.st_size > MAX_BYTES:
        raise _too_large(status.st_size)


def _too_large(size: int) -> RejectedImage:
    return RejectedImage(f"oversized: {size:,} bytes, {MAX_BYTES:,} are allowed")
