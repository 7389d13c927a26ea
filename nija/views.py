"""The landing page, and what a reader sees when something went wrong."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template import loader
from django.templatetags.static import static
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from nija.context import site


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """What NIJA is, for people who are not logged in; the others go to their dashboard."""
    if request.user.is_authenticated:
        return redirect("dashboard")
    return render(request, "landing.html")


@require_safe
def favicon(_request: HttpRequest) -> HttpResponse:
    """What browsers ask for on pages that name no icon: the admin, a backtest's report, plain JSON."""
    return redirect(static("nija/icon.svg"))


@csrf_exempt
def api_not_found(_request: HttpRequest) -> JsonResponse:
    """Programs read JSON, also of an address that is none."""
    return JsonResponse({"detail": "Not found."}, status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Rendered without the reader: whoever they are may be what could not be read."""
    return HttpResponse(loader.render_to_string("500.html", site(request)), status=500)
