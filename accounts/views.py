"""The page behind a one-time login link."""

import logging

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods

from accounts import usecases

logger = logging.getLogger(__name__)


@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def login_once(request: HttpRequest, token: str) -> HttpResponse:
    """Log in whoever confirms. Mere looking, as previews of links do, uses nothing up."""
    now = timezone.now()
    try:
        if request.method != "POST":
            return _page(request, user=usecases.peek_login_link(token, now=now))
        user = usecases.use_login_link(token, now=now)
    except usecases.LoginLinkSpent:
        return _page(request, user=None, status=404)
    login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
    logger.info("%s logged in by a one-time link", user.get_username())
    return redirect("admin:index")


def _page(request: HttpRequest, *, user: object, status: int = 200) -> HttpResponse:
    context = admin.site.each_context(request)
    context |= {"title": "Log in once", "link_user": user}
    return render(request, "accounts/login_once.html", context, status=status)
