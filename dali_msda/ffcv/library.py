"""FFCV itself: imported once, with a message that says what to do where it is missing.

Every module of this folder takes what it needs of FFCV and of torch from here.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator

VERSION = "1.0.2"
REMEDY = (
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
def torch_threads_kept() -> Iterator[None]:
    """Give torch back its number of threads, which FFCV sets to one."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _constants_not_compiled() -> Iterator[None]:
    """Put Python's dictionary in the place of Numba's while FFCV is imported.

    FFCV keeps two constants in such a dictionary, which only Python code reads. Compiling it takes
    two thirds of the time of the import.
    """
    typed, numba.typed.Dict = numba.typed.Dict, dict
    try:
        yield
    finally:
        numba.typed.Dict = typed


try:
    found = importlib.metadata.version("ffcv")  # `ffcv.__version__` says 0.0.3rc1 in 1.0.2
    import numba.typed
    from numba import get_thread_id, set_parallel_chunksize

    with torch_threads_kept(), _constants_not_compiled():
        from ffcv.fields.base import Field
        from ffcv.fields.basics import IntDecoder
        from ffcv.fields.rgb_image import IMAGE_MODES, SimpleRGBImageDecoder
        from ffcv.libffcv import imdecode, resize_crop
        from ffcv.loader import Loader as FfcvLoader
        from ffcv.loader import OrderOption
        from ffcv.loader.epoch_iterator import EpochIterator, select_buffer
        from ffcv.loader.loader import DEFAULT_OS_CACHE
        from ffcv.memory_managers import OSCacheManager
        from ffcv.pipeline.allocation_query import AllocationQuery
        from ffcv.pipeline.compiler import Compiler
        from ffcv.pipeline.graph import Graph, Node, TransformNode
        from ffcv.pipeline.operation import Operation
        from ffcv.pipeline.pipeline_spec import PipelineSpec
        from ffcv.pipeline.state import State
        from ffcv.transforms.common import Squeeze
        from ffcv.transforms.ops import ToDevice, ToTensor
        from ffcv.traversal_order import QuasiRandom
        from ffcv.traversal_order.base import TraversalOrder
except (ImportError, OSError) as error:  # OSError: a system library is missing
    raise ImportError(f"ffcv: expected FFCV {VERSION}, got: {error}; {REMEDY}") from error
if found != VERSION:  # this package uses more than FFCV's public names
    raise ImportError(f"ffcv: expected version {VERSION}, got {found}; {REMEDY}")

__all__ = [
    "DEFAULT_OS_CACHE",
    "IMAGE_MODES",
    "AllocationQuery",
    "Compiler",
    "EpochIterator",
    "FfcvLoader",
    "Field",
    "Graph",
    "IntDecoder",
    "Node",
    "OSCacheManager",
    "Operation",
    "OrderOption",
    "PipelineSpec",
    "QuasiRandom",
    "SimpleRGBImageDecoder",
    "Squeeze",
    "State",
    "ToDevice",
    "ToTensor",
    "TransformNode",
    "TraversalOrder",
    "get_thread_id",
    "imdecode",
    "resize_crop",
    "select_buffer",
    "set_parallel_chunksize",
    "torch",
    "torch_threads_kept",
]
