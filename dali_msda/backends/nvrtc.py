"""Compiles the GPU kernels, ``kernels/cuda/*.cu``, for one kind of device with NVRTC.

NVRTC is a library of CUDA's: neither a toolkit, nor nvcc, nor a device is needed. Results are kept
in the user's cache by the rules of :mod:`dali_msda.cache`, under a name with a key over sources and
flags. The version of NVRTC is left out of the key: every version gives the same bits.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
from ctypes import byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path

from dali_msda import build, cache

PACKAGE = "nvidia-cuda-nvrtc==13.0.88"  # the version of the other CUDA packages
# No contraction, as on the CPU: every rounding stands in the source.
# NVRTC has no warning for a switch that leaves out a case: tests compile the kernels with g++ too.
FLAGS = "-std=c++17 -fmad=false -default-device"


def sources() -> dict[str, Path]:
    """Returns the source files by name: ``blend``, ``field``, ..."""
    found = {path.stem: path for path in sorted((build.KERNELS / "cuda").glob("*.cu"))}
    if not found:
        raise RuntimeError(f"{(build.KERNELS / 'cuda')}: no CUDA sources; reinstall dali_msda")
    return found


def cubin(name: str, arch: str) -> Path:
    """Returns the machine code of one source for one kind of device; compiles it if need be.

    Args:
        name: A source, one of :func:`sources`.
        arch: Kind of the device, ``"sm_90"`` for compute capability 9.0.

    Returns:
        A file in the user's cache, made now, with a line on stderr, if it was not there.

    Raises:
        ValueError: If there is no such source.
        RuntimeError: If NVRTC is missing, does not know the device, or fails.
    """
    file = file_name(name, arch)

    def make(folder: Path) -> Path:
        code = compiled(name, arch)
        if file_name(name, arch) != file:
            raise RuntimeError("the sources changed while they were compiled; try again")
        (folder / file).write_bytes(code)
        return folder / file

    return cache.cached(file, make)


def file_name(name: str, arch: str) -> str:
    """Returns the file name of a source's machine code, which carries its key."""
    if name not in sources():
        raise ValueError(f"name: expected one of {', '.join(sources())}, got {name!r}")
    digest = hashlib.sha256(f"{FLAGS} {arch}".encode())
    headers = [
        *(build.KERNELS / "msda").rglob("*.h"),
        *(build.KERNELS / "cuda").glob("*.h"),
        *(build.KERNELS / "cuda").glob("*.cuh"),
    ]
    for path in (sources()[name], *sorted(headers)):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return f"msda_{name}-{arch}-{digest.hexdigest()[:16]}.cubin"


def compiled(name: str, arch: str) -> bytes:
    """Compiles one source for one kind of device, whatever the cache holds."""
    if arch not in archs():
        found = "NVRTC {}.{}".format(*version())
        raise RuntimeError(
            f"{arch}: {found} knows {', '.join(archs())}; for a newer device run "
            "`pip install --upgrade nvidia-cuda-nvrtc`"
        )
    lib, program, path = library(), c_void_p(), sources()[name]
    source, label = path.read_bytes(), path.name.encode()
    _check(lib.nvrtcCreateProgram(byref(program), source, label, 0, None, None))
    try:
        flags = [*FLAGS.split(), f"-arch={arch}", f"-I{build.KERNELS}"]
        values = (c_char_p * len(flags))(*(flag.encode() for flag in flags))
        if lib.nvrtcCompileProgram(program, len(flags), values):
            log = _text(program, "ProgramLog").decode(errors="replace").strip("\0\n")
            tail = "\n".join(log.splitlines()[-30:])
            raise RuntimeError(f"NVRTC failed on {path} for {arch}:\n{tail}")
        return _text(program, "CUBIN")
    finally:
        lib.nvrtcDestroyProgram(byref(program))


def _text(program: c_void_p, kind: str) -> bytes:
    """The log or the machine code of a program."""
    size = c_size_t()
    _check(getattr(library(), f"nvrtcGet{kind}Size")(program, byref(size)))
    content = ctypes.create_string_buffer(size.value)
    _check(getattr(library(), f"nvrtcGet{kind}")(program, content))
    return content.raw


@functools.cache
def library() -> ctypes.CDLL:
    """NVRTC, loaded once: that of a wheel, of a toolkit, or wherever the system finds one."""
    lib = _load()
    lib.nvrtcGetErrorString.restype = c_char_p
    lib.nvrtcCreateProgram.argtypes = [c_void_p, c_char_p, c_char_p, c_int, c_void_p, c_void_p]
    return lib


def _load() -> ctypes.CDLL:
    for root in build.cuda_roots():
        for folder in (root / "lib", root / "lib64"):
            for path in sorted(folder.glob("libnvrtc.so.[0-9]*"))[::-1]:
                # NVRTC looks for its other half by name, and finds what is loaded already.
                for other in folder.glob("libnvrtc-builtins.so.[0-9]*"):
                    ctypes.CDLL(str(other))
                return ctypes.CDLL(str(path))
    for name in ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise RuntimeError(f"NVRTC: not found; run `pip install {PACKAGE}`")


def version() -> tuple[int, int]:
    """Returns the version of NVRTC, which is that of its CUDA."""
    major, minor = c_int(), c_int()
    _check(library().nvrtcVersion(byref(major), byref(minor)))
    return major.value, minor.value


@functools.cache
def archs() -> tuple[str, ...]:
    """Returns the kinds of devices that NVRTC compiles for, the oldest first."""
    count = c_int()
    _check(library().nvrtcGetNumSupportedArchs(byref(count)))
    values = (c_int * count.value)()
    _check(library().nvrtcGetSupportedArchs(values))
    return tuple(f"sm_{value}" for value in sorted(values))


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"NVRTC: {library().nvrtcGetErrorString(status).decode()}")


@ctypes.CFUNCTYPE(c_int32, c_char_p, c_char_p, c_void_p, c_int64)
def _compile(source: bytes, arch: bytes, answer: int, room: int) -> int:
    """An ``MsdaCompiler`` (kernels/cuda/host/code.h)."""
    try:
        text, found = str(cubin(source.decode(), arch.decode())), 1
    except Exception as error:  # which the library's caller raises
        text, found = str(error), 0
    content = text.encode()[:room]
    ctypes.memmove(answer, content, len(content))
    return found


def offer(lib: ctypes.CDLL) -> None:
    """Lets a library with the GPU's host have its kernels compiled here."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_compile))  # the library outlives this module
    lib.msda_set_compiler(_compile)
