"""The plan: a record per output sample, drawn once per batch; pixels and labels follow from it."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from dali_msda.backends import cpu
from dali_msda.backends.cpu_arrays import to_numpy
from dali_msda.backends.shapes import in_three, sample_shape
from dali_msda.policy import BOXES, METHODS, Policy, has_trait, whole
from dali_msda.record import METHOD_NAMES, OWN_LABEL, PLAN_DTYPE, PLAN_VERSION, SOLVED


def _lam(lam: object, shape: tuple[int, ...], leaves: np.ndarray) -> np.ndarray | None:
    """The given lambdas, one for each record, float64; None if they are to be drawn."""
    if lam is None:
        return None
    values = np.asarray(lam)
    if values.dtype.kind not in "fiu":
        raise TypeError(f"lam: expected a number in [0, 1] or one per sample, got {lam!r}")
    values = values.astype(np.float64)
    if values.shape not in ((), shape, shape[1:]):
        raise ValueError(f"lam: expected a number or shape {shape}, got shape {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        wrong = values[~((values >= 0) & (values <= 1))].flat[0]
        raise ValueError(f"lam: expected values in [0, 1], got {wrong}")
    if (leaves["box"] == BOXES["minmax"]).any():
        raise ValueError(
            "lam: expected None with minmax, which draws the sides of the box themselves; "
            "leave out lam, or minmax"
        )
    return np.ascontiguousarray(np.broadcast_to(values, shape))


def _ids(ids: object, batch: int) -> np.ndarray | None:
    """The given indices as identities, uint64 ``(B,)``; None if there are none."""
    if ids is None:
        return None
    values = np.asarray(ids)
    if values.shape != (batch,) or values.dtype.kind not in "iu":
        raise ValueError(
            f"ids: expected {batch} whole numbers, one per sample, got "
            f"{values.dtype} of shape {values.shape}"
        )
    if values.dtype.kind == "i" and (values < 0).any():
        raise ValueError(f"ids: expected indices >= 0, got {values.min()}")
    return cpu.told_apart(values)


def _serves(leaves: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless every method of a policy can be drawn for samples of this shape."""
    fields = has_trait(leaves, "needs_field")
    if math.prod(shape) >= 2**31 and fields.any():
        names = "height, width" if len(shape) == 2 else "shape"
        raise ValueError(
            f"{names}: expected fewer than 2**31 pixels for {_name_of(leaves[fields])}, got "
            f"{' x '.join(map(str, shape))}"
        )
    images_only = ~has_trait(leaves, "any_shape")
    if len(shape) != 2 and images_only.any():
        serving = [card.policy for card in METHODS.values() if "any_shape" in card.traits]
        raise ValueError(
            f"policy: expected {' or '.join(serving)} for samples of shape {shape}, got "
            f"{_name_of(leaves[images_only])}, which has a meaning in images only; give height and "
            "width"
        )


def _name_of(leaves: np.ndarray) -> str:
    """Name of the policy class of the first leaf, which users know."""
    return METHODS[METHOD_NAMES[int(leaves["method"][0])]].policy


def _peaks(
    peaks: object, leaves: np.ndarray, batch: int, height: int, width: int
) -> np.ndarray | None:
    """The given peaks, int32 ``(B, 2)``; None if there are none and no method needs any."""
    if peaks is None:
        needing = has_trait(leaves, "needs_peaks")
        if needing.any():
            raise ValueError(
                f"peaks: expected the most salient pixels of the images for "
                f"{_name_of(leaves[needing])}, got None; give peaks=dali_msda.saliency(images), or "
                "call dali_msda.mix"
            )
        return None
    values = to_numpy("peaks", peaks) if not isinstance(peaks, list | tuple) else np.asarray(peaks)
    if values.dtype.kind not in "iu":
        raise TypeError(f"peaks: expected whole numbers, got {values.dtype}")
    if values.shape != (batch, 2):
        raise ValueError(
            f"peaks: expected shape ({batch}, 2), y and x of one pixel per sample, got shape "
            f"{values.shape}"
        )
    inside = ((values >= 0) & (values < (height, width))).all(1)
    if not inside.all():
        wrong = int(np.flatnonzero(~inside)[0])
        raise ValueError(
            f"peaks[{wrong}]: expected y, x of a pixel of {height} x {width}, got "
            f"{values[wrong].tolist()}"
        )
    return np.ascontiguousarray(values, np.int32)


