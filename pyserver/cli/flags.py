"""The table of all flags, from which parsing, --help and "did you mean" are made.

The name, the kind of value and the help stand here; the default stands in pyserver.settings.
`unused` says why one of Triton's flags has no effect here yet: it is accepted, and giving it logs
one warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from pyserver.cli import values as v
from pyserver.settings import Settings

_ADDRESS = "address to listen at, or unix:<path> for a Unix-domain socket, which has no port"
_GRPC = "this version's gRPC frontend has no such setting"
_CLOUD = "the SageMaker and Vertex AI frontends are not part of this version"
_METRICS = "the metrics endpoint is not part of this version"
_TRACE = "tracing is not part of this version"
_CLIENT_SHM = "client shared memory is not part of this version"
_THREADS = "a frontend is a process with one event loop; see --frontend-workers"
_MEMORY = "memory is taken from regions; see --region-byte-size"
_GPU = "GPU memory is left to the backend's own runtime"
_SHARED_LIBRARIES = "backends are Python packages here, not shared libraries"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. `field` is the member of Settings it sets; "" for those that parsing handles."""

    name: str
    kind: v.Kind
    help: str
    repeats: bool = False
    unused: str = ""
    alias_of: str = ""
    deprecated: str = ""

    @property
    def field(self) -> str:
        """The member of Settings that the flag sets."""
        return (self.alias_of or self.name).replace("-", "_")


