"""Decoding processes: one end for every video, whatever happens to its process."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.decode import DecodePool, Ended, Event, Frames, Started, decode_videos
from pipeline.errors import PipelineError
from pipeline.records import Preprocess, VideoRef
from pipeline.video import sample_frames
from tests import clips

SMALL = Preprocess(resize=8, crop=8)
BAD = "tests.decoders:Misbehaving"


def pool_of(*paths: str, preprocess: Preprocess = SMALL, **how: object) -> DecodePool:
    refs = [VideoRef(f"v{n}", path) for n, path in enumerate(paths)]
    how = {"workers": 2, "decoder": BAD, "stall_seconds": 30.0} | how
    return decode_videos(refs, preprocess, **how)  # type: ignore[arg-type]


def ends(events: list[Event]) -> dict[int, Ended]:
    found = [event for event in events if isinstance(event, Ended)]
    assert len({event.index for event in found}) == len(found), "an end came twice"
    return {event.index: event for event in found}


def outcome(event: Ended) -> str:
    return event.failure.reason if event.failure else event.note


def frames_of(events: list[Event], index: int) -> list[float]:
    return [s for e in events if isinstance(e, Frames) and e.index == index for s in e.seconds]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def wait_until(condition, seconds: float = 20.0) -> bool:  # type: ignore[no-untyped-def]
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def test_real_videos_arrive_as_decoded_in_process(tmp_path: Path) -> None:
    lengths = [1, 40, 130, 26]
    paths = [str(clips.clip(tmp_path / f"{n}.mp4", frames=n)) for n in lengths]
    refs = [VideoRef(path, path) for path in paths]
    with decode_videos(refs, Preprocess(), fps=5.0, workers=2) as pool:
        events = list(pool)
    for index, path in enumerate(paths):
        mine = [event for event in events if event.index == index]
        assert isinstance(mine[0], Started) and mine[0].source.path == path
        assert isinstance(mine[-1], Ended) and mine[-1] == Ended(index)
        seconds = np.concatenate([e.seconds for e in mine if isinstance(e, Frames)])
        images = np.concatenate([e.images for e in mine if isinstance(e, Frames)])
        expected = list(sample_frames(path, Preprocess(), 5.0))
        assert seconds.tolist() == [s for s, _ in expected]
        assert np.array_equal(images, [image for _, image in expected])
    assert (pool.stats.videos, pool.stats.failed) == (4, 0)
    assert pool.stats.frames == sum(len(frames_of(events, index)) for index in range(4))
    assert pool.stats.video_seconds == pytest.approx(0 + 1.4 + 5 + 1, abs=0.3)
    assert pool.stats.cpu_seconds > 0 and pool.stats.queued_bytes == 0


def test_every_reason_of_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video\n" * 99)
    names = ["nowhere.mp4", "empty.mp4", "text.mp4"]
    refs = [VideoRef(name, str(tmp_path / name)) for name in names]
    with decode_videos(refs, SMALL, workers=1) as pool:
        found = ends(list(pool))
    assert [outcome(found[n]) for n in range(3)] == ["missing", "empty", "not_a_video"]
    for n, size in enumerate([-1, 0, 9 * 99]):
        failure = found[n].failure
        assert failure and failure.id == names[n] and failure.source.size == size


def test_each_kind_of_death_costs_one_video() -> None:
    paths = ["end:3", "segfault:2", "killed:0", "exits:1", "unexpected:1", "error:9", "note_it:2"]
    with pool_of(*paths, "end:1", "end:40") as pool:
        events = list(pool)
    found = ends(events)
    assert [outcome(found[n]) for n in range(9)] == [
        "",
        "decoder_crashed",
        "decoder_crashed",
        "decoder_crashed",
        "decoder_crashed",
        "broken",
        "a note",
        "",
        "",
    ]
    details = {n: found[n].failure.detail for n in range(1, 6)}  # type: ignore[union-attr]
    assert "SIGSEGV" in details[1] and "SIGKILL" in details[2]
    assert "exit code 3" in details[3] and "last words" in details[3]
    assert details[4] == "unexpected KeyError: 'surprise'" and details[5] == "too bad"
    assert frames_of(events, 0) == [0, 1, 2]
    assert frames_of(events, 8) == [float(n) for n in range(40)]
    assert (pool.stats.videos, pool.stats.failed) == (9, 5)


def test_a_video_that_another_one_brings_down_is_tried_again() -> None:
    with pool_of("end:1", "poison:2", "end:60", "segfault:5", "end:3", workers=1) as pool:
        events = list(pool)
    found = ends(events)
    assert [outcome(found[n]) for n in (0, 1, 3, 4)] == ["", "", "decoder_crashed", ""]
    assert "second process" in found[2].note and "SIGSEGV" in found[2].note
    for n, frames in {0: 1, 1: 2, 2: 60, 4: 3}.items():
        assert frames_of(events, n) == [float(k) for k in range(frames)]
        assert sum(isinstance(e, Started) and e.index == n for e in events) == 1
    assert (pool.stats.videos, pool.stats.failed, pool.stats.frames) == (5, 1, 66)


def test_a_process_without_a_sign_of_life_is_given_up() -> None:
    begin = time.monotonic()
    with pool_of("hang:1", "end:2", "hang:0", "end:3", stall_seconds=1.5) as pool:
        found = ends(list(pool))
    assert [outcome(found[n]) for n in range(4)] == ["decoder_stalled", "", "decoder_stalled", ""]
    assert found[0].failure and found[0].failure.detail == "no progress for 1.5 s"
    assert time.monotonic() - begin < 20


def test_a_slow_decoder_is_no_stalled_one() -> None:
    with pool_of("slow:1", stall_seconds=2.5) as pool:
        assert outcome(ends(list(pool))[0]) == ""


def test_a_slow_consumer_stalls_nobody_and_memory_is_bounded() -> None:
    big = Preprocess(resize=256, crop=224)
    with pool_of("end:300", preprocess=big, stall_seconds=2.0, max_in_flight_mb=8) as pool:
        fill = []
        for event in pool:
            if isinstance(event, Frames) and not fill:
                time.sleep(3.5)
                fill.append(pool.stats.queued_bytes)
    assert outcome(event) == "" and pool.stats.frames == 300  # type: ignore[arg-type]
    assert 0 < max(fill) <= 8 << 20
    assert pool.stats.blocked_seconds > 1


def test_noise_on_standard_output_does_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    with pool_of("prints:1", "end:1") as pool:
        assert [outcome(end) for end in ends(list(pool)).values()] == ["", ""]
    assert capfd.readouterr() == ("", "")


def test_processes_are_light() -> None:
    with pool_of("modules:0") as pool:
        assert outcome(ends(list(pool))[0]) == "heavy: []"


def test_a_killed_idle_process_is_replaced() -> None:
    with pool_of("end:1", "end:1", "end:1", workers=1, max_in_flight_mb=1) as pool:
        events = [next(pool)]
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
        events += list(pool)
    found = ends(events)
    assert len(found) == 3 and Counter(map(outcome, found.values()))[""] >= 2


def test_signals_for_the_whole_group_are_left_to_the_pool() -> None:
    """A video must not count as failed because a decoder was told to stop before its pool was."""
    with pool_of("slow:40", workers=1) as pool:
        events = [next(pool)]
        for pid in pool.pids:
            for signal_ in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                os.kill(pid, signal_)
        events += list(pool)
    assert outcome(ends(events)[0]) == "" and len(frames_of(events, 0)) == 40


def test_a_video_begun_while_the_pool_closes_is_not_decoded_to_its_end() -> None:
    threads = threading.active_count()
    pool = pool_of("endless:0", workers=1)
    next(pool)
    pool._events.close()  # without killing, as where the process was not yet there to be killed
    assert wait_until(lambda: threading.active_count() <= threads)
    pool.close()


@pytest.mark.parametrize("how", ["close", "break", "raise", "forget"])
def test_nothing_is_left_behind(how: str) -> None:
    threads = threading.active_count()
    pool = pool_of("endless:0", "endless:0", "hang:5")
    for event in pool:
        if isinstance(event, Frames):
            break
    pids = pool.pids
    assert len(pids) == 2 and not any(map(gone, pids))
    if how == "close":
        pool.close()
        assert next(pool, None) is None
    elif how == "raise":
        with pytest.raises(RuntimeError), pool:
            raise RuntimeError("in the consumer")
    del pool
    assert wait_until(lambda: all(map(gone, pids)))
    assert wait_until(lambda: threading.active_count() <= threads)


def test_a_killed_parent_takes_its_processes_along() -> None:
    code = (
        "from tests.e2e.test_decode_pool import *\n"
        "pool = pool_of('endless:0', 'hang:1', max_in_flight_mb=1)\n"
        "started = [e for e in [next(pool), next(pool), next(pool)]]\n"
        "print(*pool.pids, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2 and not any(map(gone, pids))
    parent.kill()
    parent.communicate()
    assert wait_until(lambda: all(map(gone, pids)))


def test_a_script_without_a_guard_can_decode(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.mp4", frames=30)
    script = tmp_path / "script.py"
    script.write_text(
        "from pipeline.decode import decode_videos\n"
        "from pipeline.records import Preprocess, VideoRef\n"
        f"events = list(decode_videos([VideoRef('a', {str(path)!r})], Preprocess(), workers=1))\n"
        "print([type(event).__name__ for event in events])\n"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "['Started', 'Frames', 'Ended']\n" and done.stderr == ""


def test_processes_that_cannot_start_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(PipelineError, match="cannot start a decoding process"):
        list(pool_of("end:1"))


def test_a_system_without_room_for_processes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(PipelineError, match="Cannot allocate memory; use fewer"):
        list(pool_of("end:1"))


def test_no_videos() -> None:
    with decode_videos([], SMALL) as pool:
        assert list(pool) == []


def test_a_thousand_videos_with_many_failures() -> None:
    paths = ["end:2", "error:1", "end:0", "unexpected:3", "note_it:33"] * 200
    paths[500] = "segfault:1"
    with pool_of(*paths) as pool:
        events = list(pool)
    found = ends(events)
    assert sorted(found) == list(range(1000))
    assert Counter(map(outcome, found.values())) == {
        "": 399,
        "broken": 200,
        "decoder_crashed": 201,
        "a note": 200,
    }
    by_video = Counter[int]()
    for event in events:
        if isinstance(event, Frames):
            by_video[event.index] += len(event.seconds)
    assert all(
        by_video[n] == int(path.partition(":")[2])
        for n, path in enumerate(paths)
        if not found[n].failure
    )
