// The words of the operators' string arguments and the numbers they stand for; the same words are
// the Python policies' (dali_msda/policy/).
#pragma once
#include <string>

#include "arguments/check.h"
#include "cpu/api.h"

namespace msda::native {

struct Name {
  const char* word;
  int32_t value;
};

// The methods that can be drawn and blended.
constexpr Name kMethodNames[] = {{"mixup", kMixup},
                                 {"cutmix", kCutMix},
                                 {"fmix", kFMix},
                                 {"hmix", kHMix},
                                 {"gmix", kGMix},
                                 {"resizemix", kResizeMix},
                                 {"saliencymix", kSaliencyMix},
                                 {"cutout", kCutout}};
// Variants of a method; the empty word is its default.
constexpr Name kMixupModes[] = {
    {"", kMixupPlain}, {"plain", kMixupPlain}, {"average", kMixupAverage}};
constexpr Name kHMixModes[] = {{"", kHMixExact}, {"exact", kHMixExact}, {"nominal", kHMixNominal}};
constexpr Name kGMixModes[] = {
    {"", kGMixCode}, {"code", kGMixCode}, {"paper", kGMixPaper}, {"exact", kGMixExact}};
constexpr Name kFMixModes[] = {{"", kFMixPaper}, {"paper", kFMixPaper}, {"legacy", kFMixLegacy}};
constexpr Name kNoModes[] = {{"", 0}};
constexpr Name kRoundingNames[] = {
    {"nearest", kRoundNearest}, {"stochastic", kRoundStochastic}, {"coin", kRoundCoin}};
constexpr Name kScopeNames[] = {
    {"sample", kScopeSample}, {"pair", kScopePair}, {"batch", kScopeBatch}};
constexpr Name kPartnerNames[] = {{"permutation", kPartnerPermutation},
                                  {"derangement", kPartnerDerangement},
                                  {"flip", kPartnerFlip},
                                  {"roll", kPartnerRoll}};
constexpr Name kBoxNames[] = {
    {"clip", kBoxClip}, {"inside", kBoxInside}, {"wrap", kBoxWrap}, {"minmax", kBoxMinMax}};

template <size_t n>
std::string words_of(const Name (&names)[n]) {
  std::string words;
  for (const Name& name : names) {
    words += (words.empty() ? "\"" : ", \"") + std::string(name.word) + "\"";
  }
  return words;
}

template <size_t n>
int32_t value_of(const Name (&names)[n], const std::string& word, const char* argument) {
  for (const Name& name : names) {
    if (word == name.word) return name.value;
  }
  DALI_FAIL(argument, ": expected one of ", words_of(names), ", got \"", word, "\".");
}

template <size_t n>
const char* word_of(const Name (&names)[n], int32_t value) {
  for (const Name& name : names) {
    if (value == name.value) return name.word;
  }
  return "none";
}

// Methods that serve sequences and volumes as well as images.
inline bool serves_any_shape(int32_t method) {
  return method == kNone || method == kMixup || method == kFMix;
}

}  // namespace msda::native
