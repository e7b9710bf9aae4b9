"""docs/metrics.md, the alerts and the dashboard name the metrics that there are."""

import json
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from django.apps import apps
from django.urls import get_resolver
from prometheus_client import REGISTRY

from config import cache, sampling, wsgi
from tests.commands.processes import PROJECT

SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
# What prometheus_client says of a process by itself; of several it says nothing.
ONE_PROCESS = ("python_", "process_")
# Prometheus makes these.
ITS_OWN = {"up", "ALERTS"}
BESIDE_METRICS = re.compile(
    r"\{[^}]*\}|\b(?:by|without|ignoring)\s*\([^)]*\)|\bgroup_left\b|\"[^\"]*\""
)
NAME = re.compile(r"\b[A-Za-z_]\w*\b(?!\s*\()")


def exported() -> dict[str, tuple[str, set[str], list[str]]]:
    """Return type, labels and series of each metric that the service can show, by its name."""
    assert wsgi.application
    assert sampling.start
    assert cache.count_reads
    get_resolver().url_patterns  # noqa: B018 - imports every view
    for app in apps.get_app_configs():
        if find_spec(f"{app.name}.metrics"):
            import_module(f"{app.name}.metrics")
    return {
        name: found
        for metric in set(REGISTRY._collector_to_names)
        if hasattr(metric, "_labelnames")
        for name, found in [described(metric)]
        if not is_beside(metric, name)
    }


def described(metric) -> tuple[str, tuple[str, set[str], list[str]]]:
    name = metric._name + ("_total" if metric._type == "counter" else "")
    series = [metric._name + suffix for suffix in SUFFIXES[metric._type]]
    return name, (metric._type, set(metric._labelnames), series)


def is_beside(metric, name: str) -> bool:
    # django-prometheus declares more than it counts here.
    is_never_counted = name.startswith("django_") and not metric._metrics
    return name.startswith(ONE_PROCESS) or is_never_counted


def queries() -> Iterator[tuple[str, str]]:
    """Yield each expression of alerts and dashboard, with where it stands."""
    alerts = (PROJECT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8")
    yield from re.findall(r"- alert: (\w+)\n +expr: (?:>\n)?((?:.*\n)+?) +(?:for|labels):", alerts)
    dashboard = json.loads((PROJECT / "deploy/grafana/dashboard.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def names_in(expression: str) -> set[str]:
    return set(NAME.findall(re.sub(r"\[[^\]]*\]", "", BESIDE_METRICS.sub("", expression))))


class MetricsPageTests:
    def test_lists_every_metric_with_its_type_and_labels_and_no_other(self):
        page = (PROJECT / "docs/metrics.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", page, re.MULTILINE)

        listed = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
        assert listed == {name: (kind, labels) for name, (kind, labels, _) in exported().items()}


class QueriesTests:
    def test_ask_for_metrics_that_there_are(self):
        there = {series for _, _, all_series in exported().values() for series in all_series}

        asked = list(queries())
        assert len(asked) > 60
        for place, expression in asked:
            assert names_in(expression), (place, expression)
            assert names_in(expression) <= there | ITS_OWN, (place, expression)

    def test_of_the_dashboard_leave_out_no_metric_but_a_few(self):
        asked = set().union(*(names_in(expression) for _, expression in queries()))
        never = {
            name for name, (_, _, series) in exported().items() if not asked.intersection(series)
        }

        # Details for whoever already looks at rollout.
        assert {name for name in never if not name.startswith("rollout_")} == set()
