"""NVRTC's PTX of the GPU's kernels, translated to C++ and compiled, to be run on the CPU.

It takes the place of the emulation: the same launches then run what the compiler made of a kernel.
"""

import ctypes
import functools
import hashlib
import re
import subprocess
from ctypes import byref, c_char_p, c_void_p
from pathlib import Path

from dali_msda import build, cache
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
    declared = re.compile(rf"\b{entry}\(")
    (name,) = (name for name, path in nvrtc.sources().items() if declared.search(path.read_text()))
    return name


def ptx_of(source, arch):
    """What NVRTC makes of a source for one kind of device, kept in the user's cache."""
    virtual = arch.replace("sm_", "compute_")  # of the same code, without assembling it
    file = Path(nvrtc.file_name(source, virtual)).with_suffix(".ptx").name

    def make(folder):
        (folder / file).write_bytes(_made_by_nvrtc(source, virtual))
        return folder / file

    return cache.cached(file, make).read_text()


def _made_by_nvrtc(source, arch):
    lib, program, path = nvrtc.library(), c_void_p(), nvrtc.sources()[source]
    flags = [*nvrtc.FLAGS.split(), f"-arch={arch}", f"-I{build.KERNELS}"]
    values = (c_char_p * len(flags))(*(flag.encode() for flag in flags))
    label = path.name.encode()
    assert lib.nvrtcCreateProgram(byref(program), path.read_bytes(), label, 0, None, None) == 0
    try:
        assert lib.nvrtcCompileProgram(program, len(flags), values) == 0
        size = ctypes.c_size_t()
        assert lib.nvrtcGetPTXSize(program, byref(size)) == 0
        content = ctypes.create_string_buffer(size.value)
        assert lib.nvrtcGetPTX(program, content) == 0
        return content.value
    finally:
        lib.nvrtcDestroyProgram(byref(program))


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
    for number, block in enumerate(blocks := entry.blocks()):
        lines += [f"{label}:;" for label in block[0].labels]
        lines.append(f"enter({number});")
        lines += [instructions.statement(entry, step) for step in block]
    lines += ["}", "}", f"PTX_ENTRY({entry.name}, {len(blocks)})"]
    return "\n".join(lines)
