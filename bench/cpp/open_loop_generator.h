// The loop that begins requests at their intended times, and what it saw.
//
// A request is an index into the schedule. Those that are due but found no free connection are
// always the range [begun_, due_), oldest first, so the queue is two numbers.
//
//      0 ........ begun_ ........ due_ ........ offsets_ns.size()
//        begun           waiting        not yet due
//
// Connections take turns (first free, first used): a server that spreads connections over its
// processes is loaded as evenly as by a closed loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "open_loop_answer.h"

namespace open_loop {

struct Plan {
  uint16_t port = 0;
  size_t connections = 0;
  std::string request;               // head and body, as they are sent
  std::vector<uint64_t> offsets_ns;  // intended times after the start, ascending
  size_t first_counted = 0;          // requests before it warm the server up
  uint64_t begin_ns = 0;             // of what is counted, after the start
  uint64_t end_ns = 0;               // of the schedule, after the start
  uint64_t grace_ns = 0;             // how long answers are waited for after that
};

// Of the counted requests alone. answered + failed + unanswered is all of them, and each has one
// latency: up to its answer, its failure or the end of the grace period.
struct Tally {
  size_t answered = 0;
  size_t refused = 0;  // of the answered: not 2xx
  size_t failed = 0;
  size_t unanswered = 0;
  size_t waited = 0;  // found no free connection
  std::string first_failure;
  std::vector<uint64_t> latencies_ns;
  std::vector<uint64_t> lateness_ns;  // of those that found a free connection
  uint64_t last_answer_ns = 0;        // after the start
  uint64_t cpu_ns = 0;
};

class Generator {
 public:
  explicit Generator(Plan plan);

  // Opens every connection; why that did not work, or nothing.
  [[nodiscard]] std::string connect_all();

  // Returns when every request was settled or the grace period is over.
  void run();

  Tally& tally() { return tally_; }

 private:
  enum class State { kBroken, kConnecting, kFree, kBusy };

  struct Connection {
    pyserver::base::UniqueFd fd;
    State state = State::kBroken;
    uint32_t openings = 0;  // tells an event of the socket before this one
    size_t request = 0;
    size_t sent_bytes = 0;
    bool watches_output = false;
    AnswerReader reader;
  };

  struct Reopening {
    uint64_t at_ns;
    size_t connection;
  };

  uint64_t intended_ns(size_t request) const { return start_ns_ + plan_.offsets_ns[request]; }
  bool counted(size_t request) const { return request >= plan_.first_counted; }
  bool settled() const { return begun_ == plan_.offsets_ns.size() && busy_ == 0; }

  void open(size_t index);
  void break_off(size_t index);
  void reopen_broken(uint64_t now_ns);
  void watch(size_t index, bool output);

  void poll(uint64_t until_ns);
  void on_event(size_t index, uint32_t events);
  void on_connected(size_t index);
  void begin_due();
  void begin(size_t index);
  void send_rest(size_t index);
  void receive(size_t index, bool ends);
  void settle(size_t index, uint64_t now_ns);
  void finish(size_t index, bool reusable);
  void fail(size_t index, const char* why);
  void release(size_t index);
  void give_up(uint64_t now_ns);
  uint64_t wake_at_ns() const;

  const Plan plan_;
  Tally tally_;
  pyserver::base::UniqueFd epoll_;
  std::vector<Connection> connections_;
  std::deque<size_t> free_;
  std::deque<Reopening> broken_;  // ascending: all wait equally long
  std::vector<char> received_;
  int connect_error_ = 0;  // the last one
  uint64_t start_ns_;
  uint64_t give_up_ns_;
  uint64_t cpu_begin_ns_ = 0;
  size_t begun_ = 0;
  size_t due_ = 0;
  size_t busy_ = 0;
};

}  // namespace open_loop
