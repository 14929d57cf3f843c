// What a thread that blends knows and holds: the batch, its own memory, and blocks of rows of the
// sources as an output wants them, mirrored or shrunk.
#pragma once
#include <string.h>

#include "cpu/simd/kernels.h"
#include "cpu/simd/row_block.h"

namespace msda {
namespace {

// The stores of a batch whose outputs are larger than this bypass the caches: outputs are not read
// again soon, and would push out what is.
constexpr int64_t kStreamBytes = 16 << 20;

// Bytes are prefetched this far ahead of where they are read.  The CPU's own prefetcher stops at
// the end of a page, and guesses wrong where rows are left out.
constexpr int64_t kAheadBytes = 4 << 10;

// Copies bytes by stores that bypass the caches.
void stream_bytes(void* to, const void* from, int64_t bytes) {
  char* out = static_cast<char*>(to);
  const char* in = static_cast<const char*>(from);
  const int64_t lead = -reinterpret_cast<intptr_t>(out) & (kVectorBytes - 1);
  if (bytes < lead + kVectorBytes) {
    memcpy(out, in, bytes);
    return;
  }
  memcpy(out, in, lead);
  int64_t at = lead;
  for (; at + kVectorBytes <= bytes; at += kVectorBytes)
    put(reinterpret_cast<float*>(out + at), load(reinterpret_cast<const float*>(in + at)), true);
  memcpy(out + at, in + at, bytes - at);
}

void copy_out(void* to, const void* from, int64_t bytes, bool past) {
  if (past) return stream_bytes(to, from, bytes);
  memcpy(to, from, bytes);
}

// Rows of a sample that a thread keeps mirrored.
struct MirroredRows {
  int32_t sample, y, rows;
};

// The batch, the calling thread's memory, and what is the same for every block.
struct BlendThread {
  const MsdaBlend& b;
  float* mixed;
  char *staged, *mirrored[kMaxSources];
  // Scale and shift of each value of kLanes RGB pixels.  The scale 1 and the shift -0 change
  // nothing, not even the sign of a zero.
  float scale[3 * kLanes], shift[3 * kLanes];
  bool past;                                    // whether the stores of outputs bypass the caches
  mutable int32_t along_first = -1;             // `along` holds what outputs from this one on need
  mutable MirroredRows held[kMaxSources] = {};  // what the memory at `mirrored` holds
  mutable const char* ahead = nullptr;          // what to prefetch with the first pixel of a block
  mutable int32_t prefetched = -1, prefetched_before = -1;  // the sample that this image prefetches
                                                            // all of, and the one before it did
  float *weights, *along;

  BlendThread(const MsdaBlend& blend, char* memory, int64_t value_bytes)
      : b(blend), mixed(reinterpret_cast<float*>(memory)) {
    const int64_t part = scratch_part(b);
    weights = reinterpret_cast<float*>(memory + kScratchParts * part);
    along = weights + static_cast<int64_t>(b.width) * (1 + b.channels);
    staged = memory + part;
    for (int32_t k = 0; k < kMaxSources; ++k) mirrored[k] = memory + (2 + k) * part;
    for (int32_t i = 0; i < 3 * kLanes; ++i) {
      scale[i] = b.scale && b.channels == 3 ? b.scale[i % 3] : 1.0f;
      shift[i] = b.shift && b.channels == 3 ? b.shift[i % 3] : -0.0f;
    }
    const int64_t sample = static_cast<int64_t>(b.height) * b.width * b.channels;
    past = kBypasses && sample * b.batch * value_bytes >= kStreamBytes;
  }

  // Whether no bit of an output changes if bumps below 2^-62 become 0.  That is so where the weight
  // outside is at least 1/2, to which the pixel's weight then rounds.  It is also so for inputs of
  // bytes, which such a bump changes by less than 2^-54, if the outputs are bytes too, or if every
  // shift is so large beside its scale that the change is lost in rounding.
  bool tiny_is_none(const Plan& p) const {
    if (p.outside >= 0.5f) return true;
    if (b.in_dtype != kUint8) return false;
    for (int32_t c = 0; c < b.channels && b.out_dtype != kUint8; ++c)
      if (!b.shift || !(fabsf(b.shift[c]) > 0x1p-20f * fabsf(b.scale[c]))) return false;
    return true;
  }

  // What output `index` needs along its axes: a bump along x and, behind it, along y; or the
  // columns of a shrunk partner.
  const float* along_of(int32_t index) const {
    const int32_t first = index - index % b.interpolations;
    const int64_t each = static_cast<int64_t>(b.width) + b.height;
    for (int32_t k = 0; k < b.interpolations && along_first != first; ++k) {
      const Plan& p = b.plans[first + k];
      float* to = along + k * each;
      if (weight_kind(p) == WeightKind::kBump) {
        bumps(to, p.falloff[2], p.point[2], b.width);
        bumps(to + b.width, p.falloff[1], p.point[1], b.height);
        if (tiny_is_none(p)) drop_tiny(to, b.width + b.height);
      } else if (shrinks(p)) {
        columns_shrunk(reinterpret_cast<int32_t*>(to), p, b.channels,
                       b.mirror && b.mirror[p.source[1]]);
      }
    }
    along_first = first;
    return along + (index - first) * each;
  }

