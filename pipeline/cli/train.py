"""`train`: fit whitening, attention and comparator on one's own videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..config import Config, TrainConfig
from . import common, options

if TYPE_CHECKING:
    from ..nets.model.model import Model
    from ..training.train import TrainReport


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--video_file", help="List of videos, one `id<TAB>path` a line.")
@click.option("--video_dir", help="Folder of videos instead; ids are the relative paths.")
@click.option(
    "--validation_file",
    help="List of other videos to judge by. Default: a share of the videos, held out by id.",
)
@click.option("-o", "--output_dir", required=True, help="Folder for the trained model.")
@click.option(
    "--work_dir",
    help="Folder for features, checkpoints and the log. Default: OUTPUT_DIR.training",
)
@common.model_dir_option
@common.config_option
@click.option("--force_head", is_flag=True, help="Write the head even if it does not pay.")
@common.handled("interrupted; features and finished epochs are kept, the same command goes on")
@options.settings("train")
def train(
    video_file: str | None,
    video_dir: str | None,
    validation_file: str | None,
    output_dir: str,
    work_dir: str | None,
    model_dir: str | None,
    force_head: bool,
    config: Config,
) -> int:
    """Train a model on your own videos, without labels.

    Copies of the videos are made on the fly, and the model learns to tell them from all others.
    The backbone stays as it is. Exit code 3 says that some videos could not be used.
    """
    from ..inputs import Listing, read_list
    from ..nets.formats import native
    from ..training.train import train_model

    refs = common.read_videos(video_file, video_dir, "video")
    held = read_list(validation_file) if validation_file else None
    target = common.check_model_target(output_dir)
    start = common.load_weights(model_dir)
    # Several lists are worked through: each has a line of its own.
    lines: dict[int, common.ProgressLine] = {}

    def progress(done: int, total: int) -> None:
        lines.setdefault(total, common.ProgressLine()).show(done, total, "videos")

    report = train_model(
        refs,
        held,
        start,
        config.train,
        Path(work_dir or f"{target}.training"),  # a Path drops a slash at the end
        force_head=force_head,
        say=common.say,
        progress=progress,
    )
    native.write(
        described(report, start, config.train), target, common.backbone_dtype(report.weights)
    )
    common.report_failures(report.failures, "could not be used")
    common.say(f"{target}: {_summary(report)}; log: {report.folder / 'log.jsonl'}")
    if report.whitening != "keep":
        common.say("its features are others than the start model's: extract stores anew with it")
    unreadable = refs.unreadable if isinstance(refs, Listing) else {}
    if isinstance(refs, Listing):
        common.report_folder(unreadable, refs.left_out, len(refs.links))
    return common.PARTIAL_FAILURE if report.failures or unreadable else 0


def described(report: TrainReport, start: Model, config: TrainConfig) -> Model:
    """The model with the texts that tell where it comes from."""
    parts = {"keep": "", "pca": "PCA whitening, ", "paired": "paired whitening, "}
    what = parts[report.whitening]
    if report.with_head:
        what += "comparator" if report.weights.attention is None else "attention and comparator"
    else:
        what += "no head, as plain Chamfer was as good"
    trained = (
        f"trained on {report.clips} clips x {config.copies} copies (seed {config.seed}): {what}; "
        f"validation mAP {report.map_head if report.with_head else report.map_plain:.4f}, "
        f"without a head {report.map_plain:.4f}, start model {report.map_before:.4f}"
    )
    return replace(
        report.weights,
        name=f"{start.name.removesuffix('-trained')}-trained",
        description=f"{start.description}; {trained}" if start.description else trained,
        provenance=f"{start.provenance or start.origin}; trained by train_model.py",
    )


def _summary(report: TrainReport) -> str:
    head = "with a head" if report.with_head else "without a head"
    return (
        f"written {head}; validation mAP {report.map_head:.4f} with, "
        f"{report.map_plain:.4f} without ({report.validation_clips} clips)"
    )
