"""Two who publish at once: one wins, the other is told."""

import threading

from django.db import connection

from rollout import usecases
from rollout.document import EMPTY_DOCUMENT
from rollout.errors import StaleGeneration
from rollout.models import AuditEvent, RolloutState, RuleSetRevision
from tests.committed import CommittedTestCase


class PublishTests(CommittedTestCase):
    def _fixture_teardown(self):
        super()._fixture_teardown()
        with connection.cursor() as cursor:
            for table in ("rollout_rulesetrevision", "rollout_auditevent"):
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
                cursor.execute(f"TRUNCATE {table}")
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        RolloutState.objects.update(generation=0)

    def at_once(self, count, work):
        barrier, results = threading.Barrier(count), []

        def run(number):
            try:
                barrier.wait()
                results.append(work(number))
            except StaleGeneration as refusal:
                results.append(refusal)
            finally:
                connection.close()

        threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def test_lets_one_of_many_win(self):
        results = self.at_once(
            8,
            lambda number: usecases.publish(
                dict(EMPTY_DOCUMENT),
                expected_generation=0,
                actor=usecases.Actor(f"actor {number}"),
                comment="",
            ),
        )

        assert sum(isinstance(one, StaleGeneration) for one in results) == 7
        assert RolloutState.objects.get().generation == 1
        assert RuleSetRevision.objects.count() == 1
        assert AuditEvent.objects.count() == 1

    def test_lets_every_kill_switch_through_and_chains_what_moved(self):
        results = self.at_once(
            8,
            lambda number: usecases.set_kill_switch(
                is_killed=number % 2 == 0, actor=usecases.Actor(f"actor {number}")
            ),
        )

        assert len([one for one in results if not isinstance(one, Exception)]) == 8
        # Whoever finds the switch where it should be moves nothing, so kill and revive take turns.
        actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
        assert actions == (["kill", "revive"] * 4)[: len(actions)]
        assert RolloutState.objects.get().generation == len(actions)
        is_killed = usecases.get_current().payload["kill_switch"]["all"]
        assert is_killed is (actions[-1] == "kill")
        assert usecases.verify_audit() == []
