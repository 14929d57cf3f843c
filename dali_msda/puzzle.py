"""Puzzle Mix of arrays: masks that show what is salient in both images, and blocks that move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dali_msda.backends import cpu_arrays, cpu_puzzle
from dali_msda.backends.checks import MAX_COUNT, expect_contiguous, expect_pixels, thread_count
from dali_msda.plan import check
from dali_msda.policy import number, whole


@dataclass(frozen=True, kw_only=True)
class PuzzleSettings:
    """How masks are found and what moves.

    An image is cut into blocks, each of which shows the own image, the partner, or a mean of both.
    The mask is the exact minimum of what it hides of both images' saliency, plus the contrast
    across borders of unlike blocks, plus a prior that follows lambda.

    Attributes:
        places: Parts along each side that move; where the mask has more, its blocks do. The
            released settings for 32 pixels are 8.
        cell: Pixels of a side that are averaged before borders are compared, 1 to 64, or a block's
            side where that is less. It must divide the blocks.
        levels: Own weights that a block can have, evenly from 0 to 1: 2, 3 or 4 of them.
        beta: What unlike neighbours cost, 0 to 8.
        gamma: Share of it that the contrast at their border decides, in [0, 1].
        eta: Weight of the prior, in [0, 1].
        move_cost: What it costs to move a block along the whole side of the image, 0 to 16, where
            all the image's saliency is worth 1.
        transport: Whether salient blocks that the mask hides move to where it shows the image.

    Reference:
        Kim, Choo and Song, Puzzle Mix, ICML 2020, arXiv:2009.06962; settings as in the authors'
        code (snu-mllab/PuzzleMix) for CIFAR-100. Their solver ends at a mask that costs more than
        the least in up to 60 % of cases; this one never does.
    """

    places: int = 2
    cell: int = 4
    levels: int = 3
    beta: float = 1.2
    gamma: float = 0.5
    eta: float = 0.2
    move_cost: float = 0.8
    transport: bool = True

    def __post_init__(self) -> None:
        whole("places", self.places, 2, 17, "2 to 16 parts, a whole number")
        whole("cell", self.cell, 1, 65, "1 to 64 pixels, a whole number")
        whole("levels", self.levels, 2, 5, "2, 3 or 4")
        number("beta", self.beta, 0.0, 8.0, "a number in [0, 8]")
        number("gamma", self.gamma, 0.0, 1.0, "a share in [0, 1]")
        number("eta", self.eta, 0.0, 1.0, "a number in [0, 1]")
        number("move_cost", self.move_cost, 0.0, 16.0, "a number in [0, 16]")
        if not isinstance(self.transport, bool):
            raise TypeError(f"transport: expected True or False, got {self.transport!r}")

    def arguments(self, blocks: int) -> dict[str, object]:
        """Arguments of the kernels for a mask of so many blocks along each side."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return given | {"blocks": blocks, "places": max(blocks, self.places)}


