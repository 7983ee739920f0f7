"""`MetricFamily` and `Metric` of triton_python_backend_utils.

Values are kept in this process, so that counting costs no message; core hears of them a little
later, and at the end. Families of one name and kind are one, and so are metrics of equal labels:
`value()` is this instance's own, where Triton's is that of all instances. Texts are Triton's.
"""

from __future__ import annotations

import enum
import re
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from pyserver._core import TritonModelException
from pyserver.backends.python_server import NOBODY, connection

REPORT_EVERY_S: Final = 2.0

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_DELETED: Final = (
    "Invalid metric operation as the corresponding 'MetricFamily' has been deleted. The"
    " 'MetricFamily' object should be deleted AFTER its corresponding 'Metric' objects have been"
    " deleted."
)


class MetricKind(enum.IntEnum):
    """What a family's metrics are."""

    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2


class _Series:
    """One set of labels: a number, or a histogram's counts."""

    def __init__(self, labels: dict[str, str], buckets: list[float] | None) -> None:
        self.labels = labels
        self.value = 0.0
        self.buckets = buckets
        self.counts = [0] * (len(buckets) + 1) if buckets is not None else []
        self.sum = 0.0

    def view(self) -> dict[str, Any]:
        if self.buckets is None:
            return {"labels": self.labels, "value": self.value}
        return {
            "labels": self.labels,
            "buckets": self.buckets,
            "counts": list(self.counts),
            "sum": self.sum,
        }


class _Family:
    """All families of one name. A series lives as long as a Metric of it."""

    def __init__(self, name: str, description: str, kind: MetricKind) -> None:
        self.name = name
        self.description = description
        self.kind = kind
        self.series: weakref.WeakValueDictionary[tuple[tuple[str, str], ...], _Series] = (
            weakref.WeakValueDictionary()
        )

    def view(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "help": self.description,
            "kind": self.kind.name.lower(),
            "series": [one.view() for one in self.series.values()],
        }


class _Books:
    """Everything that this process counts. A thread reports changes; one lock for all."""

    def __init__(self) -> None:
        # Deleting a family or a series may happen within any allocation, also under the lock.
        self.lock = threading.RLock()
        self.families: weakref.WeakValueDictionary[str, _Family] = weakref.WeakValueDictionary()
        self._reported: list[dict[str, Any]] = []
        self._reporter: threading.Thread | None = None
        self._over = threading.Event()

    def family(self, name: str, description: str, kind: MetricKind) -> _Family:
        with self.lock:
            known = self.families.get(name)
            if known is None:
                known = self.families[name] = _Family(name, description, kind)
            elif known.kind is not kind:
                raise TritonModelException(
                    connection.refusal("Family name already exists with different type")
                )
            if self._reporter is None and connection.server is not None:
                self._reporter = threading.Thread(target=self._run, name="metrics", daemon=True)
                self._reporter.start()
            return known

    def view(self) -> list[dict[str, Any]]:
        with self.lock:
            return [family.view() for family in self.families.values()]

    def report(self) -> None:
        """Tells core, if anything has changed."""
        view = self.view()
        if connection.server is not None and view != self._reported:
            self._reported = view
            connection.server.send({"op": "metrics", "families": view})

    def _run(self) -> None:
        while not self._over.wait(REPORT_EVERY_S):
            try:
                self.report()
            except Exception:  # core is gone, and this process ends
                return


_books: Final = _Books()


def report_metrics() -> None:
    """For the backend, after finalize: core hears the last values."""
    _books.report()


