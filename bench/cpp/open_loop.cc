// An open-loop load generator for HTTP/1.1 on 127.0.0.1, one thread, kept-alive connections.
//
// Requests begin at a fixed rate whatever the server does, and a latency counts from the moment at
// which its request was *intended* to begin. A closed loop (wrk, h2load) sends less while the
// server stalls, and so measures the stall once where users would have met it many times:
// coordinated omission. Generators with a rate (h2load --rps, perf_analyzer --request-rate-range)
// count from the actual send, which hides the time that a request waited for a connection. wrk2
// does what is wanted, but neither Debian nor PyPI has it; hence this one.
//
//   open_loop --port=8000 --request=FILE --rate=1000 --seconds=10 [--warmup=1] [--grace=10]
//             [--connections=64] [--arrivals=poisson|even] [--seed=1]
//
// FILE has the head and the body, as they are sent. One line of JSON comes out; times in us.
// bench/loads/open_loop.py builds it, runs it and says what each figure is.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "open_loop_generator.h"

namespace {

constexpr double kMostRequests = 1e8;
constexpr double kNsPerSecond = 1e9;

struct Flags {
  std::string request;
  double port = 0;
  double rate = 0;
  double seconds = 0;
  double warmup = 0;
  double grace = 10;
  double connections = 64;
  double seed = 1;
  bool even = false;
};

uint64_t ns(double seconds) { return static_cast<uint64_t>(std::llround(seconds * kNsPerSecond)); }

[[noreturn]] void refuse(const std::string& why) {
  std::fprintf(stderr, "open_loop: %s\n", why.c_str());
  std::exit(2);
}

double number(std::string_view name, std::string_view text, double least, double most) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || !(value >= least && value <= most)) {
    refuse("--" + std::string(name) + "=" + std::string(text) + " is not a number in its range");
  }
  return value;
}

