"""The authors' code of FMix, HMix and GMix, from checkouts that the user names.

It is in no package registry, and nothing of it is copied here: `--fmix-repo DIR` names a checkout
of github.com/ecs-vlc/FMix (fmix.py) or of github.com/naver-ai/hmix-gmix (mixup.py).
"""

import functools
import importlib.util
from pathlib import Path
from types import ModuleType

from bench.cases import Missing

CHECKOUTS: list[Path] = []  # folders that the command line names


def load(name: str) -> ModuleType:
    """The module ``name``.py of the first checkout that has it.

    Raises:
        Missing: If none does, or what it imports is not installed.
    """
    for folder in CHECKOUTS:
        if (folder / f"{name}.py").is_file():
            return _loaded(folder / f"{name}.py")
    where = ", ".join(map(str, CHECKOUTS)) or "no checkout was named"
    raise Missing(f"{name}.py of the authors' code: {where}; --fmix-repo DIR names one")


@functools.cache
def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"released_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise Missing(f"{path}: {error}") from error
    return module
