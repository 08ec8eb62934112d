"""Video files as pools: frames by number and rate, in any order, from sound and damaged files."""

from __future__ import annotations

import pickle
import random
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from activetune import embed, load_selection, open_pool, select
from activetune.base.errors import MissingExtra, ReadingFault, RejectedImage, UsageError
from activetune.cli import run
from activetune.data.frame_rate import FrameRate, split_rate
from activetune.data.identity import Contents
from activetune.data.images import decode_image
from activetune.data.pool import Patience, Pool
from activetune.data.sources import _frame_memory
from activetune.data.sources._frames import FrameTable, list_frames
from tests.data.videos import LOSSLESS, SIDE, av, number_in, plain, write_video

KINDS = [
    *[("a.mp4", "mpeg4"), ("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.avi", "libx264")],
    *[("a.webm", "libvpx-vp9"), ("a.mpg", "mpeg2video"), ("a.mts", "libx264"), ("a.mov", "png"), ("a.mkv", "ffv1")],
]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", plain(30))


def shown(pool: Pool, index: int) -> int:
    return number_in(decode_image(pool.read(index)))


def number_of(item: str) -> int:
    return int(item.rpartition("#")[2])


# Which frames ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec"), KINDS)
def test_every_frame_is_the_one_of_its_number_whatever_the_order_of_reading(
    name: str, codec: str, tmp_path: Path
) -> None:
    frames = plain(23)
    pool = open_pool(f"{write_video(tmp_path / name, frames, codec=codec, rate=25, group=6)}@all")
    assert list(pool.ids) == [f"{name}#{number:06d}" for number in range(23)]
    once = [pool.read(row) for row in range(23)]
    assert [number_in(decode_image(body)) for body in once] == list(range(23))
    order = [*range(22, -1, -1), *random.Random(0).sample(range(23), 23), 5, 5]
    assert all(pool.read(row) == once[row] for row in order)
    if codec in LOSSLESS:
        assert [decode_image(body).tobytes() for body in once] == [frame.tobytes() for frame in frames]


@pytest.mark.parametrize(
    ("rate", "numbers"),
    [("", [0, 10, 20]), ("@1fps", [0, 10, 20]), ("@0.5fps", [0, 20]), ("@3fps", [0, 3, 6, 10, 13, 16, 20, 23, 26])],
)
def test_the_rate_behind_the_name_says_which_frames(clip: Path, rate: str, numbers: list[int]) -> None:
    pool = open_pool(f"{clip}{rate}", quiet=True)
    assert [number_of(item) for item in pool.ids] == numbers
    assert [shown(pool, row) for row in range(len(pool))] == numbers
    assert pool.name == f"{clip}{rate}"


def test_a_rate_above_the_videos_own_takes_each_frame_once(clip: Path) -> None:
    assert open_pool(f"{clip}@50fps").ids == open_pool(clip, frame_rate="all").ids
    assert len(open_pool(clip, frame_rate=50.0)) == 30


def test_frames_of_a_changing_rate_are_those_on_the_screen(tmp_path: Path) -> None:
    times = [0, 0.1, 0.2, 1.9, 2.0, 4.5, 4.6]
    pool = open_pool(f"{write_video(tmp_path / 'a.mkv', plain(7), times=times)}@1fps")
    assert [number_of(item) for item in pool.ids] == [
        0,
        2,
        4,
    ]
    pool = open_pool(f"{tmp_path / 'a.mkv'}@2fps")
    assert [number_of(item) for item in pool.ids] == [0, 2, 4, 5]
    assert [shown(pool, row) for row in range(len(pool))] == [0, 2, 4, 5]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=60),
    st.sampled_from(["0.3", "1", "2.5", "7", "29.97", "1000"]),
    st.sampled_from([Fraction(1, 1000), Fraction(1, 90_000), Fraction(1001, 30_000)]),
)
def test_the_frames_at_a_rate_are_those_of_a_plain_search(steps: list[int], rate: str, tick: Fraction) -> None:
    ticks_F = np.cumsum(steps) + 77
    table = FrameTable(ticks_F, np.zeros(1, dtype=np.int64), tick, False)
    seconds = [(int(moment) - int(ticks_F[0])) * tick for moment in ticks_F]
    assume(seconds[-1] * Fraction(rate) < 20_000)  # moments that are searched one by one
    expected, moment = [], Fraction(0)
    while moment <= seconds[-1]:
        expected.append(max(number for number, second in enumerate(seconds) if second <= moment))
        moment += 1 / Fraction(rate)
    assert table.at(FrameRate.of(rate)).tolist() == sorted(set(expected))


