"""Artefacts on disk: complete or absent, never mixed up, never unpickled, and what isn't ours left alone."""

from __future__ import annotations

import csv
import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from activetune.base.artefact import prepare_folder, read_manifest, write_manifest
from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.files import BEGUN, prepare_file, read_json, replacing, write_json
from activetune.base.tables import write_csv
from activetune.features.artefact import Embeddings, load_embeddings, save_embeddings
from activetune.selection.artefact import Selection, load_selection, save_selection


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def some_embeddings() -> Embeddings:
    features = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float16)
    return Embeddings.from_numpy(features, ["a/1.png", "a/2.png", "b/é.png", "b/4,5.png"], ["a", "a", "b", None])


# Preparing outputs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [True, False])
def test_a_new_or_empty_folder_is_made_ready(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "deep" / "out"
    if exists:
        folder.mkdir(parents=True)
    assert prepare_folder(folder, "embeddings", ("features.npy",)) == folder
    assert folder.is_dir()


def test_a_folder_that_holds_something_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "thesis.tex").write_text("years of work")
    before = tree(tmp_path)
    with pytest.raises(UsageError, match=r"is not empty .*'thesis\.tex'.*nothing was written: .*--overwrite"):
        prepare_folder(tmp_path, "embeddings", ("manifest.json", "thesis.tex"))
    assert tree(tmp_path) == before


def test_overwrite_removes_the_artefacts_own_files_and_nothing_else(tmp_path: Path) -> None:
    for name in ("manifest.json", "features.npy", "thesis.tex"):
        (tmp_path / name).write_text(name)
    prepare_folder(tmp_path, "embeddings", ("features.npy", "items.parquet"), overwrite=True)
    assert tree(tmp_path) == {"thesis.tex": b"thesis.tex", BEGUN: b""}


def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(UsageError, match="is a file; --out must name a folder"):
        prepare_folder(tmp_path / "out", "embeddings", (), overwrite=True)
    assert (tmp_path / "out").read_text() == "x"


def test_an_output_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("x")
    with pytest.raises(UsageError, match="exists already; nothing was written"):
        prepare_file(tmp_path / "out.csv", own=lambda _: True)
    assert prepare_file(tmp_path / "out.csv", own=lambda _: True, overwrite=True).read_text() == "x"
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is a file that this command did not write"):
            prepare_file(tmp_path / "out.csv", own=lambda _: False, overwrite=overwrite)


def test_an_output_file_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; --out must name a file"):
        prepare_file(tmp_path, own=lambda _: True, overwrite=True)


# Writing in one step ----------------------------------------------------------------------------------------------


def test_replacing_puts_the_new_file_in_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with replacing(tmp_path / "file") as partial:
        partial.write_text("new")
        assert (tmp_path / "file").read_text() == "old"
    assert tree(tmp_path) == {"file": b"new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_replacing_keeps_the_old_file_when_writing_fails(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(error), replacing(tmp_path / "file") as partial:
        partial.write_text("half of the new")
        raise error
    assert tree(tmp_path) == {"file": b"old"}


def test_a_file_that_may_not_grow_is_told_as_the_system_tells_it(tmp_path: Path) -> None:
    """Torch has words of its own: a quota and a limit of size leave the disk itself with room."""
    resource = pytest.importorskip("resource", reason="Windows has no limits of file sizes")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="too large") as refused, replacing(tmp_path / "file") as partial:
            torch.save({"zeros": torch.zeros(10_000)}, partial)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert refused.value.errno == errno.EFBIG and not list(tmp_path.iterdir())


def test_replacing_makes_the_folders_above(tmp_path: Path) -> None:
    with replacing(tmp_path / "a" / "b" / "file") as partial:
        partial.write_text("new")
    assert (tmp_path / "a" / "b" / "file").read_text() == "new"


def test_json_that_can_t_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    circle: dict[str, object] = {}
    circle["self"] = circle
    with pytest.raises(ValueError, match="Circular"):
        write_json(tmp_path / "x.json", circle)
    assert tree(tmp_path).keys() == {"x.json"}
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_json_takes_numpy_values_and_paths(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"f": np.float32(0.5), "i": np.int64(3), "a": np.arange(2), "p": Path("a/b")})
    assert read_json(tmp_path / "x.json") == {"f": 0.5, "i": 3, "a": [0, 1], "p": "a/b"}


