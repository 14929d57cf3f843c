// Mixes a batch row by row, for one instruction set (kernels.h).
//
// Blocks of whole rows are mixed, normalised, rearranged, converted and stored.  A block is done
// for all interpolations of a pair in turn.  Each source byte is read once, and each output byte is
// written once, past the caches if the batch is larger than they are.  RGB bytes stay in registers
// all the way; other values are first mixed into floats, which stay in the first-level cache.
#include "cpu/simd/kernels.h"
#include "cpu/simd/row_output.h"

namespace msda {
namespace {

template <typename In, typename Out>
void rows_of(const MsdaBlend& b, int64_t begin, int64_t end, char* memory) {
  const BlendThread thread(b, memory, sizeof(Out));
  const int32_t step = rows_per_block(b);
  const auto first_of = [&b](int32_t turn) {
    return (b.order ? b.order[turn] : turn) * b.interpolations;
  };
  for (int64_t row = begin; row < end;) {
    const int32_t turn = static_cast<int32_t>(row / b.height), first = first_of(turn);
    const int32_t next = (turn + 1) * b.interpolations < b.batch ? first_of(turn + 1) : first;
    const int32_t y = static_cast<int32_t>(row % b.height);
    int64_t rows = b.height - y;
    if (rows > end - row) rows = end - row;
    if (rows > step) rows = step;
    for (int32_t index = first; index < first + b.interpolations; ++index)
      put_block(thread, static_cast<Out*>(b.outs[index]),
                thread.block<In>(index, y, static_cast<int32_t>(rows), next),
                static_cast<int64_t>(y) * b.width);
    row += rows;
  }
  if (thread.past) finish_stores();
}

// In place: both samples of a pair are mixed, block by block, before either is written.
template <typename Value>
void pairs_of(const MsdaBlend& b, int64_t begin, int64_t end, char* memory) {
  BlendThread thread(b, memory, sizeof(Value));
  thread.past = false;
  const int32_t step = rows_per_block(b);
  const int64_t pitch = static_cast<int64_t>(b.width) * b.channels;
  char* rest = memory + scratch_bytes(b);
  Value* held[2] = {reinterpret_cast<Value*>(rest),
                    reinterpret_cast<Value*>(rest + scratch_part(b))};
  for (int64_t index = begin; index < end; ++index) {
    const int32_t pair[2] = {static_cast<int32_t>(index), b.pairs[index]};
    if (pair[1] < pair[0]) continue;  // its partner did both
    const int32_t count = pair[1] == pair[0] ? 1 : 2;
    for (int32_t y = 0; y < b.height; y += step) {
      const int32_t rows = b.height - y < step ? b.height - y : step;
      for (int32_t k = 0; k < count; ++k)
        put_block(thread, held[k], thread.block<Value>(pair[k], y, rows, pair[k]), 0);
      for (int32_t k = 0; k < count; ++k)
        memcpy(static_cast<Value*>(b.outs[pair[k]]) + y * pitch, held[k],
               rows * pitch * sizeof(Value));
    }
  }
}

template <typename In>
void rows_from(const MsdaBlend& b, int64_t begin, int64_t end, char* memory) {
  switch (b.out_dtype) {
    case kUint8:
      if constexpr (sizeof(In) == 1) return rows_of<In, uint8_t>(b, begin, end, memory);
      return;
    case kFloat16:
      return rows_of<In, Float16>(b, begin, end, memory);
    case kBfloat16:
      return rows_of<In, Bfloat16>(b, begin, end, memory);
    default:
      return rows_of<In, float>(b, begin, end, memory);
  }
}

}  // namespace
}  // namespace msda

namespace msda::MSDA_ISA {

void blend_rows(const MsdaBlend& b, int64_t begin, int64_t end, char* scratch) {
  if (b.in_dtype == kUint8) return rows_from<uint8_t>(b, begin, end, scratch);
  return rows_from<float>(b, begin, end, scratch);
}

void blend_pairs(const MsdaBlend& b, int64_t begin, int64_t end, char* scratch) {
  if (b.in_dtype == kUint8) return pairs_of<uint8_t>(b, begin, end, scratch);
  return pairs_of<float>(b, begin, end, scratch);
}

}  // namespace msda::MSDA_ISA
