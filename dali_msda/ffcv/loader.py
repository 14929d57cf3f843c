"""FFCV's loader with what mixing needs: an epoch that operations know, and no way to hang.

It repairs what users of FFCV 1.0.2 run into: an exception inside an operation left the main thread
waiting for ever; each early ``break`` leaked a thread and its memory; a pipeline that goes back to
compiled operations after tensors never came to be built; torch was set to another number of
threads; each loader compiled its pipelines anew; the quasi-random order of an epoch depended on the
epochs before it; and ``filter`` counted samples from 0 where the loader had ``indices``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numba import config as numba_config

from dali_msda.backends.shapes import whole
from dali_msda.ffcv.compiling import leaves_types_alone, shares_compiled
from dali_msda.ffcv.epoch import EpochBatches, EpochThread
from dali_msda.ffcv.library import (
    DEFAULT_OS_CACHE,
    Compiler,
    FfcvLoader,
    Field,
    Operation,
    OrderOption,
    OSCacheManager,
    QuasiRandom,
    TraversalOrder,
    torch,
)
from dali_msda.ffcv.operations import is_our_loader, our_loader
from dali_msda.ffcv.pipeline_checks import (
    COMPILED_AFTER_TENSORS,
    before_mixing,
    expect_fields,
    expect_images_and_targets,
    expect_labels_in_range,
    expect_operations,
    stages_with_plans_first,
)

FFCV_SAYS = ("Can't be in JIT mode", "Can't allocate a torch tensor in JIT mode")
"""How FFCV's own messages about compiled operations on tensors begin."""

NOTHING: Mapping[str, Any] = {}  # what pipelines and fields are by default; nobody writes to it

leaves_types_alone(OSCacheManager, Compiler)
shares_compiled(Compiler, is_our_loader)


