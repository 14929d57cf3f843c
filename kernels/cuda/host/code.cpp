#include "cuda/host/code.h"

#include <dlfcn.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <vector>

namespace msda::gpu {
namespace {

constexpr int64_t kRoom = 16384;  // bytes for a path, or for the end of a compiler's log

std::atomic<MsdaCompiler> compiler = nullptr;

// The code of libmsda_dali-<version>-<key>.so lies in
// libmsda_dali-<version>-<key>.<arch>.<source>.cubin.
std::string beside_this_library(const std::string& source, const std::string& arch) {
  Dl_info self = {};
  dladdr(reinterpret_cast<const void*>(&msda_set_compiler), &self);
  const std::string library = self.dli_fname ? self.dli_fname : "";
  return library.substr(0, library.rfind(".so")) + "." + arch + "." + source + ".cubin";
}

std::string compiled_path(MsdaCompiler compile, const std::string& source,
                          const std::string& arch) {
  std::vector<char> answer(kRoom, '\0');
  const bool found = compile(source.c_str(), arch.c_str(), answer.data(), kRoom - 1) == 1;
  if (found) return answer.data();
  throw std::runtime_error(answer[0] ? answer.data()
                                     : "the GPU's kernels: compiling was broken off");
}

}  // namespace

std::string machine_code(const std::string& source, const std::string& arch) {
  const MsdaCompiler compile = compiler;
  const std::string path =
      compile ? compiled_path(compile, source, arch) : beside_this_library(source, arch);
  std::ifstream file(path, std::ios::binary);
  const std::string code{std::istreambuf_iterator<char>(file), {}};
  if (code.compare(0, 4,
                   "\x7f"
                   "ELF") != 0) {
    throw std::runtime_error(path + (file.is_open() ? ": no machine code" : ": not found") +
                             "; `python -m dali_msda build --arch " + arch +
                             "` puts it beside the operators that it prints; a process that "
                             "imports dali_msda.dali makes it by itself");
  }
  return code;
}

}  // namespace msda::gpu

void msda_set_compiler(MsdaCompiler compiler) { msda::gpu::compiler = compiler; }
