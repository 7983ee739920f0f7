// One Unix-domain socket and several loops that accept from it.
#include "gateway/listener.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

namespace pyserver::gateway {
namespace {

// A listening socket with a name that the kernel has picked; `at` and `size` are its address.
base::UniqueFd listen_somewhere(sockaddr_un* at, socklen_t* size) {
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un any{};
  any.sun_family = AF_UNIX;
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&any), sizeof(sa_family_t)), 0);
  EXPECT_EQ(::listen(fd.get(), 64), 0);
  *size = sizeof *at;
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(at), size), 0);
  return fd;
}

base::UniqueFd connect_to(const sockaddr_un& at, socklen_t size) {
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&at), size), 0);
  return fd;
}

// A thread that does nothing but accept; the clients' connections stay open.
class Acceptor {
 public:
  explicit Acceptor(int fd) {
    EXPECT_TRUE(loop_.open().ok());
    listener_.emplace(&loop_, base::UniqueFd(::dup(fd)), [this](base::UniqueFd client) {
      const char mark = 'x';
      ++count;  // before the client can look
      EXPECT_EQ(::write(client.get(), &mark, 1), 1);
      clients_.push_back(std::move(client));
      return true;
    });
    EXPECT_TRUE(listener_->start().ok());
    thread_ = std::thread([this] {
      while (!stopping_) {
        started = true;
        loop_.wait(20);
        loop_.dispatch();
      }
    });
  }
  ~Acceptor() {
    stopping_ = true;
    thread_.join();
  }

  std::atomic<int> count{0};
  std::atomic<bool> started{false};

 private:
  Loop loop_;
  std::optional<Listener> listener_;
  std::vector<base::UniqueFd> clients_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

TEST(Listener, a_shared_socket_spreads_its_connections) {
  sockaddr_un at{};
  socklen_t size = 0;
  const base::UniqueFd fd = listen_somewhere(&at, &size);
  std::array<Acceptor, 3> acceptors{Acceptor(fd.get()), Acceptor(fd.get()), Acceptor(fd.get())};
  for (const Acceptor& one : acceptors) {
    while (!one.started) std::this_thread::yield();
  }
  constexpr int kClients = 60;
  std::vector<base::UniqueFd> clients;
  for (int count = 0; count < kClients; ++count) {
    clients.push_back(connect_to(at, size));
    char mark = 0;
    ASSERT_EQ(::read(clients.back().get(), &mark, 1), 1);  // it was taken
  }
  int all = 0;
  for (const Acceptor& one : acceptors) {
    EXPECT_LT(one.count, kClients * 9 / 10);  // how many exactly, the scheduler decides
    all += one.count;
  }
  EXPECT_EQ(all, kClients);
}

TEST(Listener, a_burst_at_a_shared_socket_is_taken_to_the_last_connection) {
  sockaddr_un at{};
  socklen_t size = 0;
  const base::UniqueFd fd = listen_somewhere(&at, &size);
  std::vector<base::UniqueFd> clients;
  for (int count = 0; count < 50; ++count) clients.push_back(connect_to(at, size));
  const Acceptor late(fd.get());  // these were there before anybody listened for them
  for (const base::UniqueFd& client : clients) {
    char mark = 0;
    EXPECT_EQ(::read(client.get(), &mark, 1), 1);
  }
  EXPECT_EQ(late.count, 50);
}

}  // namespace
}  // namespace pyserver::gateway