  // `next` is the record that comes after this one.
  template <typename In>
  Block<In> block(int32_t index, int32_t y, int32_t rows, int32_t next) const {
    const Plan& p = b.plans[index];
    Block<In> block = {p,       weight_kind(p), y,       rows,    b.channels,       {},
                       nullptr, nullptr,        nullptr, weights, weights + b.width};
    switch (block.kind) {
      case WeightKind::kOne:
      case WeightKind::kBox:
        break;
      case WeightKind::kBump:
        block.along_x = along_of(index);
        block.along_y = block.along_x + b.width;
        break;
      case WeightKind::kBits:
      case WeightKind::kFloats:
        block.mask = b.fields[index];
        break;
    }
    const int64_t pitch = static_cast<int64_t>(b.width) * b.channels;
    // In the order of msda_order() the partner is the next own image, so only the partner's pixels
    // are new to the caches, and they are prefetched.  But ResizeMix reads its partner's rows from
    // all over the image, while memory is best read in order.  So of two records of ResizeMix in a
    // row, the first prefetches the second one's partner, `early`.  Else a record of ResizeMix
    // prefetches its own image, of which the record before may have left rows out.  (Where bytes
    // are only copied, prefetching early is slower.)
    const Plan& after = b.plans[next];
    const bool rgb_bytes = sizeof(In) == 1 && b.channels == 3;
    const bool early = rgb_bytes && b.out_dtype != kUint8 && shrinks(p) && shrinks(after);
    const int32_t latest = early ? after.source[1] : p.source[p.sources > 1 && !shrinks(p)];
    const int32_t asking = early ? latest : -1;
    if (asking != prefetched) prefetched_before = prefetched, prefetched = asking;
    ahead = reinterpret_cast<const char*>(mixed);  // for floats: it is in the caches anyway
    if (sizeof(In) == 1)
      ahead = static_cast<const char*>(b.ins[latest]) + y * pitch + (early ? 0 : kAheadBytes);
    for (int32_t k = 0; k < p.sources; ++k) {
      const In* from = static_cast<const In*>(b.ins[p.source[k]]) + y * pitch;
      block.sources[k] = from;
      if (k == 1 && shrinks(p)) {
        block.sources[k] = shrunk(index, y, rows, from);
        continue;
      }
      if (!b.mirror || !b.mirror[p.source[k]]) continue;
      In* to = reinterpret_cast<In*>(mirrored[k]);
      block.sources[k] = to;
      MirroredRows& old = held[k];
      if (old.sample == p.source[k] && old.y == y && old.rows == rows) continue;
      old = {p.source[k], y, rows};
      for (int32_t r = 0; r < rows; ++r)
        mirror_row(to + r * pitch, from + r * pitch, b.width, b.channels);
    }
    return block;
  }

  // The partner's rows, with all of the partner shrunk into the box.  Around the box they are the
  // rows `from`; where the own weight is 1 there, as it is as a rule, they may hold anything.
  template <typename In>
  const In* shrunk(int32_t index, int32_t y, int32_t rows, const In* from) const {
    const Plan& p = b.plans[index];
    const int64_t pitch = static_cast<int64_t>(b.width) * b.channels;
    const In* whole = static_cast<const In*>(b.ins[p.source[1]]);
    const int32_t* columns = reinterpret_cast<const int32_t*>(along_of(index));
    const bool flipped = b.mirror && b.mirror[p.source[1]];
    const auto row_of = [&](int32_t y) {
      return whole + shrunk_from(y, p.y0, p.falloff[1], p.height) * pitch;
    };
    In* to = reinterpret_cast<In*>(mirrored[1]);
    for (int32_t r = 0; r < rows; ++r, to += pitch) {
      if (p.outside != 1.0f && flipped)
        mirror_row(to, from + r * pitch, b.width, b.channels);
      else if (p.outside != 1.0f)
        memcpy(to, from + r * pitch, pitch * sizeof(In));
      if (in_interval(y + r + rows, p.y0, p.y1, p.height)) {  // the same row of the next block
        const In* row = row_of(y + r + rows);
        const int64_t bytes = pitch * sizeof(In);
        p.source[1] == prefetched_before ? fetch<3>(row, bytes) : fetch(row, bytes);
      }
      if (!in_interval(y + r, p.y0, p.y1, p.height)) continue;
      const In* row = row_of(y + r);
      gather_pixels(to + static_cast<int64_t>(p.x0) * b.channels, row, static_cast<int32_t>(pitch),
                    row == whole + (p.height - 1) * pitch, columns, p.x1 - p.x0, b.channels);
    }
    held[1] = {};  // that memory does not hold mirrored rows any more
    return reinterpret_cast<In*>(mirrored[1]);
  }
};

}  // namespace
}  // namespace msda
