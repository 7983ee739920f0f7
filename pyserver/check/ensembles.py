"""How ensembles fit together: the models of their steps, circles, and what each of them takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyserver.check.subject import Subject
from pyserver.config.autofill import ENSEMBLE_PLATFORM
from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.config.parse import did_you_mean
from pyserver.config.validate_ensemble import check_composing_models, composing_models_fit
from pyserver.config.versions import list_versions


def is_ensemble(subject: Subject) -> bool:
    return subject.config is not None and subject.config.platform == ENSEMBLE_PLATFORM


def steps(subject: Subject) -> list[str]:
    """The models that the steps name, each once."""
    if subject.config is None or not is_ensemble(subject):
        return []
    return list(dict.fromkeys(one.model_name for one in subject.config.ensemble_scheduling.step))


def judge_ensembles(subjects: Mapping[str, Subject], chosen: list[Subject]) -> None:
    """Of the chosen subjects; `subjects` are all of the repository that could be read. Those of
    inner ensembles are judged first, since the outer ones need them."""
    for subject in _inner_first(subjects, chosen):
        if subject.config is None:
            continue
        missing = _steps_are_there(subject, subject.config, subjects)
        circle = _circle(subject.name, subjects)
        if circle:
            index = steps(subject).index(circle[1])
            subject.add(
                ("ensemble_scheduling", "step", index, "model_name"),
                f"circular dependency between ensembles: {' -> '.join(circle)}",
                "an ensemble cannot be a step of itself: name another model",
            )
        if missing or circle or not subject.is_sound:
            continue
        _fit(subject, subject.config, subjects)


def _inner_first(subjects: Mapping[str, Subject], chosen: list[Subject]) -> list[Subject]:
    ordered: dict[str, Subject] = {}

    def visit(subject: Subject, path: tuple[str, ...]) -> None:
        if subject.name in path or subject.name in ordered:
            return
        for name in steps(subject):
            if name in subjects:
                visit(subjects[name], (*path, subject.name))
        if is_ensemble(subject):
            ordered[subject.name] = subject

    for subject in chosen:
        visit(subject, ())
    return list(ordered.values())


def _steps_are_there(
    subject: Subject, config: ModelConfig, subjects: Mapping[str, Subject]
) -> bool:
    """Tells what is missing; whether something is."""
    missing = False
    for index, step in enumerate(config.ensemble_scheduling.step):
        path = ("ensemble_scheduling", "step", index)
        if not step.model_name:
            continue
        if step.model_name not in subjects:
            missing = True
            near = did_you_mean(step.model_name, [one for one in subjects if one != subject.name])
            there = (*path, "model_name")
            subject.add(
                there,
                f"ensemble {config.name} contains models that are not available or ambiguous:"
                f" {step.model_name}",
                f"Did you mean '{near}'?"
                if near
                else f"add the model '{step.model_name}' to the repository",
                subject.text.setting(there, f'"{near}"') if near else (),
            )
        elif step.model_version > 0:
            versions = list_versions(subjects[step.model_name].folder)
            if step.model_version not in versions:
                missing = True
                there = (*path, "model_version")
                subject.add(
                    there,
                    f"ensemble '{config.name}' depends on '{step.model_name}' whose required"
                    f" version {step.model_version} is not there",
                    "use model_version: -1 for the newest",
                    subject.text.setting(there, "-1"),
                )
    return missing


def _circle(name: str, subjects: Mapping[str, Subject]) -> tuple[str, ...]:
    """The way from an ensemble back to itself; empty if there is none."""

    def walk(at: str, path: tuple[str, ...]) -> tuple[str, ...]:
        for step in steps(subjects[at]) if at in subjects else ():
            if step == name:
                return (*path, step)
            if step not in path:
                found = walk(step, (*path, step))
                if found:
                    return found
        return ()

    return walk(name, (name,))


def _fit(subject: Subject, config: ModelConfig, subjects: Mapping[str, Subject]) -> None:
    models = dict(_finished(subject, subjects))
    if len(models) < len(steps(subject)):
        return  # a step has mistakes of its own, which come first
    made = ModelConfig()
    made.CopyFrom(config)
    told = False
    for message in composing_models_fit(config, models):
        told = True
        subject.add_rule(message)
    if not told:
        made.model_transaction_policy.decoupled = check_composing_models(config, models)
        subject.finished = made


def _finished(
    subject: Subject, subjects: Mapping[str, Subject]
) -> Iterator[tuple[str, ModelConfig]]:
    for name in steps(subject):
        finished = subjects[name].finished
        if finished is not None:
            yield name, finished
