"""Lets torchvision's CUDA wheel be imported beside a CPU build of torch.

A wheel that was built for CUDA may be all that pip finds. Its library ``_C.so`` needs CUDA
libraries that a CPU build of torch does not bring, so it is not loaded, and the import then fails
with "operator torchvision::nms does not exist": torchvision's Python code describes two operators
that only ``_C.so`` declares. Declaring the two signatures first is enough. Models, transforms and
``v2.CutMix`` then work; ``ops.nms`` and ``io.decode_jpeg`` do not, since their code is missing.

timm imports torchvision whether it needs it or not, so this goes before timm as well.
"""

from pathlib import Path

_declared = []  # the declarations live as long as their `Library` object


def declare_operators() -> bool:
    """Declare what torchvision's import expects, unless its own library does so.

    Call it before the first ``import torchvision`` or ``import timm``; more calls do nothing.

    Returns:
        Whether something had to be declared.
    """
    import torch

    if _declared or hasattr(torch.ops.torchvision, "nms") or _library_loads():
        return bool(_declared)
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    return True


def _library_loads() -> bool:
    """Whether ``_C.so`` can be loaded beside this torch. Loading it twice is harmless."""
    import importlib.util

    import torch

    found = importlib.util.find_spec("torchvision")  # finds, does not import
    if found is None:
        raise ModuleNotFoundError("torchvision is not installed: pip install torchvision")
    for path in Path(found.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(path))
        except OSError:
            continue
        return True
    return False
