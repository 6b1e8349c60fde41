"""The parts of the ViSiL paper one by one: whitening, comparator, attention, on regions alone.

    python -m benchmarks.retrieval.studies.heads SET_DIR [--split validation] [--model_dir model]

The model's backbone and whitening, without what it has beyond the paper (further looks at a frame,
insets; the weights of empty regions stay). Heads are trained as the model's own was, with the
settings of `configs/shipped.yaml` but for what a row says, on the clips of SET_DIR/train, and kept
in SET_DIR/heads; a second run only compares. ViSiL (ICCV 2019), sections 3.1 to 3.3.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.retrieval import command
from benchmarks.retrieval.baselines.untrained import untrained
from benchmarks.retrieval.report.metrics_by_kind import figures_by_kind
from benchmarks.retrieval.studies.ablation import HEADS, cells_of
from benchmarks.retrieval.studies.evaluate import configs, model_stores, read_lists, to_stderr
from benchmarks.retrieval.studies.settings import scored
from pipeline.cli.common import backbone_dtype
from pipeline.config import CompareConfig, TrainConfig, load_config
from pipeline.errors import PipelineError
from pipeline.nets.formats import native
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.descriptors import standard_layout
from pipeline.nets.model.model import Model
from pipeline.records import VideoRef
from pipeline.training.train import train_model

SETTINGS = Path(__file__).resolve().parents[3] / "configs" / "shipped.yaml"
DIMS = (128, 256)  # beside all that the whitening has


@dataclass(frozen=True)
class Row:
    """One row: which model, how many dims, how it is compared."""

    name: str
    model: Callable[[], Model]
    dims: int | None = None
    function: str = "chamfer"


def regions_alone(model: Model) -> Model:
    """The model as the paper has one: regions, whitening, Chamfer; no head."""
    return replace(
        model,
        name=f"{model.name}-regions",
        lowpass=None,
        thumbnail=None,
        layout=standard_layout(model.grid**2),
        anchors=None,
        attention=None,
        comparator=None,
        residual_weight=0.0,
        insets=0,
        similarity_function="chamfer",
        calibrations=(),
        features_digest="",
    )


def training_clips(set_dir: Path) -> list[VideoRef]:
    """The clips of the training split, without their copies; sorted as for the model itself.

    Raises:
        FileNotFoundError: that split was not built.
    """
    queries, database, _ = read_lists(set_dir / "train")
    clips = {**queries, **database}
    return [VideoRef(i, p) for i, p in sorted(clips.items()) if "/clips/" in p]


class Heads:
    """Heads for a model, trained once and kept.

    Args:
        set_dir: of the benchmark; its training split has to be there.
        model: the start.
    """

    def __init__(self, set_dir: Path, model: Model) -> None:
        self._set_dir, self._model = set_dir, model
        self._folder = set_dir / "heads" / model.features_digest[:16]

    def trained(self, attention: bool, skip: float) -> Model:
        """With a comparator, and attention if asked for; `skip` of the output passes it by."""
        config = replace(load_config(SETTINGS).train, attention=attention, skip=skip)
        clips = training_clips(self._set_dir)
        made_by = json.dumps([asdict(config), [clip.id for clip in clips]], sort_keys=True)
        digest = hashlib.sha256(made_by.encode()).hexdigest()[:8]
        target = self._folder / f"attention_{int(attention)}_skip_{skip}_{digest}"
        if not native.is_own(target):
            weights = self._fit(config, clips)
            native.write(weights, target, backbone_dtype(weights))
        return load_model(target)

    def _fit(self, config: TrainConfig, clips: list[VideoRef]) -> Model:
        queries, *_ = read_lists(self._set_dir / "validation")
        held = [VideoRef(i, p) for i, p in queries.items()]
        work = self._folder / "training"
        report = train_model(clips, held, self._model, config, work, force_head=True, say=to_stderr)
        if report.failures:
            raise RuntimeError(f"{self._set_dir}: {report.failures}")
        return report.weights


def rows(model: Model, set_dir: Path) -> Iterator[Row]:
    """What is compared, in order; a head is trained when its row is."""
    plain = regions_alone(model)
    heads = Heads(set_dir, plain)
    yield Row("nothing fitted", lambda: untrained(model))
    for dims in DIMS:
        yield Row(f"whitened to {dims}", lambda: plain, dims)
    yield Row(f"whitened to {plain.dims}", lambda: plain)
    yield Row("the same, symmetric", lambda: plain, function="symmetric_chamfer")
    yield Row("and comparator", lambda: heads.trained(False, 0.0))
    yield Row("and half of it the matrix", lambda: heads.trained(False, 0.5))
    yield Row("and attention, comparator", lambda: heads.trained(True, 0.0))
    yield Row(
        "the attention of the last alone",
        lambda: replace(heads.trained(True, 0.0), comparator=None),
    )


def rows_of(options: argparse.Namespace) -> Iterator[list[str]]:
    """Cells of the table."""
    split = options.set_dir / options.split
    *sides, kinds = read_lists(split)
    lists = [list(videos) for videos in sides]
    extract, compare = configs(options)
    if compare != CompareConfig() or (extract.dims, extract.insets) != (None, None):
        raise RuntimeError("dims, insets and the way of comparing are those of the rows: give none")
    model = load_model(options.model_dir)
    if model.adaptation is not None:
        raise RuntimeError(f"{options.model_dir}: is adapted; give the model it was made of")
    for row in rows(model, options.set_dir):
        to_stderr(row.name)
        used = row.model()
        folder = options.set_dir / "heads" / used.features_digest[:16] / "regions"
        if not native.is_own(folder):
            native.write(used, folder, backbone_dtype(used))
        setting = replace(extract, dims=row.dims, insets=0)
        stores = model_stores(sides, split, folder, setting, to_stderr)
        compare = CompareConfig(similarity_function=row.function)
        found = figures_by_kind(scored(stores, lists, used, compare), kinds)
        yield [row.name, *cells_of(found)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    try:
        return command.run(__doc__, HEADS, rows_of, arguments)
    except PipelineError as error:
        to_stderr(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
