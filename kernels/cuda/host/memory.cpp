#include "cuda/host/memory.h"

#include <algorithm>

#include "cuda/host/driver.h"

namespace msda::gpu {
namespace {

enum { kNotReady = 600, kPortable = 1 };  // of cuda.h

// Batches of nearly the same size can then share pieces.
size_t rounded(size_t bytes) {
  size_t size = 4096;
  while (size < bytes) size *= 2;
  return size;
}

}  // namespace

Pool::Piece Pool::Take(size_t bytes, Handle stream) {
  const size_t size = rounded(bytes);
  std::unique_lock lock(mutex_);
  const auto fits = [=](const Piece& piece) { return piece.bytes >= size; };
  const auto is_full = [&] { return bytes_ + size > kMostBytes || count_ >= kMostPieces; };
  auto found = std::find_if(pieces_.begin(), pieces_.end(), [&](const Piece& piece) {
    return fits(piece) && IsFree(piece, stream);
  });
  const bool must_wait = found == pieces_.end();
  if (found == pieces_.end() && is_full()) found = std::find_if(pieces_.begin(), found, fits);
  if (found == pieces_.end()) {
    for (; is_full() && !pieces_.empty(); pieces_.erase(pieces_.begin())) {
      Free(pieces_.front());
      bytes_ -= pieces_.front().bytes, --count_;
    }
    const Piece made = Make(size);
    bytes_ += size, ++count_;
    return made;
  }
  const Piece piece = *found;
  pieces_.erase(found);
  lock.unlock();
  if (!pinned_)  // on its last stream as well: that may be a new one with the same handle
    driver().wait_event(stream, piece.event, 0);
  else if (must_wait)
    driver().finish_event(piece.event);
  return piece;
}

void Pool::Give(Piece piece, Handle stream) {
  piece.stream = stream;
  // A device that fails no longer says when it is done: nobody gets the piece then.
  if (driver().record_event.raw(piece.event, stream) != 0) return;
  const std::lock_guard lock(mutex_);
  pieces_.push_back(piece);
}

Pool::Piece Pool::Make(size_t bytes) const {
  Piece made;
  void* address = nullptr;
  driver().create_event(&made.event, kWithoutTiming);
  if (pinned_)
    driver().allocate_pinned(&address, bytes, kPortable);
  else
    driver().allocate(&address, bytes);
  made.address = static_cast<char*>(address), made.bytes = bytes;
  return made;
}

bool Pool::IsFree(const Piece& piece, Handle stream) const {
  if (!pinned_ && piece.stream == stream) return true;
  const int status = driver().query_event.raw(piece.event);
  if (status != kNotReady) check(status);
  return status == 0;
}

void Pool::Free(const Piece& piece) const {
  driver().finish_event(piece.event);
  driver().destroy_event(piece.event);
  (pinned_ ? driver().free_pinned : driver().free)(piece.address);
}

Lease::Lease(Pool& pool, size_t bytes, Handle stream) : pool_(pool), stream_(stream) {
  driver().is_capturing(stream, &capturing_);
  piece_ = capturing_ ? pool.Make(bytes) : pool.Take(bytes, stream);
  address = piece_.address + piece_.bytes - bytes;
}

Lease::~Lease() {
  if (!capturing_) pool_.Give(piece_, stream_);
}

}  // namespace msda::gpu
