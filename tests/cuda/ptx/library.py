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
FLAGS = "-std=c++17 -O1 -ffp-contract=off -fno-math-errno -fno-gnu-unique -fPIC -shared -w"


class Code:
    """The entry points for one kind of device, each translated and compiled when it is asked for.

    ``change``, a function of the PTX of an entry, makes others of them.
    """

    def __init__(self, arch, change=None):
        self.arch, self.change = arch, change

    def __getattr__(self, name):  # run_<entry>, as ctypes.CDLL
        function = getattr(self.library(name.partition("_")[2]), name)
        setattr(self, name, function)
        return function

    @functools.cache
    def library(self, entry):
        return ctypes.CDLL(str(compiled(self.entry(entry), self.arch)))

    @functools.cache
    def entry(self, name):
        """An entry point as :class:`parse.Entry`."""
        text = ptx(source_of(name), self.arch)
        return parse.entries(self.change(text) if self.change else text)[name]


@functools.cache
def code(arch):
    return Code(arch)


def source_of(entry):
    """The name of the source that has an entry point."""
    declared = re.compile(rf"\b{entry}\(")
    (name,) = (name for name, path in nvrtc.sources().items() if declared.search(path.read_text()))
    return name


def ptx(source, arch):
    """What NVRTC makes of a source for one kind of device, kept in the user's cache."""
    virtual = arch.replace("sm_", "compute_")  # of the same code, without assembling it
    file = Path(nvrtc.file_name(source, virtual)).with_suffix(".ptx").name

    def make(folder):
        (folder / file).write_bytes(translated_by_nvrtc(source, virtual))
        return folder / file

    return cache.cached(file, make).read_text()


def translated_by_nvrtc(source, arch):
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
    """A library with run_<entry> and count_<entry>, compiled once for each text of the PTX."""
    parts = [NATIVE / "emulated_cuda.h", *FOLDER.glob("native/*.h"), *map(_file, (parse, instructions))]
    key = hashlib.sha256("\n".join([FLAGS, *entry.text]).encode())
    for path in [*sorted(parts), Path(__file__)]:
        key.update(path.read_bytes())
    file = f"{entry.name}-{arch}-{key.hexdigest()[:16]}.so"

    def make(folder):
        source = folder / f"{entry.name}.cpp"
        source.write_text(translated(entry))
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


def _file(module):
    return Path(module.__file__)
