// Included before each C++ file that calls the system (dali_msda/build.py), so that a library runs
// with an older glibc and libstdc++ than it was compiled with: glibc 2.28 and the libstdc++ of GCC
// 8, as DALI does. Without it, newer systems would put the newest version of a symbol into the
// library, also where an older one does the same.  What is called stays the system's own code.
#pragma once
#include <features.h>

#include <new>

#ifdef __GLIBC__

#ifdef __aarch64__
#define MSDA_OLDEST_GLIBC "GLIBC_2.17"
#else
#define MSDA_OLDEST_GLIBC "GLIBC_2.2.5"
#endif

// They came to libc.so.6 from libdl.so.2 with 2.34, and got a new version there.
__asm__(".symver dlopen, dlopen@" MSDA_OLDEST_GLIBC);
__asm__(".symver dlsym, dlsym@" MSDA_OLDEST_GLIBC);
__asm__(".symver dlclose, dlclose@" MSDA_OLDEST_GLIBC);
__asm__(".symver dladdr, dladdr@" MSDA_OLDEST_GLIBC);

// Since 2.32: whether std::shared_ptr may count without atomic instructions.  Here it never does.
extern "C" {
extern char __libc_single_threaded;
__attribute__((weak, visibility("hidden"))) char __libc_single_threaded = 0;
}

// GCC 12 gave it a new version when `noexcept` went.
__asm__(
    ".symver _ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE, "
    "_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE@GLIBCXX_3.4.11");

// Since GCC 11: called where a container is asked for more elements than there can be.
namespace std {
[[noreturn]] __attribute__((weak, visibility("hidden"))) void __throw_bad_array_new_length() {
  throw std::bad_array_new_length();
}
}  // namespace std

#if __cplusplus > 201703L
// In C++20, string streams have functions that older libraries lack: they are compiled here.
#undef _GLIBCXX_EXTERN_TEMPLATE
#define _GLIBCXX_EXTERN_TEMPLATE 0
#include <sstream>
#undef _GLIBCXX_EXTERN_TEMPLATE
#define _GLIBCXX_EXTERN_TEMPLATE 1
#endif

#endif
