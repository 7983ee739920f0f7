"""Ensembles and the models of their steps: who comes with whom, and who goes."""

from __future__ import annotations

from tests.lifecycle_surface.folders import ensemble, plain, python
from tests.lifecycle_surface.steps import (
    Index,
    Infer,
    Load,
    Ready,
    Scenario,
    Told,
    Unload,
    Write,
)

SCENARIOS = (
    Scenario(
        "ensemble: brings its steps, leaves them",
        (
            Load("pair"),
            Index(),
            Infer("pair"),
            Unload("pair"),
            Index(),
            Infer("pair"),
            Infer("pair_a"),
        ),
        (ensemble("pair", "pair_a", "pair_b"), plain("pair_a"), plain("pair_b")),
    ),
    Scenario(
        "ensemble: takes its steps along",
        (Load("duo"), Unload("duo", dependents=True), Index(), Infer("duo_a")),
        (ensemble("duo", "duo_a", "duo_b"), plain("duo_a"), plain("duo_b")),
    ),
    Scenario(
        "ensemble: a step that was asked for stays",
        (
            Load("trio_a"),
            Load("trio"),
            Unload("trio", dependents=True),
            Index(),
            Infer("trio_a"),
            Infer("trio_b"),
        ),
        (ensemble("trio", "trio_a", "trio_b"), plain("trio_a"), plain("trio_b")),
    ),
    Scenario(
        "ensemble: a step that another needs stays",
        (
            Load("left"),
            Load("right"),
            Unload("left", dependents=True),
            Index(),
            Infer("right"),
            Unload("right", dependents=True),
            Index(),
        ),
        (
            ensemble("left", "shared", "of_left"),
            ensemble("right", "shared", "of_right"),
            plain("shared"),
            plain("of_left"),
            plain("of_right"),
        ),
    ),
    Scenario(
        "ensemble: a step is unloaded and comes back",
        (
            Load("whole"),
            Unload("whole_b"),
            Index(),
            Ready("whole"),
            Ready("whole", "1"),
            Told("whole"),
            Infer("whole"),
            Infer("whole", "1"),
            Load("whole_b"),
            Index(),
            Infer("whole"),
            Unload("whole_b"),
            Load("whole"),
            Index(),
            Infer("whole"),
            Unload("whole"),
            Unload("whole_a"),
            Index(),
        ),
        (ensemble("whole", "whole_a", "whole_b"), plain("whole_a"), plain("whole_b")),
    ),
    Scenario(
        "ensemble: dependents of a step",
        (Load("upper"), Unload("lower", dependents=True), Index(), Infer("upper")),
        (ensemble("upper", "lower"), plain("lower")),
    ),
    Scenario(
        "ensemble: a step fails to load",
        (
            Load("limping"),
            Index(),
            Ready("limping"),
            Infer("limping"),
            Write((plain("limps"),)),
            Load("limping"),
            Index(),
            Infer("limping"),
            Unload("limping", dependents=True),
            Index(),
        ),
        (ensemble("limping", "walks", "limps"), plain("walks"), python("limps", raises="1")),
    ),
    Scenario(
        "ensemble: a step is not there",
        (Load("gapped"), Index(), Unload("gapped"), Index()),
        (ensemble("gapped", "gap_a", "gap_b"), plain("gap_a")),
    ),
    Scenario(
        "ensemble: of ensembles",
        (
            Load("outer"),
            Index(),
            Unload("inner_step"),
            Index(),
            Load("inner_step"),
            Index(),
            Infer("outer"),
            Unload("outer", dependents=True),
            Index(),
        ),
        (ensemble("outer", "inner"), ensemble("inner", "inner_step"), plain("inner_step")),
    ),
    Scenario(
        "ensemble: its step is loaded anew",
        (
            Load("stack"),
            Write((plain("stack_a", "version_policy { all { } }", versions=(1, 2)),)),
            Load("stack_a"),
            Index(),
            Infer("stack"),
        ),
        (ensemble("stack", "stack_a"), plain("stack_a")),
    ),
)
