"""A histogram; servers before 24.12 do not have them."""

import numpy as np
import triton_python_backend_utils as pb_utils


def text_of(call, *args, **more):
    try:
        return str(call(*args, **more) is not None)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


class TritonPythonModel:
    def execute(self, requests):
        family = pb_utils.MetricFamily("sizes", "of what", pb_utils.MetricFamily.HISTOGRAM)
        metric = family.Metric(labels={"a": "b"}, buckets=[0.1, 1.0, 10.0])
        for value in (0.05, 0.5, 5, 50):
            metric.observe(value)
        counter = pb_utils.MetricFamily("counted", "", pb_utils.MetricFamily.COUNTER)
        texts = [
            text_of(metric.increment, 1),
            text_of(metric.set, 1),
            text_of(metric.value),
            text_of(family.Metric, labels={"a": "c"}),
            text_of(family.Metric, labels={"a": "c"}, buckets=[2.0, 1.0]),
            text_of(counter.Metric, labels={}, buckets=[1.0]),
            text_of(counter.Metric(labels={}).observe, 1),
        ]
        tensor = pb_utils.Tensor("TEXT", np.array(texts, dtype=object))
        return [pb_utils.InferenceResponse([tensor]) for _ in requests]
