"""How long a session of the back office lasts."""

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse

from accounts import rules

BEGAN_AT, SEEN_AT = "accounts_began_at", "accounts_seen_at"
SEEN_NOTED_EVERY_S = 60


class SessionLimits:
    """
    Ends a login that was idle for ACCOUNTS_SESSION_IDLE_S or is ACCOUNTS_SESSION_AGE_S old.

    Django's SESSION_COOKIE_AGE alone starts again with each write to the session. Stands behind
    SessionMiddleware; a request without the cookie costs nothing.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.idle_s = getattr(settings, "ACCOUNTS_SESSION_IDLE_S", 30 * 60)
        self.age_s = getattr(settings, "ACCOUNTS_SESSION_AGE_S", 12 * 3600)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Hold the limits, then answer."""
        if settings.SESSION_COOKIE_NAME in request.COOKIES:
            self._hold(request.session, now_s=time.time())
        return self.get_response(request)

    def _hold(self, session: SessionBase, *, now_s: float) -> None:
        if SESSION_KEY not in session:
            return
        began_s, seen_s = session.get(BEGAN_AT, now_s), session.get(SEEN_AT, 0.0)
        if BEGAN_AT in session and rules.is_session_over(
            age_s=now_s - began_s,
            idle_s=now_s - seen_s,
            age_s_max=self.age_s,
            idle_s_max=self.idle_s,
        ):
            session.flush()
        elif now_s - seen_s >= SEEN_NOTED_EVERY_S:
            # Not with each request: every write is a row of the database.
            session.update({BEGAN_AT: began_s, SEEN_AT: now_s})
