"""Whatever the schema allows to be sent, and much that it does not, is answered as it says."""

import os
from collections import Counter
from unittest import mock

import pytest
import schemathesis
from django.core.servers.basehttp import WSGIRequestHandler
from django.test import LiveServerTestCase
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema

from tests.api.test_problems import MEMBERS
from tests.builders import given_api_key, given_stock
from tests.committed import CommittedTestCase

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
    "one_shape",
)
# The coverage phase alone makes 4,600 cases; `make soak` asks for more of the random ones.
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "15"))
# Probes answer before anything looks at the verb.
PROBES = [
    {"include-path": path, "checks": {"unsupported_method": {"enabled": False}}}
    for path in ("/livez", "/readyz")
]


@schemathesis.check
def one_shape(ctx, response, case):
    """Hold every answer to the one shape of a refusal, and to never being our fault."""
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == ["application/problem+json"]
        if case.method != "HEAD":
            problem = response.json()
            assert set(problem) >= MEMBERS
            assert problem["status"] == response.status_code


def config_of(api_key):
    """Return schemathesis' settings: every phase, bounded, the same cases in every run."""
    return SchemathesisConfig.from_dict(
        {
            "seed": 20260504,
            "headers": {"Authorization": f"Bearer {api_key}"},
            "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
            "checks": {"enabled": False} | {name: {"enabled": True} for name in CHECKS},
            "operations": PROBES,
        }
    )


@pytest.mark.prove
@pytest.mark.paired
# Head and body of an answer are two packets: without this each case waits 40 ms for the second.
@mock.patch.object(WSGIRequestHandler, "disable_nagle_algorithm", True)
class SchemathesisTests(CommittedTestCase, LiveServerTestCase):
    def setUp(self):
        self.cases, self.statuses, self.failures = Counter(), Counter(), []

    def note(self, event):
        if isinstance(event, events.NonFatalError | events.FatalError):
            self.failures.append(repr(event))
        if not isinstance(event, events.ScenarioFinished):
            return
        for interaction in event.recorder.interactions.values():
            self.cases[event.phase.value] += 1
            if interaction.response is not None:
                self.statuses[interaction.response.status_code] += 1
        self.failures += [
            f"{check.name} {check.failure_info.failure.operation}: {check.failure_info.failure}\n"
            f"{check.failure_info.code_sample}"
            for checks in event.recorder.checks.values()
            for check in checks
            if check.status == Status.FAILURE
        ]

    def test_no_phase_finds_anything(self):
        for code in ("CUP", "22196"):
            given_stock(code, on_hand=1_000_000)
        schema = schemathesis.openapi.from_url(
            f"{self.live_server_url}/api/schema", config=config_of(given_api_key())
        )

        for event in from_schema(schema).execute():
            self.note(event)

        assert self.failures == [], "\n\n".join(self.failures[:10])
        assert set(self.cases) == {"examples", "coverage", "fuzzing", "stateful"}
        assert self.cases.total() > 1_500
        assert self.statuses[201] > 0
