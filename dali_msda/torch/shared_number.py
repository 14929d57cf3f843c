"""A number that a process shares with the workers that it starts."""

from __future__ import annotations

import torch


class SharedNumber:
    """A whole number that workers of a ``DataLoader`` see change, also those that live on.

    A copy, and what is unpickled outside of a worker, is a number of its own.
    """

    def __init__(self, value: int):
        self._cell = torch.tensor(value, device="cpu").share_memory_()

    @property
    def value(self) -> int:
        """The number, as any process has set it last."""
        return int(self._cell)

    @value.setter
    def value(self, value: int) -> None:
        self._cell.fill_(value)

    def __setstate__(self, state: dict[str, torch.Tensor]) -> None:
        self._cell = state["_cell"].share_memory_()  # a copied tensor is not shared any more
