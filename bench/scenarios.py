"""The scenarios, as one table. README.md beside this file says what each section is for."""

from __future__ import annotations

from bench.deployment import Deployment
from bench.loads.direct import Direct
from bench.loads.h2load import H2load
from bench.loads.open_loop import ShareOfCapacity
from bench.loads.perf_analyzer import PerfAnalyzer
from bench.loads.wrk import Wrk
from bench.measure import Scenario
from bench.workload import Wire, Workload

_BOTH = ("pyserver", "triton")
_OTHERS = ("mlserver", "litserve", "mosec")

_SMALL_HTTP = "Small tensors over HTTP"
_SMALL_GRPC = "Small tensors over gRPC"
_CLIENT = "Small tensors, by Triton's own client"
_LARGE = "Large tensors"
_JSON = "JSON and strings"
_REAL = "A real ONNX model"
_CACHE = "Response cache"
_STREAM = "Decoupled streaming"
_MANY = "Many models, many connections"
_STALLS = "Arrivals at a fixed rate"
_GROWTH = "Growth"


def _small() -> list[Scenario]:
    made = []
    for connections in (1, 16, 64, 256):
        made.append(
            Scenario(
                _SMALL_HTTP,
                f"http-small-{connections}",
                "native identity, binary",
                Workload("identity", Wire.BINARY),
                Wrk(connections),
                (*_BOTH, "nginx") if connections == 64 else _BOTH,
            )
        )
    for model in ("python_identity", "python_add"):
        for connections in (1, 64):
            made.append(
                Scenario(
                    _SMALL_HTTP,
                    f"http-{model}-{connections}".replace("_", "-"),
                    f"{model.replace('_', ' ').capitalize()}, binary",
                    Workload(model, Wire.BINARY),
                    Wrk(connections),
                )
            )
    for connections, streams in ((1, 1), (4, 4), (4, 16), (1, 64), (4, 64)):
        made.append(
            Scenario(
                _SMALL_GRPC,
                f"grpc-small-{connections}x{streams}",
                "native identity",
                Workload("identity", Wire.GRPC),
                H2load(connections, streams),
                (*_BOTH, "nghttpd") if streams == 16 else _BOTH,
            )
        )
    for connections, streams in ((1, 1), (4, 16)):
        made.append(
            Scenario(
                _SMALL_GRPC,
                f"grpc-python-identity-{connections}x{streams}",
                "Python identity",
                Workload("python_identity", Wire.GRPC),
                H2load(connections, streams),
            )
        )
    for how in ("http", "sync", "stream"):
        for model, title in (
            ("identity", "native identity"),
            ("python_identity", "Python identity"),
        ):
            made.append(
                Scenario(
                    _CLIENT,
                    f"client-{how}-{model}".replace("_", "-"),
                    title,
                    Workload(model, Wire.GRPC),
                    PerfAnalyzer(how, 16),
                )
            )
    return made


def _sized() -> list[Scenario]:
    made = []
    for elements, size, name, at_once in (
        (150_000, "600 KB", "600k", 4),
        (2_000_000, "8 MB", "8m", 2),
    ):
        workload = Workload("identity_any", Wire.BINARY, elements)
        made.append(
            Scenario(
                _LARGE, f"http-{name}", f"native identity, {size}, HTTP", workload, Wrk(at_once)
            )
        )
        workload = Workload("identity_any", Wire.GRPC, elements)
        load = H2load(at_once, 1)
        made.append(
            Scenario(
                _LARGE,
                f"grpc-{name}",
                f"native identity, {size}, gRPC",
                workload,
                load,
                (*_BOTH, "nghttpd") if name == "600k" else _BOTH,
            )
        )
    made.append(
        Scenario(
            _JSON,
            "json-small",
            "identity of 16 floats",
            Workload("identity", Wire.JSON),
            Wrk(64),
            (*_BOTH, *_OTHERS),
        )
    )
    made.append(
        Scenario(
            _JSON,
            "json-10000",
            "native identity of 10,000 floats",
            Workload("identity_any", Wire.JSON, 10_000),
            Wrk(4),
        )
    )
    for wire, name, title in (
        (Wire.JSON, "json-strings", "JSON"),
        (Wire.BINARY, "http-strings", "HTTP binary"),
        (Wire.GRPC, "grpc-strings", "gRPC"),
    ):
        made.append(
            Scenario(
                _JSON,
                name,
                f"native identity of 1,000 BYTES, {title}",
                Workload("identity_bytes", wire, 1000),
                H2load(4, 1) if wire is Wire.GRPC else Wrk(4),
            )
        )
    return made


