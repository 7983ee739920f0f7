// memfd regions: making, sealing, mapping and giving pages back.
#include "shm/region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "shm/layout.h"

namespace pyserver::shm {

namespace {

base::Status system_error(const char* what) {
  return base::internal_error(std::string(what) + ": " + std::strerror(errno));
}

}  // namespace

base::Status make_memfd(const std::string& name, uint64_t bytes, base::UniqueFd* fd) {
  base::UniqueFd made(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!made.valid()) return system_error("cannot create a memfd");
  const uint64_t rounded = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (::ftruncate(made.get(), static_cast<off_t>(rounded)) != 0) {
    return system_error("cannot size a memfd");
  }
  if (::fcntl(made.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return system_error("cannot seal a memfd");
  }
  *fd = std::move(made);
  return {};
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

base::Status Mapping::map(int fd, bool writable, Mapping* mapping) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return system_error("cannot stat a region");
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return base::internal_error("a region must be a memfd sealed against shrinking");
  }
  const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  void* data = ::mmap(nullptr, static_cast<size_t>(info.st_size), protection,
                      MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (data == MAP_FAILED) return system_error("cannot map a region");
  Mapping made;
  made.data_ = static_cast<uint8_t*>(data);
  made.size_ = static_cast<uint64_t>(info.st_size);
  *mapping = std::move(made);
  return {};
}

void Mapping::release_pages(uint64_t offset, uint64_t length) const {
  const uint64_t begin = (offset + kPageBytes - 1) / kPageBytes * kPageBytes;
  const uint64_t end = (offset + length) / kPageBytes * kPageBytes;
  if (end > begin) ::madvise(data_ + begin, end - begin, MADV_REMOVE);
}

}  // namespace pyserver::shm
