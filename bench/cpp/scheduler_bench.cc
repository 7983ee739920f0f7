// What the engine alone costs: CPU time of its thread for each request that it takes in, batches, hands to an instance and answers.
//
//   scheduler_bench POLICY MODELS SEQUENCES REQUESTS      prints: nanoseconds per request, requests per batch
//
// Peers are the other ends of real rings in this process; what they do is not measured. One frontend asks in rounds of kRound
// requests, spread over all models (and, where there are any, over all live sequences, each request one step of one of them).
#include <ctime>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace {

using namespace pyserver;
using namespace pyserver::engine;

constexpr uint64_t kRound = 512;
constexpr uint64_t kTableBytes = 128;  // room for a request's table without tensors
constexpr uint32_t kMaxBatchSize = 32;

void must(const base::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(1);
}

uint64_t thread_cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

// A peer's own side.
struct OtherEnd {
  shm::ChannelEnd end;
  shm::Mapping region;
  Peer* peer = nullptr;

  template <typename T>
  void send(const T& message) {
    end.send(shm::pack(message));
  }
};

class Bench {
 public:
  Bench(const std::string& policy, uint32_t models, uint32_t sequences)
      : models_(models), sequences_(sequences) {
    shm::Mapping own;
    base::UniqueFd fd;
    must(shm::make_memfd("core", 1 << 24, &fd));
    must(shm::Mapping::map(fd.get(), true, &own));
    engine_ = std::make_unique<Engine>(std::move(own), 1 << 24);
    const uint64_t tables = uint64_t{sequences == 0 ? 1 : sequences} * kTableBytes;
    frontend_ = join(PeerKind::kFrontend, std::max<uint64_t>(tables, 1 << 16));
    for (uint32_t model = 0; model < models; ++model) {
      ModelSettings settings;
      settings.name = "m" + std::to_string(model);
      settings.policy = policy;
      settings.queue.max_batch_size = kMaxBatchSize;
      settings.queue.max_candidate_sequences = (sequences + models - 1) / models;
      settings.queue.max_sequence_idle_us = 3'600'000'000;
      must(engine_->add_model(model + 1, settings));
      instances_.push_back(join(PeerKind::kInstance, 1 << 16));
      must(engine_->add_instance(model + 1, instances_.back()->peer->id, now_ns_));
    }
    write_tables();
  }

  void run(uint64_t requests) {
    if (sequences_ > 0) ask(sequences_, shm::kSequenceStart);
    cpu_ns_ = batches_ = 0;
    ask(requests, 0);
    std::printf("%.1f %.1f\n", static_cast<double>(cpu_ns_) / static_cast<double>(requests),
                static_cast<double>(requests) / static_cast<double>(batches_));
  }

 private:
  std::unique_ptr<OtherEnd> join(PeerKind kind, uint64_t region_bytes) {
    auto made = std::make_unique<OtherEnd>();
    const uint32_t id = ++last_peer_;
    shm::ChannelFds fds;
    must(shm::ChannelFds::make(id, region_bytes, false, &fds));
    shm::ChannelEnd core_end;
    must(shm::ChannelEnd::open(fds, shm::Side::kCore, &core_end));
    must(shm::ChannelEnd::open(fds, shm::Side::kPeer, &made->end));
    base::UniqueFd fd;
    must(shm::make_memfd("peer", region_bytes, &fd));
    must(shm::Mapping::map(fd.get(), true, &made->region));
    shm::Mapping seen;
    must(shm::Mapping::map(fd.get(), false, &seen));
    made->peer = engine_->add_peer(id, kind, std::move(core_end), std::move(seen));
    return made;
  }

  void write_tables() {
    shm::RequestBuilder table;
    for (uint32_t index = 0; index < std::max(1u, sequences_); ++index) {
      table.clear();
      table.header.correlation_id = index + 1;
      const auto bytes = table.finish();
      std::memcpy(frontend_->region.data() + index * kTableBytes, bytes.data(), bytes.size());
      table_bytes_ = static_cast<uint32_t>(bytes.size());
    }
  }

