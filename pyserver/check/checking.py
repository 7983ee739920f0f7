"""The whole check of a model repository, or of one model's folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pyserver.check.describing import Describer, Description
from pyserver.check.ensembles import is_ensemble, judge_ensembles, steps
from pyserver.check.findings import Report, Severity, in_order
from pyserver.check.folder import look_at_folder
from pyserver.check.places import cure
from pyserver.check.private_server import PrivateServer, private_server
from pyserver.check.rules import judge_tensors, read_subject
from pyserver.check.signature import compare, tell_failure
from pyserver.check.subject import Subject
from pyserver.check.synthetic import judge_answer, make_request, takes_text
from pyserver.config.devices import gpu_count
from pyserver.config.load import CONFIG_FILE, finish
from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.config.versions import list_versions
from pyserver.errors import NotFoundError, ServerError
from pyserver.repository.scan import scan
from pyserver.settings import Settings, usable_cores

_VERSION_FAILED: Final = re.compile(
    r"version \d+ is at UNAVAILABLE state: [A-Z][a-z ]+: (?P<why>.*);\s*$", re.DOTALL
)

# Errors that no values of the inputs excuse.
_BROKEN: Final = re.compile(
    r"\b(Name|Attribute|Type|Import|ModuleNotFound|UnboundLocal|NotImplemented)Error\b"
    r"|Expected a list in the execute return|execute function must return None"
    r"|while it executed the request|no answer within"
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be checked. `names` are models of the repository; none means all. `timeout_s`
    bounds each step of each model.
    """

    folder: Path
    names: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)
    timeout_s: float = 60.0
    send: bool = True


def model_folders(folder: Path, names: Sequence[str] = ()) -> tuple[Path, list[str], list[str]]:
    """The repository, all models in it, and those that are meant. A folder that has a config or a
    version is a model's, and its parent the repository. Raises NotFoundError.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}")
    if _is_model(folder):
        return folder.parent, sorted(scan([folder.parent]).models), [folder.name]
    every = sorted(scan([folder]).models)
    if not every:
        raise NotFoundError(f"there is no model in {folder}")
    for name in names:
        if name not in every:
            raise NotFoundError(f"there is no model '{name}' in {folder}")
    return folder, every, sorted(dict.fromkeys(names)) or every


def _is_model(folder: Path) -> bool:
    """Whether it is a model's own; a model may be called 1, and then has versions itself."""
    if (folder / CONFIG_FILE).exists():
        return True
    versions = [folder / str(version) for version in list_versions(folder)]
    return bool(versions) and not any(
        (one / CONFIG_FILE).exists() or list_versions(one) for one in versions
    )


def check(request: Request) -> Report:
    """Looks at everything; raises NotFoundError where there is nothing to look at."""
    repository, every, chosen = model_folders(request.folder, request.names)
    return _Check(request, repository, every, chosen).run()


