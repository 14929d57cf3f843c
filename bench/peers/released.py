"""The authors' code of several methods, from checkouts that the user names.

It is in no package registry, and nothing of it is copied here: `--fmix-repo DIR` names a checkout
of github.com/ecs-vlc/FMix (fmix.py) or of github.com/naver-ai/hmix-gmix (mixup.py), and
`--puzzlemix-repo DIR` one of github.com/snu-mllab/PuzzleMix (mixup.py), `--comixup-repo DIR` one of
github.com/snu-mllab/Co-Mixup (match.py).
"""

import functools
import importlib.util
import re
from pathlib import Path
from types import ModuleType

from bench.cases import Missing

CHECKOUTS: list[Path] = []  # folders that the command line names


def load(name: str, what: str, option: str = "--fmix-repo") -> ModuleType:
    """The module ``name``.py of the first checkout where it defines ``what``.

    Raises:
        Missing: If none does, or what it imports is not installed.
    """
    for folder in CHECKOUTS:
        if defines(folder / f"{name}.py", what):
            return _loaded(folder / f"{name}.py")
    where = ", ".join(map(str, CHECKOUTS)) or "no checkout was named"
    raise Missing(f"{name}.py of the authors' code: {where}; {option} DIR names one")


def defines(path: Path, what: str) -> bool:
    """Whether a file of Python is there and defines a function or a class."""
    found = rf"^(def|class) {what}\b"
    return path.is_file() and re.search(found, path.read_text(), re.MULTILINE) is not None


@functools.cache
def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"released_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise Missing(f"{path}: {error}") from error
    return module