GROUPS: dict[str, tuple[Flag, ...]] = {
    "Server": (
        Flag("id", v.TEXT, "the server's name in its metadata"),
        Flag("exit-timeout-secs", v.COUNT, "time for requests in flight to finish at shutdown"),
        Flag("frontend-workers", v.whole(1, 256), "processes that answer clients"),
        Flag(
            "region-byte-size",
            v.whole(1 << 20, form="<bytes>"),
            "most shared memory that one process may hold tensors in; used pages only are taken",
        ),
        Flag(
            "busy-poll",
            v.BOOLEAN,
            "processes that run dry look on before they sleep, for as long as a wake-up takes and"
            " while that pays",
        ),
    ),
    "Model repository": (
        Flag("model-repository", v.TEXT, "folder of models", repeats=True),
        Flag(
            "model-store",
            v.TEXT,
            "the same as --model-repository",
            repeats=True,
            alias_of="model-repository",
        ),
        Flag("exit-on-error", v.BOOLEAN, "exit when a model fails to load at start"),
        Flag("disable-auto-complete-config", v.SWITCH, "backends may not complete model configs"),
        Flag("strict-readiness", v.BOOLEAN, "the server is ready only when all its models are"),
        Flag(
            "model-control-mode",
            v.choice("none", "poll", "explicit", "on-demand"),
            "none: load every model at start; poll: follow changes of the repository; explicit:"
            " load what --load-model names and what clients ask for; on-demand: likewise, and each"
            " other model with the first request for it",
        ),
        Flag("repository-poll-secs", v.POSITIVE, "time between two looks, with poll"),
        Flag(
            "load-model",
            v.TEXT,
            "model to load at start, with explicit or on-demand, where it then stays loaded; * for"
            " all of them",
            repeats=True,
        ),
        Flag(
            "on-demand-keep-alive-secs",
            v.COUNT,
            "with on-demand, how long a model stays loaded without a request; 0 for ever",
        ),
        Flag(
            "on-demand-memory-limit-byte-size",
            v.BYTES,
            "with on-demand, what the processes of all models may hold before the least recently"
            " used ones are unloaded; 0 for no limit; 70 % of the machine's memory by default",
        ),
        Flag(
            "on-demand-load-timeout-secs",
            v.POSITIVE,
            "with on-demand, how long a request waits for its model to be loaded",
        ),
        Flag(
            "model-config-name",
            v.CONFIG_NAME,
            "use configs/<name>.pbtxt of a model instead of its config.pbtxt, where it exists",
        ),
        Flag("model-load-thread-count", v.POSITIVE, "models that load at the same time"),
        Flag("model-load-retry-count", v.COUNT, "attempts to load a model after the first"),
        Flag("load-timeout-secs", v.LIMIT, "longest time for a model to load; 0 for ever"),
        Flag(
            "execute-timeout-secs",
            v.LIMIT,
            "longest time of one execute, after which the instance is ended and started again; 0"
            " for ever",
        ),
        Flag(
            "model-namespacing",
            v.BOOLEAN,
            "models of equal name in different repositories are different models; ensembles mean"
            " those of their own repository first",
        ),
        Flag("enable-peer-access", v.BOOLEAN, "CUDA access between GPUs", unused=_GPU),
    ),
    "HTTP": (
        Flag("allow-http", v.BOOLEAN, "listen for HTTP"),
        Flag("http-address", v.TEXT, _ADDRESS),
        Flag("http-port", v.PORT, "port to listen at; 0 picks a free one"),
        Flag("reuse-http-port", v.BOOLEAN, "allow other servers to listen at the same port"),
        Flag(
            "http-header-forward-pattern",
            v.PATTERN,
            "request headers that become parameters of the inference request",
            unused="headers are not forwarded in this version",
        ),
        Flag("http-thread-count", v.POSITIVE, "threads of the frontend", unused=_THREADS),
        Flag("http-max-input-size", v.POSITIVE, "most bytes of a request's body"),
        Flag(
            "http-restricted-api",
            v.RESTRICTED,
            "endpoints that need a header",
            repeats=True,
        ),
        Flag("http-idle-timeout-secs", v.SECONDS, "time before an idle connection is closed"),
        Flag("http-header-timeout-secs", v.SECONDS, "time for a request's headers to arrive"),
        Flag("http-body-timeout-secs", v.SECONDS, "longest pause within a request's body"),
        Flag("http-max-header-size", v.whole(1024), "most bytes of a request's line and headers"),
        Flag("http-use-ssl", v.BOOLEAN, "use TLS"),
        Flag("http-use-ssl-mutual", v.BOOLEAN, "use TLS and ask for clients' certificates"),
        Flag("http-server-cert", v.TEXT, "PEM file with the server's certificate"),
        Flag("http-server-key", v.TEXT, "PEM file with the server's key"),
        Flag("http-root-cert", v.TEXT, "PEM file with the root of clients' certificates"),
    ),
    "gRPC": (
        Flag("allow-grpc", v.BOOLEAN, "listen for gRPC"),
        Flag("grpc-address", v.TEXT, _ADDRESS),
        Flag("grpc-port", v.PORT, "port to listen at"),
        Flag("reuse-grpc-port", v.BOOLEAN, "allow other servers at the same port"),
        Flag("grpc-header-forward-pattern", v.PATTERN, "metadata to forward", unused=_GRPC),
        Flag(
            "grpc-infer-thread-count",
            v.whole(2, 128),
            "threads that handle inference",
            unused=_GRPC,
        ),
        Flag("grpc-infer-allocation-pool-size", v.COUNT, "states kept for reuse", unused=_GRPC),
        Flag(
            "grpc-max-response-pool-size",
            v.POSITIVE,
            "most responses of a decoupled request that its client has not taken; at most 8192",
        ),
        Flag("grpc-use-ssl", v.BOOLEAN, "use TLS"),
        Flag("grpc-use-ssl-mutual", v.BOOLEAN, "use TLS and ask for clients' certificates"),
        Flag("grpc-server-cert", v.TEXT, "PEM file with the server's certificate"),
        Flag("grpc-server-key", v.TEXT, "PEM file with the server's key"),
        Flag("grpc-root-cert", v.TEXT, "PEM file with the root of clients' certificates"),
        Flag(
            "grpc-infer-response-compression-level",
            v.choice("none", "low", "medium", "high"),
            "compression of the responses to inference",
        ),
        Flag("grpc-keepalive-time", v.COUNT, "ms between keep-alive pings"),
        Flag("grpc-keepalive-timeout", v.COUNT, "ms to wait for a ping's answer"),
        Flag(
            "grpc-keepalive-permit-without-calls",
            v.BOOLEAN,
            "ping without calls in progress",
        ),
        Flag("grpc-http2-max-pings-without-data", v.COUNT, "pings without data", unused=_GRPC),
        Flag(
            "grpc-http2-min-recv-ping-interval-without-data",
            v.COUNT,
            "ms between a client's pings",
        ),
        Flag("grpc-http2-max-ping-strikes", v.COUNT, "bad pings before a close"),
        Flag("grpc-max-connection-age", v.COUNT, "ms a connection may live"),
        Flag("grpc-max-connection-age-grace", v.COUNT, "ms more for calls"),
        Flag(
            "grpc-restricted-protocol",
            v.RESTRICTED,
            "protocols that need metadata",
            repeats=True,
        ),
    ),
    "Logging": (
        Flag("log-verbose", v.VERBOSE, "level of verbose messages; 0 for none"),
        Flag("log-info", v.BOOLEAN, "log information"),
        Flag("log-warning", v.BOOLEAN, "log warnings"),
        Flag("log-error", v.BOOLEAN, "log errors"),
        Flag("log-format", v.choice("default", "ISO8601"), "how a line of the log begins"),
        Flag("log-file", v.TEXT, "append to this file instead of stdout and stderr"),
    ),
    "Cloud frontends": (
        Flag("allow-sagemaker", v.BOOLEAN, "listen for SageMaker", unused=_CLOUD),
        Flag("sagemaker-port", v.PORT, "port to listen at", unused=_CLOUD),
        Flag(
            "sagemaker-safe-port-range",
            v.shaped("<low>-<high>", "[0-9]+-[0-9]+"),
            "ports that SageMaker allows",
            unused=_CLOUD,
        ),
        Flag("sagemaker-thread-count", v.POSITIVE, "threads of the frontend", unused=_CLOUD),
        Flag("allow-vertex-ai", v.BOOLEAN, "listen for Vertex AI", unused=_CLOUD),
        Flag("vertex-ai-port", v.PORT, "port to listen at", unused=_CLOUD),
        Flag("vertex-ai-thread-count", v.POSITIVE, "threads of the frontend", unused=_CLOUD),
        Flag("vertex-ai-default-model", v.TEXT, "model for plain requests", unused=_CLOUD),
    ),
    "Metrics": (
        Flag("allow-metrics", v.BOOLEAN, "serve metrics", unused=_METRICS),
        Flag("allow-gpu-metrics", v.BOOLEAN, "with those of the GPUs", unused=_METRICS),
        Flag("allow-cpu-metrics", v.BOOLEAN, "with those of the CPU", unused=_METRICS),
        Flag("metrics-address", v.TEXT, "address; empty for HTTP's", unused=_METRICS),
        Flag("metrics-port", v.PORT, "port to listen at", unused=_METRICS),
        Flag("metrics-interval-ms", v.POSITIVE, "time between two readings", unused=_METRICS),
        Flag("metrics-config", v.NAMED, "a setting of metrics", repeats=True, unused=_METRICS),
    ),
    "Tracing": (
        Flag("trace-config", v.NAMED, "a setting of tracing", repeats=True, unused=_TRACE),
    ),
    "Response cache": (
        Flag(
            "cache-config",
            v.NAMED,
            "local,size=<bytes>, or redis,host=<host> and more",
            repeats=True,
        ),
        Flag(
            "cache-directory", v.TEXT, "folder of cache implementations", unused=_SHARED_LIBRARIES
        ),
    ),
    "Rate limiter": (
        Flag(
            "rate-limit",
            v.choice("off", "execution_count"),
            "execution_count: instances execute when the resources that their rate_limiter names"
            " are free, in turns by executions and priority; off: at once",
        ),
        Flag(
            "rate-limit-resource",
            v.RESOURCE,
            "how much there is of a resource, on every device or on one; with any of these there is"
            " nothing of what none names, else as much of each as the instance that needs most",
            repeats=True,
        ),
    ),
    "Memory and devices": (
        Flag("pinned-memory-pool-byte-size", v.BYTES, "pinned memory to keep", unused=_MEMORY),
        Flag(
            "cuda-memory-pool-byte-size",
            v.shaped("<gpu>:<bytes>", "[0-9]+:[0-9]+"),
            "GPU memory to keep",
            repeats=True,
            unused=_GPU,
        ),
        Flag(
            "cuda-virtual-address-size",
            v.shaped("<gpu>:<bytes>", "[0-9]+:[0-9]+"),
            "address space for state that grows",
            repeats=True,
            unused=_GPU,
        ),
        Flag(
            "min-supported-compute-capability",
            v.DECIMAL,
            "least CUDA compute capability",
            unused=_GPU,
        ),
        Flag(
            "buffer-manager-thread-count",
            v.COUNT,
            "threads that gather inputs",
            unused="each instance gathers its own inputs",
        ),
        Flag(
            "host-policy",
            v.NAMED,
            "cores and memory node of instances",
            repeats=True,
            unused="host policies are not part of this version",
        ),
        Flag(
            "model-load-gpu-limit",
            v.shaped("<gpu>:<fraction>", r"[0-9]+:(0(\.[0-9]+)?|1(\.0+)?)"),
            "share of a GPU's memory that models may take",
            repeats=True,
            unused=_GPU,
        ),
        Flag("allow-client-shm", v.BOOLEAN, "clients may register memory", unused=_CLIENT_SHM),
    ),
    "Backends and agents": (
        Flag("backend-directory", v.TEXT, "folder of backends", unused=_SHARED_LIBRARIES),
        Flag("backend-config", v.NAMED, "a setting of one backend, or of all", repeats=True),
        Flag("repoagent-directory", v.TEXT, "folder of repository agents, <name>/agent.py"),
    ),
    "Deprecated": (
        Flag(
            "strict-model-config",
            v.BOOLEAN,
            "the opposite of what backends may complete",
            deprecated="--disable-auto-complete-config",
        ),
        Flag(
            "response-cache-byte-size",
            v.BYTES,
            "the same as --cache-config=local,size=<bytes>",
            deprecated="--cache-config",
        ),
        Flag(
            "trace-file", v.TEXT, "see --trace-config", unused=_TRACE, deprecated="--trace-config"
        ),
        Flag(
            "trace-level",
            v.choice("OFF", "TIMESTAMPS", "TENSORS", "MIN", "MAX"),
            "see --trace-config",
            repeats=True,
            unused=_TRACE,
            deprecated="--trace-config",
        ),
        Flag(
            "trace-rate", v.COUNT, "see --trace-config", unused=_TRACE, deprecated="--trace-config"
        ),
        Flag(
            "trace-count",
            v.whole(-1),
            "see --trace-config",
            unused=_TRACE,
            deprecated="--trace-config",
        ),
        Flag(
            "trace-log-frequency",
            v.COUNT,
            "see --trace-config",
            unused=_TRACE,
            deprecated="--trace-config",
        ),
    ),
}


def all_flags() -> Iterator[Flag]:
    """Every flag, in the order of --help."""
    for flags in GROUPS.values():
        yield from flags


BY_NAME: dict[str, Flag] = {flag.name: flag for flag in all_flags()}
SETTINGS_FIELDS: frozenset[str] = frozenset(one.name for one in fields(Settings))
