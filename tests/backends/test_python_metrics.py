"""MetricFamily and Metric by themselves: values, and Triton's texts."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from pyserver.backends import python_metrics
from pyserver.backends import triton_python_backend_utils as utils
from pyserver.backends.triton_python_backend_utils import MetricFamily, TritonModelException


def shown() -> dict[str, Any]:
    return {one["name"]: one for one in python_metrics._books.view()}


def test_values_of_each_kind() -> None:
    requests = MetricFamily("requests", "how many", MetricFamily.COUNTER)
    counter = requests.Metric(labels={"model": "m", "version": "1"})
    counter.increment(2)
    counter.increment(0.5)
    assert counter.value() == 2.5
    depth = MetricFamily(name="depth", description="how deep", kind=MetricFamily.GAUGE)
    gauge = depth.Metric()
    gauge.set(7)
    gauge.increment(-3)
    assert gauge.value() == 4.0
    times = MetricFamily("times", "how long", utils.MetricKind.HISTOGRAM)
    histogram = times.Metric(labels={}, buckets=[1, 2.5])
    for value in (0.5, 1, 2, 99):
        histogram.observe(value)
    assert shown()["requests"] == {
        "name": "requests",
        "help": "how many",
        "kind": "counter",
        "series": [{"labels": {"model": "m", "version": "1"}, "value": 2.5}],
    }
    assert shown()["times"]["series"] == [
        {"labels": {}, "buckets": [1.0, 2.5], "counts": [2, 1, 1], "sum": 102.5}
    ]


def test_equal_labels_are_one_metric_and_vanish_with_the_last_of_them() -> None:
    family = MetricFamily("shared", "", MetricFamily.COUNTER)
    one, other = family.Metric({"a": "1"}), family.Metric({"a": "1"})
    second = MetricFamily("shared", "", MetricFamily.COUNTER)
    again = second.Metric({"b": "1"})
    one.increment(1)
    other.increment(2)
    assert one.value() == 3 and again.value() == 0
    del one
    assert len(shown()["shared"]["series"]) == 2
    del other, again
    gc.collect()
    assert shown()["shared"]["series"] == []


def test_a_family_that_was_deleted_before_its_metrics() -> None:
    family = MetricFamily("gone", "", MetricFamily.COUNTER)
    metric = family.Metric()
    del family
    gc.collect()
    assert "gone" not in shown()
    with pytest.raises(TritonModelException) as failed:
        metric.increment(1)
    assert str(failed.value) == (
        "Failed to increment metric value: Invalid metric operation as the corresponding"
        " 'MetricFamily' has been deleted. The 'MetricFamily' object should be deleted AFTER its"
        " corresponding 'Metric' objects have been deleted."
    )


COUNTER = MetricFamily("errors_counter", "", MetricFamily.COUNTER)
GAUGE = MetricFamily("errors_gauge", "", MetricFamily.GAUGE)
HISTOGRAM = MetricFamily("errors_histogram", "", MetricFamily.HISTOGRAM)


@pytest.mark.parametrize(
    ("work", "text"),
    [
        (
            lambda: COUNTER.Metric().increment(-1),
            "Failed to increment metric value: TRITONSERVER_METRIC_KIND_COUNTER can only be"
            " incremented monotonically by non-negative values.",
        ),
        (
            lambda: COUNTER.Metric().set(1),
            "Failed to set metric value: TRITONSERVER_METRIC_KIND_COUNTER does not support Set",
        ),
        (
            lambda: COUNTER.Metric().observe(1),
            "Failed to observe metric value: TRITONSERVER_METRIC_KIND_COUNTER does not support"
            " Observe",
        ),
        (
            lambda: GAUGE.Metric().observe(1),
            "Failed to observe metric value: TRITONSERVER_METRIC_KIND_GAUGE does not support"
            " Observe",
        ),
        (
            lambda: HISTOGRAM.Metric(buckets=[1]).increment(1),
            "Failed to increment metric value: TRITONSERVER_METRIC_KIND_HISTOGRAM does not support"
            " Increment",
        ),
        (
            lambda: HISTOGRAM.Metric(buckets=[1]).set(1),
            "Failed to set metric value: TRITONSERVER_METRIC_KIND_HISTOGRAM does not support Set",
        ),
        (
            lambda: HISTOGRAM.Metric(buckets=[1]).value(),
            "Failed to get metric value: TRITONSERVER_METRIC_KIND_HISTOGRAM does not support Value",
        ),
        (
            lambda: HISTOGRAM.Metric(),
            "Failed to create metric. Missing required buckets.",
        ),
        (
            lambda: HISTOGRAM.Metric(buckets=(1, 2)),
            "Failed to create metric. Buckets must be a list.",
        ),
        (
            lambda: HISTOGRAM.Metric(buckets=[2, 1]),
            "Error when creating Metric: Bucket Boundaries must be strictly sorted",
        ),
        (
            lambda: GAUGE.Metric(buckets=[1]),
            "Failed to create metric. Unexpected buckets found.",
        ),
        (
            lambda: GAUGE.Metric(labels="a"),
            "Failed to create metric. Labels must be a dictionary.",
        ),
        (
            lambda: GAUGE.Metric(labels={"a": 1}),
            "Error when creating Metric: attempt to access JSON non-string as string",
        ),
        (
            lambda: GAUGE.Metric(labels={"a-b": "1"}),
            "Error when creating Metric: Invalid label name",
        ),
        (
            lambda: MetricFamily("a-b", "", MetricFamily.GAUGE),
            "Error when creating MetricFamily: Invalid metric name",
        ),
        (
            lambda: MetricFamily("errors_gauge", "", MetricFamily.COUNTER),
            "Error when creating MetricFamily: Family name already exists with different type",
        ),
    ],
)
def test_what_cannot_be_done(work: Callable[[], object], text: str) -> None:
    with pytest.raises(TritonModelException) as failed:
        work()
    assert str(failed.value) == text
