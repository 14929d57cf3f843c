"""exp, log, sin and cos of the kernels against float64: the errors that the header states."""

import re
from pathlib import Path

import numpy as np
import pytest

from dali_msda import build
from tests.reference.plain_kernels import FUNCTIONS, maths

HEADER = Path(build.KERNELS, "msda", "maths.h").read_text()
# Greatest errors found over every float of the range, in ulp of the exact result.
GREATEST = {"exp": 1.0417, "log": 0.8064, "sin": 1.4863, "cos": 1.4894}
WORST = {  # where they were found
    "exp": ["-0x1.76c71ap+2", "0x1.431e42p+6"],
    "log": ["0x1.678b3ep+0"],
    "sin": ["0x1.3886a2p+9", "-0x1.3886a2p+9"],
    "cos": ["0x1.fda6d8p+14", "-0x1.fda6d8p+14"],
}


def every(low, high, stride=1):
    """Every ``stride``-th float from ``low`` to ``high``, both of one sign."""
    ends = sorted(np.array([low, high], np.float32).view(np.uint32).tolist())
    return np.append(np.arange(*ends, stride, dtype=np.uint32), np.uint32(ends[1])).view(np.float32)


def domain(function):
    """The range of a function, densely; whole binades where the polynomials matter most."""
    if function == "exp":
        return np.concatenate([every(0.0, 88.72283, 997), every(-0.0, -104.0, 997), every(4, 8, 3)])
    if function == "log":
        return np.concatenate([every(1.1754944e-38, 3.4028235e38, 1499), every(0.5, 2.0, 5)])
    positive = np.concatenate([every(0.0, 65536.0, 997), np.arange(41722) * (np.pi / 2)])
    positive = positive[positive <= 65536].astype(np.float32)  # the zeros too: they reduce worst
    return np.concatenate([positive, -positive])


def errors_in_ulp(function, values):
    got, exact = maths(function, values), getattr(np, function)(values.astype(np.float64))
    exponent = np.frexp(np.maximum(np.abs(exact), 2.0**-126))[1]
    return np.abs(got - exact) / np.ldexp(1.0, exponent - 24)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_greatest_error(function):
    assert errors_in_ulp(function, domain(function)).max() <= GREATEST[function]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_header_states_the_greatest_error(function):
    name = {"sin": r"sine_cosine\.sine", "cos": r"sine_cosine\.cosine"}.get(
        function, f"{function}32"
    )
    stated = float(re.search(rf"{name} .* (\d\.\d+) ulp", HEADER).group(1))
    worst = np.array([float.fromhex(text) for text in WORST[function]], np.float32)
    assert abs(errors_in_ulp(function, worst).max() - GREATEST[function]) < 2e-4
    assert GREATEST[function] <= stated <= GREATEST[function] + 0.01


def test_exp_at_its_ends():
    overflow = np.float32(88.72284)
    least = 2.0**-149
    small = [(-np.inf, 0), (-1e3, 0), (-104, 0), (-103.98, 0), (-103.9, least), (-103, least)]
    values = [*small, (-0.0, 1), (0.0, 1), (1e-30, 1), (overflow, np.inf), (np.inf, np.inf)]
    arguments, want = np.array(values, np.float32).T
    np.testing.assert_array_equal(maths("exp", arguments), want)
    assert np.isfinite(maths("exp", [np.nextafter(overflow, np.float32(0))]))[0]
    assert np.isnan(maths("exp", [np.nan]))[0]


def test_exp_of_results_below_the_normal_numbers():
    """One rounding, not two: the error stays below one unit of the last place there is."""
    values = every(-87.3, -104.0, 7)
    exact = np.exp(values.astype(np.float64))
    assert (np.abs(maths("exp", values) - exact) <= 1.05 * 2.0**-149 + 1.1e-7 * exact).all()


def test_log_at_its_ends():
    ends = np.array([2.0**-126, 1.0, np.finfo(np.float32).max], np.float32)
    assert maths("log", ends).tolist() == np.log(ends.astype(np.float64)).astype("f4").tolist()


@pytest.mark.parametrize("function", ["sin", "cos"])
def test_sin_and_cos_at_their_ends(function):
    assert maths(function, [0.0])[0] == (function == "cos")
    assert np.isfinite(maths(function, [65536, -65536])).all()
    values = every(0.0, 65536.0, 10007)
    sign = -1 if function == "sin" else 1
    np.testing.assert_array_equal(maths(function, -values), sign * maths(function, values))
