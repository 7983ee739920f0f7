"""Every route with its texts, as tables: a registry, a loader that keeps what it is told, no
sockets.
"""

import base64
from typing import Any

import pytest

import pyserver
from pyserver.control.http_call import HttpAnswer
from pyserver.repository.override import LoadOverride
from tests.control.routes_bench import Bench, text_of

NOT_ALLOWED = (405, "Method Not Allowed")
NOT_FOUND = (404, "Not Found")
NO_EXPLICIT = (503, "explicit model load / unload is not allowed if polling is enabled")
TOO_LARGE = (
    "failed to get model version from specified version string '99999999999999999999' (details:"
    " stol), version should be an integral value > 0"
)
BAD_JSON = "failed to parse the request JSON buffer: "
SHM_OFF = (
    501,
    "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable.",
)
METADATA = {
    "name": "m",
    "versions": ["1", "3"],
    "platform": "identity",
    "inputs": [{"name": "IN", "datatype": "BYTES", "shape": [-1, 2, -1]}],
    "outputs": [{"name": "OUT", "datatype": "FP32", "shape": [-1, 1]}],
}
UNKNOWN = "Request for unknown model: "
NO_REPOSITORY = (501, "'repository_name' specification is not supported")


@pytest.mark.parametrize(
    ("method", "path", "body", "wanted"),
    [
        ("GET", "/v2/health/live", b"", (200, "")),
        ("GET", "/v2/health/ready", b"", (200, "")),
        ("POST", "/v2/health/live", b"", NOT_ALLOWED),
        ("HEAD", "/v2/health/ready", b"", NOT_ALLOWED),
        ("GET", "/v2/health", b"", NOT_FOUND),
        ("GET", "/v2/health/live/", b"", NOT_FOUND),
        ("GET", "/v2/health%2Flive", b"", NOT_FOUND),
        ("GET", "/", b"", NOT_FOUND),
        ("GET", "/v2/", b"", NOT_FOUND),
        ("POST", "/v2", b"", NOT_ALLOWED),
        ("GET", "/v2/models/m/ready", b"", (200, "")),
        ("GET", "/v2/models/m/versions/3/ready", b"", (200, "")),
        ("GET", "/v2/models/m/versions/4/ready", b"", (400, "Model version not ready")),
        ("GET", "/v2/models/m/versions/9/ready", b"", (400, "Model version not ready")),
        ("GET", "/v2/models/broken/ready", b"", (400, "Model version not ready")),
        ("GET", "/v2/models/none/ready", b"", (400, "Model version not ready")),
        ("GET", f"/v2/models/m/versions/{'9' * 20}/ready", b"", (400, TOO_LARGE)),
        ("POST", "/v2/models/m/ready", b"", NOT_ALLOWED),
        ("GET", "/v2/models/m", b"", (200, METADATA)),
        ("GET", "/v2/models/m/versions/1", b"", (200, METADATA | {"versions": ["1"]})),
        ("GET", "/v2/models/m/versions/", b"", NOT_FOUND),
        ("GET", "/v2/models/m/versions/one", b"", NOT_FOUND),
        ("GET", "/v2/models/%6d", b"", (404, f"{UNKNOWN}'%6d' is not found")),
        ("GET", "/v2/models/none", b"", (404, f"{UNKNOWN}'none' is not found")),
        ("GET", "/v2/models/broken", b"", (404, f"{UNKNOWN}'broken' has no available versions")),
        (
            "GET",
            "/v2/models/m/versions/4",
            b"",
            (503, f"{UNKNOWN}'m' version 4 is not at ready state"),
        ),
        ("GET", "/v2/models/m/versions/0", b"", (404, f"{UNKNOWN}'m' version 0 is not found")),
        ("GET", "/v2/models/none/config", b"", (404, f"{UNKNOWN}'none' is not found")),
        ("POST", "/v2/models/m/config", b"", NOT_ALLOWED),
        (
            "GET",
            "/v2/models/none/stats",
            b"",
            (400, "requested model 'none' is not available"),
        ),
        (
            "GET",
            "/v2/models/broken/stats",
            b"",
            (400, "requested model 'broken' is not available"),
        ),
        (
            "GET",
            "/v2/models/m/versions/4/stats",
            b"",
            (400, "requested model version is not available for model 'm'"),
        ),
        ("POST", "/v2/models/stats", b"", NOT_ALLOWED),
        ("GET", "/v2/models/m/infer", b"", NOT_ALLOWED),
        ("GET", "/v2/models/m/nowhere", b"", NOT_FOUND),
        ("GET", "/v2/trace/setting", b"", NOT_FOUND),
        (
            "POST",
            "/v2/repository/index",
            b"{",
            (500, BAD_JSON + "Missing a name for object member. at 1"),
        ),
        ("POST", "/v2/repository/index", b" ", (500, BAD_JSON + "The document is empty. at 1")),
        ("POST", "/v2/repository/index", b"x", (500, BAD_JSON + "Invalid value. at 0")),
        (
            "POST",
            "/v2/repository/index",
            b'{"a" 1}',
            (500, BAD_JSON + "Missing a colon after a name of object member. at 5"),
        ),
        (
            "POST",
            "/v2/repository/index",
            b'{"a":1 "b":2}',
            (500, BAD_JSON + "Missing a comma or } after an object member. at 7"),
        ),
        (
            "POST",
            "/v2/repository/index",
            b'{"a":["]" 2]}',
            (500, BAD_JSON + "Missing a comma or ] after an array element. at 10"),
        ),
        (
            "POST",
            "/v2/repository/index",
            b"{}{}",
            (500, BAD_JSON + "The document root must not be followed by other values. at 2"),
        ),
        (
            "POST",
            "/v2/repository/index",
            b'{"a":' + b"[" * 150 + b"]" * 150 + b"}",
            (500, "JSON nesting depth exceeds maximum allowed limit (100)"),
        ),
        (
            "POST",
            "/v2/repository/index",
            b"[" * 100_000,
            (500, "JSON nesting depth exceeds maximum allowed limit (100)"),
        ),
        (
            "POST",
            "/v2/repository/index",
            b"\xff",
            (500, BAD_JSON + "Invalid encoding in string. at 0"),
        ),
        (
            "POST",
            "/v2/repository/index",
            {"ready": "yes"},
            (400, "Invalid value for 'ready': expected a boolean"),
        ),
        ("GET", "/v2/repository/index", b"", NOT_ALLOWED),
        ("POST", "/v2/repository/models/m/load", b"", NO_EXPLICIT),
        ("POST", "/v2/repository/models/m/load", {"parameters": {}}, NO_EXPLICIT),
        (
            "POST",
            "/v2/repository/models/m/load",
            b"{",
            (500, BAD_JSON + "Missing a name for object member. at 1"),
        ),
        ("POST", "/v2/repository/any/models/m/load", b"", NO_REPOSITORY),
        ("GET", "/v2/repository/models/m/load", b"", NOT_ALLOWED),
        ("POST", "/v2/repository/models/m/unload", b"", NO_EXPLICIT),
        ("POST", "/v2/repository/models/m/unload", b"{", NO_EXPLICIT),
        ("POST", "/v2/repository/any/models/m/unload", b"", NO_REPOSITORY),
        ("GET", "/v2/systemsharedmemory/status", b"", (200, [])),
        ("GET", "/v2/cudasharedmemory/status", b"", (200, [])),
        (
            "GET",
            "/v2/systemsharedmemory/region/r/status",
            b"",
            (404, "Unable to find system shared memory region: 'r'"),
        ),
        (
            "GET",
            "/v2/cudasharedmemory/region/r/status",
            b"",
            (404, "Unable to find cuda shared memory region: 'r'"),
        ),
        ("POST", "/v2/systemsharedmemory/region/r/register", b"", SHM_OFF),
        ("POST", "/v2/cudasharedmemory/unregister", b"", SHM_OFF),
        ("GET", "/v2/systemsharedmemory/region/r/register", b"", NOT_ALLOWED),
    ],
)
async def test_a_request_gets_its_status_and_text(
    method: str, path: str, body: Any, wanted: tuple[int, Any]
) -> None:
    answer = await Bench().ask(method, path, body)
    assert (answer.status, text_of(answer)) == wanted


