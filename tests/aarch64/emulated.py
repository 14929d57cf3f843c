"""The CPU library of aarch64, run under qemu's emulator and called in the place of this machine's.

No Python of aarch64 is needed. The library runs in a process of its own (driver.cpp), and a file is
mapped by both. For a call, the arrays that it is given are copied into the file, and what has
changed there is copied back.
"""

import ctypes
import functools
import mmap
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from ctypes import c_char_p
from pathlib import Path
from unittest import mock

import numpy as np

from dali_msda import build, cache
from dali_msda.backends import cpu, cpu_library
from dali_msda.backends.puzzle import cpu_puzzle
from tests.cuda import emulation
from tests.reference import plain_kernels

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = "qemu-aarch64-static"
COUNTING_EMULATOR = "qemu-aarch64"  # one that is not linked statically can load plugins
SYSTEM = "/usr/aarch64-linux-gnu"
PACKAGES = {
    COMPILER: "g++-aarch64-linux-gnu",
    EMULATOR: "qemu-user-static",
    COUNTING_EMULATOR: "qemu-user",
}
PAGE = mmap.PAGESIZE
ROOM = 1 << 30  # of the file; what is not used takes no memory
WORD = (1 << 64) - 1


def missing(*programs):
    """Why a test cannot run; an empty string if it can."""
    absent = [name for name in programs if shutil.which(name) is None]
    packages = " ".join(PACKAGES[name] for name in absent)
    return f"{', '.join(absent)}: not found; run `apt-get install {packages}`" if absent else ""


def cross_compiler():
    """The command, by way of ccache if this machine's compiler is called so."""
    own = shlex.split(os.environ.get("CXX", ""))
    return [*own[:-1], COMPILER] if own[:1] == ["ccache"] else [COMPILER]


@functools.cache
def library():
    """The CPU library for aarch64, kept like any library of the project."""
    code = "from dali_msda import build; print(build.library('cpu'))"
    chosen = {"DALI_MSDA_MACHINE": "aarch64", "CXX": shlex.join(cross_compiler())}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=os.environ | chosen, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(done.stdout.splitlines()[-1])


def compiled(source, name, *flags, compiler=COMPILER):
    """A source compiled with its flags; kept under a key over it and all that it may include."""
    headers = sorted(build.KERNELS.rglob("*.h"))
    key = cache.hashlib.sha256(repr((compiler, flags)).encode())
    for path in (source, *headers):
        key.update(path.read_bytes())

    def make(folder):
        command = [compiler, *flags, str(source), "-o", str(folder / name)]
        subprocess.run(command, check=True)
        return folder / name

    return cache.cached(f"msda_{name}-{key.hexdigest()[:16]}", make)


def plain():
    """The plain arithmetic of tests/reference/plain_kernels.py, with the kernels' flags."""
    flags = [*build.KERNEL.split(), "-march=armv8-a", f"-I{build.KERNELS}", "-shared"]
    return compiled(emulation.NATIVE / "plain_kernels.cpp", "plain_aarch64.so", *flags)


def driver():
    return compiled(HERE / "driver.cpp", "driver_aarch64", "-O1", "-ldl")


def counter():
    """The plugin that counts instructions."""
    source = HERE / "count_instructions.cpp"
    return compiled(source, "count_instructions.so", "-O1", "-fPIC", "-shared", compiler="g++")