@pytest.mark.parametrize("given_", ["0fps", "0.0001fps", "5000fps", 0, -1, "fast", "nan", "1/0"])
def test_rates_that_are_not_possible_are_sentences(clip: Path, given_: float | str) -> None:
    with pytest.raises(UsageError, match="frame rate"):
        open_pool(clip, frame_rate=given_)


@pytest.mark.parametrize(
    ("written", "told"),
    [("2", "2fps"), (".5fps", "0.5fps"), ("0.333333fps", "0.333333fps"), ("100.0625", "100.0625fps")],
)
def test_a_rate_that_is_understood_is_taken_and_told_as_it_is(written: str, told: str, clip: Path) -> None:
    path, rate = split_rate(f"{clip}@{written}")
    assert path == clip and rate is not None and str(rate) == told
    assert split_rate(f"{clip}@{told}") == (path, rate)


def test_a_name_that_ends_like_a_rate_is_a_name(clip: Path) -> None:
    odd = clip.rename(clip.with_name("clip@2fps"))
    assert split_rate(odd) == (odd, None)
    assert split_rate("photos@home") == (Path("photos@home"), None)
    for rate in ("-1fps", "abcfps", "2 frames"):  # behind what is there
        with pytest.raises(UsageError, match=f"the frame rate '{rate}' is not .*"):
            split_rate(f"{odd}@{rate}")


# Folders --------------------------------------------------------------------------------------------------------------


def test_a_folder_of_videos_has_their_frames_and_its_folders_as_labels(tmp_path: Path) -> None:
    write_video(tmp_path / "pool/run/b.mp4", plain(10))
    write_video(tmp_path / "pool/run/deep/a.mkv", plain(10))
    write_video(tmp_path / "pool/walk/c.MP4", plain(20))
    (tmp_path / "pool/notes.txt").write_text("x")
    pool = open_pool(tmp_path / "pool", quiet=True)
    assert list(pool.ids) == ["run/b.mp4#000000", "run/deep/a.mkv#000000", "walk/c.MP4#000000", "walk/c.MP4#000010"]
    assert list(pool.labels or ()) == ["run", "deep", "walk", "walk"]
    assert pool.left_out == {"files that are no images": 1}


def test_a_folder_that_has_images_is_one_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "clip.mp4", plain(10))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert list(open_pool(tmp_path).ids) == ["a.png"]
    assert ".mp4 1" in capsys.readouterr().err
    with pytest.raises(UsageError, match="only videos have a frame rate; leave out @2fps"):
        open_pool(f"{tmp_path}@2fps", quiet=True)


