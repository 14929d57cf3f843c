"""NVRTC's PTX of the GPU's kernels, translated to C++ and compiled, to be run on the CPU.

It takes the place of the emulation: the same launches then run what the compiler made of a kernel.
"""

import ctypes
import functools
import hashlib
import subprocess
from pathlib import Path

from dali_msda import cache
from dali_msda.backends import nvrtc
from tests.cuda.emulation import NATIVE
from tests.cuda.ptx import instructions, parse

FOLDER = Path(__file__).parent
# Compiling takes longer than running.  Without optimisation it takes a sixth of the time.
FLAGS = "-std=c++17 -O0 -ffp-contract=off -fno-math-errno -fno-gnu-unique -fPIC -shared -w"


class Code:
    """The entry points of one kind of device, each translated and compiled when it is asked for.

    ``ptx`` is a function that gives the PTX of an entry point, NVRTC's if it is None.
    """

    def __init__(self, arch, ptx=None):
        self.arch, self.ptx = arch, ptx or (lambda entry: ptx_of(source_of(entry), arch))
        self.library, self.entry = functools.cache(self._library), functools.cache(self._entry)

    def __getattr__(self, name):  # run_<entry>, as of a ctypes.CDLL
        function = getattr(self.library(name.partition("_")[2]), name)
        setattr(self, name, function)
        return function

    def _library(self, entry):
        """run_<entry> and others (native/executor.h)."""
        return ctypes.CDLL(str(compiled(self.entry(entry), self.arch)))

    def _entry(self, name):
        """An entry point as it was read."""
        return parse.entries(self.ptx(name))[name]


@functools.cache
def code(arch):
    """What NVRTC makes for one kind of device."""
    return Code(arch)


def source_of(entry):
    """The name of the source that has an entry point."""
    return entry.split("_")[1]


def ptx_of(source, arch):
    """What NVRTC makes of a source for one kind of device, kept in the user's cache.

    The machine code, which NVRTC makes of it in the same call, is kept in its own place.
    """
    cubin = nvrtc.file_name(source, arch)
    file = Path(cubin).with_suffix(".ptx").name

    def make(folder):
        with nvrtc.program(source, arch) as made:
            codes = {file: nvrtc.text(made, "PTX").rstrip(b"\0"), cubin: nvrtc.text(made, "CUBIN")}
        for name, content in codes.items():
            (folder / name).write_bytes(content)
        cache.cached(cubin, lambda _: folder / cubin)
        return folder / file

    return cache.cached(file, make).read_text()


def cubin_of(source, arch):
    """The file with the machine code of a source, from the call of NVRTC that makes its PTX."""
    ptx_of(source, arch)
    return nvrtc.cubin(source, arch)


def compiled(entry, arch):
    """A library of one entry point, compiled once for each translation of its PTX."""
    text, headers = translated(entry), [NATIVE / "emulated_cuda.h", *FOLDER.glob("native/*.h")]
    key = hashlib.sha256(f"{FLAGS}\n{text}".encode())
    for path in sorted(headers):
        key.update(path.read_bytes())
    file = f"{entry.name}-{arch}-{key.hexdigest()[:16]}.so"

    def make(folder):
        source = folder / f"{entry.name}.cpp"
        source.write_text(text)
        command = ["g++", *FLAGS.split(), f"-I{NATIVE}", f"-I{FOLDER / 'native'}"]
        subprocess.run([*command, source, "-o", folder / file], check=True)
        return folder / file

    return cache.cached(file, make)


def translated(entry):
    """An entry point as C++: its registers are variables, and its labels are labels."""
    kinds = {"pred": "bool", "16": "uint16_t", "32": "uint32_t", "64": "uint64_t"}
    lines = ['#include "executor.h"', "namespace ptx {"]
    lines += [f"static void {entry.name}(const uint64_t arguments) {{"]
    lines += ["const auto shared = reinterpret_cast<uint64_t>(shared_memory);"]
    for register, kind in entry.registers.items():
        lines.append(f"{kinds[kind.lstrip('bsuf')]} {register[1:]};")
    for number, block in enumerate(blocks := entry.blocks):
        lines += [f"{label}:;" for label in block[0].labels]
        lines.append(f"enter({number});")
        lines += [instructions.statement(entry, step) for step in block]
    lines += ["}", "}", f"PTX_ENTRY({entry.name}, {len(blocks)})"]
    return "\n".join(lines)
