"""DALI's releases: which ones are served, and what is compiled with one of them."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Each has symbol versions of its own, so that each takes a plugin of its own. The headers for CUDA
# 12 and 13 are the same: one plugin serves both.
VERSIONS = ("1.53.0", "2.0.0", "2.1.0", "2.1.1", "2.2.0", "2.3.0", "2.4.0")
PACKAGES = {12: "nvidia-dali-cuda120", 13: "nvidia-dali-cuda130"}
COMPILED_WITH = ("nvidia/dali/include/", "nvidia/dali/libdali.so", "nvidia/dali/libdali_core.so")


def to_compile_with(version: str, folder: Path) -> Path:
    """Puts the headers and the two libraries of a DALI into a folder, as if it was installed there.

    Its package is downloaded, 170 to 200 MB, unless the folder is there already.
    """
    if folder.is_dir():
        return folder
    package = f"{PACKAGES[13]}=={version}"
    print(f"downloading {package}", flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        command = "pip download -q --no-deps --only-binary :all: --no-cache-dir --dest".split()
        subprocess.run([sys.executable, "-m", *command, scratch, package], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as content:
            wanted = (*COMPILED_WITH, f"{wheel.name.rsplit('-', 3)[0]}.dist-info/METADATA")
            some = [name for name in content.namelist() if name.startswith(wanted)]
            content.extractall(Path(scratch, "installed"), some)
        Path(scratch, "installed").rename(folder)
    return folder
