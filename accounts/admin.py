"""The back office of API keys: issue, rotate, revoke; nothing is edited or deleted."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from accounts import usecases
from accounts.models import ApiKey

OVERLAP_MINUTES_MAX = 30 * 24 * 60


def _list_scopes() -> list[tuple[str, str]]:
    return [(name, f"{name}: {meaning}") for name, meaning in usecases.known_scopes().items()]


class IssueForm(forms.Form):
    """What a new key is."""

    user = forms.ModelChoiceField(
        get_user_model()._default_manager.none(), help_text="The account that calls with the key."
    )
    name = forms.CharField(max_length=100, help_text="What the key is for.")
    scopes = forms.MultipleChoiceField(
        choices=_list_scopes, widget=forms.CheckboxSelectMultiple, help_text="None implies another."
    )
    expires_in_days = forms.IntegerField(
        min_value=1, max_value=3650, required=False, help_text="Empty: the key never expires."
    )

    calls_per_s = forms.IntegerField(
        label="Calls a second",
        min_value=1,
        max_value=1_000_000,
        required=False,
        help_text="Empty: what the setting says.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        model = get_user_model()
        active = model._default_manager.filter(is_active=True).order_by(model.USERNAME_FIELD)
        self.fields["user"].queryset = active  # type: ignore[attr-defined]

    def life(self) -> timedelta | None:
        """Return how long the key lives, None for ever."""
        days = self.cleaned_data["expires_in_days"]
        return None if days is None else timedelta(days=days)


class RotateForm(forms.Form):
    """How a key hands over to its successor."""

    overlap_minutes = forms.IntegerField(
        min_value=0,
        max_value=OVERLAP_MINUTES_MAX,
        initial=60,
        help_text="So long both keys open; then the old one is dead.",
    )


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Keys, read-only; each change asks the use case and is written to the admin's log."""

    list_display = ("prefix", "user", "name", "scope_list", "state", "last_used_at", "expires_at")
    list_select_related = ("user",)
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    list_per_page = 100
    show_full_result_count = False
    ordering = ("-created_at",)
    search_fields = ("prefix", "name", f"user__{get_user_model().USERNAME_FIELD}")
    actions = None
    fields = (
        *("prefix", "state", "user", "name", "scope_list", "calls_per_s"),
        *("created_at", "expires_at", "revoked_at", "last_used_at", "replaced_by"),
    )
    readonly_fields = fields

    @admin.display(description="scopes")
    def scope_list(self, key: ApiKey) -> str:
        """Return the scopes as text."""
        return ", ".join(key.scopes)

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        """Return live, or why not."""
        return usecases.state_of(key, now=timezone.now())

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Offer no form that saves: who may change keys does it by rotate and revoke."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Keep every key: it tells who could call, and until when."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Add the pages that rotate and revoke."""
        guard = self.admin_site.admin_view
        return [
            path("<int:key_id>/rotate/", guard(self.rotate_view), name="accounts_apikey_rotate"),
            path("<int:key_id>/revoke/", guard(self.revoke_view), name="accounts_apikey_revoke"),
            *super().get_urls(),
        ]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Issue a key and show it once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = IssueForm(request.POST or None)
        if not form.is_valid():
            return self._ask(request, form, title="Issue an API key", verb="Issue")
        now, life = timezone.now(), form.life()
        with transaction.atomic():  # No key without its entry in the log.
            issued = usecases.issue_key(
                user=form.cleaned_data["user"],
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                expires_at=None if life is None else now + life,
                calls_per_s=form.cleaned_data["calls_per_s"],
                now=now,
            )
            self.log_addition(request, issued.key, "Issued: " + ", ".join(issued.key.scopes))
        return self._show_once(request, issued)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a key and, to those who may, the way to rotate and revoke it."""
        key = self.get_object(request, object_id)
        may_change = key is not None and key.revoked_at is None and _may_change(request.user)
        context = {"may_change_key": may_change, **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    def rotate_view(self, request: HttpRequest, key_id: int) -> HttpResponse:
        """Give a key a successor and show that once."""
        key = self._get_changeable(request, key_id)
        form = RotateForm(request.POST or None)
        if not form.is_valid():
            return self._ask(request, form, title=f"Rotate {key.prefix}", verb="Rotate", key=key)
        minutes = form.cleaned_data["overlap_minutes"]
        try:
            with transaction.atomic():
                issued = usecases.rotate_key(
                    key.pk, overlap=timedelta(minutes=minutes), now=timezone.now()
                )
                replaced = f"Rotated: {issued.key.prefix} replaces it after {minutes} minutes"
                self.log_change(request, key, replaced)
                self.log_addition(request, issued.key, f"Issued: replaces {key.prefix}")
        except usecases.ApiKeyNotLive as refusal:
            return self._refuse(request, key, refusal)
        return self._show_once(request, issued)

    def revoke_view(self, request: HttpRequest, key_id: int) -> HttpResponse:
        """End a key."""
        key = self._get_changeable(request, key_id)
        if request.method != "POST":
            return self._ask(
                request, forms.Form(), title=f"Revoke {key.prefix}", verb="Revoke", key=key
            )
        try:
            with transaction.atomic():
                usecases.revoke_key(key.pk, now=timezone.now())
                self.log_change(request, key, "Revoked")
        except usecases.ApiKeyNotLive as refusal:
            return self._refuse(request, key, refusal)
        self.message_user(request, f"{key.prefix} is revoked.", messages.SUCCESS)
        return redirect("admin:accounts_apikey_change", key.pk)

    def _get_changeable(self, request: HttpRequest, key_id: int) -> ApiKey:
        if not _may_change(request.user):
            raise PermissionDenied
        key: ApiKey | None = self.get_object(request, str(key_id))
        if key is None:
            raise Http404
        return key

    def _ask(
        self,
        request: HttpRequest,
        form: forms.Form,
        *,
        title: str,
        verb: str,
        key: ApiKey | None = None,
    ) -> HttpResponse:
        context = {"form": form, "title": title, "verb": verb, "key": key}
        return self._page(request, "ask.html", context)

    def _show_once(self, request: HttpRequest, issued: usecases.IssuedKey) -> HttpResponse:
        # In the answer itself, not in a message: messages lie in cookies and sessions.
        context = {"title": "Copy this key now", "key": issued.key, "text": issued.text}
        return self._page(request, "shown_once.html", context)

    def _refuse(
        self, request: HttpRequest, key: ApiKey, refusal: usecases.ApiKeyNotLive
    ) -> HttpResponse:
        self.message_user(request, f"Nothing was done: {refusal}.", messages.WARNING)
        return redirect("admin:accounts_apikey_change", key.pk)

    def _page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(request, f"admin/accounts/apikey/{name}", context)


def _may_change(user: Any) -> bool:
    may: bool = user.has_perm("accounts.change_apikey")
    return may