async def test_server_metadata() -> None:
    answer = await Bench(id="mine").ask("GET", "/v2")
    assert answer.body.decode() == (
        f'{{"name":"mine","version":"{pyserver.__version__}","extensions":["classification",'
        '"sequence","model_repository","model_repository(unload_dependents)","schedule_policy",'
        '"model_configuration","system_shared_memory","cuda_shared_memory","binary_tensor_data",'
        '"parameters","statistics","trace","logging"]}'
    )


async def test_config_is_the_completed_one_with_defaults() -> None:
    config = text_of(await Bench().ask("GET", "/v2/models/m/versions/3/config"))
    assert config["max_batch_size"] == 4
    assert config["input"][0]["dims"] == [2, -1]
    assert config["batch_input"] == []


async def test_statistics_have_members_in_order() -> None:
    bench = Bench()
    of_one = await bench.ask("GET", "/v2/models/m/versions/3/stats")
    assert of_one.body.decode() == (
        '{"model_stats":[{"name":"m","version":"3","last_inference":1795451609571,'
        '"inference_count":6,"execution_count":2,"inference_stats":{"success":{"count":3,"ns":30},'
        '"fail":{"count":1,"ns":5},"queue":{"count":3,"ns":4},"compute_input":{"count":3,"ns":3},'
        '"compute_infer":{"count":3,"ns":2},"compute_output":{"count":3,"ns":1},'
        '"cache_hit":{"count":0,"ns":0},"cache_miss":{"count":0,"ns":0}},"response_stats":{},'
        '"batch_stats":[{"batch_size":3,"compute_input":{"count":0,"ns":0},'
        '"compute_infer":{"count":0,"ns":0},"compute_output":{"count":0,"ns":0}}],'
        '"memory_usage":[]}]}'
    )
    for path in ("/v2/models/m/stats", "/v2/models/stats"):
        every = text_of(await bench.ask("GET", path))["model_stats"]
        assert [(one["name"], one["version"]) for one in every] == [("m", "1"), ("m", "3")]


