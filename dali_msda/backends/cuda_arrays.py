"""Arrays in the memory of a GPU, whoever made them: views, checks, and new memory.

The functions from :func:`view` to :func:`labels` are those of
:mod:`dali_msda.backends.cpu_arrays`. Nobody can look at values here without waiting for the GPU, so
values are not checked.
"""

from __future__ import annotations

import sys

import numpy as np

from dali_msda.backends import checks, cpu_arrays
from dali_msda.backends.places import is_torch, on_gpu

LEGACY_STREAM = 1  # another name for stream 0, CUDA's default


class GpuArray(np.ndarray):
    """Memory of a GPU seen as a NumPy array.

    Shape, strides, dtype and address can be asked for; the values cannot, since they are not here.

    Attributes:
        gpu: Number of the GPU, None if only the driver can tell.
        owner: The array that was given.
        stream: The stream on which its values are made, where the array itself names one.
    """

    gpu: int | None
    owner: object
    stream: int | None


def view(name: str, array: object) -> GpuArray:
    """The memory of an array on a GPU; of bfloat16 its bits as uint16.

    Raises:
        ValueError: If the array lies in CPU memory, or names a stream that is none.
    """
    if not on_gpu(array):
        where = getattr(array, "device", "the CPU")
        raise ValueError(
            f"{name}: expected an array on the GPU, like the others, got one on {where}; copy it "
            "there with .cuda() or cupy.asarray()"
        )
    array = _adopted(array)
    if is_torch(array):
        dtype = np.dtype(checks.stored(str(array.dtype).removeprefix("torch.")))
        strides = tuple(step * dtype.itemsize for step in array.stride())
        made = _over(array.data_ptr(), tuple(array.shape), strides, dtype)
        made.gpu, made.stream = array.device.index, None
    else:
        about = array.__cuda_array_interface__
        dtype = np.dtype(about["typestr"])
        made = _over(about["data"][0], about["shape"], about.get("strides"), dtype)
        made.flags.writeable = not about["data"][1]
        made.gpu, made.stream = _gpu_of(array), _stream_named(name, about.get("stream"))
    made.owner = array
    return made


def on_cpu(array: object) -> np.ndarray:
    """The values of an array, copied to the CPU once what fills it is done."""
    array = _adopted(array)
    if is_torch(array):
        return array.cpu().numpy()
    import cupy

    return cupy.asnumpy(array)


def output(
    out: object, shape: tuple[int, ...], dtype: str, model: object, axes: int = 0
) -> tuple[GpuArray, object]:
    """The memory to write to, and what to return to the caller; see the CPU's ``output``."""
    given = empty(shape, dtype, model) if out is None else out
    memory = view("out", given)
    checks.expect_output(memory, shape, dtype, axes)
    checks.expect_untracked(out)
    if axes > 1 and memory.size and memory.strides[0] != memory.shape[1] * memory.strides[1]:
        raise ValueError(
            "out: expected a batch whose samples lie one behind the other on a GPU, got "
            f"strides {memory.strides}"
        )
    return memory, given


def mirror_flags(mirror: object, samples: int) -> np.ndarray | None:
    """One flag per sample: on the GPU already, or on the CPU."""
    if not on_gpu(mirror):
        return cpu_arrays.mirror_flags(mirror, samples)
    flags = view("mirror", mirror)
    if flags.shape != (samples,) or flags.dtype.itemsize != 1 or not flags.flags.c_contiguous:
        raise ValueError(
            f"mirror: expected {samples} flags of type bool or uint8, one behind the other, "
            f"got {flags.dtype} {flags.shape}"
        )
    return flags


def labels(labels: object, num_classes: object) -> tuple[GpuArray, int]:
    """Labels, int64 or int32 ``(N,)`` or float32 ``(N, C)``, and the number of classes or 0."""
    array = view("labels", labels)
    soft = array.ndim == 2 and array.dtype == np.float32
    if not soft and (array.ndim != 1 or array.dtype not in (np.int64, np.int32)):
        raise TypeError(
            "labels: expected int64 or int32 class indices (B,) or float32 soft labels "
            f"(B, classes) on a GPU, got {array.dtype} {array.shape}"
        )
    if not array.flags.c_contiguous:
        raise ValueError(f"labels: expected a contiguous array, got strides {array.strides}")
    if soft:
        return array, checks.soft_classes(array, num_classes)
    if num_classes is not None:
        checks.expect_classes(num_classes)
    return array, int(num_classes or 0)


def empty(shape: tuple[int, ...], dtype: str, model: object) -> object:
    """New memory where ``model`` is, of its library; for bfloat16 CuPy gets uint16."""
    model = _adopted(model)
    if is_torch(model):
        torch = sys.modules["torch"]
        return torch.empty(shape, dtype=getattr(torch, dtype), device=model.device)
    import cupy

    gpu = _gpu_of(model)
    if gpu is None:
        address = model.__cuda_array_interface__["data"][0]
        gpu = cupy.cuda.runtime.pointerGetAttributes(address).device
    with cupy.cuda.Device(gpu):
        return cupy.empty(shape, checks.stored(dtype))


def current_stream(array: GpuArray) -> int | None:
    """The stream on which an array's library works at present; None if that is unknown."""
    if is_torch(array.owner):
        return sys.modules["torch"].cuda.current_stream(array.gpu).cuda_stream
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(array.owner, cupy.ndarray):
        with cupy.cuda.Device(array.gpu):
            return cupy.cuda.get_current_stream().ptr
    return array.stream


def _adopted(array: object) -> object:
    """The array; one that offers DLPack alone becomes an array of torch or CuPy."""
    if is_torch(array) or hasattr(array, "__cuda_array_interface__"):
        return array
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.from_dlpack(array)
    import cupy

    return cupy.from_dlpack(array)


class _Memory:
    """The interface through which NumPy sees memory as an array."""

    def __init__(self, interface: dict):
        self.__array_interface__ = interface


def _over(
    address: int, shape: tuple[int, ...], strides: tuple[int, ...] | None, dtype: np.dtype
) -> GpuArray:
    interface = {"version": 3, "typestr": dtype.str, "data": (address, False), "shape": shape}
    return np.asarray(_Memory(interface | {"strides": strides})).view(GpuArray)


def _gpu_of(array: object) -> int | None:
    """The number of the GPU of an array that is not torch's, if the array tells."""
    device = getattr(array, "device", None)
    if hasattr(device, "id"):  # CuPy
        return device.id
    return array.__dlpack_device__()[1] if hasattr(array, "__dlpack_device__") else None


def _stream_named(name: str, stream: object) -> int | None:
    """The stream of a CUDA array interface, as the driver names it (version 3 of the interface)."""
    if stream is None:
        return None
    if isinstance(stream, bool) or not isinstance(stream, int) or stream <= 0:
        raise ValueError(
            f"{name}: expected the stream of its CUDA array interface to be None, 1, 2 or an "
            f"address, got {stream!r}"
        )
    return 0 if stream == LEGACY_STREAM else stream
