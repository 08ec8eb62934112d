"""What every pool source promises; a new source needs a class here that makes a pool of it."""

from __future__ import annotations

import csv
import io
import json
import pickle
import shutil
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from activetune.base.errors import ReadingFault, RejectedImage, UsageError
from activetune.data.images import decode_image
from activetune.data.opening import open_pool
from activetune.data.pool import Patience, Pool
from activetune.data.sources import sources
from tests.data.videos import write_video

IMAGES = {"cat/1.png": 10, "cat/caf\u00e9 2.png": 20, "dog/1.png": 30, "dog/3.png": 40, "eel/4.png": 50}


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), shade).save(buffer, "PNG")
    return buffer.getvalue()


def contents() -> dict[str, bytes]:
    """Bytes by path; the folder's name is the label."""
    return {name: png(shade) for name, shade in IMAGES.items()}


def label_of(name: str) -> str:
    return name.partition("/")[0]


def read_all(pool: Pool) -> list[bytes]:
    return [pool.read(row) for row in range(len(pool))]


class PoolSourceContract(ABC):
    """Tests of a source that can hold images under a name of their own, with a label each."""

    source: ClassVar[str]
    outside: ClassVar[bool] = False  # a user's own list may name files anywhere

    def item(self, name: str) -> str:
        """The id that an image of this name has."""
        return name

    def same(self, read: bytes, given: bytes) -> bool:
        """Whether what is read is the image that was given: its very bytes."""
        return read == given

    def changed(self, folder: Path) -> Path:
        """A pool of other images with the same names and sizes."""
        return self.fresh(folder, {name: body[:-1] + b"\0" for name, body in contents().items()})

    @abstractmethod
    def make(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        """A pool of these images in an empty folder."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return self.fresh(tmp_path / "made", contents())

    def fresh(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        """The pool in a new folder, so that two differ in nothing but their images."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return self.make(folder, images)

    def test_ids_are_the_images_names_once_each_whenever_it_is_opened(self, path: Path) -> None:
        pool = open_pool(path)
        assert sorted(pool.ids) == sorted(map(self.item, IMAGES))
        assert list(open_pool(path).ids) == list(pool.ids)

    def test_each_item_reads_its_own_bytes(self, path: Path) -> None:
        pool = open_pool(path)
        given = {self.item(name): body for name, body in contents().items()}
        for row in (4, 0, 2, 1, 3):
            assert self.same(pool.read(row), given[pool.ids[row]])

    def test_labels_are_those_of_the_images(self, path: Path) -> None:
        pool = open_pool(path)
        assert list(pool.labels or ()) == [label_of(item) for item in pool.ids]

    def test_nothing_is_left_out_and_nothing_said(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert open_pool(path).left_out == {}
        assert capsys.readouterr() == ("", "")

    def test_sizes_are_those_of_the_decoded_images(self, tmp_path: Path) -> None:
        buffer = io.BytesIO()
        turned = Image.Exif()
        turned[0x0112] = 6
        Image.new("RGB", (7, 5)).save(buffer, "JPEG", exif=turned.tobytes())
        pool = open_pool(self.fresh(tmp_path / "made", {**contents(), "dog/3.png": buffer.getvalue()}))
        found = {item: pool.size(row) for row, item in enumerate(pool.ids)}
        assert found == {**dict.fromkeys(map(self.item, contents()), (4, 4)), self.item("dog/3.png"): (7, 5)}
        part = pool.subset([self.item("eel/4.png"), self.item("dog/3.png")])
        assert [part.size(0), part.size(1)] == [(4, 4), (7, 5)]

    def test_the_size_of_no_image_is_a_reason(self, tmp_path: Path) -> None:
        pool = open_pool(self.fresh(tmp_path / "made", {**contents(), "dog/3.png": b"no image"}))
        with pytest.raises(RejectedImage, match="corrupt"):
            pool.size(pool.position["dog/3.png"])

    def test_a_subset_reads_its_own_images(self, path: Path) -> None:
        pool = open_pool(path)
        part = pool.subset([pool.ids[3], pool.ids[1]])
        assert read_all(part) == [pool.read(3), pool.read(1)]
        assert list(part.labels or ()) == [label_of(item) for item in part.ids]
        assert part.fingerprint != pool.fingerprint

    def test_bytes_that_are_no_image_are_read_and_rejected_when_decoded(self, tmp_path: Path) -> None:
        pool = open_pool(self.fresh(tmp_path / "made", {**contents(), "dog/3.png": b"no image", "eel/4.png": b""}))
        for item, reason in (("dog/3.png", "corrupt"), ("eel/4.png", "empty")):
            with pytest.raises(RejectedImage, match=f"^{reason}"):
                decode_image(pool.read(pool.position[item]))
        assert decode_image(pool.read(pool.position["cat/1.png"])).size == (4, 4)

    def test_what_goes_missing_is_a_fault_and_no_rejected_image(self, path: Path) -> None:
        pool = replace(open_pool(path), patience=Patience(waits=()))
        if path.is_dir():
            shutil.rmtree(path)
        else:
            shutil.rmtree(path.parent)
        with pytest.raises(ReadingFault, match="can't be read"):
            pool.read(0)

    def test_the_fingerprint_is_that_of_names_and_content(self, tmp_path: Path) -> None:
        made = open_pool(self.fresh(tmp_path / "made", contents()))
        same = open_pool(self.fresh(tmp_path / "same", contents()))
        first, second = contents()["cat/1.png"], contents()["dog/1.png"]
        swapped = {**contents(), "cat/1.png": second, "dog/1.png": first}
        others = [
            open_pool(self.fresh(tmp_path / "swapped", swapped)),
            open_pool(
                self.fresh(tmp_path / "fewer", {name: body for name, body in contents().items() if name[0] != "e"})
            ),
        ]
        assert same.fingerprint == made.fingerprint
        assert made.fingerprint not in {other.fingerprint for other in others}

    def test_the_fingerprint_follows_a_pool_that_is_made_again_in_its_place(self, tmp_path: Path) -> None:
        before = open_pool(self.fresh(tmp_path / "made", contents())).fingerprint
        assert open_pool(self.changed(tmp_path / "made")).fingerprint != before

    def test_a_copy_in_another_process_reads_the_same(self, path: Path) -> None:
        pool = open_pool(path)
        expected = read_all(pool)  # opens what the source keeps open
        assert read_all(pickle.loads(pickle.dumps(pool))) == expected
        with ProcessPoolExecutor(1, mp_context=get_context("fork")) as forked:
            assert forked.submit(read_all, pool).result() == expected
        assert read_all(pool) == expected

    def test_no_name_leads_out_of_the_pool(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret.png"
        secret.write_bytes(png(99))
        if self.outside:
            pytest.skip("whoever writes a manifest may name any file of theirs")
        made = self.hostile(tmp_path / "made", "../secret.png")
        pool = open_pool(made)
        assert len(pool)
        for row in range(len(pool)):
            try:
                assert pool.read(row) != secret.read_bytes()
            except RejectedImage:
                continue

    def hostile(self, folder: Path, name: str) -> Path:
        """A pool that names a file outside of it beside its own images."""
        return self.fresh(folder, {**contents(), name: png(99)})

    def test_half_of_it_is_a_sentence_or_fewer_images(self, path: Path) -> None:
        if path.is_dir():
            pytest.skip("a folder has no half")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        try:
            pool = open_pool(path)
        except UsageError as error:
            assert str(path) in str(error)
        else:
            assert len(pool) < len(IMAGES)

    def test_one_image_is_a_pool(self, tmp_path: Path) -> None:
        pool = open_pool(self.fresh(tmp_path / "made", {"cat/1.png": png(1)}))
        assert list(pool.ids) == [self.item("cat/1.png")]
        assert self.same(pool.read(0), png(1))

    def test_no_image_is_a_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="holds no image"):
            open_pool(self.fresh(tmp_path / "made", {}))


def write_files(folder: Path, images: Mapping[str, bytes]) -> Path:
    for name, body in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


class TestFolder(PoolSourceContract):
    source = "folder"

    def make(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        return write_files(folder, images)

    def hostile(self, folder: Path, name: str) -> Path:
        (folder.parent / "outside").mkdir()
        shutil.copy(folder.parent / "secret.png", folder.parent / "outside" / "1.png")
        path = self.fresh(folder, contents())
        (path / "linked").symlink_to(folder.parent / "outside", target_is_directory=True)
        return path


class TestImagefolder(TestFolder):
    """A folder whose labels stand in a table beside the images, which lie side by side."""

    def make(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        write_files(folder, images)
        rows = [json.dumps({"file_name": name, "label": label_of(name)}) for name in images]
        (folder / "metadata.jsonl").write_text("\n".join(rows), encoding="utf-8")
        return folder


class TestZip(PoolSourceContract):
    source = "zip"

    def make(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        with zipfile.ZipFile(folder / "pool.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, body in images.items():
                archive.writestr(name, body)
        return folder / "pool.zip"


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return path


class TestWebDataset(PoolSourceContract):
    """Images whose class stands in a member beside each."""

    source = "webdataset"

    def make(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        return write_tar(folder / "pool.tar", self.members(images))

    def members(self, images: Mapping[str, bytes]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for name, body in images.items():
            found |= {name: body, f"{name.removesuffix('.png')}.cls": label_of(name).encode()}
        return found


class TestWebDatasetFolders(TestWebDataset):
    """A tar of plain folders."""

    def members(self, images: Mapping[str, bytes]) -> dict[str, bytes]:
        return dict(images)


class TestWebDatasetShards(TestWebDataset):
    def make(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        names = list(images)
        for number, part in enumerate((names[:2], names[2:])):
            write_tar(folder / f"train-{number:06d}.tar", self.members({name: images[name] for name in part}))
        return folder

    def test_half_of_it_is_a_sentence_or_fewer_images(self, path: Path) -> None:
        shard = path / "train-000001.tar"
        shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 4])
        assert len(open_pool(path)) < len(IMAGES)


class TestCsv(PoolSourceContract):
    source = "table"
    outside = True

    def make(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        write_files(folder, images)
        with (folder / "list.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["path", "label"], *([name, label_of(name)] for name in images)])
        return folder / "list.csv"


class TestJsonLines(TestCsv):
    def make(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        rows = [json.dumps({"path": name, "label": label_of(name)}) for name in images]
        (write_files(folder, images) / "list.jsonl").write_text("\n".join(rows), encoding="utf-8")
        return folder / "list.jsonl"


class TestParquetManifest(TestCsv):
    def make(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        columns = {"path": list(images), "label": [label_of(name) for name in images]}
        schema = pa.schema([("path", pa.string()), ("label", pa.string())])
        pq.write_table(pa.table(columns, schema=schema), write_files(folder, images) / "list.parquet")
        return folder / "list.parquet"


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_parquet(path: Path, images: Mapping[str, bytes], *, inside: bool = True) -> Path:
    cells = [{"bytes": body if inside else None, "path": name} for name, body in images.items()]
    labels = [label_of(name) for name in images]
    table = pa.table({"image": pa.array(cells, IMAGE), "label": pa.array(labels, pa.string())})
    pq.write_table(table, path, row_group_size=2)
    return path


class TestHuggingFace(PoolSourceContract):
    source = "huggingface"

    def make(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        return write_parquet(folder / "pool.parquet", images)

    def hostile(self, folder: Path, name: str) -> Path:
        path = self.fresh(folder, contents())
        cells = [{"bytes": None, "path": name}, {"bytes": None, "path": str(folder.parent / "secret.png")}]
        pq.write_table(pa.table({"image": pa.array(cells, IMAGE)}), path)
        return path


class TestHuggingFaceBeside(TestHuggingFace):
    """Rows that name files beside the table."""

    def make(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        write_files(folder, images)
        return write_parquet(folder / "pool.parquet", images, inside=False)


class TestHuggingFaceShards(TestHuggingFace):
    def make(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        names = list(images)
        for number, part in enumerate((names[:2], names[2:])):
            shard = folder / f"train-{number:05d}-of-00002.parquet"
            write_parquet(shard, {name: images[name] for name in part})
        return folder

    def hostile(self, folder: Path, name: str) -> Path:
        path = self.fresh(folder, contents())
        cells = [{"bytes": None, "path": name}]
        pq.write_table(pa.table({"image": pa.array(cells, IMAGE)}), path / "a.parquet")
        return path


class TestVideo(PoolSourceContract):
    """A folder of videos, each of one frame, in a codec without loss."""

    source = "video"

    def item(self, name: str) -> str:
        return f"{name.removesuffix('.png')}.mov#000000"

    def same(self, read: bytes, given: bytes) -> bool:
        return decode_image(read).tobytes() == decode_image(given).tobytes()

    def make(self, folder: Path, images: Mapping[str, bytes]) -> Path:
        pytest.importorskip("av", reason="PyAV is not installed: pip install 'activetune[video]'")
        for name, body in images.items():
            write_video(folder / f"{name.removesuffix('.png')}.mov", [decode_image(body)], codec="png")
        return folder

    def changed(self, folder: Path) -> Path:
        path = self.fresh(folder, contents())
        for video in path.rglob("*.mov"):
            body = video.read_bytes()
            place = body.index(b"IDAT") + 8  # among the pixels
            video.write_bytes(body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :])
        return path

    def hostile(self, folder: Path, name: str) -> Path:
        write_video(folder.parent / "outside" / "1.mov", [Image.new("RGB", (4, 4))], codec="png")
        path = self.fresh(folder, contents())
        (path / "linked").symlink_to(folder.parent / "outside", target_is_directory=True)
        assert not any("linked" in item for item in open_pool(path).ids)
        return path

    def test_nothing_is_left_out_and_nothing_said(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert open_pool(f"{path}@all").left_out == {}
        assert capsys.readouterr() == ("", "")

    def test_the_size_of_no_image_is_a_reason(self, tmp_path: Path) -> None:
        path = self.fresh(tmp_path / "made", contents())
        body = (path / "dog" / "3.mov").read_bytes()
        (path / "dog" / "3.mov").write_bytes(body.replace(b"IDAT", b"XXXX"))
        pool = open_pool(path)
        with pytest.raises(RejectedImage, match="corrupt"):
            pool.size(pool.position["dog/3.mov#000000"])

    def test_bytes_that_are_no_image_are_read_and_rejected_when_decoded(self, tmp_path: Path) -> None:
        path = self.fresh(tmp_path / "made", contents())
        (path / "dog" / "3.mov").write_bytes(b"no video")
        (path / "eel" / "4.mov").write_bytes(b"")
        assert len(open_pool(path)) == 3
        assert open_pool(path).left_out == {"videos that can't be read": 2}


def test_every_source_is_held_to_the_contract() -> None:
    held = {cls.source for cls in globals().values() if isinstance(cls, type) and hasattr(cls, "source")}
    assert held == set(sources())


@pytest.mark.parametrize("name", sorted(sources()))
def test_every_source_says_what_it_opens(name: str) -> None:
    module = sources()[name]
    assert module.ABOUT and (module.FOLDERS or module.SUFFIXES)
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in module.SUFFIXES)
