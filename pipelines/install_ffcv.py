"""Install FFCV, system packages included: ``python -m dali_msda.pipelines.install_ffcv``.

``pip install ffcv`` alone fails on a fresh machine: it is compiled against OpenCV and libjpeg-turbo
by way of pkg-config, and names an OpenCV wheel that overwrites the headless one. Debian's
``libopencv-dev`` would do, with all of OpenCV and 600 MB of what it needs; FFCV uses two of its
parts. So two headers' packages are installed, and the two files of ``libopencv-dev`` that FFCV's
build reads are written for it.

The versions of NumPy and torch stay as they are. When FFCV works already, nothing is done.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FFCV = "ffcv==1.0.2"
# What FFCV imports; it does not name them all.
NEEDS = {"torch": "torch", "numba": "numba>=0.61.2", "PIL": "pillow", "tqdm": "tqdm"}
NEEDS |= {"cv2": "opencv-python-headless", "setuptools": "setuptools"}
KEPT = ("numpy", "torch", "torchvision")
APT = "g++ pkg-config libturbojpeg0-dev libopencv-core-dev libopencv-imgproc-dev"
DNF = "gcc-c++ pkgconf turbojpeg-devel opencv-devel"
INCLUDES = Path("/usr/include/opencv4")
HEADER = "#pragma once\n#include <opencv2/core.hpp>\n#include <opencv2/imgproc.hpp>\n"
PKG_CONFIG = """Name: opencv4
Description: the parts of OpenCV that FFCV uses
Version: 4
Libs: -lopencv_imgproc -lopencv_core
Cflags: -I{folder} -I{includes}
"""


def works() -> str:
    """Try it in another process; return what is wrong, or an empty string."""
    done = subprocess.run(
        [sys.executable, "-c", "import dali_msda.ffcv"], capture_output=True, text=True
    )
    return (done.stderr.strip().splitlines() or ["it failed"])[-1] if done.returncode else ""


def known_to_pkg_config(name: str) -> bool:
    """Whether pkg-config finds a library."""
    return subprocess.run(["pkg-config", "--exists", name]).returncode == 0


def missing() -> list[str]:
    """What the system lacks to compile FFCV."""
    lacks = [tool for tool in ("g++", "pkg-config") if not shutil.which(tool)]
    if "pkg-config" in lacks:
        return [*lacks, "libturbojpeg", "OpenCV"]
    if not known_to_pkg_config("libturbojpeg"):
        lacks.append("libturbojpeg")
    parts = [INCLUDES / "opencv2" / f"{part}.hpp" for part in ("core", "imgproc")]
    if not known_to_pkg_config("opencv4") and not all(part.exists() for part in parts):
        lacks.append("OpenCV")
    return lacks


def install_system_packages(lacks: list[str]) -> None:
    """Install what the system lacks, as root or by sudo where it asks for no password.

    Raises:
        SystemExit: Where that is not possible. It says what to run.
    """
    what = f"FFCV is compiled, and {', '.join(lacks)} is missing"
    if not shutil.which("apt-get"):
        raise SystemExit(f"{what}: install the packages that Fedora calls {DNF}, then try again")
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if sudo and not (shutil.which("sudo") and subprocess.run([*sudo, "true"]).returncode == 0):
        raise SystemExit(
            f"{what}, which takes root to install: sudo apt-get install "
            f"--no-install-recommends {APT}; then try again"
        )
    environment = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive"]
    run([*environment, "apt-get", "update"])
    run([*environment, *"apt-get install -y --no-install-recommends".split(), *APT.split()])


def run(command: list[str], **environment: str) -> None:
    """Run a command in sight of the user.

    Raises:
        SystemExit: If it fails.
    """
    print(*command, flush=True)
    if subprocess.run(command, env=os.environ | environment).returncode:
        raise SystemExit(f"FFCV could not be installed: `{' '.join(command)}` failed")


def write_opencv(folder: Path) -> dict[str, str]:
    """Write what ``libopencv-dev`` would bring; return the environment that makes it found."""
    if known_to_pkg_config("opencv4"):
        return {}
    (folder / "opencv2").mkdir()
    (folder / "opencv2" / "opencv.hpp").write_text(HEADER)
    (folder / "opencv4.pc").write_text(PKG_CONFIG.format(folder=folder, includes=INCLUDES))
    path = [str(folder), *filter(None, [os.environ.get("PKG_CONFIG_PATH")])]
    return {"PKG_CONFIG_PATH": os.pathsep.join(path)}


def kept_versions() -> str:
    """Constraints for pip that leave in place what is installed."""
    lines = []
    for name in KEPT:
        try:
            lines.append(f"{name}=={importlib.metadata.version(name)}\n")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "".join(lines)


def main() -> None:
    """Install FFCV unless it works."""
    if not works():
        print("FFCV is installed already")
        return
    if lacks := missing():
        install_system_packages(lacks)
    with tempfile.TemporaryDirectory(prefix="ffcv") as name:
        folder = Path(name)
        environment = write_opencv(folder)
        constraints = folder / "constraints.txt"
        constraints.write_text(kept_versions())
        pip = [sys.executable, "-m", "pip", "install", "-c", str(constraints)]
        if needs := [
            need for module, need in NEEDS.items() if not importlib.util.find_spec(module)
        ]:
            run([*pip, *needs])
        # A wheel in pip's cache may have been compiled for another OpenCV.
        run([*pip, "--no-deps", "--no-cache-dir", "--use-pep517", FFCV], **environment)
    if wrong := works():
        raise SystemExit(f"FFCV was installed and does not work: {wrong}")
    print("FFCV works")


if __name__ == "__main__":
    main()