class _Check:
    def __init__(
        self, request: Request, repository: Path, every: Sequence[str], chosen: list[str]
    ) -> None:
        self._request = request
        self._repository = repository
        self._chosen = chosen
        self._gpus = gpu_count()
        self._notes: list[str] = []
        self._describer = Describer(request.settings, request.timeout_s)
        self._subjects = {
            name: read_subject(
                name,
                repository / name,
                config_name=request.settings.model_config_name,
                gpu_count=self._gpus,
            )
            for name in every
        }

    def run(self) -> Report:
        looked_at = [self._subjects[name] for name in self._needed(self._chosen)]
        for subject in looked_at:
            look_at_folder(subject)
        with ThreadPoolExecutor(max(2, usable_cores())) as pool:
            with_model = [one for one in looked_at if self._can_be_described(one)]
            described = pool.map(self._describer.describe, with_model)
            for subject, description in zip(with_model, described, strict=True):
                self._judge_model(subject, description)
        for subject in looked_at:
            if subject.config is not None and (is_ensemble(subject) or subject not in with_model):
                self._finish(subject, subject.config)
        judge_ensembles(self._subjects, looked_at)
        if self._request.send:
            self._ask_server()
        findings = [one for name in self._chosen for one in self._subjects[name].findings]
        return Report(tuple(self._chosen), in_order(findings, self._chosen), tuple(self._notes))

    def _needed(self, names: Iterable[str]) -> list[str]:
        """These models, and those of their steps."""
        found: dict[str, None] = {}
        pending = list(names)
        while pending:
            name = pending.pop(0)
            if name in self._subjects and name not in found:
                found[name] = None
                pending += steps(self._subjects[name])
        return list(found)

    def _can_be_described(self, subject: Subject) -> bool:
        config = subject.config
        if config is None or is_ensemble(subject) or not subject.versions or not config.backend:
            return False
        file = config.default_model_filename
        return config.backend == "identity" or (subject.version_dir / file).exists()

    def _judge_model(self, subject: Subject, description: Description) -> None:
        assert subject.config is not None
        said = description.bare
        if not description.error and description.full is not None and "input" in description.full:
            said = description.full  # the model's own code has seen the config, and takes it
        if said is not None:
            compare(subject, said)
        if description.skipped:
            self._notes.append(
                f"model '{subject.name}': its signature was not looked at, because"
                f" {description.skipped}"
            )
        completed = subject.config
        if description.error:
            if subject.is_sound:
                tell_failure(subject, description.error)
        else:
            try:
                completed = self._describer.complete(subject, description)
            except ServerError as error:
                if subject.is_sound:
                    tell_failure(subject, str(error))
        self._finish(subject, completed)

    def _finish(self, subject: Subject, completed: ModelConfig) -> None:
        judge_tensors(subject, completed)
        if not subject.is_sound or subject.needs:
            return
        try:
            subject.finished = finish(completed, gpu_count=self._gpus, model_dir=subject.folder)
        except ServerError as error:
            subject.add_rule(str(error))

    # --- the request ---

    def _ask_server(self) -> None:
        ready = [self._subjects[name] for name in self._chosen if self._can_be_asked(name)]
        if not ready:
            return
        try:
            with (
                private_server(
                    self._repository, self._request.settings, self._request.timeout_s
                ) as server,
                ThreadPoolExecutor(max(2, usable_cores())) as pool,
            ):
                loaded = list(pool.map(lambda one: self._load(server, one), ready))
                # After all are loaded, because some call others.
                to_ask = [one for one, good in zip(ready, loaded, strict=True) if good]
                for number, subject in enumerate(to_ask, 1):
                    self._infer(server, subject, number)
        except ServerError as error:
            self._notes.append(f"no request was sent: {error}")

    def _can_be_asked(self, name: str) -> bool:
        subject = self._subjects[name]
        if not subject.is_sound:
            return False
        why = subject.needs
        needed = [self._subjects[one] for one in self._needed([name])]
        for one in needed:
            if (one.folder / "requirements.txt").exists():
                why = why or "its Python would have to be installed first (requirements.txt)"
            if one is not subject and one.needs:
                why = f"model '{one.name}' needs {one.needs}"
        if subject.needs:
            why = f"it needs {subject.needs}"
        if why:
            self._notes.append(f"model '{name}': no request was sent, because {why}")
            return False
        return all(one.finished is not None for one in needed)

    def _load(self, server: PrivateServer, subject: Subject) -> bool:
        try:
            server.load(subject.name)
        except ServerError as error:
            match = _VERSION_FAILED.search(str(error))
            told = match["why"] if match else str(error)
            if cure(told, subject.finished or ModelConfig(), subject.text) is not None:
                subject.add_rule(told)
            elif "warmup" in told or "warm-up" in told:
                subject.add(("model_warmup",), told, "correct the sample, or remove it")
            elif is_ensemble(subject):
                subject.add(("ensemble_scheduling",), told, "correct the models of its steps")
            else:
                tell_failure(subject, told)
            return False
        return True

    def _infer(self, server: PrivateServer, subject: Subject, number: int) -> None:
        config = subject.finished
        assert config is not None
        error: ServerError | None = None
        for ones in (False, True):
            request = make_request(config, ones=ones, number=number)
            if request is None:
                self._notes.append(f"model '{subject.name}': its smallest request is too large")
                return
            try:
                responses = server.infer(request)
            except ServerError as refused:
                error = error or refused
                continue
            judge_answer(subject, config, responses)
            return
        self._tell_refusal(subject, config, str(error))

    def _tell_refusal(self, subject: Subject, config: ModelConfig, error: str) -> None:
        """Zeros and ones were both refused, which a good model may do, if it says so by itself."""
        if is_ensemble(subject):
            subject.add(
                ("ensemble_scheduling",),
                f"the ensemble cannot execute: {error}",
                "correct the model of the step that fails, or see whether zeros are no good for it",
                severity=Severity.WARNING,
            )
            return
        error = error.removeprefix("[request id: <id_unknown>] ")
        broken = _BROKEN.search(error) is not None and not takes_text(config)
        if config.model_warmup and not broken:
            return  # it has executed its own sample
        severity = Severity.MISTAKE if broken else Severity.WARNING
        tell_failure(subject, error, doing="execute", severity=severity)
