// One turn of the loop, and what the control sockets change about it.
#include "gateway/gateway.h"

#include <sched.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "protocol/http_infer.h"

namespace pyserver::gateway {

namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr int kRetryMs = 5;
constexpr size_t kRecordsPerTurn = 1024;

// What Host::begin answers when nobody takes the request.
Exchange* refuse(int status, std::string_view text, Refusal* refusal) {
  *refusal = {status, kJson, protocol::error_body(text), {}, false};
  return nullptr;
}

}  // namespace

void Gateway::Waker::on_events(uint32_t) {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(fd.get(), &count, sizeof count);
}

Gateway::Gateway(const GatewaySettings& gateway_settings)
    : policy_(gateway_settings),
      link_(&loop),
      waiting_room_(this, &link_, &catalog_),
      infer_(this, &link_, &catalog_, &waiting_room_),
      proxy_(this, &link_),
      grpc_(this, &policy_, &link_, &catalog_, &waiting_room_) {
  settings = gateway_settings;
  update_time();
}

Gateway::~Gateway() {
  greetings_.for_each([](Greeting* greeting) { greeting->close(); });
  connections_.for_each([](Connection* connection) { connection->close(); });
  core_lost();
  proxy_.bury();
}

base::Status Gateway::open() {
  base::Status status = loop.open();
  if (!status.ok()) return status;
  waker_.fd = base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!waker_.fd.valid()) {
    return base::internal_error(std::string("cannot create an eventfd: ") + std::strerror(errno));
  }
  return loop.watch(waker_.fd.get(), EPOLLIN, &waker_);
}

void Gateway::add_listener(base::UniqueFd fd, const Entrance& entrance,
                           std::shared_ptr<const TlsContext> tls) {
  listeners_.push_back(std::make_unique<Listener>(
      &loop, std::move(fd), [this, entrance, tls = std::move(tls)](base::UniqueFd client) {
        Socket socket;
        if (tls != nullptr) {
          socket = tls->accept(std::move(client));
        } else {
          socket = std::move(client);
        }
        socket.entrance = entrance;
        if (tls != nullptr) {
          greet(std::move(socket));
        } else {
          adopt(std::move(socket));
        }
        if (client_count() < settings.max_connections) return true;
        ++counters.connections_refused;
        return false;
      }));
  if (serving_ && !draining) static_cast<void>(listeners_.back()->start());
}

base::Status Gateway::attach(std::span<const int, 4> fds, int control_fd) {
  core_lost();
  base::Status status = link_.attach(fds, control_fd, settings.keep_bytes);
  if (status.ok()) spin_wait_ = base::SpinWait(link_.session()->channel.busy_poll());
  return status;
}

base::Status Gateway::add_region(uint32_t peer, int fd) {
  if (link_.session() == nullptr) return base::unavailable("a region came before its core");
  return link_.session()->peers.add(peer, fd);
}

void Gateway::retire(uint32_t peer) {
  if (link_.session() != nullptr) link_.session()->peers.retire(peer);
}

base::Status Gateway::apply_model(std::string_view json) {
  base::Status status = catalog_.apply(json);
  waiting_room_.look();
  return status;
}

void Gateway::forget_model(std::string_view name) {
  catalog_.forget(name);
  waiting_room_.look();
}

void Gateway::refuse_model(std::string_view name, const base::Status& reason) {
  waiting_room_.refuse(name, reason);
}

base::Status Gateway::serve() {
  serving_ = link_.session() != nullptr;
  if (!serving_) return base::unavailable("there is no core to serve with");
  grpc_.set_serving(true);
  if (draining) return {};
  for (const auto& listener : listeners_) {
    base::Status status = listener->start();
    if (!status.ok()) return status;
  }
  return {};
}

void Gateway::core_lost() {
  if (link_.session() == nullptr) return;
  ++counters.core_losses;
  serving_ = false;
  link_.detach();
  catalog_.clear();
  waiting_room_.refuse_all(
      base::unavailable("the server's core process ended while the request was in flight"));
  infer_.on_core_lost();
  proxy_.on_core_lost();
  grpc_.on_core_lost();
}

