"""What the annotations of public functions name, for editors and type checkers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike

Array = TypeVar("Array")
"""A NumPy array, a torch tensor or a CuPy array: what comes in comes out."""


class OtherDType(Protocol):
    """A type of elements that is not NumPy's, such as ``torch.float16``."""

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""


Layout: TypeAlias = Literal["HWC", "CHW"]
DTypeName: TypeAlias = Literal["uint8", "float32", "float16", "bfloat16"]
DType: TypeAlias = DTypeName | type[Any] | np.dtype[Any] | OtherDType
PerChannel: TypeAlias = float | Sequence[float] | ArrayLike
"""One number, or one for each channel."""