class Loader(FfcvLoader):
    """FFCV's ``Loader``, with the same arguments, for pipelines with or without mixing.

    It stands wherever FFCV's stands, in whose order of operations the Mixer's do too.

    An exception inside an operation reaches the caller; iterators end their thread when they are
    dropped, as by ``break``; torch keeps its number of threads. ``next_epoch`` is the number of the
    epoch that the next ``iter()`` starts, and ``next_batch`` that of the first batch it makes, from
    0: set them to resume, with the same ``seed``.

    What one can see from outside and differs.

    =========================  ==============  ==========
    what                       theirs          here
    =========================  ==============  ==========
    pipelines that are a list  AttributeError  TypeError
    a field that is not there  AssertionError  ValueError
    =========================  ==============  ==========

    Args:
        fname: Path of the data set, a ``.beton`` file.
        batch_size: Samples in a batch.
        num_workers: Threads; below 1, as many as Numba may start.
        os_cache: Whether the operating system keeps the file in memory, or FFCV a part of it.
        order: Order of the samples.
        distributed: Whether the processes of ``torch.distributed`` share the samples.
        seed: Key of the order; FFCV draws one where none is given.
        indices: Indices of the samples to take; all by default.
        pipelines: Operations by field.
        custom_fields: Types of the fields that are not FFCV's.
        drop_last: Whether to leave out a last batch that is smaller.
        batches_ahead: Batches that are made in advance.
        recompile: Whether to compile the pipelines anew for each epoch.

    Raises:
        TypeError, ValueError: If the pipelines do not fit; everything is checked here.
    """

    def __init__(
        self,
        fname: str,
        batch_size: int,
        num_workers: int = -1,
        os_cache: bool = DEFAULT_OS_CACHE,
        order: OrderOption | TraversalOrder = OrderOption.SEQUENTIAL,
        distributed: bool = False,
        seed: int | None = None,
        indices: Sequence[int] | None = None,
        pipelines: Mapping[str, Sequence[Operation | torch.nn.Module]] = NOTHING,
        custom_fields: Mapping[str, type[Field]] = NOTHING,
        drop_last: bool = True,
        batches_ahead: int = 3,
        recompile: bool = False,
    ):
        expect_operations(pipelines)
        given = dict(
            fname=fname,
            batch_size=batch_size,
            num_workers=_workers(num_workers),
            os_cache=os_cache,
            order=order,
            distributed=distributed,
            seed=seed,
            indices=indices,
            custom_fields=custom_fields,
            drop_last=drop_last,
            batches_ahead=batches_ahead,
            recompile=recompile,
        )
        self._given = given | {"pipelines": _copied(pipelines)}
        self._pages: np.ndarray | None = None
        self.next_batch = 0
        with our_loader():
            try:
                # FFCV takes the decoders out of the lists that it is given.
                super().__init__(**given | {"pipelines": _copied(pipelines)})
            except AssertionError:  # FFCV raises it without a message
                if hasattr(self, "reader"):
                    expect_fields(pipelines, self.reader.handlers)
                raise
        self._given["seed"] = self.seed  # FFCV draws one where none is given

    def generate_code(self) -> None:
        """Compile the pipelines; FFCV calls it, at each epoch if ``recompile`` was given."""
        expect_images_and_targets(self.graph)
        expect_labels_in_range(self)
        self.graph.group_operations = functools.partial(stages_with_plans_first, self.graph)
        try:
            super().generate_code()
        except AssertionError as error:
            if not str(error).startswith(FFCV_SAYS):
                raise
            raise TypeError(f"{COMPILED_AFTER_TENSORS}; FFCV says: {error}") from error

    def next_traversal_order(self) -> np.ndarray:
        """Order of the next epoch's samples, a function of the seed and ``next_epoch`` alone."""
        order = self.traversal_order
        if isinstance(order, QuasiRandom):  # FFCV shuffles this table in place for each epoch
            if self._pages is None:
                self._pages = order.page_to_samples_array.copy()
            order.page_to_samples_array[...] = self._pages
        return super().next_traversal_order()

    def __iter__(self) -> EpochBatches:
        # Memory taken in inference mode could not be written to by the thread, which is not in it.
        with our_loader(), torch.inference_mode(False):
            Compiler.set_num_threads(self.num_workers)
            order = self.next_traversal_order()[: len(self) * self.batch_size]
            number, self.next_epoch = self.next_epoch, self.next_epoch + 1
            first, self.next_batch = self.next_batch, 0
            if self.recompile:
                self.generate_code()
            return EpochBatches(EpochThread(self, order, number, first))

    def filter(self, field_name: str, condition: Callable[[Any], bool]) -> Loader:
        """Make a loader of the samples whose field meets a condition, as FFCV's does.

        Args:
            field_name: Name of the field.
            condition: Called with each sample that the field's pipeline makes, before it is mixed.

        Raises:
            ValueError: If the dataset has no such field.
        """
        fields = self.reader.handlers
        if field_name not in fields:
            raise ValueError(f"field_name: expected one of {', '.join(fields)}, got {field_name!r}")
        given = self._given["pipelines"]
        pipelines = {field: None for field in fields if field != field_name}
        if field_name in given:
            pipelines[field_name] = before_mixing(given[field_name])
        alone = dict(pipelines=pipelines, indices=self.indices, drop_last=False, distributed=False)
        batches = Loader(**self._given | alone | {"order": OrderOption.SEQUENTIAL})
        met = [bool(condition(sample)) for (batch,) in batches for sample in batch]
        return Loader(**self._given | {"indices": self.indices[np.array(met, bool)]})


def _workers(asked: int) -> int:
    """Number of threads; below 1, as FFCV's default is, it is as many as Numba may start.

    FFCV would take all CPUs of the machine, which fails where the process may use only some.
    """
    most = numba_config.NUMBA_NUM_THREADS
    if whole("num_workers", asked, -(2**31), 2**31) > most:
        raise ValueError(
            f"num_workers: expected at most {most}, the CPUs that Numba counts, got {asked}; set "
            "NUMBA_NUM_THREADS for more"
        )
    return asked if asked >= 1 else most


def _copied(pipelines: Mapping[str, Any]) -> dict[str, Any]:
    return {
        field: list(pipeline) if isinstance(pipeline, list | tuple) else pipeline
        for field, pipeline in pipelines.items()
    }
