"""Opening a pool from each source: ids, labels, bytes, fingerprints, and a sentence for what can't be opened."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from activetune.base.errors import RejectedImage, UsageError
from activetune.data.opening import open_pool


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), shade).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(root: Path, names: list[str]) -> Path:
    """One PNG a name, each of its own shade."""
    for shade, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(shade))
    return root


def write_zip(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for shade, name in enumerate(names):
            archive.writestr(name, png(shade))
    return path


def write_csv(path: Path, rows: list[list[str]], encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows(rows)
    return path


def write_hf(
    path: Path,
    paths: list[str | None],
    labels: list[object] | None = None,
    *,
    names: list[str] | None = None,
    group: int | None = None,
    column: str = "label",
) -> Path:
    """A Parquet file in Hugging Face image schema."""
    cells = [{"bytes": png(shade), "path": name} for shade, name in enumerate(paths)]
    columns = {"image": pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))}
    if labels is not None:
        columns[column] = pa.array(labels)
    table = pa.table(columns)
    if names is not None:
        features = {"image": {"_type": "Image"}, column: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=group)
    return path


def shade_of(encoded: bytes) -> int:
    shade = Image.open(io.BytesIO(encoded)).getpixel((0, 0))
    assert isinstance(shade, int)
    return shade


# Folder -----------------------------------------------------------------------------------------------------------


def test_a_folder_is_searched_recursively_and_labelled_by_the_nearest_folder(tmp_path: Path) -> None:
    pool = open_pool(write_folder(tmp_path, ["train/cat/1.png", "train/cat/2.png", "dog/3.png"]))
    assert pool.ids == ["dog/3.png", "train/cat/1.png", "train/cat/2.png"]
    assert pool.labels == ["dog", "cat", "cat"]


def test_images_in_the_root_are_unlabelled(tmp_path: Path) -> None:
    pool = open_pool(write_folder(tmp_path, ["cat/1.png", "2.png"]))
    assert dict(zip(pool.ids, pool.labels or (), strict=True)) == {"cat/1.png": "cat", "2.png": None}


def test_a_single_folder_gives_no_labels(tmp_path: Path) -> None:
    assert open_pool(write_folder(tmp_path, ["images/1.png", "images/2.png"])).labels is None


def test_a_flat_folder_gives_no_labels(tmp_path: Path) -> None:
    assert open_pool(write_folder(tmp_path, ["1.png", "2.png"])).labels is None


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, ["a/1.png", "a/.2.png", ".thumbnails/3.png", "._1.png"])
    assert open_pool(tmp_path).ids == ["a/1.png"]


def test_files_that_are_no_images_are_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, ["a/1.png", "a/notes.txt", "a/labels.csv", "a/png", "a/2.png.bak"])
    assert open_pool(tmp_path).ids == ["a/1.png"]


@pytest.mark.parametrize("suffix", [".JPG", ".Jpeg", ".PNG", ".WebP", ".BMP", ".GIF", ".TIF", ".TIFF"])
def test_upper_case_suffixes_are_images(tmp_path: Path, suffix: str) -> None:
    assert open_pool(write_folder(tmp_path, [f"1{suffix}"])).ids == [f"1{suffix}"]


def test_a_link_back_up_does_not_make_the_walk_endless(tmp_path: Path) -> None:
    write_folder(tmp_path, ["a/1.png"])
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert open_pool(tmp_path).ids == ["a/1.png"]


def test_linked_files_are_followed(tmp_path: Path) -> None:
    write_folder(tmp_path, ["store/1.png"])
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "linked.png").symlink_to(tmp_path / "store" / "1.png")
    pool = open_pool(tmp_path / "pool")
    assert pool.read(0) == (tmp_path / "store" / "1.png").read_bytes()


def test_a_dangling_link_is_rejected_when_read(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.png"])
    (tmp_path / "0.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(RejectedImage, match=r"^unreadable: No such file"):
        open_pool(tmp_path).read(0)


def test_a_folder_named_like_an_image_is_searched(tmp_path: Path) -> None:
    assert open_pool(write_folder(tmp_path, ["odd.png/1.png"])).ids == ["odd.png/1.png"]


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_folder(tmp_path / "images", ["1.png"])
    assert open_pool("~/images").ids == ["1.png"]


def test_names_that_are_not_utf8_are_refused_at_once(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.png"])
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))).write_bytes(png(1))
    with pytest.raises(UsageError, match="UTF-8"):
        open_pool(tmp_path)


# CSV manifest -----------------------------------------------------------------------------------------------------


def test_a_csv_manifest_gives_paths_labels_and_ids(tmp_path: Path) -> None:
    write_folder(tmp_path, ["x/1.png", "x/2.png"])
    rows = [["path", "label", "id", "note"], ["x/2.png", "cat", "second", "?"], ["x/1.png", "", "first", "!"]]
    pool = open_pool(write_csv(tmp_path / "list.csv", rows))
    assert pool.ids == ["second", "first"]
    assert pool.labels == ["cat", None]
    assert [shade_of(pool.read(row)) for row in (0, 1)] == [1, 0]


def test_a_csv_manifest_without_ids_takes_the_paths(tmp_path: Path) -> None:
    pool = open_pool(write_csv(tmp_path / "list.csv", [["path"], ["x/1.png"], ["x/2.png"]]))
    assert pool.ids == ["x/1.png", "x/2.png"]
    assert pool.labels is None


def test_a_csv_manifest_may_name_absolute_paths(tmp_path: Path) -> None:
    image = write_folder(tmp_path / "elsewhere", ["1.png"]) / "1.png"
    (tmp_path / "here").mkdir()
    pool = open_pool(write_csv(tmp_path / "here" / "list.csv", [["path"], [str(image)]]))
    assert pool.read(0) == image.read_bytes()


def test_a_byte_order_mark_is_not_part_of_the_header(tmp_path: Path) -> None:
    rows = [["path", "label"], ["1.png", "cat"]]
    assert open_pool(write_csv(tmp_path / "list.csv", rows, encoding="utf-8-sig")).labels == ["cat"]


def test_spaces_around_header_and_values_are_taken_off(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path , label\n 1.png, cat \n\n")
    pool = open_pool(tmp_path / "list.csv")
    assert (pool.ids, pool.labels) == (["1.png"], ["cat"])


def test_a_csv_manifest_needs_the_column_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no column 'path'; its columns are: file, label"):
        open_pool(write_csv(tmp_path / "list.csv", [["file", "label"], ["1.png", "cat"]]))


def test_an_empty_path_is_an_error_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="row 2 has an empty 'path'"):
        open_pool(write_csv(tmp_path / "list.csv", [["path", "label"], ["1.png", "cat"], ["", "dog"]]))


def test_repeated_ids_are_an_error_that_names_them(tmp_path: Path) -> None:
    rows = [["path", "id"], ["1.png", "a"], ["2.png", "a"], ["3.png", "b"]]
    with pytest.raises(UsageError, match="not distinct; repeated: 'a'"):
        open_pool(write_csv(tmp_path / "list.csv", rows))


def test_repeated_paths_without_ids_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not distinct"):
        open_pool(write_csv(tmp_path / "list.csv", [["path"], ["1.png"], ["1.png"]]))


def test_a_manifest_row_without_a_file_is_rejected_when_read(tmp_path: Path) -> None:
    pool = open_pool(write_csv(tmp_path / "list.csv", [["path"], ["gone.png"]]))
    with pytest.raises(RejectedImage, match="unreadable"):
        pool.read(0)


def test_a_manifest_with_only_a_header_holds_no_image(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no image"):
        open_pool(write_csv(tmp_path / "list.csv", [["path", "label"]]))


def test_a_csv_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"path\n\xff\xfe\xff\n")
    with pytest.raises(UsageError, match="can't be read"):
        open_pool(tmp_path / "list.csv")


def test_a_row_with_too_few_fields_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,id\n1.png,a\n2.png\n")
    with pytest.raises(UsageError, match="line 3 has another number of fields"):
        open_pool(tmp_path / "list.csv")


def test_an_empty_id_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="id"):
        open_pool(write_csv(tmp_path / "list.csv", [["path", "id"], ["1.png", "a"], ["2.png", ""]]))


# Parquet ----------------------------------------------------------------------------------------------------------


def test_a_parquet_manifest_gives_paths_labels_and_ids(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.png", "2.png"])
    table = pa.table({"path": ["2.png", "1.png"], "label": ["cat", None], "id": [20, 10], "extra": [0.5, 0.5]})
    pq.write_table(table, tmp_path / "list.parquet")
    pool = open_pool(tmp_path / "list.parquet")
    assert (pool.ids, pool.labels) == (["20", "10"], ["cat", None])
    assert shade_of(pool.read(0)) == 1


def test_a_null_id_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["1.png", "2.png"], "id": ["a", None]}), tmp_path / "list.parquet")
    with pytest.raises(UsageError, match="id"):
        open_pool(tmp_path / "list.parquet")


def test_class_names_come_from_the_hugging_face_schema(tmp_path: Path) -> None:
    path = write_hf(tmp_path / "a.parquet", ["a.png", "b.png", "c.png"], [1, 0, 1], names=["cat", "dog"])
    pool = open_pool(path)
    assert (pool.ids, pool.labels) == (["a.png", "b.png", "c.png"], ["dog", "cat", "dog"])


def test_without_class_names_the_label_itself_is_the_name(tmp_path: Path) -> None:
    assert open_pool(write_hf(tmp_path / "a.parquet", ["a.png", "b.png"], [7, 3])).labels == ["7", "3"]
    assert open_pool(write_hf(tmp_path / "b.parquet", ["a.png", "b.png"], ["cat", "dog"])).labels == ["cat", "dog"]


def test_null_and_unlabelled_rows_have_no_label(tmp_path: Path) -> None:
    path = write_hf(tmp_path / "a.parquet", ["a", "b", "c"], [None, -1, 0], names=["cat", "dog"])
    assert open_pool(path).labels == [None, None, "cat"]


def test_a_parquet_file_without_labels_has_none(tmp_path: Path) -> None:
    assert open_pool(write_hf(tmp_path / "a.parquet", ["a.png", "b.png"])).labels is None


def test_cifar_s_label_column_is_known(tmp_path: Path) -> None:
    path = write_hf(tmp_path / "a.parquet", ["a", "b"], [0, 1], names=["cat", "dog"], column="fine_label")
    assert open_pool(path).labels == ["cat", "dog"]


@pytest.mark.parametrize("paths", [["a.png", "a.png"], ["a.png", None], [None, None]])
def test_image_paths_that_tell_nothing_apart_give_row_numbers(tmp_path: Path, paths: list[str | None]) -> None:
    assert open_pool(write_hf(tmp_path / "a.parquet", paths)).ids == ["00000000", "00000001"]


def test_every_row_of_every_row_group_is_read(tmp_path: Path) -> None:
    pool = open_pool(write_hf(tmp_path / "a.parquet", [f"{row}.png" for row in range(7)], group=3))
    assert [shade_of(pool.read(row)) for row in (6, 0, 5, 3, 2, 4, 1)] == [6, 0, 5, 3, 2, 4, 1]


def test_old_row_groups_make_room_for_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activetune.data.sources.huggingface.ROW_GROUP_CACHE_BYTES", 1)
    pool = open_pool(write_hf(tmp_path / "a.parquet", [f"{row}.png" for row in range(4)], group=1))
    assert [shade_of(pool.read(row)) for row in (0, 3, 0)] == [0, 3, 0]
    assert len(pool.source._groups) == 1  # type: ignore[attr-defined]


def test_a_row_that_names_a_file_is_read_from_beside_the_parquet(tmp_path: Path) -> None:
    write_folder(tmp_path, ["0.png", "1.png"])
    cells = [{"bytes": None, "path": "1.png"}]
    image = pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": image}), tmp_path / "a.parquet")
    assert shade_of(open_pool(tmp_path / "a.parquet").read(0)) == 1


def test_a_row_without_bytes_or_path_is_rejected_when_read(tmp_path: Path) -> None:
    image = pa.array([{"bytes": None, "path": None}, None], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": image}), tmp_path / "a.parquet")
    pool = open_pool(tmp_path / "a.parquet")
    for row in (0, 1):
        with pytest.raises(RejectedImage, match=r"^empty"):
            pool.read(row)


def test_a_parquet_file_with_neither_images_nor_paths_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="its columns are: text, label"):
        open_pool(tmp_path / "a.parquet")


def test_a_damaged_row_group_is_rejected_when_read(tmp_path: Path) -> None:
    path = write_hf(tmp_path / "a.parquet", [f"{row}.png" for row in range(200)])
    start = pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    damaged = bytearray(path.read_bytes())
    damaged[start : start + 30] = b"\xff" * 30
    path.write_bytes(damaged)
    with pytest.raises(RejectedImage, match="unreadable"):
        open_pool(path).read(0)


def test_a_parquet_file_whose_ids_are_damaged_is_a_sentence(tmp_path: Path) -> None:
    path = write_hf(tmp_path / "a.parquet", [f"{row}.png" for row in range(200)])
    start = pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    damaged = bytearray(path.read_bytes())
    damaged[start + 40 : start + 1000] = b"\xff" * 960
    path.write_bytes(damaged)
    with pytest.raises(UsageError, match="can't be read"):
        open_pool(path)


# Zip --------------------------------------------------------------------------------------------------------------


def test_a_zip_is_listed_and_read_in_place(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ["data/cat/1.png", "data/dog/2.png", "data/readme.txt"])
    pool = open_pool(path)
    assert (pool.ids, pool.labels) == (["data/cat/1.png", "data/dog/2.png"], ["cat", "dog"])
    assert [shade_of(pool.read(row)) for row in (1, 0)] == [1, 0]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.zip"]


def test_what_macos_adds_to_a_zip_is_ignored(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ["cat/1.png", "__MACOSX/cat/._1.png", "__MACOSX/cat/1.png", "cat/._1.png"])
    assert open_pool(path).ids == ["cat/1.png"]


def test_a_damaged_zip_is_wrong_use(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ["1.png"])
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UsageError, match="can't be read"):
        open_pool(path)


def damage_member(path: Path, method: int) -> Path:
    """A zip of one image whose packed bytes are overwritten."""
    content = np.random.default_rng(0).integers(0, 16, 4000, dtype=np.uint8).tobytes()
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("1.png", content)
        start = archive.getinfo("1.png").header_offset + 30 + len("1.png")
    damaged = bytearray(path.read_bytes())
    damaged[start + 50 : start + 250] = b"\xff" * 200
    path.write_bytes(damaged)
    return path


def test_a_stored_member_with_a_wrong_checksum_is_rejected_when_read(tmp_path: Path) -> None:
    with pytest.raises(RejectedImage, match="unreadable in the zip"):
        open_pool(damage_member(tmp_path / "a.zip", zipfile.ZIP_STORED)).read(0)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_damaged_packed_member_is_rejected_when_read(tmp_path: Path, method: int) -> None:
    with pytest.raises(RejectedImage, match="unreadable in the zip"):
        open_pool(damage_member(tmp_path / "a.zip", method)).read(0)


# Not a pool -------------------------------------------------------------------------------------------------------


def test_nothing_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the pool .*gone does not exist"):
        open_pool(tmp_path / "gone")


def test_an_empty_folder_names_the_suffixes_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no image \(.*\.jpg.*\.png"):
        open_pool(tmp_path)


def test_a_zip_without_images_holds_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no image"):
        open_pool(write_zip(tmp_path / "a.zip", ["notes.txt"]))


@pytest.mark.parametrize("name", ["image.png", "data.tar", "table.json", "nothing"])
def test_another_file_names_what_is_expected(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match=r"is not a pool: expected a folder .*\.csv, \.parquet, \.zip"):
        open_pool(tmp_path / name)


@pytest.mark.parametrize("name", ["a.zip", "a.parquet"])
def test_a_file_that_is_not_what_its_suffix_says_is_wrong_use(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"neither a zip nor a Parquet file")
    with pytest.raises(UsageError, match="can't be read"):
        open_pool(tmp_path / name)


# What holds for every source --------------------------------------------------------------------------------------

Writer = Callable[[Path], Path]
NAMES = ["cat/0.png", "cat/1.png", "dog/2.png"]


def folder_source(root: Path) -> Path:
    return write_folder(root / "pool", NAMES)


def csv_source(root: Path) -> Path:
    write_folder(root, NAMES)
    return write_csv(root / "list.csv", [["path", "label"], *([name, name[:3]] for name in NAMES)])


def parquet_manifest_source(root: Path) -> Path:
    write_folder(root, NAMES)
    pq.write_table(pa.table({"path": NAMES, "label": [name[:3] for name in NAMES]}), root / "list.parquet")
    return root / "list.parquet"


def hf_source(root: Path) -> Path:
    return write_hf(root / "hf.parquet", list(NAMES), [0, 0, 1], names=["cat", "dog"], group=2)


def zip_source(root: Path) -> Path:
    return write_zip(root / "pool.zip", NAMES)


every_source = pytest.mark.parametrize(
    "write", [folder_source, csv_source, parquet_manifest_source, hf_source, zip_source]
)


@every_source
def test_every_source_gives_ids_labels_and_bytes(tmp_path: Path, write: Writer) -> None:
    pool = open_pool(write(tmp_path))
    assert (list(pool.ids), pool.labels) == (NAMES, ["cat", "cat", "dog"])
    assert [pool.read(row) for row in range(3)] == [png(shade) for shade in range(3)]


@every_source
def test_a_pickled_pool_reads_the_same(tmp_path: Path, write: Writer) -> None:
    pool = open_pool(write(tmp_path))
    pool.read(0)  # opens what it keeps open, which must not travel
    again = pickle.loads(pickle.dumps(pool))
    assert [again.read(row) for row in range(3)] == [png(shade) for shade in range(3)]
    assert again.fingerprint == pool.fingerprint


@every_source
def test_a_subset_keeps_order_labels_and_bytes(tmp_path: Path, write: Writer) -> None:
    pool = open_pool(write(tmp_path)).subset([NAMES[2], NAMES[0]])
    assert (pool.ids, pool.labels) == ([NAMES[2], NAMES[0]], ["dog", "cat"])
    assert [shade_of(pool.read(row)) for row in (0, 1)] == [2, 0]


@every_source
def test_a_subset_of_a_subset_still_finds_its_bytes(tmp_path: Path, write: Writer) -> None:
    pool = open_pool(write(tmp_path)).subset([NAMES[2], NAMES[0]]).subset([NAMES[0]])
    assert shade_of(pool.read(0)) == 0


@every_source
def test_a_subset_has_a_fingerprint_of_its_own(tmp_path: Path, write: Writer) -> None:
    pool = open_pool(write(tmp_path))
    prints = {pool.fingerprint, pool.subset(NAMES[:2]).fingerprint, pool.subset(NAMES[1:]).fingerprint}
    assert len(prints) == 3


@every_source
def test_opening_a_pool_opens_no_image(tmp_path: Path, write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an image was opened")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(zipfile.ZipFile, "read", refuse)
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", refuse)
    monkeypatch.setattr(Image, "open", refuse)
    assert len(open_pool(path)) == 3


@every_source
def test_opening_twice_gives_the_same_fingerprint(tmp_path: Path, write: Writer) -> None:
    path = write(tmp_path)
    assert open_pool(path).fingerprint == open_pool(path).fingerprint


@every_source
def test_a_pool_moved_with_its_times_keeps_its_fingerprint(tmp_path: Path, write: Writer) -> None:
    (tmp_path / "here").mkdir()
    path = write(tmp_path / "here")
    before = open_pool(path).fingerprint
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    shutil.rmtree(tmp_path / "here")
    assert open_pool(tmp_path / "there" / path.name).fingerprint == before


@pytest.mark.parametrize("write", [folder_source, csv_source, parquet_manifest_source])
def test_a_changed_image_changes_the_fingerprint(tmp_path: Path, write: Writer) -> None:
    path = write(tmp_path)
    before = open_pool(path).fingerprint
    changed = (path if path.is_dir() else path.parent) / NAMES[1]
    changed.write_bytes(png(9) + b"longer")
    assert open_pool(path).fingerprint != before


def test_another_time_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    path = folder_source(tmp_path)
    before = open_pool(path).fingerprint
    os.utime(path / NAMES[1], ns=(1, 2))
    assert open_pool(path).fingerprint == before


def test_an_added_renamed_or_removed_image_changes_the_fingerprint(tmp_path: Path) -> None:
    path = folder_source(tmp_path)
    prints = [open_pool(path).fingerprint]
    shutil.copy2(path / NAMES[0], path / "dog" / "3.png")
    prints.append(open_pool(path).fingerprint)
    (path / "dog" / "3.png").rename(path / "dog" / "4.png")
    prints.append(open_pool(path).fingerprint)
    (path / "dog" / "2.png").unlink()
    prints.append(open_pool(path).fingerprint)
    assert len(set(prints)) == 4


def test_a_zip_with_another_content_under_the_same_names_changes_the_fingerprint(tmp_path: Path) -> None:
    before = open_pool(write_zip(tmp_path / "a.zip", ["1.png", "2.png"])).fingerprint
    assert open_pool(write_zip(tmp_path / "b.zip", ["2.png", "1.png"])).fingerprint != before


def test_other_ids_for_the_same_files_change_the_fingerprint(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.png"])
    one = open_pool(write_csv(tmp_path / "a.csv", [["path", "id"], ["1.png", "one"]]))
    other = open_pool(write_csv(tmp_path / "b.csv", [["path", "id"], ["1.png", "other"]]))
    assert one.fingerprint != other.fingerprint


# Real data --------------------------------------------------------------------------------------------------------


def test_caltech_101_opens_from_its_zip(shared: Path) -> None:
    pool = open_pool(shared / "data" / "caltech101.zip")
    assert len(pool) == 8677
    assert len(set(pool.labels or ())) == 101
    assert Image.open(io.BytesIO(pool.read(4000))).size[0] > 0


def test_cifar_10_opens_from_its_parquet(shared: Path) -> None:
    pool = open_pool(shared / "data" / "cifar10" / "test.parquet")
    assert len(pool) == 10_000
    assert len(set(pool.labels or ())) == 10
    assert "airplane" in (pool.labels or ())
    assert Image.open(io.BytesIO(pool.read(9_999))).size == (32, 32)
