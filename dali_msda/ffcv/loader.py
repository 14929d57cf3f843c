"""FFCV's loader with what mixing needs: an epoch that operations know, and no way to hang.

It repairs what users of FFCV 1.0.2 run into: an exception inside an operation left the main thread
waiting for ever; each early ``break`` leaked a thread and its memory; a pipeline that goes back to
compiled operations after tensors never came to be built; torch was set to another number of
threads; each loader compiled its pipelines anew; and the quasi-random order of an epoch depended on
the epochs before it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from queue import Empty
from typing import Any

import numpy as np

from dali_msda.ffcv.compiling import leaves_types_alone, shares_compiled

VERSION = "1.0.2"
HOW = (
    "`python -m dali_msda.pipelines.install_ffcv` installs it (in a checkout `make ffcv`); all but "
    "FFCV works without it"
)

try:
    import torch
except ImportError as error:
    raise ImportError(
        f"torch: expected it to be installed, got: {error}; FFCV needs it: pip install torch"
    ) from error


@contextlib.contextmanager
def _torch_threads_kept() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _nothing_compiled() -> Iterator[None]:
    """While FFCV is imported, dictionaries of Numba's are Python's.

    FFCV keeps two constants in one, which only Python reads; compiling it takes two thirds of the
    time of the import.
    """
    typed, numba.typed.Dict = numba.typed.Dict, dict
    try:
        yield
    finally:
        numba.typed.Dict = typed


try:
    found = importlib.metadata.version("ffcv")  # `ffcv.__version__` says 0.0.3rc1 in 1.0.2
    import numba.typed

    with _torch_threads_kept(), _nothing_compiled():
        from ffcv.fields.basics import IntDecoder
        from ffcv.fields.rgb_image import SimpleRGBImageDecoder
        from ffcv.loader import Loader as FfcvLoader
        from ffcv.loader.epoch_iterator import EpochIterator, select_buffer
        from ffcv.memory_managers import OSCacheManager
        from ffcv.pipeline.allocation_query import AllocationQuery
        from ffcv.pipeline.compiler import Compiler
        from ffcv.pipeline.graph import Graph, Node, TransformNode
        from ffcv.pipeline.operation import Operation
        from ffcv.pipeline.state import State
        from ffcv.transforms.ops import ToDevice, ToTensor
        from ffcv.traversal_order import QuasiRandom
except (ImportError, OSError) as error:  # OSError: a library of the system that it links
    raise ImportError(f"ffcv: expected FFCV {VERSION}, got: {error}; {HOW}") from error
if found != VERSION:  # what this module builds on is not FFCV's public face
    raise ImportError(f"ffcv: expected version {VERSION}, got {found}; {HOW}")

AFTER_TENSORS = (
    "pipelines: expected only operations on tensors after one that makes them, such as those of a "
    "Mixer and ToTensor; put those that FFCV compiles before it"
)

_in_our_loader: ContextVar[bool] = ContextVar("in_our_loader", default=False)


@contextlib.contextmanager
def _ours() -> Iterator[None]:
    """Marks what FFCV does on behalf of our loader."""
    token = _in_our_loader.set(True)
    try:
        with _torch_threads_kept():
            yield
    finally:
        _in_our_loader.reset(token)


leaves_types_alone(OSCacheManager, Compiler)
shares_compiled(Compiler, _in_our_loader.get)


def expect_our_loader() -> None:
    """Raise TypeError if FFCV's own loader is being built."""
    if not _in_our_loader.get():
        raise TypeError(
            "Loader: expected dali_msda.ffcv.Loader, got ffcv.Loader, which does not tell "
            "operations the epoch; import Loader from dali_msda.ffcv, all else stays as it is"
        )


class Drawn(SimpleRGBImageDecoder):
    """A decoder that is told for each batch what was drawn for it.

    Decoders are compiled and FFCV gives them no epoch, so the loader's thread writes into their
    memory before it lets them run.
    """

    def draw(self, memory: Any, ids: np.ndarray, epoch: int) -> None:
        """Write what the batch needs.

        Args:
            memory: What the operation declared, for this batch.
            ids: Dataset indices of the batch, ``(B,)``.
            epoch: Number of the epoch, from 0.
        """
        raise NotImplementedError


