"""Least costs of labelled grids, found in ways of their own, for tests.

A grid has integer slopes ``(n,)`` of its cells, a bonus for labels between the first and the last,
and weighted borders, rows ``(cell, cell, weight)``. With labels t the cost is the sum of
``slope * t``, less the bonuses, and of ``weight * (t_p - t_q)**2``.
"""

import functools
import itertools
from collections import deque
from typing import NamedTuple

import numpy as np


class Grid(NamedTuple):
    """A labelling problem."""

    levels: int
    slopes: np.ndarray
    between: int
    borders: list


def grid_borders(rows, columns):
    """Pairs of neighbouring cells, row by row: those to the right, then those below."""
    cells = np.arange(rows * columns).reshape(rows, columns)
    pairs = [cells[:, :-1].ravel(), cells[:, 1:].ravel()], [cells[:-1].ravel(), cells[1:].ravel()]
    return np.concatenate([np.transpose(pair) for pair in pairs])


def cost(grid, labels):
    """Cost of labels ``(..., n)``."""
    labels = np.asarray(labels, np.int64)
    total = labels @ grid.slopes
    total = total - grid.between * ((labels > 0) & (labels < grid.levels - 1)).sum(-1)
    for p, q, weight in grid.borders:
        total = total + weight * (labels[..., p] - labels[..., q]) ** 2
    return total


@functools.cache
def every_label(levels, cells):
    """All labellings, ``(levels**cells, cells)``."""
    return np.array(list(itertools.product(range(levels), repeat=cells)), np.int64)


@functools.cache
def _terms(levels, cells, pairs):
    """What each labelling has of each slope, weight and bonus; floats, which are exact here."""
    labels = every_label(levels, cells)
    near, far = np.transpose(pairs)
    between = ((labels > 0) & (labels < levels - 1)).sum(1)
    terms = [labels, (labels[:, near] - labels[:, far]) ** 2, -between[:, None]]
    return np.concatenate(terms, 1).astype(float)


def least_cost(grid):
    """The least cost of all labellings of a small grid."""
    pairs = tuple((p, q) for p, q, _ in grid.borders)
    each = [*grid.slopes, *(weight for *_, weight in grid.borders), grid.between]
    return int((_terms(grid.levels, len(grid.slopes), pairs) @ np.array(each, float)).min())


def descend(grid, best_move):
    """Labels by best moves from the middle label: up while that pays, then down.

    ``best_move(grid, labels, step)`` is the least of the best sets of cells to move.
    """
    labels = np.full(len(grid.slopes), (grid.levels - 1) // 2)
    for step in (1, -1):
        while (moved := best_move(grid, labels, step)).any():
            labels = labels + step * moved
    return labels


def best_move_of_all(grid, labels, step):
    """The least of the best sets, of a small grid: the cells that all of the best sets have."""
    sets = every_label(2, len(labels))
    moved = labels + step * sets
    allowed = ((moved >= 0) & (moved < grid.levels)).all(1)
    costs = cost(grid, moved[allowed])
    return sets[allowed][costs == costs.min()].all(0).astype(int)


def best_move_by_flow(grid, labels, step):
    """The same by a maximum flow: the cells that the source still reaches."""
    n = len(labels)
    arcs = [(p, q, weight, weight) for p, q, weight in grid.borders]
    for p in range(n):
        target = labels[p] + step
        if not 0 <= target < grid.levels:
            arcs.append((p, n + 1, 1 << 40, 0))
            continue
        alone = np.array(labels)
        alone[p] = target
        near = [border for border in grid.borders if p in border[:2]]
        gain = int(cost(grid._replace(borders=near), labels))
        gain -= int(cost(grid._replace(borders=near), alone))
        gain += sum(weight for *_, weight in near)  # what the cut itself charges
        arcs.append((n, p, gain, 0) if gain > 0 else (p, n + 1, -gain, 0))
    reached = maximum_flow(n + 2, arcs, n, n + 1)[1]
    return np.array([p in reached for p in range(n)], int)


def least_cost_by_flow(grid):
    """The least cost by one minimum cut for all levels at once (Ishikawa, PAMI 2003).

    Cell p has a node for each i = 1 .. d, on the source's side if its label is at least i. For such
    labels ``(t_p - t_q)**2`` is the number of cut arcs between all pairs of nodes, less
    ``t_p (d - t_p) + t_q (d - t_q)``.
    """
    n, d = len(grid.slopes), grid.levels - 1
    labels = np.arange(grid.levels)
    alone = grid.slopes[:, None] * labels - grid.between * ((labels > 0) & (labels < d))
    arcs = []
    for p, q, weight in grid.borders:
        alone[[p, q]] -= weight * labels * (d - labels)
        arcs += [(p * d + i, q * d + j, weight, weight) for i in range(d) for j in range(d)]
    for p in range(n):
        for t in labels:  # this arc is cut if the label is t
            begin = n * d if t == 0 else p * d + t - 1
            end = n * d + 1 if t == d else p * d + t
            arcs.append((begin, end, int(alone[p, t] - alone.min()), 1 << 45))
    flow, _ = maximum_flow(n * d + 2, arcs, n * d, n * d + 1)
    return flow + n * int(alone.min())


def maximum_flow(nodes, arcs, source, sink):
    """Flow, and what the source still reaches; arcs are (from, to, capacity, capacity back).

    Dinic, Soviet Mathematics Doklady 11, 1970.
    """
    out, ends, left = [[] for _ in range(nodes)], [], []
    for a, b, capacity, back in arcs:
        for begin, end, room in ((a, b, capacity), (b, a, back)):
            out[begin].append(len(ends))
            ends.append(int(end))
            left.append(int(room))
    total = 0
    while True:
        depth = {source: 0}
        line = deque([source])
        while line:
            a = line.popleft()
            for arc in out[a]:
                if left[arc] and ends[arc] not in depth:
                    depth[ends[arc]] = depth[a] + 1
                    line.append(ends[arc])
        if sink not in depth:
            return total, set(depth)
        at, path = [0] * nodes, []
        while True:
            a = ends[path[-1]] if path else source
            if a == sink:
                room = min(left[arc] for arc in path)
                total += room
                for arc in path:
                    left[arc] -= room
                    left[arc ^ 1] += room
                first = next(k for k, arc in enumerate(path) if not left[arc])
                del path[first:]
            elif at[a] < len(out[a]):
                arc = out[a][at[a]]
                if left[arc] and depth.get(ends[arc]) == depth[a] + 1:
                    path.append(arc)
                else:
                    at[a] += 1
            elif path:
                path.pop()
                at[ends[path[-1]] if path else source] += 1
            else:
                break