def test_csv_quotes_what_needs_quotes(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", ("id", "label"), [("a,b.png", 'the "cat"'), ("é\n.png", "")])
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["id", "label"], ["a,b.png", 'the "cat"'], ["é\n.png", ""]]


# Manifests --------------------------------------------------------------------------------------------------------


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = write_manifest(tmp_path, "selection", {"seed": 3, "name": "é"})
    assert read_manifest(tmp_path, "selection") == written
    assert (written["kind"], written["seed"], written["name"]) == ("selection", 3, "é")


def test_a_folder_that_does_not_exist_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist; give an 'embeddings' folder"):
        read_manifest(tmp_path / "gone", "embeddings")


def test_a_folder_without_manifest_is_unfinished_or_foreign(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"does not exist or is empty; give an 'embeddings' folder"):
        read_manifest(tmp_path, "embeddings")
    (tmp_path / "features.npy").write_bytes(b"")
    with pytest.raises(UsageError, match=r"no manifest\.json \(unfinished"):
        read_manifest(tmp_path, "embeddings")


def test_another_kind_of_artefact_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, "model", {})
    with pytest.raises(UsageError, match="holds 'model', where 'selection' is expected"):
        read_manifest(tmp_path, "selection")


def test_an_artefact_of_a_newer_format_asks_for_an_update(tmp_path: Path) -> None:
    write_manifest(tmp_path, "model", {"format": 99, "activetune": "9.0"})
    with pytest.raises(UsageError, match=r"newer activetune: its format is 9\d*, and this one reads up to \d; update"):
        read_manifest(tmp_path, "model")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]"])
def test_a_damaged_manifest_names_its_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ActivetuneError, match=r"manifest\.json .*make the artefact again"):
        read_manifest(tmp_path, "model")


# Embeddings -------------------------------------------------------------------------------------------------------


def test_embeddings_make_the_round_trip(tmp_path: Path) -> None:
    made = some_embeddings()
    save_embeddings(made, tmp_path / "emb")
    found = load_embeddings(tmp_path / "emb")
    assert (list(found.ids), found.labels) == (list(made.ids), made.labels)
    assert found.features_ND.dtype == np.float16
    np.testing.assert_array_equal(found.features_ND, made.features_ND)
    assert (found.manifest["n"], found.manifest["shape"]) == (4, [4, 3])


