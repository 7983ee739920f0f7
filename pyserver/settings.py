"""The server's own options: one frozen record, handed from the command line to every role as JSON.

Each field is the flag of the same name (`http_port` is `--http-port`); its default stands here and
nowhere else. What a flag means, and which of Triton's flags have no effect here, is in
pyserver/cli/flags.py. Ports are TCP ports, `_secs` seconds, `_ms` milliseconds, `_byte_size` bytes.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

# (name before the comma or "", key, value), as in --backend-config=onnxruntime,threads=2
NamedSetting = tuple[str, str, str]


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0))


def usable_memory_byte_size() -> int:
    """The machine's memory, or the container's limit where that is lower."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit_file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = Path(limit_file).read_text().strip()
        except OSError:
            continue
        if limit.isdigit():
            total = min(total, int(limit))
    return total


def _default_frontend_workers() -> int:
    return min(4, max(1, usable_cores() // 2))


def _default_region_byte_size() -> int:
    return usable_memory_byte_size() // 4


def _default_on_demand_memory_limit() -> int:
    return usable_memory_byte_size() // 10 * 7


# In the environment of an instance process that takes the place of one that died.
URGENT = "PYSERVER_URGENT"

_TLS_FIELDS = ("use_ssl", "use_ssl_mutual", "server_cert", "server_key", "root_cert")


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files. `root` is of the certificates that clients must show; "" asks for none."""

    certificate: str
    key: str
    root: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every option; see the module's docstring."""

    # Server
    id: str = "triton"
    exit_timeout_secs: int = 30
    frontend_workers: int = field(default_factory=_default_frontend_workers)
    region_byte_size: int = field(default_factory=_default_region_byte_size)
    busy_poll: bool = True

    # Model repository
    model_repository: tuple[str, ...] = ()
    exit_on_error: bool = True
    disable_auto_complete_config: bool = False
    strict_readiness: bool = True
    model_control_mode: str = "none"
    repository_poll_secs: int = 15
    load_model: tuple[str, ...] = ()
    on_demand_keep_alive_secs: int = 300  # 0: for ever
    on_demand_memory_limit_byte_size: int = field(default_factory=_default_on_demand_memory_limit)
    on_demand_load_timeout_secs: int = 120
    model_config_name: str = ""
    model_load_thread_count: int = 4
    model_load_retry_count: int = 0
    load_timeout_secs: float = 0.0  # 0: for ever
    execute_timeout_secs: float = 0.0  # 0: for ever
    model_namespacing: bool = False
    enable_peer_access: bool = True

    # HTTP
    allow_http: bool = True
    http_address: str = "0.0.0.0"
    http_port: int = 8000
    reuse_http_port: bool = False
    http_header_forward_pattern: str = ""
    http_thread_count: int = 8
    http_max_input_size: int = 64 << 20
    http_restricted_api: tuple[NamedSetting, ...] = ()
    http_idle_timeout_secs: float = 600.0
    http_header_timeout_secs: float = 30.0
    http_body_timeout_secs: float = 60.0
    http_max_header_size: int = 64 << 10
    http_use_ssl: bool = False
    http_use_ssl_mutual: bool = False
    http_server_cert: str = ""
    http_server_key: str = ""
    http_root_cert: str = ""

    # gRPC
    allow_grpc: bool = True
    grpc_address: str = "0.0.0.0"
    grpc_port: int = 8001
    reuse_grpc_port: bool = False
    grpc_header_forward_pattern: str = ""
    grpc_infer_thread_count: int = 2
    grpc_infer_allocation_pool_size: int = 8
    grpc_max_response_pool_size: int = 2**31 - 1
    grpc_use_ssl: bool = False
    grpc_use_ssl_mutual: bool = False
    grpc_server_cert: str = ""
    grpc_server_key: str = ""
    grpc_root_cert: str = ""
    grpc_infer_response_compression_level: str = "none"
    grpc_keepalive_time: int = 7_200_000
    grpc_keepalive_timeout: int = 20_000
    grpc_keepalive_permit_without_calls: bool = False
    grpc_http2_max_pings_without_data: int = 2
    grpc_http2_min_recv_ping_interval_without_data: int = 300_000
    grpc_http2_max_ping_strikes: int = 2
    grpc_max_connection_age: int = 0
    grpc_max_connection_age_grace: int = 0
    grpc_restricted_protocol: tuple[NamedSetting, ...] = ()

    # Logging
    log_verbose: int = 0
    log_info: bool = True
    log_warning: bool = True
    log_error: bool = True
    log_format: str = "default"
    log_file: str = ""

    # Cloud frontends
    allow_sagemaker: bool = False
    sagemaker_port: int = 8080
    sagemaker_safe_port_range: str = ""
    sagemaker_thread_count: int = 8
    allow_vertex_ai: bool = False
    vertex_ai_port: int = 8080
    vertex_ai_thread_count: int = 8
    vertex_ai_default_model: str = ""

    # Metrics
    allow_metrics: bool = True
    allow_gpu_metrics: bool = True
    allow_cpu_metrics: bool = True
    metrics_address: str = ""  # empty: the HTTP address
    metrics_port: int = 8002
    metrics_interval_ms: int = 2000
    metrics_config: tuple[NamedSetting, ...] = ()

    # Tracing
    trace_config: tuple[NamedSetting, ...] = ()

    # Cache
    cache_config: tuple[NamedSetting, ...] = ()
    cache_directory: str = "/opt/tritonserver/caches"

    # Rate limiter
    rate_limit: str = "off"
    rate_limit_resource: tuple[str, ...] = ()

    # Memory and devices
    pinned_memory_pool_byte_size: int = 256 << 20
    cuda_memory_pool_byte_size: tuple[str, ...] = ()
    cuda_virtual_address_size: tuple[str, ...] = ()
    min_supported_compute_capability: float = 0.0
    buffer_manager_thread_count: int = 0
    host_policy: tuple[NamedSetting, ...] = ()
    model_load_gpu_limit: tuple[str, ...] = ()
    allow_client_shm: bool = False

    # Backends and agents
    backend_directory: str = "/opt/tritonserver/backends"
    backend_config: tuple[NamedSetting, ...] = ()
    repoagent_directory: str = "/opt/tritonserver/repoagents"

    def tls(self, protocol: str) -> TlsFiles | None:
        """How the listeners of "http" or "grpc" speak TLS; None when they do not.

        Asking for clients' certificates is asking for TLS, as in Triton.
        """
        own = {name: getattr(self, f"{protocol}_{name}") for name in _TLS_FIELDS}
        if not (own["use_ssl"] or own["use_ssl_mutual"]):
            return None
        return TlsFiles(
            certificate=own["server_cert"],
            key=own["server_key"],
            root=own["root_cert"] if own["use_ssl_mutual"] else "",
        )

    @property
    def loads_when_asked(self) -> bool:
        """Whether clients may load and unload models."""
        return self.model_control_mode in ("explicit", "on-demand")

    def backend_settings(self, backend: str) -> dict[str, str]:
        """What --backend-config says for one backend, over what it says for all of them."""
        merged = {key: value for name, key, value in self.backend_config if not name}
        merged |= {key: value for name, key, value in self.backend_config if name == backend}
        return merged

    def shared_array_byte_size(self) -> int:
        """The most that constants shared by Python models may take, all together; ValueError where
        the setting is no number.
        """
        given = self.backend_settings("python").get("shared-array-byte-size")
        if given is None:
            return usable_memory_byte_size() // 4
        if not given.isdecimal():
            raise ValueError(
                "--backend-config=python,shared-array-byte-size is a number of bytes, not"
                f" '{given}'"
            )
        return int(given)

    def rate_limits(self) -> list[tuple[str, int, int | None]] | None:
        """How much there is of each resource, and on which device; None without a rate limiter."""
        if self.rate_limit == "off":
            return None
        limits: list[tuple[str, int, int | None]] = []
        for text in self.rate_limit_resource:
            name, count, *device = text.split(":")
            limits.append((name, int(count), int(device[0]) if device else None))
        return limits

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold, for `from_dict` on the other side."""
        return asdict(self)

    @classmethod
    def from_dict(cls, members: Any) -> Settings:
        """The settings that `to_dict` gave; ValueError when these are none."""
        known = {one.name for one in fields(cls)}
        if not isinstance(members, dict) or members.keys() - known:
            raise ValueError("these are not the members of pyserver's settings")
        return cls(**{name: _frozen(value) for name, value in members.items()})

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The settings that `to_json` wrote; ValueError when the text is no such thing."""
        return cls.from_dict(json.loads(text))


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value
