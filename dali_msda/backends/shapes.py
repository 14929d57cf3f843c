"""The shape of samples: sequences ``(L,)``, images ``(H, W)``, volumes and video ``(D, H, W)``."""

from __future__ import annotations

from dali_msda.policy import whole

AXES = ("depth", "height", "width")


def sample_shape(height: object, width: object, shape: object) -> tuple[int, ...]:
    """Shape of the samples, given as height and width or as one to three axes.

    Raises:
        TypeError, ValueError: If it is given twice or not at all, or out of range.
    """
    if shape is None:
        if height is None or width is None:
            raise TypeError(
                f"height, width: expected both, or shape=, got {height!r} and {width!r}; give "
                "shape=(length,) for sequences and shape=(depth, height, width) for volumes"
            )
        return whole("height", height, 1, 2**31), whole("width", width, 1, 2**31)
    if height is not None or width is not None:
        raise TypeError(
            f"shape: expected None beside height and width, got {shape!r}; give one or the other"
        )
    if not isinstance(shape, tuple | list) or not 1 <= len(shape) <= 3:
        raise TypeError(
            f"shape: expected (length,), (height, width) or (depth, height, width), got {shape!r}"
        )
    sizes = tuple(whole(f"shape[{axis}]", size, 1, 2**31) for axis, size in enumerate(shape))
    if len(sizes) == 3 and sizes[0] * sizes[1] >= 2**31:
        raise ValueError(f"shape: expected depth * height < 2**31, got {sizes[0]} * {sizes[1]}")
    return sizes


def in_three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Depth, height and width of samples of one to three axes."""
    return (1,) * (3 - len(shape)) + tuple(shape)
