// Sockets and epoll of the open loop; its header has the idea.
#include "open_loop_generator.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/clock.h"

namespace open_loop {

namespace {

using pyserver::base::clock_ns;
using pyserver::base::monotonic_ns;

constexpr uint64_t kNever = UINT64_MAX / 2;  // some offset may be added to it
constexpr uint64_t kConnectTimeoutNs = 10'000'000'000;
constexpr uint64_t kReopenAfterNs = 50'000'000;
constexpr size_t kReceiveBytes = 256 << 10;
constexpr size_t kEventsAtOnce = 64;

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "open_loop: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

uint64_t tag(size_t index, uint32_t openings) { return uint64_t{openings} << 32 | index; }

}  // namespace

Generator::Generator(Plan plan)
    : plan_(std::move(plan)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      connections_(plan_.connections),
      received_(kReceiveBytes),
      start_ns_(kNever),
      give_up_ns_(kNever) {
  if (!epoll_.valid()) die("epoll");
  const size_t requests = plan_.offsets_ns.size() - plan_.first_counted;
  tally_.latencies_ns.reserve(requests);
  tally_.lateness_ns.reserve(requests);
  // The kernel otherwise lets a sleeper sleep 50 us longer, to wake several at once.
  if (::prctl(PR_SET_TIMERSLACK, 1) != 0) die("timer slack");
}

std::string Generator::connect_all() {
  const uint64_t deadline_ns = monotonic_ns() + kConnectTimeoutNs;
  for (size_t index = 0; index < connections_.size(); ++index) open(index);
  while (free_.size() < connections_.size()) {
    if (connect_error_ == ECONNREFUSED) return "nobody listens there";
    if (connect_error_ != 0) return std::strerror(connect_error_);
    if (monotonic_ns() > deadline_ns) return "not all connections were taken within 10 s";
    poll(deadline_ns);
  }
  return {};
}

void Generator::run() {
  start_ns_ = monotonic_ns();
  give_up_ns_ = start_ns_ + plan_.end_ns + plan_.grace_ns;
  while (!settled()) {
    begin_due();
    const uint64_t now_ns = monotonic_ns();
    if (now_ns >= give_up_ns_) break;
    reopen_broken(now_ns);
    poll(wake_at_ns());
  }
  tally_.cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_begin_ns_;
  give_up(monotonic_ns());
}

// With every connection in use a due request can only be counted as waiting, and that can be done
// when an answer comes: no need to wake up for it.
uint64_t Generator::wake_at_ns() const {
  uint64_t at_ns = give_up_ns_;
  if (due_ < plan_.offsets_ns.size() && !free_.empty()) at_ns = std::min(at_ns, intended_ns(due_));
  if (!broken_.empty()) at_ns = std::min(at_ns, broken_.front().at_ns);
  return at_ns;
}

void Generator::poll(uint64_t until_ns) {
  std::array<epoll_event, kEventsAtOnce> events;
  const uint64_t now_ns = monotonic_ns();
  const uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
  const timespec timeout{static_cast<time_t>(left_ns / 1'000'000'000),
                         static_cast<long>(left_ns % 1'000'000'000)};
  const int count = ::epoll_pwait2(epoll_.get(), events.data(), kEventsAtOnce, &timeout, nullptr);
  if (count < 0 && errno != EINTR) die("epoll_pwait2");
  // Requests come before answers, and between them: what is late would be the generator's fault.
  begin_due();
  for (int number = 0; number < count; ++number) {
    const epoll_event& event = events[static_cast<size_t>(number)];
    const auto index = static_cast<size_t>(event.data.u64 & UINT32_MAX);
    if (tag(index, connections_[index].openings) != event.data.u64) continue;
    on_event(index, event.events);
    begin_due();
  }
}

void Generator::on_event(size_t index, uint32_t events) {
  Connection& connection = connections_[index];
  if (connection.state == State::kConnecting) return on_connected(index);
  // An answer may come before the request was sent whole, and with the end behind it.
  const bool ends = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
  const uint32_t openings = connection.openings;
  if (ends || (events & EPOLLIN) != 0) receive(index, ends);
  const bool same = connection.state == State::kBusy && connection.openings == openings;
  if (same && (events & EPOLLOUT) != 0 && connection.watches_output) send_rest(index);
}

void Generator::begin_due() {
  while (due_ < plan_.offsets_ns.size()) {
    const uint64_t now_ns = monotonic_ns();
    const uint64_t intended = intended_ns(due_);
    if (intended > now_ns) return;
    if (due_ == plan_.first_counted) cpu_begin_ns_ = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    const bool counts = counted(due_++);
    if (free_.empty()) {
      if (counts) ++tally_.waited;
      continue;
    }
    if (counts) tally_.lateness_ns.push_back(now_ns - intended);
    const size_t index = free_.front();
    free_.pop_front();
    begin(index);
  }
}

// The oldest request that was not begun, on a connection that is nobody's.
void Generator::begin(size_t index) {
  Connection& connection = connections_[index];
  connection.state = State::kBusy;
  connection.request = begun_++;
  connection.sent_bytes = 0;
  connection.reader.clear();
  ++busy_;
  send_rest(index);
}

void Generator::send_rest(size_t index) {
  Connection& connection = connections_[index];
  const std::string_view rest = std::string_view(plan_.request).substr(connection.sent_bytes);
  const ssize_t sent = ::send(connection.fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) return fail(index, std::strerror(errno));
  if (sent > 0) connection.sent_bytes += static_cast<size_t>(sent);
  watch(index, connection.sent_bytes < plan_.request.size());
}

void Generator::receive(size_t index, bool ends) {
  Connection& connection = connections_[index];
  if (connection.state == State::kFree) {  // the server ends it, or says what nobody asked for
    std::erase(free_, index);
    return open(index);
  }
  for (;;) {
    const ssize_t got = ::recv(connection.fd.get(), received_.data(), received_.size(), 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) return fail(index, std::strerror(errno));
    if (got == 0) return fail(index, "the connection ended before the answer did");
    const auto bytes = static_cast<size_t>(got);
    const Progress progress = connection.reader.feed({received_.data(), bytes});
    if (progress == Progress::kJunk) return fail(index, connection.reader.trouble());
    if (progress == Progress::kWhole) return finish(index, !ends);
    if (bytes < received_.size() && !ends) return;
  }
}

void Generator::settle(size_t index, uint64_t now_ns) {
  Connection& connection = connections_[index];
  connection.state = State::kConnecting;  // nobody's, until it is free or opened again
  --busy_;
  if (counted(connection.request)) {
    tally_.latencies_ns.push_back(now_ns - intended_ns(connection.request));
  }
}

void Generator::finish(size_t index, bool reusable) {
  Connection& connection = connections_[index];
  const uint64_t now_ns = monotonic_ns();
  settle(index, now_ns);
  if (counted(connection.request)) {
    ++tally_.answered;
    if (connection.reader.status() / 100 != 2) ++tally_.refused;
    tally_.last_answer_ns = now_ns - start_ns_;
  }
  const bool whole = connection.sent_bytes == plan_.request.size();
  if (reusable && whole && !connection.reader.closes()) return release(index);
  open(index);
}

void Generator::fail(size_t index, const char* why) {
  settle(index, monotonic_ns());
  if (counted(connections_[index].request)) {
    if (tally_.failed++ == 0) tally_.first_failure = why;
  }
  open(index);
}

// Those that fell due while no connection was free are ahead of those that fall due from now on.
void Generator::release(size_t index) {
  begin_due();
  if (begun_ < due_) return begin(index);
  connections_[index].state = State::kFree;
  free_.push_back(index);
}

void Generator::give_up(uint64_t now_ns) {
  for (const Connection& connection : connections_) {
    if (connection.state != State::kBusy || !counted(connection.request)) continue;
    ++tally_.unanswered;
    tally_.latencies_ns.push_back(now_ns - intended_ns(connection.request));
  }
  for (size_t request = std::max(begun_, plan_.first_counted); request < plan_.offsets_ns.size();
       ++request) {
    ++tally_.unanswered;
    tally_.latencies_ns.push_back(now_ns - intended_ns(request));
  }
}

void Generator::open(size_t index) {
  Connection& connection = connections_[index];
  connection.fd = pyserver::base::UniqueFd(
      ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!connection.fd.valid()) die("socket");
  ++connection.openings;
  connection.state = State::kConnecting;
  connection.watches_output = true;
  const int on = 1;
  ::setsockopt(connection.fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(plan_.port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto* to = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(connection.fd.get(), to, sizeof address) != 0 && errno != EINPROGRESS) {
    connect_error_ = errno;
    return break_off(index);
  }
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLOUT;
  event.data.u64 = tag(index, connection.openings);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection.fd.get(), &event) != 0) die("epoll_ctl");
}

void Generator::on_connected(size_t index) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(connections_[index].fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
    die("getsockopt");
  }
  if (error != 0) {
    connect_error_ = error;
    return break_off(index);
  }
  watch(index, false);
  release(index);
}

void Generator::break_off(size_t index) {
  connections_[index].fd.reset();
  connections_[index].state = State::kBroken;
  broken_.push_back({monotonic_ns() + kReopenAfterNs, index});
}

void Generator::reopen_broken(uint64_t now_ns) {
  while (!broken_.empty() && broken_.front().at_ns <= now_ns) {
    const size_t index = broken_.front().connection;
    broken_.pop_front();
    open(index);
  }
}

void Generator::watch(size_t index, bool output) {
  Connection& connection = connections_[index];
  if (connection.watches_output == output) return;
  connection.watches_output = output;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | (output ? uint32_t{EPOLLOUT} : 0u);
  event.data.u64 = tag(index, connection.openings);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, connection.fd.get(), &event) != 0) die("epoll_ctl");
}

}  // namespace open_loop
