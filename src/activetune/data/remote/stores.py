"""The fsspec filesystem behind an address: one per process, with short patience of its own.

fsspec's asynchronous filesystems work in a thread that a forked process does not have, so each process makes its own.
Filesystems are asked to try once and to give up on a silent server: how often a thing is tried is decided in one place,
``data/patience.py``. Credentials come from where each store's own programs keep them (``AWS_…``, ``~/.aws``,
``HF_TOKEN``) and from fsspec's own settings (``FSSPEC_S3='{"anon": true}'``).
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from activetune.base.errors import ActivetuneError, MissingExtra, UsageError, unknown_name
from activetune.base.urls import protocol_of, tells_who, without_secrets

CONNECT_SECONDS, SILENT_SECONDS = 10.0, 60.0  # until a connection stands; until the next bytes come over it
NEEDS = {"s3": "s3fs", "s3a": "s3fs", "http": "aiohttp", "https": "aiohttp", "hf": "huggingface_hub"}
OTHERS = {"gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "sftp": "paramiko", "ssh": "paramiko"}
COMMON = ("s3", "gs", "az", "hf", "https", "http", "memory")
_MADE: list[
    Any
] = []  # never let go of: to close one that was inherited by a fork would wait for a thread that is not there


def filesystem_of(address: str) -> tuple[Any, str]:
    """The filesystem of an address, and the path in it.

    Raises:
        MissingExtra, ActivetuneError: its package is not installed. UsageError: no protocol of this name, or a password
            in an address that has no place for one.
    """
    protocol = protocol_of(address)
    kind = _kind(protocol)
    if protocol not in ("http", "https", "ftp", "sftp", "ssh", "smb") and tells_who(address):
        raise UsageError(
            f"{without_secrets(address)} was given with a user or a password, which this kind of address has no place "
            "for; give credentials as the store's own programs take them, for instance AWS_ACCESS_KEY_ID"
        )
    try:
        path = kind._strip_protocol(address)
        found = kind(**kind._get_kwargs_from_urls(address), **_options(protocol))
    except ImportError as error:
        raise _missing(protocol, error) from None
    if getattr(found, "async_impl", False) and not any(found is one for one in _MADE):
        _MADE.append(found)
    if protocol in ("s3", "s3a"):
        found.retries = 1
    return found, path


def read_whole(filesystem: Any, path: str) -> bytes:
    """All bytes of an object, in one attempt."""
    if filesystem.protocol == "hf" and hasattr(place := filesystem.resolve_path(path), "repo_id"):
        return _from_hub(filesystem, place)
    return bytes(filesystem.cat_file(path))


def _from_hub(filesystem: Any, place: Any) -> bytes:
    """A file of a repository, for one question: the hub's filesystem lists its folder first, in each thread."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

    where = {"repo_type": place.repo_type, "revision": place.revision, "endpoint": filesystem.endpoint}
    headers = build_hf_headers(token=filesystem.token)
    url = hf_hub_url(place.repo_id, place.path_in_repo, **where)
    answer = http_backoff("GET", url, max_retries=0, headers=headers, timeout=SILENT_SECONDS)
    hf_raise_for_status(answer)
    return bytes(answer.content)


def _kind(protocol: str) -> Any:
    """The class of a protocol's filesystems."""
    try:
        import fsspec
        from fsspec.registry import available_protocols, get_filesystem_class
    except ImportError:
        raise MissingExtra("fsspec", "remote") from None
    del fsspec
    if protocol in NEEDS and importlib.util.find_spec(NEEDS[protocol]) is None:
        raise MissingExtra(NEEDS[protocol], "remote")
    if protocol not in available_protocols():
        known = unknown_name("protocol", f"{protocol}://", [f"{name}://" for name in COMMON])
        raise UsageError(
            f"{known}; others may come with a package for fsspec: pip install 'activetune[remote]' and that package"
        )
    try:
        return get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        raise _missing(protocol, error) from None


def _missing(protocol: str, error: Exception) -> ActivetuneError:
    package = OTHERS.get(protocol) or getattr(error, "name", None) or "its package for fsspec"
    return ActivetuneError(
        f"{protocol}:// needs the package {package}; install it with: pip install 'activetune[remote]'"
        + (f" {package}" if " " not in package else "")
    )


def _options(protocol: str) -> dict[str, Any]:
    """What a filesystem is made with, besides what fsspec's settings say."""
    options: dict[str, Any] = {"use_listings_cache": False}
    if protocol in ("s3", "s3a"):
        from fsspec.config import conf

        asked = conf.get(protocol, {}).get("config_kwargs", {})
        own: dict[str, Any] = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": SILENT_SECONDS,
            "max_pool_connections": 64,
        }
        own["retries"] = {"total_max_attempts": 1}
        options |= {"config_kwargs": {**own, **asked}, "max_concurrency": 1}  # 1: no question of size before each read
    elif protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        limits = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
        options |= {"client_kwargs": {"timeout": limits, "trust_env": True}}
    return options


def credentials_of(address: str) -> str:
    """What to look at where a store refuses access."""
    protocol = protocol_of(address)
    if protocol in ("s3", "s3a"):
        return "AWS_ACCESS_KEY_ID or ~/.aws, and for public buckets FSSPEC_S3='{\"anon\": true}'"
    if protocol == "hf":
        return "HF_TOKEN, or log in with: hf auth login"
    if protocol in ("http", "https"):
        return "whether the address, or its signature, still holds"
    return f"the credentials of {protocol}:// ({os.environ.get('FSSPEC_CONFIG_DIR', '~/.config/fsspec')})"
