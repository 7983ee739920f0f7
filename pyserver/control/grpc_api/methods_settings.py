"""Trace and log settings and clients' shared memory over gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.message import Message

from pyserver.control.client_regions import refuse_change, refuse_unknown
from pyserver.control.grpc_api.methods import Answer, Method
from pyserver.control.grpc_stubs import grpc_service_pb2 as pb
from pyserver.control.services import Services
from pyserver.errors import InvalidArgumentError, NotFoundError, UnavailableError, UnsupportedError

# Log setting -> (the member of SettingValue that it takes, what a refusal calls that), in the order
# in which Triton looks at them. It says int32 and takes an unsigned.
_LOG_VALUES: Final[Mapping[str, tuple[str, str]]] = {
    "log_info": ("bool_param", "boolean"),
    "log_warning": ("bool_param", "boolean"),
    "log_error": ("bool_param", "boolean"),
    "log_verbose_level": ("uint32_param", "int32"),
    "log_format": ("string_param", "string"),
}


async def _trace_setting(
    services: Services, request: pb.TraceSettingRequest
) -> pb.TraceSettingResponse:
    given = {name: list(setting.value) for name, setting in request.settings.items()}
    try:
        if given:
            shown = services.traces.update(given, request.model_name)
        else:
            shown = services.traces.view(request.model_name)
    except NotFoundError:
        return pb.TraceSettingResponse()  # as Triton answers for a model that it does not know
    value = pb.TraceSettingResponse.SettingValue
    return pb.TraceSettingResponse(
        settings={name: value(value=texts) for name, texts in shown.items()}
    )


async def _log_settings(
    services: Services, request: pb.LogSettingsRequest
) -> pb.LogSettingsResponse:
    members = _log_members(request)
    try:
        shown = services.logs.update(members)
    except UnavailableError as error:  # which is what HTTP makes of a format that there is not
        raise InvalidArgumentError(
            f"invalid argument for log_format, got: {members['log_format']}"
        ) from error
    return pb.LogSettingsResponse(
        settings={name: _log_value(value) for name, value in shown.items()}
    )


def _log_members(request: pb.LogSettingsRequest) -> dict[str, Any]:
    if "log_file" in request.settings:
        raise UnsupportedError("log file location can not be updated through network protocol")
    members: dict[str, Any] = {}
    for name, (wanted, called) in _LOG_VALUES.items():
        if name not in request.settings:
            continue
        value = request.settings[name]
        if value.WhichOneof("parameter_choice") != wanted:
            raise InvalidArgumentError(f"expect {called} for '{name}'")
        members[name] = getattr(value, wanted)
    return members


def _log_value(value: bool | int | str) -> pb.LogSettingsResponse.SettingValue:
    made = pb.LogSettingsResponse.SettingValue
    if isinstance(value, bool):
        return made(bool_param=value)
    return made(uint32_param=value) if isinstance(value, int) else made(string_param=value)


def _region_status(kind: str, response: type[Message]) -> Answer:
    async def answer(services: Services, request: Any) -> Message:
        if request.name:
            refuse_unknown(kind, request.name)
        return response()

    return answer


async def _change_regions(services: Services, request: Message) -> Message:
    refuse_change(services.settings)


METHODS: Final[Mapping[str, Method]] = {
    "TraceSetting": Method("trace", _trace_setting),
    "LogSettings": Method("logging", _log_settings),
    "SystemSharedMemoryStatus": Method(
        "shared-memory", _region_status("system", pb.SystemSharedMemoryStatusResponse)
    ),
    "SystemSharedMemoryRegister": Method("shared-memory", _change_regions),
    "SystemSharedMemoryUnregister": Method("shared-memory", _change_regions),
    "CudaSharedMemoryStatus": Method(
        "shared-memory", _region_status("cuda", pb.CudaSharedMemoryStatusResponse)
    ),
    "CudaSharedMemoryRegister": Method("shared-memory", _change_regions),
    "CudaSharedMemoryUnregister": Method("shared-memory", _change_regions),
}
