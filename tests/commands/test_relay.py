"""A relay as a process: what it loads, and what it tells of its work."""

import os
import subprocess
import sys

import pytest

from tests.commands.processes import PROJECT, clean_environment, wait_until
from tests.faults.receiver import Receiver as Hook
from tests.faults.test_relay_backlog import add_webhook, relaying
from tests.otlp import CLIENT, receiving
from tests.server import fresh_database

LOADED = """
import sys
from config.cli import manage

try:
    manage(["relay", "--help"])
except SystemExit:
    print(sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[1:])))
"""
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ADD_EVENT = """
WITH e AS (
    INSERT INTO events_event (id, type, aggregate_type, aggregate_id, aggregate_version, data,
                              traceparent, occurred_at, account_id)
    VALUES (gen_random_uuid(), 'order.placed', 'order', '1', 1, '{}', %s, now(), 1)
    RETURNING id, position)
INSERT INTO events_outbox (position, event_id) SELECT position, id FROM e
"""


class StartTests:
    def test_loads_nothing_that_a_restart_would_wait_for(self) -> None:
        others = ("accounts", "inventory", "orders", "redis", "rest_framework", "rollout")

        done = subprocess.run(
            [sys.executable, "-c", LOADED, *others, "events"],
            cwd=PROJECT,
            env=clean_environment(SLUICE_ENV="trial"),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

        assert done.stdout.splitlines()[-1] == "['events']"


@pytest.mark.prove
class TraceTests:
    def test_each_attempt_is_a_span_in_the_trace_of_the_order(self) -> None:
        answers = iter([(500, {}, b""), (204, {}, b"")])
        with (
            receiving() as collector,
            Hook(lambda call: next(answers)) as hook,
            fresh_database(os.environ["DATABASE_URL"]) as database,
        ):
            add_webhook(database, hook.url)
            with database.connect() as asking:
                asking.execute(ADD_EVENT, (f"00-{TRACE}-{SPAN}-01",))
            with relaying(
                database,
                DJANGO_SETTINGS_MODULE="tests.planted.quick_retries",
                OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
                OTEL_BSP_SCHEDULE_DELAY="50",
                WEBHOOKS_ALLOW_HTTP="true",
                WEBHOOKS_PRIVATE_NETWORKS="127.0.0.0/8",
            ):
                wait_until(lambda: len(collector.spans) == 2)

        failed, delivered = collector.spans
        for span in (failed, delivered):
            assert (span.name, span.kind, span.service) == ("events.deliver", CLIENT, "sluice")
            assert (span.trace_id, span.parent_id) == (TRACE, SPAN)
        assert failed.attributes["error.type"] == "500"
        assert delivered.attributes["http.response.status_code"] == 204
        # The receiver goes on with the attempt; the event says for ever what caused it.
        assert [call.headers["traceparent"] for call in hook.calls] == [
            f"00-{TRACE}-{failed.span_id}-01",
            f"00-{TRACE}-{delivered.span_id}-01",
        ]
        assert {call.event["traceparent"] for call in hook.calls} == {f"00-{TRACE}-{SPAN}-01"}
