"""Networks for actors of the tests, and a driver as a process to be killed: LIST STORE ADDRESS."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.cluster.extracting import ClusterOptions, ExtractJob, extract_on_cluster
from pipeline.cluster.ray_engine import ActorOptions
from pipeline.config import ExtractConfig
from pipeline.errors import ModelError
from pipeline.extraction import run
from pipeline.inputs import read_list
from tests.pixelnet import PixelNet
from tests.shard_run import DECODER

CONFIG = ExtractConfig(dtype="float32", batch_size=8, workers=1)
ACTORS = ActorOptions(actors=2, cpus=1)
PIDS = "VISIL_INDEX_TEST_PIDS"  # names the folder where actors note their processes


class NumberedNet(PixelNet):
    """Decoders are `Numbered`; its process is noted, so that a test can kill it."""

    def __init__(self) -> None:
        super().__init__()
        if not isinstance(run.decode_videos, partial):
            run.decode_videos = partial(run.decode_videos, decoder=DECODER)  # type: ignore[assignment]
        (Path(os.environ[PIDS]) / str(os.getpid())).touch()


class DeadlyNet(NumberedNet):
    """Ends its process at a picture of the number 5."""

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        if (frames[:, -1, -1, 0] == 5).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(frames)


class NoNet:
    """Cannot be made, as where a model is not there."""

    def __init__(self) -> None:
        raise ModelError("model.json: no such file; copy the model")


def job(store: str, network: type = NumberedNet) -> ExtractJob:
    return ExtractJob(store, CONFIG, network)  # type: ignore[arg-type]


if __name__ == "__main__":
    listed, store, address = sys.argv[1:]
    cluster = ClusterOptions(address, ACTORS, shard_videos=50)
    extract_on_cluster(read_list(listed), job(store), cluster)
