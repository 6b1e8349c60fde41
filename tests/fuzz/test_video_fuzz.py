"""Mutated videos: each ends once, stored with a plausible number of frames or failed by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.decode import Ended, Frames, Started, decode_videos
from pipeline.errors import VideoError
from pipeline.records import Preprocess, SourceInfo, VideoRef
from pipeline.video.limits import DEFAULT_LIMITS
from pipeline.video.sampling import MAX_HOLD, MAX_RATE
from tests import clips
from tests.fuzz import mutations

SECONDS = 4
SMALL = Preprocess(resize=16, crop=16)
# What a small file may give without a further reason, and its different pictures.
MAX_FRAMES = DEFAULT_LIMITS.free_copies + 1_000

SEEDS: dict[str, dict] = {
    "plain.mp4": {"codec": "libx264"},
    "fast.mov": {"codec": "mpeg4"},
    "film.mkv": {"codec": "libx264"},
    "film.webm": {"codec": "libvpx"},
    "film.ts": {"codec": "mpeg2video"},
    "film.mpg": {"codec": "mpeg1video"},
    "film.avi": {"codec": "mpeg4"},
    "film.flv": {"codec": "flv"},
    "film.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "parts.mp4": {"codec": "libx264", "container": {"movflags": "frag_keyframe+empty_moov"}},
    "sound.mp4": {"codec": "libx264", "tone": True},
    "front.mkv": {"codec": "libx264", "container": {"reserve_index_space": "4096"}, "tone": True},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "film.m2ts": {"codec": "libx264"},
    "film.vob": {"codec": "mpeg2video"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "slow.avi": {"codec": "mpeg4", "rate": 1},
    "film.wmv": {"codec": "wmv2"},
    "film.3gp": {"codec": "mpeg4"},
    "film.nut": {"codec": "mpeg4"},
    "raw.mkv": {"codec": "ffv1"},
    "raw.h264": {"codec": "libx264"},
    "raw.m2v": {"codec": "mpeg2video"},
    "film.apng": {"codec": "apng", "pix_fmt": "rgb24"},
    "varied.mkv": {"codec": "libx264", "times": [40 * n + n // 10 * 700 for n in range(40)]},
}


def _frames(how: dict) -> int:
    return len(how["times"]) if "times" in how else SECONDS * how.get("rate", 25)


def _named_length(ref: VideoRef) -> float:
    """Seconds that the pictures of a mutated file may tell of themselves."""
    return 3 * 655.35 if ref.path.endswith((".gif", ".apng")) else 0.0


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("seeds")
    return [
        clips.clip(folder / name, **({"frames": _frames(how)} | how))  # type: ignore[arg-type]
        for name, how in SEEDS.items()
    ]


@pytest.mark.timeout(0)
def test_mutated_videos_end_with_a_bounded_number_of_frames(
    seeds: list[Path], tmp_path: Path
) -> None:
    refs = []
    for number in range(mutations.count(120)):
        chance = mutations.generator(number)
        seed = chance.choice(seeds)
        path = tmp_path / f"{number}{seed.suffix}"
        path.write_bytes(mutations.mutate(seed.read_bytes(), chance))
        refs.append(VideoRef(f"{number}", str(path)))
    frames, ends = dict.fromkeys(range(len(refs)), 0), {}
    sources: dict[int, SourceInfo] = {}
    with decode_videos(refs, SMALL, workers=2, stall_seconds=60.0) as events:
        for event in events:
            if isinstance(event, Started):
                sources[event.index] = event.source
            elif isinstance(event, Frames) and not event.inset:
                frames[event.index] += len(event.seconds)
                assert frames[event.index] <= MAX_FRAMES, refs[event.index].path
            elif isinstance(event, Ended):
                assert event.index not in ends
                ends[event.index] = event
    assert sorted(ends) == list(range(len(refs)))
    for index, end in ends.items():
        if end.failure is None:
            assert frames[index] > 0, refs[index].path
            source = sources[index]
            assert 0.0 <= source.fps <= MAX_RATE and 0.0 <= source.duration <= 2 * MAX_HOLD
            # A changed number in a header may say that its pictures are slow; that is believed.
            told = _named_length(refs[index]) or source.duration
            if frames[index] > max(10 * SECONDS, told + 2.0):
                assert end.note, f"{refs[index].path}: {frames[index]} frames without a note"
        else:
            assert end.failure.reason in VideoError.REASONS
            # A decoder may crash on damage; a stall or an unexpected error is a fault of ours.
            assert end.failure.reason != "decoder_stalled", refs[index].path
            assert "unexpected" not in end.failure.detail, end.failure.detail
