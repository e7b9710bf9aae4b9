"""Rules, breakers and the trail over HTTP."""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, cast

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import exception_handler
from rest_framework.viewsets import ViewSet

from rollout import inspection, usecases
from rollout.api import schema
from rollout.api.permissions import READ, WRITE, MayRollout
from rollout.api.refusals import answer_refusal
from rollout.api.serializers import (
    BreakerModeIn,
    DiffQuery,
    DraftIn,
    ExplainQuery,
    KillIn,
    OfPathQuery,
    PageQuery,
    PreviewIn,
    PromoteIn,
    PublishIn,
    RollBackIn,
    WaitQuery,
    event_document,
    page_of,
    pairs_of,
    preview_document,
    published_document,
    revision_document,
    rules_document,
    transition_document,
)
from rollout.runtime import runtime
from rollout.storage import Published
from rollout.usecases import Actor


class _RolloutViewSet(ViewSet):
    """What all of these need, also in a project that knows neither scopes nor our refusals."""

    scopes: Mapping[str, str] = {}
    permissions: Mapping[str, str] = {}

    def get_permissions(self) -> Any:
        """Return the project's own permissions, and ours."""
        return [*super().get_permissions(), MayRollout()]

    def get_exception_handler(self) -> Callable[..., Any]:
        """Return the project's handler; DRF's own would make a bug of every refusal."""
        handler: Callable[..., Any] = super().get_exception_handler()
        return answer_refusal if handler is exception_handler else handler


class StatusViewSet(_RolloutViewSet):
    """How rollout stands, and why a call would be served as it would."""

    scopes = {"status": READ, "explain": READ}

    @schema.get_status
    def status(self, request: Request) -> Response:
        """
        Return the generation, releases, breakers and workers.

        `here` is the worker that answers; `workers` are all that live, with what each has
        acknowledged of the generation in force.
        """
        return Response(inspection.tell_status(runtime.snapshot))

    @schema.explain
    def explain(self, request: Request) -> Response:
        """
        Tell why a call would be served as it would.

        Every rule in the order in which it is asked, each clause and whether it holds, trust,
        subject and bucket; then the breakers, and what comes of it in the worker that answers.
        """
        query = ExplainQuery.read(request.query_params)
        snapshot = (
            runtime.snapshot
            if query.generation is None
            else inspection.snapshot_of(query.generation)
        )
        context = inspection.imagine_call(
            snapshot,
            identities=pairs_of(query.identity),
            headers=pairs_of(query.header),
            query=pairs_of(query.query),
            attributes=pairs_of(query.attribute),
            trusts=query.trust,
            method=query.method,
            url_path=query.url_path,
        )
        return Response(inspection.explain_call(query.path, context))


class RulesViewSet(_RolloutViewSet):
    """
    Rule sets and their generations.

    Whatever publishes takes `expected_generation`, the generation that the caller looked at, and is
    refused with 409 when another one is in force by now: a request that is sent again by mistake
    changes nothing twice.
    """

    scopes = {
        "current": READ,
        "retrieve": READ,
        "history": READ,
        "diff": READ,
        "validate": READ,
        "preview": READ,
        "publish": WRITE,
        "roll_back": WRITE,
        "promote": WRITE,
        "kill": WRITE,
        "unkill": WRITE,
    }
    permissions = {"kill": "rollout.kill", "unkill": "rollout.kill"}

    @schema.get_rules
    def current(self, request: Request) -> Response:
        """Return the rules in force; generation 0 is the empty rule set nobody published."""
        return Response(rules_document(usecases.get_current()))

    @schema.get_rules_of
    def retrieve(self, request: Request, generation: int) -> Response:
        """Return the rules of a generation."""
        return Response(rules_document(usecases.get_generation(generation)))

    @schema.list_history
    def history(self, request: Request) -> Response:
        """Return what was published, newest first, without the rules themselves."""
        query = PageQuery.model_validate(request.query_params.dict())
        rows, next_cursor = usecases.list_generations(before=query.before, limit=query.limit)
        return Response(page_of([revision_document(row) for row in rows], next_cursor))

    @schema.diff
    def diff(self, request: Request) -> Response:
        """Return what turns the rules of one generation into those of another, as a JSON patch."""
        query = DiffQuery.model_validate(request.query_params.dict())
        changes = usecases.compare(query.from_generation, query.to_generation)
        return Response({**query.model_dump(), "changes": changes})

    @schema.validate
    def validate(self, request: Request) -> Response:
        """Tell why rules could not be published, every fault by its JSON pointer."""
        draft = DraftIn.model_validate(request.data)
        errors = usecases.validate(draft.document)
        return Response({"is_valid": not errors, "errors": errors})

    @schema.preview
    def preview(self, request: Request) -> Response:
        """
        Tell what publishing rules would change, and who would meet another version.

        Nobody is moved. Refused like publishing where the rules could not be published.
        """
        draft = PreviewIn.model_validate(request.data)
        return Response(preview_document(usecases.preview(draft.document, sample=draft.sample)))

    @schema.publish
    def publish(self, request: Request) -> Response:
        """
        Put rules in force as the next generation.

        With `?wait=converged` the answer tells which workers have them.
        """
        body = PublishIn.model_validate(request.data)
        return _published(
            request,
            lambda actor: usecases.publish(
                body.document,
                expected_generation=body.expected_generation,
                actor=actor,
                comment=body.comment,
            ),
        )

    @schema.roll_back
    def roll_back(self, request: Request) -> Response:
        """Publish the rules of an earlier generation as a new one."""
        body = RollBackIn.model_validate(request.data)
        return _published(
            request, lambda actor: usecases.roll_back(**body.model_dump(), actor=actor)
        )

    @schema.promote
    def promote(self, request: Request) -> Response:
        """Make a path's canary stable, and what was stable its fallback."""
        body = PromoteIn.model_validate(request.data)
        return _published(request, lambda actor: usecases.promote(**body.model_dump(), actor=actor))

    @schema.kill
    def kill(self, request: Request) -> Response:
        """
        Send everything, or one path, to stable.

        Needs no generation: it changes whatever is in force. Again, it changes nothing.
        """
        body = KillIn.model_validate(request.data)
        return _published(
            request,
            lambda actor: usecases.set_kill_switch(
                is_killed=True, **body.model_dump(), actor=actor
            ),
        )

    @schema.unkill
    def unkill(self, request: Request) -> Response:
        """Let the rules decide again, for everything or for one path."""
        body = KillIn.model_validate(request.data)
        return _published(
            request,
            lambda actor: usecases.set_kill_switch(
                is_killed=False, **body.model_dump(), actor=actor
            ),
        )


