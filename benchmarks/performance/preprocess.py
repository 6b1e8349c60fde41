"""Compares our frames with those of the published loader, and the time of each resize method.

    python benchmarks/performance/preprocess.py VIDEO_OR_FOLDER... [--model_dir model/]

The reference is OpenCV as the published code used it: decode everything, every round(rate)-th
frame, `resize(fx=, fy=, INTER_CUBIC)` to a shorter side of 256, central 224 x 224. Needs
`pip install opencv-python-headless`; the project itself does not. Prints a line per video:

    frames   number sampled by this pipeline / by the reference
    pipeline mean absolute difference (levels of 0..255) of the two pipelines, frame by frame
    bicubic  the same for our resize of the frames that the reference decoded
    swscale  the same for FFmpeg's bicubic resize of the decoded frame
    cosine   mean and minimum over region descriptors of both pipelines (with --model_dir)
    ms       per frame: FFmpeg to RGB and our resize; FFmpeg's bicubic resize
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.errors import VideoError
from pipeline.image.resize import resize_crop
from pipeline.inputs import scan_folder
from pipeline.records import Preprocess
from pipeline.video import sample_frames

SIZES = Preprocess()
REPEATS = 10


def reference(path: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Run the published loader: resized frames [T, 224, 224, 3], and the decoded frames."""
    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(path)
    rate = capture.get(cv2.CAP_PROP_FPS)
    rate = 25 if rate > 144 or not rate else rate
    small, large = [], []
    for count in range(1 << 30):
        if not capture.grab():
            break
        if count % round(rate) == 0:
            rgb = np.ascontiguousarray(capture.retrieve()[1][..., ::-1])
            large.append(rgb)
            small.append(opencv_resize(rgb))
    return np.array(small), large


def opencv_resize(rgb: np.ndarray) -> np.ndarray:
    ratio = SIZES.resize / min(rgb.shape[:2])
    image = cv2.resize(rgb, (0, 0), fx=ratio, fy=ratio, interpolation=cv2.INTER_CUBIC)
    return centre(image)


def centre(image: np.ndarray) -> np.ndarray:
    top, left = (max(0, (side - SIZES.crop) // 2) for side in image.shape[:2])
    return image[top : top + SIZES.crop, left : left + SIZES.crop]


def swscale(reformatter: VideoReformatter, frame: av.VideoFrame) -> np.ndarray:
    ratio = SIZES.resize / min(frame.width, frame.height)
    return centre(
        reformatter.reformat(
            frame,
            round(frame.width * ratio),
            round(frame.height * ratio),
            "rgb24",
            interpolation=Interpolation.BICUBIC,
            threads=1,
        ).to_ndarray()
    )


def pipeline_resize(reformatter: VideoReformatter, frame: av.VideoFrame) -> np.ndarray:
    rgb = reformatter.reformat(
        frame, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1
    )
    return resize_crop(rgb.to_ndarray(), SIZES)


def first_frame(path: str) -> av.VideoFrame:
    with av.open(path) as container:
        return next(container.decode(video=0))


def milliseconds(make: Callable[[VideoReformatter, av.VideoFrame], np.ndarray], frame) -> float:
    reformatter, best = VideoReformatter(), np.inf
    make(reformatter, frame)
    for _ in range(REPEATS):
        begin = time.perf_counter()
        make(reformatter, frame)
        best = min(best, time.perf_counter() - begin)
    return best * 1e3


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean()) if a.shape == b.shape else float("nan")


def cosines(net: object, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    u, v = (np.asarray(net.extract_features(x), np.float64) for x in (a, b))  # type: ignore[attr-defined]
    return (u * v).sum(-1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(v, axis=-1)


def measure(path: str, net: object) -> dict[str, float | str]:
    reference_frames, large = reference(path)
    frames = np.array([image for _, image in sample_frames(path, SIZES)])
    count = min(len(reference_frames), len(frames))
    if not count:
        raise VideoError("no_frames", "the reference cannot read it")
    frame = first_frame(path)
    row: dict[str, float | str] = {
        "video": Path(path).name[-32:],
        "size": f"{frame.width}x{frame.height}",
        "frames": f"{len(frames)}/{len(reference_frames)}",
        "pipeline": difference(frames[:count], reference_frames[:count]),
        "bicubic": difference(np.array([resize_crop(x, SIZES) for x in large]), reference_frames),
        "swscale": difference(swscale(VideoReformatter(), frame), reference_frames[0]),
        "ms ours": milliseconds(pipeline_resize, frame),
        "ms swscale": milliseconds(swscale, frame),
    }
    if net is not None:
        values = cosines(net, frames[:count], reference_frames[:count])
        row |= {"cosine": float(values.mean()), "min cosine": float(values.min())}
    return row


def paths(arguments: list[str]) -> Iterator[str]:
    for name in arguments:
        yield from (ref.path for ref in scan_folder(name)) if Path(name).is_dir() else [name]


def format_row(row: dict[str, float | str]) -> str:
    cells = [f"{v:.4f}" if isinstance(v, float) else v for v in row.values()]
    return "  ".join(f"{cell:>{max(10, len(k))}}" for k, cell in zip(row, cells, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--model_dir")
    arguments = parser.parse_args()
    net = None
    if arguments.model_dir:
        from pipeline import ViSiL

        net = ViSiL(arguments.model_dir)
    rows = []
    for path in paths(arguments.videos):
        try:
            rows.append(measure(path, net))
        except (VideoError, TypeError, ValueError) as error:
            print(f"{path}: left out: {error}")
            continue
        if len(rows) == 1:
            print("  ".join(f"{k:>{max(10, len(k))}}" for k in rows[0]))
        print(format_row(rows[-1]), flush=True)
    numbers = [k for k, v in rows[0].items() if isinstance(v, float)]
    mean = {k: float(np.nanmean([row[k] for row in rows])) for k in numbers}  # type: ignore[list-item]
    print({k: round(v, 4) for k, v in mean.items()}, f"over {len(rows)} videos")


if __name__ == "__main__":
    main()
