"""Past sales become orders: through the doors that everybody uses, each invoice once."""

import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import orjson

from config.errors import AppError
from events.usecases import (
    Answer,
    EventsError,
    KeyedRequest,
    OutcomeUnknown,
    RequestInProgress,
    TemporarilyUnavailable,
    keyed_request,
    retell,
)
from inventory.usecases import (
    Provenance,
    Sku,
    SkuExists,
    create_sku,
    find_skus,
    receive_stock,
)
from orders.retail import (
    Cancellation,
    Invoice,
    RejectedRow,
    Rejection,
    Row,
    list_articles,
    units_sold,
)
from orders.usecases import Placement, Wanted, place_orders, undo_sales

logger = logging.getLogger(__name__)

Work = TypeVar("Work")

# How long to wait before each further try of what may succeed later: 7.7 s in all.
RETRY_DELAYS_S = (0.2, 0.5, 1.0, 2.0, 4.0)

# A real invoice has some twenty lines: this many fill one group commit, and who stops the import
# waits for no more.
INVOICES_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Importer:
    """
    Who imports, and how the money and the keys of the file are to be read.

    key_prefix: an invoice's key is this and its number, so that it is one order however often its
    file is imported. retry_delays_s: in seconds, may be empty.
    """

    account_id: int
    actor: str
    currency: str
    key_prefix: str = "import"
    retry_delays_s: Sequence[float] = RETRY_DELAYS_S

    @property
    def provenance(self) -> Provenance:
        """What the ledger tells of an import."""
        return Provenance(actor=self.actor, source="import")

    def request(self, name: str, content: object) -> KeyedRequest:
        """Return the request that a name makes once; the same name means the same content."""
        return keyed_request(
            account_id=self.account_id,
            header=f"{self.key_prefix}:{name}",
            method="IMPORT",
            route="online-retail",
            canonical_body=orjson.dumps(content, option=orjson.OPT_SORT_KEYS),
        )


@dataclass(frozen=True, slots=True)
class Placed:
    """An invoice that is an order. is_replayed: it was one before."""

    invoice: Invoice
    is_replayed: bool


@dataclass(frozen=True, slots=True)
class Cancelled:
    """
    A cancellation of which rows were matched to earlier orders, and those that were not.

    is_replayed: it was done before.
    """

    cancellation: Cancellation
    rows: tuple[Row, ...]
    is_replayed: bool


Outcome = Placed | Cancelled | Rejection


def create_missing_skus(invoices: Sequence[Invoice], *, currency: str) -> Iterator[str]:
    """
    Add the SKUs that invoices sell and that are not there; yield the code of each one added.

    The price is the one most lines have. A charge that is sold as a line is not tracked.
    """
    articles = list_articles(invoices)
    known = find_skus(article.code for article in articles)
    for article in articles:
        if article.code in known:
            continue
        try:
            create_sku(
                code=article.code,
                name=article.name,
                price_minor=article.price_minor,
                currency=currency,
                is_tracked=article.is_tracked,
            )
        except SkuExists:
            # Another import was faster, or the code is an address: its orders will tell.
            continue
        yield article.code


def receive_opening_stock(
    invoices: Sequence[Invoice], importer: Importer, *, delivery: str, units_each: int | None = None
) -> Iterator[int]:
    """
    Receive what invoices sell of each tracked SKU, or units_each of it; yield the units of each.

    delivery: names this stock. It is received once, dated as the first invoice; again it changes
    nothing. SKUs that are not there get none. Raises IdempotencyKeyReused when it was received
    before in other units, and what receive_stock raises.
    """
    sold = units_sold(invoices)
    skus = find_skus(sold)
    for code, units in sorted(sold.items()):
        if code not in skus or not skus[code].is_tracked:
            continue
        quantity = units_each or units
        _receive(code, quantity, importer, delivery=delivery, first=invoices[0])
        yield quantity


def _receive(
    code: str, quantity: int, importer: Importer, *, delivery: str, first: Invoice
) -> None:
    def receive() -> Answer | Exception:
        try:
            return receive_stock(
                request=importer.request(f"opening:{delivery}:{code}", quantity),
                sku=code,
                quantity=quantity,
                provenance=importer.provenance,
                now=first.at,
                reference=f"opening stock {delivery}",
            )
        except (TemporarilyUnavailable, OutcomeUnknown, RequestInProgress) as trouble:
            return trouble

    retell(_ask_again(lambda _: [receive()], [None], importer.retry_delays_s)[0])


def import_sales(
    invoices: Sequence[Invoice], cancellations: Sequence[Cancellation], importer: Importer
) -> Iterator[list[Outcome]]:
    """
    Replay invoices and cancellations by date; yield what became of them, a batch at a time.

    Both stand by date; at one time the invoice is first. A batch is committed when it is yielded;
    to stop, take no more. Raises TemporarilyUnavailable, OutcomeUnknown or RequestInProgress when
    trouble lasts longer than importer.retry_delays_s, after what was told of that batch: what is
    missing is done when the import runs again.
    """
    done = 0
    for cancellation in cancellations:
        earlier = bisect_right(invoices, cancellation.at, lo=done, key=lambda sale: sale.at)
        yield from _import_invoices(invoices[done:earlier], importer)
        done = earlier
        yield _cancel(cancellation, importer)
    yield from _import_invoices(invoices[done:], importer)