async def test_the_index_names_what_there_is() -> None:
    bench = Bench()
    lines = [
        {"name": "broken", "version": "1", "state": "UNAVAILABLE", "reason": "Internal: no"},
        {"name": "fresh"},
        {"name": "m", "version": "1", "state": "READY"},
        {"name": "m", "version": "3", "state": "READY"},
        {"name": "m", "version": "4", "state": "LOADING"},
        {
            "name": "twice",
            "state": "UNAVAILABLE",
            "reason": "model appears in two or more repositories",
        },
    ]
    for path in ("/v2/repository/index", "/v2/repository/any/index"):
        assert text_of(await bench.ask("POST", path)) == lines
    ready = text_of(await bench.ask("POST", "/v2/repository/index", {"ready": True}))
    assert ready == [lines[2], lines[3], lines[5]]


@pytest.mark.parametrize(
    ("action", "body", "wanted"),
    [
        ("m/load", b"", ("load", "m", None)),
        ("m/load", {"parameters": {"config": "{}"}}, ("load", "m", LoadOverride("{}"))),
        (
            "m/load",
            {"parameters": {"config": "{}", "file:1/a": base64.b64encode(b"x").decode()}},
            ("load", "m", LoadOverride("{}", {"1/a": b"x"})),
        ),
        (
            "m/load",
            {"parameters": {"file:1/a": ""}},
            (400, "Load parameter 'config' must be specified for model file override"),
        ),
        (
            "m/load",
            {"parameters": {"other": "1"}},
            (500, "unexpected error on creating Triton parameter"),
        ),
        (
            "m/load",
            {"parameters": {"config": 1}},
            (500, "attempt to access JSON non-string as string"),
        ),
        (
            "m/load",
            {"parameters": {"other": 1}},
            (500, "attempt to access JSON non-string as string"),
        ),
        ("m/load", {"parameters": []}, (500, "attempt to get members for non-object")),
        ("m/load", b"[]", (500, "attempt to access JSON non-object as object")),
        (
            "bad/load",
            b"",
            (500, "failed to load 'bad', failed to poll from model repository"),
        ),
        ("bug/load", b"", (500, "internal error; the server's log has the details")),
        ("m/unload", b"", ("unload", "m", None)),
        ("m/unload", {"parameters": {"unload_dependents": True}}, ("unload", "m", "dependents")),
        (
            "m/unload",
            {"parameters": {"unload_dependents": 1}},
            (
                500,
                "Unable to parse 'unload_dependents': attempt to access JSON non-boolean as"
                " boolean",
            ),
        ),
    ],
)
async def test_load_and_unload(action: str, body: Any, wanted: Any) -> None:
    bench = Bench(model_control_mode="explicit")
    answer = await bench.ask("POST", f"/v2/repository/models/{action}", body)
    if isinstance(wanted[0], int):
        assert (answer.status, text_of(answer)) == wanted
    else:
        assert (answer.status, text_of(answer)) == (200, "")
        assert bench.loader.calls == [wanted]


