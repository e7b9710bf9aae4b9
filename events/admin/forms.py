"""What people ask to have done to webhooks."""

import re
from collections.abc import Callable
from datetime import UTC
from typing import Any

import orjson
from django import forms
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils import timezone

from backoffice.acts import ActForm, Done
from events import endpoints
from events.models import Delivery, Endpoint
from events.rules import TYPE, Answer, Audience
from events.usecases import answer_once, keyed_request

PERMISSION = "events.change_endpoint"


def once(form: ActForm, request: HttpRequest, work: Callable[[], Done]) -> Done:
    """Do what a form asks for, once for its key; a secret is told to the first who asks alone."""
    done: list[Done] = []

    def answer() -> Answer:
        done.append(work())
        told = {"told": done[0].told, "pk": done[0].pk and str(done[0].pk)}
        return Answer(201, orjson.dumps(told).decode())

    answered = answer_once(keyed_request(**form.as_request(request)), answer)
    if not answered.is_replayed:
        return done[-1]
    before = orjson.loads(answered.body)
    return Done(before["told"], is_repeat=True, pk=before["pk"])


class CreateForm(ActForm):
    """An endpoint of an account."""

    verb, permission, is_of_a_row = "Add an endpoint", PERMISSION, False
    explanation = "It is told of what happens from now on. Its secret is shown once, afterwards."

    account = forms.ChoiceField()
    url = forms.CharField(max_length=2048, label="Address", help_text="https, port 443 or 8443.")
    types = forms.CharField(
        required=False,
        help_text="order.placed, or order.* for a family, with spaces between. Empty for all.",
    )
    description = forms.CharField(max_length=200, required=False)
    sees_shared = forms.BooleanField(
        required=False, initial=True, label="Also what belongs to nobody, as stock"
    )
    sees_all = forms.BooleanField(required=False, label="Also what belongs to other accounts")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        accounts = get_user_model()._default_manager.filter(is_active=True).order_by("username")
        self.fields["account"].choices = [  # type: ignore[attr-defined]
            ("", "Choose an account"),
            *((str(account.pk), account.get_username()) for account in accounts),
        ]

    def clean_types(self) -> list[str]:
        """Return the types one by one."""
        types: list[str] = self.cleaned_data["types"].replace(",", " ").split()
        wrong = [name for name in types if not re.fullmatch(TYPE, name)]
        if wrong:
            raise forms.ValidationError(f"{wrong[0]} is no type of event.")
        return types

    def act(self, request: HttpRequest) -> Done:
        """Add it."""
        said = self.cleaned_data
        audience = Audience(int(said["account"]), said["sees_shared"], said["sees_all"])

        def create() -> Done:
            endpoint, secret = endpoints.create_endpoint(
                audience=audience,
                url=said["url"],
                types=said["types"],
                description=said["description"],
                now=timezone.now(),
            )
            return Done(f"{endpoint.url} is told from now on.", pk=endpoint.pk, secret=secret)

        return once(self, request, create)


class EndpointForm(ActForm):
    """Something done to an endpoint."""

    permission = PERMISSION

    @classmethod
    def is_possible(cls, row: Endpoint) -> bool:
        """Test whether something is sent to it."""
        return row.is_enabled

    def facts(self) -> list[tuple[str, Any]]:
        """Return how it stands."""
        endpoint: Endpoint = self.row
        state = "enabled" if endpoint.is_enabled else endpoint.get_disabled_reason_display()
        return [("Address", endpoint.url), ("State", state), ("Account", endpoint.account_id)]

    def act(self, request: HttpRequest) -> Done:
        """Do it once."""
        return once(self, request, self.work)

    def work(self) -> Done:
        """Ask the use case."""
        raise NotImplementedError


class DisableForm(EndpointForm):
    """Nothing more is sent."""

    verb = "Disable"
    explanation = "Nothing more is sent. What happens meanwhile comes by a replay, once enabled."

    def work(self) -> Done:
        """Disable it, and tell its account."""
        endpoints.disable_endpoint(self.row.pk, reason=Endpoint.Disabled.ASKED, now=timezone.now())
        return Done(f"{self.row.url} is disabled.")


class EnableForm(EndpointForm):
    """It is told again."""

    verb = "Enable"
    explanation = "It begins anew, with what was left undone."

    @classmethod
    def is_possible(cls, row: Endpoint) -> bool:
        """Test whether it may come back."""
        return not row.is_enabled and row.disabled_reason != Endpoint.Disabled.DELETED

    def work(self) -> Done:
        """Enable it: it sees what it saw."""
        row: Endpoint = self.row
        audience = Audience(row.account_id, row.sees_shared, row.sees_all)
        endpoints.update_endpoint(row.pk, audience=audience, now=timezone.now(), is_enabled=True)
        return Done(f"{row.url} is enabled.")


class RotateForm(EndpointForm):
    """A new secret."""

    verb = "Rotate the secret"
    explanation = "The former secret signs too until then. The new one is shown once, afterwards."

    overlap_hours = forms.IntegerField(
        min_value=0, max_value=168, initial=endpoints.OVERLAP_HOURS, label="Overlap, in hours"
    )

    def work(self) -> Done:
        """Rotate it."""
        row, secret = endpoints.rotate_secret(
            self.row.pk,
            account_id=self.row.account_id,
            overlap_hours=self.cleaned_data["overlap_hours"],
            now=timezone.now(),
        )
        return Done(f"{row.url} has a new secret.", secret=secret)


class PingForm(EndpointForm):
    """Something to see whether it arrives."""

    verb = "Send a test"
    explanation = "An event of type webhook.test goes the way of all others."

    def work(self) -> Done:
        """Send it."""
        event_id = endpoints.ping_endpoint(
            self.row.pk, account_id=self.row.account_id, now=timezone.now()
        )
        return Done(f"Event {event_id} is on its way.")


class ReplayForm(EndpointForm):
    """Events told again."""

    verb = "Replay"
    explanation = (
        "Without times: the dead letters. With them: all that was recorded from one until before "
        "the other, delivered or not. 10,000 at most at once; receivers know an event by its id."
    )

    since = forms.DateTimeField(required=False, label="From (UTC)")
    until = forms.DateTimeField(required=False, label="Until (UTC)")

    def work(self) -> Done:
        """Replay them."""
        since, until = self.cleaned_data["since"], self.cleaned_data["until"]
        whose = {"account_id": self.row.account_id}
        if since is None:
            replayed = endpoints.replay_dead(self.row.pk, **whose)
        else:
            until = until or timezone.now()
            replayed = endpoints.replay_range(self.row.pk, since=since, until=until, **whose)
        more = ""
        if replayed.goes_on_at is not None:
            more = f" There is more: go on from {replayed.goes_on_at.astimezone(UTC):%F %T}."
        return Done(f"{replayed.deliveries:,} deliveries are due again.{more}")


class DeliverAgainForm(ActForm):
    """One event, told once more."""

    verb, permission = "Deliver again", PERMISSION
    explanation = "It is sent at once. The receiver knows it by its id."

    @classmethod
    def is_possible(cls, row: Delivery) -> bool:
        """Test whether it is not on its way anyhow."""
        return row.state != Delivery.State.PENDING

    def act(self, request: HttpRequest) -> Done:
        """Deliver it."""

        def work() -> Done:
            is_due = endpoints.replay_delivery(self.row.pk)
            return Done("It is due again." if is_due else "It is on its way already.")

        return once(self, request, work)
