"""Stage one in shards as bare processes on one store of parts: kills, SIGTERM, grown lists."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cluster.extracting import make_network, with_job_precision
from pipeline.cluster.ray_engine import ActorOptions
from pipeline.config import ExtractConfig
from pipeline.errors import InputError, MachineError
from pipeline.extraction import run as extraction
from pipeline.extraction.run import Shard, extract_features
from pipeline.extraction.shards import listed_places
from pipeline.nets import backend
from pipeline.nets.extractor import feature_net
from pipeline.objects import open_objects
from pipeline.records import VideoRef
from pipeline.store import create_or_append, open_store
from pipeline.store.parts.upkeep import DAY, sweep
from tests import features
from tests.cluster.test_parts import names, opened, puts_in_log
from tests.command import run
from tests.decoders import frames_of_number, picture_of_number
from tests.messages import raises
from tests.pixelnet import PixelNet
from tests.shard_run import DECODER

ROOT = Path(__file__).parents[2]
CONFIG = ExtractConfig(dtype="float32", batch_size=8, workers=1)


def write_list(folder: Path, numbers: range, word: str = "good") -> Path:
    """Every tenth video fails; the others are made from their number."""
    paths = [folder / f"{'fail' if n % 10 == 9 else word}-{n}" for n in numbers]
    for path in paths:
        path.touch()
    lines = [f"v{n:05}\t{path}" for n, path in zip(numbers, paths, strict=True)]
    (folder / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder / "list.txt"


def start(listed: Path, place: str, number: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.shard_run", str(listed), place, number]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def check_exactly_once(place: str, numbers: range) -> None:
    """Each listed video is stored or failed, once, in listed order, with its own vectors."""
    net = PixelNet()
    with opened(place) as store:
        failed = {f"v{n:05}" for n in numbers if n % 10 == 9}
        assert store.ids == [f"v{n:05}" for n in numbers if n % 10 != 9]
        assert set(store.failures) == failed
        store.prefetch([(video_id, 0, store.frames(video_id)) for video_id in store])
        for video_id in store:
            number = int(video_id[1:])
            pictures = [picture_of_number(number, s, 30) for s in range(frames_of_number(number))]
            np.testing.assert_array_equal(store.read(video_id).vectors, net(np.stack(pictures)))
        objects = open_objects(place)
        sweep(objects, store.log, time.time() + 2 * DAY)
        needed = {part.name for number, part in store.log.parts.items() if store.log.live[number]}
        assert set(names(place, "parts")) == needed
    puts = puts_in_log(place)
    assert len(puts) == len(set(puts))


@pytest.mark.slow
def test_killed_shards_store_every_video_once(tmp_path: Path) -> None:
    """kill -9 in four rounds; the shards overlap, as two jobs with other numbers would."""
    numbers, place = range(200), str(tmp_path / "db.parts")
    listed = write_list(tmp_path, numbers, word="slow")  # so that each round leaves work
    pick, kills = random.Random(), 0
    for shards in (("1/2", "2/2"), ("1/3", "3/3"), ("2/3", "1/2"), ("1/1", "2/2")):
        processes = [start(listed, place, shard) for shard in shards]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(pick.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
        for process in processes:
            process.communicate()
            kills += process.returncode == -signal.SIGKILL
    assert kills >= 4
    finish(listed, place)
    check_exactly_once(place, numbers)


def finish(listed: Path, place: str) -> None:
    processes = [start(listed, place, shard) for shard in ("1/2", "2/2")]
    for process in processes:
        process.communicate()
        assert process.returncode == 3  # some videos fail


@pytest.mark.slow
def test_sigterm_seals_and_commits_what_is_done(tmp_path: Path) -> None:
    numbers, place = range(60), str(tmp_path / "db.parts")
    listed = write_list(tmp_path, numbers, word="slow")
    process = start(listed, place, "1/1")
    assert process.stdout is not None and process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 130
    with open_store(place) as store:
        assert 0 < len(store) < 54
    finish(listed, place)
    check_exactly_once(place, numbers)


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = partial(extraction.decode_videos, decoder=DECODER)
    monkeypatch.setattr(extraction, "decode_videos", decode)


def refs(folder: Path, ids: str, word: str = "good") -> list[VideoRef]:
    """Videos by letters; each is a file, but missing ones."""
    paths = {video_id: folder / f"{word}-{ord(video_id)}" for video_id in ids}
    for path in paths.values():
        if word != "missing":
            path.touch()
    return [VideoRef(video_id, str(path)) for video_id, path in paths.items()]


def test_a_list_grown_at_the_front(numbered: None, tmp_path: Path) -> None:
    place = str(tmp_path / "db.parts")
    extract_features(refs(tmp_path, "cde"), place, PixelNet(), CONFIG)
    report = extract_features(refs(tmp_path, "abcdeg"), place, PixelNet(), CONFIG)
    assert sorted(report.stored) == ["a", "b", "g"] and report.already == 3
    extract_features(refs(tmp_path, "abcdefg"), place, PixelNet(), CONFIG)
    with open_store(place) as store:
        assert store.ids == list("abcdefg")
    assert sorted(puts_in_log(place)) == list("abcdefg")


def test_a_shard_reports_what_another_stored_first(
    numbered: None, tmp_path: Path, monkeypatch: Any
) -> None:
    place = str(tmp_path / "db.parts")
    shard = Shard(listed_places(list("abc"), {}), "job-1of2")
    original = extraction._Run.work

    def late(self: Any) -> None:
        monkeypatch.setattr(extraction._Run, "work", original)
        extract_features(refs(tmp_path, "b"), place, PixelNet(), CONFIG)
        original(self)

    monkeypatch.setattr(extraction._Run, "work", late)
    report = extract_features(refs(tmp_path, "abc"), place, PixelNet(), CONFIG, shard=shard)
    assert sorted(report.stored) == ["a", "c"] and report.already == 1 and report.todo == 2
    assert report.complete
    parts = [name.rpartition("/")[2] for name in names(place, "parts")]
    assert any(part.startswith("job-1of2-") for part in parts)


def test_many_missing_files_are_a_failure_of_the_machine(numbered: None, tmp_path: Path) -> None:
    place = str(tmp_path / "db.parts")
    create_or_append(place, PixelNet().spec(1.0, "shown-at/1"), "float32").close()
    ids = "abcdefghijklmnop"
    videos = [*refs(tmp_path, ids[:6]), *refs(tmp_path, ids[6:], "missing")]
    shard = Shard(listed_places(list(ids), {}), "job-1of1")
    with raises(MachineError, "10 of 16", "missing-103", remedy="mount"):
        extract_features(videos, place, PixelNet(), CONFIG, shard=shard)
    with open_store(place) as store:
        assert store.ids == list(ids[:6]) and store.failures == {}
    few = [*refs(tmp_path, ids[:8]), *refs(tmp_path, ids[8:10], "missing")]
    report = extract_features(few, place, PixelNet(), CONFIG, shard=shard)
    assert list(report.failures) == ["i", "j"]
    with open_store(place) as store:
        assert sorted(store.failures) == ["i", "j"]


def test_another_arithmetic_than_the_job_s_is_refused(numbered: None, tmp_path: Path) -> None:
    place = str(tmp_path / "db.parts")
    extract_features(refs(tmp_path, "a"), place, PixelNet(), CONFIG)

    class Half(PixelNet):
        precision = "bfloat16"

    with raises(MachineError, place, "bfloat16", remedy="--precision float32"):
        extract_features(refs(tmp_path, "ab"), place, Half(), CONFIG)


def test_all_actors_take_the_arithmetic_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with other products does not take its own; what is asked for stays."""
    model, on_cpu = features.model(attention=False), ActorOptions()
    monkeypatch.setattr(backend, "_cpu_has_bfloat16", lambda: True)
    config = with_job_precision(model, CONFIG, on_cpu)
    monkeypatch.setattr(backend, "_cpu_has_bfloat16", lambda: False)
    assert config.precision == "bfloat16"
    assert with_job_precision(model, config, on_cpu).precision == "bfloat16"
    assert with_job_precision(model, CONFIG, on_cpu).precision == "float32"
    assert with_job_precision(model, CONFIG, ActorOptions(gpus=0.5)).precision == "float16"


def test_actors_compute_with_the_engine_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_net, "FeatureNet", lambda *_, engine: engine)
    config = replace(CONFIG, engine="openvino")
    assert make_network(features.model(attention=False), config) == "openvino"


def test_shards_need_a_store_of_parts(tmp_path: Path) -> None:
    listed = write_list(tmp_path, range(3))
    output = run(
        "extract",
        "-v",
        listed,
        "-o",
        tmp_path / "db.h5",
        "--shard",
        "1/2",
        code=InputError.exit_code,
    )
    assert ".parts" in output
