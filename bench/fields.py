"""Masks of FMix per second on one core, beside what the released code does in NumPy.

    python -m bench.fields [-k TEXT] [--size N] [--quick] >> bench/results/fields.jsonl

CPU time of one thread; candidates take turns, and every turn draws masks that were not drawn
before. ``ratio`` is masks per second over those of ``numpy64``, the algorithm of the released code
(github.com/ecs-vlc/FMix) written anew: a draw of the half spectrum, an inverse real transform, the
whole field sorted, in double precision. It has what the algorithm needs and neither the beta
distribution of lambda nor checks around it. ``legacy`` is measured beside the spectrum that the
released code ends up with, two columns of what it draws; ``soft`` beside masks that are not
softened.

``numpy32`` is how one would write it today: single precision, a fast generator, amplitudes computed
once, a partition in place of the sort. ``ratio32`` is the ratio to that one: most of what separates
it from ``ratio`` was there for the taking in NumPy, and is no merit of the kernels.
"""

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

import dali_msda as msda
from bench.timing import REPEATS, measure, report, spread
from dali_msda import cpu

POLICIES = {
    "paper": msda.FMix(),
    "legacy": msda.FMix(law="legacy"),
    "modes=32": msda.FMix(modes=32),
    "soft": msda.FMix(max_soft=0.1),
}
SIZES = (224, 32, 64, 160, 352)
DECAY = 3.0
PIXELS_PER_TURN = 2_000_000  # of the kernels; a turn of NumPy's makes an eighth as many masks


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
    """One mask as NumPy can make it today; ``scale`` is complex64, with room for one column more.

    The planes that are their own mirror images are not balanced, which would cost nothing.
    """
    drawn = generator.standard_normal((*scale.shape, 2), np.float32)
    field = np.fft.irfft2(drawn.view(np.complex64)[..., 0] * scale, (size, size)).reshape(-1)
    count = int(generator.random() * field.size)
    least = np.partition(field, field.size - 1 - count)[field.size - 1 - count]
    return (field > least).reshape(size, size)


def candidates(policy: msda.FMix, size: int, masks: int) -> dict[str, Callable[[], object]]:
    """What takes turns: ``masks`` from the kernels, an eighth of that from NumPy's."""
    words = size * size if policy.max_soft else (size * size + 31) // 32
    rows, turns = np.zeros((masks, words), np.uint32), itertools.count()
    generator, fewer = np.random.Generator(np.random.SFC64(0)), range(masks // 8)
    scale = amplitudes(size)[:, : size // 2 + 1].astype(np.float32)
    legacy = policy.law == "legacy"

    def kernels() -> None:
        plan = msda.draw(policy, masks, size, size, seed=0, step=next(turns))
        cpu.fields(rows, plan, threads=1)

    return {
        "kernels": kernels,
        "numpy64": lambda: [numpy64(size, legacy) for _ in fewer],
        "numpy32": lambda: [numpy32(size, scale, generator) for _ in fewer],
    }


def run(case: dict[str, object], repeats: int) -> None:
    """Measure one case and print its line."""
    size = case["size"]
    masks = max(8, PIXELS_PER_TURN // size**2 // 8 * 8)
    seconds = measure(
        candidates(POLICIES[case["mask"]], size, masks), repeats, clock=time.process_time
    )
    each = {name: statistics.median(taken) for name, taken in seconds.items()}
    each = {name: t / (masks if name == "kernels" else masks // 8) for name, t in each.items()}
    figures = {
        "masks_s": round(1 / each["kernels"]),
        "us": round(each["kernels"] * 1e6, 2),
        "spread": round(spread(seconds["kernels"]), 3),
        "numpy64_masks_s": round(1 / each["numpy64"]),
        "numpy32_masks_s": round(1 / each["numpy32"]),
        "ratio": round(each["numpy64"] / each["kernels"], 2),
        "ratio32": round(each["numpy32"] / each["kernels"], 2),
        "isa": cpu.isas()[-1],
    }
    report(case, figures)


def main() -> None:
    """Measure all cases, or those whose names contain a text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", default="", help="only cases whose name contains this text")
    parser.add_argument("--size", type=int, help="this size only, in pixels")
    parser.add_argument("--quick", action="store_true", help="224 px only")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="turns (default %(default)s)")
    args = parser.parse_args()
    sizes = (args.size,) if args.size else SIZES[:1] if args.quick else SIZES
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, whatever NumPy may start
    for size, mask in itertools.product(sizes, POLICIES):
        case = {"bench": "fields", "mask": mask, "size": size, "threads": 1}
        if args.k in " ".join(str(value) for value in case.values()):
            run(case, args.repeats)


if __name__ == "__main__":
    main()