class Mixing(Operation):
    """An operation of a :class:`dali_msda.ffcv.Mixer`, run by the loader's thread for each batch.

    Attributes:
        mixer: The :class:`dali_msda.ffcv.Mixer` whose operation it is.
        draws: Whether it draws the batch's plan, so that it must run before those that need it.
        is_last: Whether no operation may follow.
    """

    draws = False
    is_last = False

    def __init__(self, mixer: Any):
        super().__init__()
        self.mixer = mixer

    @property
    def interpolations(self) -> tuple[int, ...]:
        """Axes that the policy puts between the batch and each sample."""
        count = self.mixer.policy.interpolations
        return () if count is None else (count,)

    @staticmethod
    def arriving(state: State) -> np.dtype | None:
        """Type of what comes in: arrays in CPU memory, or tensors on a GPU; None for all else."""
        tensors = isinstance(state.dtype, torch.dtype)
        if tensors != (torch.device(state.device).type == "cuda"):
            return None
        if not tensors:
            return state.dtype
        name = str(state.dtype).removeprefix("torch.")
        return None if name == "bfloat16" else np.dtype(name)

    @staticmethod
    def tensor(
        shape: tuple[int, ...], dtype: torch.dtype, device: object
    ) -> tuple[State, AllocationQuery]:
        """State after an operation that makes tensors, and the memory for them."""
        device = torch.device(device)
        state = State(jit_mode=False, device=device, shape=shape, dtype=dtype)
        return state, AllocationQuery(shape, dtype, device)


class Loader(FfcvLoader):
    """FFCV's ``Loader``, with the same arguments, for pipelines with or without mixing.

    An exception inside an operation reaches the caller; iterators end their thread when they are
    dropped, as by ``break``; torch keeps its number of threads. ``next_epoch`` is the number of the
    epoch that the next ``iter()`` starts, and ``next_batch`` that of the first batch it makes, from
    0: set them to resume, with the same ``seed``.

    Raises:
        TypeError, ValueError: If the pipelines do not fit; everything is checked here.
    """

    def __init__(self, *args: object, **kwargs: object):
        self._pages: np.ndarray | None = None
        self.next_batch = 0
        with _ours():
            super().__init__(*args, **kwargs)

    def generate_code(self) -> None:
        """Compile the pipelines; FFCV calls it, at each epoch if ``recompile`` was given."""
        _expect_pairs(self.graph)
        _expect_labels(self)
        self.graph.group_operations = functools.partial(_stages, self.graph)
        try:
            super().generate_code()
        except AssertionError as error:  # FFCV's only: of a compiled operation on tensors
            raise TypeError(f"{AFTER_TENSORS}; FFCV says: {error}") from error

    def next_traversal_order(self) -> np.ndarray:
        """Order of the next epoch's samples, a function of the seed and ``next_epoch`` alone."""
        order = self.traversal_order
        if isinstance(order, QuasiRandom):  # it shuffles its own table anew for each epoch
            if self._pages is None:
                self._pages = order.page_to_samples_array.copy()
            order.page_to_samples_array[...] = self._pages
        return super().next_traversal_order()

    def __iter__(self) -> Batches:
        # Memory taken in inference mode could not be written to by the thread, which is not in it.
        with _ours(), torch.inference_mode(False):
            Compiler.set_num_threads(self.num_workers)
            order = self.next_traversal_order()[: len(self) * self.batch_size]
            number, self.next_epoch = self.next_epoch, self.next_epoch + 1
            first, self.next_batch = self.next_batch, 0
            if self.recompile:
                self.generate_code()
            return Batches(Epoch(self, order, number, first))

    def filter(self, field_name: str, condition: object) -> None:
        """Not served, since the condition would see mixed samples.

        Raises:
            TypeError: Always. It says what to do.
        """
        raise TypeError(
            f"filter: expected a loader without mixing, got {type(self).__name__}; find the "
            "indices with ffcv.Loader and give them as indices="
        )


class Batches:
    """The batches of one epoch; dropping it, as ``break`` does, ends the thread that makes them."""

    def __init__(self, epoch: Epoch):
        self._epoch = epoch

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> tuple:
        return next(self._epoch)

    def close(self) -> None:
        """End the epoch; its thread has ended when this returns."""
        self._epoch.close()

    def __del__(self):
        if hasattr(self, "_epoch"):
            self._epoch.close()


class _Closed(Exception):
    """Ends the thread of an epoch that nobody listens to any more."""