class BreakerViewSet(_RolloutViewSet):
    """The breakers of all versions."""

    scopes = {"list": READ, "transitions": READ, "set_mode": WRITE}
    permissions = {"set_mode": "rollout.kill"}

    @schema.list_breakers
    def list(self, request: Request) -> Response:
        """Return each version's breaker: its policy, its state here and in the whole fleet."""
        return Response({"data": inspection.tell_breakers(runtime.snapshot)})

    @schema.list_transitions
    def transitions(self, request: Request) -> Response:
        """
        Return what the breakers of all workers did in the last 30 days, newest first.

        Each worker writes its own down, about a second after they happened.
        """
        query = OfPathQuery.model_validate(request.query_params.dict())
        rows, next_cursor = usecases.list_transitions(
            path=query.path, before=query.before, limit=query.limit
        )
        return Response(page_of([transition_document(row) for row in rows], next_cursor))

    @schema.set_breaker_mode
    def set_mode(self, request: Request, path: str, version: str) -> Response:
        """
        Force a breaker open or closed, or let it decide again (`auto`).

        The mode is part of the rules: all workers follow, and it outlives a lost Redis. `version`
        is a version or a role.
        """
        body = BreakerModeIn.model_validate(request.data)
        return _published(
            request,
            lambda actor: usecases.set_breaker_mode(
                path, version, **body.model_dump(), actor=actor
            ),
        )


class AuditViewSet(_RolloutViewSet):
    """Who did what, why, and that nobody rewrote it."""

    scopes = {"list": READ, "verify": READ}
    permissions = {"list": "rollout.view_auditevent", "verify": "rollout.view_auditevent"}

    @schema.list_audit
    def list(self, request: Request) -> Response:
        """Return the trail, newest first."""
        query = OfPathQuery.model_validate(request.query_params.dict())
        events, next_cursor = usecases.list_audit_events(
            path=query.path, before=query.before, limit=query.limit
        )
        return Response(page_of([event_document(event) for event in events], next_cursor))

    @schema.verify_audit
    def verify(self, request: Request) -> Response:
        """Check every event's hash: one that was changed is named, a missing one by the next."""
        broken = usecases.verify_audit()
        return Response({"is_whole": not broken, "broken": broken})


def _published(request: Request, publish: Callable[[Actor], Published]) -> Response:
    """Publish, and wait for the workers where that was asked for."""
    query = WaitQuery.model_validate(request.query_params.dict())
    published = publish(_actor(request))
    convergence = None
    if query.wait is not None:
        convergence = inspection.await_convergence(
            published.generation, timeout_s=query.timeout_ms / 1000
        )
    return Response(published_document(published, convergence))


def _actor(request: Request) -> Actor:
    return Actor(
        cast(Any, request.user).get_username(),
        request_id=getattr(request, "request_id", "")[:128],
        ip=_address_of(request),
    )


def _address_of(request: Request) -> str | None:
    try:
        return str(ip_address(request.META.get("REMOTE_ADDR", "")))
    except ValueError:
        return None  # A unix socket has no address.
