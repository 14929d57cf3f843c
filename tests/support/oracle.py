"""Comparisons with the oracle: exact where the definition gives exact numbers.

A bump's width is rounded to float32 after a search, its values are exponentials, and a field's
values come from a transform in float32. Those are compared as closely as that allows.
"""

import numpy as np

import dali_msda as msda
from tests.reference import mixing as reference
from tests.reference.fields import field_of, ramp
from tests.reference.methods import BUMPS, MASKS, mean_of_bump

LAYOUT = ("depth", "height", "width")


def assert_same_plan(plan, want):
    """Every field; of a bump the mean, to which its width may have been fitted."""
    bumps = np.isin(plan["method"], BUMPS)
    for field in plan.dtype.names:
        got, expected = plan[field], want[field]
        if field in ("weight", "partner_weight"):
            np.testing.assert_allclose(got[bumps], expected[bumps], atol=2.0**-23, rtol=0)
        elif field == "falloff":
            for p, q in zip(plan[bumps], want[bumps], strict=True):
                means = [mean_of(record) for record in (p, q)]
                np.testing.assert_allclose(*means, atol=3e-7, rtol=1e-6)
                assert p["falloff"].tolist() == [0, p["falloff"][1], p["falloff"][1]]
        if field in ("weight", "partner_weight", "falloff"):
            got, expected = got[~bumps], expected[~bumps]
        np.testing.assert_array_equal(got, expected, err_msg=field)


def mean_of(p):
    """Mean of the bump of a record."""
    return mean_of_bump(float(p["falloff"][1]), p["point"][1:], (p["height"], p["width"]))


def checked_weights(plan, *shape):
    """Own weights of every pixel from the kernels, after a comparison with the oracle's."""
    got = msda.mask(plan, shape=shape)
    fields, bumps = (np.isin(plan["method"], which) for which in (MASKS, BUMPS))
    want = reference.own_weight(plan[~fields], *shape)
    np.testing.assert_allclose(got[bumps], want[bumps[~fields]], atol=5e-7, rtol=0)
    np.testing.assert_array_equal(got[~fields & ~bumps], want[~bumps[~fields]])
    for weights, p in zip(got[fields], plan[fields], strict=True):
        assert_follows_field(weights, p)
    return got


def assert_follows_field(weights, p, tolerance=1e-5):
    """Own weights by the rank of each pixel's value, where values that are this near may swap."""
    values, steps = field_of(p).ravel(), ramp(p)
    np.testing.assert_allclose(np.sort(weights, None)[::-1], steps, atol=2.0**-23, rtol=0)
    near = tolerance * np.abs(values).max()
    rising = np.sort(values)
    first = len(values) - np.searchsorted(rising, values + near, "right")
    last = len(values) - np.searchsorted(rising, values - near, "left") - 1
    got = weights.ravel()
    assert (got <= steps[first.clip(max=len(values) - 1)] + 1e-6).all()
    assert (got >= steps[last] - 1e-6).all()
