"""Masks of FMix per second on one core, beside what the released code does.

CPU time of one thread counts. Candidates take turns, and every turn draws masks that were not drawn
before. ``numpy64`` is the algorithm of the released code (github.com/ecs-vlc/FMix) written anew: a
draw of the half spectrum, an inverse real transform, and the whole field sorted, all in double
precision. It leaves out the beta distribution of lambda and all checks.
``legacy`` is measured beside the spectrum that the released code ends up with, two columns of what
it draws; ``soft`` beside masks that are not softened. ``released`` is that code itself, where
``--fmix-repo`` names a checkout.

``numpy32`` is how one would write it today: single precision, a fast generator, amplitudes computed
once, and a partition in place of the sort. What ``numpy32`` gains over ``numpy64`` was there for
the taking in NumPy, and is no merit of the kernels.

What was found on one core of an Intel Xeon (AVX-512), at 224 x 224, in turns with the code before:
calls of butterflies cost a fifth of the transforms, so they are inlined. A pass of radix 2 waits
for memory, so it shares registers with the pass of radix 4 before it. Philox waited for the one
port that multiplies and shifts, so shuffles move its words. Signs and quadrants are bits. Together
this left 0.83 of the time of a mask (with AVX2, too). Of that time the normals take 45 % and the
transforms a fifth. That some words of the first rounds of Philox are known gained nothing.

On one core of an AMD EPYC (Zen 4), phases of a mask were timed beside the fewest cycles that their
instructions or bytes allow (README.md). What helped, again with the same bits: the blocks of Philox
that a spectrum needs are listed once, so that vectors of normals go on from row to row, whatever
lies between (normals 0.85 of their time, with ``modes=32`` 0.2); logarithms have a loop of their
own, which the core sees far enough ahead (0.95); passes without divisions, whose values stay in
registers (transforms 0.7); columns and lines that lie in the first-level cache through all passes
(pairing 0.65), gathered by the first pass (0.85 of the transforms along y); one pass over the field
that writes the bits above what a sample says and lists the words in doubt (bits 0.6). Together 0.75
of the time of a mask, with ``modes=32`` 0.55. Two passes of radix 4 as one ran out of registers;
one of 2 and one of 7 gained nothing. To put rows where a vector begins as soon as they are drawn
saved the transforms along y as much as it cost.

On a GPU, ``kernels`` is the copy of the plan and the launch that makes the bits. ``floats`` also
spreads these to float weights, as ``msda.mask`` does.
"""

import itertools
from collections.abc import Callable

import numpy as np

import dali_msda as msda
from bench.cases import Job, Mismatch, Missing, clock_for
from bench.memory import memory_of
from bench.peers import released
from dali_msda.backends import cpu, cuda, cuda_arrays

POLICIES = {
    "paper": msda.FMix(),
    "legacy": msda.FMix(law="legacy"),
    "modes=31": msda.FMix(modes=31),
    "modes=32": msda.FMix(modes=32),
    "soft": msda.FMix(max_soft=0.1),
}
DECAY = 3.0
PIXELS_PER_TURN = 1_000_000  # of the kernels; NumPy makes an eighth as many masks in a turn
ISOLATED = True  # one core, whatever NumPy may start

ONE = {"size": 224, "threads": 1}
CUDA = {"device": "cuda", "threads": 0}
LAWS = ("paper", "legacy", "modes=32", "soft")
TABLES = {
    "quick": [{"mask": LAWS[:3], **ONE}],
    "default": [
        {"mask": LAWS, **ONE},
        {"mask": LAWS[:3], "size": (32, 64, 160, 352), "threads": 1},
        {"mask": ("paper", "modes=31", "legacy"), "size": 224, **CUDA},
    ],
    "all": [
        {"mask": tuple(POLICIES), "size": (32, 64, 160, 224, 352), **where}
        for where in ({"threads": (1, "all")}, CUDA)
    ],
}


