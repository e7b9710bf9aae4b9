"""The span of a decision, where OpenTelemetry is installed and the request is traced."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rollout.rules import Decision

try:
    from opentelemetry import trace
except ImportError:
    trace = None  # type: ignore[assignment]

NOTHING: AbstractContextManager[Any] = nullcontext()


def decision_span(decision: Decision) -> AbstractContextManager[Any]:
    """
    Return a span for the call that a decision lets a version serve.

    Its attributes are those that OpenFeature names, the version also as "variant", as tools
    expect it.
    """
    if trace is None or not trace.get_current_span().get_span_context().trace_flags.sampled:
        return NOTHING
    attributes: dict[str, str | int] = {
        "feature_flag.key": decision.path,
        "feature_flag.provider.name": "rollout",
        "feature_flag.result.version": decision.version,
        "feature_flag.result.variant": decision.version,
        "feature_flag.result.reason": decision.reason,
        "feature_flag.version": str(decision.generation),
    }
    if decision.rule_id is not None:
        attributes["rollout.rule"] = decision.rule_id
    if decision.bucket is not None:
        attributes["rollout.bucket"] = decision.bucket
    return trace.get_tracer("rollout").start_as_current_span(
        f"rollout {decision.path}",
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    )
