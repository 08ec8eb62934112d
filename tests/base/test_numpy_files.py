"""Features made elsewhere: what is read, and the sentence for what can't be."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activetune import Embeddings, UsageError, load_embeddings

FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(text: str) -> bytes:
    """A ``.npy`` file of any header, without values."""
    encoded = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(encoded).to_bytes(2, "little") + encoded


HOSTILE = {
    "nested": "(" * 20_000,
    "deep": "{'descr': " + "[" * 5_000 + "]" * 5_000 + "}",
    "code": "__import__('os').system('touch /tmp/pwned')",
    "huge": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000)}",
    "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 3)}",
    "two negatives": "{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -3)}",
    "bool": "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 3)}",
    "text shape": "{'descr': '<f4', 'fortran_order': False, 'shape': '43'}",
    "no shape": "{'descr': '<f4', 'fortran_order': False}",
    "object": "{'descr': '|O', 'fortran_order': False, 'shape': (4, 3)}",
    "void": "{'descr': '|V100000000000', 'fortran_order': False, 'shape': (4, 3)}",
    "unknown": "{'descr': 'quark', 'fortran_order': False, 'shape': (4, 3)}",
    "list": "[1, 2]",
    "empty": "",
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
@pytest.mark.parametrize("packed", [False, True])
def test_hostile_headers_are_a_sentence(tmp_path: Path, name: str, packed: bool) -> None:
    content = header(HOSTILE[name]) + bytes(48)
    path = tmp_path / ("a.npz" if packed else "a.npy")
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("features.npy", content)
    else:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"a\.np[yz]") as caught:
        load_embeddings(path)
    assert "\n" not in str(caught.value)
    assert not Path("/tmp/pwned").exists()


@pytest.mark.parametrize(
    "array",
    [
        np.array([["a", "b"]]),
        np.array([[1j, 2]]),
        np.array([["2020-01-01"]], dtype="datetime64[D]"),
        np.zeros((4, 3), dtype=[("x", "f4")]),
        np.array([[b"x"]]),
        np.float32(3),
        np.zeros((2, 2, 2, 2)),
        np.zeros((0, 3)),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_that_are_no_features_are_a_sentence(tmp_path: Path, array: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    np.save(path, array) if suffix == ".npy" else np.savez(path, features=array)
    with pytest.raises(UsageError):
        load_embeddings(path)


def test_lists_of_different_lengths_are_a_sentence() -> None:
    with pytest.raises(UsageError, match="N x D, of one length each"):
        Embeddings.from_numpy([[1.0], [1.0, 2.0]])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_archives_keep_their_arrays(tmp_path: Path, save: object, order: str) -> None:
    save(tmp_path / "a.npz", features=np.asarray(FEATURES, order=order), ids=list("abcd"), labels=[1, 2, 1, 2])  # type: ignore[operator]
    found = load_embeddings(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.features_ND, FEATURES)
    assert (list(found.ids), list(found.labels or ())) == (list("abcd"), ["1", "2", "1", "2"])


def test_an_archive_that_unpacks_beyond_the_memory_is_refused_before_it_does(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", features=np.zeros((2**20, 64), dtype=np.float32))
    with mock.patch("psutil.virtual_memory", return_value=mock.Mock(available=2**20)):
        tracemalloc.start()
        try:
            with pytest.raises(UsageError, match=r"unpacks to 0\.3 GB, and 0\.0 GB of memory are free; .* as \.npy"):
                load_embeddings(tmp_path / "a.npz")
            assert tracemalloc.get_traced_memory()[1] < 2**24
        finally:
            tracemalloc.stop()


def test_an_archive_packed_by_another_program_in_its_own_way_is_a_sentence(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("features.npy", npy(FEATURES))
    with pytest.raises(UsageError, match="packed in a way that NumPy does not write"):
        load_embeddings(tmp_path / "a.npz")


def test_an_archive_without_features_says_what_it_holds(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=FEATURES, y=FEATURES)
    with pytest.raises(UsageError, match="no array 'features'; it holds 'x', 'y'"):
        load_embeddings(tmp_path / "a.npz")


@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_damaged_files_are_read_or_a_sentence(tmp_path: Path, suffix: str, changes: list[tuple[float, int]]) -> None:
    path = tmp_path / f"a{suffix}"
    np.save(path, FEATURES) if suffix == ".npy" else np.savez(path, features=FEATURES, ids=list("abcd"))
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content)
    try:
        load_embeddings(path)
    except UsageError as error:
        assert "\n" not in str(error)
