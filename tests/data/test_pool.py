"""Opening a pool from each source: ids, labels, bytes, fingerprints, and a sentence for what can't be opened."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pickle
import shutil
import stat
import tracemalloc
import urllib.parse
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from activetune.base.errors import ReadingFault, RejectedImage, UsageError
from activetune.data.annotations import pool_annotations
from activetune.data.kinds import Names
from activetune.data.labels import labels_of
from activetune.data.opening import open_pool
from activetune.data.pool import Patience


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
    write_folder(tmp_path, ["a/1.png", "a/notes.txt", "a/labels.csv", "a/2.png.bak"])
    (tmp_path / "a" / "README").write_text("no image")
    pool = open_pool(tmp_path)
    assert (pool.ids, pool.left_out) == (["a/1.png"], {"files that are no images": 4})


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


def test_images_without_a_suffix_count_by_their_first_bytes(tmp_path: Path) -> None:
    write_folder(tmp_path, ["a/0123abcd", "b/1.png"])
    (tmp_path / "a" / "LICENSE").write_text("P is for permission")
    pool = open_pool(tmp_path)
    assert (pool.ids, pool.labels) == (["a/0123abcd", "b/1.png"], ["a", "b"])


@pytest.mark.parametrize(
    "suffix", [".jfif", ".jpe", ".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".tga", ".ico", ".qoi", ".dds"]
)
def test_every_suffix_that_is_opened_safely_counts(tmp_path: Path, suffix: str) -> None:
    assert open_pool(write_folder(tmp_path, [f"1{suffix}", f"2{suffix.upper()}"])).ids == [
        f"1{suffix}",
        f"2{suffix.upper()}",
    ]


@pytest.mark.parametrize("suffix", [".eps", ".ps", ".wmf", ".emf", ".pdf", ".fits", ".h5", ".mpg"])
def test_suffixes_that_other_programs_would_read_do_not(tmp_path: Path, suffix: str) -> None:
    pool = open_pool(write_folder(tmp_path, ["1.png", f"2{suffix}"]))
    assert (pool.ids, pool.left_out) == (["1.png"], {"files that are no images": 1})


@pytest.mark.parametrize("name", ["@eaDir", "__MACOSX", ".ipynb_checkpoints", ".git", "#recycle"])
def test_what_systems_put_beside_images_does_not_count(tmp_path: Path, name: str) -> None:
    pool = open_pool(write_folder(tmp_path, ["a/1.png", f"a/{name}/1.png", f"{name}/2.png"]))
    assert pool.ids == ["a/1.png"]
    assert sum(pool.left_out.values()) == 2


def test_linked_class_folders_inside_the_pool_count_once(tmp_path: Path) -> None:
    write_folder(tmp_path, [".store/cat/1.png", ".store/dog/2.png", "bird/3.png"])
    (tmp_path / "cat").symlink_to(".store/cat", target_is_directory=True)
    (tmp_path / "hund").symlink_to(".store/dog", target_is_directory=True)
    (tmp_path / "dog").symlink_to(".store/dog", target_is_directory=True)
    (tmp_path / "again").symlink_to("bird", target_is_directory=True)
    pool = open_pool(tmp_path)
    assert (pool.ids, pool.labels) == (["bird/3.png", "cat/1.png", "dog/2.png"], ["bird", "cat", "dog"])
    assert pool.left_out == {"hidden entries": 1, "linked folders whose images are listed where they lie": 2}


def test_linked_folders_that_lead_out_are_told_and_followed_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "elsewhere", ["cat/1.png", "cat/deep/2.png"])
    pool_path = write_folder(tmp_path / "pool", ["dog/3.png"])
    (pool_path / "cat").symlink_to(tmp_path / "elsewhere" / "cat", target_is_directory=True)
    (tmp_path / "elsewhere" / "cat" / "back").symlink_to(tmp_path, target_is_directory=True)
    assert open_pool(pool_path).ids == ["dog/3.png"]
    told = capsys.readouterr().err
    assert told == (f"left out of {pool_path}: 1 linked folder that leads out of the pool (--follow-links takes it)\n")
    pool = open_pool(pool_path, follow_links=True)
    assert pool.ids[:3] == ["cat/1.png", "cat/deep/2.png", "dog/3.png"]
    assert shade_of(pool.read(0)) == 0


def test_links_that_go_round_end(tmp_path: Path) -> None:
    write_folder(tmp_path, ["a/1.png", "b/2.png"])
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b", target_is_directory=True)
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "b" / "self").symlink_to("self")
    for follow in (False, True):
        assert open_pool(tmp_path, follow_links=follow).ids == ["a/1.png", "b/2.png"]


def test_a_pool_that_is_a_link_itself_is_opened(tmp_path: Path) -> None:
    write_folder(tmp_path / "store", ["a/1.png"])
    (tmp_path / "pool").symlink_to(tmp_path / "store", target_is_directory=True)
    assert open_pool(tmp_path / "pool").ids == ["a/1.png"]


def test_a_folder_deeper_than_python_recurses_is_listed(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(60):
        folder = folder / "d" / "e"
    assert len(open_pool(write_folder(tmp_path, [f"{folder.relative_to(tmp_path)}/1.png"]))) == 1


def test_pipes_do_not_count_and_do_not_hang(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.png"])
    os.mkfifo(tmp_path / "2.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "3.png").symlink_to("/dev/zero")
    pool = open_pool(tmp_path)
    assert (pool.ids, pool.left_out) == (["1.png"], {"pipes, sockets and devices": 3})


def test_what_is_left_out_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path, ["1.png", "a.txt", "b.txt", "c.heic", ".hidden.png"])
    assert open_pool(tmp_path).left_out == {"files that are no images": 3, "hidden entries": 1}
    told = capsys.readouterr().err
    assert told == f"left out of {tmp_path}: 3 files that are no images (.txt 2, .heic 1), 1 hidden entry\n"
    open_pool(tmp_path, quiet=True)
    assert capsys.readouterr().err == ""


def test_a_folder_without_images_says_what_it_holds_instead(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.heic", "2.heic"])
    with pytest.raises(UsageError, match=r"holds no image .*; left out: 2 files that are no images \(.heic 2\)"):
        open_pool(tmp_path)


def test_class_folders_that_look_the_same_are_one_class(tmp_path: Path) -> None:
    names = ["caf\u00e9/1.png", "cafe\u0301/2.png", "dog /3.png", "dog/4.png"]
    pool = open_pool(write_folder(tmp_path, names))
    assert sorted(pool.ids) == sorted(names)  # as found
    assert sorted(set(pool.labels or ())) == ["caf\u00e9", "dog"]


# Hugging Face's imagefolder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_metadata_of_an_imagefolder_gives_the_labels(tmp_path: Path, kind: str, packed: bool) -> None:
    root = write_folder(tmp_path / "pool", ["train/1.png", "train/deep/caf\u00e9.png", "test/1.png", "test/2.png"])
    rows = {
        "train": [("1.png", "cat"), ("deep\\cafe\u0301.png", "dog"), ("gone.png", "dog"), ("../test/2.png", "bird")],
        "test": [("./1.png", "cat")],
    }
    for split, content in rows.items():
        path = root / split / f"metadata.{kind}"
        if kind == "csv":
            write_csv(path, [["file_name", "label"], *map(list, content)], encoding="utf-8-sig")
        elif kind == "jsonl":
            lines = [json.dumps({"file_name": name, "label": label}) for name, label in content]
            path.write_text("\n".join(lines), encoding="utf-8")
        else:
            names, labels = zip(*content, strict=True)
            pq.write_table(pa.table({"file_name": names, "label": labels}), path)
    pool = open_pool(shutil.make_archive(str(tmp_path / "packed"), "zip", root) if packed else root)
    assert dict(zip(pool.ids, pool.labels or (), strict=True)) == {
        "train/1.png": "cat",
        "train/deep/caf\u00e9.png": "dog",
        "test/1.png": "cat",
        "test/2.png": "bird",
    }
    assert pool.left_out == {"rows of metadata that name no image of the pool": 1}


def test_metadata_without_labels_leaves_those_of_the_folders(tmp_path: Path) -> None:
    write_folder(tmp_path, ["cat/1.png", "dog/2.png"])
    write_csv(tmp_path / "metadata.csv", [["file_name", "caption"], ["cat/1.png", "a cat"]])
    assert open_pool(tmp_path).labels == ["cat", "dog"]


def test_another_program_s_metadata_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path, ["cat/1.png", "dog/2.png"])
    (tmp_path / "metadata.csv").write_bytes(b"\xff\xfe\x00\xd8garbage")
    assert open_pool(tmp_path).labels == ["cat", "dog"]
    assert "not used: " in capsys.readouterr().err


def test_metadata_that_contradicts_itself_is_a_sentence(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.png", "2.png"])
    write_csv(tmp_path / "metadata.csv", [["file_name", "labels"], ["1.png", "cat"], ["./1.png", "dog"]])
    with pytest.raises(UsageError, match=r"labels '1\.png' twice, as 'cat' and as 'dog'"):
        open_pool(tmp_path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("column", ["label", "fine_label"])
def test_metadata_with_a_row_per_image_and_class_is_several_classes(tmp_path: Path, zipped: bool, column: str) -> None:
    write_folder(tmp_path / "pool", ["a/1.png", "b/2.png", "b/3.png"])
    rows = [("a/1.png", "dog"), ("./a/1.png", "cat"), ("b/2.png", "cat"), ("b/2.png", "cat"), ("b/2.png", "")]
    write_csv(tmp_path / "pool" / "metadata.csv", [["file_name", column], *map(list, rows)])
    place = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "pool") if zipped else tmp_path / "pool"
    pool = open_pool(place)
    assert list(pool.ids) == ["a/1.png", "b/2.png", "b/3.png"] and pool.labels is None  # nor those of the folders
    found = pool_annotations(pool.subset(pool.ids[:2]), "multilabel")
    assert dict(zip(found.ids, found.answers, strict=True)) == {
        "a/1.png": Names(("cat", "dog")),
        "b/2.png": Names(("cat",)),
    }
    with pytest.raises(
        UsageError, match=r"labels 'a/1\.png' twice, as 'dog' and as 'cat'; keep one, or give --task mult"
    ):
        labels_of(None, pool)


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
    write_folder(tmp_path, ["x/1.png", "x/2.png"])
    pool = open_pool(write_csv(tmp_path / "list.csv", [["path"], ["x/1.png"], ["x/2.png"]]))
    assert pool.ids == ["x/1.png", "x/2.png"]
    assert pool.labels is None


def test_a_csv_manifest_may_name_absolute_paths(tmp_path: Path) -> None:
    image = write_folder(tmp_path / "elsewhere", ["1.png"]) / "1.png"
    (tmp_path / "here").mkdir()
    pool = open_pool(write_csv(tmp_path / "here" / "list.csv", [["path"], [str(image)]]))
    assert pool.read(0) == image.read_bytes()


def test_a_byte_order_mark_is_not_part_of_the_header(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.png"])
    rows = [["path", "label"], ["1.png", "cat"]]
    assert open_pool(write_csv(tmp_path / "list.csv", rows, encoding="utf-8-sig")).labels == ["cat"]


def test_spaces_around_header_and_values_are_taken_off(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.png"])
    (tmp_path / "list.csv").write_text("path , label\n 1.png, cat \n\n")
    pool = open_pool(tmp_path / "list.csv")
    assert (pool.ids, pool.labels) == (["1.png"], ["cat"])


def test_a_csv_manifest_needs_the_column_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no column 'path'; its columns are: file, label"):
        open_pool(write_csv(tmp_path / "list.csv", [["file", "label"], ["1.png", "cat"]]))


def test_an_empty_path_is_an_error_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="row 2 has an empty 'path'"):
        open_pool(write_csv(tmp_path / "list.csv", [["path", "label"], ["1.png", "cat"], ["", "dog"]]))


def test_a_manifest_with_tabs_may_say_so_in_its_name(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.png", "2.png"])
    (tmp_path / "list.tsv").write_text("path\tlabel\n1.png\tcat, dog\n2.png\tbird\n")
    assert open_pool(tmp_path / "list.tsv").labels == ["cat, dog", "bird"]


def test_a_parquet_file_without_rows_holds_no_image(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [], "label": pa.array([], pa.int64())}), tmp_path / "none.parquet")
    with pytest.raises(UsageError, match=r"none\.parquet holds no image"):
        open_pool(tmp_path / "none.parquet")


def test_an_empty_text_is_no_pool() -> None:
    with pytest.raises(UsageError, match="an empty text is no path"):
        open_pool("")


def test_repeated_ids_are_an_error_that_names_them(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.png"])
    rows = [["path", "id"], ["1.png", "a"], ["2.png", "a"], ["3.png", "b"]]
    with pytest.raises(UsageError, match="not distinct; repeated: 'a'"):
        open_pool(write_csv(tmp_path / "list.csv", rows))


def test_repeated_paths_without_ids_are_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.png"])
    with pytest.raises(UsageError, match="not distinct"):
        open_pool(write_csv(tmp_path / "list.csv", [["path"], ["1.png"], ["1.png"]]))


def test_a_manifest_row_without_a_file_is_rejected_when_read(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.png"])
    pool = open_pool(write_csv(tmp_path / "list.csv", [["path"], ["gone.png"], ["1.png"]]))
    with pytest.raises(RejectedImage, match="unreadable: No such file"):
        pool.read(0)


def test_a_manifest_of_which_no_path_exists_is_a_sentence(tmp_path: Path) -> None:
    rows = [["path"], *([f"gone/{number}.png"] for number in range(24))]
    with pytest.raises(UsageError, match=r"0 of 24 paths of .* exist; the first: 'gone/0.png', looked for at /"):
        open_pool(write_csv(tmp_path / "list.csv", rows))


@pytest.mark.parametrize(
    "form", ["file://{}", "file://localhost{}", "FILE://{}", "~/x y/{name}", "x y\\{name}", "./x y/{name}"]
)
def test_other_forms_of_a_path_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    image = write_folder(tmp_path, ["x y/caf\u00e9.png"]) / "x y" / "caf\u00e9.png"
    text = form.format(urllib.parse.quote(str(image)), name=image.name)
    pool = open_pool(write_csv(tmp_path / "list.csv", [["path"], [text]]))
    assert (pool.ids, pool.read(0)) == ([text], image.read_bytes())


def test_a_file_whose_name_holds_a_backslash_is_that_file(tmp_path: Path) -> None:
    write_folder(tmp_path, ["a\\1.png", "a/1.png"])
    assert shade_of(open_pool(write_csv(tmp_path / "list.csv", [["path"], ["a\\1.png"]])).read(0)) == 0


def test_a_table_of_json_lines_is_a_manifest(tmp_path: Path) -> None:
    write_folder(tmp_path, ["1.png", "2.png"])
    lines = [{"file_name": "2.png", "label": 3, "id": 20}, {"file_name": "1.png", "label": None, "id": 10}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8-sig")
    pool = open_pool(tmp_path / "list.jsonl")
    assert (pool.ids, pool.labels, shade_of(pool.read(0))) == (["20", "10"], ["3", None], 1)


@pytest.mark.parametrize(
    "column", [pa.array([["1.png"]]), pa.array([{"a": 1}]), pa.array([True]), pa.array([1.5]), pa.array(["1\0.png"])]
)
@pytest.mark.parametrize("name", ["path", "id"])
def test_a_manifest_s_cells_of_odd_types_are_a_sentence(tmp_path: Path, column: pa.Array, name: str) -> None:
    write_folder(tmp_path, ["1.png"])
    pq.write_table(pa.table({"path": ["1.png"], **{name: column}}), tmp_path / "list.parquet")
    with pytest.raises(UsageError, match=f"row 1.*{name}|{name}.*row 1"):
        open_pool(tmp_path / "list.parquet")


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
    monkeypatch.setattr("activetune.data.sources._parquet.ROW_GROUP_CACHE_BYTES", 1)
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


def write_shards(folder: Path, counts: dict[str, int], *, named: bool = True) -> Path:
    """A Parquet file a name, its images all of their own shade."""
    folder.mkdir(parents=True, exist_ok=True)
    shade = 0
    for name, count in counts.items():
        paths = [f"{name[:3]}{shade + row}.png" if named else None for row in range(count)]
        cells = [{"bytes": png(shade + row), "path": paths[row]} for row in range(count)]
        images = pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"image": images, "label": [name[:3]] * count}), folder / name, row_group_size=2)
        shade += count
    return folder


SHARDS = {"train-00000-of-00002.parquet": 3, "train-00001-of-00002.parquet": 2, "test-00000-of-00001.parquet": 2}


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_of_parquet_shards_is_one_pool(tmp_path: Path, named: bool) -> None:
    write_shards(tmp_path / "data", SHARDS, named=named)
    pool = open_pool(tmp_path)
    assert len(set(pool.ids)) == 7
    assert pool.labels == ["tes"] * 2 + ["tra"] * 5
    assert [shade_of(pool.read(row)) for row in range(7)] == [5, 6, 0, 1, 2, 3, 4]
    assert pool.ids[2] == ("tra0.png" if named else "data/train-00000-of-00002/00000000")


def test_several_splits_are_told_and_a_pattern_takes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(tmp_path, SHARDS)
    open_pool(tmp_path)
    assert "holds 2 splits, taken together (test, train)" in capsys.readouterr().err
    pool = open_pool(tmp_path / "train-*.parquet")
    assert ([shade_of(pool.read(row)) for row in range(5)], capsys.readouterr().err) == ([0, 1, 2, 3, 4], "")
    with pytest.raises(UsageError, match="does not exist"):
        open_pool(tmp_path / "validation-*.parquet")


def test_few_shards_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activetune.data.sources._parquet.OPEN_FILES", 1)
    monkeypatch.setattr("activetune.data.sources._parquet.ROW_GROUP_CACHE_BYTES", 1)
    pool = open_pool(write_shards(tmp_path, SHARDS), quiet=True)
    assert [shade_of(pool.read(row)) for row in (6, 0, 3, 6)] == [4, 5, 1, 4]
    assert (len(pool.source._files), len(pool.source._groups)) == (1, 1)  # type: ignore[attr-defined]


def test_shards_without_images_are_told(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a.parquet": 2})
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "b.parquet")
    assert open_pool(tmp_path).left_out == {"Parquet files without images": 1}


def test_images_win_over_tables_beside_them(tmp_path: Path) -> None:
    write_shards(write_folder(tmp_path, ["1.png"]), {"a.parquet": 2})
    assert open_pool(tmp_path).ids == ["1.png"]


def test_a_column_of_bytes_alone_is_one_of_images(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": pa.array([png(0), png(1)], pa.large_binary())}), tmp_path / "a.parquet")
    pool = open_pool(tmp_path / "a.parquet")
    assert (pool.ids, shade_of(pool.read(1))) == (["00000000", "00000001"], 1)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "link.png", "a\0b.png"])
def test_a_row_that_names_a_file_outside_of_the_folder_is_rejected(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path, ["secret.png", "pool/x.png"])
    (tmp_path / "pool" / "link.png").symlink_to(tmp_path / "secret.png")
    image = pa.array([{"bytes": None, "path": name}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": image}), tmp_path / "pool" / "a.parquet")
    with pytest.raises(RejectedImage, match=r"outside of the Parquet file's folder|zero character"):
        open_pool(tmp_path / "pool" / "a.parquet").read(0)


@pytest.mark.parametrize(
    "metadata",
    [b"{", b"[]", b"null", b"7", b'{"info": []}', b'{"info": {"features": {"label": {"names": 3}}}}', b"[" * 100_000,
     b'{"info": {"features": {"label": {"names": [null, {}]}}}}', b"\xff\xfe"],
)  # fmt: skip
def test_damaged_hugging_face_metadata_costs_the_class_names_alone(
    tmp_path: Path, metadata: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_hf(tmp_path / "a.parquet", ["a.png", "b.png"], [1, 0])
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": metadata}), path)
    assert open_pool(path).labels == ["1", "0"]
    assert "Hugging Face metadata is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"bytes": 7, "path": "a"}]),
        pa.array([{"bytes": ["x"], "path": "a"}]),
        pa.array([[{"bytes": b"x", "path": "a"}]]),
        pa.array(["text"]),
        pa.array([1.5]),
        pa.array([None]),
    ],
)
def test_image_columns_of_odd_types_are_a_sentence(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"image": column}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="neither a Hugging Face image column"):
        open_pool(tmp_path / "a.parquet")


@pytest.mark.parametrize("kind", [pa.int64(), pa.list_(pa.string()), pa.binary(), pa.float64()])
def test_image_paths_of_odd_types_give_row_numbers(tmp_path: Path, kind: pa.DataType) -> None:
    cells = pa.StructArray.from_arrays([pa.array([png(0)]), pa.nulls(1, kind)], ["bytes", "path"])
    pq.write_table(pa.table({"image": cells}), tmp_path / "a.parquet")
    pool = open_pool(tmp_path / "a.parquet")
    assert (pool.ids, shade_of(pool.read(0))) == (["00000000"], 0)


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


def test_backslashes_between_a_zip_s_folders_are_folders(tmp_path: Path) -> None:
    pool = open_pool(write_zip(tmp_path / "a.zip", ["data\\cat\\1.png", "data\\dog\\2.png"]))
    assert (pool.ids, pool.labels) == (["data/cat/1.png", "data/dog/2.png"], ["cat", "dog"])
    assert shade_of(pool.read(1)) == 1


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "caf\u00e9/1.png"), ("latin-1", "caf\u0398/1.png")])
def test_names_that_are_not_marked_as_utf8_are_read(tmp_path: Path, encoding: str, shown: str) -> None:
    raw = "caf\u00e9/1.png".encode(encoding)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x" * len(raw), png(0))
        archive.writestr("dog/2.png", png(1))
    path.write_bytes(path.read_bytes().replace(b"x" * len(raw), raw))
    pool = open_pool(path)
    assert pool.ids == sorted([shown, "dog/2.png"])
    assert shade_of(pool.read(pool.position[shown])) == 0


@pytest.mark.parametrize("name", ["../1.png", "a/../../1.png", "/1.png", "C:\\1.png", "..\\1.png"])
def test_names_that_lead_out_of_a_zip_do_not_count(tmp_path: Path, name: str) -> None:
    pool = open_pool(write_zip(tmp_path / "a.zip", ["0.png", name]))
    assert (pool.ids, pool.left_out) == (["0.png"], {"names that lead out of the archive": 1})


def test_a_dot_in_front_of_a_zip_s_names_is_taken_off(tmp_path: Path) -> None:
    assert open_pool(write_zip(tmp_path / "a.zip", ["./cat/1.png", "./dog//2.png"])).ids == ["cat/1.png", "dog/2.png"]


def test_links_in_a_zip_do_not_count(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ["1.png"])
    link = zipfile.ZipInfo("2.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert open_pool(path).ids == ["1.png"]


def test_a_zip_s_images_without_a_suffix_count_by_their_first_bytes(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ["cat/0123abcd"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("LICENSE", "free")
    assert open_pool(path).ids == ["cat/0123abcd"]


def test_of_a_name_that_a_zip_has_twice_the_last_counts(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ["1.png"])
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("1.png", png(9))
    pool = open_pool(path)
    assert (pool.ids, shade_of(pool.read(0))) == (["1.png"], 9)


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
def test_a_zip_packed_in_any_way_is_read(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("1.png", png(7))
    assert shade_of(open_pool(tmp_path / "a.zip").read(0)) == 7


def write_bomb(path: Path, method: int, size: int, declared: int) -> Path:
    """A zip whose member unpacks to ``size`` zeros, and declares another size."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("1.png", bytes(size))
    content = path.read_bytes()
    path.write_bytes(content.replace(size.to_bytes(4, "little"), declared.to_bytes(4, "little")))
    return path


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_member_that_unpacks_to_more_than_it_declares_is_cut_off(tmp_path: Path, method: int) -> None:
    pool = open_pool(write_bomb(tmp_path / "a.zip", method, 2**27 + 12345, 1000))
    tracemalloc.start()
    try:
        with pytest.raises(RejectedImage, match="unreadable in the zip"):
            pool.read(0)
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()


