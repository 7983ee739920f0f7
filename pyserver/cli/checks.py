"""Rules that concern more than one flag; each returns what is wrong, or nothing.

The texts are written for the person at the terminal: what came, what was wanted, what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from itertools import combinations

from pyserver.cache_settings import cache_settings
from pyserver.repository.storage_url import is_storage_url, parse_storage_url
from pyserver.settings import Settings
from pyserver.supervisor.listen import ListenError
from pyserver.supervisor.unix_socket import is_unix, socket_name

# What a rule sees: the settings so far, and the names of the flags that were given.
Rule = Callable[[Settings, Set[str]], str | None]

_TRACE_FLAGS = ("trace-file", "trace-level", "trace-rate", "trace-count", "trace-log-frequency")


def _needs_a_repository(settings: Settings, given: Set[str]) -> str | None:
    if settings.model_repository:
        return None
    return "no model repository was given; name one with --model-repository=<folder>"


def _storage_urls_are_whole(settings: Settings, given: Set[str]) -> str | None:
    try:
        for one in filter(is_storage_url, settings.model_repository):
            parse_storage_url(one)
    except ValueError as bad:
        return str(bad)
    return None


def _load_model_needs_explicit(settings: Settings, given: Set[str]) -> str | None:
    if not settings.load_model or settings.loads_when_asked:
        return None
    return "--load-model needs --model-control-mode=explicit or on-demand"


def _on_demand_flags_need_the_mode(settings: Settings, given: Set[str]) -> str | None:
    if settings.model_control_mode == "on-demand":
        return None
    for name in sorted(given):
        if name.startswith("on-demand-"):
            return f"--{name} needs --model-control-mode=on-demand"
    return None


def _on_demand_names_are_unique(settings: Settings, given: Set[str]) -> str | None:
    if settings.model_control_mode != "on-demand" or not settings.model_namespacing:
        return None
    return "--model-namespacing and --model-control-mode=on-demand cannot be given together"


def _star_stands_alone(settings: Settings, given: Set[str]) -> str | None:
    if "*" in settings.load_model and set(settings.load_model) != {"*"}:
        return "--load-model=* loads every model and cannot be given with other names"
    return None


def _one_response_cache(settings: Settings, given: Set[str]) -> str | None:
    if {"response-cache-byte-size", "cache-config"} <= given:
        return "--response-cache-byte-size and --cache-config cannot be given together"
    try:
        cache_settings(settings.cache_config)
    except ValueError as bad:
        return f"--cache-config {bad}"
    return None


def _shared_arrays_have_a_size(settings: Settings, given: Set[str]) -> str | None:
    try:
        settings.shared_array_byte_size()
    except ValueError as bad:
        return str(bad)
    return None


def _old_or_new_trace_flags(settings: Settings, given: Set[str]) -> str | None:
    old = [name for name in _TRACE_FLAGS if name in given]
    if old and "trace-config" in given:
        return f"--{old[0]} and --trace-config cannot be given together"
    return None


def _endpoints(settings: Settings) -> list[tuple[str, str, int]]:
    """(flag of the port, address, port) of every endpoint that is switched on."""
    http = settings.http_address
    every = [
        (settings.allow_http, "--http-port", http, settings.http_port),
        (settings.allow_grpc, "--grpc-port", settings.grpc_address, settings.grpc_port),
        (
            settings.allow_metrics,
            "--metrics-port",
            settings.metrics_address or http,
            settings.metrics_port,
        ),
        (settings.allow_sagemaker, "--sagemaker-port", http, settings.sagemaker_port),
        (settings.allow_vertex_ai, "--vertex-ai-port", http, settings.vertex_ai_port),
    ]
    return [(flag, address, port) for allowed, flag, address, port in every if allowed]


def _ports_differ(settings: Settings, given: Set[str]) -> str | None:
    for (flag, address, port), (other, its_address, its_port) in combinations(
        _endpoints(settings), 2
    ):
        if is_unix(address):
            continue  # its port means nothing
        if address == its_address and port == its_port and port != 0:
            return f"{flag} and {other} are both {port} at {address}; give them different ports"
    return None


def _sockets_differ(settings: Settings, given: Set[str]) -> str | None:
    http, grpc = settings.http_address, settings.grpc_address
    if not (settings.allow_http and settings.allow_grpc and is_unix(http) and is_unix(grpc)):
        return None
    try:
        same = socket_name(http) == socket_name(grpc)
    except ListenError as bad:
        return str(bad)
    return (
        f"--http-address and --grpc-address are both {http}; give them two names" if same else None
    )


def _something_listens(settings: Settings, given: Set[str]) -> str | None:
    if settings.allow_http or settings.allow_grpc:
        return None
    return "--allow-http=false and --allow-grpc=false leave the server without an endpoint"


def _restrictions_fit_the_api(settings: Settings, given: Set[str]) -> str | None:
    flags = {
        "--http-restricted-api": settings.http_restricted_api,
        "--grpc-restricted-protocol": settings.grpc_restricted_protocol,
    }
    if not any(flags.values()):
        return None
    # The supervisor has no other use for the native module, which takes its share of memory.
    from pyserver._core import API_CATEGORIES

    for flag, rows in flags.items():
        named: set[str] = set()
        for category in (one for categories, _, _ in rows for one in categories.split(",")):
            if category not in API_CATEGORIES:
                every = ", ".join(API_CATEGORIES)
                return f"{flag}: there is no API named '{category}'; there are {every}"
            if category in named:
                return f"{flag} names '{category}' more than once; an API can ask for one header"
            named.add(category)
    return None


def _tls_is_complete(settings: Settings, given: Set[str]) -> str | None:
    for protocol in ("http", "grpc"):
        files = settings.tls(protocol)
        if files is None:
            continue
        wanted = {"server-cert": files.certificate, "server-key": files.key}
        if getattr(settings, f"{protocol}_use_ssl_mutual"):
            wanted["root-cert"] = files.root
        for name, path in wanted.items():
            if not path:
                return f"TLS for {protocol} needs --{protocol}-{name}=<PEM file>"
    return None


RULES: tuple[Rule, ...] = (
    _needs_a_repository,
    _storage_urls_are_whole,
    _load_model_needs_explicit,
    _on_demand_flags_need_the_mode,
    _on_demand_names_are_unique,
    _star_stands_alone,
    _one_response_cache,
    _shared_arrays_have_a_size,
    _old_or_new_trace_flags,
    _restrictions_fit_the_api,
    _ports_differ,
    _sockets_differ,
    _something_listens,
    _tls_is_complete,
)


def first_fault(settings: Settings, given: Set[str]) -> str | None:
    """The first rule that is broken, in words; None when all hold."""
    for rule in RULES:
        fault = rule(settings, given)
        if fault is not None:
            return fault
    return None