class Epoch(EpochIterator):
    """The thread that makes the batches of one epoch, and what its operations may know.

    Attributes:
        number: Number of the epoch, from 0.
        batch: Number of the batch that is being made, from 0.
        plans: The plan of that batch, by mixer.
    """

    def __init__(self, loader: Loader, order: np.ndarray, number: int, first: int):
        self.number, self.batch, self.plans = number, first, {}
        self._first = first
        self._drawn = [
            (id, node.decoder)
            for id, node in loader.graph.id_to_node.items()
            if isinstance(getattr(node, "decoder", None), Drawn)
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
            torch.set_num_threads(self._torch_threads)  # FFCV sets it when the thread starts
        if cuda_event is not None:
            # What the consumer did with this slot's last batch: FFCV makes the GPU wait for it, but
            # copies from the slot to the GPU would still be read while the CPU overwrites it.
            cuda_event.synchronize()
        self.batch = self._first + b_ix
        self.plans.clear()
        for id, operation in self._drawn:
            memory = self.memory_allocations["operation"][id]
            operation.draw(
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
            with contextlib.suppress(Empty):  # it may wait for room
                self.output_queue.get_nowait()
            self.join(0.01)
        self.memory_context.__exit__(None, None, None)

    def __del__(self):
        """Nothing: a thread that runs is never collected, and :class:`Batches` closes it."""


def running() -> Epoch:
    """The epoch whose thread calls."""
    return threading.current_thread()


def _operations(graph: Graph) -> list[tuple[Node, Mixing]]:
    """Nodes of the mixers' operations."""
    nodes = [node for node in graph.nodes if isinstance(node, TransformNode)]
    return [(node, node.operation) for node in nodes if isinstance(node.operation, Mixing)]


def _ancestry(node: Node) -> list[Node]:
    """The node and all that it is computed from, back to the decoder."""
    line = [node]
    while line[-1].parent is not None:
        line.append(line[-1].parent)
    return line


def _expect_pairs(graph: Graph) -> None:
    """Raise unless each mixer has images and targets, and nothing stands where it cannot."""
    operations = [operation for _, operation in _operations(graph)]
    for mixer in {operation.mixer: None for operation in operations}:
        draws = [operation.draws for operation in operations if operation.mixer is mixer]
        if draws.count(True) != 1 or draws.count(False) == 0:
            raise ValueError(
                "pipelines: expected one with mixer.images() and at least one with "
                f"mixer.targets() of the same Mixer, got {draws.count(True)} and "
                f"{draws.count(False)}; labels that are not mixed as the images are would be wrong"
            )
    for node in graph.nodes:
        parent = getattr(node.parent, "operation", None)
        if isinstance(parent, Mixing) and parent.is_last:
            raise ValueError(
                "pipelines: expected nothing after mixer.targets(compact=True), which makes a "
                f"pair of tensors, got {type(getattr(node, 'operation', node)).__name__}; leave "
                "it out and move the pair when the loader has returned it"
            )


def _expect_labels(loader: Loader) -> None:
    """Raise ValueError if a label of the dataset is out of a mixer's range."""
    for node, operation in _operations(loader.graph):
        source = node.parent
        while isinstance(getattr(source, "operation", None), ToTensor | ToDevice):
            source = source.parent
        decoder = getattr(source, "decoder", None)
        if operation.draws or not isinstance(decoder, IntDecoder):
            continue  # soft labels, or an operation between that may change them
        labels = loader.reader.metadata[f"f{source.f_ix}"][loader.indices]
        wrong = (labels < 0) | (labels >= operation.mixer.num_classes)
        if wrong.any():
            raise ValueError(
                f"num_classes: expected more than every label, got {operation.mixer.num_classes} "
                f"and label {labels[wrong][0]} of sample {loader.indices[wrong][0]}"
            )


def _stages(graph: Graph) -> list[list[int]]:
    """FFCV's stages, in which a batch's plan is drawn before anything needs it.

    Within a stage FFCV runs the pipelines in any order.
    """
    for node in graph.nodes:
        before = [other for other in _ancestry(node)[1:] if other.is_jitted is False]
        if node.is_jitted and before:  # FFCV would look for the stage for ever
            raise TypeError(f"{AFTER_TENSORS}, got {type(node.operation).__name__}")
    first = set()
    for node, operation in _operations(graph):
        if operation.draws:
            first.update(graph.node_to_id[other] for other in _ancestry(node))
    return [
        sorted(stage, key=lambda id: id not in first) for stage in Graph.group_operations(graph)
    ]
