"""Files of SKUs and stock: tried, imported, and what became of each row."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from backoffice.acts import ActAdmin, ActForm, Done
from backoffice.tables import Table
from inventory import usecases
from inventory.admin.asked import REFUSALS, provenance_of
from inventory.models import StockImport

PERMISSION = "inventory.import_stock"
ROWS_SHOWN = 200


class UploadForm(ActForm):
    """A file, to be tried first or imported at once."""

    verb, permission, is_of_a_row = "Upload a file", PERMISSION, False
    enctype = "multipart/form-data"
    explanation = "A CSV of SKUs and stock. A trial tells what would become of each row."

    file = forms.FileField(allow_empty_file=True)
    is_dry_run = forms.BooleanField(required=False, initial=True, label="Only try it")

    def act(self, request: HttpRequest) -> Done:
        """Keep the file; a small one is worked off at once."""
        file: Any = self.cleaned_data["file"]
        started = usecases.start_import(
            name=file.name or "upload",
            content=file.read(),
            provenance=provenance_of(request),
            now=timezone.now(),
            is_dry_run=self.cleaned_data["is_dry_run"],
        )
        return worked_off(started)


class ApplyForm(ActForm):
    """The file of a trial, imported."""

    verb, permission = "Import it", PERMISSION
    explanation = "What the trial told is done. One file is one import, however often it is asked."

    @classmethod
    def is_possible(cls, row: StockImport) -> bool:
        """Test whether it was a trial, and it is over."""
        return row.is_dry_run and row.status == StockImport.Status.DONE

    def facts(self) -> list[tuple[str, Any]]:
        """Return what the trial told."""
        return facts_of(self.row)

    def act(self, request: HttpRequest) -> Done:
        """Import it."""
        return worked_off(
            usecases.apply_import(
                self.row.pk, provenance=provenance_of(request), now=timezone.now()
            )
        )


def worked_off(started: StockImport) -> Done:
    """Work a small import off, and return what is told of one that was started."""
    if usecases.is_small(started):
        for moved_on in usecases.run_import(started.pk, now=timezone.now()):
            started = moved_on
    if started.status != StockImport.Status.DONE:
        return Done(f"{started.name} is kept, and worked off in the background.", pk=started.pk)
    what = "A trial: nothing was done. " if started.is_dry_run else ""
    told = f"{started.rows_changed:,} rows with an effect, {started.rows_rejected:,} rejected."
    return Done(f"{started.name}: {what}{told}", pk=started.pk)


def facts_of(row: StockImport) -> list[tuple[str, Any]]:
    """Return how far an import is."""
    rows = "?" if row.rows is None else f"{row.rows:,}"
    return [
        *(("File", row.name), ("Trial", "yes" if row.is_dry_run else "no")),
        *(("State", row.get_status_display()), ("Rows done", f"{row.rows_done:,} of {rows}")),
        *(("With an effect", f"{row.rows_changed:,}"), ("Rejected", f"{row.rows_rejected:,}")),
    ]


@admin.register(StockImport)
class StockImportAdmin(ActAdmin):
    """Files that were uploaded or imported by a command."""

    acts = (UploadForm, ApplyForm)
    refusals = REFUSALS
    change_form_template = "admin/inventory/stockimport/change_form.html"
    list_display = ("name", "kind", "status", "progress", "rows_rejected", "actor", "created")
    fields = readonly_fields = (
        *("name", "kind", "status", "progress", "rows_changed", "rows_rejected", "actor"),
        *("source", "created", "finished_at"),
    )

    @admin.display(description="kind")
    def kind(self, row: StockImport) -> str:
        """Return whether it does anything."""
        return "trial" if row.is_dry_run else "import"

    @admin.display(description="rows done")
    def progress(self, row: StockImport) -> str:
        """Return how far it is."""
        return f"{row.rows_done:,} of {'?' if row.rows is None else f'{row.rows:,}'}"

    @admin.display(description="created at (UTC)")
    def created(self, row: StockImport) -> str:
        """Return when it was uploaded."""
        return f"{row.created_at:%Y-%m-%d %H:%M:%S}"

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return imports without their texts, which may be long."""
        return super().get_queryset(request).defer("text")

    def get_urls(self) -> list[URLPattern]:
        """Add the file of rejected rows."""
        guard = self.admin_site.admin_view
        name = "inventory_stockimport_rejected"
        return [
            path("<path:object_id>/rejected.csv", guard(self.rejected_view), name=name),
            *super().get_urls(),
        ]

    def rejected_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Return the rejected rows as a file that can be mended and imported."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        lines = "".join(usecases.list_rejected_lines(row.pk))
        name = f"rejected-{row.pk}.csv"
        return HttpResponse(
            lines,
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def story_of(self, request: HttpRequest, row: StockImport) -> dict[str, Any]:
        """Return what became of its rows, the rejected ones first."""
        address = reverse("admin:inventory_stockimport_rejected", args=[row.pk])
        return {
            "tables": [
                _rows(row, "rejected", "Rejected rows", is_rejected=True),
                _rows(row, "outcomes", "What became of each row", is_rejected=False),
            ],
            "rejected": address if row.rows_rejected else None,
            "is_under_way": row.status != StockImport.Status.DONE,
        }


def _rows(row: StockImport, anchor: str, title: str, *, is_rejected: bool) -> Table:
    outcomes, more = usecases.list_import_rows(row.pk, is_rejected=is_rejected, limit=ROWS_SHOWN)
    cells = [
        [
            *(outcome.line, outcome.sku, outcome.outcome),
            f"{outcome.on_hand_change:+,}" if outcome.on_hand_change else "",
            f"{outcome.why} {outcome.detail}".strip(),
        ]
        for outcome in outcomes
    ]
    headings = ("Line", "SKU", "Outcome", "On hand", "Why")
    note = f"The first {ROWS_SHOWN} are shown." if more is not None else ""
    return Table(anchor, title, headings, cells, ("Line", "On hand"), note=note)