def amplitudes(size: int) -> np.ndarray:
    """1 / f^decay over the half grid of the released code, one column too wide for odd sizes."""
    along_y = np.fft.fftfreq(size)[:, None]
    along_x = np.fft.fftfreq(size)[None, : size // 2 + 1 + size % 2]
    frequencies = np.sqrt(along_x**2 + along_y**2)
    return np.maximum(frequencies, 1.0 / size) ** -DECAY


def numpy64(size: int, legacy: bool) -> np.ndarray:
    """One mask as the released code makes it."""
    scale = amplitudes(size)
    drawn = np.random.randn(*scale.shape, 2) * scale[..., None]
    spectrum = drawn[0] + 1j * drawn[1] if legacy else drawn[..., 0] + 1j * drawn[..., 1]
    field = np.fft.irfftn(spectrum, (size, size), axes=(0, 1))
    field -= field.min()
    field /= field.max()
    order = field.reshape(-1).argsort()[::-1]
    mask = np.zeros(size * size)
    mask[order[: int(np.ceil(np.random.rand() * mask.size))]] = 1.0
    return mask.reshape(size, size)


def numpy32(size: int, scale: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """One mask as NumPy can make it today; ``scale`` holds the amplitudes in float32.

    The columns that are their own mirror images are not made symmetric, which would cost nothing.
    """
    drawn = generator.standard_normal((*scale.shape, 2), np.float32)
    field = np.fft.irfft2(drawn.view(np.complex64)[..., 0] * scale, (size, size)).reshape(-1)
    count = int(generator.random() * field.size)
    least = np.partition(field, field.size - 1 - count)[field.size - 1 - count]
    return (field > least).reshape(size, size)


def prepare(case: dict[str, object]) -> Job:
    """Masks of the kernels, and an eighth as many of NumPy's."""
    name, size, threads = case["mask"], case["size"], case["threads"]
    policy, masks = POLICIES[name], max(8, PIXELS_PER_TURN // size**2 // 8 * 8)
    if case["device"] == "cuda":
        return on_gpu(policy, size, 256)
    words = size * size if policy.max_soft else -(-size * size // 32)
    rows, turns = np.zeros((masks, words), np.uint32), itertools.count()
    generator, fewer = np.random.Generator(np.random.SFC64(0)), range(masks // 8)
    scale, legacy = amplitudes(size)[:, : size // 2 + 1].astype(np.float32), name == "legacy"

    def kernels() -> None:
        plan = msda.draw(policy, masks, size, size, seed=0, step=next(turns))
        cpu.fields(rows, plan, threads=threads)

    runs: dict[str, Callable] = {"kernels": kernels}
    runs["numpy64"] = lambda: [numpy64(size, legacy) for _ in fewer]
    runs["numpy32"] = lambda: [numpy32(size, scale, generator) for _ in fewer]
    try:
        sample = released.load("fmix", "sample_mask").sample_mask
        check_released(sample, size)
        soft = policy.max_soft
        runs["released"] = lambda: [sample(1.0, DECAY, (size, size), max_soft=soft) for _ in fewer]
    except Missing:
        pass  # the case of the same peer in peers/ says why
    others = dict.fromkeys(runs, masks // 8)
    how = {"others": others, "threads": threads, "clock": clock_for(threads)}
    return Job(runs, masks * words * 4, masks, "masks", **how)


def check_released(sample: Callable, size: int) -> None:
    """Both make masks of zeros and ones that hold lambda of the pixels.

    Raises:
        Mismatch: If the released code does not.
    """
    for _ in range(4):
        lam, mask = sample(1.0, DECAY, (size, size))
        share = mask.mean()
        if mask.shape != (1, size, size) or not np.isin(mask, (0, 1)).all():
            raise Mismatch(f"released: expected {size} x {size} zeros and ones, got {mask.shape}")
        if abs(share - lam) > 1 / size**2 + 1e-9:
            raise Mismatch(f"released: expected {lam} of the pixels, got {share}")


def on_gpu(policy: msda.FMix, size: int, masks: int) -> Job:
    """Masks as bits, with the copy of the plan to the device; and as float weights."""
    plan = msda.draw(policy, masks, size, size, seed=0, step=0)
    memory, words = memory_of("cuda"), -(-size * size // (1 if policy.max_soft else 32))
    out = memory.empty((masks, size, size), "float32")
    rows = cuda_arrays.view("out", memory.put(np.zeros((masks, words), np.int32)))
    runs = {"kernels": lambda: cuda.fields(rows, plan)}
    runs["floats"] = lambda: msda.mask(plan, size, size, out=out)
    return Job(runs, masks * (-(-size * size // 32) * 4 + plan.itemsize), masks, "masks")
