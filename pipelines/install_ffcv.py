"""Install FFCV, system packages included: ``python -m dali_msda.pipelines.install_ffcv``.

``pip install ffcv`` alone fails on a fresh machine: it is compiled against OpenCV and libjpeg-turbo
by way of pkg-config, and names an OpenCV wheel that overwrites the headless one. Debian's
``libopencv-dev`` would do, but it brings all of OpenCV and 600 MB of packages, where FFCV uses two
parts. So the packages of these two are installed, and the two files of ``libopencv-dev`` that
FFCV's build reads are written here.

The versions of NumPy and torch stay as they are. When FFCV works already, nothing is done. Where it
cannot be installed, the command says why and ends with an error, after minutes at most.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FFCV = "ffcv==1.0.2"
# What FFCV imports, by module; its own package does not name all of them.
NEEDS = {"torch": "torch", "numba": "numba>=0.61.2", "PIL": "pillow", "tqdm": "tqdm"}
NEEDS |= {"cv2": "opencv-python-headless", "setuptools": "setuptools"}
KEPT = ("numpy", "torch", "torchvision")
APT = "g++ pkg-config libturbojpeg0-dev libopencv-core-dev libopencv-imgproc-dev"
# How long apt waits for a mirror that does not answer, and for another apt to end, in seconds.
QUICK = "-o Acquire::Retries=1 -o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10"
QUICK += " -o DPkg::Lock::Timeout=60"
LIMITS = {"update": 60, "install": 300}  # of each command of apt, in seconds
PIP_LIMIT = 300
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
    """Import FFCV in another process; return what is wrong, or an empty string."""
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
    apt = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *QUICK.split(), "-y"]
    # The update fails if one of several sources is down; the install shows if the others suffice.
    run([*apt, "update"], LIMITS["update"])
    install = [*apt, "install", "--no-install-recommends", *APT.split()]
    if failed := run(install, LIMITS["install"]):
        raise SystemExit(
            f"{what}; apt-get could not install it ({failed}): where its package sources can be "
            f"reached, apt-get install --no-install-recommends {APT}; then try again"
        )


def run(command: list[str], seconds: int, **environment: str) -> str:
    """Run a command in sight of the user; return how it failed, or an empty string."""
    print(*command, flush=True)
    environment = os.environ | environment
    try:
        done = subprocess.run(command, env=environment, timeout=seconds, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return f"it took more than {seconds} s"
    return f"exit code {done.returncode}" if done.returncode else ""


def pip_install(*what: str, **environment: str) -> None:
    """Install Python packages.

    Raises:
        SystemExit: If that fails.
    """
    pip = [sys.executable, *"-m pip install --retries 1 --timeout 15".split()]
    if failed := run([*pip, *what], PIP_LIMIT, **environment):
        raise SystemExit(f"FFCV could not be installed: pip failed ({failed}), see above")


def write_opencv(folder: Path) -> dict[str, str]:
    """Write what ``libopencv-dev`` would bring; return the environment in which it is found."""
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Install FFCV unless it works."""
    parser = argparse.ArgumentParser(
        prog="python -m dali_msda.pipelines.install_ffcv",
        description=f"Install {FFCV} with the system packages that it is compiled with, as root or "
        "with sudo. Where it works already, nothing is done.",
    )
    parser.parse_args(arguments)
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
        keep = ["-c", str(constraints)]
        needs = [need for module, need in NEEDS.items() if not importlib.util.find_spec(module)]
        if needs:
            pip_install(*keep, *needs)
        # A wheel in pip's cache may have been compiled for another OpenCV.
        pip_install(*keep, "--no-deps", "--no-cache-dir", "--use-pep517", FFCV, **environment)
    if wrong := works():
        raise SystemExit(f"FFCV was installed and does not work: {wrong}")
    print("FFCV works")


if __name__ == "__main__":
    main()