def test_a_member_that_declares_too_much_is_not_unpacked(tmp_path: Path) -> None:
    pool = open_pool(write_bomb(tmp_path / "a.zip", zipfile.ZIP_DEFLATED, 12345, 2**31))
    with pytest.raises(RejectedImage, match="oversized: 2,147,483,648 bytes"):
        pool.read(0)


def test_an_encrypted_member_is_rejected_when_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ["1.png"])
    content = bytearray(path.read_bytes())
    for start, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(start) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(RejectedImage, match=r"unreadable in the zip: .*password"):
        open_pool(path).read(0)


@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5))
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("kind", ["zip", "parquet"])
def test_damaged_files_are_a_sentence_or_rejected_rows(
    tmp_path: Path, kind: str, changes: list[tuple[float, int]]
) -> None:
    made = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for shade, name in enumerate(["cat/1.png", "caf\u00e9/2.png", "3"]):
                archive.writestr(name, png(shade))
    else:
        cells = [{"bytes": png(shade), "path": f"{shade}.png"} for shade in range(3)]
        pq.write_table(pa.table({"image": cells, "label": ["a", "b", None]}), made, row_group_size=2)
    content = bytearray(made.getvalue())
    for place, value in changes:
        content[int(place * len(content))] = value
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    try:
        pool = open_pool(path, quiet=True)
        pool = replace(pool, patience=Patience(waits=()))
        for row in range(len(pool)):
            with contextlib.suppress(RejectedImage, ReadingFault):
                pool.read(row)
    except UsageError as error:
        assert "\n" not in str(error)


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


