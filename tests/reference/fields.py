"""The definitions once more, second part: the random fields of FMix, in float64.

Harris et al., arXiv:2002.12047, eq. 3 to 5: complex normals over f^decay, transformed back; the
greatest values of the real part are the mask. The half spectrum that a real transform takes is
drawn instead of the whole one. Its entries on the planes kx = 0 and kx = W / 2 stand for one
frequency each and the others for two, so those are multiplied by the square root of 2.

The fields are volumes, (depth, height, width); an image has depth 1 and a sequence height 1 too.
"""

import numpy as np

from tests.reference.methods import FIELD, philox

LEGACY = 1  # a plan's flag


def normals(seed, n):
    """Complex normals 0 .. n - 1 of a field: of a block of four words, two serve each of two."""
    blocks = np.arange((n + 1) // 2, dtype=np.uint64)
    zero = np.zeros_like(blocks)
    purpose = np.full_like(blocks, FIELD << 24)
    words = np.stack(philox((blocks, zero, zero, purpose), [int(k) for k in seed]), 1)
    u, v = ((words.reshape(-1, 2)[:n] >> 9).T + 0.5) * 2.0**-23
    return np.sqrt(-2 * np.log(u)) * np.exp(2j * np.pi * v)


def frequencies(n):
    """Cycles per pixel of the bins of a transform, without their sign."""
    return np.abs(np.fft.fftfreq(n))


def paper_amplitudes(shape, decay, modes=0):
    """Amplitude of each entry of the half spectrum."""
    depth, height, width = shape
    half = np.arange(width // 2 + 1)
    each = frequencies(depth)[:, None, None], frequencies(height)[:, None], half / width
    f = np.sqrt(sum(axis**2 for axis in each))
    f[0, 0, 0] = np.inf  # the constant, which does not change the order of the values
    amplitude = f**-decay if decay else (f < np.inf).astype(float)
    if modes:
        for axis, n in zip(each, shape, strict=True):
            amplitude = amplitude * (np.rint(axis * n) <= modes)
    return amplitude * np.where((half == 0) | (2 * half == width), np.sqrt(2), 1)


def legacy_amplitudes(shape, decay):
    """Amplitudes (real, imaginary) of the entries that the released code fills; the rest are 0.

    Its spectrum has an entry for each pair (frequency, part), a part being real or imaginary.
    Where it means to join the parts of each frequency, it joins the frequencies 0 and 1 of the
    first axis, at each (rest of the frequency, part). These pairs are then taken for the half
    spectrum: the part for kx, and the rest for the other axes, cut off where it is too long.
    Frequencies below the lowest count as the lowest.
    """
    depth, height, width = shape

    def one_sided(n):  # one bin too many where n is odd
        k = np.arange(n // 2 + 1 + n % 2)
        return np.minimum(k, n - k) / n

    if depth * height == 1:
        first, rest = width, np.zeros((1, 1))
    elif depth == 1:
        first, rest = height, one_sided(width)[None]
    else:
        first, rest = depth, np.hypot(frequencies(width)[:, None], one_sided(height))
    both = np.stack([rest, np.hypot(rest, 1 / first)])[:, :depth, :height]
    return np.maximum(both, 1 / max(shape)) ** -decay


def field(shape, seed, decay, *, modes=0, legacy=False):
    """The values of a field, ``(depth, height, width)``."""
    half = (*shape[:2], shape[2] // 2 + 1)
    z = normals(seed, half[0] * half[1] * half[2]).reshape(half)
    if legacy:
        real, imaginary = legacy_amplitudes(shape, decay)
        part = z[: real.shape[0], : real.shape[1], :2]  # both parts have the same amplitudes
        spectrum = np.zeros(half, complex)
        spectrum[: real.shape[0], : real.shape[1], :2] = (
            real[..., None] * part.real + 1j * imaginary[..., None] * part.imag
        )
    else:
        spectrum = paper_amplitudes(shape, decay, modes) * z
    return np.fft.irfftn(spectrum, shape, axes=(0, 1, 2))


def field_of(p):
    """The values of the field of a record."""
    shape = tuple(int(p[axis]) for axis in ("depth", "height", "width"))
    legacy = bool(p["flags"] & LEGACY)
    return field(shape, p["field_seed"], float(p["decay"]), modes=int(p["modes"]), legacy=legacy)


def ramp(p):
    """Own weights of a record's pixels, from the greatest value of the field to the least."""
    count, soft = int(p["count"]), int(p["soft"])
    weights = np.zeros(int(p["depth"]) * int(p["height"]) * int(p["width"]))
    weights[:count] = 1
    weights[count - soft : count + soft] = np.linspace(1, 0, 2 * soft)
    return weights


def field_mask(p):
    """Own weight of every pixel, ``(D, H, W)`` float64; equal values are taken in their order."""
    values = field_of(p)
    weights = np.empty(values.size)
    weights[np.argsort(-values.ravel(), kind="stable")] = ramp(p)
    return weights.reshape(values.shape)