def test_one_sentence_tells_how_many_frames_are_taken(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_pool(clip)
    told = capsys.readouterr().err
    assert "3 of 30 frames are taken, one per second" in told
    assert f"{clip}@2fps takes two" in told


# Pixels ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_frames_are_upright(turned: int, tmp_path: Path) -> None:
    image = Image.new("RGB", (48, 32), "black")
    image.paste("white", (0, 0, 24, 16))  # the upper left quarter
    path = write_video(tmp_path / "a.mp4", [image] * 2, turned=turned)
    pool = open_pool(f"{path}@all")
    seen = decode_image(pool.read(1))
    expected = image.rotate(turned, expand=True)  # counter-clockwise, as the file says
    assert seen.size == expected.size
    assert np.abs(np.asarray(seen, dtype=int) - np.asarray(expected, dtype=int)).mean() < 12


def test_colours_of_high_definition_are_those_that_players_show(tmp_path: Path) -> None:
    pyav = av()
    red = Image.new("RGB", (1280, 720), (200, 30, 30))
    path = tmp_path / "a.mp4"
    with pyav.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        frame = pyav.VideoFrame.from_image(red).reformat(format="yuv420p", dst_colorspace="itu709")
        frame.pts, frame.time_base = 0, Fraction(1, 1)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    seen = np.asarray(decode_image(open_pool(f"{path}@all").read(0)), dtype=int)
    assert np.abs(seen - (200, 30, 30)).max() <= 8


# Damage ---------------------------------------------------------------------------------------------------------------


def test_a_frame_that_is_damaged_is_rejected_and_the_others_are_not(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", plain(9), codec="png")
    body = path.read_bytes()
    starts = [place for place in range(len(body)) if body.startswith(b"\x89PNG", place)]
    assert len(starts) == 9
    path.write_bytes(body[: starts[4]] + b"\0" * 30 + body[starts[4] + 30 :])
    pool = open_pool(f"{path}@all")
    assert len(pool) == 9
    for row in (*range(9), 3, 8, 0):
        if row == 4:
            with pytest.raises(RejectedImage, match=r"^corrupt: frame 4 can't be decoded"):
                pool.read(row)
        else:
            assert shown(pool, row) == row


def test_listing_decodes_nothing(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", plain(9), codec="png")
    path.write_bytes(path.read_bytes().replace(b"IDAT", b"XXXX").replace(b"IHDR", b"YYYY"))
    pool = open_pool(f"{path}@all")
    assert len(pool) == 9
    with pytest.raises(RejectedImage):
        pool.read(0)


@pytest.mark.parametrize("name", ["a.mkv", "a.mts", "a.mp4"])
def test_half_of_a_video_is_fewer_frames_or_a_sentence(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)) for _ in range(20)]
    path = write_video(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        pool = open_pool(f"{path}@all")
    except UsageError as error:
        assert str(error).startswith(f"the video {path} can't be read: ")
    else:
        assert 0 < len(pool) < 20
        assert decode_image(pool.read(0)).size == (SIDE, SIDE)


def test_a_file_that_is_no_video_is_a_sentence(tmp_path: Path) -> None:
    av()
    for name, body in (("empty.mp4", b""), ("text.mp4", b"no video" * 50), ("zeros.mkv", bytes(5000))):
        (tmp_path / name).write_bytes(body)
        with pytest.raises(UsageError, match=rf"the video .*{name} can't be read: \w"):
            open_pool(tmp_path / name)


def test_sound_alone_is_a_sentence(tmp_path: Path) -> None:
    pyav = av()
    path = tmp_path / "sound.mkv"
    with pyav.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = pyav.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UsageError, match="no video in it, but audio"):
        open_pool(path)


def test_a_video_without_a_frame_is_a_sentence(tmp_path: Path) -> None:
    pyav = av()
    path = tmp_path / "nothing.mkv"
    with pyav.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        container.start_encoding()
    with pytest.raises(UsageError, match="it ends before its first frame"):
        open_pool(path)


def test_a_play_list_opens_no_other_file(clip: Path) -> None:
    lists = {
        "list.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{clip.name}\n#EXT-X-ENDLIST\n",
        "list.mkv": f"ffconcat version 1.0\nfile {clip.name}\n",
    }
    for name, text in lists.items():
        (clip.parent / name).write_text(text)
        with pytest.raises(UsageError, match="can't be read"):
            open_pool(clip.parent / name)


def test_damaged_videos_of_a_folder_are_named_and_the_others_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "good.mp4", plain(10))
    for number in range(5):
        (tmp_path / f"bad{number}.mp4").write_bytes(b"x")
    pool = open_pool(f"{tmp_path}@all")
    told = capsys.readouterr().err
    assert len(pool) == 10
    assert "bad0.mp4 is left out: " in told and "2 more videos can't be read" in told
    assert pool.left_out == {"videos that can't be read": 5}
    (tmp_path / "good.mp4").unlink()
    with pytest.raises(UsageError, match="holds no image"):
        open_pool(tmp_path, quiet=True)


def test_a_file_that_grows_is_a_fault_and_no_rejected_image(clip: Path) -> None:
    pool = open_pool(f"{clip}@all")
    pool.read(0)
    with clip.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ReadingFault, match="has changed since the pool was opened"):
        pool.read(1)


def test_a_file_that_goes_missing_while_it_is_open_is_a_fault(clip: Path) -> None:
    pool = replace(open_pool(f"{clip}@all"), patience=Patience(waits=()))
    pool.read(0)
    clip.unlink()
    with pytest.raises(ReadingFault, match="can't be read"):
        pool.read(1)


