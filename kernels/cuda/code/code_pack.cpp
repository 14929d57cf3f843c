#include "cuda/code/code_pack.h"

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace msda::gpu {
namespace {

// The systems on a chip, whose code is not that of cards: Xavier, Orin, Thor under both its
// numbers, and 8.8, of which it is not published what it is.
constexpr int kTegra[] = {72, 87, 88, 101, 110};
constexpr const char* kKey = MSDA_KERNELS_KEY;  // dali_msda/build.py passes it
constexpr const char* kTitle = "dali_msda kernels 1 ";

// 90 of "sm_90" and of "compute_90", ten times the major version and the minor version.
int number_of(const std::string& kind) { return std::atoi(kind.c_str() + kind.find('_') + 1); }

bool is_tegra(int number) {
  for (const int tegra : kTegra)
    if (number == tegra) return true;
  return false;
}

bool runs_machine_code(int device, int made_for) {
  if (made_for == device) return true;
  return made_for / 10 == device / 10 && made_for < device && !is_tegra(made_for) &&
         !is_tegra(device);
}

struct Piece {
  std::string source, kind;
  uint64_t bytes = 0, start = 0;
  uint32_t check = 0;
};

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  throw std::runtime_error(path + ": " + what +
                           "; remove it, and reinstall dali_msda or run `python -m dali_msda build "
                           "--arch` again");
}

// The pieces that a pack lists; the file then holds them and nothing more.
std::vector<Piece> listed(const std::string& path, std::ifstream& file) {
  std::string line;
  std::getline(file, line);
  if (line.rfind(kTitle, 0) != 0) refuse(path, "no pack of the GPU's kernels");
  const std::string key = line.substr(std::string(kTitle).size());
  if (key != kKey)
    refuse(path, "expected kernels of the sources " + std::string(kKey) + ", got " + key);
  std::vector<Piece> pieces;
  while (std::getline(file, line) && !line.empty()) {
    Piece piece;
    std::istringstream words(line);
    if (!(words >> piece.source >> piece.kind >> piece.bytes >> std::hex >> piece.check))
      refuse(path, "damaged");
    pieces.push_back(piece);
  }
  uint64_t start = file ? static_cast<uint64_t>(file.tellg()) : 0;
  file.seekg(0, std::ios::end);
  const uint64_t size = static_cast<uint64_t>(file.tellg());
  for (Piece& piece : pieces) {
    piece.start = start;
    if (!file || piece.bytes > size - start) refuse(path, "damaged: its end is missing");
    start += piece.bytes;
  }
  if (!file || start != size) refuse(path, "damaged: expected " + std::to_string(start) + " bytes");
  return pieces;
}

// CRC-32 as of zlib, IEEE 802.3
uint32_t crc32(const std::string& bytes, uint32_t crc = 0) {
  crc = ~crc;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

}  // namespace

std::string pack_name() { return "msda_kernels-" + std::string(kKey) + ".pack"; }

Code packed_code(const std::string& path, const std::string& source, const std::string& arch) {
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open()) throw std::runtime_error(path + ": not found");
  const std::vector<Piece> pieces = listed(path, file);
  std::vector<std::string> kinds;
  for (const Piece& piece : pieces)
    if (piece.source == source) kinds.push_back(piece.kind);
  Code code{best_kind(kinds, arch), ""};
  for (const Piece& piece : pieces) {
    if (piece.source != source || piece.kind != code.kind) continue;
    code.bytes.resize(piece.bytes);
    file.seekg(static_cast<std::streamoff>(piece.start));
    file.read(code.bytes.data(), static_cast<std::streamsize>(piece.bytes));
    if (crc32(code.bytes, crc32(source + " " + code.kind + "\n")) != piece.check)
      refuse(path, "damaged: the code of " + source + " for " + code.kind);
  }
  return code;
}

std::string best_kind(const std::vector<std::string>& kinds, const std::string& arch) {
  constexpr int kBeforeAnyPtx = 1 << 20;
  const int device = number_of(arch);
  std::string best;
  int best_rank = -1;
  for (const std::string& kind : kinds) {
    const int made_for = number_of(kind);
    const bool is_ptx = kind.rfind("compute_", 0) == 0;
    if (is_ptx ? made_for > device : !runs_machine_code(device, made_for)) continue;
    const int rank = made_for + (is_ptx ? 0 : kBeforeAnyPtx);
    if (rank > best_rank) best = kind, best_rank = rank;
  }
  return best;
}

}  // namespace msda::gpu
