// The connections to core: made when needed, kept when idle, given up with core.
#include "gateway/proxy.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "protocol/http_infer.h"

namespace pyserver::gateway {

namespace {

constexpr size_t kMaxIdle = 8;
// Far below the time after which core's HTTP server closes an idle connection, so that we never write to a closed one.
constexpr uint32_t kIdleSeconds = 10;

}  // namespace

Exchange* ProxyService::begin(Connection* connection, const RequestHead& head, Refusal* refusal) {
  const uint64_t limit = host_->settings.max_input_bytes;
  base::Status status;
  if (head.content_length > limit) {
    status = base::invalid_argument("request JSON size of " + std::to_string(head.content_length) +
                                    " bytes exceeds the maximum allowed input size of " +
                                    std::to_string(limit) +
                                    " bytes. Use --http-max-input-size to increase the limit.");
  }
  Upstream* upstream = nullptr;
  if (status.ok() && !idle_.empty()) {
    upstream = idle_.back();
    idle_.pop_back();
  } else if (status.ok()) {
    upstream = connect(&status);
  }
  if (upstream == nullptr) {
    *refusal = {base::http_status(status.code()),
                kJson,
                protocol::error_body(status.message()),
                {},
                head.content_length > limit};
    return nullptr;
  }
  ++host_->counters.proxied;
  upstream->start(connection, head);
  return upstream;
}

Upstream* ProxyService::connect(base::Status* status) {
  if (upstreams_.size() >= host_->settings.max_proxied) {
    *status =
        base::unavailable("too many requests to the control plane: the limit of this frontend is " +
                          std::to_string(host_->settings.max_proxied));
    return nullptr;
  }
  int pair[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
    *status =
        base::unavailable(std::string("cannot reach the control plane: ") + std::strerror(errno));
    return nullptr;
  }
  base::UniqueFd ours(pair[0]);
  const base::UniqueFd theirs(pair[1]);
  *status = hand_over(theirs.get());
  if (!status->ok()) return nullptr;
  auto upstream = std::make_unique<Upstream>(this, std::move(ours));
  *status =
      host_->loop.watch(upstream->fd(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, upstream.get());
  if (!status->ok()) return nullptr;
  upstreams_.push_back(std::move(upstream));
  return upstreams_.back().get();
}

// {"op":"proxy"} with one descriptor, on the control socket that Python reads and writes too; a packet is never half sent.
base::Status ProxyService::hand_over(int fd) const {
  char text[] = "{\"op\":\"proxy\"}";
  iovec part{text, sizeof text - 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  if (::sendmsg(link_->control(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return {};
  return base::unavailable(std::string("cannot reach the control plane: ") + std::strerror(errno));
}

void ProxyService::closed(Upstream* upstream) {
  idle_.erase(std::remove(idle_.begin(), idle_.end(), upstream), idle_.end());
  const auto found = std::find_if(upstreams_.begin(), upstreams_.end(),
                                  [upstream](const auto& one) { return one.get() == upstream; });
  if (found == upstreams_.end()) return;
  buried_.push_back(std::move(*found));
  *found = std::move(upstreams_.back());
  upstreams_.pop_back();
}

void ProxyService::on_core_lost() {
  // Each fail() takes its upstream out of the list.
  while (!upstreams_.empty())
    upstreams_.back()->fail("the server's core process ended while the request was in flight");
}

void ProxyService::sweep(uint32_t now_s) {
  std::vector<Upstream*> old;
  for (Upstream* const upstream : idle_) {
    if (now_s - upstream->idle_since_s() >= kIdleSeconds) old.push_back(upstream);
  }
  for (size_t index = 0; idle_.size() - old.size() > kMaxIdle && index < idle_.size(); ++index) {
    if (std::find(old.begin(), old.end(), idle_[index]) == old.end()) old.push_back(idle_[index]);
  }
  for (Upstream* const upstream : old) upstream->fail({});
}

}  // namespace pyserver::gateway
