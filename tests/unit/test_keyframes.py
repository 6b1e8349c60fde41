"""Keyframe sampling by value: the clips tell in their pictures which frame is which."""

from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from pipeline.config import SAMPLINGS
from pipeline.errors import VideoError
from pipeline.records import Preprocess
from pipeline.video import SAMPLING_RULES, VideoDecoder
from pipeline.video.strategies.keyframes import KeyframeDecode, NearestKeyframes
from tests import clips

PREPROCESS = Preprocess()
VP = {"deadline": "realtime", "cpu-used": "8", "g": "20", "keyint_min": "20"}
X264 = {"g": "20", "sc_threshold": "0", "bf": "2"}
X265 = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=20:scenecut=0:open-gop=1"}


def decode(path: Path, fps: float = 1.0, min_frames: int = 1) -> tuple[list[float], list[int], str]:
    """Seconds, numbers and note."""
    decoder = VideoDecoder(str(path), PREPROCESS, fps, min_frames=min_frames, sampling="keyframes")
    samples = [(seconds, clips.read_number(image)) for seconds, image in decoder]
    return [s for s, _ in samples], [n for _, n in samples], decoder.note


def tried(path: Path, monkeypatch: pytest.MonkeyPatch, fps: float = 1.0) -> list[bool]:
    """Of each packet that went to the decoder, whether it is marked as a keyframe."""
    sent, alone = [], KeyframeDecode._decode_alone

    def spy(self: KeyframeDecode, packet: object) -> object:
        sent.append(packet.is_keyframe)  # type: ignore[attr-defined]
        return alone(self, packet)

    monkeypatch.setattr(KeyframeDecode, "_decode_alone", spy)
    decode(path, fps)
    return sent


def nearest(times: Sequence[float], end: float, fps: float = 1.0) -> list[tuple[float, int]]:
    rule: NearestKeyframes[str] = NearestKeyframes(fps)
    chosen = [c for time in times for c in rule.push(time, "x")] + rule.finish(end)
    return [(seconds, steps) for seconds, _, steps in chosen]


def test_every_setting_has_its_rule_with_a_name_of_its_own() -> None:
    assert set(SAMPLING_RULES) == set(SAMPLINGS) and len(set(SAMPLING_RULES.values())) == len(
        SAMPLING_RULES
    )


def test_the_nearest_by_hand() -> None:
    assert nearest([0, 10.1, 14.8], 20) == [(0, 6), (10.1, 7), (14.8, 7)]
    assert nearest([0, 2], 3) == [(0, 2), (2, 1)]  # of two equally near the earlier
    assert nearest([0, 0.4, 0.8, 1.2, 1.6], 2.0) == [(0, 1), (0.8, 1)]
    assert nearest([0, 0.4], 2.0, fps=2.0) == [(0, 1), (0.4, 3)]
    assert nearest([3], 5) == [(3, 5)]  # before the first one there is none nearer
    assert nearest([0], 0.04) == [(0, 1)]
    assert nearest([], 9) == []


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", X264),
        ("b.mp4", "libx264", X264 | {"bf": "0"}),
        ("a.mkv", "libx264", X264 | {"x264-params": "open-gop=1"}),
        ("a.ts", "libx264", X264),
        ("a.avi", "libx264", X264),
        ("a.flv", "libx264", X264),
        ("c.mp4", "libx265", X265),
        ("b.ts", "libx265", X265),
        ("d.mp4", "mpeg4", {"g": "20", "sc_threshold": "1000000000"}),
        ("a.mpg", "mpeg2video", {"g": "20", "sc_threshold": "1000000000"}),
        ("a.webm", "libvpx", VP),
        ("b.webm", "libvpx-vp9", VP),
    ],
)
def test_keyframes_once_at_their_own_time(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = clips.clip(tmp_path / name, frames=79, codec=codec, options=options)
    expected = [0, 20, 40, 60]
    assert decode(path) == (pytest.approx([0, 0.8, 1.6, 2.4]), expected, "")
    assert decode(path, fps=5.0) == (pytest.approx([0, 0.8, 1.6, 2.4]), expected, "")
    assert decode(path, fps=0.4)[1] == [0, 60]  # 62.5 is the second step


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("a.avi", "mjpeg", "yuvj420p"), ("a.mov", "prores", "yuv422p10le"), ("b.mov", "png", "rgb24")],
)
def test_where_all_are_keyframes_the_wanted_ones_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, codec: str, pix_fmt: str
) -> None:
    path = clips.clip(tmp_path / name, frames=60, codec=codec, pix_fmt=pix_fmt)
    assert decode(path)[:2] == (pytest.approx([0, 1, 2]), [0, 25, 50])
    assert tried(path, monkeypatch) == [True] * 3


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_no_other_packet_reaches_the_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = clips.clip(tmp_path / name, frames=80, options=X264 | {"g": "5"})
    assert tried(path, monkeypatch) == [True] * 4


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.ts", "mpeg2video")])
def test_wherever_the_encoder_put_them(tmp_path: Path, name: str, codec: str) -> None:
    options = {"g": "20", "bf": "2", "sc_threshold": "1000000000"}
    path = clips.clip(tmp_path / name, frames=79, codec=codec, options=options)
    with av.open(str(path)) as container:
        keys = [n for n, f in enumerate(container.decode(video=0)) if f.key_frame]
    steps = [25 * k for k in range(4)]
    expected = [min(keys, key=lambda n: (abs(n - step), n)) for step in steps]
    assert len(keys) > len(expected) and decode(path)[1] == expected


