"""Pools on an S3 server that is slow, cuts connections and fails; and over HTTP. Nothing here leaves the machine."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import activetune
from activetune.base.command import typed, typed_command
from activetune.base.errors import ActivetuneError, MissingExtra, ReadingFault, RejectedImage, UsageError
from activetune.base.urls import without_secrets
from activetune.cli import run
from activetune.data.loading import image_loader
from activetune.data.opening import open_pool
from activetune.data.patience import Patience
from activetune.data.pool import Pool
from activetune.data.remote import location, stores
from tests.conftest import tiny_backbone, write_digits
from tests.data.stores import HOST, Cut, Fault, Proxy, Silence, Status, s3_store

for needed in ("fsspec", "s3fs", "aiohttp", "moto"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install 'activetune[remote]' 'moto[server,s3]'")

IMAGES = 24


@pytest.fixture(scope="module")
def server() -> Iterator[Proxy]:
    with pytest.MonkeyPatch.context() as environment, s3_store() as proxy:
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_ENDPOINT_URL_S3", f"http://{HOST}:{proxy.port}")
        environment.setattr(stores, "_MADE", [])
        yield proxy


@pytest.fixture
def s3(server: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The server without faults, and readers that never sleep."""
    monkeypatch.setattr(location, "PATIENCE", Patience(waits=(0.1,) * 5, sleep=lambda seconds: None))
    server.asked.clear()
    yield server
    server.fault = lambda method, path: None


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real images in classes, with a name that is not ASCII and one without a suffix."""
    folder = write_digits(tmp_path_factory.mktemp("photos") / "photos", IMAGES)
    shutil.copy(folder / "0" / "0000.png", folder / "0" / "caf\u00e9 n\u00b0 1.png")
    shutil.copy(folder / "1" / "0001.png", folder / "1" / "plain")
    (folder / "1" / "notes.txt").write_text("no image")
    (folder / ".thumbs").mkdir()
    shutil.copy(folder / "0" / "0000.png", folder / ".thumbs" / "a.png")
    return folder


Bucket = Callable[..., str]


@pytest.fixture
def bucket(s3: Proxy, request: pytest.FixtureRequest) -> Bucket:
    """Copies a folder into a bucket of the test's own; returns the address."""
    name = f"b{abs(hash(request.node.nodeid)) % 10**12}"

    def fill(folder: Path, below: str = "") -> str:
        return s3.fill(name, folder, below)

    return fill


def read_all(pool: Pool) -> list[bytes]:
    return [pool.read(row) for row in range(len(pool))]


def times(count: int, fault: Fault, suffix: str = ".png") -> Callable[[str, str], Fault | None]:
    """A fault for the first so many readings of objects."""
    left = iter(range(count))

    def answer(method: str, path: str) -> Fault | None:
        return fault if method == "GET" and path.endswith(suffix) and next(left, None) is not None else None

    return answer


# What is listed -------------------------------------------------------------------------------------------------------


def test_a_bucket_is_the_same_pool_as_its_folder(photos: Path, s3: Proxy, bucket: Bucket) -> None:
    here, there = open_pool(photos, quiet=True), open_pool(f"{bucket(photos, 'deep/photos/')}", quiet=True)
    assert (list(there.ids), there.labels) == (list(here.ids), here.labels)
    assert [path for path in s3.objects() if not path.endswith("/plain")] == []  # it alone has no suffix that tells
    assert there.fingerprint == here.fingerprint
    assert read_all(there) == read_all(here)


def test_a_long_listing_comes_in_pages(
    tmp_path: Path, s3: Proxy, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "many").mkdir()
    for number in range(25):
        (tmp_path / "many" / f"{number:04d}.png").write_bytes(b"x")
    address = bucket(tmp_path / "many")
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")  # of a page
    s3.asked.clear()
    assert len(open_pool(address)) == 25
    assert len(s3.asked) == 4 and s3.objects() == []  # whether there is such a bucket, and three pages


def test_keys_that_lead_out_or_mark_folders_are_left_out(photos: Path, s3: Proxy, bucket: Bucket) -> None:
    address = bucket(photos / "0")
    before = list(open_pool(address).ids)
    for key in ("empty/", "a/../../b.png", "__MACOSX/c.png"):
        s3.put(address.removeprefix("s3://"), key, b"x")
    assert list(open_pool(address, quiet=True).ids) == before


