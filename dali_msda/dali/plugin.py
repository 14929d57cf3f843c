"""Loads the operators' plugin into DALI."""

from __future__ import annotations

import gc
import os
import sys

from dali_msda import build
from dali_msda.backends import cuda

try:
    from nvidia.dali import backend, plugin_manager
except ImportError:
    build.dali_version()  # raises an ImportError that says what to do, where there is no DALI
    raise

OPERATORS = ("msda__Plan", "msda__Blend", "msda__Targets", "msda__Saliency", "msda__CheckEncoded")
DYNAMIC = "nvidia.dali.experimental.dynamic"

# A pipeline that is in a reference cycle when the process forks, as for the workers of a torch
# DataLoader, is not the child's to destroy: it would wait for threads that only the parent has.
os.register_at_fork(after_in_child=gc.freeze)


def load() -> None:
    """Loads the operators into DALI, once per process; importing :mod:`dali_msda.dali` does it.

    Raises:
        RuntimeError: If the package holds no plugin for the installed DALI, and compiling it fails.
    """
    cuda.library()  # the kernels, which the operators call, with what compiles those for a GPU
    # DALI ends the process when a library defines an operator that is defined already.
    if OPERATORS[0] not in backend.RegisteredCPUOps():
        plugin_manager.load_library(str(build.library("dali")))
    _add_to_dynamic_mode()


def _add_to_dynamic_mode() -> None:
    """Adds the operators to dynamic mode if that was imported already.

    It makes its functions when it is imported and, unlike ``fn``, never again.
    """
    dynamic = sys.modules.get(DYNAMIC)
    if dynamic is None or hasattr(dynamic, "msda"):
        return
    from nvidia.dali.experimental.dynamic import _op_builder

    for name in OPERATORS:
        schema = backend.GetSchema(name)
        _op_builder.build_fn_wrapper(_op_builder.build_operator_class(schema))
