"""One shard of stage one as a process to be killed: LIST STORE K/N; decoders are `Numbered`."""

import sys
from functools import partial

import click

from pipeline.cli import common
from pipeline.cli.extract import _shard
from pipeline.config import ExtractConfig
from pipeline.extraction import run
from pipeline.inputs import read_list
from tests.pixelnet import PixelNet

DECODER = "tests.decoders:Numbered"


@click.command()
@click.argument("arguments", nargs=3)
@common.handled()
def main(arguments: tuple[str, str, str]) -> int:
    listed, store, number = arguments
    run.decode_videos = partial(run.decode_videos, decoder=DECODER)
    config = ExtractConfig(dtype="float32", batch_size=8, workers=1, commit_seconds=0.05)
    videos, shard = _shard(read_list(listed), store, number)
    report = run.extract_features(
        videos, store, PixelNet(), config, shard=shard, progress=lambda r: tell(r.frames)
    )
    return 0 if report.complete else common.PARTIAL_FAILURE


def tell(frames: int) -> None:
    if frames > 20:
        print("at work", flush=True)


if __name__ == "__main__":
    sys.exit(main())
