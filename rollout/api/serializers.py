"""What rollout reads and writes over HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import QueryDict
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from rollout.inspection import tell_convergence
from rollout.models import AuditEvent, BreakerTransition, RuleSetRevision
from rollout.storage import Published
from rollout.usecases import Preview

WAIT_MS_MAX = 5_000
SAMPLE_MAX = 10_000

Generation = Annotated[int, Field(ge=0, le=2**53, examples=[41])]
Text = Annotated[str, Field(max_length=500)]
Key = Annotated[
    str, Field(max_length=140, pattern=r"^[a-z][a-z0-9_.]*$", examples=["orders.place"])
]
Document = Annotated[
    dict[str, Any],
    Field(
        description="A rule set: schema_version, kill_switch, releases, rules, segments, breakers.",
        examples=[{"schema_version": 1, "rules": []}],
    ),
]
Limit = Annotated[int, Field(ge=1, le=100, description="At most this many entries.")]
Cursor = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{1,18}$",
        description="Go on where the last page ended: its next_cursor.",
    ),
]


class Body(BaseModel):
    """A JSON object of which every member is known and has its own type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class PublishIn(Body):
    """A rule set to put in force, if expected_generation is in force still."""

    expected_generation: Generation
    comment: Annotated[str, Field(min_length=1, max_length=500, examples=["canary at 1 %"])]
    document: Document


class DraftIn(Body):
    """A rule set that nobody publishes yet."""

    document: Document


class PreviewIn(DraftIn):
    """
    A rule set to try out.

    sample: identities of callers, as [{"account": 7, "customer": "ada"}]; without it 10,000 made-up
    ones and everybody whom the rules name.
    """

    sample: (
        Annotated[list[dict[str, str | int]], Field(min_length=1, max_length=SAMPLE_MAX)] | None
    ) = None


class RollBackIn(Body):
    """Which generation's rules to publish again."""

    to_generation: Generation
    expected_generation: Generation
    comment: Text = ""


class PromoteIn(Body):
    """Whose canary becomes stable."""

    path: Key
    expected_generation: Generation
    comment: Text = ""


class KillIn(Body):
    """Which path to stop, null for all of them, and why."""

    path: Key | None = None
    reason: Text = ""


class BreakerModeIn(Body):
    """
    How a breaker decides.

    expected_generation: without it, whatever is in force is changed: in a hurry nobody should
    lose a race.
    """

    mode: Literal["auto", "forced_open", "forced_closed", "metrics_only"]
    expected_generation: Generation | None = None
    reason: Text = ""


