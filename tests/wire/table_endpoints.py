"""Everything that is not inference: health, metadata, config, statistics, the repository; and
what no route takes.
"""

from __future__ import annotations

from tests.wire.requests import WireRequest, get, infer, post, tensor
from tests.wire.table_json import ADD_SUB_TEXT

_TIMES = ("ns", "last_inference")
_COUNTED = {"inputs": [tensor("INPUT0", "FP32", [2, 3], [1, 2, 3, 4, 5, 6])]}

HEALTH = (
    get("live", "/v2/health/live"),
    get("ready", "/v2/health/ready"),
    get("live with a query", "/v2/health/live?verbose=1"),
    get("live with a slash behind", "/v2/health/live/"),
    get("live with two slashes", "/v2//health/live"),
    get("live in percent code", "/v2/health%2Flive"),
    get("model ready", "/v2/models/add_sub/ready", model="add_sub"),
    get("model version ready", "/v2/models/versions/versions/3/ready", model="versions"),
    get("model ready, unknown", "/v2/models/no_such_model/ready"),
    get("model ready, unknown version", "/v2/models/add_sub/versions/9/ready"),
    get("model ready, version not served", "/v2/models/versions_latest/versions/1/ready"),
    get(
        "model ready, version beyond int64",
        "/v2/models/add_sub/versions/99999999999999999999/ready",
    ),
    get("model ready, decoupled", "/v2/models/decoupled/ready"),
    post("live by POST", "/v2/health/live"),
    post("model ready by POST", "/v2/models/add_sub/ready", b"{}"),
    WireRequest(name="live by HEAD", method="HEAD", path="/v2/health/live"),
    WireRequest(name="live by DELETE", method="DELETE", path="/v2/health/live"),
    WireRequest(name="live by OPTIONS", method="OPTIONS", path="/v2/health/live"),
)

METADATA = (
    get("server metadata", "/v2", masked=("version",)),
    get("server metadata with a slash", "/v2/"),
    post("server metadata by POST", "/v2", b"{}"),
    *(
        get(f"metadata of {model}", f"/v2/models/{model}", model=model)
        for model in (
            "add_sub",
            "add_sub_nobatch",
            "versions",
            "versions_latest",
            "identity_bytes",
            "identity_bf16",
            "identity_bool",
            "fixed_matrix",
            "reshape",
            "reshape_scalar",
            "optional_inputs",
            "decoupled",
            "no_config",
            "classify",
            "many_outputs",
        )
    ),
    get("metadata of a version", "/v2/models/versions/versions/1", model="versions"),
    get("metadata of an unknown model", "/v2/models/no_such_model"),
    get("metadata of an unknown version", "/v2/models/add_sub/versions/2"),
    get("metadata of a version that is zero", "/v2/models/add_sub/versions/0"),
    get("metadata of a version not served", "/v2/models/versions_latest/versions/1"),
    get("metadata of a version beyond int64", "/v2/models/add_sub/versions/9223372036854775808"),
    get("metadata of a version of words", "/v2/models/add_sub/versions/one"),
    get("metadata of a model with a slash behind", "/v2/models/add_sub/"),
    post("metadata of a model by POST", "/v2/models/add_sub", b"{}"),
    get("metadata of no model", "/v2/models"),
)

CONFIG = (
    *(
        get(f"config of {model}", f"/v2/models/{model}/config", model=model)
        for model in (
            "add_sub",
            "add_sub_nobatch",
            "versions",
            "identity_bytes",
            "reshape",
            "reshape_scalar",
            "optional_inputs",
            "decoupled",
            "no_config",
            "classify",
        )
    ),
    get("config of a version", "/v2/models/versions/versions/3/config", model="versions"),
    get("config of an unknown model", "/v2/models/no_such_model/config"),
    get("config of an unknown version", "/v2/models/add_sub/versions/7/config"),
    post("config by POST", "/v2/models/add_sub/config", b"{}"),
)

STATISTICS = (
    get("stats before any inference", "/v2/models/counted/stats", masked=_TIMES, model="counted"),
    infer("stats one inference of two rows", "counted", _COUNTED),
    infer("stats one more", "counted", _COUNTED),
    infer("stats a refused one", "counted", {"inputs": []}),
    get("stats after three requests", "/v2/models/counted/stats", masked=_TIMES, model="counted"),
    get(
        "stats of a version", "/v2/models/counted/versions/1/stats", masked=_TIMES, model="counted"
    ),
    get("stats of an unknown model", "/v2/models/no_such_model/stats"),
    get("stats of an unknown version", "/v2/models/counted/versions/8/stats"),
    get(
        "stats of a version beyond int64", "/v2/models/counted/versions/99999999999999999999/stats"
    ),
    post("stats by POST", "/v2/models/counted/stats", b"{}"),
    post("stats of all by POST", "/v2/models/stats", b"{}"),
)

