"""Warm-up: what becomes of a config's samples, and when instances run them."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pyserver.config.parse import parse_text
from pyserver.core.catalog import model_spec
from pyserver.core.warm_up import Sample, make_samples
from pyserver.errors import InternalError, InvalidArgumentError
from tests.core.fakes import Bench, eventually, write_model

Make = Callable[..., Bench]

PREFIX = r"\[request id: <id_unknown>\] "
MODEL = """
name: "m" max_batch_size: 4
input [ { name: "X" data_type: TYPE_INT32 dims: [ -1 ] }, { name: "S" data_type: TYPE_STRING
  dims: [ 1 ] optional: true } ]
"""
SEQUENCE = """
sequence_batching { control_input [ { name: "START" control [ { kind: CONTROL_SEQUENCE_START
  int32_false_true: [ 0, 1 ] } ] } ] }
"""


def _input(data: str, name: str = "X", kind: str = "INT32", dims: str = "2") -> str:
    return f'inputs {{ key: "{name}" value {{ data_type: TYPE_{kind} dims: [ {dims} ] {data} }} }} '


ZERO, FILE = "zero_data: true", 'input_data_file: "numbers"'


def samples(
    folder: Path,
    inputs: str,
    more: str = "batch_size: 1",
    *,
    model: str = "",
    batching: bool = True,
) -> list[Sample]:
    text = f'{model} model_warmup [ {{ name: "s" {more} {inputs} }} ]'
    config = parse_text(f"{MODEL} {text}".encode(), source="config.pbtxt")
    if not batching:
        config.max_batch_size = 0
    return list(make_samples(config, model_spec(config, folder), 1, folder))


def refusal(folder: Path, inputs: str, text: str, more: str = "batch_size: 1") -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{text}$"):
        samples(folder, inputs, more)


def write(folder: Path, name: str, content: bytes) -> None:
    (folder / "warmup").mkdir(exist_ok=True)
    (folder / "warmup" / name).write_bytes(content)


def test_a_sample_is_as_many_requests_as_its_batch_has_rows(tmp_path: Path) -> None:
    [sample] = samples(tmp_path, _input(ZERO), "batch_size: 3 count: 2")
    assert (sample.name, sample.count, sample.requests.requests) == ("s", 2, 3)
    assert sample.requests.tensors()[:8] == bytes(8)
    assert sample.requests.byte_size == 64, "filled up"
    assert samples(tmp_path, _input(ZERO), "batch_size: 1 count: 0")[0].count == 1


def test_no_rows_are_skipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert samples(tmp_path, _input(ZERO), "batch_size: 0") == []
    assert "warm-up sample 's' has batch_size 0 and is skipped" in caplog.text


def test_random_numbers_are_numbers_and_random_strings_are_empty(tmp_path: Path) -> None:
    given = _input("random_data: true") + _input("random_data: true", "S", "STRING", "1")
    [sample] = samples(tmp_path, given)
    strings, numbers = sample.requests.tensors()[:4], sample.requests.tensors()[64:72]
    assert strings == bytes(4)
    assert numbers != bytes(8)
    assert samples(tmp_path, given)[0].requests.tensors()[64:72] == numbers


def test_files_are_raw_tensors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "numbers", struct.pack("<2i", 5, 6))
    write(tmp_path, "text", b"\3\0\0\0abc")
    text = _input('input_data_file: "text"', "S", "STRING", "1")
    [sample] = samples(tmp_path, _input(FILE) + text)
    assert sample.requests.tensors()[:7] == b"\3\0\0\0abc"
    assert sample.requests.tensors()[64:72] == struct.pack("<2i", 5, 6)
    assert not caplog.text
    [sample] = samples(tmp_path, _input(FILE, dims="1"))
    assert sample.requests.tensors()[:4] == struct.pack("<i", 5)
    assert "has 8 bytes, of which the first 4 are taken" in caplog.text


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "numbers", bytes(8))
    refusal(
        tmp_path,
        _input(FILE, dims="3"),
        f"{PREFIX}warmup setting expects 12 bytes, but the data provided from numbersonly has 8"
        " bytes",
    )
    refusal(
        tmp_path,
        _input(ZERO) + _input(FILE, "S", "STRING", "1"),
        f"{PREFIX}unexpected number of string elements 2 for inference input 'S' for model 'm',"
        " expecting 1",
    )
    with pytest.raises(InternalError, match=r"^failed to open text file for read .*/warmup/lost: "):
        samples(tmp_path, _input('input_data_file: "lost"'))


@pytest.mark.parametrize("file", ["../secret", "/etc/hostname", "link", "a/../../secret"])
def test_files_outside_the_folder_are_refused(tmp_path: Path, file: str) -> None:
    write(tmp_path, "numbers", bytes(8))
    (tmp_path / "secret").write_bytes(bytes(8))
    (tmp_path / "warmup" / "link").symlink_to(tmp_path / "secret")
    refusal(
        tmp_path,
        _input(f'input_data_file: "{file}"'),
        f"warm-up file '{file}' must be inside the folder 'warmup' of the model's directory: it .*",
    )


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "warmup").mkdir()
    os.mkfifo(tmp_path / "warmup" / "pipe")
    refusal(tmp_path, _input('input_data_file: "pipe"'), "warm-up file .* is not a regular file")
    refusal(tmp_path, _input('input_data_file: ""'), "warm-up file '' .*: it is empty")


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    write(tmp_path, "there", struct.pack("<2i", 5, 6))
    (tmp_path / "warmup" / "numbers").symlink_to("there")
    [sample] = samples(tmp_path, _input(FILE))
    assert sample.requests.tensors()[:8] == struct.pack("<2i", 5, 6)


def test_samples_are_checked_as_requests_are(tmp_path: Path) -> None:
    refusal(
        tmp_path,
        _input(""),
        f"{PREFIX}warmup setting expects input 'X' to have input_data_type set",
    )
    refusal(
        tmp_path,
        _input(ZERO, dims="-1"),
        "warmup setting expects all variable-size dimensions are specified for input 'X'",
    )
    refusal(
        tmp_path,
        _input(ZERO, kind="FP32"),
        f"{PREFIX}inference input 'X' data-type is 'FP32', but model 'm' expects 'INT32'",
    )
    refusal(
        tmp_path,
        _input(ZERO, kind="INVALID"),
        f"{PREFIX}inference input 'X' data-type is '<invalid>', but model 'm' expects 'INT32'",
    )
    refusal(
        tmp_path,
        _input(ZERO) + _input(ZERO, "START"),
        "unexpected inference input 'START' for model 'm'",
    )
    refusal(
        tmp_path,
        _input(ZERO),
        "failed to run warmup sample 's': batch size 5 for 'm', max allowed is 4",
        "batch_size: 5",
    )


def test_a_model_without_batching_takes_one_row(tmp_path: Path) -> None:
    assert samples(tmp_path, _input(ZERO), batching=False)
    with pytest.raises(InvalidArgumentError, match="batch size 2 for 'm', max allowed is 1"):
        samples(tmp_path, _input(ZERO), "batch_size: 2", batching=False)


def test_samples_may_give_control_tensors(tmp_path: Path) -> None:
    given = _input(ZERO) + _input("random_data: true", "START", dims="1")
    [sample] = samples(tmp_path, given, model=SEQUENCE)
    assert sample.requests.byte_size == 128


WARM_UP = (
    "model_warmup [ "
    '{ name: "a" batch_size: 2 count: 2 inputs { key: "INPUT0" value { data_type: TYPE_FP32'
    " dims: [ 2 ] zero_data: true } } }, "
    '{ name: "b" batch_size: 1 inputs { key: "INPUT0" value { data_type: TYPE_FP32'
    " dims: [ 1 ] zero_data: true } } } ]"
)


async def started(bench: Make, tmp_path: Path, *says: str | None) -> Bench:
    write_model(tmp_path, "m", more=WARM_UP, count=2)
    made = bench()
    made.engine.warm_up_says = list(says)
    made.core.spawn_task(made.start())
    await eventually(lambda: made.engine.warmed)
    return made


async def test_each_instance_runs_all_samples_before_it_takes_traffic(
    bench: Make, tmp_path: Path
) -> None:
    made = await started(bench, tmp_path, "", None)
    await eventually(lambda: len(made.engine.warmed) == 2)
    assert made.engine.instances == {1: set()}
    version = made.core.registry.version("m", 1)
    assert version.state == "LOADING"
    first = made.engine.warmed[0][0]
    made.engine.say("warmed_up", first + 100, "of somebody else")
    made.engine.say("warmed_up", first, "")
    await eventually(lambda: version.state == "READY")
    [one] = made.supervisor.alive
    assert made.engine.instances == {1: set(one.peers)}
    assert [(peer, sample.requests) for peer, sample in made.engine.warmed] == [
        (peer, requests) for peer in one.peers for requests in (2, 2, 1)
    ]


async def test_a_failing_sample_fails_the_load(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path, "", "", "no weights")
    version = made.core.registry.version("m", 1)
    await eventually(lambda: version.state == "UNAVAILABLE")
    assert version.reason == "Invalid argument: failed to run warmup sample 'b': no weights"
    assert len(made.engine.warmed) == 3
    assert not made.supervisor.alive and not made.engine.models
    assert not [kind for kind in made.engine.peers.values() if kind == "instance"]


async def test_a_sample_that_is_no_good_fails_the_load_before_the_model_is_loaded(
    bench: Make, tmp_path: Path
) -> None:
    write_model(tmp_path, "m", more=WARM_UP.replace("FP32", "FP64"))
    made = bench()
    await made.start()
    version = made.core.registry.version("m", 1)
    await eventually(lambda: version.state == "UNAVAILABLE")
    assert "data-type is 'FP64', but model 'm' expects 'FP32'" in version.reason
    assert made.supervisor.instances[0].said == ["prepare"]


@pytest.mark.parametrize("runs", [1, 6])
async def test_death_during_warm_up_fails_the_load(bench: Make, tmp_path: Path, runs: int) -> None:
    made = await started(bench, tmp_path, *[""] * (runs - 1), None)
    await eventually(lambda: len(made.engine.warmed) == runs)
    made.supervisor.alive[0].die(11)
    version = made.core.registry.version("m", 1)
    await eventually(lambda: version.state == "UNAVAILABLE")
    sample = "a" if runs == 1 else "b"
    assert version.reason == (
        f"Invalid argument: failed to run warmup sample '{sample}': instance 'm_0_0..m_0_1' of"
        " model 'm' version 1 was killed by signal 11 (SIGSEGV) while it executed the request"
    )
    assert not made.engine.models and not made.supervisor.alive


async def test_a_restarted_instance_is_warmed_up_again(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path)
    version = made.core.registry.version("m", 1)
    await eventually(lambda: version.state == "READY")
    assert len(made.engine.warmed) == 6
    made.engine.warm_up_says = ["still no good"]
    made.supervisor.alive[0].die(9)
    await eventually(lambda: len(made.supervisor.instances) == 3, "a second attempt")
    await eventually(lambda: len(made.engine.instances[1]) == 2)
    back = made.supervisor.instances[-1]
    assert made.engine.instances[1] == set(back.peers)
    assert made.engine.warmed[7:] == [
        (peer, sample)
        for peer in back.peers
        for sample in (made.engine.warmed[0][1], made.engine.warmed[1][1], made.engine.warmed[2][1])
    ]
    assert version.state == "READY"


async def test_a_server_ends_while_a_warm_up_hangs(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path, None)
    await eventually(lambda: made.engine.warmed)
    await made.core.stop()
    await eventually(lambda: not made.supervisor.alive and not made.engine.models)
