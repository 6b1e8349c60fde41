"""Decoding what the samples need gives what decoding everything gives, and notices when it must not
be trusted."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from pipeline.errors import VideoError
from pipeline.records import Preprocess
from pipeline.video import VideoDecoder
from pipeline.video.bitstream import UnclearError, Unit, inspector
from pipeline.video.limits import DEFAULT_LIMITS, DecodeLimits
from pipeline.video.sampling import Clock
from pipeline.video.strategies.sample_planner import PlannedPacket, SamplePlanner
from tests import clips

PREPROCESS = Preprocess(resize=64, crop=56)
VP = {"deadline": "realtime", "cpu-used": "8"}
X264 = {"preset": "veryfast", "bf": "3"}
PYRAMID = {"bf": "8", "b_strategy": "2", "b-pyramid": "normal", "refs": "4"}
X265 = "log-level=none:min-keyint=1:keyint={}:open-gop={}:bframes=4:pools=1"
VARIABLE = [0, 17, 33, 400, 440, 480, 2000, 2040, 2080, 5200]


def moving(count: int) -> list[np.ndarray]:
    """Blocks that wander, other ones from every 31st frame on, and each frame's number."""
    blocks = np.random.default_rng(0).integers(60, 190, (3, 24, 32, 3), np.uint8)
    images = []
    for n in range(count):
        scene = np.roll(blocks[n // 31 % 3].repeat(4, 0).repeat(4, 1), (n, 2 * n), (0, 1))
        image, number = scene[:48, :64].copy(), clips.numbered(n)
        image[24:] = number[24:]
        images.append(image)
    return images


def outcome(
    path: Path,
    fps: float,
    full: bool,
    min_frames: int = 1,
    limits: DecodeLimits = DEFAULT_LIMITS,
) -> tuple:
    """Everything a decoder tells, and whether it decoded less than all."""
    samples = []
    decoder = VideoDecoder(
        str(path), PREPROCESS, fps, min_frames=min_frames, full=full, limits=limits
    )
    try:
        samples += [(seconds, image.tobytes()) for seconds, image in decoder]
        verdict = decoder.note
    except VideoError as error:
        verdict = f"{error.reason}: {error.detail}"
    return (samples, verdict, decoder.source), decoder.selective


def same(
    path: Path, fps: float = 1.0, min_frames: int = 1, limits: DecodeLimits = DEFAULT_LIMITS
) -> bool:
    """Compare both ways; returns whether the second one was selective."""
    expected, _ = outcome(path, fps, True, min_frames, limits)
    found, selective = outcome(path, fps, False, min_frames, limits)
    assert found == expected and (len(expected[0]) >= 1 or expected[1])
    return selective


def packets_sent(
    path: Path,
    fps: float,
    monkeypatch: pytest.MonkeyPatch,
    limits: DecodeLimits = DEFAULT_LIMITS,
) -> list[str]:
    """The `skip_frame` with which each packet went to the decoder."""
    from pipeline.video.strategies.selective import SelectiveDecode

    sent, decode = [], SelectiveDecode._decode

    def spy(self: SelectiveDecode, packet: object) -> object:
        sent.extend([self._context.skip_frame] if packet is not None else [])
        return decode(self, packet)

    monkeypatch.setattr(SelectiveDecode, "_decode", spy)
    assert outcome(path, fps, False, limits=limits)[1]
    return sent


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"bf": "3", "g": "250"}),
        ("b.mp4", "libx264", {**PYRAMID, "g": "250"}),
        ("c.mp4", "libx264", {"bf": "0", "g": "10"}),
        ("d.mp4", "libx264", {"g": "1"}),
        ("e.mp4", "libx264", {"bf": "3", "b-pyramid": "strict", "g": "9999", "sc_threshold": "0"}),
        ("a.mkv", "libx264", {**PYRAMID, "g": "10"}),
        ("b.mkv", "libx264", {"bf": "3", "g": "12", "x264-params": "open-gop=1"}),
        ("c.mkv", "libx264", {"bf": "2", "g": "12", "x264-params": "slices=3:interlaced=1"}),
        ("d.mkv", "libx264", {"bf": "2", "g": "30", "x264-params": "intra-refresh=1"}),
        ("a.ts", "libx264", {"bf": "3", "g": "10"}),
        ("b.ts", "libx264", {"bf": "16", "b_strategy": "0", "g": "250"}),
        ("f.mp4", "libx265", {"preset": "ultrafast", "x265-params": X265.format(10, 0)}),
        ("e.mkv", "libx265", {"preset": "ultrafast", "x265-params": X265.format(10, 1)}),
        ("c.ts", "libx265", {"preset": "ultrafast", "x265-params": X265.format(250, 1)}),
        ("g.mp4", "mpeg4", {"bf": "2", "g": "10"}),
        ("f.mkv", "mpeg4", {"bf": "2", "g": "10", "flags": "+qpel"}),
        ("a.avi", "mpeg4", {"bf": "2", "g": "250"}),
        ("b.avi", "mpeg4", {"g": "12"}),
        ("a.mpg", "mpeg2video", {"bf": "2", "g": "10"}),
        ("d.ts", "mpeg2video", {"bf": "2", "g": "12", "flags": "+ilme+ildct"}),
        ("g.mkv", "mpeg2video", {"g": "250"}),
        ("b.mpg", "mpeg1video", {"bf": "2", "g": "12"}),
        ("c.avi", "mjpeg", {}),
        ("a.mov", "prores", {}),
    ],
)
def test_same_samples_over_codecs(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    kinds = {"mjpeg": "yuvj420p", "prores": "yuv422p10le"}
    path = tmp_path / name
    clips.write(path, moving(80), codec, pix_fmt=kinds.get(codec, "yuv420p"), options=options)
    for fps in (0.7, 2.0, 5.0):
        assert same(path, fps), fps


@pytest.mark.parametrize(
    ("name", "codec", "options", "pix_fmt"),
    [
        ("a.webm", "libvpx", VP, "yuv420p"),
        ("b.webm", "libvpx-vp9", VP, "yuv420p"),
        ("a.mkv", "ffv1", {}, "yuv420p"),
        ("a.gif", "gif", {}, "rgb8"),
        # Presentation times in decoding order: only the decoder can tell the display order.
        ("a.avi", "libx264", {"bf": "3"}, "yuv420p"),
        ("a.flv", "libx264", {"bf": "3"}, "yuv420p"),
    ],
)
def test_others_are_decoded_in_full(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], pix_fmt: str
) -> None:
    path = clips.write(tmp_path / name, moving(60), codec, pix_fmt=pix_fmt, options=options)
    assert not same(path)


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("a.mkv", Fraction(24000, 1001)),
        ("a.mp4", Fraction(30000, 1001)),
        ("a.ts", Fraction(30000, 1001)),
        ("b.mp4", Fraction(60)),
    ],
)
def test_same_samples_over_rates(tmp_path: Path, name: str, rate: Fraction) -> None:
    path = clips.write(tmp_path / name, moving(100), rate=rate, options=X264 | {"g": "20"})
    for fps in (1.0, 5.0):
        assert same(path, fps), fps