void Gateway::drain(std::function<void()> drained) {
  drained_ = std::move(drained);
  draining = true;
  // No core loads a model for them any more.
  waiting_room_.refuse_all(base::unavailable("Server exiting"));
  for (const auto& listener : listeners_) listener->stop();
  greetings_.for_each([](Greeting* greeting) { greeting->close(); });
  connections_.for_each([](Connection* connection) { connection->drain(); });
  grpc_.drain();
  if (link_.session() == nullptr) grpc_.end_streams();  // no core will say when
}

void Gateway::run() {
  while (!stopping_.load(std::memory_order_acquire)) turn(-1);
}

void Gateway::stop() {
  stopping_.store(true, std::memory_order_release);  // before the wake-up that makes the loop look
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(waker_.fd.get(), &one, sizeof one);
}

void Gateway::turn(int max_wait_ms) {
  // A busy loop looks once without announcing that it sleeps, which saves core a doorbell.
  const size_t events = busy_ ? loop.wait(0) : wait(max_wait_ms);
  update_time();
  inflated_bytes = 0;
  loop.dispatch();
  const bool records = take_records();
  grpc_.end_overdue(now_ns);
  grpc_.flush();
  tell_wants();
  backlog_ = link_.flush();
  busy_ = events > 0 || records || grpc_.pending();
  if (busy_) spin_wait_.found(now_ns);
  if (now_ns >= next_sweep_ns_) {
    next_sweep_ns_ = now_ns + kSecondNs;
    sweep_at(now_s);
  }
  retry_listeners();
  check_drained();
  buried_.clear();
  proxy_.bury();
  grpc_.bury();
}

size_t Gateway::wait(int max_wait_ms) {
  now_ns = base::monotonic_ns();
  while (max_wait_ms != 0 &&
         spin_wait_.look_again(now_ns, infer_.inflight() + grpc_.inflight() > 0)) {
    ::sched_yield();
    const size_t events = loop.wait(0);
    if (events > 0 || link_.has_records()) return events;
    now_ns = base::monotonic_ns();
  }
  const bool quiet = link_.sleep();
  const size_t events = loop.wait(quiet ? wait_ms(max_wait_ms) : 0);
  spin_wait_.woken_after(link_.wake(now_ns, base::monotonic_ns()));
  return events;
}

bool Gateway::take_records() {
  shm::Record record;
  size_t count = 0;
  while (count < kRecordsPerTurn && link_.try_take(&record)) {
    ++count;
    if (h2::Server::owns(record)) {
      grpc_.on_record(record);
    } else {
      infer_.on_record(record);
    }
  }
  if (count > 0 && link_.session() != nullptr) link_.commit();
  if (link_.session() != nullptr && link_.session()->channel.broken()) core_lost();
  return count > 0;
}

void Gateway::tell_wants() {
  for (const std::string& name : waiting_room_.take_wants()) {
    if (wants_) wants_(name);
  }
}

void Gateway::update_time() {
  now_ns = base::monotonic_ns();
  now_s = static_cast<uint32_t>(now_ns / kSecondNs);
}

int Gateway::wait_ms(int max_wait_ms) const {
  if (backlog_) return 1;
  if (early_) return kRetryMs;
  if (client_count() == 0 && proxy_.size() == 0) return max_wait_ms;
  const uint64_t next_ns = std::min(next_sweep_ns_, grpc_.next_deadline_ns());
  const uint64_t left = next_ns > now_ns ? (next_ns - now_ns) / 1'000'000 + 1 : 0;
  const int until_next = static_cast<int>(std::min<uint64_t>(left, 1000));
  return max_wait_ms < 0 ? until_next : std::min(max_wait_ms, until_next);
}

// Time-outs are coarse: once a second.
void Gateway::sweep_at(uint32_t second) {
  greetings_.for_each([second](Greeting* greeting) { greeting->sweep(second); });
  connections_.for_each([second](Connection* connection) { connection->sweep(second); });
  proxy_.sweep(second);
  grpc_.sweep(second);
  waiting_room_.sweep(second);
  give_back_memory();
  if (!serving_ || draining || client_count() >= settings.max_connections) return;
  for (const auto& listener : listeners_) static_cast<void>(listener->start());
}

