"""What /metrics says, as numbers."""

from collections.abc import Mapping
from http.client import HTTPConnection

from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, frozenset[tuple[str, str]]]
# Series of these types only ever grow.
MONOTONIC = ("counter", "histogram")


class Scrape:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.values: dict[Series, float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the series of this name that have these labels."""
        return sum(
            value
            for (series, its_labels), value in self.values.items()
            if series == name and labels.items() <= dict(its_labels).items()
        )

    def growing(self) -> Mapping[Series, float]:
        """Return the series that must never fall."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            if family.type in MONOTONIC
            for sample in family.samples
        }

    def fell_since(self, before: "Scrape") -> list[Series]:
        """Return the series that are lower than they were, or gone."""
        now = self.growing()
        return [series for series, value in before.growing().items() if now.get(series, -1) < value]


def told() -> Scrape:
    """Return what this process has counted."""
    return Scrape(generate_latest(REGISTRY).decode())


class Grown:
    """How much series of this process grew since this was made."""

    def __init__(self) -> None:
        self.before = told()

    def by(self, name: str, **labels: str) -> float:
        """Return by how much the series of this name with these labels grew."""
        return told().value(name, **labels) - self.before.value(name, **labels)


def scrape(port: int, **headers: str) -> Scrape:
    """Ask /metrics on a port."""
    status, text = ask(port, "/metrics", **headers)
    assert status == 200, text
    return Scrape(text)


def ask(port: int, path: str, **headers: str) -> tuple[int, str]:
    """GET a path on a connection of its own."""
    caller = HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        caller.request("GET", path, headers=headers)
        answer = caller.getresponse()
        return answer.status, answer.read().decode()
    finally:
        caller.close()
