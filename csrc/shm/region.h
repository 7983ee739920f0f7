// A region: one sparse memfd that one peer owns and others map.
//
// The file has its full size from the start and is sealed against shrinking and growing, so an offset that was checked stays valid and
// no reader can be hit by SIGBUS; pages take memory only once they are touched, and are given back by release_pages().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/status.h"

namespace pyserver::shm {

// Makes a sealed memfd of `bytes` (rounded up to whole pages) named `name` (seen in /proc only).
base::Status make_memfd(const std::string& name, uint64_t bytes, base::UniqueFd* fd);

class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  // Maps the whole file. `writable` is for its owner; everybody else reads.
  static base::Status map(int fd, bool writable, Mapping* mapping);

  uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }
  bool valid() const { return data_ != nullptr; }

  // Whether [offset, offset + length) lies inside. The check that stands before every use of a number from another process.
  bool contains(uint64_t offset, uint64_t length) const {
    return offset <= size_ && length <= size_ - offset;
  }

  // Gives whole pages inside the range back to the system; their content is lost. Owner only.
  void release_pages(uint64_t offset, uint64_t length) const;

 private:
  uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace pyserver::shm
