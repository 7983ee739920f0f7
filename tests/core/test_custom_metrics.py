"""What instances count, summed up per model."""

from __future__ import annotations

from typing import Any

from pyserver.core.custom_metrics import CustomMetrics


def family(name: str, kind: str, *series: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "help": "h", "kind": kind, "series": list(series)}


def number(value: float, **labels: str) -> dict[str, Any]:
    return {"labels": labels, "value": value}


def counts(total: float, *given: int) -> dict[str, Any]:
    return {"labels": {}, "buckets": [1.0, 2.0], "counts": list(given), "sum": total}


def test_instances_are_summed_and_a_counter_never_falls() -> None:
    books = CustomMetrics()
    books.report(
        "m", 1, [family("c", "counter", number(1, a="x")), family("g", "gauge", number(5))]
    )
    books.report(
        "m", 1, [family("c", "counter", number(2, a="x")), family("g", "gauge", number(6))]
    )
    books.report("m", 2, [family("c", "counter", number(3, a="x"), number(9, a="y"))])
    books.report("n", 3, [family("h", "histogram", counts(4.0, 1, 0, 1))])
    books.report("n", 4, [family("h", "histogram", counts(0.5, 1, 0, 0))])
    assert books.custom_metrics() == {
        "m": [
            family("c", "counter", number(5, a="x"), number(9, a="y")),
            family("g", "gauge", number(6)),
        ],
        "n": [family("h", "histogram", counts(4.5, 2, 0, 1))],
    }
    books.ended("m", 1)
    books.report("m", 5, [family("c", "counter", number(1, a="x"))])
    assert books.custom_metrics()["m"] == [
        family("c", "counter", number(6, a="x"), number(9, a="y"))
    ]
    books.ended("m", "nobody")
    books.forget("m")
    assert list(books.custom_metrics()) == ["n"]


def test_a_name_that_has_become_another_kind() -> None:
    books = CustomMetrics()
    books.report("m", 1, [family("c", "counter", number(1))])
    books.report("m", 2, [family("c", "histogram", counts(1.0, 1, 0, 0))])
    assert books.custom_metrics()["m"] == [family("c", "counter", number(1))]