  void ask(uint64_t requests, uint8_t flags) {
    uint64_t asked = 0;
    uint64_t answered = 0;
    while (answered < requests) {
      const uint64_t round = std::min(kRound, requests - asked);
      for (uint64_t count = 0; count < round; ++count) submit(asked + count, flags);
      asked += round;
      frontend_->end.flush();
      turn(frontend_->peer, nullptr);
      while (answered < asked) {
        execute();
        turn(nullptr, &touched_);
        answered += take_replies();
      }
    }
  }

  void submit(uint64_t number, uint8_t flags) {
    shm::Submit record;
    record.flags = flags;
    const uint64_t sequence = sequences_ == 0 ? 0 : number % sequences_;
    // A whole batch for each model in turn: what is compared is models, not sizes of batches.
    const uint64_t model = sequences_ == 0 ? number / kMaxBatchSize : sequence;
    record.model = static_cast<uint32_t>(model % models_) + 1;
    record.ticket = ++ticket_;
    record.table_offset = sequence * kTableBytes;
    record.table_bytes = table_bytes_;
    record.batch_size = 1;
    frontend_->send(record);
  }

  // The engine's turn, as Runner has it: only those who talk are asked.
  void turn(Peer* peer, const std::vector<Peer*>* peers) {
    now_ns_ += 1000;
    const uint64_t begin = thread_cpu_ns();
    if (peer != nullptr) engine_->poll(peer, 2 * kRound, now_ns_);
    if (peers != nullptr) {
      for (Peer* one : *peers) engine_->poll(one, 2 * kRound, now_ns_);
    }
    engine_->dispatch(now_ns_);
    engine_->flush();
    cpu_ns_ += thread_cpu_ns() - begin;
  }

  void execute() {
    touched_.clear();
    for (const auto& instance : instances_) {
      shm::Record record;
      uint64_t batch = 0;
      while (instance->end.try_take(&record)) {
        if (record.kind == shm::Kind::kBatch) {
          batch = shm::unpack<shm::BatchHead>(record).batch;
        } else if (record.kind == shm::Kind::kExecute) {
          shm::Response response;
          response.flags = shm::kFinal | shm::kReleasedFlag;
          response.ticket = shm::unpack<shm::Execute>(record).ticket;
          response.table_bytes = 16;
          instance->send(response);
        }
      }
      instance->end.commit();
      if (batch == 0) continue;
      shm::BatchDone done;
      done.batch = batch;
      instance->send(done);
      instance->end.flush();
      touched_.push_back(instance->peer);
      ++batches_;
    }
  }

  uint64_t take_replies() {
    uint64_t taken = 0;
    shm::Record record;
    while (frontend_->end.try_take(&record)) {
      if (record.kind != shm::Kind::kReply) continue;
      const auto reply = shm::unpack<shm::Reply>(record);
      if ((reply.flags & shm::kError) != 0) {
        std::fprintf(stderr, "a request was refused\n");
        std::exit(1);
      }
      shm::Return back;
      back.lease = reply.lease;
      frontend_->send(back);
      ++taken;
    }
    frontend_->end.commit();
    frontend_->end.flush();
    turn(frontend_->peer, nullptr);
    return taken;
  }

  const uint32_t models_;
  const uint32_t sequences_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<OtherEnd> frontend_;
  std::vector<std::unique_ptr<OtherEnd>> instances_;
  std::vector<Peer*> touched_;
  uint32_t last_peer_ = 0;
  uint32_t table_bytes_ = 0;
  uint64_t ticket_ = 0;
  uint64_t now_ns_ = 1'000'000;
  uint64_t cpu_ns_ = 0;
  uint64_t batches_ = 0;
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) {
    std::fprintf(stderr, "usage: scheduler_bench POLICY MODELS SEQUENCES REQUESTS\n");
    return 2;
  }
  const auto number = [&](int index) { return std::strtoull(arguments[index], nullptr, 10); };
  Bench bench(arguments[1], static_cast<uint32_t>(number(2)), static_cast<uint32_t>(number(3)));
  bench.run(number(4));
  return 0;
}
