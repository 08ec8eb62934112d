"""Addresses in texts: which names are addresses, and what of one may be shown.

An address may hold a password (``https://name:word@host``) or a signature (``?X-Amz-Signature=…``). Neither belongs
into a message, a manifest or a report, where everybody reads it.
"""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least: C:// is a drive
_WHOSE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://([^/\s'\"]*)@")
_CONTAINER = ("abfs", "abfss", "az")  # protocols of Azure: a container stands there, in CONTAINER@ACCOUNT
_QUERY = re.compile(r"(https?://[^\s'\"?#]*)[?#][^\s'\"]*", re.IGNORECASE)
LOCAL = ("file", "local")  # protocols of files on this machine


def is_address(name: object) -> bool:
    """Whether a name is the address of something that lies elsewhere.

    >>> [is_address(name) for name in ("s3://photos/cats", "file:///photos", "C:/photos", "photos")]
    [True, False, False, False]
    """
    return isinstance(name, str) and bool(_ADDRESS.match(name)) and protocol_of(name) not in LOCAL


def protocol_of(address: str) -> str:
    """What stands before ``://``, in lower case."""
    return address.partition("://")[0].lower()


def tells_who(address: str) -> bool:
    """Whether a user, or a user and a password, stands before the host of an address.

    >>> tells_who("s3://key:word@bucket/a"), tells_who("abfs://container@account.dfs.core.windows.net/a")
    (True, False)
    """
    found = _WHOSE.match(address)
    return found is not None and _hidden(found) != found[0]


def _hidden(found: re.Match[str]) -> str:
    plain = found[1].lower() in _CONTAINER and ":" not in found[2]
    return found[0] if plain else f"{found[1]}://"


def without_secrets(text: str) -> str:
    """A text whose addresses hold neither user names and passwords nor queries and their signatures.

    >>> without_secrets("https://me:word@host/a.zip?Signature=abc can't be read")
    "https://host/a.zip can't be read"
    """
    return _QUERY.sub(r"\1", _WHOSE.sub(_hidden, text))