def test_loaded_features_can_t_be_changed(tmp_path: Path) -> None:
    found = save_embeddings(some_embeddings(), tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        found.features_ND[0, 0] = 1


def test_embeddings_without_labels_stay_without(tmp_path: Path) -> None:
    save_embeddings(Embeddings.from_numpy(np.ones((2, 2))), tmp_path)
    assert load_embeddings(tmp_path).labels is None


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_embeddings(some_embeddings(), tmp_path / "emb")
    return tmp_path / "emb"


@pytest.mark.parametrize("shape", [(4, 3), (3, 3), (4, 2)])
def test_changed_features_are_refused(saved: Path, shape: tuple[int, int]) -> None:
    np.save(saved / "features.npy", np.ones(shape, dtype=np.float16))
    with pytest.raises(UsageError, match="does not belong to its manifest; embed again"):
        load_embeddings(saved)


def test_one_changed_value_is_noticed(saved: Path) -> None:
    content = bytearray((saved / "features.npy").read_bytes())
    content[-1] ^= 1
    (saved / "features.npy").write_bytes(content)
    with pytest.raises(UsageError, match="does not belong to its manifest"):
        load_embeddings(saved)


def test_changed_items_are_refused(saved: Path) -> None:
    table = pq.read_table(saved / "items.parquet")
    pq.write_table(table.take([1, 0, 2, 3]), saved / "items.parquet")
    with pytest.raises(UsageError, match="does not belong to its manifest"):
        load_embeddings(saved)


@pytest.mark.parametrize("name", ["features.npy", "items.parquet"])
def test_a_missing_file_is_damage(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(UsageError, match=r"is damaged .*embed again"):
        load_embeddings(saved)


@pytest.mark.parametrize("name", ["features.npy", "items.parquet"])
@pytest.mark.parametrize("kept", [30, 140])
def test_a_file_cut_short_is_damage(saved: Path, name: str, kept: int) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[:kept])
    with pytest.raises(UsageError, match=r"is damaged .*embed again"):
        load_embeddings(saved)


def test_an_emptied_features_file_is_damage(saved: Path) -> None:
    (saved / "features.npy").write_bytes(b"")
    with pytest.raises(UsageError, match=r"is damaged .*embed again"):
        load_embeddings(saved)


def test_pickled_objects_in_an_artefact_are_refused(saved: Path) -> None:
    np.save(saved / "features.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match="is damaged"):
        load_embeddings(saved)


def test_an_items_file_without_labels_is_damage(saved: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), saved / "items.parquet")
    with pytest.raises(UsageError, match="is damaged"):
        load_embeddings(saved)


def test_a_moved_artefact_loads_where_it_is(saved: Path, tmp_path: Path) -> None:
    shutil.move(saved, tmp_path / "elsewhere")
    assert len(load_embeddings(tmp_path / "elsewhere")) == 4


# Features made elsewhere ------------------------------------------------------------------------------------------


def test_a_plain_npy_gets_row_numbers_as_ids(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    found = load_embeddings(tmp_path / "x.npy")
    assert (list(found.ids), found.labels) == (["0", "1", "2"], None)
    np.testing.assert_array_equal(found.features_ND, np.arange(6, dtype=np.float32).reshape(3, 2))


def test_an_npz_brings_ids_and_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", features=np.ones((2, 3), np.float16), ids=np.array(["p", "q"]), labels=[5, 6])
    found = load_embeddings(tmp_path / "x.npz")
    assert (list(found.ids), found.labels, found.features_ND.dtype) == (["p", "q"], ["5", "6"], np.float16)


def test_an_npz_without_features_names_what_it_holds(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones((2, 3)))
    with pytest.raises(UsageError, match="no array 'features'; it holds 'x'"):
        load_embeddings(tmp_path / "x.npz")


def test_pickled_features_are_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return (Path.touch, (marker,))

    trap = np.array([[Trap()]], dtype=object)
    np.save(tmp_path / "x.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "x.npz", features=trap)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(UsageError, match="can't be read as features"):
            load_embeddings(tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_foreign_file_that_does_not_exist_is_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_embeddings(tmp_path / name)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_foreign_file_of_garbage_is_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"garbage")
    with pytest.raises(UsageError, match="can't be read as features"):
        load_embeddings(tmp_path / name)


@pytest.mark.parametrize(("name", "content"), [("x.npy", b""), ("x.npz", b"PK\x03\x04 cut short")])
def test_a_foreign_file_cut_short_is_a_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match="can't be read as features"):
        load_embeddings(tmp_path / name)


def test_foreign_text_is_not_features(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([["a", "b"]]))
    with pytest.raises(UsageError, match="can't be read as features"):
        load_embeddings(tmp_path / "x.npy")


def test_a_foreign_vector_is_not_n_x_d(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(5))
    with pytest.raises(UsageError, match=r"N x D .*not \(5,\)"):
        load_embeddings(tmp_path / "x.npy")


# Embeddings.from_numpy --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_the_first_row(bad: float) -> None:
    features = np.zeros((5, 2))
    features[2:4, 1] = bad
    with pytest.raises(UsageError, match="2 of 5 feature rows hold NaN or infinite values, the first at row 2"):
        Embeddings.from_numpy(features)


@pytest.mark.parametrize("shape", [(3,), (0, 4), (4, 0), (2, 2, 2, 2), ()])
def test_shapes_that_are_not_n_x_d_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="features must be N x D"):
        Embeddings.from_numpy(np.ones(shape))


def test_repeated_ids_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="ids must be distinct; repeated: 'a'"):
        Embeddings.from_numpy(np.ones((3, 2)), ["a", "b", "a"])


def test_another_number_of_ids_is_refused() -> None:
    with pytest.raises(UsageError, match="3 feature rows, but 2 ids"):
        Embeddings.from_numpy(np.ones((3, 2)), ["a", "b"])


