"""What a library takes as code of the GPU's kernels: ``machine_code`` of cuda/code/code.h."""

import ctypes
import subprocess

SOURCE = r"""
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

extern "C" int64_t code_of(std::string (*machine_code)(const std::string&, const std::string&),
                           const char* source, const char* arch, char* answer, int64_t room) {
  std::string text;
  bool found = true;
  try {
    text = machine_code(source, arch);
  } catch (const std::exception& error) {
    text = error.what();
    found = false;
  }
  const int64_t size = static_cast<int64_t>(text.size());
  std::memcpy(answer, text.data(), text.size() < static_cast<size_t>(room) ? text.size() : room);
  return found ? size : -size;
}
"""
# machine_code of cuda/code/code.h, by its name in a library.
NAME = "_ZN4msda3gpu12machine_codeERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEES8_"
ROOM = 16 << 20


def reader(library, folder):
    """Compiles into a folder what asks a library, and returns it: ``(source, arch)`` to bytes.

    It raises RuntimeError where the library does.
    """
    (folder / "code_of.cpp").write_text(SOURCE)
    target = folder / "code_of.so"
    command = ["g++", "-std=c++17", "-shared", "-fPIC"]
    subprocess.run([*command, folder / "code_of.cpp", "-o", target], check=True)
    asking = ctypes.CDLL(str(target))
    # Not linked: the linker would take the library of this name that is loaded already.
    asked = ctypes.cast(ctypes.CDLL(str(library))[NAME], ctypes.c_void_p)
    asking.code_of.restype = ctypes.c_int64
    answer = ctypes.create_string_buffer(ROOM)

    def code(source, arch):
        size = asking.code_of(asked, source.encode(), arch.encode(), answer, ctypes.c_int64(ROOM))
        if size < 0:
            raise RuntimeError(answer.raw[:-size].decode())
        return answer.raw[:size]

    return code
