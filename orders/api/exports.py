"""Orders as a file, over HTTP."""

from django.http import FileResponse, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet

from orders import usecases
from orders.api import schema
from orders.api.requests import account_seen
from orders.api.serializers import ExportQuery, cursor_of, id_of_cursor
from orders.usecases import ExportFilter

CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}


class ExportViewSet(ViewSet):
    """Orders as a file."""

    scopes = {"export": "orders:read"}

    @schema.export_orders
    def export(self, request: Request) -> HttpResponseBase:
        """Return orders as a file, first to last; `X-Next-Cursor` tells where to go on."""
        query = ExportQuery.model_validate(request.query_params.dict())
        content_type = CONTENT_TYPES[query.format]
        if request.method == "HEAD":
            return HttpResponse(content_type=content_type)
        exported = usecases.export_file(
            form=query.format,
            where=ExportFilter(account_seen(request), query.placed_after, query.placed_before),
            after_id=id_of_cursor(query.cursor) if query.cursor else None,
            limit=query.limit,
        )
        # The server takes the file itself, for sendfile or block by block.
        answer = FileResponse(
            exported.file,
            as_attachment=True,
            filename=f"orders.{query.format}",
            content_type=content_type,
        )
        if exported.next_id is not None:
            answer.headers["X-Next-Cursor"] = cursor_of(exported.next_id)
        return answer
