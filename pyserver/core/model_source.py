"""From a model's name to its configuration and folder: the part of a load that only reads files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pyserver.errors import InternalError, InvalidArgumentError, ServerError
from pyserver.repository.identity import beside, name_of
from pyserver.repository.override import LoadOverride, remove_override, write_override
from pyserver.repository.registry import DUPLICATED
from pyserver.repository.scan import Scan, fingerprint, scan
from pyserver.settings import Settings

if TYPE_CHECKING:
    from pyserver.config.load import LoadedConfig

log = logging.getLogger(__name__)

# How pyserver.config's refusal begins.
_NO_VERSION: Final = "at least one version must be available"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """What a load starts from; `name` is the model's identity. `stamp` is equal for two sources
    that would load the same. `steps` are the models of an ensemble's steps, by their names there.
    """

    name: str
    folder: Path
    config: LoadedConfig
    stamp: tuple[str, str, str]
    temporary: bool = False
    steps: Mapping[str, str] = field(default_factory=dict)

    def discard(self) -> None:
        """Removes the folder if it was made for this load alone."""
        if self.temporary:
            remove_override(self.folder)


class ModelSources:
    """Reads repositories and configurations, according to the settings. May be used in threads."""

    def __init__(self, settings: Settings, gpu_count: int) -> None:
        self._settings = settings
        self._gpu_count = gpu_count
        self._repositories = [Path(path) for path in settings.model_repository]

    def scan(self) -> Scan:
        """Raises InvalidArgumentError when a repository cannot be read."""
        try:
            return scan(self._repositories, namespacing=self._settings.model_namespacing)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InvalidArgumentError(
                f"failed to read model repository {error.filename}: {reason}"
            ) from error

    def marks(self) -> tuple[dict[str, str], frozenset[str]]:
        """For each model a text that changes whenever its folder does; and the duplicates."""
        found = self.scan()
        marks = {name: fingerprint(entry.path) for name, entry in found.models.items()}
        return {name: mark for name, mark in marks.items() if mark}, found.duplicates

    def open(self, name: str, override: LoadOverride | None = None) -> ModelSource:
        """Finds the model and reads its config.

        Raises InternalError with Triton's text when there is no such model or its folder is no
        good; InvalidArgumentError when the override is to blame.
        """
        if override is not None and override.files:
            return self._open_files(name, override)
        found = self.scan()
        entry = found.models.get(name)
        if entry is None:
            why = DUPLICATED if name in found.duplicates else "it is in no model repository"
            log.error("failed to load '%s': %s", name, why)
            raise PollFailed(name, why)
        config = self._load_config(name, entry.path, override)
        text = override.config if override else ""
        return ModelSource(
            name,
            entry.path,
            config,
            (str(entry.path), fingerprint(entry.path), text),
            steps=_steps(name, config, found),
        )

    def _open_files(self, name: str, override: LoadOverride) -> ModelSource:
        try:
            folder = write_override(name, override.files)
        except OSError as error:
            log.error("failed to write the override files of model '%s': %s", name, error)
            raise PollFailed(name, str(error)) from error
        try:
            config = self._load_config(name, folder, override)
        except BaseException:
            remove_override(folder)
            raise
        return ModelSource(
            name,
            folder,
            config,
            (str(folder), "", override.config),
            temporary=True,
            steps=_steps(name, config, self.scan()),
        )

    def _load_config(self, name: str, folder: Path, override: LoadOverride | None) -> LoadedConfig:
        # protobuf takes a while to import; a server without models never needs it.
        from pyserver.config.load import load_config
        from pyserver.config.parse import parse_json

        if override is not None:
            try:
                parse_json(override.config)
            except InvalidArgumentError as error:
                raise InvalidArgumentError(f"Invalid config override: {error}") from error
        try:
            return load_config(
                name_of(name),
                folder,
                config_name=self._settings.model_config_name or None,
                gpu_count=self._gpu_count,
                auto_complete=not self._settings.disable_auto_complete_config,
                override=override.config if override else None,
            )
        except (ServerError, OSError) as error:
            log.error("Poll failed for model directory '%s': %s", name, error)
            if str(error).startswith(_NO_VERSION):
                raise NoVersion(name, str(error)) from error
            raise PollFailed(name, str(error)) from error


def _steps(name: str, config: LoadedConfig, found: Scan) -> dict[str, str]:
    steps = config.message.ensemble_scheduling.step
    return {step.model_name: beside(name, step.model_name, found.models) for step in steps}


class PollFailed(InternalError):
    """A model's folder or config is no good. The text is Triton's; `reason` says what is wrong."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"failed to load '{name}', failed to poll from model repository")
        self.reason = reason


class LoadFailed(InvalidArgumentError):
    """The model cannot be loaded. Texts as above."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"load failed for model '{name}': {reason}\n")
        self.reason = reason


class NoVersion(LoadFailed):
    """The model is there, without a version that its policy would serve."""