class Machine:
    """An emulated machine with the library, whose functions are attributes as those of a CDLL.

    One that is ``counting`` adds up in ``spent`` the instructions that calls take.
    """

    def __init__(self, *, counting=False):
        file = os.memfd_create("arrays")
        os.truncate(file, ROOM)
        self.memory = np.frombuffer(mmap.mmap(file, ROOM), np.uint8)
        emulator = [COUNTING_EMULATOR, "-plugin", counter()] if counting else [EMULATOR]
        command = [*emulator, "-L", SYSTEM, driver(), f"/dev/fd/{file}", library(), plain()]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, pass_fds=[file], **pipes)
        os.close(file)
        self.functions, self.held, self.used = {}, [], PAGE
        self.counting, self.executed, self.spent = counting, 0, 0
        self.base = int(self._answer(), 16)

    def __getattr__(self, name):
        return self.functions.setdefault(name, _Function(self, name))

    def close(self):
        """Ends the machine; returns what it says at its end."""
        return self.process.communicate()[1]

    def forget(self):
        """Forgets the arrays of the calls before."""
        self.held, self.used = [], PAGE
        self.ask("open")

    def address_of(self, array):
        """Where the machine finds the values of an array; None of None.

        They end where a page does, and what lies behind must not be touched.
        """
        if array is None:
            return None
        low, high = np.lib.array_utils.byte_bounds(array)
        for begin, end, place, _ in self.held:
            if begin <= low and high <= end:
                return self.base + place + array.ctypes.data - begin
        pages = -(-(high - low) // PAGE) * PAGE
        place = self.used + pages - (high - low)
        self.used += pages + PAGE
        assert self.used <= ROOM, "the machine has no room left"
        self.ask(f"wall {self.base + self.used - PAGE:x}")
        self.held.append((low, high, place, array))
        return self.base + place + array.ctypes.data - low

    def pointers_to(self, batch, axes=1):
        """As :func:`cpu.pointers_to`."""
        return _pointers_to(batch, axes) + (self.address_of(batch) - batch.ctypes.data)

    def ask(self, question):
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()
        return self._answer()

    def call(self, what, name, arguments):
        """Calls a function, with the arrays as they are now; they then hold what it wrote."""
        for low, high, place, _ in self.held:
            self.memory[place : place + high - low] = _bytes_at(low, high)
        before = self.executed
        answer = self.ask(" ".join([what, name, *(f"{value & WORD:x}" for value in arguments)]))
        self.spent += self.executed - before
        for low, high, place, _ in self.held:
            here, there = _bytes_at(low, high), self.memory[place : place + high - low]
            changed = here != there
            here[changed] = there[changed]
        return answer

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the emulated machine ended: {self.close()}")
        if self.counting:
            self.executed = int(self.process.stderr.readline())
        return line.rstrip("\n")


class _Function:
    """A function of the library. As with ctypes, its signature can be set."""

    def __init__(self, machine, name):
        self.machine, self.name = machine, name
        self.argtypes, self.restype, self.errcheck = None, ctypes.c_int32, None

    def __call__(self, *arguments):
        passed = [self._passed(argument) for argument in arguments]
        if self.restype is c_char_p:
            return self.machine.call("text", self.name, passed).encode() or None
        word = int(self.machine.call("call", self.name, passed), 16)
        result = None if self.restype is None else self.restype(word).value
        return self.errcheck(result, self, arguments) if self.errcheck else result

    def _passed(self, argument):
        content = getattr(argument, "_obj", argument)  # of ctypes.byref()
        if isinstance(content, ctypes.Structure | ctypes.Array):
            return self.machine.address_of(np.frombuffer(content, np.uint8))
        return 0 if content is None else int(content)


def _bytes_at(low, high):
    return np.frombuffer((ctypes.c_uint8 * (high - low)).from_address(low), np.uint8)


_pointers_to = cpu.pointers_to


@contextmanager
def in_place_of_this_machine(machine):
    """Runs all that the package computes on CPUs on an emulated machine."""
    with mock.patch.object(cpu_library.ctypes, "CDLL", lambda _: machine):
        loaded = cpu_library.library.__wrapped__()
    machine.forget()
    with ExitStack() as patched:
        for module in (cpu, cpu_puzzle):
            patched.enter_context(mock.patch.object(module, "library", lambda: loaded))
            patched.enter_context(mock.patch.object(module, "address_of", machine.address_of))
            patched.enter_context(mock.patch.object(module, "pointers_to", machine.pointers_to))
        patched.enter_context(mock.patch.object(plain_kernels, "library", lambda: loaded))
        yield
    machine.forget()


def instructions_of(machine, work):
    """Instructions that the calls of ``work`` take, the second time that it is done."""
    with in_place_of_this_machine(machine):
        work()
        machine.spent = 0
        work()
    return machine.spent