class MetricFamily:
    """Metrics of one name. Keep it for as long as its metrics are used."""

    COUNTER: ClassVar = MetricKind.COUNTER
    GAUGE: ClassVar = MetricKind.GAUGE
    HISTOGRAM: ClassVar = MetricKind.HISTOGRAM

    def __init__(self, name: str, description: str, kind: MetricKind) -> None:
        """Raises TritonModelException for a bad name, or one that has another kind already."""
        if not all(isinstance(one, str) for one in (name, description)):
            raise TypeError("MetricFamily takes a name and a description of type str")
        if not isinstance(kind, MetricKind):
            raise TypeError("MetricFamily takes a kind: COUNTER, GAUGE or HISTOGRAM")
        try:
            if connection.server is not None and not connection.open:
                raise TritonModelException(NOBODY)
            if not _NAME.fullmatch(name):
                raise TritonModelException(connection.refusal("Invalid metric name"))
            self._family = _books.family(name, description, kind)
        except TritonModelException as error:
            raise TritonModelException(f"Error when creating MetricFamily: {error}") from None

    def Metric(
        self, labels: Mapping[str, str] | None = None, buckets: Sequence[float] | None = None
    ) -> Metric:
        """The metric with these labels; a histogram's needs its buckets' upper bounds, rising."""
        if labels is not None and not isinstance(labels, dict):
            raise TritonModelException("Failed to create metric. Labels must be a dictionary.")
        bounds: list[float] | None = None
        if self._family.kind is MetricKind.HISTOGRAM:
            if buckets is None:
                raise TritonModelException("Failed to create metric. Missing required buckets.")
            if not isinstance(buckets, list):
                raise TritonModelException("Failed to create metric. Buckets must be a list.")
            bounds = [float(bound) for bound in buckets]
            if sorted(set(bounds)) != bounds:
                raise _no_metric("Bucket Boundaries must be strictly sorted")
        elif buckets is not None:
            raise TritonModelException("Failed to create metric. Unexpected buckets found.")
        given = dict(labels or {})
        for key, value in given.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise _no_metric("attempt to access JSON non-string as string")
            if not _LABEL.fullmatch(key) or key.startswith("__"):
                raise _no_metric("Invalid label name")
        key_of = tuple(sorted(given.items()))
        with _books.lock:
            series = self._family.series.get(key_of)
            if series is None:
                series = self._family.series[key_of] = _Series(given, bounds)
        return Metric(self, series)


class Metric:
    """One number (or histogram) of a family: made by `MetricFamily.Metric`."""

    def __init__(self, family: MetricFamily, series: _Series) -> None:
        self._of = weakref.ref(family)
        self._kind = family._family.kind
        self._series = series

    def increment(self, value: float) -> None:
        """Adds; a counter takes no negative value."""

        def add(series: _Series) -> None:
            series.value += value

        if self._kind is MetricKind.COUNTER and value < 0:
            text = (
                "TRITONSERVER_METRIC_KIND_COUNTER can only be incremented monotonically by"
                " non-negative values."
            )
            raise TritonModelException(
                f"Failed to increment metric value: {connection.refusal(text)}"
            )
        self._change("increment", "Increment", add, MetricKind.COUNTER, MetricKind.GAUGE)

    def set(self, value: float) -> None:
        """Of a gauge."""

        def put(series: _Series) -> None:
            series.value = float(value)

        self._change("set", "Set", put, MetricKind.GAUGE)

    def observe(self, value: float) -> None:
        """Of a histogram."""

        def count(series: _Series) -> None:
            bounds = series.buckets or []
            at = next((i for i, bound in enumerate(bounds) if value <= bound), len(bounds))
            series.counts[at] += 1
            series.sum += value

        self._change("observe", "Observe", count, MetricKind.HISTOGRAM)

    def value(self) -> float:
        """Of a counter or a gauge; this instance's own."""
        found = 0.0

        def read(series: _Series) -> None:
            nonlocal found
            found = series.value

        self._change("get", "Value", read, MetricKind.COUNTER, MetricKind.GAUGE)
        return found

    def _change(
        self, verb: str, operation: str, work: Callable[[_Series], None], *kinds: MetricKind
    ) -> None:
        failed = f"Failed to {verb} metric value: "
        with _books.lock:
            if self._of() is None:
                raise TritonModelException(failed + _DELETED)
            if self._kind not in kinds:
                text = f"TRITONSERVER_METRIC_KIND_{self._kind.name} does not support {operation}"
                raise TritonModelException(failed + connection.refusal(text))
            work(self._series)


def _no_metric(text: str) -> TritonModelException:
    return TritonModelException(f"Error when creating Metric: {connection.refusal(text)}")
