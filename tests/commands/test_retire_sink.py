"""A sink that goes takes what waits for it along, and nothing else."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import transaction
from django.test import TestCase, override_settings

from events import queue
from events.models import Delivery, Event, Lane
from events.usecases import NewEvent, record_events
from tests.builders import NOON


class RetireSinkTests(TestCase):
    def setUp(self):
        queue.open_sinks(["old", "stays"])
        with transaction.atomic():
            record_events([NewEvent("order.noted", "order", str(n), 1, {}, NOON) for n in (1, 2)])
        queue.fan_out(limit=10)

    def retire(self, name):
        said = StringIO()
        call_command("retire_sink", name, stdout=said)
        return said.getvalue()

    def test_forgets_a_sink_and_what_waits_for_it(self):
        assert self.retire("old") == "old is forgotten, and 2 events that waited for it\n"

        assert [lane.sink for lane in Lane.objects.all()] == ["stays"]
        assert {row.lane.sink for row in Delivery.objects.all()} == {"stays"}
        assert (Delivery.objects.count(), Event.objects.count()) == (2, 2)

    def test_refuses_one_that_relays_would_open_again_and_one_that_nobody_knows(self):
        with override_settings(EVENTS_SINKS={"old": {}}), pytest.raises(CommandError) as refusal:
            self.retire("old")
        assert "restart every relay" in str(refusal.value)
        with pytest.raises(CommandError, match="There is no sink none"):
            self.retire("none")

        assert (Lane.objects.count(), Delivery.objects.count()) == (2, 4)
