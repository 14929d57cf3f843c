#include "cuda/code/code.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "cuda/code/code_pack.h"

namespace msda::gpu {
namespace {

constexpr int64_t kRoom = 16384;  // bytes for a path, or for the end of a compiler's log

std::atomic<MsdaCompiler> compiler = nullptr;

std::string pack_beside_this_library() {
  Dl_info self = {};
  dladdr(reinterpret_cast<const void*>(&msda_set_compiler), &self);
  const std::string library = self.dli_fname ? self.dli_fname : "";
  return library.substr(0, library.rfind('/') + 1) + pack_name();
}

// Versions of CUDA are written as the driver does: 13010 is 13.1, and 0 is unknown.

int version_of_driver() {
  int version = 0;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (!library) return 0;
  const auto ask = reinterpret_cast<int (*)(int*)>(dlsym(library, "cuDriverGetVersion"));
  if (ask && ask(&version) != 0) version = 0;
  dlclose(library);
  return version;
}

// NVRTC writes its version both into machine code and into PTX.
int version_of_code(const std::string& code) {
  const std::string before = "Cuda compilation tools, release ";
  const size_t found = code.find(before);
  int major = 0, minor = 0;
  if (found != std::string::npos)
    std::sscanf(code.c_str() + found + before.size(), "%d.%d", &major, &minor);
  return 1000 * major + 10 * minor;
}

std::string spoken(int version) {
  if (!version) return "an unknown CUDA";
  return "CUDA " + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

bool is_machine_code(const std::string& code) {
  return code.rfind(
             "\x7f"
             "ELF",
             0) == 0;
}

bool is_ptx(const std::string& code) { return code.find("\n.version ") != std::string::npos; }

// A driver takes machine code of its major version of CUDA, and no PTX that is newer than itself.
bool driver_takes(const std::string& code) {
  const int driver = version_of_driver(), made = version_of_code(code);
  if (!driver || !made) return true;
  return is_machine_code(code) ? made / 1000 <= driver / 1000 : made <= driver;
}

std::string compiled_path(MsdaCompiler compile, const std::string& source,
                          const std::string& arch) {
  std::vector<char> answer(kRoom, '\0');
  const bool found = compile(source.c_str(), arch.c_str(), answer.data(), kRoom - 1) == 1;
  if (found) return answer.data();
  throw std::runtime_error(answer[0] ? answer.data()
                                     : "the GPU's kernels: compiling was broken off");
}

std::string remedy(const std::string& arch) {
  return "; `python -m dali_msda build --arch " + arch +
         "` puts it beside the libraries that it prints; a process that imports dali_msda.dali "
         "makes it by itself";
}

std::string content_of(const std::string& path, const std::string& arch) {
  std::ifstream file(path, std::ios::binary);
  const std::string code{std::istreambuf_iterator<char>(file), {}};
  if (is_machine_code(code) || is_ptx(code)) return code;
  throw std::runtime_error(path + (file.is_open() ? ": no machine code" : ": not found") +
                           remedy(arch));
}

void answer_with(const std::string& text, char* answer, int64_t room) {
  const size_t length = std::min(text.size(), static_cast<size_t>(room - 1));
  std::memcpy(answer, text.data(), length);
  answer[length] = '\0';
}

// Code in the pack that the device and the driver take, or else why there is none.
struct Packed {
  MsdaPacked state;
  Code code;
  std::string reason;
};

Packed packed(const std::string& source, const std::string& arch) {
  const std::string path = pack_beside_this_library();
  if (!std::ifstream(path).is_open()) return {kPackMissing, {}, path + ": not found"};
  Code code = packed_code(path, source, arch);
  if (code.kind.empty())
    return {kPackWithout, {}, path + ": no code of " + source + " for " + arch};
  if (!driver_takes(code.bytes)) return {kPackTooNew, {}, path + ": " + versions(code.bytes)};
  return {kPackHasCode, std::move(code), ""};
}

}  // namespace

std::string machine_code(const std::string& source, const std::string& arch) {
  Packed pack = packed(source, arch);
  if (pack.state == kPackHasCode) return std::move(pack.code.bytes);
  const MsdaCompiler compile = compiler;
  if (!compile) throw std::runtime_error(pack.reason + remedy(arch));
  return content_of(compiled_path(compile, source, arch), arch);
}

std::string versions(const std::string& code) {
  return "the code was compiled by " + spoken(version_of_code(code)) + ", and the driver serves " +
         spoken(version_of_driver());
}

}  // namespace msda::gpu

void msda_set_compiler(MsdaCompiler compiler) { msda::gpu::compiler = compiler; }

int32_t msda_packed_kind(const char* source, const char* arch, char* answer, int64_t room) {
  try {
    const msda::gpu::Packed pack = msda::gpu::packed(source, arch);
    const bool there = pack.state == kPackHasCode;
    msda::gpu::answer_with(there ? pack.code.kind : pack.reason, answer, room);
    return pack.state;
  } catch (const std::exception& error) {
    msda::gpu::answer_with(error.what(), answer, room);
    return kPackDamaged;
  }
}

void msda_best_kind(const char* kinds, const char* arch, char* answer, int64_t room) {
  std::istringstream words(kinds);
  const std::vector<std::string> all{std::istream_iterator<std::string>(words), {}};
  msda::gpu::answer_with(msda::gpu::best_kind(all, arch), answer, room);
}