async def test_health_tells_the_truth() -> None:
    bench = Bench()
    as_json = {"accept": "text/html, application/json;q=0.9"}
    assert text_of(await bench.ask("GET", "/v2/health/ready", b"", as_json)) == {"ready": True}
    bench.server.ready = False
    assert (await bench.ask("GET", "/v2/health/ready")) == HttpAnswer(400)
    assert (await bench.ask("GET", "/v2/health/ready", b"", {"accept": "*/*"})) == HttpAnswer(400)
    answer = await bench.ask("GET", "/v2/health/ready", b"", as_json)
    reason = "model 'broken' version 1 is UNAVAILABLE: Internal: no"
    assert (answer.status, text_of(answer)) == (400, {"ready": False, "reason": reason})
    bench.server.exiting = True
    for path in ("/v2/health/ready", "/v2/health/live"):
        answer = await bench.ask("GET", path)
        assert (answer.status, text_of(answer)) == (503, "Server exiting")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("m", ""),
        ("m/versions/4", "model 'm' version 4 is LOADING"),
        ("m/versions/9", f"{UNKNOWN}'m' version 9 is not found"),
        ("broken", "model 'broken' version 1 is UNAVAILABLE: Internal: no"),
        ("none", f"{UNKNOWN}'none' is not found"),
    ],
)
async def test_a_model_says_why_it_is_not_ready_to_who_asks_for_json(
    path: str, reason: str
) -> None:
    answer = await Bench().ask(
        "GET", f"/v2/models/{path}/ready", b"", {"accept": "application/json"}
    )
    wanted = {"ready": False, "reason": reason} if reason else {"ready": True}
    assert (answer.status, text_of(answer)) == (400 if reason else 200, wanted)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({}, {}),
        ({"log_info": False, "log_verbose_level": 2}, {"log_info": False, "log_verbose_level": 2}),
        ({"log_format": "ISO8601", "log_file": None}, {"log_format": "ISO8601"}),
        ({"log_error": None}, {}),
        (
            {"log_file": "x"},
            (501, "log file location can not be updated through network protocol"),
        ),
        ({"log_format": "xml"}, (503, "invalid argument for --log_format, got: xml")),
        ({"log_info": 1}, (500, "attempt to access JSON non-boolean as boolean")),
        (
            {"log_verbose_level": -1},
            (500, "attempt to access JSON non-unsigned-integer as unsigned-integer"),
        ),
        (
            {"log_verbose_level": True},
            (500, "attempt to access JSON non-unsigned-integer as unsigned-integer"),
        ),
    ],
)
async def test_log_settings(body: Any, wanted: Any) -> None:
    bench = Bench()
    before = {
        "log_file": "",
        "log_info": True,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 0,
        "log_format": "default",
    }
    assert text_of(await bench.ask("GET", "/v2/logging")) == before
    answer = await bench.ask("POST", "/v2/logging", body)
    if isinstance(wanted, tuple):
        assert (answer.status, text_of(answer)) == wanted
        assert bench.applied == []
        wanted = {}
    after = text_of(await bench.ask("GET", "/v2/logging"))
    assert after == before | wanted
    assert list(after) == list(before)
