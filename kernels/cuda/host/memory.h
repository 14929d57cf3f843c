// Memory for batches under way.  Batches use it in turns, and what a device holds is bounded.
#pragma once
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

namespace msda::gpu {

using Handle = void*;  // a context, module, function, stream or event of the driver
constexpr unsigned kWithoutTiming = 2;  // of an event

// Pieces of pinned memory, or of a device's.
//
// A piece on the device is protected by the order of streams: the next batch that uses it waits for
// the last one, on the device.  The CPU writes to pinned memory, so its last copy must be over.
class Pool {
 public:
  struct Piece {
    char* address = nullptr;
    size_t bytes = 0;
    Handle event = nullptr, stream = nullptr;  // of its last use
  };
  // More is only held for a batch that needs more by itself, or for threads at once.
  static constexpr size_t kMostBytes = size_t{512} << 20;
  static constexpr size_t kMostPieces = 32;

  explicit Pool(bool pinned) : pinned_(pinned) {}

  // At least so many bytes for what is put on a stream now.  If the bounds are reached, the CPU
  // waits until a pinned piece is free.
  Piece Take(size_t bytes, Handle stream);
  void Give(Piece piece, Handle stream);
  Piece Make(size_t bytes) const;  // a new piece that belongs to the caller

 private:
  bool IsFree(const Piece& piece, Handle stream) const;
  void Free(const Piece& piece) const;

  const bool pinned_;
  std::mutex mutex_;
  std::vector<Piece> pieces_;     // which nobody has, the longest idle first
  size_t bytes_ = 0, count_ = 0;  // of all pieces
};

// A piece for what a batch puts on a stream while this lives.  If the stream captures a graph, the
// graph keeps the memory for good.
class Lease {
 public:
  Lease(Pool& pool, size_t bytes, Handle stream);
  ~Lease();
  Lease(const Lease&) = delete;

  // The memory ends where its piece ends, so that tools see what is touched behind it.
  char* address;

 private:
  Pool& pool_;
  Handle stream_;
  int capturing_ = 0;
  Pool::Piece piece_;
};

}  // namespace msda::gpu
