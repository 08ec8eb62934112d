"""Pools on Hugging Face's hub, by its own client; a stand-in for the hub answers, and nothing leaves the machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from activetune.base.errors import ReadingFault, RejectedImage
from activetune.data.opening import open_pool
from activetune.data.patience import Patience
from activetune.data.pool import Pool
from activetune.data.remote import location
from tests.conftest import write_digits
from tests.data.hub import NAME, Hub, hub_of

for needed in ("fsspec", "huggingface_hub"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install 'activetune[remote]'")

ADDRESS = f"hf://datasets/{NAME}/data"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A data set of images in folders, one of them named as only people name files; clients that never sleep."""
    import fsspec
    from huggingface_hub.utils import _http

    folder = write_digits(tmp_path / "hub" / "data", 130)  # more of a class than a page of the listing holds
    shutil.copy(folder / "0" / "0000.png", folder / "0" / "caf\u00e9 n\u00b0 1.png")
    with hub_of(tmp_path / "hub") as made:
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": made.endpoint})
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
        monkeypatch.setattr(location, "PATIENCE", Patience(waits=(0.1,) * 5, sleep=lambda seconds: None))
        yield made


def read_all(pool: Pool) -> list[bytes]:
    return [pool.read(row) for row in range(len(pool))]


def test_a_data_set_is_the_same_pool_as_its_folder(hub: Hub) -> None:
    here, there = open_pool(hub.folder / "data", quiet=True), open_pool(ADDRESS, quiet=True)
    assert (list(there.ids), there.labels) == (list(here.ids), here.labels)
    assert there.fingerprint == here.fingerprint
    assert read_all(there) == read_all(here)


def test_an_image_is_one_question(hub: Hub) -> None:
    """Its folder is not listed again by each thread that reads."""
    pool = open_pool(ADDRESS, quiet=True)
    hub.asked.clear()
    read_all(pool)
    assert len([path for path in hub.asked if "/resolve/" in path]) == len(pool)
    assert not [path for path in hub.asked if "/tree/" in path or "/paths-info/" in path]


def test_shards_of_parquet_are_read_in_parts(hub: Hub, tmp_path: Path) -> None:
    here = open_pool(hub.folder / "data", quiet=True)
    cells = [{"bytes": content, "path": item} for item, content in zip(here.ids, read_all(here), strict=True)]
    (hub.folder / "shards").mkdir()
    pq.write_table(
        pa.table({"image": cells}), hub.folder / "shards" / "train-00000-of-00001.parquet", row_group_size=20
    )
    assert read_all(open_pool(f"hf://datasets/{NAME}/shards", quiet=True)) == read_all(here)


def test_a_store_that_fails_for_a_while_is_asked_again(hub: Hub) -> None:
    hub.failing = 3
    pool = open_pool(ADDRESS, quiet=True)
    hub.failing = 3
    assert pool.read(0) == (hub.folder / "data" / pool.ids[0]).read_bytes()


def test_a_connection_that_is_refused_is_asked_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own errors of connections are told from those that stay, whatever it is built on."""
    import huggingface_hub.utils as utils

    pool, ask, tries = open_pool(ADDRESS, quiet=True), utils.http_backoff, []

    def refused_twice(method: str, url: str, **how: Any) -> Any:
        tries.append(url)
        return ask(method, url if len(tries) > 2 else "http://127.0.0.1:9/nobody-listens", **how)

    monkeypatch.setattr(utils, "http_backoff", refused_twice)
    assert pool.read(0) == (hub.folder / "data" / pool.ids[0]).read_bytes()
    assert len(tries) == 3


def test_a_private_data_set_asks_for_a_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    hub.token = "hf_right"
    with pytest.raises(ReadingFault, match=r"refuses access \(HTTP 401\); check HF_TOKEN"):
        open_pool(ADDRESS, quiet=True)
    monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": hub.endpoint, "token": "hf_right"})
    assert len(open_pool(ADDRESS, quiet=True)) == 131


def test_an_image_that_has_vanished_is_rejected(hub: Hub) -> None:
    pool = open_pool(ADDRESS, quiet=True)
    (hub.folder / "data" / pool.ids[3]).unlink()
    with pytest.raises(RejectedImage, match="no such file at its address"):
        pool.read(3)
