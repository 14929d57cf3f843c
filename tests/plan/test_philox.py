"""The random numbers: published known answers, and their way from words to uniforms."""

import numpy as np
import pytest

from dali_msda.backends.cpu import library
from tests.reference import mixing as reference
from tests.reference.plain_kernels import philox

ZERO, ONES = 0, 0xFFFFFFFF
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
# From the authors' distribution, Random123, kat_vectors.
KNOWN_ANSWERS = [
    ((ZERO,) * 6, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 6, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (PI, (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


def uniforms(n, seed, identity, step, purpose):
    out = np.empty(n)
    library().msda_uniforms(out.ctypes.data, n, seed, identity, step, purpose)
    return out


@pytest.mark.parametrize("counter_key, words", KNOWN_ANSWERS, ids=["zeros", "ones", "pi"])
@pytest.mark.parametrize("backend", [philox, reference.philox], ids=["cpu", "reference"])
def test_known_answers(backend, counter_key, words):
    assert tuple(backend(counter_key[:4], counter_key[4:])) == words


def test_any_counter_and_key():
    words = np.random.default_rng(0).integers(0, 2**32, (200, 6)).tolist()
    for row in words:
        assert list(philox(row[:4], row[4:])) == reference.philox(row[:4], row[4:])


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**64 - 1])
@pytest.mark.parametrize("identity", [0, 3, 2**32, 2**64 - 1])
def test_uniforms_of_a_stream(seed, identity):
    """Counter words: identity low, identity high, step, purpose and block; two numbers a block."""
    for step, purpose in ((0, 1), (7, 255), (2**32 - 1, 3)):
        stream = reference.Stream(seed, step)
        want = [stream.uniform(identity, purpose, k) for k in range(9)]
        assert uniforms(9, seed, identity, step, purpose).tolist() == want


def test_uniforms_stay_inside_the_open_interval():
    """The words nearest to the ends give numbers that are neither 0 nor 1."""
    stream = reference.Stream(0, 0)
    for word, want in ((0, 2.0**-53), (2**64 - 1, 1 - 2.0**-53)):
        stream.word = lambda *_, word=word: word
        assert stream.uniform(0, 0) == want and 0 < want < 1
    drawn = uniforms(1_000_000, 1, 2, 3, 4)
    assert 0 < drawn.min() < 1e-5 and 1 - 1e-5 < drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 5 / (12e6) ** 0.5


def test_streams_do_not_meet():
    """No two (identity, step, purpose) share a number: 1.3 million draws, all different."""
    drawn = [
        uniforms(20_000, 9, identity, step, purpose)
        for identity in (0, 1, 2**32, 2**33)
        for step in (0, 1, 2)
        for purpose in (1, 2, 3, 5, 7)
    ]
    # Among 1.2e6 draws of 52 bits a chance pair is expected 1.6e-4 times.
    assert len(np.unique(drawn)) == 20_000 * 60