@pytest.mark.parametrize("name", ["image.png", "data.rar", "table.json", "nothing"])
def test_another_file_names_what_is_expected(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match=r"expected a folder .*\.csv, .*\.jsonl, .*\.mp4, .*\.parquet, .*\.zip"):
        open_pool(tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "file", "told"),
    [
        ("selection", "labels.csv", "train on its picks: activetune finetune '.*my photos' --labels .*made/labels.csv"),
        ("embeddings", "features.npy", "select from it: activetune select .*made --budget 100 --out SEL"),
        ("model", "model.safetensors", "let it answer: activetune predict .*made '.*my photos' --out ANSWERS.jsonl"),
        ("simulation", "results.csv", "look at it: activetune report .*made"),
        (
            "comparison",
            "table.csv",
            "made is no pool but a result \\(comparison\\) that activetune made; give the pool",
        ),
    ],
)
def test_what_was_made_from_a_pool_and_given_in_its_place_says_so(
    kind: str, file: str, told: str, tmp_path: Path
) -> None:
    made, photos = tmp_path / "made", tmp_path / "my photos"
    made.mkdir()
    photos.mkdir()
    (made / file).write_text("id,label\n")
    (made / "manifest.json").write_text(json.dumps({"kind": kind, "activetune": "0.1.0", "pool": str(photos)}))
    with pytest.raises(UsageError, match=told):
        open_pool(made)
    with pytest.raises(UsageError, match=f"{file} is no pool but a file of .*made, "):
        open_pool(made / file)


def test_another_programs_manifest_and_pictures_that_were_made_are_no_such_thing(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"kind": "selection"}')
    with pytest.raises(UsageError, match="holds no image"):
        open_pool(tmp_path)
    (tmp_path / "manifest.json").write_text('{"kind": "images", "activetune": "0.1.0"}')
    with pytest.raises(UsageError, match="holds no image"):
        open_pool(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    assert open_pool(tmp_path, quiet=True).ids == ["1.png"]


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
