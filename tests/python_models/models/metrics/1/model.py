"""Counters, gauges and histograms of a model's own, and what they refuse."""

import numpy as np
import triton_python_backend_utils as pb_utils


def text_of(call, *args, **more):
    try:
        return str(call(*args, **more))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


class TritonPythonModel:
    def initialize(self, args):
        self.calls = pb_utils.MetricFamily(
            name="calls_of_this_model",
            description="how often it was called",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        self.counted = self.calls.Metric(labels={"model": args["model_name"], "version": "1"})
        self.level = pb_utils.MetricFamily("level", "a gauge", pb_utils.MetricFamily.GAUGE)
        self.gauge = self.level.Metric(labels={"where": "here"})

    def execute(self, requests):
        responses = []
        for request in requests:
            kind = pb_utils.get_input_tensor_by_name(request, "KIND").as_numpy()[0].decode()
            texts = getattr(self, kind)()
            tensor = pb_utils.Tensor("TEXT", np.array(texts, dtype=object))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses

    def counter(self):
        self.counted.increment(1)
        self.counted.increment(2.5)
        return [
            str(self.counted.value()),
            text_of(self.counted.increment, -1),
            text_of(self.counted.increment, 0),
            text_of(self.counted.set, 3),
            str(self.counted.value()),
        ]

    def gauges(self):
        self.gauge.set(5)
        self.gauge.increment(-7.5)
        other = self.level.Metric(labels={"where": "there"})
        same = self.level.Metric(labels={"where": "here"})
        bare = self.level.Metric()
        return [
            str(self.gauge.value()),
            str(other.value()),
            str(same.value()),
            str(bare.value()),
            text_of(other.set, -1),
            str(other.value()),
        ]

    def errors(self):
        family = pb_utils.MetricFamily
        gone = family("gone", "deleted early", family.COUNTER)
        orphan = gone.Metric(labels={})
        del gone
        return [
            text_of(family, "level", "another kind", family.COUNTER),
            text_of(family, "9 bad name", "", family.COUNTER),
            text_of(self.level.Metric, labels={"9 bad": "x"}),
            text_of(self.level.Metric, labels={"a": 1}),
            text_of(self.level.Metric, labels=[1]),
            text_of(self.calls.Metric, labels={"__a": "x"}),
            text_of(orphan.increment, 1),
            text_of(orphan.value),
        ]

    def again(self):
        family = pb_utils.MetricFamily("level", "a gauge", pb_utils.MetricFamily.GAUGE)
        metric = family.Metric(labels={"where": "again"})
        metric.set(4)
        return [str(metric.value()), text_of(lambda: int(pb_utils.MetricFamily.GAUGE))]
