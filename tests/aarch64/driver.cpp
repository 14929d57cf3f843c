// Calls functions of libraries for another process, under an emulator.  Both map one file, so that
// the other process can write what pointers point to (emulated.py).
//
//   driver FILE LIBRARY...
//
// It writes the address of the mapped file, and then answers each line:
//
//   call NAME ARGUMENT...   the result, in hexadecimal as all numbers are; up to eight arguments
//   text NAME ARGUMENT...   the text that the result points to, or nothing
//   wall ADDRESS            what is at this page must not be touched from now on
//   open                    all may be touched again
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>

namespace {

constexpr size_t kPage = 4096;

using Function = uint64_t (*)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                              uint64_t);

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

uint64_t call(std::istringstream& line) {
  std::string name;
  line >> name;
  void* found = dlsym(RTLD_DEFAULT, name.c_str());
  if (!found) fail(name.c_str());
  uint64_t a[8] = {};
  for (uint64_t& argument : a) line >> std::hex >> argument;
  return reinterpret_cast<Function>(found)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
}

}  // namespace

int main(int count, char** arguments) {
  const int file = open(arguments[1], O_RDWR);
  struct stat about;
  if (file < 0 || fstat(file, &about) != 0) fail(arguments[1]);
  const size_t size = about.st_size;
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) fail("mmap");
  for (int i = 2; i < count; ++i)
    if (!dlopen(arguments[i], RTLD_NOW | RTLD_GLOBAL)) {
      std::fprintf(stderr, "%s\n", dlerror());
      return 1;
    }
  std::printf("%" PRIx64 "\n", reinterpret_cast<uint64_t>(memory));
  std::fflush(stdout);
  for (std::string text; std::getline(std::cin, text); std::fflush(stdout)) {
    std::istringstream line(text);
    std::string what;
    line >> what;
    uint64_t result = 0;
    if (what == "wall") {
      line >> std::hex >> result;
      if (mprotect(reinterpret_cast<void*>(result), kPage, PROT_NONE) != 0) fail("mprotect");
    } else if (what == "open") {
      if (mprotect(memory, size, PROT_READ | PROT_WRITE) != 0) fail("mprotect");
    } else {
      result = call(line);
    }
    if (what == "text")
      std::printf("%s\n", result ? reinterpret_cast<const char*>(result) : "");
    else
      std::printf("%" PRIx64 "\n", result);
  }
}