Flags parse(int count, char** arguments) {
  Flags flags;
  for (int index = 1; index < count; ++index) {
    const std::string_view argument = arguments[index];
    const size_t equals = argument.find('=');
    if (argument.substr(0, 2) != "--" || equals == argument.npos) {
      refuse("flags are --name=value, not " + std::string(argument));
    }
    const std::string_view name = argument.substr(2, equals - 2);
    const std::string_view value = argument.substr(equals + 1);
    const auto in = [&](double least, double most) { return number(name, value, least, most); };
    if (name == "request") {
      flags.request = value;
    } else if (name == "arrivals") {
      if (value != "poisson" && value != "even") refuse("--arrivals is poisson or even");
      flags.even = value == "even";
    } else if (name == "port") {
      flags.port = in(1, 65535);
    } else if (name == "rate") {
      flags.rate = in(1e-3, 1e7);
    } else if (name == "seconds") {
      flags.seconds = in(1e-3, 1e5);
    } else if (name == "warmup") {
      flags.warmup = in(0, 1e5);
    } else if (name == "grace") {
      flags.grace = in(0, 1e5);
    } else if (name == "connections") {
      flags.connections = in(1, 60'000);
    } else if (name == "seed") {
      flags.seed = in(0, 1e9);
    } else {
      refuse("no flag --" + std::string(name));
    }
  }
  if (flags.request.empty() || flags.port == 0 || flags.rate == 0 || flags.seconds == 0) {
    refuse("--request, --port, --rate and --seconds are needed");
  }
  return flags;
}

// Of a Poisson process, whose gaps are exponential; or one every 1/rate seconds. The distribution
// is not the standard library's, since that may differ from one library to the next.
std::vector<uint64_t> offsets_ns(const Flags& flags, uint64_t end_ns) {
  const double expected = flags.rate * static_cast<double>(end_ns) / kNsPerSecond;
  if (expected > kMostRequests) refuse("more than 10^8 requests");
  std::vector<uint64_t> offsets;
  offsets.reserve(static_cast<size_t>(expected * 1.1) + 1);
  std::mt19937_64 random(static_cast<uint64_t>(flags.seed));
  const auto gap_s = [&] {
    const double below_one = static_cast<double>(random() >> 11) * 0x1p-53;
    return -std::log1p(-below_one) / flags.rate;
  };
  double at_s = flags.even ? 0 : gap_s();
  // Whole nanoseconds are compared: in seconds, 0.1 + 0.2 would have room for one more.
  while (ns(at_s) < end_ns) {
    offsets.push_back(ns(at_s));
    at_s = flags.even ? static_cast<double>(offsets.size()) / flags.rate : at_s + gap_s();
  }
  return offsets;
}

open_loop::Plan plan(const Flags& flags) {
  open_loop::Plan plan;
  plan.port = static_cast<uint16_t>(flags.port);
  plan.connections = static_cast<size_t>(flags.connections);
  std::ifstream file(flags.request, std::ios::binary);
  plan.request.assign(std::istreambuf_iterator<char>(file), {});
  if (!file || plan.request.empty()) refuse("cannot read " + flags.request);
  plan.begin_ns = ns(flags.warmup);
  plan.end_ns = plan.begin_ns + ns(flags.seconds);
  plan.grace_ns = ns(flags.grace);
  plan.offsets_ns = offsets_ns(flags, plan.end_ns);
  const auto first = std::ranges::lower_bound(plan.offsets_ns, plan.begin_ns);
  plan.first_counted = static_cast<size_t>(first - plan.offsets_ns.begin());
  if (plan.first_counted == plan.offsets_ns.size()) refuse("no request falls into --seconds");
  return plan;
}

// The smallest value that at least this part of all values does not exceed; microseconds.
double quantile_us(const std::vector<uint64_t>& sorted_ns, double part) {
  const double rank = std::ceil(part * static_cast<double>(sorted_ns.size()));
  const auto index = static_cast<size_t>(std::max(rank, 1.0)) - 1;
  return static_cast<double>(sorted_ns[std::min(index, sorted_ns.size() - 1)]) / 1e3;
}

void print_quantile(const char* name, const std::vector<uint64_t>& sorted_ns, double part) {
  if (sorted_ns.empty()) {
    std::printf(",\"%s_us\":null", name);
  } else {
    std::printf(",\"%s_us\":%.1f", name, quantile_us(sorted_ns, part));
  }
}

void print(open_loop::Tally& tally, uint64_t begin_ns, uint64_t end_ns) {
  std::ranges::sort(tally.latencies_ns);
  std::ranges::sort(tally.lateness_ns);
  // Answers that came after the last request began took that time too.
  const uint64_t duration_ns = std::max(end_ns, tally.last_answer_ns) - begin_ns;
  const double duration_s = static_cast<double>(duration_ns) / kNsPerSecond;
  const size_t scheduled = tally.latencies_ns.size();
  const double sum_ns = std::accumulate(tally.latencies_ns.begin(), tally.latencies_ns.end(), 0.0);
  std::printf("{\"scheduled\":%zu,\"answered\":%zu,\"refused\":%zu,\"failed\":%zu", scheduled,
              tally.answered, tally.refused, tally.failed);
  std::printf(",\"unanswered\":%zu,\"waited\":%zu", tally.unanswered, tally.waited);
  std::printf(",\"duration_us\":%.0f", static_cast<double>(duration_ns) / 1e3);
  std::printf(",\"per_second\":%.3f", static_cast<double>(tally.answered) / duration_s);
  std::printf(",\"cpu_us\":%.0f", static_cast<double>(tally.cpu_ns) / 1e3);
  std::printf(",\"mean_us\":%.1f", sum_ns / static_cast<double>(scheduled) / 1e3);
  print_quantile("p50", tally.latencies_ns, 0.5);
  print_quantile("p90", tally.latencies_ns, 0.9);
  print_quantile("p99", tally.latencies_ns, 0.99);
  print_quantile("p999", tally.latencies_ns, 0.999);
  print_quantile("max", tally.latencies_ns, 1);
  print_quantile("late_p50", tally.lateness_ns, 0.5);
  print_quantile("late_p99", tally.lateness_ns, 0.99);
  // The text is the generator's own or strerror's: nothing in it needs escaping.
  std::printf(",\"first_failure\":\"%s\"}\n", tally.first_failure.c_str());
}

}  // namespace

int main(int count, char** arguments) {
  const Flags flags = parse(count, arguments);
  open_loop::Plan made = plan(flags);
  const uint64_t begin_ns = made.begin_ns;
  const uint64_t end_ns = made.end_ns;
  open_loop::Generator generator(std::move(made));
  if (const std::string why = generator.connect_all(); !why.empty()) {
    std::fprintf(stderr, "open_loop: cannot connect to 127.0.0.1:%d: %s\n",
                 static_cast<int>(flags.port), why.c_str());
    return 1;
  }
  generator.run();
  print(generator.tally(), begin_ns, end_ns);
  return 0;
}
