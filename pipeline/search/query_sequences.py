"""What is searched for each query: the video, its insets and its mirrored copy."""

from __future__ import annotations

import numpy as np

from .request import SearchRequest
from .video_set import VideoSet


def query_sequences(request: SearchRequest) -> tuple[VideoSet, np.ndarray]:
    """The sequences that are searched, and the row of each, intp: the number of its query."""
    queries, mirrored = request.queries, request.mirrored
    insets = request.config.query_insets
    sequences, row_index = queries.split_insets(insets)
    if mirrored is None or not mirrored.sound.any():
        return sequences, row_index
    row = {video_id: number for number, video_id in enumerate(queries.ids)}
    mirrored_rows = np.array([row[video_id] for video_id in mirrored.ids], np.intp)
    mirrored_sequences, owner = mirrored.split_insets(insets)
    return sequences.concat(mirrored_sequences), np.concatenate([row_index, mirrored_rows[owner]])
