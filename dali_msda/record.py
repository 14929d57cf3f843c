"""The record of a plan: what is drawn for one output sample."""

from __future__ import annotations

import numpy as np

from dali_msda.policy import METHODS

PLAN_VERSION = 1

PLAN_DTYPE = np.dtype(
    [
        ("version", "<u2"),
        ("method", "u1"),
        ("sources", "u1"),
        ("flags", "<u4"),
        ("own", "<i4"),
        ("partner", "<i4"),
        ("extra", "<i4", (2,)),
        ("weight", "<f4"),
        ("partner_weight", "<f4"),
        ("extra_weight", "<f4", (2,)),
        ("lam", "<f4"),
        ("inside", "<f4"),
        ("outside", "<f4"),
        *((name, "<i4") for name in ("z0", "y0", "x0", "z1", "y1", "x1")),
        ("point", "<i4", (3,)),
        ("falloff", "<f4", (3,)),
        ("count", "<i4"),
        ("soft", "<i4"),
        ("field_seed", "<u4", (2,)),
        ("decay", "<f4"),
        *((name, "<i4") for name in ("modes", "layer", "leaf", "depth", "height", "width")),
        ("reserved", "<i4", (4,)),
    ]
)
"""A plan record, 160 bytes; kernels/msda/plan.h says what each field means.

``own``, ``partner`` and ``extra`` are indices into the batch, ``weight``, ``partner_weight`` and
``extra_weight`` their label weights; the first ``sources`` of them take part. ``lam`` is the
nominal lambda, before a box is clipped or a count rounded. Boxes are half-open, in pixels;
``y1 > height`` wraps round the border. ``leaf`` is the number of the policy's method that was
drawn. A record of PuzzleMix has its number of blocks in ``modes``, and the label weights of lambda
until :func:`dali_msda.puzzle.solve` has found its mask. An image has depth 1, a sequence depth 1
and height 1; boxes of volumes are reserved: ``z0`` and ``z1`` are 0.
"""

MOVES, OWN_LABEL, SOLVED = 8, 16, 32
"""Of a record's ``flags``: kPlanMoves, kPlanOwnLabel and kPlanSolved in kernels/msda/plan.h."""

NONE = 0
METHOD_NAMES = {NONE: "none"} | {method.code: name for name, method in METHODS.items()}
"""Name of a record's ``method``."""
