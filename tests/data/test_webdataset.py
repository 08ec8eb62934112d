"""Pools in WebDataset's form: what the members beside an image tell, and tars that are damaged or hostile."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

import activetune
from activetune import UsageError, open_pool
from activetune.data.images import decode_image
from activetune.data.kinds import Sentences
from tests.contract.test_pool_sources import png, write_tar


def two(**sidecars: bytes) -> dict[str, bytes]:
    """Two images, and members of the first."""
    return {"a/1.png": png(1), **{f"a/1.{kind}": body for kind, body in sidecars.items()}, "a/2.png": png(2)}


def test_classes_come_from_json_where_there_is_no_cls(tmp_path: Path) -> None:
    pool = open_pool(write_tar(tmp_path / "p.tar", two(json=b'{"label": "cat", "site": 7}')))
    assert pool.labels == ["cat", None]
    assert pool.further is not None and pool.further.names() == ["label", "site"]
    assert pool.further.values("site") == [7, None]


def test_a_class_beside_the_image_counts_before_its_json(tmp_path: Path) -> None:
    pool = open_pool(write_tar(tmp_path / "p.tar", two(cls=b"3\n", json=b'{"label": "cat"}')))
    assert pool.labels == ["3", None]


def test_texts_are_captions(tmp_path: Path) -> None:
    members = {"1.png": png(1), "1.txt": "ein Käfer".encode(), "2.png": png(2), "2.txt": b"a leaf"}
    pool = open_pool(write_tar(tmp_path / "p.tar", members))
    assert pool.further is not None and pool.further.values("caption") == ["ein Käfer", "a leaf"]


@pytest.mark.parametrize("body", [b"[1, 2]", b"{", b"[" * 200_000, b"\xff\xfe"])
def test_damaged_json_is_no_object(body: bytes, tmp_path: Path) -> None:
    pool = open_pool(write_tar(tmp_path / "p.tar", two(json=body)))
    assert pool.labels is None
    assert pool.further is not None and pool.further.names() == []


def test_several_images_of_one_key_are_items_with_its_class(tmp_path: Path) -> None:
    members = {"1.left.png": png(1), "1.right.png": png(2), "1.cls": b"beetle"}
    pool = open_pool(write_tar(tmp_path / "p.tar", members))
    assert list(zip(pool.ids, pool.labels or (), strict=True)) == [("1.left.png", "beetle"), ("1.right.png", "beetle")]


def test_shards_whose_paths_come_again_are_told_apart(tmp_path: Path) -> None:
    for shard in ("x-0", "x-1"):
        write_tar(tmp_path / f"{shard}.tar", {"1.png": png(len(shard)), "1.cls": shard.encode()})
    pool = open_pool(tmp_path / "x-*.tar")
    assert list(pool.ids) == ["x-0/1.png", "x-1/1.png"]
    assert pool.labels == ["x-0", "x-1"]


def test_of_members_of_one_path_the_last_counts(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "p.tar", two())
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("a/1.png")
        info.size = len(png(9))
        archive.addfile(info, io.BytesIO(png(9)))
    pool = open_pool(path)
    assert list(pool.ids) == ["a/1.png", "a/2.png"]
    assert pool.read(0) == png(9)


def test_links_and_devices_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.tar"
    (tmp_path / "secret.png").write_bytes(png(7))
    with tarfile.open(path, "w") as archive:
        for name, kind, target in (("l.png", tarfile.SYMTYPE, "/etc/passwd"), ("h.png", tarfile.LNKTYPE, "secret.png"),
                                   ("d.png", tarfile.CHRTYPE, "")):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        info = tarfile.TarInfo("1.png")
        info.size = len(png(1))
        archive.addfile(info, io.BytesIO(png(1)))
    assert list(open_pool(path).ids) == ["1.png"]
    told = capsys.readouterr().err
    assert "2 links inside the archive" in told and "1 pipe, socket or device" in told


def test_a_compressed_tar_is_a_sentence(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "p.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("1.png"), io.BytesIO())
    with pytest.raises(UsageError, match="a compressed one has to be unpacked first"):
        open_pool(tmp_path / "p.tar")


def test_a_tar_that_was_cut_off_gives_the_images_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tar(tmp_path / "p.tar", {f"{number}.png": png(number) for number in range(8)})
    path.write_bytes(path.read_bytes()[: 5 * 1024 + 520])  # the header of the sixth image, and 8 bytes of it
    pool = open_pool(path)
    assert list(pool.ids) == [f"{number}.png" for number in range(5)]
    assert "1 file that is cut off" in capsys.readouterr().err


def test_a_pool_of_shards_is_embedded_as_the_folder_is(tmp_path: Path) -> None:
    digits = load_digits()
    members: dict[str, bytes] = {}
    for number in range(20):
        image = io.BytesIO()
        Image.fromarray((digits.images[number] * 15).astype("uint8")).save(image, "PNG")
        members |= {f"{number:04}.png": image.getvalue(), f"{number:04}.cls": str(digits.target[number]).encode()}
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / f"{number:04}.png").write_bytes(image.getvalue())
    write_tar(tmp_path / "p.tar", members)
    found = activetune.embed(tmp_path / "p.tar", backbone="bundled", workers=0)
    same = activetune.embed(tmp_path / "folder", backbone="bundled", workers=0)
    assert (found.features_ND == same.features_ND).all()
    assert found.labels == [str(target) for target in digits.target[:20]]


def test_captions_of_shards_are_answers(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for number in range(4):
        members |= {f"{number}.png": png(number), f"{number}.json": json.dumps({"caption": f"shade {number}"}).encode()}
    pool = open_pool(write_tar(tmp_path / "p.tar", members))
    assert decode_image(pool.read(3)).size == (4, 4)
    found = activetune.pool_annotations(pool, task="captioning")
    assert list(found.answers) == [Sentences((f"shade {number}",)) for number in range(4)]


def test_class_names_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.tar"
    with tarfile.open(path, "w") as archive:
        Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
        for number, name in enumerate(("caf\xe9", "caf\xe8")):
            archive.add(tmp_path / "a.png", f"{number}.png")
            (tmp_path / "name").write_bytes(name.encode("latin-1"))
            archive.add(tmp_path / "name", f"{number}.cls")
    with pytest.raises(UsageError, match=r"not UTF-8.*write it as UTF-8"):
        _ = open_pool(path, quiet=True).labels