class Query(BaseModel):
    """Parameters, all of which are known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WaitQuery(Query):
    """Whether to answer only when the workers have the rules."""

    wait: (
        Annotated[
            Literal["converged"],
            Field(description="Answer when every live worker has the generation."),
        ]
        | None
    ) = None
    timeout_ms: Annotated[
        int, Field(ge=0, le=WAIT_MS_MAX, description="At most this long; then as it is.")
    ] = 2_000


class PageQuery(Query):
    """Which page, newest first."""

    limit: Limit = 50
    cursor: Cursor | None = None

    @property
    def before(self) -> int | None:
        """Return the number to go on before."""
        return int(self.cursor) if self.cursor else None


class OfPathQuery(PageQuery):
    """Which page, newest first; of one path, or of all."""

    path: Key | None = None


class DiffQuery(Query):
    """Which two generations to compare."""

    from_generation: Generation
    to_generation: Generation


def _has_two_parts(text: str) -> str:
    name, separator, _ = text.partition(":")
    if not name or not separator:
        raise ValueError("write name:value")
    return text


Pair = Annotated[str, Field(max_length=600), AfterValidator(_has_two_parts)]
Pairs = Annotated[list[Pair], Field(max_length=50)]
Trust = Literal["authenticated", "staff", "permission", "internal_cidr"]


class ExplainQuery(Query):
    """
    A call that is only imagined. All but path may be left out; lists are parameters repeated.

    path: the code path. identity=account:7, header=User-Agent:acme/2, query=x-deploy-version:v2,
    attribute=customer:ada: what the call would bring. trust: what the caller would reach.
    """

    path: Key
    identity: Annotated[Pairs, Field(description="Who calls, as account:7.")] = []
    header: Annotated[Pairs, Field(description="As User-Agent:acme/2.")] = []
    query: Annotated[Pairs, Field(description="As x-deploy-version:canary.")] = []
    attribute: Annotated[
        Pairs, Field(description="What the call says of itself, as customer:ada.")
    ] = []
    trust: Annotated[
        list[Trust], Field(max_length=4, description="What the caller would reach.")
    ] = []
    method: Annotated[str, Field(max_length=16, description="As POST.")] = ""
    url_path: Annotated[str, Field(max_length=2048, description="As /api/v1/orders.")] = ""
    generation: (
        Annotated[Generation, Field(description="By these rules; else by those in force here.")]
        | None
    ) = None

    @classmethod
    def read(cls, query: QueryDict) -> "ExplainQuery":
        """Return the query of a request, whose lists are parameters repeated."""
        lists = ("identity", "header", "query", "attribute", "trust")
        return cls.model_validate(
            {name: query.getlist(name) if name in lists else query[name] for name in query}
        )


# --- What is told -----------------------------------------------------------------------------


class WorkerOut(BaseModel):
    """One worker; lag_ms is null as long as it has not said that it has the generation."""

    worker: str
    lag_ms: float | None


class ConvergenceOut(BaseModel):
    """How far a generation has come; lag_ms: milliseconds from its announcement."""

    generation: int
    is_complete: bool
    live: int
    acknowledged: int
    lag_ms_p99: float | None
    workers: list[WorkerOut]


class PublishedOut(BaseModel):
    """The generation in force. convergence: null where it was not asked for, or nobody knows."""

    generation: int
    checksum: str
    convergence: ConvergenceOut | None


class RulesOut(BaseModel):
    """A rule set and its generation; 0 is the empty one that nobody published."""

    generation: int
    checksum: str
    document: dict[str, Any]


class FaultOut(BaseModel):
    """One fault, by JSON pointer into the document."""

    pointer: str
    code: str
    message: str


class ValidationOut(BaseModel):
    """Why a rule set could not be published; no fault: it could."""

    is_valid: bool
    errors: list[FaultOut]


class OperationOut(BaseModel):
    """One step of a JSON patch (RFC 6902)."""

    op: Literal["add", "remove", "replace"]
    path: str
    value: Any = None


class DiffOut(BaseModel):
    """What turns one generation's rules into another's."""

    from_generation: int
    to_generation: int
    changes: list[OperationOut]


class MoveOut(BaseModel):
    """Subjects that would meet another version; share_bp of the sample, in basis points."""

    path: str
    from_version: str
    to_version: str
    count: int
    share_bp: int
    examples: list[dict[str, str]]


class PreviewOut(BaseModel):
    """What publishing would do."""

    from_generation: int
    changes: list[OperationOut]
    sample_size: int
    moves: list[MoveOut]


class RevisionOut(BaseModel):
    """One generation that was published."""

    generation: int
    checksum: str
    author: str
    comment: str
    created_at: datetime


class HistoryPage(BaseModel):
    """What was published, newest first."""

    data: list[RevisionOut]
    next_cursor: str | None


class AuditEventOut(BaseModel):
    """Who did what; hash covers the event and, by prev_hash, all before it."""

    id: int
    at: datetime
    actor: str
    actor_kind: str
    action: str
    path: str
    from_generation: int | None
    to_generation: int | None
    diff: list[OperationOut]
    reason: str
    evidence: dict[str, Any]
    request_id: str
    ip: str | None
    prev_hash: str
    hash: str


class AuditPage(BaseModel):
    """The trail, newest first."""

    data: list[AuditEventOut]
    next_cursor: str | None


class AuditVerdict(BaseModel):
    """Whether every event stands as it was written; broken names those that do not."""

    is_whole: bool
    broken: list[int]


class ReleaseOut(BaseModel):
    """Which version plays which role."""

    stable: str
    canary: str | None
    fallback: str | None


class PathOut(BaseModel):
    """One code path. stopped: why its rules are not asked, as KILL_SWITCH."""

    path: str
    owner: str
    effects: str
    versions: list[str]
    release: ReleaseOut
    stopped: str | None
    rules: int
    skipped_rules: int


class BreakerHereOut(BaseModel):
    """How a breaker stands in the worker that answers."""

    state: Literal["closed", "half_open", "open"]
    epoch: int
    total: int
    errors: int
    slow: int
    in_flight: int
    probes_in_flight: int
    probes_succeeded: int
    retry_in_ms: int
    is_governed: bool


class FleetBreakerOut(BaseModel):
    """What all workers together made of a breaker."""

    state: Literal["closed", "half_open", "open"]
    epoch: int
    retry_in_ms: int


class BreakerOut(BaseModel):
    """The breaker of one version. falls_to: what serves instead, nearest first."""

    path: str
    version: str
    role: str
    mode: str
    falls_to: list[str]
    here: BreakerHereOut | None
    fleet: FleetBreakerOut | None
    policy: dict[str, Any]


class BreakerList(BaseModel):
    """Every breaker, by path and version."""

    data: list[BreakerOut]


class TransitionOut(BaseModel):
    """One change of state of one worker's breaker, with the counts of its window."""

    id: int
    at: datetime
    worker: str
    path: str
    version: str
    from_state: Literal["closed", "half_open", "open"]
    to_state: Literal["closed", "half_open", "open"]
    epoch: int
    cause: str
    total: int
    errors: int
    slow: int


