"""Every refusal by its code, for whoever follows the type of a problem."""

from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from config.errors import NotFound
from config.problems import STATUS_BY_KIND, is_refusal, problem_response, title_of

MAX_AGE_S = 3600


def list_refusals() -> dict[str, list[type[Exception]]]:
    """
    Return each refusal that this program can answer, by code; apps may share a code.

    Found among the exceptions that are loaded: whoever can raise one has imported it, and
    config.urls imports every view.
    """
    refusals: dict[str, list[type[Exception]]] = {}
    for refusal in _refusals_below(Exception):
        refusals.setdefault(refusal.code, []).append(refusal)  # type: ignore[attr-defined]
    return refusals


# Exempt, so that another verb is answered by what it is, 405, and not as a forged form.
@csrf_exempt
@require_safe
def errors_index(request: HttpRequest) -> HttpResponse:
    """List every code."""
    refusals = list_refusals()
    return _cached({"data": [_entry(refusals[code][0]) for code in sorted(refusals)]})


@csrf_exempt
@require_safe
def error_page(request: HttpRequest, code: str) -> HttpResponse:
    """Tell what one code means."""
    refusals = list_refusals().get(code)
    if refusals is None:
        return problem_response(request, NotFound(f"There is no error {code[:64]}"))
    return _cached(_entry(refusals[0]))


def _refusals_below(parent: type[Exception]) -> Iterator[type[Exception]]:
    for child in parent.__subclasses__():
        if is_refusal(child) and child.kind in STATUS_BY_KIND:  # type: ignore[attr-defined]
            yield child
        yield from _refusals_below(child)


def _entry(refusal: Any) -> dict[str, Any]:
    return {
        "code": refusal.code,
        "title": title_of(refusal.code),
        "status": STATUS_BY_KIND[refusal.kind],
        "retryable": refusal.retryable,
        "effect": getattr(refusal, "effect", "none"),
        "facts": list(refusal.facts),
        "meaning": " ".join((refusal.__doc__ or "").split()),
    }


def _cached(content: dict[str, Any]) -> HttpResponse:
    return JsonResponse(content, headers={"Cache-Control": f"public, max-age={MAX_AGE_S}"})