def _import_invoices(invoices: Sequence[Invoice], importer: Importer) -> Iterator[list[Outcome]]:
    for start in range(0, len(invoices), INVOICES_AT_ONCE):
        yield from _import_batch(invoices[start : start + INVOICES_AT_ONCE], importer)


def _cancel(cancellation: Cancellation, importer: Importer) -> list[Outcome]:
    """Undo what a cancellation's rows say; those that match no earlier line are rejected."""
    content = [[row.code, row.quantity, row.price_minor] for row in cancellation.rows]

    def undo() -> Answer | Exception:
        try:
            return undo_sales(
                [Wanted(row.charge_code or row.code, -row.quantity) for row in cancellation.rows],
                request=importer.request(
                    cancellation.number, [cancellation.customer, cancellation.at, content]
                ),
                customer=cancellation.customer,
                reason=f"cancellation {cancellation.number}",
                provenance=importer.provenance,
                now=cancellation.at,
            )
        except (EventsError, AppError) as refusal:
            return refusal

    told = _ask_again(lambda _: [undo()], [None], importer.retry_delays_s)[0]
    if not isinstance(told, Answer):
        if _may_succeed_later(told):
            raise told
        return [cancellation.rejected(*_why(told))]
    return list(_outcomes_of(cancellation, told))


def _outcomes_of(cancellation: Cancellation, told: Answer) -> Iterator[Outcome]:
    unmatched = {int(n): units for n, units in orjson.loads(told.body)["unmatched"].items()}
    rows = tuple(row for n, row in enumerate(cancellation.rows) if n not in unmatched)
    if rows:
        yield Cancelled(cancellation, rows, told.is_replayed)
    if unmatched:
        rejected = {n: _unmatched(cancellation.rows[n], left) for n, left in unmatched.items()}
        yield cancellation.rejected_rows(rejected)


def _unmatched(row: Row, left: int) -> RejectedRow:
    if row.charge_code is not None:
        return row.rejected(
            "charge_unmatched", "no earlier order has it as a line; as a charge it is not cut"
        )
    return row.rejected(
        "cancellation_unmatched",
        f"{-row.quantity} units, of which earlier lines of this customer have {left} left",
    )


def _import_batch(invoices: Sequence[Invoice], importer: Importer) -> Iterator[list[Outcome]]:
    skus = find_skus({line.sku for invoice in invoices for line in invoice.draft.lines})
    outcomes: list[Outcome] = []
    asked = []
    for invoice in invoices:
        if foreign := _foreign_money(invoice, skus, importer.currency):
            outcomes.append(foreign)
        else:
            asked.append(invoice)
    told = _ask_again(
        place_orders, [_placement(invoice, importer) for invoice in asked], importer.retry_delays_s
    )
    troubles = []
    for invoice, answer in zip(asked, told, strict=True):
        if isinstance(answer, Answer):
            outcomes.append(Placed(invoice, answer.is_replayed))
        elif _may_succeed_later(answer):
            troubles.append(answer)
        else:
            outcomes.append(_rejection(invoice, answer))
    yield outcomes
    if troubles:
        raise troubles[0]


def _foreign_money(invoice: Invoice, skus: Mapping[str, Sku], currency: str) -> Rejection | None:
    # An order has the currency of its SKUs: pounds must not become as many euros.
    for line in invoice.draft.lines:
        sku = skus.get(line.sku)
        if sku is not None and sku.currency != currency:
            return invoice.rejected(
                "other_currency", f"SKU {sku.code} is sold in {sku.currency}, not in {currency}."
            )
    return None


def _placement(invoice: Invoice, importer: Importer) -> Placement:
    content = [asdict(invoice.draft), invoice.at]
    request = importer.request(invoice.number, content)
    return Placement(invoice.draft, request, importer.provenance, invoice.at)


def _ask_again(
    ask: Callable[[Sequence[Work]], Sequence[Answer | Exception]],
    works: Sequence[Work],
    delays_s: Sequence[float],
) -> list[Answer | Exception]:
    """Ask for works; ask again, with the same keys, for those that may succeed later."""
    told = list(ask(works))
    for delay_s in delays_s:
        again = [n for n, answer in enumerate(told) if _may_succeed_later(answer)]
        if not again:
            break
        time.sleep(delay_s)
        for n, answer in zip(again, ask([works[n] for n in again]), strict=True):
            told[n] = answer
    return told


def _may_succeed_later(told: Answer | Exception) -> bool:
    return getattr(told, "retryable", False)


def _rejection(invoice: Invoice, refusal: Exception) -> Rejection:
    if getattr(refusal, "code", None) is None:
        logger.error("invoice %s could not be placed", invoice.number, exc_info=refusal)
        return invoice.rejected("internal_error", "see the log")
    return invoice.rejected(*_why(refusal))


def _why(refusal: Exception) -> tuple[str, str]:
    errors = getattr(refusal, "errors", ())
    if errors:
        # The first fault says more than that there are some.
        return errors[0]["code"], errors[0]["message"]
    return getattr(refusal, "code", "internal_error"), str(refusal)
