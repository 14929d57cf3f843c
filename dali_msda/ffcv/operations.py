"""Operations that need our loader, because FFCV's own does not tell them the epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from dali_msda.ffcv.library import (
    AllocationQuery,
    Operation,
    SimpleRGBImageDecoder,
    State,
    torch,
    torch_threads_kept,
)

_in_our_loader: ContextVar[bool] = ContextVar("in_our_loader", default=False)


@contextlib.contextmanager
def our_loader() -> Iterator[None]:
    """Mark what FFCV does on behalf of our loader; torch keeps its number of threads."""
    token = _in_our_loader.set(True)
    try:
        with torch_threads_kept():
            yield
    finally:
        _in_our_loader.reset(token)


def is_our_loader() -> bool:
    """Whether FFCV is at work on behalf of our loader."""
    return _in_our_loader.get()


def expect_our_loader() -> None:
    """Raise TypeError if FFCV's own loader is being built."""
    if not is_our_loader():
        raise TypeError(
            "Loader: expected dali_msda.ffcv.Loader, got ffcv.Loader, which does not tell "
            "operations the epoch; import Loader from dali_msda.ffcv, all else stays as it is"
        )


class DecoderWithDraws(SimpleRGBImageDecoder):
    """A decoder that is told for each batch what was drawn for it.

    FFCV compiles decoders and gives them no epoch, so the loader's thread writes into their memory
    before it lets them run.
    """

    def draw(self, memory: Any, ids: np.ndarray, epoch: int) -> None:
        """Write what the batch needs.

        Args:
            memory: The part for this batch of the memory that the operation declared.
            ids: Dataset indices of the batch, ``(B,)``.
            epoch: Number of the epoch, from 0.
        """
        raise NotImplementedError


class MixerOperation(Operation):
    """An operation of a :class:`dali_msda.ffcv.Mixer`, run by the loader's thread for each batch.

    Attributes:
        mixer: The :class:`dali_msda.ffcv.Mixer` whose operation it is.
        draws_plan: Whether it draws the batch's plan, so that it must run before those that need
            the plan.
        makes_pair: Whether it makes a pair of tensors, which no other operation can take.
    """

    draws_plan = False
    makes_pair = False

    def __init__(self, mixer: Any):
        super().__init__()
        self.mixer = mixer

    @property
    def interpolations(self) -> tuple[int, ...]:
        """Axes that the policy puts between the batch and each sample."""
        count = self.mixer.policy.interpolations
        return () if count is None else (count,)

    @staticmethod
    def input_dtype(state: State) -> np.dtype | None:
        """Type of arrays in CPU memory or of tensors on a GPU; None for any other input."""
        is_tensor = isinstance(state.dtype, torch.dtype)
        if is_tensor != (torch.device(state.device).type == "cuda"):
            return None
        if not is_tensor:
            return state.dtype
        name = str(state.dtype).removeprefix("torch.")
        return None if name == "bfloat16" else np.dtype(name)

    @staticmethod
    def tensor_state(
        shape: tuple[int, ...], dtype: torch.dtype, device: object
    ) -> tuple[State, AllocationQuery]:
        """State after an operation that makes tensors, and the memory for them."""
        device = torch.device(device)
        state = State(jit_mode=False, device=device, shape=shape, dtype=dtype)
        return state, AllocationQuery(shape, dtype, device)
