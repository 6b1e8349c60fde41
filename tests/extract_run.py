"""Stage one as a process to be killed: LIST STORE; prints each id when it is reported as stored."""

import sys

from pipeline.config import ExtractConfig
from pipeline.extraction.run import extract_features
from pipeline.inputs import read_list
from tests.pixelnet import PixelNet

if __name__ == "__main__":
    told: set[str] = set()

    def tell(report):
        for video_id in report.stored:
            if video_id not in told:
                told.add(video_id)
                print(video_id, flush=True)

    config = ExtractConfig(dtype="float32", batch_size=5, workers=2, commit_seconds=0.02)
    extract_features(read_list(sys.argv[1]), sys.argv[2], PixelNet(), config, progress=tell)
