"""Every case of cases.txt gets the answer that the real Triton gave, or the table says why not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pyserver.config.json_view import config_dict, metadata_dict
from pyserver.config.load import LoadedConfig, complete, finish, load_config
from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.config.validate_ensemble import check_composing_models
from pyserver.errors import ServerError
from tests.config.cases import CASES, Case

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("recorded.json").read_text())
BY_NAME = {case.name: case for case in CASES}

# What we do differently: a part of our error's text, or LOADS; and why.
LOADS = "loads"
DIFFERS: dict[str, tuple[str, str]] = {
    "with.dot": (LOADS, "which backends there are is not a matter of the configuration"),
    "pair_openvino_any": (LOADS, "as above"),
    "backend_unknown": (LOADS, "as above"),
    "warmup": (LOADS, "the recorded error comes from the model's execute"),
    "unknown_field": (
        "has no field named \"max_batchsize\". Did you mean 'max_batch_size'?",
        "more help",
    ),
    "unknown_enum": ("has no value named TYPE_FLOAT. Did you mean 'TYPE_FP32'?", "more help"),
    "syntax_error": ("line 1, column", "more help"),
    "wrong_type": ("line 1, column 35: Couldn't parse integer", "more help"),
    "two_schedulers": ('is specified along with field "dynamic_batching"', "more help"),
    "twice_the_same": ("should not have multiple", "more help"),
    "agents": (LOADS, "the original crashes"),
    "directories_mixed": (LOADS, "the original hangs; other names are ignored"),
    "directories_negative": (LOADS, "as above"),
    "directories_plus": (LOADS, "as above"),
    "version_huge": (LOADS, "as above"),
    "model_metrics_good": (LOADS, "newer than the recorded server"),
    "metric_without_identifier": ("must specify 'metric_identifier'", "as above"),
    "metric_without_family": ("must specify 'family'", "as above"),
    "metric_without_options": ("must specify 'histogram_options'", "as above"),
    "metric_without_buckets": ("must specify 'buckets'", "as above"),
    "state_with_file_missing": (LOADS, "whoever keeps states reads their files"),
    "input_name_twice": ("'IN' is specified more than once", "nobody can mean it"),
    "output_name_twice": ("'OUT' is specified more than once", "as above"),
    "batch_input_unknown_kind": ("unknown batch input kind '17'", "clearer"),
    "output_label_outside": (
        "must be inside the model directory",
        "newer than the recorded server",
    ),
    "complete_bad_type": (
        "Invalid enum value FP32",
        "the original forgets the whole configuration",
    ),
}

# Whether a step's model can be found, has that version and leads back is not in a configuration.
NOT_OURS = frozenset(
    {
        "composing_unknown_model",
        "composing_version_missing",
        "composing_self",
        "composing_circle",
        "composing_circle_back",
        "composing_bad_model",
        "ensemble_two_steps",
    }
)
# Errors of the model's own Python code; they have a traceback.
FROM_THE_MODEL = frozenset(
    name
    for name, answer in RECORDED.items()
    if any("\\nAt:" in line for line in answer.get("log", ()))
)

_PREFIX = re.compile(
    r"""^"?(?:Poll failed for model directory '[^']*': |failed to load model '[^']*': """
    r"|failed to load '[^']*' version \d+: [A-Z][a-z ]+: |Invalid argument: )"
)


def _load(case: Case, repository: Path) -> tuple[ModelConfig, LoadedConfig]:
    """The three steps, with the recorded answer of the model's auto_complete_config."""
    folder = case.write(repository, "")
    loaded = load_config(case.name, folder, config_name=None, gpu_count=0)
    recorded = RECORDED[case.name]
    if "before" in recorded:
        assert config_dict(loaded.message) == recorded["before"]
    made = finish(complete(loaded.message, recorded.get("after")), gpu_count=0, model_dir=folder)
    if made.platform == "ensemble":
        models = {
            step.model_name: _load(BY_NAME[step.model_name], repository)[0]
            for step in made.ensemble_scheduling.step
            if not (repository / step.model_name).exists()
        }
        made.model_transaction_policy.decoupled = check_composing_models(made, models)
    return made, loaded


def _names_in_order(tree: object) -> object:
    """The names of all members but those of maps, which the original keeps in hash order."""
    if isinstance(tree, list):
        return [_names_in_order(item) for item in tree]
    if isinstance(tree, dict):
        maps = ("parameters", "priority_queue_policy", "metric_tags")
        return [(k, () if k in maps else _names_in_order(v)) for k, v in tree.items()]
    return ()


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.name not in NOT_OURS | FROM_THE_MODEL],
    ids=lambda case: case.name,
)
def test_a_configuration_gets_tritons_answer(case: Case, tmp_path: Path) -> None:
    recorded = RECORDED[case.name]
    wanted, _ = DIFFERS.get(case.name, ("", ""))
    if wanted == LOADS:
        _load(case, tmp_path)
    elif wanted or "error" in recorded:
        with pytest.raises(ServerError) as raised:
            _load(case, tmp_path)
        if wanted:
            assert wanted in str(raised.value)
        else:
            texts = [_PREFIX.sub("", line).removesuffix('"') for line in recorded["log"]]
            assert str(raised.value).replace(str(tmp_path), "<work>/models") in texts
    else:
        made, loaded = _load(case, tmp_path)
        theirs = json.loads(recorded["config"])
        if "ensemble_scheduling" in theirs:
            # Newer than the recorded server.
            theirs["ensemble_scheduling"]["max_inflight_requests"] = 0
        assert config_dict(made) == theirs
        assert _names_in_order(config_dict(made)) == _names_in_order(theirs)
        assert metadata_dict(made, loaded.versions) == json.loads(recorded["metadata"])
        assert list(loaded.versions) == recorded["versions"]


def test_every_difference_is_about_a_case() -> None:
    assert set(DIFFERS) | NOT_OURS <= {case.name for case in CASES}
    assert set(RECORDED) == {case.name for case in CASES}
