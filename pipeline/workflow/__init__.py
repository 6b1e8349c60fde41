"""Both stages as one piece of work, for the command line and for Python alike.

A comparison names where the videos of each side come from. Stores are opened, listed videos go
through stage one first, the model is adapted or a threshold looked up if that was asked for, and
stage two runs. Whoever calls gives a `Host`, which loads the model, runs stage one and passes on
notes in its own way.
"""

from .comparison import Comparison, VideoSource, check_rate_range, check_threshold
from .host import Host, SearchHost
from .preparation import (
    PreparedSearch,
    config_as_in,
    open_video_set,
    prepared_search,
    store_notes,
    with_calibrated_threshold,
)
from .reporting import report_errors, segment_refiner, tell_segments, write_report
from .searches import compare, find_matches, plot_pair
from .shards import ShardReport, compare_shard, merge_results

__all__ = [
    "Comparison",
    "Host",
    "PreparedSearch",
    "SearchHost",
    "ShardReport",
    "VideoSource",
    "check_rate_range",
    "check_threshold",
    "compare",
    "compare_shard",
    "config_as_in",
    "find_matches",
    "merge_results",
    "open_video_set",
    "plot_pair",
    "prepared_search",
    "report_errors",
    "segment_refiner",
    "store_notes",
    "tell_segments",
    "with_calibrated_threshold",
    "write_report",
]
