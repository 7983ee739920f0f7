// Who waits for which model, and who is called.
#include "gateway/waiting_room.h"

#include <utility>

namespace pyserver::gateway {

void WaitingRoom::Guest::leave() {
  if (line_ == nullptr) return;
  line_->guests.erase(place_);
  line_->room->bytes_ -= bytes_;
  --line_->room->host_->counters.parked;
  line_.reset();
}

bool WaitingRoom::may_wait(const base::Status& refusal, std::string_view model) const {
  return !refusal.ok() && refusal.code() != base::Code::kInvalidArgument &&
         catalog_->loadable(model);
}

base::Status WaitingRoom::enter(Guest* guest, std::string_view model, uint64_t bytes) {
  const GatewaySettings& settings = host_->settings;
  if (host_->draining) return base::unavailable("Server exiting");
  if (link_->session() == nullptr)
    return base::unavailable("the server's core is not available; try again shortly");
  const std::string whose = "model '" + std::string(model) + "' is not loaded, and ";
  if (host_->counters.parked >= settings.max_parked) {
    return base::unavailable(whose +
                             "too many requests wait for models already: the limit of this "
                             "frontend is " +
                             std::to_string(settings.max_parked) + "; try again shortly");
  }
  // The rest of the region is for the models that are loaded.
  const uint64_t most_bytes = link_->session()->region.size() / 4;
  if (bytes > most_bytes - bytes_) {
    return base::unavailable(whose + "requests that wait for models hold " +
                             std::to_string(bytes_) + " bytes already, of " +
                             std::to_string(most_bytes) + "; try again shortly");
  }
  std::shared_ptr<Line>& line = lines_[std::string(model)];
  if (line == nullptr) {
    line = std::make_shared<Line>(this);
    wants_.emplace_back(model);
  }
  guest->line_ = line;
  guest->place_ = line->guests.insert(line->guests.end(), guest);
  guest->bytes_ = bytes;
  guest->deadline_s_ = host_->now_s + settings.load_timeout_s;
  bytes_ += bytes;
  ++host_->counters.parked;
  return {};
}

// A line that is called is no longer the model's: whoever comes meanwhile begins a new one.
std::shared_ptr<WaitingRoom::Line> WaitingRoom::close(std::string_view model) {
  const auto found = lines_.find(std::string(model));
  if (found == lines_.end()) return nullptr;
  std::shared_ptr<Line> line = std::move(found->second);
  lines_.erase(found);
  return line;
}

// One that is called may make others leave.
void WaitingRoom::call(const std::shared_ptr<Line>& line, const base::Status& status) {
  while (line != nullptr && !line->guests.empty()) {
    Guest* const guest = line->guests.front();
    guest->leave();
    guest->called(status);
  }
}

std::vector<std::string> WaitingRoom::names() const {
  std::vector<std::string> names;
  names.reserve(lines_.size());
  for (const auto& [name, line] : lines_) names.push_back(name);
  return names;
}

void WaitingRoom::look() {
  for (const std::string& name : names()) {
    if (!catalog_->loadable(name)) call(close(name), {});
  }
}

void WaitingRoom::refuse(std::string_view model, const base::Status& reason) {
  call(close(model), reason);
}

void WaitingRoom::refuse_all(const base::Status& reason) {
  wants_.clear();
  for (const std::string& name : names()) call(close(name), reason);
}

void WaitingRoom::sweep(uint32_t now_s) {
  for (const std::string& name : names()) {
    const auto found = lines_.find(name);
    if (found == lines_.end()) continue;
    const std::shared_ptr<Line> line = found->second;
    while (!line->guests.empty() && line->guests.front()->deadline_s_ <= now_s) {
      Guest* const guest = line->guests.front();
      guest->leave();
      ++host_->counters.timeouts;
      guest->called(base::unavailable(
          "model '" + name + "' was not loaded within " +
          std::to_string(host_->settings.load_timeout_s) +
          " s (--on-demand-load-timeout-secs); its load goes on, try again later"));
    }
    // Core is told again with the next one, should this load never have begun.
    if (line->guests.empty() && lines_.contains(name) && lines_[name] == line) lines_.erase(name);
  }
}

std::vector<std::string> WaitingRoom::take_wants() { return std::exchange(wants_, {}); }

}  // namespace pyserver::gateway
