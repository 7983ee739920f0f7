// Requests for models that exist but are not loaded: each waits here, its body where it was received, for what becomes of its model.
//
//   enter ──(want, once per model)──> core ──┬─ the model's entry, READY ──> called(ok): the request looks its model up again
//     │                                      ├─ refused, with a reason ────> called(reason)
//     └─ the client is gone: leave           └─ nothing in time ───────────> called(time-out)
//
// Those of one model are called in the order in which they came. The count of all is bounded, and the bytes of their bodies.
//
// Thread safety: the gateway's one thread.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "gateway/core_link.h"
#include "gateway/host.h"
#include "model/catalog.h"

namespace pyserver::gateway {

class WaitingRoom {
 private:
  struct Line;

 public:
  // A request that may have to wait. It leaves by itself when it is destroyed.
  class Guest {
   public:
    Guest() = default;
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;

    bool waits() const { return line_ != nullptr; }
    void leave();

   protected:
    ~Guest() { leave(); }

   private:
    friend class WaitingRoom;
    // It no longer waits: its model can be looked up now, or why it was not loaded.
    virtual void called(base::Status status) = 0;

    std::shared_ptr<Line> line_;
    std::list<Guest*>::iterator place_;
    uint64_t bytes_ = 0;
    uint32_t deadline_s_ = 0;
  };

  WaitingRoom(Host* host, const CoreLink* link, const model::Catalog* catalog)
      : host_(host), link_(link), catalog_(catalog) {}

  // Whether a look-up that was refused so is worth waiting for.
  bool may_wait(const base::Status& refusal, std::string_view model) const;
  // Lets the request wait, which holds `bytes` of our region. Refused when too many do.
  base::Status enter(Guest* guest, std::string_view model, uint64_t bytes);

  // The catalog has changed: calls those whose model has been loaded, or cannot be any more.
  void look();
  // Core has not loaded the model.
  void refuse(std::string_view model, const base::Status& reason);
  void refuse_all(const base::Status& reason);
  // Time passes: refuses who has waited too long.
  void sweep(uint32_t now_s);
  // The models that core is to be asked for.
  std::vector<std::string> take_wants();

 private:
  // Those who wait for one model.
  struct Line {
    explicit Line(WaitingRoom* its_room) : room(its_room) {}
    WaitingRoom* room;
    std::list<Guest*> guests;
  };

  void call(const std::shared_ptr<Line>& line, const base::Status& status);
  std::shared_ptr<Line> close(std::string_view model);
  std::vector<std::string> names() const;

  Host* host_;
  const CoreLink* link_;
  const model::Catalog* catalog_;
  std::unordered_map<std::string, std::shared_ptr<Line>> lines_;
  std::vector<std::string> wants_;
  uint64_t bytes_ = 0;
};

}  // namespace pyserver::gateway
