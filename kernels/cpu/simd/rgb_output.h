// RGB pixels in registers, which come from rgb_sources.h: they are normalised, erased, converted
// and stored as planes or as pixels.
#pragma once
#include "cpu/simd/rgb_sources.h"

namespace msda {
namespace {

// Normalised values with those of an erased box made 0: the values of one colour of kLanes pixels,
// of a third of kLanes interleaved pixels, and one value.  Only an Erased source has such a box.
template <typename From>
Floats erased(const From&, Floats v, int32_t) {
  return v;
}
template <typename From>
Floats erased(const Erased<From>& cut, Floats v, int32_t x) {
  return (Floats)chosen(cut.box.bits(x), (Ints)v, Ints{});
}
template <int32_t kThird, typename From>
Floats erased_third(const From&, Floats v, int32_t) {
  return v;
}
template <int32_t kThird, typename From>
Floats erased_third(const Erased<From>& cut, Floats v, int32_t x) {
  const uint64_t bits = bits_of_values(cut.box.bits(x)) >> kThird * kLanes;
  return (Floats)chosen(static_cast<uint32_t>(bits), (Ints)v, Ints{});
}
template <typename From>
float erased_value(const From&, float v, int32_t) {
  return v;
}
template <typename From>
float erased_value(const Erased<From>& cut, float v, int32_t i) {
  return cut.box.own_at(i / 3) ? v : 0.0f;
}

// Bytes stay as they are.
template <typename Out>
Floats normalised(Floats v, Floats scale, Floats shift) {
  if constexpr (sizeof(Out) == 1) return v;
  return fused(v, scale, shift);
}

// Prefetches the bytes that belong to the pixels from x on; `ahead` is BlendThread's.
template <int32_t kPixels>
__attribute__((always_inline)) inline void fetch_ahead(const char* ahead, int32_t x) {
  // With fewer lanes computing takes so long that memory keeps up.
  if constexpr (kLanes > 4) fetch(ahead + 3 * x, 3 * kPixels);
}

// Keeps the compiler from making vectors of a loop that has fewer turns than they have lanes.
inline void one_by_one(int32_t* turn) { asm("" : "+r"(*turn)); }

// Writes rows of n pixels into three planes; from_row(r) says where row r comes from.  It is not
// inlined, because together with others it would run out of registers.  `ahead` is BlendThread's.
template <bool past, typename Out, typename FromRow>
__attribute__((noinline, flatten)) void rgb_to_planes(Out* const* planes, const FromRow from_row,
                                                      int32_t rows, int32_t n, const float* scale,
                                                      const float* shift, const char* ahead) {
  // Local copies: as far as the compiler knows, the stores could change the originals.
  Out *red = planes[0], *green = planes[1], *blue = planes[2];
  const Floats scales[3] = {splat(scale[0]), splat(scale[1]), splat(scale[2])};
  const Floats shifts[3] = {splat(shift[0]), splat(shift[1]), splat(shift[2])};
  for (int32_t r = 0; r < rows; ++r, red += n, green += n, blue += n, ahead += 3 * n) {
    const auto from = from_row(r);
    const auto colours = [&](Floats* v, int32_t x) {
      from.planes(v, x);
      for (int32_t c = 0; c < 3; ++c)
        v[c] = erased(from, normalised<Out>(v[c], scales[c], shifts[c]), x);
    };
    const auto put_at = [&](int32_t x) {
      Floats v[3];
      colours(v, x);
      put(red + x, v[0], past), put(green + x, v[1], past), put(blue + x, v[2], past);
    };
    int32_t x = 0;
    constexpr int32_t kVectors = kTogether<Out> / kLanes;
    if constexpr (kVectors > 1)
      for (; x + kTogether<Out> <= n; x += kTogether<Out>) {
        fetch_ahead<kTogether<Out>>(ahead, x);
        Floats v[kVectors][3];
        for (int32_t k = 0; k < kVectors; ++k) colours(v[k], x + k * kLanes);
        const auto put_line = [&](Out* to, int32_t c) {
          for (int32_t k = 0; k < kVectors; k += 2)
            put(to + k * kLanes, v[k][c], v[k + 1][c], past);
        };
        put_line(red + x, 0), put_line(green + x, 1), put_line(blue + x, 2);
      }
    for (; x + kLanes <= n; x += kLanes) {
      fetch_ahead<kLanes>(ahead, x);
      put_at(x);
    }
    if (x == n) continue;
    if (!past && n >= kLanes) {  // the last vector overlaps the one before
      put_at(n - kLanes);
      continue;
    }
    for (; x < n; ++x) {
      one_by_one(&x);
      const auto value = [&](int32_t c) {
        const float v = normalise(from.value(3 * x + c), scale[c], shift[c]);
        return erased_value(from, v, 3 * x + c);
      };
      store(red + x, value(0)), store(green + x, value(1)), store(blue + x, value(2));
    }
  }
}

// Writes them as interleaved pixels.  `scale` and `shift` hold those of the values of kLanes
// pixels.
template <bool past, typename Out, typename FromRow>
__attribute__((noinline, flatten)) void rgb_to_pixels(Out* out, const FromRow from_row,
                                                      int32_t rows, int32_t n, const float* scale,
                                                      const float* shift, const char* ahead) {
  Floats scales[3], shifts[3];
  for (int32_t k = 0; k < 3; ++k) {
    scales[k] = load(scale + k * kLanes);
    shifts[k] = load(shift + k * kLanes);
  }
  for (int32_t r = 0; r < rows; ++r, out += 3 * n, ahead += 3 * n) {
    const auto from = from_row(r);
    const auto put_at = [&](int32_t x) {
      Out* to = out + 3 * x;
      const Floats first = normalised<Out>(from.template third<0>(x), scales[0], shifts[0]);
      const Floats second = normalised<Out>(from.template third<1>(x), scales[1], shifts[1]);
      const Floats third = normalised<Out>(from.template third<2>(x), scales[2], shifts[2]);
      put(to, erased_third<0>(from, first, x), past);
      put(to + kLanes, erased_third<1>(from, second, x), past);
      put(to + 2 * kLanes, erased_third<2>(from, third, x), past);
    };
    int32_t x = 0;
    for (; x + kLanes <= n; x += kLanes) {
      fetch_ahead<kLanes>(ahead, x);
      put_at(x);
    }
    if (x == n) continue;
    if (!past && n >= kLanes) {
      put_at(n - kLanes);
      continue;
    }
    for (int32_t i = 3 * x; i < 3 * n; ++i) {
      one_by_one(&i);
      const float v = normalise(from.value(i), scale[i % 3], shift[i % 3]);
      store(out + i, erased_value(from, v, i));
    }
  }
}

}  // namespace
}  // namespace msda
