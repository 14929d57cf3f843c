"""Real values of a mixed batch, as for regression."""

from __future__ import annotations

import numpy as np

from dali_msda.annotations.sources import sources_of
from dali_msda.backends.cpu_arrays import like, to_numpy
from dali_msda.plan import check
from dali_msda.types import Array


def values(values: Array, plan: np.ndarray) -> Array:
    """Real values of a mixed batch, as for regression: ``sum of weight * value``.

    The weights are the label weights of the plan, as in :func:`targets`; equal values stay as they
    are, exactly.

    Args:
        values: float32 or float64 ``(N,)`` or ``(N, ...)``, finite.
        plan: Records from :func:`draw`, the ones the images were mixed with.

    Returns:
        ``(B,)`` or ``(B, ...)`` of the type and kind that came in; with a plan ``(B, k)``,
        ``(B, k, ...)``.

    Raises:
        TypeError, ValueError: If shapes, types or plan do not fit, or a value is not finite.
    """
    array = to_numpy("values", values)
    if array.ndim < 1 or array.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"values: expected float32 or float64 (B,) or (B, ...), got {array.dtype} "
            f"{array.shape}; convert them, or mix classes with targets()"
        )
    if not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(
            f"values{where}: expected finite values, got {array[tuple(where)]}; leave unknown "
            "values out of the loss by mixing a second array of zeros and ones that marks them"
        )
    plan = check(plan, len(array), used_for="labels")
    mixed = np.empty((plan.size, *array.shape[1:]), array.dtype)
    for i, record in enumerate(plan.reshape(-1)):
        rows = array[sources_of(record)].astype(np.float64)
        weights = [record["weight"], record["partner_weight"], *record["extra_weight"]]
        share = np.array(weights[: len(rows)], np.float64)
        base = rows[share.argmax()]
        mixed[i] = base + np.tensordot(share, rows - base, 1)
    mixed = mixed.reshape(*plan.shape, *array.shape[1:])
    return like(mixed, values)
