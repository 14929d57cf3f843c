"""Compiles the GPU kernels, ``kernels/cuda/*.cu``, for one kind of device with NVRTC.

NVRTC is a library of CUDA's: neither a toolkit, nor nvcc, nor a device is needed. Results are kept
in the user's cache by the rules of :mod:`dali_msda.cache`, under a name with NVRTC's version and a
key over sources and flags. Every version gives the same bits, but an older driver refuses what a
newer one has made.

A kind of code is ``"sm_90"``, machine code, or ``"compute_90"``, PTX, which the driver compiles.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from ctypes import byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path

from dali_msda import build, cache
from dali_msda.backends import cpu_library

PACKAGE = "nvidia-cuda-nvrtc==13.0.88"  # the version of the other CUDA packages
FLAGS = build.NVRTC_FLAGS


def sources() -> dict[str, Path]:
    """Returns the source files by name: ``blend``, ``field``, ..."""
    found = {path.stem: path for path in sorted((build.KERNELS / "cuda").rglob("*.cu"))}
    if not found:
        raise RuntimeError(f"{(build.KERNELS / 'cuda')}: no CUDA sources; reinstall dali_msda")
    return found


def cubin(name: str, arch: str) -> Path:
    """Returns code of one source that a kind of device runs; compiles it if need be.

    Args:
        name: A source, one of :func:`sources`.
        arch: Kind of the device, ``"sm_90"`` for compute capability 9.0. One that is newer than
            NVRTC gets what :func:`kind_for` says.

    Returns:
        A file in the user's cache, made now, with a line on stderr, if it was not there.

    Raises:
        ValueError: If there is no such source.
        RuntimeError: If NVRTC is missing, has no code for the device, or fails.
    """
    return kept(name, kind_for(arch))


def kept(name: str, kind: str) -> Path:
    """Does as :func:`cubin`, for exactly this kind of code."""
    file = file_name(name, kind)

    def make(folder: Path) -> Path:
        code = compiled(name, kind)
        if file_name(name, kind) != file:
            raise RuntimeError("the sources changed while they were compiled; try again")
        (folder / file).write_bytes(code)
        return folder / file

    return cache.cached(file, make)


def kind_for(arch: str) -> str:
    """Returns the kind of code that NVRTC makes for a kind of device.

    Its own, if NVRTC knows it. Otherwise, as ``best_kind`` of ``kernels/cuda/code/code_pack.h``
    says, machine code of a lower minor version of the same major version, or else PTX.

    Raises:
        RuntimeError: If NVRTC is missing, or if the device is too old.
    """
    if arch in archs():
        return arch
    kinds = " ".join([*archs(), *(known.replace("sm_", "compute_") for known in archs())])
    answer = ctypes.create_string_buffer(64)
    names = kinds.encode(), arch.encode()
    cpu_library.library().msda_best_kind(*names, answer, ctypes.c_int64(len(answer)))
    if not answer.value:
        raise RuntimeError(
            f"{arch}: expected {archs()[0]} or newer; NVRTC {spoken_version()} compiles for "
            f"{', '.join(archs())}"
        )
    return answer.value.decode()


def file_name(name: str, kind: str) -> str:
    """Returns the file name of a source's code, which carries its key."""
    if name not in sources():
        raise ValueError(f"name: expected one of {', '.join(sources())}, got {name!r}")
    ending = "ptx" if kind.startswith("compute_") else "cubin"
    key = build.gpu_key([sources()[name]], kind)
    return f"msda_{name}-{kind}-nvrtc{spoken_version()}-{key}.{ending}"


def compiled(name: str, kind: str) -> bytes:
    """Compiles one source into a kind of code, whatever the cache holds."""
    with program(name, kind) as made:
        return text(made, "PTX" if kind.startswith("compute_") else "CUBIN")


@contextlib.contextmanager
def program(name: str, kind: str) -> Iterator[c_void_p]:
    """A compiled source in NVRTC's memory, of which :func:`text` gives the code."""
    if kind.replace("compute_", "sm_") not in archs():
        raise RuntimeError(
            f"{kind}: NVRTC {spoken_version()} knows {', '.join(archs())}; for a newer device run "
            "`pip install --upgrade nvidia-cuda-nvrtc`"
        )
    lib, made, path = library(), c_void_p(), sources()[name]
    source, label = path.read_bytes(), path.name.encode()
    _check(lib.nvrtcCreateProgram(byref(made), source, label, 0, None, None))
    try:
        flags = [*FLAGS.split(), f"-arch={kind}", f"-I{build.KERNELS}"]
        values = (c_char_p * len(flags))(*(flag.encode() for flag in flags))
        if lib.nvrtcCompileProgram(made, len(flags), values):
            log = text(made, "ProgramLog").decode(errors="replace").strip("\0\n")
            tail = "\n".join(log.splitlines()[-30:])
            raise RuntimeError(f"NVRTC failed on {path} for {kind}:\n{tail}")
        yield made
    finally:
        lib.nvrtcDestroyProgram(byref(made))


def text(program: c_void_p, kind: str) -> bytes:
    """The ``"CUBIN"`` of a program, its ``"PTX"``, from which a cubin is made, or a log."""
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


def spoken_version() -> str:
    """Returns the version of NVRTC as text, such as ``"13.0"``."""
    return "{}.{}".format(*version())


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
    """An ``MsdaCompiler`` (kernels/cuda/code/code.h)."""
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
