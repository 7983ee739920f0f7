"""Running one hook of somebody's repository agent in a process of its own, within a time.

The process reads what it is to do from its stdin, which stays open for as long as we live: its end
tells it that we are gone. It answers in a pipe; what it prints goes to the log.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

from pyserver.errors import InvalidArgumentError, UnavailableError

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES: Final = 32 << 10  # which a pipe holds without a reader
_MOST_OUTPUT_BYTES: Final = 64 << 10
_MODULE: Final = "pyserver.repository.agent_process"


def run_hook(
    agent: str, program: Path, hook: str, model: Mapping[str, Any], timeout_s: float
) -> str | None:
    """The folder that the hook gave, if it did. Waits.

    Raises InvalidArgumentError with what the hook raised, UnavailableError when it came to no end.
    """
    what = f"repository agent '{agent}' ('{program}'), {hook} of model '{model['name']}'"
    request = json.dumps({"program": str(program), "hook": hook, "model": model}) + "\n"
    with tempfile.TemporaryFile() as output:
        answer = _run(what, request.encode(), output, timeout_s)
        _log_output(agent, model["name"], output)
    try:
        told: dict[str, Any] = json.loads(answer)
        error, folder = told["error"], told["folder"]
    except (ValueError, KeyError, TypeError):
        raise UnavailableError(f"{what} ended without an answer") from None
    if error is not None:
        raise InvalidArgumentError(f"{what}: {error}")
    return None if folder is None else str(folder)


def _run(what: str, request: bytes, output: IO[bytes], timeout_s: float) -> bytes:
    answer_fd, answer_write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(answer_write_fd)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(answer_write_fd,),
                process_group=0,
            )
        except OSError as error:
            raise UnavailableError(f"{what} cannot be started: {error}") from error
        finally:
            os.close(answer_write_fd)
        assert process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended already, which wait() tells
                process.stdin.write(request)
                process.stdin.flush()
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"{what} took more than {timeout_s:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):  # with all that it has started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        os.set_blocking(answer_fd, False)
        with contextlib.suppress(BlockingIOError):
            answer = os.read(answer_fd, MAX_ANSWER_BYTES)
            if answer:
                return answer
        raise UnavailableError(f"{what} ended with {_ending(code)} and without an answer")
    finally:
        os.close(answer_fd)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _log_output(agent: str, model: str, output: IO[bytes]) -> None:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _MOST_OUTPUT_BYTES))
    if size > _MOST_OUTPUT_BYTES:
        log.warning("repository agent '%s' printed %d bytes; here is the end", agent, size)
    for line in output.read().decode("utf-8", "replace").splitlines():
        log.info("repository agent '%s', model '%s': %s", agent, model, line)
