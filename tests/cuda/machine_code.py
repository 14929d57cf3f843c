"""What a library takes as code of the GPU's kernels: ``machine_code`` of cuda/code/code.h."""

import ctypes
import subprocess

from dali_msda import build

SOURCE = r"""
#include <cstring>

#include "cuda/code/code.h"

extern "C" int64_t code_of(const char* source, const char* arch, char* answer, int64_t room) {
  std::string text;
  bool found = true;
  try {
    text = msda::gpu::machine_code(source, arch);
  } catch (const std::exception& error) {
    text = error.what();
    found = false;
  }
  const int64_t size = static_cast<int64_t>(text.size());
  std::memcpy(answer, text.data(), text.size() < static_cast<size_t>(room) ? text.size() : room);
  return found ? size : -size;
}
"""
ROOM = 16 << 20


def reader(library, folder):
    """Compiles into a folder what asks a library, and returns it: ``(source, arch)`` to bytes.

    It raises RuntimeError where the library does.
    """
    (folder / "code_of.cpp").write_text(SOURCE)
    target = folder / "code_of.so"
    command = ["g++", "-std=c++17", "-shared", "-fPIC", f"-I{build.KERNELS}"]
    subprocess.run([*command, folder / "code_of.cpp", library, "-o", target], check=True)
    asking = ctypes.CDLL(str(target))
    asking.code_of.restype = ctypes.c_int64
    answer = ctypes.create_string_buffer(ROOM)

    def code(source, arch):
        size = asking.code_of(source.encode(), arch.encode(), answer, ctypes.c_int64(ROOM))
        if size < 0:
            raise RuntimeError(answer.raw[:-size].decode())
        return answer.raw[:size]

    return code
