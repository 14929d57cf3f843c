// A plugin of QEMU that counts the instructions that a program of aarch64 executes.  Whenever the
// program writes, a line on stderr says how many there have been.  Debian has no header for
// plugins; these are the functions that it takes, as include/qemu/qemu-plugin.h of QEMU 7.2
// declares them (version 1 of the interface).
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>

#define EXPORTED __attribute__((visibility("default")))

extern "C" {
using Id = uint64_t;
struct qemu_plugin_tb;
struct qemu_info_t;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb* block);
void qemu_plugin_register_vcpu_tb_trans_cb(Id id, void (*call)(Id, qemu_plugin_tb*));
void qemu_plugin_register_vcpu_tb_exec_inline(qemu_plugin_tb* block, qemu_plugin_op op,
                                              void* counter, uint64_t value);
void qemu_plugin_register_vcpu_syscall_cb(Id id,
                                          void (*call)(Id, unsigned cpu, int64_t number, uint64_t,
                                                       uint64_t, uint64_t, uint64_t, uint64_t,
                                                       uint64_t, uint64_t, uint64_t));

EXPORTED int qemu_plugin_version = 1;
EXPORTED int qemu_plugin_install(Id id, const qemu_info_t* info, int count, char** arguments);
}

namespace {

constexpr int64_t kWrite = 64;  // of the system calls of aarch64

uint64_t executed;

void count_block(Id, qemu_plugin_tb* block) {
  qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &executed,
                                           qemu_plugin_tb_n_insns(block));
}

void tell(Id, unsigned, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
          uint64_t, uint64_t) {
  if (number == kWrite) std::fprintf(stderr, "%" PRIu64 "\n", executed);
}

}  // namespace

int qemu_plugin_install(Id id, const qemu_info_t*, int, char**) {
  qemu_plugin_register_vcpu_tb_trans_cb(id, count_block);
  qemu_plugin_register_vcpu_syscall_cb(id, tell);
  return 0;
}
