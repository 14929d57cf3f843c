"""Tensors of torch in CPU memory that pass for a GPU's: what is where is kept and checked.

What is made for "cuda" or moved there is :class:`There`; operations on tensors of both devices are
refused, as CUDA refuses them. So code for a GPU runs, with its values, where torch has none.
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
# What takes tensors of both devices.
ACROSS = (torch.Tensor.to, torch.Tensor.copy_, torch.Tensor.__getitem__, torch.Tensor.__setitem__)


class There(torch.Tensor):
    """A tensor that says it is on a GPU."""

    device, is_cuda = CUDA, True

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return _called(function, args, kwargs or {})


class PretendCuda(TorchFunctionMode):
    """While this is entered, ``device="cuda"`` makes tensors that are :class:`There`."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return _called(function, args, kwargs or {})


def _device(value):
    """The device that an argument names, if it does."""
    names = isinstance(value, str) and value.split(":")[0] in ("cpu", "cuda")
    return torch.device(value) if names or isinstance(value, torch.device) else None


def _called(function, args, kwargs):
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = any(isinstance(tensor, There) for tensor in tensors)
    if there and function not in ACROSS:
        for tensor in tensors:
            if not isinstance(tensor, There) and tensor.ndim:
                raise RuntimeError(f"{function}: expected tensors on one device, got cpu and cuda")
    named = [device for device in map(_device, (*args, *kwargs.values())) if device]
    if function in (torch.Tensor.cuda, torch.Tensor.cpu):
        named = [CUDA if function is torch.Tensor.cuda else CPU]
        function, args = torch.Tensor.to, (args[0], CPU)
    if named:
        there = named[0].type == "cuda"
    plain = {}

    def here(value):
        if isinstance(value, There):
            inner = value.as_subclass(torch.Tensor)
            plain[id(inner)] = inner, value
            return inner
        return CPU if _device(value) else value

    def back(value):
        if not isinstance(value, torch.Tensor):
            return value
        if there and id(value) in plain:  # in place
            return plain[id(value)][1]
        if id(value) in plain or any(value is tensor for tensor in tensors):  # moved
            value = value.clone()
        return value.as_subclass(There) if there else value

    with torch._C.DisableTorchFunction():
        made = function(*tree_map(here, args), **tree_map(here, kwargs))
    return tree_map(back, made)
