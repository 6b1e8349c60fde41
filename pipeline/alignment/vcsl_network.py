"""Temporal network as VCSL has it: longest paths over the best database frames of each frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from .segment import Segment
from .timeline import Timeline
from .vcsl_boxes import Box, overlap, segments_of


def align_by_vcsl_network(
    matrix: np.ndarray, query: Timeline, database: Timeline, max_segments: int
) -> list[Segment]:
    """Take the longest paths one after another; see `protocol.Aligner`, and `network_boxes`."""
    return segments_of(network_boxes(matrix), matrix, query, database, max_segments)


def network_boxes(
    matrix: np.ndarray,
    *,
    max_step: int = 10,
    top_k: int = 3,
    max_path: int = 10,
    min_sim: float = 0.3,
    min_length: int = 5,
    max_overlap: float = 0.3,
) -> list[Box]:
    """Boxes of the paths with the largest sums of similarities.

    After Tan et al., "Scalable detection of partial near-duplicate videos by visual-temporal
    consistency", ACM Multimedia 2009, as in VCSL (He et al., CVPR 2022); defaults are its settings
    for ISC descriptors. Once a path is found its edges weigh nothing in the next round.

    Args:
        matrix: float32 [Q, D].
        max_step: frames that an edge spans on either side are fewer.
        top_k: database frames of each query frame that are nodes.
        max_path: paths that are searched, less one.
        min_sim: similarity of a node that an edge leads to; and what the sum of a path, divided by
            the length of its box, must exceed.
        min_length: frames that a box must exceed on both sides.
        max_overlap: intersection over union with a better box that leaves one out.
    """
    network = _Network.of(matrix, max_step, top_k, min_sim)
    boxes: list[Box] = []
    for _ in range(max_path + 1):
        nodes = network.longest_path()
        network.clear(nodes)
        inner = [n for n in nodes if n not in (0, len(network.cells) - 1)]
        if not inner:
            break
        rows, columns = np.array([network.cells[n] for n in inner]).T
        score = float(np.sum(matrix[rows, columns], dtype=np.float64))
        box = (int(rows.min()), int(columns.min()), int(rows.max()), int(columns.max()))
        height, width = box[2] - box[0], box[3] - box[1]
        if (
            score > 0
            and min(height, width) > min_length
            and score / ((height + width) / 2) > min_sim
            and overlap(box, boxes).max(initial=0) < max_overlap
        ):
            boxes.append(box)
    return boxes


@dataclass
class _Network:
    """Nodes with their cells, and the edges that lead to each.

    Node 0 stands before the first frames, and the last node is the end, as in VCSL's code.

    Attributes:
        cells: row and column of each node.
        edges: of each node those that lead to it: node -> weight.
    """

    cells: list[tuple[int, int]] = field(default_factory=lambda: [(-1, -1)])
    edges: list[dict[int, float]] = field(default_factory=list)

    @classmethod
    def of(cls, matrix: np.ndarray, max_step: int, top_k: int, min_sim: float) -> _Network:
        top = np.argsort(-matrix, axis=1, kind="stable")[:, :top_k]
        network = cls()
        network.cells += [(i, int(j)) for i, row in enumerate(top) for j in row]
        network.edges = [{} for _ in network.cells]
        for i in range(len(top)):
            network._add_edges_from(i, matrix, top, max_step, min_sim)
        last = len(network.cells) - 1
        row, column = network.cells[last]
        for node, (i, j) in enumerate(network.cells[:last]):
            if 0 < row - i <= max_step and 0 < column - j <= max_step:
                network.edges[last][node] = 0.0
        return network

    def _add_edges_from(
        self, i: int, matrix: np.ndarray, top: np.ndarray, max_step: int, min_sim: float
    ) -> None:
        """Edges forward on both sides, unless a node that was reached lies between."""
        own, count = top[i], top.shape[1]
        reached = np.empty(0, np.intp)
        for k in range(i + 1, min(len(top), i + max_step)):
            step = top[k][:, None] - own
            fits = (step > 0) & (step < max_step) & (matrix[k, top[k]][:, None] >= min_sim)
            between = (reached > own[:, None]) & (reached < top[k][:, None, None])
            fits &= ~between.any(axis=-1)
            targets, sources = np.nonzero(fits)
            reached = np.union1d(reached, top[k][targets])
            for target, source in zip(targets.tolist(), sources.tolist(), strict=True):
                weight = float(matrix[k, top[k][target]])
                self.edges[1 + k * count + target][1 + i * count + source] = weight

    def longest_path(self) -> list[int]:
        """Nodes of the path with the largest sum; of equal ones the end with the fewest edges."""
        sums: list[float] = []
        origins: list[int] = []
        depths: list[int] = []
        for node, edges in enumerate(self.edges):
            best, origin, depth = 0.0, node, 0
            for place, (source, weight) in enumerate(edges.items()):
                total = sums[source] + weight
                depth = max(depth, depths[source] + 1)
                if not place or total > best:
                    best, origin = total, source
            if best < 0:
                best, origin = 0.0, node
            sums.append(best)
            origins.append(origin)
            depths.append(depth)
        node = max(range(len(sums)), key=lambda n: (sums[n], -depths[n]))
        path = [node]
        while origins[node] != node:
            node = origins[node]
            path.append(node)
        return path[::-1]

    def clear(self, path: list[int]) -> None:
        """Let the edges of a path weigh nothing."""
        for source, target in pairwise(path):
            self.edges[target][source] = 0.0