def test_all_kinds_of_pools_are_read_from_a_bucket(photos: Path, s3: Proxy, tmp_path: Path, bucket: Bucket) -> None:
    here = open_pool(photos / "0", quiet=True)
    bodies = dict(zip(here.ids, read_all(here), strict=True))
    for item, body in bodies.items():
        (tmp_path / "all" / "images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / "images" / item).write_bytes(body)
    with zipfile.ZipFile(tmp_path / "all" / "pool.zip", "w") as archive:
        for item, body in bodies.items():
            archive.writestr(item, body)
    rows = pa.array([{"bytes": body, "path": item} for item, body in bodies.items()])
    pq.write_table(pa.table({"image": rows}), tmp_path / "all" / "pool.parquet", row_group_size=2)
    names = "\n".join(f"images/{item},{item}" for item in bodies)
    (tmp_path / "all" / "list.csv").write_text(f"path,id\n{names}\n", encoding="utf-8")
    address = bucket(tmp_path / "all")
    for name in ("pool.zip", "pool.parquet", "list.csv", "images"):
        pool = open_pool(f"{address}/{name}", quiet=True)
        assert dict(zip(pool.ids, read_all(pool), strict=True)) == bodies, name
        assert pool.fingerprint == here.fingerprint or name in ("pool.zip", "pool.parquet")  # whose order is their own


def write_shards(folder: Path, photos: Path, count: int) -> Path:
    """Tars in WebDataset's form, each with some of the images and their classes."""
    folder.mkdir()
    files = sorted(photos.glob("?/0*.png"))
    for number in range(count):
        with tarfile.open(folder / f"train-{number:06d}.tar", "w") as archive:
            for file in files[number::count]:
                for name, body in ((file.name, file.read_bytes()), (f"{file.stem}.cls", file.parent.name.encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(body)
                    archive.addfile(info, io.BytesIO(body))
    return folder


def test_shards_are_named_in_braces_and_their_headers_read_once(
    photos: Path, s3: Proxy, tmp_path: Path, bucket: Bucket
) -> None:
    folder = write_shards(tmp_path / "shards", photos, 3)
    here = open_pool(folder / "train-{000000..000001}.tar")
    address = bucket(folder)
    there = open_pool(f"{address}/train-{{000000..000001}}.tar")
    assert (list(there.ids), there.labels) == (list(here.ids), here.labels)
    assert list(open_pool(f"{address}/train-*.tar").ids) == list(open_pool(address).ids)
    s3.asked.clear()
    again = open_pool(address)
    assert len(again) == IMAGES and s3.objects() == []
    assert again.labels == open_pool(folder).labels
    assert read_all(again) == read_all(open_pool(folder))
    with pytest.raises(UsageError, match="of which 7 do not exist"):
        open_pool(f"{address}/train-{{000000..000009}}.tar")


# What fails -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Status(500), Status(503), Cut(0), Cut(40)])
@pytest.mark.parametrize("kind", ["files", "tar"])
def test_a_fault_that_passes_changes_nothing(
    photos: Path, s3: Proxy, tmp_path: Path, bucket: Bucket, fault: Fault, kind: str
) -> None:
    folder = photos / "0" if kind == "files" else write_shards(tmp_path / "shards", photos, 1)
    here, address = open_pool(folder), bucket(folder)
    s3.fault = times(3, fault, ".png" if kind == "files" else ".tar")
    there = open_pool(address)
    assert read_all(there) == read_all(here) and there.fingerprint == here.fingerprint


def test_a_listing_that_fails_is_asked_for_again(photos: Path, s3: Proxy, bucket: Bucket) -> None:
    address, left = bucket(photos), iter(range(3))
    s3.fault = lambda method, path: Status(500) if "list-type" in path and next(left, None) is not None else None
    assert list(open_pool(address, quiet=True).ids) == list(open_pool(photos, quiet=True).ids)


def test_a_silent_store_is_asked_again(
    photos: Path, s3: Proxy, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, over = open_pool(bucket(photos / "0")), threading.Event()
    monkeypatch.setattr(stores, "SILENT_SECONDS", 0.5)
    s3.fault = times(1, Silence(over))
    try:
        assert pool.read(0) == (photos / "0" / pool.ids[0]).read_bytes()
    finally:
        over.set()
    assert len(s3.objects("0000.png")) == 2


def test_a_store_that_stays_away_is_a_sentence(photos: Path, s3: Proxy, tmp_path: Path, bucket: Bucket) -> None:
    address = bucket(photos / "0")
    pool = open_pool(address)
    s3.fault = lambda method, path: Status(503)
    with pytest.raises(ReadingFault, match=rf"of {address} can't be read \(HTTP 503\).* tried 6 times .*--resume"):
        pool.read(0)
    assert len(s3.objects("0000.png")) == 6
    with pytest.raises(ReadingFault, match=rf"^{address} can't be read \(HTTP 503\).*run the command again"):
        open_pool(address)
    assert run(["embed", address, "--out", str(tmp_path / "emb")]) == 1


def test_refused_access_is_asked_for_once(photos: Path, s3: Proxy, bucket: Bucket) -> None:
    address = bucket(photos / "0")
    pool = open_pool(address)
    s3.fault = lambda method, path: Status(403)
    s3.asked.clear()
    with pytest.raises(ReadingFault, match=rf"^{address}/0000.png refuses access.*AWS_ACCESS_KEY_ID") as refused:
        pool.read(0)
    assert len(s3.objects()) == 1 and "a-secret-key" not in str(refused.value)
    with pytest.raises(ReadingFault, match="refuses access"):
        open_pool(address)


def test_what_is_not_there_is_a_sentence(s3: Proxy, photos: Path, bucket: Bucket) -> None:
    address = bucket(photos / "0")
    for name in (f"{address}/nothing", "s3://no-such-bucket-at-all", f"{address}/a.zip"):
        with pytest.raises(UsageError, match=f"the pool {name} does not exist"):
            open_pool(name)
    s3.put(address.removeprefix("s3://"), "clip.mp4", b"x")
    with pytest.raises(UsageError, match="videos are read from this machine alone"):
        open_pool(f"{address}/clip.mp4")


def embedded(pool: Pool | str | Path, out: Path, **options: Any) -> activetune.Embeddings:
    backbone, weights = tiny_backbone()
    return activetune.embed(pool, backbone=backbone, weights=weights, out=out, quiet=True, **options)


def test_an_object_that_vanished_is_rejected(photos: Path, s3: Proxy, tmp_path: Path, bucket: Bucket) -> None:
    address = bucket(photos / "0")
    pool = open_pool(address)
    s3.remove(address.removeprefix("s3://"), "0010.png")
    made = embedded(pool, tmp_path / "emb", workers=0)
    assert len(made) == len(pool) - 1
    assert "0010.png,unreadable: no such file at its address" in (tmp_path / "emb" / "rejected.csv").read_text()


def test_a_shard_that_vanished_ends_the_run(photos: Path, s3: Proxy, tmp_path: Path, bucket: Bucket) -> None:
    address = bucket(write_shards(tmp_path / "shards", photos, 2))
    pool = open_pool(address)
    s3.remove(address.removeprefix("s3://"), "train-000001.tar")
    with pytest.raises(ReadingFault, match=r"nothing lies at s3://.*train-000001.tar"):
        embedded(pool, tmp_path / "emb", workers=0)
    assert not (tmp_path / "emb" / "manifest.json").exists()


# What is made of them -------------------------------------------------------------------------------------------------


def test_forked_processes_read_at_the_same_time(photos: Path, s3: Proxy, bucket: Bucket) -> None:
    pool = open_pool(bucket(photos), quiet=True)  # the store's thread runs in this process, and in no other
    s3.fault = times(5, Cut(10))
    plain = dict.fromkeys(pool.ids, 0)
    for batch in image_loader(pool, _as_tensor, batch_size=4, workers=2):
        for position in batch.positions:
            plain[pool.ids[position]] += 1
    assert set(plain.values()) == {1}


def test_the_images_of_a_batch_are_asked_for_at_the_same_time(photos: Path, s3: Proxy, bucket: Bucket) -> None:
    pool, over = open_pool(bucket(photos), quiet=True), threading.Event()
    s3.asked.clear()

    def until_eight_wait(method: str, path: str) -> Fault:
        if len(s3.objects()) >= 8:
            over.set()
        return Silence(over)

    s3.fault = until_eight_wait
    (batch,) = image_loader(pool.subset(pool.ids[:8]), _as_tensor, batch_size=8, workers=0)
    assert list(batch.positions) == list(range(8)) and s3.given_up == 0


def _as_tensor(image: Image.Image) -> Any:
    import torch

    return torch.from_numpy(np.array(image.resize((8, 8)))).permute(2, 0, 1)


def test_features_are_those_of_the_folder_and_known_the_next_time(
    photos: Path, s3: Proxy, tmp_path: Path, bucket: Bucket
) -> None:
    here, address = embedded(photos, tmp_path / "here", use_cache=False), bucket(photos)
    there = embedded(address, tmp_path / "there")
    assert np.array_equal(there.features_ND, here.features_ND)
    assert there.manifest["pool"] == address and there.manifest["pool_path"] is None
    s3.asked.clear()
    embedded(address, tmp_path / "again")
    assert s3.objects(".png") == []  # the listing tells that nothing has changed
    s3.put(address.removeprefix("s3://"), "0/0000.png", (photos / "1" / "0001.png").read_bytes())
    changed = embedded(address, tmp_path / "changed")
    assert any(path.endswith("0/0000.png") for path in s3.objects())
    assert not np.array_equal(changed.features_ND, here.features_ND)


def test_the_loop_on_a_bucket(
    photos: Path, s3: Proxy, tmp_path: Path, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    address, (backbone, weights) = bucket(photos), tiny_backbone()
    network = ["--backbone", backbone, "--weights", str(weights)]
    emb, sel, model = (str(tmp_path / name) for name in ("emb", "sel", "model"))
    assert run(["embed", address, *network, "--out", emb, "--quiet"]) == 0
    assert run(["select", emb, "--budget", "12", "--method", "random", "--out", sel, "--quiet"]) == 0
    assert run(["select", emb, "--budget", "3", "--out", f"{sel}2", "--images", f"{sel}-images", "--quiet"]) == 0
    assert len(open_pool(f"{sel}-images", quiet=True)) == 3
    labels = tmp_path / "labels.csv"
    pool = open_pool(address, quiet=True)
    assert pool.labels is not None
    picks = activetune.load_selection(sel).ids
    rows = [f"{item},{pool.labels[pool.position[item]]}" for item in picks]
    labels.write_text("\n".join(["id,label", *rows]), encoding="utf-8")
    training = ["--labels", str(labels), *network, "--recipe", "linear_probe", "--out", model, "--quiet"]
    assert run(["finetune", address, *training]) == 0
    assert run(["evaluate", model, address, "--quiet"]) == 0
    assert run(["predict", model, address, "--out", str(tmp_path / "said.csv"), "--quiet"]) == 0
    assert len((tmp_path / "said.csv").read_text().splitlines()) == len(pool) + 1
    assert run(["report", sel, "--quiet"]) == 0
    assert "data:image" in (tmp_path / "sel" / "report.html").read_text()
    assert run(["check", address, "--test", address, "--out", str(tmp_path / "check"), "--quiet"]) == 0
    said = capsys.readouterr()
    assert "Traceback" not in said.err and "a-secret-key" not in said.out + said.err


# Addresses ------------------------------------------------------------------------------------------------------------


def test_nothing_secret_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/secrets/a.png", (tmp_path / "a.png").read_bytes())
    asked = "https://me:word@host.invalid/pool.zip?X-Amz-Signature=abc&b=1"
    with typed(["embed", asked, "--out", "emb"]):
        assert typed_command() == "activetune embed https://host.invalid/pool.zip --out emb"
    monkeypatch.setattr(location, "PATIENCE", Patience(waits=()))
    with pytest.raises(ActivetuneError) as failed:
        open_pool(asked)
    assert "word" not in str(failed.value) and "Signature" not in str(failed.value)
    assert "https://host.invalid/pool.zip" in str(failed.value)
    assert "word" not in repr(location.located(asked)) and location.located(asked).name == "pool.zip"
    with pytest.raises(UsageError, match="s3://bucket/a was given with a user or a password") as refused:
        open_pool("s3://key:word@bucket/a")
    assert "word" not in str(refused.value).replace("password", "")


def test_a_container_before_an_account_is_no_user(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    asked: list[str] = []

    class Azure(fsspec.get_filesystem_class("memory")):  # type: ignore[misc]
        @staticmethod
        def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
            asked.append(path)
            return {}

    monkeypatch.setattr(stores, "_kind", lambda protocol: Azure)
    address = "abfs://photos@mine.dfs.core.windows.net/cats"
    stores.filesystem_of(address)
    assert asked == [address]
    assert without_secrets(f"{address} is away") == f"{address} is away"
    with pytest.raises(
        UsageError, match=r"abfs://mine\.dfs\.core\.windows\.net/cats was given with a user or a password"
    ):
        stores.filesystem_of(address.replace("photos", "photos:key"))


def test_a_missing_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"unknown protocol 'nosuch://'.*activetune\[remote\]"):
        open_pool("nosuch://a/b")
    with pytest.raises(ActivetuneError, match=r"gs:// needs the package gcsfs; .*'activetune\[remote\]' gcsfs"):
        open_pool("gs://a/b")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"s3fs; install it with: pip install 'activetune\[remote\]'"):
        open_pool("s3://a/b")


def test_hugging_face_s_hub_without_a_network_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    monkeypatch.setattr(location, "PATIENCE", Patience(waits=()))
    with pytest.raises(ActivetuneError, match="hf://datasets/somebody/something"):
        open_pool("hf://datasets/somebody/something")


def test_an_address_of_this_machine_is_a_path(photos: Path) -> None:
    assert list(open_pool(photos.as_uri(), quiet=True).ids) == list(open_pool(photos, quiet=True).ids)


def test_a_local_pool_asks_nobody(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a local pool was looked for elsewhere")

    monkeypatch.setattr(stores, "filesystem_of", refuse)
    monkeypatch.setattr(location, "filesystem_of", refuse)
    assert read_all(open_pool(photos, quiet=True))


@pytest.fixture
def web(photos: Path, tmp_path: Path) -> Iterator[str]:
    """A web server with pages that list its folders, and without parts of files."""
    (tmp_path / "www").mkdir()
    shutil.copytree(photos, tmp_path / "www" / "photos")
    with zipfile.ZipFile(tmp_path / "www" / "photos.zip", "w") as archive:
        for file in sorted((photos / "0").iterdir()):
            archive.write(file, file.name)
    handler = partial(_Quiet, directory=str(tmp_path / "www"))
    server = ThreadingHTTPServer((HOST, 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{HOST}:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_folders_and_files_over_http(photos: Path, web: str) -> None:
    here, there = open_pool(photos, quiet=True), open_pool(f"{web}/photos/", quiet=True)
    assert (list(there.ids), there.labels) == (list(here.ids), here.labels)
    assert read_all(there) == read_all(here)
    assert there.fingerprint == here.fingerprint
    zipped = open_pool(f"{web}/photos.zip?signature=secret")
    assert zipped.name == f"{web}/photos.zip"
    assert sorted(zipped.ids) == sorted(file.name for file in (photos / "0").iterdir())
    assert read_all(zipped)
    gone = replace(there.subset([there.ids[0]]), ids=["x"])
    assert gone.read(0) == here.read(0)
    with pytest.raises((ReadingFault, UsageError)):
        open_pool(f"{web}/nowhere/")


def test_a_vanished_page_is_rejected(photos: Path, web: str, tmp_path: Path) -> None:
    pool = open_pool(f"{web}/photos", quiet=True)
    (tmp_path / "www" / "photos" / "0" / "0000.png").unlink()
    with pytest.raises(RejectedImage, match="no such file"):
        pool.read(pool.position["0/0000.png"])


def test_a_manifest_tells_which_files_are_missing(photos: Path, s3: Proxy, tmp_path: Path, bucket: Bucket) -> None:
    shutil.copytree(photos / "0", tmp_path / "all" / "images")
    rows = [{"path": "images/0000.png"}, {"path": "images/none.png"}, {"path": "/etc/passwd"}]
    (tmp_path / "all" / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pool = open_pool(f"{bucket(tmp_path / 'all')}/list.jsonl")
    assert pool.read(0) == (photos / "0" / "0000.png").read_bytes()
    s3.asked.clear()
    for row, reason in ((1, "no such file at its address"), (2, "names a file of this machine")):
        with pytest.raises(RejectedImage, match=reason):
            pool.read(row)
    assert s3.asked == []
