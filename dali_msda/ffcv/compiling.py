"""Keeps what FFCV compiles, since FFCV compiles it anew for each loader of a process.

A training run builds several loaders: for evaluation, for each copy of the images, at every change
of the images' size. Compiling takes seconds each time, for the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from types import FunctionType
from typing import Any

import numpy as np


def shares_compiled(compiler: Any, applies: Callable[[], bool]) -> None:
    """Let FFCV's compiler return what it has compiled from an equal function before.

    Args:
        compiler: The class ``ffcv.pipeline.compiler.Compiler``, which is changed.
        applies: Whether it may do so now; else it compiles anew.
    """
    compiles, kept = compiler.compile, {}

    def compiles_once(code: Callable, signature: object = None) -> Callable:
        try:
            function = _identity(code)
        except TypeError:
            return compiles(code, signature)
        if not applies():
            return compiles(code, signature)
        key = (function, signature, compiler.is_enabled, compiler.num_threads > 1)
        if key not in kept:
            kept[key] = compiles(code, signature)
        return kept[key]

    compiler.compile = staticmethod(compiles_once)


def leaves_types_alone(cached_by_system: Any, compiler: Any) -> None:
    """Compile FFCV's reader of mapped files without changing a type that all of Numba shares.

    FFCV makes Numba's only type of byte arrays read-only. Numba then no longer finds what it has
    compiled for that type, and any loader fails with a KeyError.

    Args:
        cached_by_system: The class ``ffcv.memory_managers.OSCacheManager``, which is changed.
        compiler: The class ``ffcv.pipeline.compiler.Compiler``.
    """

    def read(address, state):
        file, starts, sizes = state
        return file[address : address + sizes[np.searchsorted(starts, address)]]

    cached_by_system.compile_reader = lambda self: compiler.compile(read)


def _identity(code: Callable) -> Hashable:
    """All that compiled code depends on: Numba takes the variables around a function for constants.

    Raises:
        TypeError: If one of these variables can change, or ``code`` is no Python function.
    """
    if not isinstance(code, FunctionType):
        raise TypeError(code)
    values = [cell.cell_contents for cell in code.__closure__ or ()]
    values += [code.__defaults__ or (), getattr(code, "is_parallel", False)]
    return code.__code__, id(code.__globals__), tuple(map(_constant, values))


def _constant(value: object) -> Hashable:
    if isinstance(value, tuple):
        return tuple(map(_constant, value))
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return type(value), repr(value)  # 1, 1.0 and True are equal, and compile to other code
    if callable(value):
        return value  # functions are equal to themselves alone
    raise TypeError(value)