def draw(
    policy: Policy,
    batch: int,
    height: int | None = None,
    width: int | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    seed: int,
    step: int,
    rank: int = 0,
    ids: ArrayLike | None = None,
    lam: ArrayLike | None = None,
    distinct: int | None = None,
    peaks: ArrayLike | None = None,
) -> np.ndarray:
    """Draw the plan of one batch: a pure function of its arguments, the same on every machine.

    Args:
        policy: What to draw.
        batch: Number of samples, B; 0 gives an empty plan.
        height: Height of the images, in pixels.
        width: Width of the images, in pixels.
        shape: Instead of height and width: ``(length,)`` of sequences, ``(height, width)``, or
            ``(depth, height, width)`` of volumes and of video, whose frames are the depth.
            Sequences and volumes are served by Mixup and FMix.
        seed: Key of all random numbers, below 2**64.
        step: Number of the batch, below 2**32. Two steps never share a random number.
        rank: Number of the process in distributed training, below 2**32. Ranks that share a seed
            then differ.
        ids: Dataset index of each sample, ``(B,)``. Draws are then tied to the samples instead of
            to (rank, slot); give the epoch as ``step``. Copies of a sample in one batch, as
            repeated augmentation makes them, have draws of their own.
        lam: Nominal lambda in [0, 1] to use instead of a drawn one: a number, or one per record,
            ``(B,)``; for :class:`MultiMix` ``(B, k)``, or ``(k,)`` for all samples.
        distinct: Only the first ``distinct`` samples are mixed, among themselves; the rest are
            padding and stay as they are. All by default.
        peaks: y and x of each sample's most salient pixel, integers ``(B, 2)``, as
            :func:`dali_msda.saliency` finds them; :class:`SaliencyMix` needs them, other methods
            draw the same with and without. For a mirrored sample give the mirrored pixel.

    Returns:
        Records of shape ``(B,)``, or ``(B, k)`` for :class:`MultiMix`, and dtype
        :data:`PLAN_DTYPE`.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range.
    """
    if not isinstance(policy, Policy):
        raise TypeError(f"policy: expected a policy such as CutMix(alpha=1.0), got {policy!r}")
    batch = whole("batch", batch, 0, 2**31)
    if distinct is None:
        distinct = batch
    leaves = policy.leaves()
    shape = sample_shape(height, width, shape)
    _serves(leaves, shape)
    interpolations = policy.interpolations
    plans = np.zeros((batch,) if interpolations is None else (batch, interpolations), PLAN_DTYPE)
    cpu.draw(
        plans,
        leaves,
        shares_lam=policy.shares_lam,
        shape=in_three(shape),
        seed=whole("seed", seed, 0, 2**64),
        step=whole("step", step, 0, 2**32),
        rank=whole("rank", rank, 0, 2**32),
        distinct=whole("distinct", distinct, 0, batch + 1),
        ids=_ids(ids, batch),
        lam=_lam(lam, plans.shape, leaves),
        peaks=_peaks(peaks, leaves, batch, *in_three(shape)[1:]),
    )
    return plans


def check(
    plan: np.ndarray,
    samples: int,
    size: tuple[int, ...] | None = None,
    *,
    used_for: str = "pixels",
) -> np.ndarray:
    """Check a plan, so that the kernels need not.

    Args:
        plan: Records of :data:`PLAN_DTYPE`, drawn, loaded or made by hand, ``(B,)`` or ``(B, k)``.
        samples: Number of samples that it may name.
        size: Shape of the samples, if it is known: length; height and width; or depth, height and
            width.
        used_for: What is to follow from the records alone: ``"pixels"``, ``"labels"``, or
            ``"nothing"``. The pixels of Puzzle Mix never do, its labels do once it is solved.

    Returns:
        The plan, contiguous.

    Raises:
        TypeError, ValueError: If it does not fit.
    """
    if not isinstance(plan, np.ndarray) or plan.dtype != PLAN_DTYPE or plan.ndim not in (1, 2):
        got = f"{plan.dtype} {plan.shape}" if isinstance(plan, np.ndarray) else type(plan).__name__
        raise TypeError(
            f"plan: expected records of PLAN_DTYPE, shape (B,) or (B, k), from draw(), got {got}"
        )
    plan = np.ascontiguousarray(plan)
    wrong = cpu.check(plan, min(samples, 2**31 - 1), size)
    if wrong is not None:
        raise ValueError(wrong)
    if used_for != "nothing":
        _expect_solved(plan, used_for)
    return plan


def _expect_solved(plan: np.ndarray, used_for: str) -> None:
    """Raise ValueError if a record of Puzzle Mix is to be used without what was found for it."""
    wrong = has_trait(plan, "needs_gradients")
    if used_for == "labels":
        wrong &= plan["flags"] & (OWN_LABEL | SOLVED) == 0
    if wrong.any():
        raise ValueError(
            f"plan[{wrong.argmax()}]: expected a record that the {used_for} follow from, got one "
            "of puzzlemix, whose masks follow from the model's saliency too; call "
            "dali_msda.puzzle.solve, whose solution blend, mask and targets take for the plan"
        )


def save(path: str | os.PathLike, plan: np.ndarray) -> None:
    """Save a plan as a ``.npy`` file, for :func:`load`: the whole file or none.

    Args:
        path: File to write; an existing one is replaced.
        plan: Records of :data:`PLAN_DTYPE`.
    """
    plan = check(plan, 2**31, used_for="nothing")
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, plan, allow_pickle=False)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def load(path: str | os.PathLike) -> np.ndarray:
    """Load a plan that :func:`save` wrote.

    Raises:
        ValueError: If the file holds something else, or another version of the record.
    """
    try:
        plan = np.load(path, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # NumPy raises many kinds of errors for a broken header
        raise ValueError(f"{path}: expected a plan written by save(): {error}") from error
    if not isinstance(plan, np.ndarray) or plan.dtype != PLAN_DTYPE:
        found = getattr(plan, "dtype", "several arrays")
        raise ValueError(f"{path}: expected records of version {PLAN_VERSION}, got {found}")
    return check(plan, 2**31, used_for="nothing")