@dataclass(frozen=True)
class Solution:
    """What was found for a batch.

    Attributes:
        plan: The records, with the means of the masks as label weights; with its own ones where a
            prior was given.
        cells: uint8 ``(*plan.shape, n, n, 3)``: for each of ``n * n`` parts of an output its own
            weight, in steps of ``1 / (levels - 1)``, and which part of the own image and of the
            partner it shows, counted row by row.
        levels: Own weights that a part can have.
        uniform: Flags ``(B,)`` of the samples whose saliency was not usable and was taken to be
            uniform.
    """

    plan: np.ndarray
    cells: np.ndarray
    levels: int
    uniform: np.ndarray

    def mask(self, height: int, width: int) -> np.ndarray:
        """Own weight of every pixel, float32 ``(*plan.shape, height, width)``.

        Raises:
            ValueError: If that is not the size of the images.
        """
        check(self.plan, MAX_COUNT, (height, width))
        weights = self.cells[..., 0].astype(np.float32) / np.float32(self.levels - 1)
        rows, columns = (size // self.cells.shape[-2] for size in (height, width))
        return weights.repeat(rows, -2).repeat(columns, -1)


def solve(
    images: object,
    saliency: object,
    plan: np.ndarray,
    *,
    blocks: int,
    settings: PuzzleSettings | None = None,
    prior_lam: float | None = None,
    mean: object = None,
    std: object = None,
    threads: int = 0,
) -> Solution:
    """Find the masks of a batch, and what moves.

    The result depends on no order of additions: all sums are of integers, and the bits are the same
    on every machine and for any number of threads.

    Args:
        images: uint8 or float32 ``(B, H, W, C)`` on the CPU, channels last or, seen through
            ``permute(0, 2, 3, 1)``, first. H and W must be multiples of the parts along a side.
        saliency: float32 ``(B, H, W)``, how much each pixel matters; its scale does not. A map with
            a value that is negative or not finite, or with nothing above 0, is taken to be uniform.
        plan: Records of :class:`dali_msda.Mixup`, ``(B,)`` or, for nested masks of one pair,
            ``(B, k)``: their sources and lambdas are used.
        blocks: Parts of the mask along each side, 2 to 16.
        settings: The other settings; those of the released code by default.
        prior_lam: Lambda that the prior follows instead of the plan's. The label weights then stay
            those of the plan: with 0.5 that is LaMix over Puzzle Mix.
        mean: Of float images that are normalised: ``images * std + mean`` lies in [0, 1]. Not
            normalised by default. A number, or one per channel; so is the next.
        std: Likewise.
        threads: Threads to use, 0 for one per core.

    Raises:
        TypeError, ValueError: If an array or a setting does not fit.
    """
    settings = PuzzleSettings() if settings is None else settings
    whole("blocks", blocks, 2, 17, "2 to 16 along each side, a whole number")
    array, planar = image_batch(images)
    plan = _pairs(check(plan, len(array), array.shape[1:3]))
    followed = plan
    if prior_lam is not None:
        followed = plan.copy()
        number("prior_lam", prior_lam, 0.0, 1.0, "a number in [0, 1]")
        followed["lam"] = prior_lam
    scale, shift = _denormalisation(mean, std, array)
    puzzle = cpu_puzzle.arguments(
        followed,
        array,
        saliency_maps(saliency, array.shape[:3]),
        scale=scale,
        shift=shift,
        planar=planar,
        threads=thread_count(threads),
        **settings.arguments(blocks),
    )
    if fault := cpu_puzzle.check(puzzle):
        raise ValueError(fault)
    cells, weights, uniform = cpu_puzzle.solve(puzzle)
    solved = plan.copy()
    if prior_lam is None:
        solved["weight"] = weights
        solved["partner_weight"] = np.where(plan["sources"] > 1, 1 - weights, 0)
    return Solution(solved, cells, settings.levels, uniform.astype(bool))


def blend(
    images: object, solution: Solution, *, dtype: str | None = None, threads: int = 0
) -> object:
    """Mix a batch as :func:`solve` found, by the arithmetic of :func:`dali_msda.blend`.

    Args:
        images: The images that the solution was found for.
        solution: From :func:`solve`.
        dtype: ``"uint8"`` (of uint8 images), ``"float32"``, ``"float16"`` or ``"bfloat16"``; by
            default the images'.
        threads: Threads to use, 0 for one per core.

    Returns:
        ``(*plan.shape, H, W, C)``, or ``(*plan.shape, C, H, W)`` if the images lie channel by
        channel; of the kind that came in (NumPy or torch).

    Raises:
        TypeError, ValueError: If the images do not fit the solution.
    """
    array, planar = image_batch(images)
    plan = _pairs(check(solution.plan, len(array), array.shape[1:3]))
    cells = _expect_cells(solution)
    name = dtype or array.dtype.name
    if name not in ("uint8", "float32", "float16", "bfloat16"):
        raise ValueError(
            f"dtype: expected 'uint8', 'float32', 'float16' or 'bfloat16', got {dtype!r}"
        )
    if name == "uint8" and array.dtype != np.uint8:
        raise ValueError("dtype: expected a float type for float images, got 'uint8'")
    laid_out = np.moveaxis(array, 3, 1) if planar else array
    shape = (*plan.shape, *laid_out.shape[1:])
    memory, result = cpu_arrays.output(None, shape, name, images)
    cpu_puzzle.blend(
        memory,
        array,
        plan,
        cells,
        solution.levels,
        planar=planar,
        out_dtype=name,
        layout="CHW" if planar else "HWC",
        threads=thread_count(threads),
    )
    return result


def image_batch(images: object) -> tuple[np.ndarray, bool]:
    """The images as an array ``(B, H, W, C)``, and whether they lie channel by channel."""
    array = cpu_arrays.view("images", images)
    if array.ndim != 4:
        raise ValueError(f"images: expected shape (B, H, W, C), got {array.shape}")
    expect_pixels(images, array)
    if array.shape[1] * array.shape[2] * array.shape[3] >= MAX_COUNT:
        raise ValueError(f"images: expected fewer than 2**31 values each, got {array.shape}")
    first = array[:1]
    if not first.flags.c_contiguous and np.moveaxis(first, 3, 1).flags.c_contiguous:
        return array, True
    expect_contiguous("images", array)
    return array, False


def _expect_cells(solution: Solution) -> np.ndarray:
    """The cells; raise ValueError unless they fit the plan, whose images the kernels then read."""
    cells, plan = solution.cells, solution.plan
    places = cells.shape[-2]
    if cells.dtype != np.uint8 or cells.shape != (*plan.shape, places, places, 3):
        raise ValueError(
            f"cells: expected uint8 {(*plan.shape, 'n', 'n', 3)}, got {cells.dtype} {cells.shape}"
        )
    sizes = {*plan["height"].flat, *plan["width"].flat}
    if not 2 <= places <= 16 or any(size % places for size in sizes):
        raise ValueError(f"cells: expected 2 to 16 a side, which divide the images, got {places}")
    if (cells[..., 0] >= solution.levels).any() or (cells[..., 1:] >= places * places).any():
        raise ValueError(
            f"cells: expected weights below {solution.levels} and parts below {places * places}, "
            f"got {cells[..., 0].max()} and {cells[..., 1:].max()}"
        )
    return np.ascontiguousarray(cells)


def _pairs(plan: np.ndarray) -> np.ndarray:
    if (most := plan["sources"].max(initial=1)) > 2:
        raise ValueError(f"plan: expected records of two samples, got one of {most}")
    return plan


def saliency_maps(saliency: object, shape: tuple[int, ...]) -> np.ndarray:
    """The maps as a contiguous array; raise TypeError or ValueError if they are no such."""
    maps = cpu_arrays.view("saliency", saliency)
    if maps.dtype != np.float32:
        dtype = str(getattr(saliency, "dtype", maps.dtype)).removeprefix("torch.")
        raise TypeError(f"saliency: expected float32, got {dtype}")
    if maps.shape != shape:
        raise ValueError(f"saliency: expected shape {shape}, one per pixel, got {maps.shape}")
    return np.ascontiguousarray(maps)


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
