"""Puzzle Mix of arrays: masks that show what is salient in both images, and blocks that move."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from dali_msda.backends import CPU, Backend, backend_of, cpu_arrays
from dali_msda.backends.checks import (
    MAX_COUNT,
    expect_layout,
    expect_pixels,
    expect_whole,
    is_planar,
    output_dtype,
    thread_count,
    written,
)
from dali_msda.backends.puzzle import cpu_puzzle
from dali_msda.backends.records import weighed
from dali_msda.plan import check
from dali_msda.policy import METHODS, PuzzleMix, PuzzleSettings, has_trait, number, whole
from dali_msda.record import METHOD_NAMES, MOVES, NONE, OWN_LABEL, SOLVED
from dali_msda.types import Array, DType, Layout, PerChannel

__all__ = ["PuzzleMix", "PuzzleSettings", "Solution", "blend", "solve"]
SERVED = (NONE, METHODS["mixup"].code, METHODS["puzzlemix"].code)  # methods, by their numbers


@dataclass(frozen=True)
class Solution:
    """What was found for a batch, where its images lie: NumPy, or arrays on their GPU.

    Attributes:
        drawn: The records that were given, marked as solved.
        cells: uint8 ``(*plan.shape, n, n, 3)``: for each of ``n * n`` parts of an output its own
            weight, in steps of ``1 / (levels - 1)``, and which part of the own image and of the
            partner it shows, counted row by row.
        levels: Own weights that a part can have.
        uniform: uint8 ``(B,)``: 1 for samples whose saliency was not usable and was taken to be
            uniform, else 0.
        weights: float32 ``plan.shape``, the means of the masks, which are the label weights of the
            own samples; None where a prior was given, and the label weights are those drawn.
    """

    drawn: np.ndarray
    cells: object
    levels: int
    uniform: object
    weights: object = None

    @functools.cached_property
    def plan(self) -> np.ndarray:
        """The records with their label weights; asking for them waits for the GPU."""
        if self.weights is None:
            return self.drawn
        return weighed(self.drawn, _values(self.weights))

    def mask(self, height: int, width: int) -> np.ndarray:
        """Own weight of every pixel, NumPy float32 ``(*plan.shape, height, width)``.

        Raises:
            ValueError: If that is not the size of the images.
        """
        check(self.drawn, MAX_COUNT, (height, width), used_for="nothing")
        cells = _values(self.cells)
        weights = cells[..., 0].astype(np.float32) / np.float32(self.levels - 1)
        rows, columns = (size // cells.shape[-2] for size in (height, width))
        return weights.repeat(rows, -2).repeat(columns, -1)


def solve(
    images: object,
    saliency: object,
    plan: np.ndarray,
    *,
    blocks: int | None = None,
    settings: PuzzleSettings | None = None,
    prior_lam: float | None = None,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    threads: int = 0,
) -> Solution:
    """Find the masks of a batch, and what moves.

    The result depends on no order of additions: all sums are of integers, and the bits are the same
    on every machine and for any number of threads.

    Args:
        images: uint8 or float32 ``(B, H, W, C)``, channels last or, seen through
            ``permute(0, 2, 3, 1)``, first. H and W must be multiples of the parts along a side. On
            a GPU all work is put on the current stream, and nothing waits for it.
        saliency: float32 ``(B, H, W)``, where the images lie: how much each pixel matters; its
            scale does not. A map with a value that is negative or not finite, or with nothing above
            0, is taken to be uniform.
        plan: Records of :class:`dali_msda.PuzzleMix`, ``(B,)`` or, for nested masks of one pair,
            ``(B, k)``; unmixed ones may be among them. Or records of :class:`dali_msda.Mixup`,
            whose sources and lambdas are used.
        blocks: Parts of the mask along each side, 2 to 16; with records of Mixup only, as those of
            PuzzleMix hold their own number.
        settings: The policy that drew records of PuzzleMix; for those of Mixup the other settings,
            by default those of the released code.
        prior_lam: For records of Mixup, a lambda that the prior follows instead of theirs. The
            label weights then stay as they are, as with :attr:`dali_msda.PuzzleMix.prior_lam`.
        mean: Of float images that are normalised: ``images * std + mean`` lies in [0, 1]. Not
            normalised by default. A number, or one per channel; so is the next.
        std: Likewise.
        threads: Threads to use, 0 for one per core.

    Raises:
        TypeError, ValueError: If an array or a setting does not fit.
    """
    backend = backend_of(images)
    array, planar = image_batch(backend, images)
    plan = _served(check(plan, len(array), array.shape[1:3], used_for="nothing"))
    blocks, settings = _blocks_and_settings(plan, blocks, settings, prior_lam)
    followed = plan
    if prior_lam is not None:
        followed = plan.copy()
        number("prior_lam", prior_lam, 0.0, 1.0, "a number in [0, 1]")
        followed["lam"] = prior_lam
    scale, shift = _denormalisation(mean, std, array)
    puzzle = backend.puzzle.arguments(
        followed,
        array,
        saliency_maps(backend, saliency, array.shape[:3]),
        scale=scale,
        shift=shift,
        planar=planar,
        threads=thread_count(threads),
        **settings.arguments(blocks),
    )
    if fault := cpu_puzzle.check(puzzle):
        raise ValueError(fault)
    cells, weights, uniform = backend.puzzle.solve(puzzle)
    solved = plan.copy()
    solved["flags"][has_trait(plan, "needs_gradients")] |= SOLVED
    if prior_lam is not None or (plan["flags"] & OWN_LABEL).any():
        weights = None  # those drawn
    return Solution(solved, cells, settings.levels, uniform, weights)


def _blocks_and_settings(
    plan: np.ndarray, blocks: object, settings: object, prior_lam: object
) -> tuple[int, PuzzleSettings]:
    """How the masks of a plan are to be found: as its records say, or as the caller does."""
    if settings is not None and not isinstance(settings, PuzzleSettings):
        raise TypeError(f"settings: expected PuzzleSettings or a PuzzleMix, got {settings!r}")
    drawn = plan[has_trait(plan, "needs_gradients")]
    if not drawn.size:
        if blocks is None and isinstance(settings, PuzzleMix) and (plan["sources"] < 2).all():
            blocks = settings.blocks[0]  # all the same, since nothing is mixed
        what = "2 to 16 along each side, a whole number"
        return whole("blocks", blocks, 2, 17, what), settings or PuzzleSettings()
    for name, value in (("blocks", blocks), ("prior_lam", prior_lam)):
        if value is not None:
            raise ValueError(f"{name}: expected None with records of PuzzleMix, got {value!r}")
    if settings is None:
        raise TypeError("settings: expected the PuzzleMix that drew the plan, got None")
    count = int(drawn["modes"][0])
    fits = (drawn["modes"] == count) & (drawn["soft"] == settings.levels - 1)
    fits &= (drawn["flags"] & MOVES != 0) == settings.transport
    own = drawn["flags"] & OWN_LABEL
    if not (fits & (own == own[0])).all():
        raise ValueError(
            f"settings: expected the PuzzleMix that drew the whole plan, got {settings!r}, which "
            "has other levels or another transport, or a plan of several numbers of blocks or "
            "kinds of labels"
        )
    return count, settings


def blend(
    images: Array,
    solution: Solution,
    *,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    dtype: DType | None = None,
    layout: Layout | None = None,
    out: object = None,
    threads: int = 0,
) -> Array:
    """Mix a batch as :func:`solve` found, by the arithmetic of :func:`dali_msda.blend`.

    Args:
        images: The images that the solution was found for.
        solution: From :func:`solve`.
        mean: As :func:`dali_msda.blend` takes it, in units of the images; so are the others.
        std: Divided by.
        dtype: Type of the output.
        layout: By default that of the images.
        out: Memory to write to, apart from the images.
        threads: Threads to use, 0 for one per core.

    Returns:
        ``(*plan.shape, H, W, C)``, or ``(*plan.shape, C, H, W)`` if the layout is ``"CHW"``; of the
        kind that came in (NumPy, torch or CuPy).

    Raises:
        TypeError, ValueError: If the images do not fit the solution.
    """
    backend = backend_of(images)
    array, planar = image_batch(backend, images)
    size, channels = array.shape[1:3], array.shape[3]
    plan = _served(check(solution.drawn, len(array), size, used_for="nothing"))
    cells = _expect_cells(backend, solution)
    layout = layout or ("CHW" if planar else "HWC")
    expect_layout(layout, planar)
    scale, shift = cpu_arrays.scale_and_shift(mean, std, channels)
    name = output_dtype(dtype, array, scale is not None)
    laid_out = np.moveaxis(array, 3, 1) if layout == "CHW" else array
    shape = (*plan.shape, *laid_out.shape[1:])
    memory, result = backend.arrays.output(out, shape, name, images, plan.ndim)
    if np.shares_memory(memory, array):
        raise ValueError("out: expected memory apart from the images'; give another array")
    backend.puzzle.blend(
        memory,
        array,
        plan,
        cells,
        solution.levels,
        planar=planar,
        out_dtype=name,
        layout=layout,
        scale=scale,
        shift=shift,
        threads=thread_count(threads),
    )
    return written(result)


def _values(array: object) -> np.ndarray:
    return backend_of(array).arrays.on_cpu(array)


def image_batch(backend: Backend, images: object) -> tuple[np.ndarray, bool]:
    """The images as an array ``(B, H, W, C)``, and whether they lie channel by channel."""
    array = backend.arrays.view("images", images)
    if array.ndim != 4:
        raise ValueError(f"images: expected shape (B, H, W, C), got {array.shape}")
    expect_pixels(images, array)
    if array.shape[1] * array.shape[2] * array.shape[3] >= MAX_COUNT:
        raise ValueError(f"images: expected fewer than 2**31 values each, got {array.shape}")
    return array, is_planar("images", array)


def _expect_cells(backend: Backend, solution: Solution) -> np.ndarray:
    """The cells; raise ValueError unless they fit the plan, whose images the kernels then read.

    Nobody can look at their values on a GPU without waiting for it.
    """
    cells, plan = backend.arrays.view("cells", solution.cells), solution.drawn
    places = cells.shape[-2]
    if cells.dtype != np.uint8 or cells.shape != (*plan.shape, places, places, 3):
        raise ValueError(
            f"cells: expected uint8 {(*plan.shape, 'n', 'n', 3)}, got {cells.dtype} {cells.shape}"
        )
    sizes = {*plan["height"].flat, *plan["width"].flat}
    if not 2 <= places <= 16 or any(size % places for size in sizes):
        raise ValueError(f"cells: expected 2 to 16 a side, which divide the images, got {places}")
    if backend is not CPU:
        expect_whole("cells", cells)
        return cells
    if (cells[..., 0] >= solution.levels).any() or (cells[..., 1:] >= places * places).any():
        raise ValueError(
            f"cells: expected weights below {solution.levels} and parts below {places * places}, "
            f"got {cells[..., 0].max()} and {cells[..., 1:].max()}"
        )
    return np.ascontiguousarray(cells)


def _served(plan: np.ndarray) -> np.ndarray:
    if (most := plan["sources"].max(initial=1)) > 2:
        raise ValueError(f"plan: expected records of two samples, got one of {most}")
    if not (known := np.isin(plan["method"], SERVED)).all():
        name = METHOD_NAMES[int(plan["method"][~known][0])]
        raise ValueError(f"plan: expected records of puzzlemix or mixup, got one of {name}")
    return plan


def saliency_maps(backend: Backend, saliency: object, shape: tuple[int, ...]) -> np.ndarray:
    """The maps as a contiguous array; raise TypeError or ValueError if they are no such."""
    maps = backend.arrays.view("saliency", saliency)
    if maps.dtype != np.float32:
        dtype = str(getattr(saliency, "dtype", maps.dtype)).removeprefix("torch.")
        raise TypeError(f"saliency: expected float32, got {dtype}")
    if maps.shape != shape:
        raise ValueError(f"saliency: expected shape {shape}, one per pixel, got {maps.shape}")
    if backend is CPU:
        return np.ascontiguousarray(maps)
    expect_whole("saliency", maps)
    return maps


def _denormalisation(
    mean: object, std: object, images: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """What normalised values are multiplied by, and what is then added, to lie in [0, 1]."""
    channels = images.shape[3]
    scale, _ = cpu_arrays.scale_and_shift(mean, std, channels)  # which checks them
    if scale is None:
        return None, None
    if images.dtype == np.uint8:
        raise ValueError(
            "mean, std: expected none with uint8 images, which are not normalised yet, got "
            f"{mean!r}, {std!r}"
        )
    made = np.empty((2, channels), np.float32)
    made[0], made[1] = 1.0 if std is None else std, 0.0 if mean is None else mean
    return made[0], made[1]
