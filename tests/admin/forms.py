"""Forms of the back office, as a browser fills them in and sends them."""

import re
from html import unescape

FIELD = re.compile(r"<(?:input|select|textarea)\b[^>]*>")
ATTRIBUTE = re.compile(r'\b(name|value|type)="([^"]*)"')


def first_values(html: str) -> dict[str, str]:
    """Return what a form holds before anything is typed: its inputs, hidden ones among them."""
    fields = [dict(ATTRIBUTE.findall(tag)) for tag in FIELD.findall(html)]
    return {
        field["name"]: unescape(field["value"])
        for field in fields
        if "name" in field
        and "value" in field
        and field["name"] != "csrfmiddlewaretoken"
        and field.get("type") not in ("checkbox", "submit", "search")
    }