class TransitionPage(BaseModel):
    """What breakers did, newest first."""

    data: list[TransitionOut]
    next_cursor: str | None


class HereOut(BaseModel):
    """What the worker that answers has in force."""

    generation: int
    is_stale: bool
    is_static: bool


class SharedOut(BaseModel):
    """Whether workers learn of each other; degraded, each goes on alone."""

    is_configured: bool
    is_degraded: bool


class StatusOut(BaseModel):
    """How rollout stands. workers: null where nobody knows."""

    generation: int
    checksum: str
    here: HereOut
    shared: SharedOut
    workers: ConvergenceOut | None
    paths: list[PathOut]
    unknown_paths: list[str]
    breakers: list[BreakerOut]


class StepOut(BaseModel):
    """One version that may serve. admits: yes, probe (the next call tries it) or no."""

    version: str
    role: str
    mode: str
    state: str
    admits: Literal["yes", "probe", "no"]


class ServesOut(BaseModel):
    """What comes of it; version null: the call would be refused."""

    version: str | None
    reason: str
    base_reason: str | None


class ExplanationOut(BaseModel):
    """Why a call would be served as it would: every rule and clause, the bucket, the breakers."""

    path: str
    generation: int
    release: ReleaseOut
    stopped: str | None
    decision: dict[str, Any]
    rules: list[dict[str, Any]]
    overrides: list[dict[str, Any]]
    breakers: list[StepOut]
    serves: ServesOut


# --- From what the door returns ---------------------------------------------------------------


def rules_document(published: Published) -> dict[str, Any]:
    """Return a rule set as it is told."""
    return {
        "generation": published.generation,
        "checksum": published.checksum,
        "document": published.payload,
    }


def published_document(published: Published, convergence: Any) -> dict[str, Any]:
    """Return the outcome of publishing."""
    return {
        "generation": published.generation,
        "checksum": published.checksum,
        "convergence": tell_convergence(convergence),
    }


def preview_document(preview: Preview) -> dict[str, Any]:
    """Return what publishing would do."""
    return {
        "from_generation": preview.from_generation,
        "changes": preview.changes,
        "sample_size": preview.sample_size,
        "moves": [asdict(move) for move in preview.moves],
    }


def revision_document(revision: RuleSetRevision) -> dict[str, Any]:
    """Return a generation, without its rules."""
    return {
        "generation": revision.generation,
        "checksum": revision.checksum,
        "author": revision.author,
        "comment": revision.comment,
        "created_at": revision.created_at,
    }


def event_document(event: AuditEvent) -> dict[str, Any]:
    """Return an event of the trail."""
    return {name: getattr(event, name) for name in AuditEventOut.model_fields}


def transition_document(transition: BreakerTransition) -> dict[str, Any]:
    """Return a change of state."""
    return {name: getattr(transition, name) for name in TransitionOut.model_fields}


def page_of(data: Sequence[Mapping[str, Any]], next_cursor: int | None) -> dict[str, Any]:
    """Return a page."""
    return {"data": data, "next_cursor": None if next_cursor is None else str(next_cursor)}


def pairs_of(texts: Sequence[str]) -> dict[str, str]:
    """Return names and values of texts such as account:7."""
    return {
        name.strip(): value.strip() for name, _, value in (text.partition(":") for text in texts)
    }