def test_pictures_are_those_of_a_full_decode(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.mkv", frames=80, options=X264 | {"x264-params": "open-gop=1"})
    every = {round(s, 3): i for s, i in VideoDecoder(str(path), PREPROCESS, 25.0, full=True)}
    for seconds, image in VideoDecoder(str(path), PREPROCESS, sampling="keyframes"):
        assert (every[round(seconds, 3)] == image).all()


def test_one_keyframe_stands_for_all(tmp_path: Path) -> None:
    options = {"g": "9999", "sc_threshold": "0"}
    assert decode(clips.clip(tmp_path / "a.mp4", frames=80, options=options))[1:] == ([0], "")
    for name in ("b.mp4", "b.mkv"):
        path = clips.clip(tmp_path / name, frames=40, rate=1, options=options)
        assert decode(path)[1:] == ([0], "a keyframe every 40 s only, 1 kept")
        assert decode(path, min_frames=10)[1] == [0]  # it is not damaged


def test_keyframes_that_give_no_picture_alone_are_passed_over(tmp_path: Path) -> None:
    """Intra refresh: after the first, "keyframes" are whole only some frames later."""
    options = {"g": "20", "sc_threshold": "0", "x264-params": "intra-refresh=1"}
    assert decode(clips.clip(tmp_path / "a.mkv", frames=80, options=options))[1:] == ([0], "")


def test_without_any_mark_all_is_decoded(tmp_path: Path) -> None:
    source, path = clips.clip(tmp_path / "a.mkv", frames=80, options=X264), tmp_path / "b.mkv"
    with av.open(str(source)) as container, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream, packet.is_keyframe = stream, False
                out.mux(packet)
    assert decode(path)[:2] == (pytest.approx([0, 0.8, 1.6, 2.4]), [0, 20, 40, 60])


def test_time_counts_from_the_first_frame(tmp_path: Path) -> None:
    times = [5000 + 40 * n for n in range(80)]
    for name in ("a.mkv", "a.mp4", "a.ts"):
        path = clips.clip(tmp_path / name, frames=80, times=times, options=X264)
        assert decode(path)[0] == pytest.approx([0, 0.8, 1.6, 2.4]), name


def test_joined_recordings_run_on(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.ts", frames=60, options=X264)
    path.write_bytes(path.read_bytes() * 2)
    seconds, found, _ = decode(path)
    assert found == [0, 20, 40, 20, 40]  # 3 s is nearest to 3.2 s, 0.8 s into the second
    assert seconds == pytest.approx([0, 0.8, 1.6, 3.2, 4.0], abs=0.05)


def test_damage_has_the_verdicts_of_full_decoding(tmp_path: Path) -> None:
    how = {"options": X264 | {"g": "50"}, "container": {"movflags": "faststart"}}
    for name in ("a.mp4", "a.mkv"):
        path = clips.truncate(clips.clip(tmp_path / name, frames=250, **how), 0.7)
        steps = len(list(VideoDecoder(str(path), PREPROCESS)))
        _, found, note = decode(path, min_frames=steps - 1)  # steps count, not keyframes
        assert found == list(range(0, 25 * steps, 50)) and note.startswith("damaged after "), name
        with pytest.raises(VideoError, match=f"fewer than {steps + 2}") as caught:
            decode(path, min_frames=steps + 2)
        assert caught.value.reason == "broken"


def test_bad_keyframes_are_counted(tmp_path: Path) -> None:
    path = clips.corrupt_packets(tmp_path / "a.mov", [0, 30], frames=60)
    seconds, found, note = decode(path, fps=5.0)
    assert note == "2 undecodable packets skipped, 10 frames kept"
    assert found == [5, 10, 15, 20, 25, 35, 40, 45, 50, 55]
    assert seconds == pytest.approx([n / 25 for n in found])
    path = clips.corrupt_packets(tmp_path / "b.mov", range(10), frames=10)
    with pytest.raises(VideoError) as caught:
        decode(path)
    assert caught.value.reason == "no_frames"
