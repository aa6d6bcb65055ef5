"""Figures of checks as metrics of Prometheus and OpenTelemetry: numbers and names, no texts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any
from weakref import WeakKeyDictionary

from lancedb_embedders.errors import ConfigurationError, MissingExtraError
from lancedb_embedders.tools.watch.report import FIGURES, Quality

#: What every metric's name begins with.
PREFIX = "lancedb_embedders_quality"

_CHECKS = "checks that were made"
_ROWS = "rows that were checked"
_FINDINGS = "findings of checks"
# Rows are counted up, and no gauge beside that.
_GAUGES = {name: meaning for name, meaning in FIGURES.items() if name != "rows"}

_lock = threading.Lock()
_metrics: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


class Prometheus:
    """Sets a gauge for each figure of a check, and counts checks, rows and findings.

    Parameters
    ----------
    registry : prometheus_client.CollectorRegistry, optional
        None: the one of the process. Several monitors share its metrics.
    """

    def __init__(self, registry: Any = None) -> None:
        _require("prometheus_client", "prometheus-client")
        from prometheus_client import REGISTRY, Counter, Gauge

        registry = REGISTRY if registry is None else registry
        labels = ["name", "function", "model"]
        self._gauges = {
            name: _shared(Gauge, f"{PREFIX}_{name}", meaning, labels, registry)
            for name, meaning in _GAUGES.items()
        }
        self._checks = _shared(Counter, f"{PREFIX}_checks", _CHECKS, labels, registry)
        self._rows = _shared(Counter, f"{PREFIX}_rows", _ROWS, labels, registry)
        self._findings = _shared(
            Counter, f"{PREFIX}_findings", _FINDINGS, [*labels, "code", "severity"], registry
        )

    def __call__(self, quality: Quality) -> None:
        """Report a check."""
        labels = _labels(quality)
        for name, gauge in self._gauges.items():
            value = quality.figures[name]
            # A figure that could not be had must not go on as the one before.
            gauge.labels(**labels).set(float("nan") if value is None else value)
        self._checks.labels(**labels).inc()
        self._rows.labels(**labels).inc(quality.rows)
        for found in quality.findings:
            self._findings.labels(**labels, code=found.code, severity=found.severity).inc()


class OpenTelemetry:
    """Sets a gauge for each figure of a check, and counts checks, rows and findings.

    Parameters
    ----------
    meter : opentelemetry.metrics.Meter, optional
        None: that of the process's meter provider.
    """

    def __init__(self, meter: Any = None) -> None:
        _require("opentelemetry", "opentelemetry-api")
        from opentelemetry import metrics

        if meter is None:
            meter = metrics.get_meter("lancedb_embedders")
        dotted = PREFIX.replace("_quality", ".quality")
        self._gauges = {
            name: meter.create_gauge(f"{dotted}.{name}", description=meaning)
            for name, meaning in _GAUGES.items()
        }
        self._checks = meter.create_counter(f"{dotted}.checks", description=_CHECKS)
        self._rows = meter.create_counter(f"{dotted}.rows", description=_ROWS)
        self._findings = meter.create_counter(f"{dotted}.findings", description=_FINDINGS)

    def __call__(self, quality: Quality) -> None:
        """Report a check."""
        labels = _labels(quality)
        for name, gauge in self._gauges.items():
            value = quality.figures[name]
            if value is not None:
                gauge.set(value, labels)
        self._checks.add(1, labels)
        self._rows.add(quality.rows, labels)
        for found in quality.findings:
            self._findings.add(1, {**labels, "code": found.code, "severity": found.severity})


def exporter(to: str, into: Any) -> Callable[[Quality], None]:
    """Return what reports checks as metrics.

    Parameters
    ----------
    to : str
        ``"prometheus"`` or ``"opentelemetry"``.
    into : object, optional
        A registry or a meter.

    Raises
    ------
    ConfigurationError
        Another `to`.
    """
    if to == "prometheus":
        return Prometheus(into)
    if to == "opentelemetry":
        return OpenTelemetry(into)
    raise ConfigurationError(f'metrics go to "prometheus" or "opentelemetry", not {to!r}')


def _labels(quality: Quality) -> dict[str, str]:
    return {
        "name": quality.name,
        "function": quality.function or "",
        "model": quality.model or "",
    }


def _shared(kind: Any, name: str, meaning: str, labels: list[str], registry: Any) -> Any:
    """Return a metric of a registry, which takes each name once."""
    with _lock:
        known = _metrics.setdefault(registry, {})
        if name not in known:
            known[name] = kind(name, meaning, labels, registry=registry)
        return known[name]


def _require(module: str, package: str) -> None:
    if find_spec(module) is None:
        raise MissingExtraError(
            f"Metrics need a package that is not installed. Install it with: pip install {package}"
        )
