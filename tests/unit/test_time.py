"""Time needs evidence: edit lists, leaps of the clock, holes, stills, claims of small files."""

import itertools
import os
import struct
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.errors import VideoError
from pipeline.records import Preprocess
from pipeline.video import VideoDecoder
from pipeline.video.allowance import Allowance
from pipeline.video.demuxer import PacketReader
from pipeline.video.evidence import Evidence, Gap
from pipeline.video.limits import DEFAULT_LIMITS, DecodeLimits
from pipeline.video.sampling import Clock, FrameSampler
from pipeline.video.tail import content_end
from tests import clips

pytestmark = pytest.mark.slow  # `make test-fast` leaves these out

PREPROCESS = Preprocess(resize=64, crop=64)
X264 = {"g": "20", "bf": "2", "preset": "ultrafast", "threads": "1"}
REALTIME = {"deadline": "realtime", "cpu-used": "8", "g": "20", "threads": "1"}
KINDS = {
    "ts": {"options": X264},
    "flv": {"options": X264 | {"bf": "0"}},
    "mpg": {"codec": "mpeg2video", "options": {"g": "20"}},
    "mkv": {"options": X264},
    "avi": {"codec": "mpeg4", "options": {"g": "20"}},
    "mp4": {"options": X264},
    "wmv": {"codec": "wmv2", "options": {"g": "20"}},
    "webm": {
        "codec": "libvpx",
        "options": {"deadline": "realtime", "cpu-used": "8", "g": "20", "threads": "1"},
    },
}


def decode(
    path: Path,
    full: bool = False,
    limits: DecodeLimits = DEFAULT_LIMITS,
    sampling: str = "frames",
) -> tuple[list, list, str]:
    """Seconds, numbers and note."""
    decoder = VideoDecoder(str(path), PREPROCESS, full=full, sampling=sampling, limits=limits)
    seconds, numbers, last, number = [], [], None, 0
    for time, image in decoder:
        if image is not last:  # held pictures come again as they are
            last, number = image, clips.read_number(image, 64)
        seconds.append(time)
        numbers.append(number)
    return seconds, numbers, decoder.note


def numbered(path: Path, frames: int = 200, **how: object) -> Path:
    return clips.clip(path, frames, 96, 96, **how)


# Edit lists.

STEP, DELAY = 512, 1024  # ticks a frame, and of the first with B-frames


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([(3000, DELAY)], [0, 25, 50]),  # cut at the end
        ([(6000, DELAY + 50 * STEP)], [50, 75, 100, 125, 150, 175]),  # at the beginning
        ([(3000, DELAY + 60 * STEP)], [60, 85, 110]),  # at both, in mid-group
        ([(2000, -1), (3000, DELAY)], [0, 25, 50]),  # nothing is shown at first
        ([(2000, DELAY), (3000, DELAY + 100 * STEP)], [0, 25, 100, 125, 150]),  # two parts
    ],
)
def test_samples_are_those_of_the_edit_list(
    tmp_path: Path, name: str, edits: list[tuple[int, int]], expected: list[int]
) -> None:
    path = clips.set_edits(numbered(tmp_path / name, options=X264), edits)
    for full in (False, True):
        assert decode(path, full)[1:] == (expected, "")
    seconds, found, _ = decode(path, sampling="keyframes")
    assert seconds[-1] < len(expected)
    assert {n for n in found if not expected[0] <= n < expected[-1] + 25} == set()