REPOSITORY = (
    post("index", "/v2/repository/index"),
    post("index of an empty object", "/v2/repository/index", b"{}"),
    post("index of the ready", "/v2/repository/index", b'{"ready":true}'),
    post("index of all", "/v2/repository/index", b'{"ready":false}'),
    post("index of a named repository", "/v2/repository/any/index"),
    post("index of words", "/v2/repository/index", b'{"ready":"yes"}'),
    post("index of broken json", "/v2/repository/index", b"{"),
    get("index by GET", "/v2/repository/index"),
    post("load", "/v2/repository/models/add_sub/load"),
    post("load with parameters", "/v2/repository/models/add_sub/load", b'{"parameters":{}}'),
    post("load of broken json", "/v2/repository/models/add_sub/load", b"{"),
    post("load of an unknown model", "/v2/repository/models/no_such_model/load"),
    post("load from a named repository", "/v2/repository/any/models/add_sub/load"),
    get("load by GET", "/v2/repository/models/add_sub/load"),
    post("unload", "/v2/repository/models/add_sub/unload"),
    post("unload of an unknown model", "/v2/repository/models/no_such_model/unload"),
    post(
        "unload with dependents",
        "/v2/repository/models/add_sub/unload",
        b'{"parameters":{"unload_dependents":true}}',
    ),
    post("unload of broken json", "/v2/repository/models/add_sub/unload", b"{"),
    post("unload from a named repository", "/v2/repository/any/models/add_sub/unload"),
)

SHARED_MEMORY = (
    get("system regions", "/v2/systemsharedmemory/status"),
    get("system region unknown", "/v2/systemsharedmemory/region/no/status"),
    get("cuda regions", "/v2/cudasharedmemory/status"),
    get("cuda region unknown", "/v2/cudasharedmemory/region/no/status"),
    post(
        "system region register",
        "/v2/systemsharedmemory/region/r/register",
        b'{"key":"/pyserver_no_such_key","byte_size":64}',
    ),
    post("system region unregister unknown", "/v2/systemsharedmemory/region/no/unregister"),
)

NO_ROUTE = (
    get("path root", "/"),
    get("path unknown", "/nowhere"),
    get("path of version one", "/v1/models/add_sub"),
    get("path of version three", "/v3"),
    get("path unknown below v2", "/v2/nowhere"),
    get("path unknown below a model", "/v2/models/add_sub/nowhere"),
    get("path unknown below a version", "/v2/models/add_sub/versions/1/nowhere"),
    get("path health of nothing", "/v2/health"),
    get("path of dots", "/v2/models/../health/live"),
    get("path of all servers", "*"),
    post("path unknown by POST", "/v2/nowhere", ADD_SUB_TEXT),
    post("infer with a slash behind", "/v2/models/add_sub/infer/", ADD_SUB_TEXT),
    post("infer in capitals", "/v2/models/add_sub/INFER", ADD_SUB_TEXT),
    post("infer without a model", "/v2/models//infer", ADD_SUB_TEXT),
    post("infer of a model with a slash", "/v2/models/a/b/infer", ADD_SUB_TEXT),
    get("infer by GET", "/v2/models/add_sub/infer"),
    get("infer by GET of an unknown model", "/v2/models/no_such_model/infer"),
    WireRequest(
        name="infer by PUT", method="PUT", path="/v2/models/add_sub/infer", body=ADD_SUB_TEXT
    ),
    WireRequest(name="infer by DELETE", method="DELETE", path="/v2/models/add_sub/infer"),
    WireRequest(name="infer by PATCH", method="PATCH", path="/v2/models/add_sub/infer", body=b"{}"),
    WireRequest(name="unknown path by DELETE", method="DELETE", path="/nowhere"),
)

ENDPOINTS: tuple[WireRequest, ...] = (
    *HEALTH,
    *METADATA,
    *CONFIG,
    *STATISTICS,
    *REPOSITORY,
    *SHARED_MEMORY,
    *NO_ROUTE,
)
