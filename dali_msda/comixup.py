"""Co-Mixup of arrays: the inputs of a part of a batch, shared out among as many outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dali_msda.backends import CPU, cpu_arrays
from dali_msda.backends.checks import output_dtype, thread_count
from dali_msda.backends.puzzle import cpu_comixup
from dali_msda.policy import number, whole
from dali_msda.puzzle import image_batch, saliency_maps


@dataclass(frozen=True, kw_only=True)
class CoMixupSettings:
    """How a part of a batch is shared out.

    An output is cut into blocks, each of which shows one input of the part, or half of each of two.
    Together the outputs of a part shall show much of what is salient, few borders of unlike blocks,
    and every input about once. That is solved for one output after another, a few times over.

    Attributes:
        part: Samples that are mixed with each other, 1 to 64. The batch is cut in its order; the
            last part may have fewer.
        sweeps: How often all outputs of a part are solved, 1 to 16.
        starts: How often it is begun, from other random blocks, 1 to 64; the best end is kept. The
            time grows with it. The released code begins once.
        alpha: Of the Dirichlet distribution that weighs a part's inputs, 0.01 to 100.
        beta: What unlike neighbours cost, 0 to 8.
        gamma: What it costs to show an input again, 0 to 4.
        tau: Share of an image that the other outputs may show of an input before that costs, in
            [0, 1].
        eta: Weight of the drawn weights of inputs, in [0, 1].
        omega: How far inputs whose salient places are apart are kept from each other, in [0, 1].
        soft: Whether showing an input again costs by what exceeds ``tau`` only.
        resolve: Whether, before the last sweep, outputs of the same inputs are told apart.
        window: Side of the windows by whose saliency an input's salient place is found, in pixels,
            1 to 64; the image's side if that is less.
        stride: Pixels from a window to the next, 1 to 64. The released code has 8 for ImageNet.

    Reference:
        Kim, Choo, Jeong and Song, Co-Mixup, ICLR 2021, arXiv:2102.03065; settings as in the
        authors' code (snu-mllab/Co-Mixup) for CIFAR-100, but for the starts. Their solver swaps
        pairs of labels; this one expands each label (Boykov, Veksler and Zabih, PAMI 2001).
    """

    part: int = 20
    sweeps: int = 4
    starts: int = 4
    alpha: float = 2.0
    beta: float = 0.32
    gamma: float = 1.0
    tau: float = 0.83
    eta: float = 0.05
    omega: float = 0.001
    soft: bool = False
    resolve: bool = True
    window: int = 8
    stride: int = 1

    def __post_init__(self) -> None:
        for name, most in dict(part=64, sweeps=16, starts=64, window=64, stride=64).items():
            whole(name, getattr(self, name), 1, most + 1, f"1 to {most}, a whole number")
        number("alpha", self.alpha, 0.01, 100.0, "a number in [0.01, 100]")
        for name, most in dict(beta=8, gamma=4, tau=1, eta=1, omega=1).items():
            number(name, getattr(self, name), 0.0, float(most), f"a number in [0, {most}]")
        for name in ("soft", "resolve"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}: expected True or False, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class Solution:
    """What was found for a batch.

    Attributes:
        sources: int32 ``(B, n, n, 2)``: each of the ``n * n`` blocks of an output shows half of
            each of these samples of the batch; all of one, if they are the same.
        part: Samples that are mixed with each other.
        costs: float64, what each part costs at last; comparable for the same saliency and seed.
        uniform: Flags ``(B,)`` of the samples whose saliency was not usable and was taken to be
            uniform.
    """

    sources: np.ndarray
    part: int
    costs: np.ndarray
    uniform: np.ndarray

    def weights(self) -> np.ndarray:
        """How much each output shows of each input of its part, float32 ``(B, part)``.

        A row sums to 1. Entries beyond the inputs of the last part are 0.
        """
        samples, blocks = self.sources.shape[:2]
        halves = self.sources.reshape(samples, 2 * blocks * blocks)
        rows = np.arange(samples)[:, None]
        counts = np.zeros((samples, self.part), np.int32)
        np.add.at(counts, (rows, halves - rows // self.part * self.part), 1)
        return (counts / max(1, halves.shape[1])).astype(np.float32)


def solve(
    saliency: object,
    *,
    blocks: int = 4,
    settings: CoMixupSettings | None = None,
    seed: int = 0,
    step: int = 0,
    rank: int = 0,
    threads: int = 0,
) -> Solution:
    """Find what the outputs of a batch show.

    The random numbers, with which it begins, follow from the seed, the rank, the step and the part.
    The result is the same on every machine and for any number of threads.

    Args:
        saliency: float32 ``(B, H, W)`` on the CPU, how much each pixel matters; its scale does not.
            A map with a value that is negative or not finite, or with nothing above 0, is taken to
            be uniform. H and W must be multiples of ``blocks``.
        blocks: Blocks of an output along each side, 2 to 16.
        settings: The other settings; those of the released code by default, with 4 starts.
        seed: Key of all random numbers, below 2**64.
        step: Number of the batch, below 2**32.
        rank: Number of the process, below 2**32.
        threads: Threads to use, 0 for one per core.

    Raises:
        TypeError, ValueError: If an array or a setting does not fit.
    """
    settings = CoMixupSettings() if settings is None else settings
    if not isinstance(settings, CoMixupSettings):
        raise TypeError(f"settings: expected CoMixupSettings, got {settings!r}")
    whole("blocks", blocks, 2, 17, "2 to 16 along each side, a whole number")
    shape = np.shape(saliency)
    if len(shape) != 3:
        raise ValueError(f"saliency: expected shape (B, H, W), got {tuple(shape)}")
    maps = saliency_maps(CPU, saliency, tuple(shape))
    expect_divided("saliency", blocks, *shape[1:])
    given = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    window, stride = given.pop("window"), given.pop("stride")
    threads = thread_count(threads)
    given["seed"] = whole("seed", seed, 0, 2**64)
    for name, value in (("step", step), ("rank", rank)):
        given[name] = whole(name, value, 0, 2**32)
    shares, peaks, uniform = cpu_comixup.measure(maps, blocks, window, stride, threads)
    sources, costs = cpu_comixup.solve(shares, peaks, threads=threads, **given)
    return Solution(sources, settings.part, costs, uniform.astype(bool))


def blend(
    images: object, solution: Solution, *, dtype: str | None = None, threads: int = 0
) -> object:
    """Mix a batch as :func:`solve` found, by the arithmetic of :func:`dali_msda.blend`.

    Args:
        images: uint8 or float32 ``(B, H, W, C)`` on the CPU, channels last or, seen through
            ``permute(0, 2, 3, 1)``, first. H and W must be multiples of the blocks along a side.
        solution: From :func:`solve`, for as many samples.
        dtype: ``"uint8"`` (of uint8 images), ``"float32"``, ``"float16"`` or ``"bfloat16"``; by
            default the images'.
        threads: Threads to use, 0 for one per core.

    Returns:
        ``(B, H, W, C)``, or ``(B, C, H, W)`` if the images lie channel by channel; of the kind that
        came in (NumPy or torch).

    Raises:
        TypeError, ValueError: If the images do not fit the solution.
    """
    array, planar = image_batch(CPU, images)
    sources = _expect_sources(solution, len(array))
    expect_divided("images", sources.shape[1], *array.shape[1:3])
    name = output_dtype(dtype, array, normalises=False)
    shape = np.moveaxis(array, 3, 1).shape if planar else array.shape
    memory, result = cpu_arrays.output(None, shape, name, images)
    cpu_comixup.blend(
        memory, array, sources, out_dtype=name, planar=planar, threads=thread_count(threads)
    )
    return result


def targets(
    labels: object,
    solution: Solution,
    *,
    num_classes: int | None = None,
    smoothing: float = 0.0,
    compact: bool = False,
) -> object:
    """Soft labels of a mixed batch: each input counts by how much of it an output shows.

    Args:
        labels: Class indices ``(B,)`` of an integer type, or soft labels ``(B, C)``.
        solution: From :func:`solve`.
        num_classes: Number of classes, C; needed for dense rows of class indices.
        smoothing: Share of the mass of dense rows that is spread over all classes, in [0, 1].
        compact: Return labels and weights instead of dense rows.

    Returns:
        float32 ``(B, C)``; or, if ``compact``, int64 ``(B, part)`` class indices and float32 ``(B,
        part)`` weights, of the inputs of the part in their order. In the last part, where it has
        fewer, further entries repeat the own label with weight 0.

    Raises:
        TypeError, ValueError: If shapes or types do not fit, or a label is out of range.
    """
    array, classes = cpu_arrays.labels(labels, num_classes)
    _expect_sources(solution, len(array))
    number("smoothing", smoothing, 0.0, 1.0, "a share in [0, 1]")
    weights = solution.weights()
    own = np.arange(len(array))[:, None]
    inputs = own // solution.part * solution.part + np.arange(solution.part)
    inputs = np.where(inputs < len(array), inputs, own)
    if compact:
        if array.ndim == 2 or smoothing:
            raise ValueError("compact: expected class indices and no smoothing, got others")
        return cpu_arrays.like(array[inputs], labels), cpu_arrays.like(weights, labels)
    if not classes:
        raise ValueError("num_classes: expected a number of classes for dense rows, got None")
    if array.ndim == 2:
        rows = np.einsum("bi,bic->bc", weights.astype(np.float64), array[inputs])
    else:
        rows = np.zeros((len(array), classes))
        np.add.at(rows, (own, array[inputs]), weights)
    rows = (1 - smoothing) * rows + smoothing / classes
    return cpu_arrays.like(rows.astype(np.float32), labels)


def expect_divided(name: str, blocks: int, height: int, width: int) -> None:
    """Raise ValueError unless so many blocks along each side divide the images."""
    if height % blocks or width % blocks or not height or not width:
        raise ValueError(
            f"{name}: expected sides that are multiples of {blocks}, the blocks of each, got "
            f"{height} x {width}; crop or resize them, or use other blocks"
        )


def _expect_sources(solution: Solution, samples: int) -> np.ndarray:
    """The sources; raise ValueError unless they fit a batch, whose images the kernels then read."""
    sources, part = solution.sources, solution.part
    blocks = sources.shape[1] if sources.ndim == 4 else 0
    if sources.dtype != np.int32 or sources.shape != (samples, blocks, blocks, 2):
        raise ValueError(
            f"sources: expected int32 ({samples}, n, n, 2), got {sources.dtype} {sources.shape}"
        )
    own = np.arange(samples).reshape(-1, 1, 1, 1) // part
    if (sources // part != own).any() or sources.max(initial=-1) >= samples:
        raise ValueError(f"sources: expected samples of the own part of {part}, got others")
    return np.ascontiguousarray(sources)
