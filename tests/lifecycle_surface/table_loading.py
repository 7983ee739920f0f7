"""Loads, reloads and unloads of single models in explicit mode."""

from __future__ import annotations

from tests.lifecycle_surface.folders import TENSORS, Folder, plain, python
from tests.lifecycle_surface.steps import (
    Index,
    Infer,
    Load,
    Ready,
    Remove,
    Scenario,
    Told,
    Unload,
    Write,
)

_BASIC = (
    Scenario(
        "load, reload, unload",
        (
            Index(),
            Index(ready=True),
            Ready("basic"),
            Told("basic"),
            Infer("basic"),
            Load("basic"),
            Index(),
            Index(ready=True),
            Ready("basic"),
            Ready("basic", "1"),
            Ready("basic", "2"),
            Told("basic"),
            Told("basic", "1"),
            Told("basic", "2"),
            Infer("basic"),
            Infer("basic", "1"),
            Infer("basic", "2"),
            Load("basic"),
            Index(),
            Unload("basic"),
            Index(),
            Index(ready=True),
            Ready("basic"),
            Ready("basic", "1"),
            Told("basic"),
            Told("basic", "1"),
            Infer("basic"),
            Infer("basic", "1"),
            Unload("basic"),
            Index(),
            Load("basic"),
            Index(),
            Infer("basic"),
        ),
        (plain("basic"),),
    ),
    Scenario(
        "a changed model is loaded anew",
        (
            Load("changed"),
            Infer("changed"),
            Write((python("changed", mark="two"),)),
            Infer("changed"),
            Load("changed"),
            Index(),
            Infer("changed"),
            Write((python("changed", mark="three", versions=(2,)),)),
            Load("changed"),
            Index(),
            Infer("changed"),
            Infer("changed", "1"),
            Ready("changed", "1"),
            Told("changed"),
            Write((python("changed", mark="four", versions=(1, 2)),)),
            Load("changed"),
            Index(),
            Infer("changed", "1"),
            Infer("changed"),
        ),
        (python("changed", mark="one"),),
    ),
    Scenario("unload of an unknown model", (Unload("nobody"), Index(("nobody",)))),
    Scenario("unload of one never loaded", (Unload("idle"), Index()), (plain("idle"),)),
    Scenario(
        "load of an unknown model",
        (
            Load("unknown"),
            Index(("unknown",)),
            Ready("unknown"),
            Told("unknown"),
            Told("unknown", "1"),
            Infer("unknown"),
            Infer("unknown", "3"),
            Unload("unknown"),
        ),
    ),
    Scenario(
        "a folder comes and goes between loads",
        (
            Load("guest"),
            Write((plain("guest"),)),
            Index(("guest",)),
            Load("guest"),
            Index(),
            Remove("guest"),
            Index(),
            Index(ready=True),
            Infer("guest"),
            Load("guest"),
            Index(),
            Infer("guest"),
            Unload("guest"),
            Index(),
            Load("guest"),
            Index(),
            Write((plain("guest"),)),
            Load("guest"),
            Infer("guest"),
        ),
    ),
)

