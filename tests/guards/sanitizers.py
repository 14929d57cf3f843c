"""The CPU kernels compiled with GCC's sanitizers, kept like any library of the project."""

import hashlib
import os
import shlex
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dali_msda import build, cache

HERE = Path(__file__).parent
FLAGS = (
    "-std=c++17 -g1 -fPIC -pthread -ffp-contract=off -fno-math-errno -fno-trapping-math "
    f"-Wno-unknown-pragmas -I{build.KERNELS}"
)
BASELINE = f"-O1 {build.BASELINE}"  # where a command names two levels, GCC may take either
ADDRESS = "-fsanitize=address,undefined -fno-sanitize-recover=undefined"
THREAD = "-fsanitize=thread"
CALLS = [
    path
    for part in ("cpu", "cpu/puzzle", "cpu/comixup")
    for path in sorted((build.KERNELS / part).glob("*.cpp"))
]
HOST = [build.KERNELS / "cuda/host/geometry.cpp"]  # what Python looks up of it, it looks up at once
ROWS = sorted((build.KERNELS / "cpu/simd").glob("*.cpp"))
# The instruction sets that every machine of the tests has.
ISAS = dict(enumerate(build.ISAS[:2]))


def compiler():
    return shlex.split(os.environ.get("CXX", "")) or ["g++"]


def built(name, units, link, sanitizer):
    """Compile and link (source, flags) units; kept under a key over all of it."""
    key = hashlib.sha256(repr((units, link, FLAGS, sanitizer)).encode())
    headers = [path for root in (build.KERNELS, build.NATIVE) for path in root.rglob("*.h")]
    for path in [*(source for source, _ in units), *sorted(headers)]:
        key.update(path.read_bytes())
    file = f"msda_{name}-{key.hexdigest()[:16]}"

    def make(folder):
        with tempfile.TemporaryDirectory(dir=folder) as scratch:

            def compile_unit(numbered):
                number, (source, flags) = numbered
                target = f"{scratch}/{number}.o"
                command = [*compiler(), *FLAGS.split(), *sanitizer.split(), *flags.split()]
                subprocess.run([*command, "-c", source, "-o", target], check=True)
                return target

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = list(pool.map(compile_unit, enumerate(units)))
            linked = Path(scratch, file)
            subprocess.run(
                [*compiler(), *sanitizer.split(), *objects, *link, "-o", linked], check=True
            )
            return linked.replace(folder / file)

    return cache.cached(file, make)


def other_isas():
    """Links what is not compiled here, instruction sets of the product's own library, to it."""
    library = build.library("cpu")
    return [str(library), f"-Wl,-rpath,{library.parent}"]


def address_library():
    """The CPU library with ASan and UBSan, for the instruction sets of ``ISAS``.

    The row kernels are templates without end: at -O1 they alone would take a minute.
    """
    units = [(path, BASELINE) for path in [*CALLS, *HOST]]
    units += [(path, f"{isa} -O0") for isa in ISAS.values() for path in ROWS]
    return built("asan", units, ["-shared", "-pthread", *other_isas()], ADDRESS)


def racing_callers(threads=None):
    """The program racing_callers.cpp with TSan.

    What shares memory among threads is compiled with it: all but the row kernels, which know
    nothing of threads. ``threads`` is another source in the place of threads.cpp.
    """
    sources = [path for path in CALLS if threads is None or path.stem != "threads"]
    sources += [HERE / "racing_callers.cpp", *([threads] if threads else [])]
    units = [(path, BASELINE) for path in sources]
    return built("tsan", units, ["-pthread", *other_isas()], THREAD)


def hostile_headers():
    """The program hostile_headers.cpp with ASan and UBSan."""
    units = [(HERE / "hostile_headers.cpp", f"{BASELINE} -I{build.NATIVE}")]
    return built("headers", units, [], ADDRESS)


def preloaded():
    """Environment in which Python runs with ASan, which must be loaded before all else."""
    found = subprocess.run(
        [*compiler(), "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    )
    return os.environ | {
        "LD_PRELOAD": os.path.realpath(found.stdout.strip()),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