def _real() -> list[Scenario]:
    return [
        Scenario(
            _REAL,
            f"onnx-{connections}",
            "MiniLM, a sentence of 32 tokens, two instances",
            Workload("minilm", Wire.BINARY, 32),
            Wrk(connections),
            (*_BOTH, "mosec", "onnxruntime"),
            Deployment(("minilm",), instances=2),
            {"onnxruntime": Direct(batch_size=8, threads=2, intra_op_threads=1)},
        )
        for connections in (16, 32)
    ]


def _cached() -> list[Scenario]:
    """The same request again and again: every one but the first is a hit."""
    small = Deployment(("python_identity",), cache_bytes=64 << 20)
    large = Deployment(("identity_any",), cache_bytes=64 << 20)
    return [
        Scenario(
            _CACHE,
            "cache-http",
            "16 floats, HTTP",
            Workload("python_identity", Wire.BINARY),
            Wrk(64),
            deployment=small,
        ),
        Scenario(
            _CACHE,
            "cache-grpc",
            "16 floats, gRPC",
            Workload("python_identity", Wire.GRPC),
            H2load(4, 16),
            deployment=small,
        ),
        Scenario(
            _CACHE,
            "cache-http-600k",
            "600 KB, HTTP",
            Workload("identity_any", Wire.BINARY, 150_000),
            Wrk(4),
            deployment=large,
        ),
    ]


def _behaviour() -> list[Scenario]:
    made = [
        Scenario(
            _STREAM,
            f"stream-{answers}",
            f"{answers:,} answers to a request, each counted",
            Workload("repeat", Wire.STREAM, answers),
            H2load(4, 1),
        )
        for answers in (10, 1000)
    ]
    made.append(
        Scenario(
            _MANY,
            "models-100",
            "100 native identities in turn",
            Workload("identity_0", Wire.BINARY),
            Wrk(64, models=100),
            deployment=Deployment(("identity",), copies=100),
        )
    )
    made.append(
        Scenario(
            _MANY,
            "connections-2000",
            "native identity",
            Workload("identity", Wire.BINARY),
            Wrk(2000),
        )
    )
    for model, title in (("identity", "native identity"), ("python_identity", "Python identity")):
        for whose in ("triton", None):
            name = f"open-{'native' if model == 'identity' else 'python'}-{whose or 'own'}"
            made.append(
                Scenario(
                    _STALLS,
                    name,
                    title,
                    Workload(model, Wire.BINARY),
                    ShareOfCapacity(0.7, of=whose),
                    ("triton", "pyserver"),  # in this order: Triton's turn finds its capacity
                )
            )
    for frontends in (1, 2):
        made.append(
            Scenario(
                _GROWTH,
                f"frontends-{frontends}",
                f"native identity, {frontends} frontend{'s' if frontends > 1 else ''}",
                Workload("identity", Wire.BINARY),
                Wrk(64),
                ("pyserver",),
                Deployment(("identity",), frontends=frontends),
            )
        )
    for instances in (1, 2):
        made.append(
            Scenario(
                _GROWTH,
                f"instances-{instances}",
                f"Python identity, {instances} instance{'s' if instances > 1 else ''}",
                Workload("python_identity", Wire.BINARY),
                Wrk(64),
                deployment=Deployment(("python_identity",), instances=instances),
            )
        )
    return made


SCENARIOS: tuple[Scenario, ...] = (*_small(), *_sized(), *_real(), *_cached(), *_behaviour())