@pytest.mark.parametrize("times", [VARIABLE, [5000 + time for time in VARIABLE]])
@pytest.mark.parametrize("group", ["3", "250"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_same_samples_of_variable_rate(
    tmp_path: Path, name: str, group: str, times: Sequence[int]
) -> None:
    options = X264 | {"g": group}
    path = clips.write(tmp_path / name, moving(10), times=times, options=options)
    for fps in (0.5, 1.0, 5.0):
        assert same(path, fps), fps


def test_rotation_and_sound(tmp_path: Path) -> None:
    assert same(clips.write(tmp_path / "a.mp4", moving(60), turn=90, tone=True))


def test_pictures_no_other_needs_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"bf": "2", "g": "250", "b_strategy": "0"}
    path = clips.write(tmp_path / "a.mp4", moving(60), options=options)
    sent = packets_sent(path, 1.0, monkeypatch)
    # The first before anything is known of the order, then samples alone are decoded in any case.
    assert sent.count("DEFAULT") <= 5 and 40 <= sent.count("NONREF") <= 57


def test_packets_before_an_entry_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clips.write(tmp_path / "a.mp4", moving(100), options={"bf": "0", "g": "5"})
    assert len(packets_sent(path, 1.0, monkeypatch)) == 4  # 0, 25, 50 and 75 begin a group each


def test_low_memory_for_far_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets are given up to the decoder if too many wait."""
    limits = DecodeLimits(max_undecoded_bytes=3000)
    path = clips.write(tmp_path / "a.mp4", moving(120), options=X264 | {"g": "250"})
    assert len(packets_sent(path, 0.3, monkeypatch, limits)) > 80
    assert same(path, 0.3, limits=limits)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[(name, kind) for name in ("a.mkv", "a.ts", "a.mp4") for kind in ("scribbled", "cut")],
        ("a.ts", "new sizes"),
    ],
)
def test_damage_gives_the_full_verdict(tmp_path: Path, name: str, kind: str) -> None:
    path, options = tmp_path / name, X264 | {"g": "25"}
    clips.write(path, moving(130), options=options, container={"movflags": "faststart"})
    if kind == "scribbled":
        clips.scribble(path, 0.5, 0.6)
        same(path, 2.0, 4)  # what is hit may be needed or not
        return
    if kind == "cut":
        clips.truncate(path, 0.6)
    else:
        other = clips.clip(tmp_path / "b.ts", frames=50, width=96)
        path.write_bytes(path.read_bytes() + other.read_bytes())
    assert not same(path, 1.0, 4)
    assert not same(path, 2.0, 40)  # too few frames


def test_bad_packets_nobody_needs_do_no_harm(tmp_path: Path) -> None:
    """The one difference: they are not counted."""
    path = tmp_path / "a.avi"
    clips.write(path, moving(90), "mjpeg", pix_fmt="yuvj420p")
    with av.open(str(path)) as container:
        at = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for number in (10, 30):
        position, size = at[number]
        data[position + 8 : position + 8 + size] = bytes(size)
    path.write_bytes(data)
    (expected, note, _), _ = outcome(path, 1.0, True)
    (found, silent, _), selective = outcome(path, 1.0, False)
    assert found == expected and selective
    assert note == "2 undecodable packets skipped, 4 frames kept" and silent == ""
    assert not same(path, 25.0)  # here they are needed


def test_an_error_in_a_needed_packet_is_noticed(tmp_path: Path) -> None:
    """By default the decoder patches it over and raises nothing."""
    path = clips.write(tmp_path / "a.mkv", moving(60), options=X264 | {"g": "10"})
    with av.open(str(path)) as container:
        packet = max((bytes(p) for p in container.demux(video=0) if p.pts == 1200), key=len)
    data, half = path.read_bytes(), len(packet) // 2
    path.write_bytes(data.replace(packet, packet[:half] + b"\x77" * (len(packet) - half)))
    assert path.read_bytes() != data
    assert not same(path, 5.0)


def foresee(
    times: Sequence[int], depth: int, cut: int = 0, early: Sequence[bool | None] = ()
) -> list[int]:
    """Times in ms of the needed pictures at one a second, of packets in this order."""
    reader = SimpleNamespace(
        count=0,
        end=-1.0,
        seconds=lambda ticks: ticks / 1000,
        allowance=SimpleNamespace(copies=lambda: 10_000),
    )
    foresight = SamplePlanner(reader, Clock(0.04, 100.0), 25.0, 1.0, depth)  # type: ignore[arg-type]
    needed = []
    for number, time in enumerate(times):
        reader.count += 1
        packet = SimpleNamespace(pts=time, duration=40, is_discard=number < cut)
        shown_early = early[number] if early else None
        picture = PlannedPacket(packet, Unit(number == 0, frozenset(), shown_early))
        needed += foresight.add(picture)
    return [picture.pts for picture in needed + foresight.finish()]


def test_foresight_sees_display_order() -> None:
    assert foresee([0, 500, 400, 1000, 800, 1500, 1300], depth=1) == [0, 1000]
    assert foresee([0, 1010, 990, 960, 2000], depth=2) == [0, 1010, 2000]


def test_foresight_leaves_out_what_an_edit_list_cuts_off() -> None:
    assert foresee([0, 400, 800, 1400, 1800], depth=0, cut=2) == [800, 1800]


def test_foresight_has_the_end_of_a_hold_decoded() -> None:
    """It is a sample for no time, but the hold is not believed if it is bad."""
    assert foresee([0, 2500, 2540, 2580], depth=0) == [0, 2500]


@pytest.mark.parametrize(
    ("times", "early"),
    [
        ([0, 120, 40, 80], []),  # deeper than told
        ([0, 40, 40], []),
        ([1000, 960], []),  # before the first
        ([0, 40, 90000000], []),  # not to be believed
        ([0, 40, 80], [False, False, True]),  # a B picture that is not shown early
        ([0, 80, 40], [False, False, False]),
    ],
)
def test_foresight_refuses(times: list[int], early: list[bool]) -> None:
    with pytest.raises(UnclearError):
        foresee(times, len(early) and 1, early=early)


def look(codec: str, data: bytes, extradata: bytes = b"") -> tuple[bool, int]:
    inspect = inspector(codec, extradata)
    assert inspect is not None
    unit = inspect(memoryview(data))
    return unit.entry, len(unit.parameters)


def test_bitstreams_by_hand() -> None:
    assert look("h264", b"\0\0\0\1\x67ab\0\0\1\x68c\0\0\1\x65d") == (True, 2)
    assert look("h264", b"\0\0\1\x61d") == (False, 0)
    lengths = b"\1...\xff.."  # four bytes each
    assert look("h264", b"\0\0\0\2\x06x\0\0\0\1\x65", lengths) == (True, 0)
    assert look("hevc", b"\0\0\1\x26\1d") == (True, 0)
    assert look("hevc", b"\0\0\1\x2a\1d") == (False, 0)  # CRA
    assert look("mpeg4", b"\0\0\1\x20vol\0\0\1\xb6\x10d") == (True, 1)
    assert look("mpeg4", b"\0\0\1\xb6\x50d") == (False, 0)
    assert look("mpeg2video", b"\0\0\1\xb3s\0\0\1\0\0\x08p") == (True, 0)
    assert look("mpeg2video", b"\0\0\1\0\0\x08p") == (False, 0)  # no sequence header
    assert look("mjpeg", b"\xff\xd8\xff\xdb.\xff\xc4.\xff\xda.") == (True, 0)
    assert look("mjpeg", b"\xff\xd8\xff\xdb.\xff\xda\xff\xc4") == (False, 0)  # tables from before
    assert inspector("theora", b"") is None
    assert inspector("mpeg4", b"\0\0\1\xb2DivX503b1393p") is None


@pytest.mark.parametrize(
    ("codec", "extradata", "data"),
    [
        ("h264", b"\1...\xff..", b"\0\0\0\x09\x65"),  # longer than the packet
        ("h264", b"", b"no start code"),
        ("hevc", b"", b"\0\0\1\x02\2d"),  # a temporal layer
        ("mpeg4", b"", b"\0\0\1\xb6\x50d\0\0\1\xb6\x90d"),  # two pictures
        ("mpeg2video", b"", b"\0\0\1\xb3"),
    ],
)
def test_bitstreams_that_are_not_plain(codec: str, extradata: bytes, data: bytes) -> None:
    with pytest.raises(UnclearError):
        look(codec, data, extradata)
