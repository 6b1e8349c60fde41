"""What a search has ready of a database before queries come: the network and the read plan.

A search makes an engine for itself. Who searches one database many times keeps the engine: then
nothing is compiled again, and features of the database stay on the device up to a limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..inputs import no_garbage_collection
from .limits import Limits
from .request import SearchRequest
from .scoring import ScoringLoop
from .video_set import VideoSet

if TYPE_CHECKING:
    from ..nets.similarity.pair_scorer import PairScorer

_RESIDENT_BLOCK_MB = 128  # of features that stay on the device


def pair_scorer(request: SearchRequest) -> PairScorer:
    """The similarity network of a request, on its device."""
    with no_garbage_collection():  # an import makes many objects
        from ..nets.backend import device_scope, resolve_similarity_precision
        from ..nets.similarity.pair_scorer import PairScorer

    precision = resolve_similarity_precision(request.config.precision, request.gpu_id)
    with device_scope(request.gpu_id):
        return PairScorer(
            request.model, request.similarity_function, precision, gpu_id=request.gpu_id
        )


class SearchEngine:
    """The network, and the videos of a database in the order in which they are read.

    It holds for requests with the same model, settings and device. Videos that turned out to be
    damaged before it is made are not read.

    Attributes:
        database: the videos.
        limits: how much is in memory at once.
        loop: scores queries against them.
        column_index: the column of each sequence, an inset's being that of its video.
        reader: of the sequences.

    Raises:
        StoreError: all videos of the database are damaged.
    """

    def __init__(
        self,
        request: SearchRequest,
        database: VideoSet | None = None,
        limits: Limits | None = None,
        *,
        scorer: PairScorer | None = None,
        resident_mb: int = 0,
    ) -> None:
        """Make it for a request.

        Args:
            database: another set than the request's database, such as its background.
            limits: None takes what suits most machines.
            scorer: the request's network, if it was made already.
            resident_mb: features of the database that stay on the device between searches, in MiB
                there; the rest is read again for every search.
        """
        config = request.config
        self.database = request.database if database is None else database
        self.limits = limits or Limits()
        scorer = scorer or pair_scorer(request)
        self.loop = ScoringLoop(
            scorer,
            request.similarity_function,
            config.batch_size,
            config.load_queries,
            request.gpu_id,
            self.limits,
        )
        block_mb = config.block_mb
        if resident_mb:  # few large blocks: each costs calls of the network in every search
            block_mb = max(block_mb, min(_RESIDENT_BLOCK_MB, resident_mb // 4))
        sequences, self.column_index = self.database.split_insets()
        spec = sequences.spec
        on_device = 4 if scorer.precision == "float32" else 2
        frame_bytes = spec.shared_descriptors * spec.dims * on_device
        self.reader = self.loop.reader(
            sequences,
            database_block_frames(block_mb, sequences, self.limits),
            descriptors=spec.shared_descriptors,
            checksums=config.checksums,
            resident_frames=(resident_mb << 20) // frame_bytes,
        )


def database_block_frames(megabytes: int, videos: VideoSet, limits: Limits) -> int:
    """Database frames that are read at a time.

    Args:
        megabytes: memory for them, in MiB.
    """
    # On the device int8 and signs are floats again: no more of them at once than of float16.
    value_bytes = max(2, videos.dtype.itemsize)
    frame_bytes = videos.spec.descriptors * videos.spec.dims * value_bytes
    return limits.database_block_frames(megabytes, frame_bytes)
