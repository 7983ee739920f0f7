// Objects that are owned in no order and leave in any, each knowing its own place (`list_index`).
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace pyserver::gateway {

template <typename T>
class OwnedList {
 public:
  T* add(std::unique_ptr<T> one) {
    one->list_index = all_.size();
    all_.push_back(std::move(one));
    return all_.back().get();
  }

  std::unique_ptr<T> take(T* one) {
    const size_t index = one->list_index;
    std::swap(all_[index], all_.back());
    all_[index]->list_index = index;
    std::unique_ptr<T> taken = std::move(all_.back());
    all_.pop_back();
    return taken;
  }

  // Calls `visit` for each that is there now; visitors may take themselves out.
  template <typename F>
  void for_each(const F& visit) const {
    std::vector<T*> now;
    now.reserve(all_.size());
    for (const auto& one : all_) now.push_back(one.get());
    for (T* const one : now) visit(one);
  }

  size_t size() const { return all_.size(); }
  bool empty() const { return all_.empty(); }

 private:
  std::vector<std::unique_ptr<T>> all_;
};

}  // namespace pyserver::gateway
