"""Every query on rule sets and on the audit trail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from rollout.document import EMPTY_DOCUMENT, SCHEMA_VERSION, checksum_of
from rollout.errors import UnknownGeneration
from rollout.models import AuditEvent, BreakerTransition, RolloutState, RuleSetRevision

CHANNEL = "rollout"

# The chain is checked where it was made: by the same function that its trigger uses.
BROKEN_LINKS = """
SELECT id FROM (
    SELECT event.id,
           row_number() OVER (ORDER BY event.id) AS place,
           coalesce(lag(event.hash) OVER (ORDER BY event.id), '') AS hash_before,
           event.prev_hash, event.hash, rollout_audit_hash(event) AS hash_now
      FROM rollout_auditevent event
) AS chain
 WHERE id <> place OR prev_hash <> hash_before OR hash <> hash_now
 ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class Published:
    """A rule set and its number; number 0 is the empty one that nobody published."""

    generation: int
    payload: Mapping[str, Any]
    checksum: str


NOTHING_PUBLISHED = Published(0, EMPTY_DOCUMENT, checksum_of(EMPTY_DOCUMENT))


def lock_generation() -> int:
    """Return the generation in force, locked until the end of the transaction."""
    return RolloutState.objects.select_for_update().get(pk=1).generation


def get_generation() -> int:
    """Return the generation in force."""
    return RolloutState.objects.values_list("generation", flat=True).get(pk=1)


def get_published(generation: int) -> Published:
    """Return the rule set of a generation; raises UnknownGeneration."""
    if generation == 0:
        return NOTHING_PUBLISHED
    row = (
        RuleSetRevision.objects.filter(pk=generation)
        .values_list("generation", "payload", "checksum")
        .first()
    )
    if row is None:
        raise UnknownGeneration(generation)
    return Published(*row)


def list_revisions() -> QuerySet[RuleSetRevision]:
    """Return what was published, newest first."""
    return RuleSetRevision.objects.order_by("-generation")


def add_revision(
    *, generation: int, payload: Mapping[str, Any], checksum: str, author: str, comment: str
) -> None:
    """Add a generation."""
    RuleSetRevision.objects.create(
        generation=generation,
        payload=payload,
        checksum=checksum,
        schema_version=SCHEMA_VERSION,
        author=author,
        comment=comment,
    )


def move_generation(*, expected: int, to: int) -> bool:
    """Put a generation in force; return False when another than the expected one was."""
    moved = RolloutState.objects.filter(pk=1, generation=expected).update(generation=to)
    return moved == 1


def notify_generation(generation: int) -> None:
    """Tell listeners of PostgreSQL; they hear it when the transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(generation)])


def add_audit_event(**members: Any) -> AuditEvent:
    """Add an event to the end of the chain; other writers wait until this transaction ends."""
    return AuditEvent.objects.create(**members)


def list_audit_events() -> QuerySet[AuditEvent]:
    """Return the trail, newest first."""
    return AuditEvent.objects.order_by("-id")


def add_transitions(transitions: Sequence[BreakerTransition]) -> None:
    """Keep changes of state."""
    BreakerTransition.objects.bulk_create(transitions)


def list_transitions() -> QuerySet[BreakerTransition]:
    """Return changes of state, newest first."""
    return BreakerTransition.objects.order_by("-id")


def remove_transitions(*, before: datetime) -> int:
    """Remove what is older than an instant; return how many."""
    return BreakerTransition.objects.filter(at__lt=before).delete()[0]


def list_broken_audit_ids() -> Sequence[int]:
    """Return the numbers of events that were changed, or that stand behind a missing one."""
    with connection.cursor() as cursor:
        cursor.execute(BROKEN_LINKS)
        return [row[0] for row in cursor.fetchall()]