// After some seconds without a request, what was kept warm for the next one goes back to the system.
void Gateway::give_back_memory() {
  constexpr uint32_t kIdleSweeps = 10;
  const uint64_t seen = std::exchange(seen_requests_, counters.infer_requests);
  idle_sweeps_ =
      seen == seen_requests_ && infer_.inflight() + grpc_.inflight() == 0 ? idle_sweeps_ + 1 : 0;
  if (idle_sweeps_ == kIdleSweeps && link_.session() != nullptr) link_.session()->allocator.trim();
}

// The sockets are bound early, so that they are ours, but listen only when the server is ready.
void Gateway::retry_listeners() {
  if (draining) return;
  const bool was_early = std::exchange(early_, false);
  for (const auto& listener : listeners_) {
    if (!listener->too_early()) continue;
    if (was_early) static_cast<void>(listener->start());
    early_ = true;
  }
}

void Gateway::check_drained() {
  if (!drained_ || client_count() > 0 || infer_.inflight() > 0 || grpc_.inflight() > 0) return;
  const std::function<void()> drained = std::move(drained_);
  drained_ = nullptr;
  drained();
}

void Gateway::adopt(Socket socket) {
  auto connection = std::make_unique<Connection>(this, std::move(socket));
  if (!connection->watch().ok()) return;
  ++counters.connections_accepted;
  connections_.add(std::move(connection));
}

void Gateway::greet(Socket socket) {
  if (!socket.valid()) return;
  auto greeting =
      std::make_unique<Greeting>(&loop, this, std::move(socket), now_s + settings.head_timeout_s);
  if (greeting->watch().ok()) greetings_.add(std::move(greeting));
}

void Gateway::greeted(Greeting* greeting, Socket socket) {
  buried_.push_back(greetings_.take(greeting));
  if (draining) return;
  if (socket.protocol() != "h2") {
    adopt(std::move(socket));
    return;
  }
  ++counters.connections_accepted;
  begin_http2(std::move(socket), {});
}

void Gateway::greeting_failed(Greeting* greeting) {
  ++counters.handshakes_failed;
  buried_.push_back(greetings_.take(greeting));
}

void Gateway::begin_http2(Socket socket, std::span<const uint8_t> received) {
  grpc_.adopt(std::move(socket), received);
}

void Gateway::connection_closed(Connection* connection) {
  buried_.push_back(connections_.take(connection));
}

Counters Gateway::snapshot() const {
  Counters now = counters;
  now.connections_open = client_count();
  return now;
}

Exchange* Gateway::begin(Connection* connection, const RequestHead& head, Refusal* refusal) {
  // Before the method, as in Triton.
  const Decision decision = policy_.judge_http(
      head.target, [&head](std::string_view name) { return head.header(name); },
      connection->entrance());
  if (decision.verdict == Verdict::kUnknown) return refuse(404, "Not Found", refusal);
  if (decision.verdict == Verdict::kRestricted) {
    return refuse(403,
                  "This API is restricted, expecting header '" + std::string(decision.header) + "'",
                  refusal);
  }
  const Handler handler = decision.route.endpoint->handler;
  if (handler == Handler::kLive) return begin_live(head, refusal);
  if (handler == Handler::kInfer && head.method != HTTP_POST) {
    return refuse(405, "Method Not Allowed", refusal);
  }
  if (!serving_) {
    return refuse(503, "the server's core is not available; try again shortly", refusal);
  }
  if (handler == Handler::kInfer) return infer_.begin(connection, head, decision.route, refusal);
  // Core reads the path that was judged, not another one out of the same bytes.
  RequestHead judged = head;
  judged.target = decision.route.target;
  return proxy_.begin(connection, judged, refusal);
}

Exchange* Gateway::begin_live(const RequestHead& head, Refusal* refusal) const {
  if (head.method != HTTP_GET) return refuse(405, "Method Not Allowed", refusal);
  if (draining) return refuse(503, "Server exiting", refusal);
  *refusal = {live_ ? 200 : 400, kPlain, {}, {}, false};
  return nullptr;
}

std::string_view RequestHead::header(std::string_view name) const {
  for (size_t index = 0; index < parser->header_count(); ++index) {
    if (equals_ignoring_case(parser->name(index), name)) return parser->value(index);
  }
  return {};
}

}  // namespace pyserver::gateway
