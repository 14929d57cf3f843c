"""Arrays in the memory of a GPU: where they are and how they lie, whoever made them."""

from __future__ import annotations

import sys

import numpy as np


class GpuArray(np.ndarray):
    """Memory of a GPU seen as a NumPy array.

    Shape, strides, dtype and address can be asked for; the values cannot, since they are not here.
    ``gpu`` is the number of the GPU and ``owner`` the array that was given.
    """

    gpu: int
    owner: object


def _is_torch(array: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _has_interface(array: object) -> bool:
    """Whether there is an array interface; one of a class is not made to find out."""
    name = "__cuda_array_interface__"
    return hasattr(type(array), name) or hasattr(array, name)


def on_gpu(array: object) -> bool:
    """Whether an array lies on a GPU; nothing is imported to find out."""
    if _is_torch(array):
        return array.device.type == "cuda"
    if isinstance(array, np.ndarray | list | tuple):
        return False
    if _has_interface(array):
        return True
    kind = getattr(array, "__dlpack_device__", None)
    return kind is not None and kind()[0] == 2  # kDLCUDA


def adopted(array: object) -> object:
    """An array that speaks DLPack only, as one of the library that is loaded already."""
    if _is_torch(array) or _has_interface(array):
        return array
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.from_dlpack(array)
    import cupy

    return cupy.from_dlpack(array)


def view(name: str, array: object) -> GpuArray:
    """The memory of an array on a GPU; of bfloat16 its bits as uint16.

    Raises:
        ValueError: If the array lies in CPU memory.
    """
    if not on_gpu(array):
        where = getattr(array, "device", "the CPU")
        raise ValueError(
            f"{name}: expected an array on the GPU, like the others, got one on {where}; copy it "
            "there with .cuda() or cupy.asarray()"
        )
    array = adopted(array)
    if _is_torch(array):
        dtype = str(array.dtype).removeprefix("torch.").replace("bfloat16", "uint16")
        size = array.element_size()
        strides = tuple(step * size for step in array.stride())
        made = _over(array.data_ptr(), tuple(array.shape), strides, np.dtype(dtype))
        made.gpu = array.device.index
    else:
        about = array.__cuda_array_interface__
        dtype = np.dtype(about["typestr"])
        made = _over(about["data"][0], about["shape"], about.get("strides"), dtype)
        made.flags.writeable = not about["data"][1]
        made.gpu = _device(array, about["data"][0])
    made.owner = array
    return made


class _Memory:
    """What NumPy asks of memory that it shall see as an array."""

    def __init__(self, interface: dict):
        self.__array_interface__ = interface


def _over(
    address: int, shape: tuple[int, ...], strides: tuple[int, ...] | None, dtype: np.dtype
) -> GpuArray:
    interface = {"version": 3, "typestr": dtype.str, "data": (address, False), "shape": shape}
    return np.asarray(_Memory(interface | {"strides": strides})).view(GpuArray)


def _device(array: object, address: int) -> int:
    device = getattr(array, "device", None)
    if hasattr(device, "id"):  # CuPy
        return device.id
    from dali_msda.backends import driver

    return driver.device_of(address) if address else 0


def empty(shape: tuple[int, ...], dtype: str, model: object) -> object:
    """New memory where ``model`` is, of its library; CuPy has no bfloat16, but its bits."""
    model = adopted(model)
    if _is_torch(model):
        torch = sys.modules["torch"]
        return torch.empty(shape, dtype=getattr(torch, dtype), device=model.device)
    import cupy

    with cupy.cuda.Device(view("model", model).gpu):
        return cupy.empty(shape, "uint16" if dtype == "bfloat16" else dtype)


def on_cpu(array: object) -> np.ndarray:
    """A copy of an array of a GPU, once what fills it is done."""
    array = adopted(array)
    if _is_torch(array):
        return array.cpu().numpy()
    import cupy

    return cupy.asnumpy(array)


def current_stream(array: GpuArray) -> int:
    """The stream on which the library of an array works at present."""
    if _is_torch(array.owner):
        return sys.modules["torch"].cuda.current_stream(array.gpu).cuda_stream
    if "cupy" in sys.modules:
        import cupy

        with cupy.cuda.Device(array.gpu):
            return cupy.cuda.get_current_stream().ptr
    return 0
