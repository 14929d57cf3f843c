// What a check has found wrong, in the project's form: "name: expected X, got Y".
#pragma once
#include <cstdarg>
#include <cstdint>
#include <cstdio>

namespace msda {

// A fault in words, in the caller's memory.
struct Report {
  char* text;
  int32_t room;

  // Writes the fault and returns false, which checks return in turn.
  __attribute__((format(printf, 2, 3))) bool fault(const char* format, ...) const {
    va_list values;
    va_start(values, format);
    vsnprintf(text, static_cast<size_t>(room), format, values);
    va_end(values);
    return false;
  }
};

}  // namespace msda
