"""From a model's name to its configuration and folder: the part of a load that only reads files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pyserver.errors import InternalError, InvalidArgumentError, ServerError
from pyserver.repository.agents import AgentRun, Agents, AgentSpec
from pyserver.repository.download import Downloads
from pyserver.repository.identity import beside, name_of
from pyserver.repository.override import LoadOverride, remove_override, write_override
from pyserver.repository.registry import DUPLICATED
from pyserver.repository.scan import ModelEntry, Scan, fingerprint, scan
from pyserver.repository.storage import Listing, Storage, StorageError
from pyserver.repository.storage_fsspec import FsspecStorage
from pyserver.repository.storage_url import is_storage_url, parse_storage_url
from pyserver.settings import Settings

if TYPE_CHECKING:
    from pyserver.config.load import LoadedConfig

log = logging.getLogger(__name__)

# How pyserver.config's refusal begins.
_NO_VERSION: Final = "at least one version must be available"


# Equal for two sources that would load the same.
Stamp = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """What a load starts from; `name` is the model's identity. `steps` are the models of an
    ensemble's steps, by their names there. `release` ends what was made for this load alone;
    `agents` have been asked about it.
    """

    name: str
    folder: Path
    config: LoadedConfig
    stamp: Stamp
    release: Callable[[], None] | None = None
    agents: AgentRun | None = None
    steps: Mapping[str, str] = field(default_factory=dict)

    @property
    def temporary(self) -> bool:
        return self.release is not None or self.agents is not None

    def loaded(self) -> None:
        """Tells the agents that the model serves; may wait."""
        if self.agents is not None:
            self.agents.loaded()

    def discard(self) -> None:
        """Removes what was made for this load alone; may wait. To be called once at most."""
        if self.agents is not None:
            self.agents.unload()
        if self.release is not None:
            self.release()


class ModelSources:
    """Reads repositories and configurations, according to the settings. May be used in threads.

    `find` says where a repository lies, by its text in the settings.
    """

    def __init__(
        self,
        settings: Settings,
        gpu_count: int,
        find: Callable[[str], Path | Storage] | None = None,
    ) -> None:
        self._settings = settings
        self._gpu_count = gpu_count
        self._last: Scan | None = None
        self._downloads = Downloads()
        self._agents = Agents(settings.repoagent_directory)
        self._repositories = [
            (find or _repository)(text) for text in dict.fromkeys(settings.model_repository)
        ]

    def scan(self) -> Scan:
        """Raises InvalidArgumentError when a repository cannot be read."""
        try:
            self._last = scan(self._repositories, namespacing=self._settings.model_namespacing)
            return self._last
        except OSError as error:
            reason = error.strerror or str(error)
            raise InvalidArgumentError(
                f"failed to read model repository {error.filename}: {reason}"
            ) from error
        except StorageError as error:
            raise InvalidArgumentError(f"failed to read model repository: {error}") from error

    def known(self) -> Scan:
        """The same, for whoever only wants to show it: while object storage does not answer, what
        there was when it last did.
        """
        try:
            return self.scan()
        except InvalidArgumentError as error:
            last = self._last
            if last is None or not isinstance(error.__cause__, StorageError):
                raise
            log.warning("the repository index is an old one: %s", error)
            return last

    def stamp(self, entry: ModelEntry) -> Stamp:
        """What `open` would stamp the model of a scan with. Downloads nothing; raises StorageError
        when object storage does not answer.
        """
        if entry.storage is None:
            return str(entry.path), fingerprint(entry.path), ""
        return _remote_stamp(entry.storage, entry.name, entry.storage.listing(entry.name), "")

    def marks(self) -> tuple[dict[str, str], frozenset[str]]:
        """For each model a text that changes whenever its folder does; and the duplicates."""
        found = self.scan()
        marks: dict[str, str] = {}
        for name, entry in found.models.items():
            try:
                _, mark, _ = self.stamp(entry)
            except StorageError as error:
                raise InvalidArgumentError(f"failed to read model '{name}': {error}") from error
            if mark:
                marks[name] = mark
        return marks, found.duplicates

    def folders(self) -> list[Path]:
        """The repositories that the kernel can tell of."""
        return [one for one in self._repositories if isinstance(one, Path)]

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
        if entry.storage is not None:
            return self._open_remote(name, entry, entry.storage, override)
        path, mark, _ = self.stamp(entry)
        config = self._load_config(name, entry.path, override)
        text = override.config if override else ""
        steps = _steps(name, config, found)
        return ModelSource(name, entry.path, config, (path, mark, text), steps=steps)

    def peek(self, name: str) -> ModelSource:
        """The same for its config alone: there may be no folder to it any more."""
        source = self.open(name)
        source.discard()
        return source

    def run_agents(self, source: ModelSource, override: LoadOverride | None = None) -> ModelSource:
        """Asks the repository agents of its config. They may have it loaded from another folder,
        whose config counts then. PollFailed when one refuses; the source is discarded then.
        """
        from pyserver.config.json_view import config_dict

        wanted = source.config.message.model_repository_agents.agents
        if not wanted:
            return source
        specs = [AgentSpec(one.name, dict(one.parameters)) for one in wanted]
        agents = None
        try:
            config = config_dict(source.config.message)
            agents = self._agents.run(source.name, source.folder, config, specs)
            if agents.folder == source.folder:
                return replace(source, agents=agents)
            found = self._load_config(source.name, agents.folder, override)
            steps = _steps(source.name, found, self.known())
            return replace(source, folder=agents.folder, config=found, agents=agents, steps=steps)
        except BaseException as error:
            replace(source, agents=agents).discard()
            if isinstance(error, LoadFailed | PollFailed) or not isinstance(error, ServerError):
                raise
            log.error("Poll failed for model directory '%s': %s", source.name, error)
            raise PollFailed(source.name, str(error)) from error

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
        stamp = (str(folder), "", override.config)
        release = partial(remove_override, folder)
        steps = _steps(name, config, self.scan())
        return ModelSource(name, folder, config, stamp, release, steps=steps)

    def _open_remote(
        self, name: str, entry: ModelEntry, storage: Storage, override: LoadOverride | None
    ) -> ModelSource:
        from pyserver.config.load import versions_to_serve

        text = override.config if override else ""
        self._check_override(override)

        def choose(folder: Path) -> list[int]:
            config_name = self._settings.model_config_name or None
            return versions_to_serve(folder, config_name=config_name, override=text or None)

        try:
            copy = self._downloads.get(storage, entry.name, choose)
        except ServerError as error:
            log.error("failed to load '%s': %s", name, error)
            raise PollFailed(name, str(error)) from error
        try:
            config = self._load_config(name, copy.folder, override)
        except BaseException:
            self._downloads.remove(copy)
            raise
        stamp = _remote_stamp(storage, entry.name, copy.listing, text)
        release = partial(self._downloads.remove, copy)
        steps = _steps(name, config, self.known())
        return ModelSource(name, copy.folder, config, stamp, release, steps=steps)

    @staticmethod
    def _check_override(override: LoadOverride | None) -> None:
        from pyserver.config.parse import parse_json

        if override is not None:
            try:
                parse_json(override.config)
            except InvalidArgumentError as error:
                raise InvalidArgumentError(f"Invalid config override: {error}") from error

    def _load_config(self, name: str, folder: Path, override: LoadOverride | None) -> LoadedConfig:
        # protobuf takes a while to import; a server without models never needs it.
        from pyserver.config.load import load_config

        self._check_override(override)
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


def _repository(text: str) -> Path | Storage:
    """Where the models lie. Asks nobody yet."""
    if not is_storage_url(text):
        return Path(text)
    try:
        return FsspecStorage(parse_storage_url(text))
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from error


def _remote_stamp(storage: Storage, name: str, listing: Listing, override: str) -> Stamp:
    return f"{storage.url}/{name}", listing.stamp(), override


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