def test_without_the_package_the_line_to_install_it_is_told(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for path in (clip, clip.parent):
        with pytest.raises(MissingExtra, match=r"pip install 'activetune\[video\]'"):
            open_pool(path)


# The memory of lists of frames ----------------------------------------------------------------------------------------


@pytest.fixture
def settled(clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A clip that was written a while ago, and a cache of its own."""
    monkeypatch.setattr(_frame_memory, "SETTLED_NS", -(10**12))
    monkeypatch.setenv("ACTIVETUNE_CACHE", str(tmp_path / "cache"))
    return clip


def test_a_video_is_read_through_once_and_again_when_it_has_changed(
    settled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Path] = []

    def counted(path: Path) -> FrameTable:
        listed.append(path)
        return list_frames(path)

    monkeypatch.setattr(_frame_memory, "list_frames", counted)
    pools = [open_pool(f"{settled}@{rate}") for rate in ("all", "all", "2fps")]
    assert len(listed) == 1
    assert pools[0].ids == pools[1].ids
    assert [shown(pools[1], row) for row in (7, 3)] == [7, 3]
    write_video(settled, plain(12))
    assert len(open_pool(f"{settled}@all")) == 12
    assert len(listed) == 2


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_memory_costs_time_alone(settled: Path, tmp_path: Path, damage: bytes | None) -> None:
    before = open_pool(f"{settled}@all").ids
    (file,) = (tmp_path / "cache" / "frames").iterdir()
    if damage is None:
        np.save(file, np.array([1, 1, 10, 0, 99, 0, 5]))
    else:
        file.write_bytes(damage)
    assert open_pool(f"{settled}@all").ids == before


def test_a_video_that_was_just_written_is_not_remembered(
    clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACTIVETUNE_CACHE", str(tmp_path / "cache"))
    open_pool(clip, quiet=True)
    assert not (tmp_path / "cache" / "frames").exists()


# Identity and the way through the house -------------------------------------------------------------------------------


def test_a_pool_is_told_by_its_files_and_numbers_and_nothing_is_decoded_for_it(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = open_pool(f"{clip}@all")
    again = pickle.loads(pickle.dumps(pool))
    fingerprints = {open_pool(f"{clip}@{rate}").fingerprint for rate in ("1fps", "2fps", "all")}
    assert len(fingerprints) == 3
    monkeypatch.setattr(type(pool.source), "read", None)
    assert Contents(pool, remember=False).fingerprint == pool.fingerprint == again.fingerprint
    copy = clip.parent / "other" / clip.name
    copy.parent.mkdir()
    copy.write_bytes(clip.read_bytes())
    assert open_pool(f"{copy}@all").fingerprint == pool.fingerprint


def test_open_readers_stay_in_their_process(clip: Path) -> None:
    pool = open_pool(f"{clip}@all")
    first = pool.read(12)
    copy = pickle.loads(pickle.dumps(pool))
    assert copy.read(12) == first
    assert copy.read(11) == pool.read(11)


@pytest.mark.slow
def test_features_do_not_depend_on_who_decodes(clip: Path, tmp_path: Path) -> None:
    whole = embed(f"{clip}@all", out=tmp_path / "one", workers=0, use_cache=False, quiet=True)
    shared = embed(f"{clip}@all", out=tmp_path / "two", workers=2, use_cache=False, quiet=True)
    np.testing.assert_array_equal(whole.features_ND, shared.features_ND)
    assert whole.manifest["pool_fingerprint"] == shared.manifest["pool_fingerprint"]
    assert whole.manifest["pool_path"] == f"{clip}@all"
    picks = select(whole, budget=4, method="every_nth")
    assert [number_of(item) for item in picks.ids] == [3, 11, 18, 26]


def test_from_a_video_to_pictures_of_the_picks_on_the_command_line(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    emb, sel = tmp_path / "emb", tmp_path / "sel"
    assert run(["embed", f"{clip}@5fps", "--out", str(emb), "--quiet"]) == 0
    assert run(["select", str(emb), "--budget", "3", "--method", "k_means", "--out", str(sel), "--quiet"]) == 0
    assert all(item.startswith("clip.mp4#0000") for item in load_selection(sel).ids)
    assert (sel / "picks.html").read_text().count("data:image/jpeg") == 3
    again = ["select", str(emb), "--budget", "3", "--method", "k_means", "--out", str(sel), "--resume", "--quiet"]
    assert run([*again, "--images", str(tmp_path / "picked")]) == 0
    pool = open_pool(tmp_path / "picked" / "images.csv")
    assert pool.ids == load_selection(sel).ids
    assert [number_of(item) for item in pool.ids] == [shown(pool, row) for row in range(3)]
    assert run(["embed", str(tmp_path / "none.mp4@2fps"), "--out", str(tmp_path / "x")]) == 2
    assert "does not exist" in capsys.readouterr().err
