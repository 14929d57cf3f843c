"""One epoch of the loader: the thread that makes its batches, and what operations ask of it."""

from __future__ import annotations

import contextlib
import threading
from queue import Empty
from typing import Any

import numpy as np

from dali_msda.ffcv.library import EpochIterator, select_buffer, torch
from dali_msda.ffcv.operations import DecoderWithDraws


class EpochBatches:
    """The batches of one epoch.

    Dropping this object, as ``break`` does, ends the thread that makes them.
    """

    def __init__(self, thread: EpochThread):
        self._thread = thread

    def __iter__(self) -> EpochBatches:
        return self

    def __next__(self) -> tuple:
        return next(self._thread)

    def close(self) -> None:
        """End the epoch; its thread has ended when this returns."""
        self._thread.close()

    def __del__(self):
        if hasattr(self, "_thread"):
            self._thread.close()


class _Closed(Exception):
    """Ends the thread of an epoch whose batches nobody wants any more."""


class EpochThread(EpochIterator):
    """The thread that makes the batches of one epoch; operations read its attributes.

    Attributes:
        number: Number of the epoch, from 0.
        batch: Number of the batch that is being made, from 0.
        plans: The plan of that batch, by mixer.
    """

    def __init__(self, loader: Any, order: np.ndarray, number: int, first: int):
        self.number, self.batch, self.plans = number, first, {}
        self._first = first
        self._decoders = [
            (id, node.decoder)
            for id, node in loader.graph.id_to_node.items()
            if isinstance(getattr(node, "decoder", None), DecoderWithDraws)
        ]
        self._error: BaseException | None = None
        self._ended = False
        self._torch_threads = torch.get_num_threads()
        super().__init__(loader, order[first * loader.batch_size :])  # starts the thread

    def run(self) -> None:
        """Make the batches; an error goes to the consumer, to whom FFCV would say nothing."""
        try:
            super().run()
        except _Closed:
            pass
        except BaseException as error:
            self._error = error
            self.output_queue.put(None)

    def run_pipeline(
        self, b_ix: int, batch_indices: np.ndarray, batch_slot: int, cuda_event: object
    ) -> tuple:
        """Make one batch."""
        if self.terminate_event.is_set():
            raise _Closed
        if b_ix == 0:
            torch.set_num_threads(self._torch_threads)  # FFCV sets it to 1 as the thread starts
        if cuda_event is not None:
            # FFCV makes only the GPU wait for what the consumer did with this slot's last batch.
            # A copy from the slot to the GPU could still run while the CPU overwrites the slot.
            cuda_event.synchronize()
        self.batch = self._first + b_ix
        self.plans.clear()
        for id, decoder in self._decoders:
            memory = self.memory_allocations["operation"][id]
            decoder.draw(
                select_buffer(memory, batch_slot, len(batch_indices)), batch_indices, self.number
            )
        return super().run_pipeline(b_ix, batch_indices, batch_slot, cuda_event)

    def __next__(self) -> tuple:
        if self._ended:  # nothing more would come, and FFCV would wait for it
            raise StopIteration
        try:
            return super().__next__()
        except StopIteration:
            if self._error is not None:
                raise self._error from None
            raise

    def close(self) -> None:
        """End the thread and wait for it: at most until the batch that it is making is done."""
        if self._ended:
            return
        self._ended = True
        self.terminate_event.set()
        while self.is_alive() and threading.current_thread() is not self:
            with contextlib.suppress(Empty):  # the thread may wait for room in its queue
                self.output_queue.get_nowait()
            self.join(0.01)
        self.memory_context.__exit__(None, None, None)

    def __del__(self):
        """Do nothing: a running thread is never collected, and :class:`EpochBatches` closes it."""


def current_epoch() -> EpochThread:
    """The epoch in whose thread the caller runs."""
    return threading.current_thread()