_GOOD = plain("mended").config or ""
_FAILING = (
    Scenario(
        "a config that cannot be parsed",
        (
            Load("unparsed"),
            Index(),
            Ready("unparsed"),
            Told("unparsed"),
            Infer("unparsed"),
            Unload("unparsed"),
            Index(),
        ),
        (Folder("unparsed", 'backend: "identity"\nno_such_field: 3\n'),),
    ),
    Scenario(
        "a config that is refused",
        (Load("refused"), Index(), Unload("refused"), Index()),
        (Folder("refused", 'backend: "python"\nmax_batch_size: -1\n' + TENSORS),),
    ),
    Scenario(
        "a config of another name",
        (Load("misnamed"), Index(), Load("other_name"), Index(("misnamed", "other_name"))),
        (python("misnamed", named="other_name"),),
    ),
    Scenario(
        "a backend that is not there",
        (Load("no_backend"), Index(), Infer("no_backend"), Unload("no_backend"), Index()),
        (Folder("no_backend", 'backend: "nowhere"\n' + TENSORS),),
    ),
    Scenario(
        "a folder without a version", (Load("empty"), Index()), (plain("empty", versions=()),)
    ),
    Scenario(
        "a folder without anything",
        (Load("bare"), Index(), Unload("bare"), Index()),
        (Folder("bare", None, {}),),
    ),
    Scenario(
        "folders that are no versions",
        (Load("odd_versions"), Index(), Told("odd_versions"), Infer("odd_versions", "3")),
        (
            Folder(
                "odd_versions",
                plain("odd_versions").config,
                {3: False, 0: False},
                {"v1/x": "", "-2/x": "", "007/x": "", "notes": "", "5": "a file"},
            ),
        ),
    ),
    Scenario(
        "initialize fails",
        (
            Load("raising"),
            Index(),
            Ready("raising"),
            Ready("raising", "1"),
            Told("raising"),
            Infer("raising"),
            Infer("raising", "1"),
            Load("raising"),
            Index(),
            Unload("raising"),
            Index(),
            Unload("raising"),
            Index(),
        ),
        (python("raising", raises="1"),),
    ),
    Scenario(
        "a failing model is mended",
        (
            Load("mended"),
            Index(),
            Write((Folder("mended", _GOOD, {1: False}),)),
            Load("mended"),
            Index(),
            Infer("mended"),
        ),
        (python("mended", raises="1"),),
    ),
    Scenario(
        "a failed reload leaves what serves",
        (
            Load("kept"),
            Write((python("kept", mark="two", raises="1"),)),
            Load("kept"),
            Index(),
            Infer("kept"),
            Ready("kept"),
            Write((Folder("kept", "nonsense"),)),
            Load("kept"),
            Index(),
            Infer("kept"),
            Told("kept"),
            Unload("kept"),
            Index(),
        ),
        (python("kept", mark="one"),),
    ),
    Scenario(
        "one of two versions fails",
        (
            Load("halves"),
            Index(),
            Infer("halves"),
            Infer("halves", "1"),
            Ready("halves", "1"),
            Unload("halves"),
            Index(),
        ),
        (python("halves", "version_policy { all { } }", versions=(1, 2), raises="2"),),
    ),
    Scenario(
        "a new version fails beside one that serves",
        (
            Load("grown"),
            Write(
                (
                    python(
                        "grown", "version_policy { all { } }", versions=(1, 2), raises="2", mark="b"
                    ),
                )
            ),
            Load("grown"),
            Index(),
            Infer("grown"),
            Infer("grown", "2"),
            Ready("grown"),
            Ready("grown", "2"),
            Unload("grown"),
            Index(),
        ),
        (python("grown", "version_policy { all { } }", mark="a"),),
    ),
)


def _policy(name: str, policy: str, *more: Infer | Told | Load | Write | Index) -> Scenario:
    model = f"policy_{name.replace(' ', '_')}"
    return Scenario(
        f"version policy: {name}",
        (Load(model), Index(), Index(ready=True), Told(model), Infer(model), *more),
        (plain(model, policy, versions=(1, 3, 7)),),
    )


_POLICIES = (
    _policy("none", "", Infer("policy_none", "1")),
    _policy("latest", "version_policy { latest { } }"),
    _policy("latest two", "version_policy { latest { num_versions: 2 } }"),
    _policy("latest nine", "version_policy { latest { num_versions: 9 } }"),
    _policy("all", "version_policy { all { } }", Infer("policy_all", "1")),
    _policy("specific", "version_policy { specific { versions: [ 1, 3 ] } }"),
    _policy(
        "one specific is missing",
        "version_policy { specific { versions: [ 1, 9 ] } }",
        Infer("policy_one_specific_is_missing", "9"),
    ),
    _policy("all specific are missing", "version_policy { specific { versions: [ 8, 9 ] } }"),
    _policy("no specific", "version_policy { specific { } }"),
    Scenario(
        "version policy: changes",
        (
            Load("policy_moves"),
            Write((plain("policy_moves", "version_policy { all { } }", versions=(1, 2, 3)),)),
            Load("policy_moves"),
            Index(),
            Write(
                (
                    plain(
                        "policy_moves",
                        "version_policy { specific { versions: [ 2 ] } }",
                        versions=(1, 2, 3),
                    ),
                )
            ),
            Load("policy_moves"),
            Index(),
            Index(ready=True),
            Infer("policy_moves"),
            Infer("policy_moves", "3"),
        ),
        (plain("policy_moves", versions=(1, 2, 3)),),
    ),
)

_ODD = ("", " ", ".", "..", "../elsewhere", "a/b", "dotted.name", "a blank", "modèle", ".hidden")
_ODD_FOLDERS = ("dotted.name", "a blank", "modèle", ".hidden")
_NAMES = (
    *(
        Scenario(f"odd name: load {name!r}", (Load(name), Index((name,)), Infer(name, plain=True)))
        for name in _ODD
    ),
    *(Scenario(f"odd name: unload {name!r}", (Unload(name), Index((name,)))) for name in _ODD),
    Scenario(
        "odd name: a very long one",
        (Load("m" * 300), Unload("m" * 300)),
    ),
)
# Laid out for the shared server; the scenarios above are about some of them.
ODD_FOLDERS = Scenario("odd name: folders", (Index(),), tuple(plain(name) for name in _ODD_FOLDERS))

SCENARIOS = (*_BASIC, *_FAILING, *_POLICIES, ODD_FOLDERS, *_NAMES)
