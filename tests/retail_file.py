"""Lines of an Online Retail file."""

import csv
import io

from orders.retail import COLUMNS

HEAD = ",".join(COLUMNS) + "\r\n"


def a_line(invoice="536365", *, code="85123A", quantity="6", price="2.55", **more):
    """Return a line as the shop's export writes it. more: description, at, customer, country."""
    cells = {
        "invoice": invoice,
        "code": code,
        "description": "WHITE HANGING HEART",
        "quantity": quantity,
        "at": "12/1/2010 8:26",
        "price": price,
        "customer": "17850",
        "country": "United Kingdom",
    }
    assert more.keys() <= cells.keys()
    text = io.StringIO()
    csv.writer(text).writerow((cells | more).values())
    return text.getvalue()
