"""Arguments to settings: both forms, every kind of value, the checks across flags, suggestions."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from pyserver.cli.flags import BY_NAME, GROUPS, SETTINGS_FIELDS, all_flags
from pyserver.cli.parse import UsageError, parse
from pyserver.cli.usage import usage
from pyserver.settings import Settings

REPO = "--model-repository=/models"

GOOD: list[tuple[list[str], str, Any]] = [
    (["--http-port=9000"], "http_port", 9000),
    (["--http-port", "9000"], "http_port", 9000),
    (["--http-port=1", "--http-port=2"], "http_port", 2),
    (["--http-port=0"], "http_port", 0),
    (["--exit-on-error=false"], "exit_on_error", False),
    (["--exit-on-error", "OFF"], "exit_on_error", False),
    (["--exit-on-error=0"], "exit_on_error", False),
    (["--strict-readiness=On"], "strict_readiness", True),
    (["--strict-readiness=TRUE"], "strict_readiness", True),
    (["--disable-auto-complete-config"], "disable_auto_complete_config", True),
    (["--strict-model-config=true"], "disable_auto_complete_config", True),
    (["--strict-model-config=false"], "disable_auto_complete_config", False),
    (["--model-store=/more"], "model_repository", ("/models", "/more")),
    (["--model-repository", "/more"], "model_repository", ("/models", "/more")),
    (["--model-control-mode=EXPLICIT"], "model_control_mode", "explicit"),
    (
        ["--model-control-mode=explicit", "--load-model=a", "--load-model=b"],
        "load_model",
        ("a", "b"),
    ),
    (["--log-verbose=2"], "log_verbose", 2),
    (["--log-verbose=true"], "log_verbose", 1),
    (["--log-format=iso8601"], "log_format", "ISO8601"),
    (["--log-file="], "log_file", ""),
    (["--http-idle-timeout-secs=0.5"], "http_idle_timeout_secs", 0.5),
    (
        ["--backend-config=onnxruntime,threads=2"],
        "backend_config",
        (("onnxruntime", "threads", "2"),),
    ),
    (
        ["--backend-config=default-max-batch-size=8"],
        "backend_config",
        (("", "default-max-batch-size", "8"),),
    ),
    (["--backend-config=paths=/a,/b"], "backend_config", (("", "paths", "/a,/b"),)),
    (["--backend-config=python,flags=a=b"], "backend_config", (("python", "flags", "a=b"),)),
    (
        ["--http-restricted-api=health,metadata:key=v"],
        "http_restricted_api",
        (("health,metadata", "key", "v"),),
    ),
    (
        ["--http-restricted-api=health:a=b", "--grpc-restricted-protocol=health:c=d=e:f"],
        "grpc_restricted_protocol",
        (("health", "c", "d=e:f"),),
    ),
    (["--rate-limit-resource=gpu:2:0"], "rate_limit_resource", ("gpu:2:0",)),
    (["--rate-limit=EXECUTION_COUNT"], "rate_limit", "execution_count"),
    (["--min-supported-compute-capability=7.5"], "min_supported_compute_capability", 7.5),
    (["--trace-count=-1"], "id", "triton"),
    (["--grpc-infer-thread-count=128"], "grpc_infer_thread_count", 128),
    (["--allow-grpc=0", "--http-port=8001"], "http_port", 8001),
    (["--allow-http=false", "--grpc-port=8000"], "allow_http", False),
    (["--http-address=unix:/a", "--http-port=8001"], "http_address", "unix:/a"),
    (["--http-address=unix:/a", "--grpc-address=unix:/b"], "grpc_address", "unix:/b"),
    (["--http-address=unix:/a", "--grpc-address=unix-abstract:/a"], "http_port", 8000),
    (
        ["--allow-grpc=0", "--http-address=unix:/a", "--grpc-address=unix:/a"],
        "http_address",
        "unix:/a",
    ),
    (["--metrics-address=127.0.0.1", "--http-port=8002"], "http_port", 8002),
]


@pytest.mark.parametrize(("arguments", "member", "value"), GOOD, ids=lambda one: str(one))
def test_a_flag_sets_its_member(arguments: list[str], member: str, value: object) -> None:
    assert getattr(parse([REPO, *arguments], {}).settings, member) == value


BAD: list[tuple[list[str], str]] = [
    ([], "no model repository"),
    ([REPO, "--http-prt=1"], "unknown option --http-prt; did you mean --http-port?"),
    ([REPO, "--http_port=1"], "did you mean --http-port?"),
    ([REPO, "--HTTP-PORT=1"], "did you mean --http-port?"),
    ([REPO, "-http-port=1"], "did you mean --http-port?"),
    ([REPO, "--xyzzy"], "unknown option --xyzzy; --help lists"),
    ([REPO, "stray"], "unexpected argument 'stray'"),
    ([REPO, "--"], "unexpected argument '--'"),
    ([REPO, "--http-port"], "--http-port needs a value: --http-port=<port>"),
    ([REPO, "--http-port", "--id=x"], "--http-port needs a value"),
    ([REPO, "--http-port=65536"], "from 0 to 65535"),
    ([REPO, "--http-port=-1"], "from 0 to 65535"),
    ([REPO, "--http-port=8e3"], "expected a whole number"),
    ([REPO, "--http-port="], "expected a whole number"),
    ([REPO, "--exit-on-error=yes"], "--exit-on-error=yes: expected true, false"),
    ([REPO, "--disable-auto-complete-config=true"], "takes no value"),
    ([REPO, "--model-control-mode=auto"], "expected one of none, poll, explicit"),
    ([REPO, "--load-model=a"], "--load-model needs --model-control-mode=explicit or on-demand"),
    (
        [REPO, "--on-demand-keep-alive-secs=3"],
        "--on-demand-keep-alive-secs needs --model-control-mode=on-demand",
    ),
    (
        [REPO, "--model-control-mode=on-demand", "--model-namespacing=true"],
        "--model-namespacing and --model-control-mode=on-demand cannot be given together",
    ),
    ([REPO, "--execute-timeout-secs=soon"], "expected a number of seconds, or 0 for no limit"),
    (
        [REPO, "--model-control-mode=explicit", "--load-model=*", "--load-model=a"],
        "loads every model",
    ),
    ([REPO, "--model-config-name=my config"], "must not contain blanks"),
    ([REPO, "--http-thread-count=0"], "at least 1"),
    ([REPO, "--http-max-input-size=0"], "at least 1"),
    ([REPO, "--frontend-workers=0"], "from 1 to 256"),
    ([REPO, "--grpc-infer-thread-count=1"], "from 2 to 128"),
    ([REPO, "--grpc-infer-thread-count=129"], "from 2 to 128"),
    ([REPO, "--http-port=8001"], "--http-port and --grpc-port are both 8001 at 0.0.0.0"),
    ([REPO, "--http-port=8002"], "--http-port and --metrics-port are both 8002"),
    ([REPO, "--allow-sagemaker=1", "--sagemaker-port=8000"], "--http-port and --sagemaker-port"),
    ([REPO, "--backend-config=onnxruntime"], "expected <name>,<key>=<value>"),
    ([REPO, "--backend-config=onnxruntime,threads"], "expected <name>,<key>=<value>"),
    ([REPO, "--backend-config==x"], "expected <name>,<key>=<value>"),
    ([REPO, "--rate-limit=on"], "expected one of off, execution_count"),
    ([REPO, "--rate-limit-resource=R"], "expected <name>:<count>[:<device>]"),
    ([REPO, "--rate-limit-resource=:2"], "expected <name>:<count>[:<device>]"),
    ([REPO, "--rate-limit-resource=R:-2"], "expected <name>:<count>[:<device>]"),
    ([REPO, "--rate-limit-resource=R:2:0:0"], "expected <name>:<count>[:<device>]"),
    ([REPO, "--rate-limit-resource=R:2147483648"], "2147483648 is more than 2147483647"),
    ([REPO, "--http-restricted-api=health"], "expected <api>"),
    ([REPO, "--http-restricted-api=health:key="], "expected <api>"),
    ([REPO, "--http-restricted-api=health:a b=c"], "'a b' cannot be the name of a header"),
    ([REPO, "--grpc-restricted-protocol=health:a= b"], "begin or end with blanks"),
    (
        [REPO, "--http-restricted-api=helth:a=b"],
        "--http-restricted-api: there is no API named 'helth'; there are health, metadata,",
    ),
    ([REPO, "--grpc-restricted-protocol=*:a=b"], "--grpc-restricted-protocol: there is no API"),
    ([REPO, "--grpc-restricted-protocol=health,:a=b"], "there is no API named ''"),
    (
        [REPO, "--http-restricted-api=health,trace:a=b", "--http-restricted-api=trace:c=d"],
        "--http-restricted-api names 'trace' more than once",
    ),
    (
        [REPO, "--grpc-restricted-protocol=trace,trace:a=b"],
        "--grpc-restricted-protocol names 'trace' more than once",
    ),
    ([REPO, "--http-header-forward-pattern=("], "expected a regular expression"),
    ([REPO, "--cache-config=size=3"], "needs the name of a cache"),
    ([REPO, "--cache-config=a,size=3", "--cache-config=b,size=3"], "names 2 caches"),
    ([REPO, "--cache-config=a,size=3", "--response-cache-byte-size=3"], "cannot be given together"),
    ([REPO, "--trace-rate=3", "--trace-config=rate=3"], "cannot be given together"),
    ([REPO, "--sagemaker-safe-port-range=80"], "expected <low>-<high>"),
    ([REPO, "--http-idle-timeout-secs=0"], "above 0"),
    ([REPO, "--http-idle-timeout-secs=nan"], "above 0"),
    ([REPO, "--allow-http=false", "--allow-grpc=false"], "without an endpoint"),
    (
        [REPO, "--http-address=unix:/a/s", "--grpc-address=unix:///a/s"],
        "--http-address and --grpc-address are both unix:/a/s",
    ),
    ([REPO, "--http-address=unix:", "--grpc-address=unix:/a"], "the name of a socket is missing"),
    ([REPO, "--allow-grpc=false", "--http-port=8002"], "--http-port and --metrics-port"),
]


@pytest.mark.parametrize(("arguments", "text"), BAD, ids=lambda one: str(one))
def test_wrong_arguments_are_refused_with_what_to_do(arguments: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(arguments, {})
    assert text in str(caught.value)


def test_a_flag_without_effect_gives_one_warning_and_is_kept() -> None:
    command = parse(
        [REPO, "--grpc-infer-thread-count=9", "--grpc-infer-thread-count=10", "--trace-rate=5"], {}
    )
    assert [line.split(":")[0] for line in command.warnings] == [
        "--grpc-infer-thread-count has no effect",
        "--trace-rate has no effect",
    ]
    assert command.settings.grpc_infer_thread_count == 10


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ([], None),
        (["--rate-limit-resource=R:2"], None),
        (["--rate-limit=execution_count"], []),
        (
            [
                "--rate-limit=execution_count",
                "--rate-limit-resource=R:2",
                "--rate-limit-resource=S:3:1",
            ],
            [("R", 2, None), ("S", 3, 1)],
        ),
    ],
)
def test_rate_limits_are_none_when_off(arguments: list[str], limits: object) -> None:
    assert parse([REPO, *arguments], {}).settings.rate_limits() == limits


def test_a_deprecated_flag_names_its_successor() -> None:
    (line,) = parse([REPO, "--strict-model-config=true"], {}).warnings
    assert "use --disable-auto-complete-config instead" in line


def test_the_repository_may_come_from_the_environment() -> None:
    assert parse([], {"AIP_STORAGE_URI": "/m"}).settings.model_repository == ("/m",)
    assert parse([REPO], {"AIP_STORAGE_URI": "/m"}).settings.model_repository == ("/models",)


def test_help_wins_over_everything_else() -> None:
    assert parse(["--http-port=x", "-h"], {}).help


def test_every_setting_has_a_flag_and_every_flag_a_setting_or_a_rule() -> None:
    reached = {flag.field for flag in all_flags()}
    assert reached >= SETTINGS_FIELDS
    without = {flag.name for flag in all_flags() if flag.field not in SETTINGS_FIELDS}
    assert without == {flag.name for flag in GROUPS["Deprecated"]}


def test_no_flag_stands_twice() -> None:
    names = [flag.name for flag in all_flags()]
    assert len(names) == len(set(names))


def test_a_flag_repeats_exactly_when_its_setting_is_a_tuple() -> None:
    defaults = Settings()
    for flag in all_flags():
        if flag.field in SETTINGS_FIELDS:
            assert flag.repeats == isinstance(getattr(defaults, flag.field), tuple), flag.name


def test_help_shows_every_flag_its_default_and_fits_the_screen() -> None:
    text = usage()
    for name in BY_NAME:
        assert f"--{name}" in text
    assert "default 67108864" in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_settings_survive_json() -> None:
    settings = parse(
        [REPO, "--backend-config=a,b=c", "--model-control-mode=explicit", "--load-model=x"], {}
    ).settings
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize("text", ["[]", '{"unheard_of":1}', "{", "3"])
def test_other_json_is_no_settings(text: str) -> None:
    with pytest.raises(ValueError):
        Settings.from_json(text)


def test_backend_settings_prefer_the_named_backend() -> None:
    settings = Settings(backend_config=(("", "a", "1"), ("x", "a", "2"), ("y", "b", "3")))
    assert settings.backend_settings("x") == {"a": "2"}
    assert settings.backend_settings("y") == {"a": "1", "b": "3"}


def test_defaults_fit_the_machine() -> None:
    settings = Settings()
    assert 1 <= settings.frontend_workers <= 4
    assert settings.region_byte_size > 1 << 20
    assert all(one.name in SETTINGS_FIELDS for one in fields(settings))