def test_another_number_of_labels_is_refused() -> None:
    with pytest.raises(UsageError, match="3 feature rows, but 3 ids and 2 labels"):
        Embeddings.from_numpy(np.ones((3, 2)), labels=["a", "b"])


@pytest.mark.parametrize(
    ("given", "kept"), [(np.float16, np.float16), (np.float32, np.float32), (np.float64, np.float32), (int, np.float32)]
)
def test_half_and_single_precision_stay_others_become_single(given: type, kept: type) -> None:
    assert Embeddings.from_numpy(np.ones((2, 2), dtype=given)).features_ND.dtype == kept


def test_the_fingerprint_follows_features_and_ids() -> None:
    features = np.arange(4.0).reshape(2, 2)
    prints = {
        Embeddings.from_numpy(features).fingerprint,
        Embeddings.from_numpy(features + 1).fingerprint,
        Embeddings.from_numpy(features, ["x", "y"]).fingerprint,
    }
    assert len(prints) == 3
    assert Embeddings.from_numpy(features.copy()).fingerprint in prints


def test_the_fingerprint_of_saved_embeddings_follows_the_ids(tmp_path: Path) -> None:
    features = np.arange(4.0).reshape(2, 2)
    one = save_embeddings(Embeddings.from_numpy(features, ["a", "b"]), tmp_path / "one")
    other = save_embeddings(Embeddings.from_numpy(features, ["x", "y"]), tmp_path / "other")
    assert one.fingerprint != other.fingerprint


# Selections -------------------------------------------------------------------------------------------------------


@pytest.fixture
def selected(tmp_path: Path) -> Path:
    folder = tmp_path / "sel"
    selection = Selection(["b/é.png", "a,1.png"], [0.25, 1e-9], ["far, new", "centre"], {"method": "k_center"})
    save_selection(selection, folder)
    return folder


def test_a_selection_makes_the_round_trip(selected: Path) -> None:
    found = load_selection(selected)
    assert list(found.ids) == ["b/é.png", "a,1.png"]
    assert list(found.scores) == [0.25, 1e-9]
    assert list(found.reasons) == ["far, new", "centre"]
    assert found.manifest["method"] == "k_center"


def test_selection_csv_has_its_four_columns_and_ranks_from_one(selected: Path) -> None:
    with (selected / "selection.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "rank", "score", "reason"]
    assert [row[1] for row in rows[1:]] == ["1", "2"]


def test_a_selection_whose_picks_were_changed_is_refused(selected: Path) -> None:
    path = selected / "selection.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("b/é.png", "b/e.png"), encoding="utf-8")
    with pytest.raises(UsageError, match="was changed after it was made"):
        load_selection(selected)


def test_a_selection_in_another_order_is_refused(selected: Path) -> None:
    path = selected / "selection.csv"
    header, first, second = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([header, second, first, ""]), encoding="utf-8")
    with pytest.raises(UsageError, match="was changed after it was made"):
        load_selection(selected)


@pytest.mark.parametrize("content", [b"id,rank\nx,1\n", b"id,rank,score,reason\nx,1,high,y\n", b"\xff\xfe"])
def test_a_selection_that_can_t_be_read_is_a_sentence(selected: Path, content: bytes) -> None:
    (selected / "selection.csv").write_bytes(content)
    with pytest.raises(UsageError, match=r"selection\.csv can't be read .*select again"):
        load_selection(selected)


def test_a_missing_selection_csv_is_a_sentence(selected: Path) -> None:
    (selected / "selection.csv").unlink()
    with pytest.raises(UsageError, match=r"selection\.csv can't be read"):
        load_selection(selected)


def test_manifests_are_plain_json_for_other_tools(selected: Path) -> None:
    content = json.loads((selected / "manifest.json").read_text(encoding="utf-8"))
    assert content["kind"] == "selection"
    assert content["format"] == 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_artefact_of_another_kind_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    write_manifest(tmp_path, "model", {})
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(UsageError, match="an artefact of another kind is never replaced: choose another --out"):
        prepare_folder(tmp_path, "selection", ("selection.csv",), overwrite=overwrite)
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["manifest.json"]
