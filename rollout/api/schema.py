"""What the schema tells of rollout besides what the views do."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiExample, extend_schema
from pydantic import BaseModel

from rollout.api.serializers import (
    AuditPage,
    AuditVerdict,
    BreakerList,
    BreakerModeIn,
    DiffOut,
    DiffQuery,
    DraftIn,
    ExplainQuery,
    ExplanationOut,
    HistoryPage,
    KillIn,
    OfPathQuery,
    PageQuery,
    PreviewIn,
    PreviewOut,
    PromoteIn,
    PublishedOut,
    PublishIn,
    RollBackIn,
    RulesOut,
    StatusOut,
    TransitionPage,
    ValidationOut,
    WaitQuery,
)
from rollout.errors import (
    InvalidRuleSet,
    NothingToPromote,
    RolloutError,
    StaleGeneration,
    UnknownGeneration,
    UnknownPath,
    UnknownSchema,
    UnknownVersion,
)

Verb = TypeVar("Verb", bound=Callable[..., Any])

DOCUMENT = {
    "schema_version": 1,
    "kill_switch": {"all": False, "paths": []},
    "releases": {"orders.place": {"stable": "v1", "canary": "v2"}},
    "rules": [
        {"id": "one-percent", "path": "orders.place", "serve": "canary", "share_bp": 100},
    ],
    "segments": {},
    "breakers": {"orders.place": {"canary": {"preset": "one_second"}}},
}
PUBLISH = {"expected_generation": 41, "comment": "canary at 1 %", "document": DOCUMENT}
PUBLISHED = {
    "generation": 42,
    "checksum": "5d41402abc4b2a76b9719d911017c592ae8f1c3e5a4d0b9c7f6e2d1a0b3c4d5e",
    "convergence": {
        "generation": 42,
        "is_complete": True,
        "live": 2,
        "acknowledged": 2,
        "lag_ms_p99": 6.1,
        "workers": [
            {"worker": "web-1:4711:a1b2c3", "lag_ms": 3.4},
            {"worker": "web-1:4712:d4e5f6", "lag_ms": 6.1},
        ],
    },
}


def _by(query: type[BaseModel]) -> list[Any]:
    # drf-spectacular takes models of pydantic for parameters, which its types do not say.
    return [query]


def _publishes(
    operation_id: str, body: type[BaseModel], example: Any, *refusals: type[RolloutError]
) -> Callable[[Verb], Verb]:
    return extend_schema(
        operation_id=operation_id,
        parameters=_by(WaitQuery),
        request=body,
        responses={200: PublishedOut},
        examples=[
            OpenApiExample("Asked", example, request_only=True),
            OpenApiExample("In force", PUBLISHED, response_only=True),
        ],
        extensions={"x-refusals": refusals},
    )


get_status = extend_schema(operation_id="get_rollout_status", responses={200: StatusOut})
explain = extend_schema(
    operation_id="explain_call",
    parameters=_by(ExplainQuery),
    responses={200: ExplanationOut},
    extensions={"x-refusals": (UnknownPath, UnknownGeneration, UnknownSchema)},
)
get_rules = extend_schema(operation_id="get_rules", responses={200: RulesOut})
get_rules_of = extend_schema(
    operation_id="get_rules_of_generation",
    responses={200: RulesOut},
    extensions={"x-refusals": (UnknownGeneration,)},
)
list_history = extend_schema(
    operation_id="list_generations", parameters=_by(PageQuery), responses={200: HistoryPage}
)
diff = extend_schema(
    operation_id="compare_generations",
    parameters=_by(DiffQuery),
    responses={200: DiffOut},
    extensions={"x-refusals": (UnknownGeneration,)},
)
validate = extend_schema(
    operation_id="validate_rules",
    request=DraftIn,
    responses={200: ValidationOut},
    examples=[OpenApiExample("Asked", {"document": DOCUMENT}, request_only=True)],
)
preview = extend_schema(
    operation_id="preview_rules",
    request=PreviewIn,
    responses={200: PreviewOut},
    examples=[
        OpenApiExample(
            "Two callers", {"document": DOCUMENT, "sample": [{"account": 7}, {"account": 8}]}
        )
    ],
    extensions={"x-refusals": (InvalidRuleSet, UnknownSchema)},
)
publish = _publishes(
    "publish_rules", PublishIn, PUBLISH, StaleGeneration, InvalidRuleSet, UnknownSchema
)
roll_back = _publishes(
    "roll_back_rules",
    RollBackIn,
    {"to_generation": 40, "expected_generation": 41},
    StaleGeneration,
    UnknownGeneration,
    InvalidRuleSet,
    UnknownSchema,
)
promote = _publishes(
    "promote_canary",
    PromoteIn,
    {"path": "orders.place", "expected_generation": 41},
    StaleGeneration,
    UnknownPath,
    NothingToPromote,
    InvalidRuleSet,
    UnknownSchema,
)
kill = _publishes(
    "pull_kill_switch",
    KillIn,
    {"path": "orders.place", "reason": "orders are lost"},
    UnknownPath,
    InvalidRuleSet,
    UnknownSchema,
)
unkill = _publishes(
    "lift_kill_switch",
    KillIn,
    {"path": "orders.place"},
    UnknownPath,
    InvalidRuleSet,
    UnknownSchema,
)
list_breakers = extend_schema(operation_id="list_breakers", responses={200: BreakerList})
list_transitions = extend_schema(
    operation_id="list_transitions",
    parameters=_by(OfPathQuery),
    responses={200: TransitionPage},
)
set_breaker_mode = _publishes(
    "set_breaker_mode",
    BreakerModeIn,
    {"mode": "forced_open", "reason": "v2 loses orders"},
    StaleGeneration,
    UnknownPath,
    UnknownVersion,
    InvalidRuleSet,
    UnknownSchema,
)
list_audit = extend_schema(
    operation_id="list_audit_events", parameters=_by(OfPathQuery), responses={200: AuditPage}
)
verify_audit = extend_schema(operation_id="verify_audit_trail", responses={200: AuditVerdict})