def test_a_picture_that_the_edit_list_cuts_short(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.mp4", 4, times=[0, 1000, 2000, 12000], options={"bf": "0"})
    path = clips.set_edits(path, [(5000, struct.unpack(">i", _first_edit(path))[0])])
    for full in (False, True):
        assert decode(path, full)[1] == [0, 1, 2, 2, 2]


def _first_edit(path: Path) -> bytes:
    data = path.read_bytes()
    at = data.index(b"elst") + 4 + 8 + 4
    return data[at : at + 4]


# Leaps of the clock.


@pytest.mark.parametrize("kind", ["ts", "flv", "mpg"])
@pytest.mark.parametrize("leap", [45, 3000, 20000])
def test_play_time_goes_on_over_a_leap(tmp_path: Path, kind: str, leap: int) -> None:
    times = [40 * n + 1000 * leap * (n >= 100) for n in range(200)]
    if kind == "mpg":
        whole = numbered(tmp_path / "a.mkv", **KINDS[kind])
        path = clips.leaping(whole, tmp_path / "a.mpg", times)
    else:
        path = numbered(tmp_path / f"a.{kind}", times=times, **KINDS[kind])
    place = "4.1" if kind == "mpg" else "4.0"  # its first time is rounded
    note = f"the clock leaps by {leap:.1f} s at {place} s; play time goes on without a gap"
    for full in (False, True):
        seconds, found, told = decode(path, full)
        assert found == [25 * k for k in range(8)] and told == note
        assert seconds == pytest.approx(list(range(8)), abs=0.07)
    seconds, _, told = decode(path, sampling="keyframes")
    assert seconds[-1] < 8 and told == note


def test_a_recorder_that_joined_late(tmp_path: Path) -> None:
    times = [40 * n + 4_000_000 * (n > 0) for n in range(100)]
    _, found, note = decode(numbered(tmp_path / "a.flv", 100, times=times, **KINDS["flv"]))
    assert found == [0, 25, 50, 75] and note.startswith("the clock leaps by 4000.0 s at 0.0 s")


def test_many_leaps_make_no_long_note(tmp_path: Path) -> None:
    times = [40 * n + 100_000 * (n // 10) for n in range(100)]
    _, found, note = decode(numbered(tmp_path / "a.ts", 100, times=times, **KINDS["ts"]))
    assert found == [0, 25, 50, 75]
    assert note.count("the clock leaps") == 3 and note.endswith("and 6 more such places")


@pytest.mark.parametrize("kind", ["mp4", "mkv", "webm"])
def test_a_slide_of_70_minutes_stays(tmp_path: Path, kind: str) -> None:
    times = [0, 40, 80, 4_200_080, 4_201_000]
    how = KINDS[kind] if kind == "webm" else {"options": {"bf": "0"}}
    path = numbered(tmp_path / f"a.{kind}", 5, times=times, **how)
    for full in (False, True):
        seconds, found, note = decode(path, full)
        assert found[:4201] == [0] + [2] * 4200 and found[4201] == 4 and note == ""
        assert seconds == pytest.approx(list(range(len(seconds))), abs=0.05)


def test_a_slide_with_sound_stays(tmp_path: Path) -> None:
    """In a transport stream, whose header tells no length."""
    times = [0, 40, 80, 90_000, 90_040]
    path = tmp_path / "a.ts"
    clips.write_slide(path, [clips.numbered(n, 96, 96) for n in range(5)], times)
    for full in (False, True):
        seconds, found, note = decode(path, full)
        assert found[:91] == [0] + [2] * 89 + [3] and note == ""
        assert seconds == pytest.approx(list(range(len(seconds))), abs=0.05)


# Holes.


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_hole_is_not_filled(tmp_path: Path, kind: str) -> None:
    how = {"container": {"movflags": "faststart"}} | KINDS[kind]
    path = numbered(tmp_path / f"a.{kind}", 500, **how)
    clips.zero(path, 0.4, 0.7)
    for full in (False, True):
        seconds, found, note = decode(path, full)
        assert len(set(found)) == len(found) and 8 <= len(found) <= 16
        assert seconds[-1] == pytest.approx(19, abs=0.1) and "no pictures from " in note
        assert found[:6] == [0, 25, 50, 75, 100, 125] and abs(found[-1] - 475) < 5
    begin, end = (float(text) for text in note.split(" from ")[1].split(" s ")[0].split(" to "))
    assert 5 < begin < 12 and 11 < end < 17
    seconds, _, note = decode(path, sampling="keyframes")
    assert seconds[-1] > 18 and "no pictures from " in note


def test_a_hole_in_an_avi_file_with_sound(tmp_path: Path) -> None:
    """Its index tells how many pictures the hole held, so that later times stay true."""
    how = {"codec": "mpeg4", "options": {"g": "25", "b": "400k"}, "tone": True}
    path = clips.zero(numbered(tmp_path / "a.avi", 500, **how), 0.1, 0.3)
    seconds, found, note = decode(path)
    assert "no pictures from " in note and seconds[-1] == pytest.approx(19, abs=0.1)
    assert abs(found[-1] - 475) < 5
    late = [(s, n) for s, n in zip(seconds, found, strict=True) if s > 8]
    assert len(late) >= 10 and all(abs(n - 25 * s) < 5 for s, n in late)


def test_a_hole_leaves_too_little(tmp_path: Path) -> None:
    path = clips.zero(numbered(tmp_path / "a.mkv", 500, options=X264), 0.1, 0.8)
    with pytest.raises(VideoError, match=r"no pictures from .* fewer than 15") as caught:
        list(VideoDecoder(str(path), PREPROCESS, min_frames=15))
    assert caught.value.reason == "broken"


def test_padding_is_no_hole(tmp_path: Path) -> None:
    """A transport stream of constant rate has thousands of empty packets round a still picture."""
    times = [0, 40, 80, 20_000, 20_040]
    how = {"container": {"muxrate": "200000"}} | KINDS["ts"]
    path = numbered(tmp_path / "a.ts", 5, times=times, **how)
    assert decode(path)[1:] == ([0] + [2] * 19 + [3], "")


# Zeros behind the film.


@pytest.mark.parametrize("kind", [*KINDS, "h264"])
def test_gigabytes_of_zeros_behind_a_film(tmp_path: Path, kind: str) -> None:
    path = numbered(tmp_path / f"a.{kind}", **KINDS.get(kind, {"options": X264}))
    expected, size = decode(path)[1], path.stat().st_size
    os.truncate(path, 5 << 30)
    _, found, note = decode(path)
    assert found == expected and len(found) == 8
    if kind == "mp4":
        assert note == ""
    else:
        assert note.startswith("nothing but zeros behind byte ")
        assert size < int(note.split()[-1]) <= size + 2048


def test_the_end_of_the_content(tmp_path: Path) -> None:
    path, ticks = tmp_path / "a", []
    path.write_bytes(b"x" * 5000 + bytes(9 << 20))
    assert content_end(str(path), lambda: ticks.append(1)) == 5000 + 2048 and len(ticks) >= 2
    path.write_bytes(b"x" * 5000 + bytes(9 << 20) + b"x")
    assert content_end(str(path), lambda: None) is None
    path.write_bytes(bytes(9 << 20))
    assert content_end(str(path), lambda: None) is None
    assert content_end(str(tmp_path / "none"), lambda: None) is None


# What a small file can claim.


def test_a_flipped_bit_in_the_rate(tmp_path: Path) -> None:
    """One picture a day, says the header."""
    path = numbered(tmp_path / "a.avi", 60, **KINDS["avi"])
    data = bytearray(path.read_bytes())
    at = data.index(b"strh") + 8 + 20  # scale, before the rate
    scale, rate = struct.unpack("<II", data[at : at + 8])
    for wrong in ((scale + (1 << 22), rate), (scale, rate << 20)):
        data[at : at + 8] = struct.pack("<II", *wrong)
        path.write_bytes(data)
        decoder = VideoDecoder(str(path), PREPROCESS)
        assert [clips.read_number(image, 64) for _, image in decoder] == [0, 25, 50]
        assert "frames a second are not believed, 25 are taken" in decoder.note
        assert (decoder.source.fps, decoder.source.duration) == (25.0, 0.0)


def test_samples_that_share_their_bytes(tmp_path: Path) -> None:
    """Each of 50 pictures is held for an hour by 100 kB of file."""
    path = numbered(tmp_path / "a.mov", 50, codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes().replace(b"edts", b"free"))
    at = data.index(b"stts") + 4 + 4 + 4 + 4
    data[at : at + 4] = struct.pack(">I", 3600 * 12800)
    path.write_bytes(data)
    decoder = VideoDecoder(str(path), PREPROCESS)
    seconds = [s for s, _ in decoder]
    assert 0 < len(seconds) - DEFAULT_LIMITS.free_copies < 200
    assert seconds[-1] == pytest.approx(49 * 3600)  # later pictures keep their times
    assert "copies of held pictures left out" in decoder.note


def test_a_table_that_names_one_picture_again_and_again(tmp_path: Path) -> None:
    """50 pictures of an hour each, and all are the first."""
    path = numbered(tmp_path / "a.mov", 50, codec="mjpeg", pix_fmt="yuvj420p", options={"q": "9"})
    data = bytearray(path.read_bytes().replace(b"edts", b"free"))
    at = data.index(b"stts") + 4 + 4 + 4 + 4
    data[at : at + 4] = struct.pack(">I", 3600 * 12800)
    # A chunk for each picture, which all begin at one place.
    begin = data.index(b"stco") + 4 + 4 + 4
    place = data[begin : begin + 4]
    tables = struct.pack(">I4sIIIII", 28, b"stsc", 0, 1, 1, 1, 1)
    tables += struct.pack(">I4sII", 16 + 200, b"stco", 0, 50) + bytes(place) * 50
    start, stop = data.index(b"stsc") - 4, data.index(b"stco") - 4
    stop += int.from_bytes(data[stop : stop + 4], "big")
    sizes = data.index(b"stsz") - 4
    kept = data[sizes : sizes + int.from_bytes(data[sizes : sizes + 4], "big")]
    new = tables + kept
    for name in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        head = data.rindex(name, 0, start) - 4
        longer = int.from_bytes(data[head : head + 4], "big") + len(new) - (stop - start)
        data[head : head + 4] = longer.to_bytes(4, "big")
    data[start:stop] = new
    path.write_bytes(data)
    decoder = VideoDecoder(str(path), PREPROCESS)
    seconds = [s for s, _ in decoder]
    assert 1 < len(seconds) / DEFAULT_LIMITS.free_if_reread < 2
    assert "copies of held pictures left out" in decoder.note


def test_bytes_count_once() -> None:
    allowance = Allowance({"mov"}, 10_000)
    for position, size in ((0, 100), (200, 100), (100, 100), (50, 200), (1000, 50), (0, 2000)):
        allowance.add(SimpleNamespace(pos=position, size=size))
    assert allowance.size == 2000
    assert allowance.pictures() == 1000 + 250  # as little was read twice
    for _ in range(9):
        allowance.add(SimpleNamespace(pos=0, size=2000))
    assert (allowance.pictures(), allowance.copies()) == (100 + 250, 100 + 1)
    # Where no table says what is read, positions are those of pages.
    pages = Allowance({"asf"}, 10_000)
    for _ in range(20):
        pages.add(SimpleNamespace(pos=0, size=1000))
    assert (pages.pictures(), pages.copies()) == (1000 + 1250, 5000 + 9)


def test_places_without_end_are_not_remembered() -> None:
    allowance = Allowance({"mov"}, 1 << 40)
    for number in range(2000):
        allowance.add(SimpleNamespace(pos=number * 100, size=10))
    assert allowance.size == 10_000


def test_a_picture_of_ages_takes_no_time() -> None:
    sampler: FrameSampler[str] = FrameSampler(1.0, 25.0, lambda: 20)
    list(sampler.push(0.0, "a"))
    assert len(list(sampler.push(1e12, "b"))) == 21
    assert sampler.omitted == 1e12 - 21
    assert list(sampler.finish(1e12 + 0.04)) == [(1e12, "b")]


def test_more_pictures_than_bytes(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.mkv", 30, rate=1, options=X264)
    limits = DecodeLimits(free_pictures=10, picture_bytes=1 << 30)
    for full in (False, True):
        _, found, note = decode(path, full, limits)
        assert found == list(range(10)) and "10 pictures, too many for its bytes" in note


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (DecodeLimits(max_idle_packets=40), "no new sample in 40 packets"),
        (DecodeLimits(max_idle_seconds=-1.0), "no new sample in -1 s of processor time"),
    ],
)
def test_reading_ends_where_no_sample_comes(tmp_path: Path, limits: DecodeLimits, why: str) -> None:
    path = numbered(tmp_path / "a.mkv", 100, options=X264)
    decoder = VideoDecoder(str(path), PREPROCESS, fps=0.1, limits=limits)
    assert [clips.read_number(image, 64) for _, image in decoder] == [0]
    assert decoder.note.startswith("given up after ") and why in decoder.note


def test_empty_packets_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(numbered(tmp_path / "a.avi", 5, **KINDS["avi"]))
    reader = PacketReader(path, limits=DecodeLimits(max_idle_packets=1000))
    empty = SimpleNamespace(size=0, pos=None, pts=None, dts=None, is_discard=False, stream_index=0)
    endless = SimpleNamespace(demux=lambda: itertools.repeat(empty), close=lambda: None)
    monkeypatch.setattr(reader, "_container", endless)
    assert list(reader.packets()) == []
    assert reader.stopped == "more than 1000 packets without content in a row"


def test_high_rates_are_true_to_the_second(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.mp4", 500, rate=240, options=X264)
    decoder = VideoDecoder(str(path), PREPROCESS)
    assert [clips.read_number(image, 64) for _, image in decoder] == [0, 240, 480]
    assert decoder.source.fps == 240.0


# By hand.


def test_a_clock_takes_the_word_of_its_judge() -> None:
    def times(gap: Gap, length: float = 50.0) -> tuple[float, float, list[str]]:
        clock = Clock(0.04, 0.0, lambda begin, end: gap)
        clock.tick(5.0)
        return clock.tick(5.0 + length), clock.hold, [str(jump) for jump in clock.jumps]

    assert times(Gap.HELD) == (50.0, float("inf"), [])
    assert times(Gap.HOLE) == (50.0, 0.04, ["no pictures from 0.0 to 50.0 s (damaged)"])
    leap = "the clock leaps by 50.0 s at 0.0 s; play time goes on without a gap"
    assert times(Gap.LEAP) == times(Gap.UNKNOWN) == (0.04, float("inf"), [leap])
    assert times(Gap.UNKNOWN, 20.0)[0] == 20.0 and times(Gap.LEAP, 20.0)[0] == 0.04
    assert times(Gap.HELD, 1e6)[0] == 0.04  # a day at most


def note_pictures(evidence: Evidence, times: list[float], step: int = 10) -> None:
    base = Fraction(1, 100)
    for number, time in enumerate(times):
        ticks = round(time / base)
        packet = SimpleNamespace(
            pos=number * step, size=10, stream_index=0, duration=4, pts=ticks, dts=ticks
        )
        packet.time_base = base
        evidence.add(packet, time, time + 0.04)


def test_one_wrong_time_is_no_still() -> None:
    evidence = Evidence("none", {"mpegts"}, 0)
    note_pictures(evidence, [0.0, 0.04, 20.0, 0.12, 0.16])
    assert evidence.judge(0.04, 20.0) is Gap.LEAP
    evidence = Evidence("none", {"mpegts"}, 0)
    note_pictures(evidence, [0.0, 0.04, 20.0, 20.04, 0.0, 0.04])  # begins anew
    assert evidence.judge(0.04, 20.0) is Gap.UNKNOWN


def test_a_file_that_is_gone_while_it_is_judged() -> None:
    evidence = Evidence("none", {"mpegts"}, 0)
    note_pictures(evidence, [0.0, 0.04, 20.0], 100_000)
    assert evidence.judge(0.04, 20.0) is Gap.HOLE


def test_lost_pictures_are_a_hole() -> None:
    evidence = Evidence("none", {"mov"}, 0)
    assert evidence.judge(1.0, 9.0) is Gap.UNKNOWN
    evidence.add_lost(5.0)
    assert evidence.judge(1.0, 9.0) is Gap.HOLE and evidence.judge(6.0, 9.0) is Gap.UNKNOWN
