"""
A shop that is kept on paper: what the program should do, as a model in memory.

It knows nothing of the program: it says what a shop would do with a pencil.
"""

from dataclasses import dataclass, field

CODES = ("CUP", "POT")
PRICE = 100
OPENING = 12
# Of each SKU, how many units orders may wait for: cups are sold so, pots are not.
LIMITS = {"CUP": 6, "POT": 0}


@dataclass
class Shelf:
    """One SKU: at the main location, in a barn that orders get nothing from, and on the way."""

    on_hand: int
    limit: int = 0
    unavailable: int = 0
    held: int = 0
    allocated: int = 0
    waiting: int = 0
    barn: int = 0
    coming: int = 0
    coming_to_barn: int = 0

    @property
    def there(self) -> int:
        return self.on_hand - self.unavailable

    @property
    def nobodys(self) -> int:
        return self.there - self.held - self.allocated

    @property
    def promised(self) -> int:
        return self.held + self.allocated - self.waiting


@dataclass
class Line:
    sku: str
    quantity: int
    cancelled: int = 0
    sent: int = 0
    back: int = 0
    waiting: int = 0

    @property
    def open(self) -> int:
        return self.quantity - self.cancelled - self.sent


@dataclass
class Paper:
    """An order as somebody keeps it on paper."""

    lines: list[Line]
    status: str = "placed"
    authorized: int = 0
    captured: int = 0
    refunded: int = 0
    has_failed: bool = False
    is_overdue: bool = False
    version: int = 1

    @property
    def open(self) -> int:
        return sum(line.open for line in self.lines)

    @property
    def sent(self) -> int:
        return sum(line.sent for line in self.lines)

    @property
    def due(self) -> int:
        return PRICE * (self.open + self.sent)

    @property
    def payment(self) -> str:
        if self.refunded and self.refunded >= self.captured:
            return "refunded"
        if self.captured:
            return "paid" if self.captured >= self.due else "partially_paid"
        if self.authorized:
            return "authorized"
        return "failed" if self.has_failed else "unpaid"

    @property
    def fulfillment(self) -> str:
        if self.sent == 0:
            return "unfulfilled"
        if self.open:
            return "partial"
        came_back = sum(line.back for line in self.lines)
        return "returned" if came_back == self.sent else "fulfilled"

    @property
    def is_covered(self) -> bool:
        had = max(self.authorized, self.captured) - self.refunded
        return had > 0 and had >= self.due

    def turn(self) -> None:
        """Write one more version, in the status that it now has."""
        self.version += 1
        if self.status not in ("placed", "confirmed"):
            return
        if self.open == 0 and self.sent == 0:
            self.status = "cancelled"
        elif self.open == 0 and self.captured >= self.due:
            self.status = "closed"
        elif self.sent or self.is_covered:
            self.status = "confirmed"


@dataclass
class Slip:
    """Units that are kept for somebody: by SKU, as long as it keeps them."""

    units: dict[str, int]
    state: str = "live"
    is_over: bool = False

    @property
    def is_good(self) -> bool:
        return self.state == "live" and not self.is_over


@dataclass
class Cart:
    """Units on the way from one place to the other."""

    sku: str
    units: int
    is_to_barn: bool
    is_open: bool = True


@dataclass
class Shop:
    """What is there, and who was promised what. Each method says whether the shop would do it."""

    shelves: dict[str, Shelf] = field(
        default_factory=lambda: {code: Shelf(OPENING, LIMITS[code]) for code in CODES}
    )
    papers: list[Paper] = field(default_factory=list)
    # Those past their deadline that still keep something, the oldest deadline first.
    due: list[Slip] = field(default_factory=list)

    def place(
        self, cups: int, pots: int, *, may_wait: bool = False, slip: Slip | None = None
    ) -> Paper | None:
        paper = Paper([Line("CUP", cups), Line("POT", pots)])
        if not self._promise(paper, may_wait=may_wait, slip=slip):
            return None
        self.papers.append(paper)
        return paper

    def _promise(self, paper: Paper, *, may_wait: bool = False, slip: Slip | None = None) -> bool:
        if slip is not None and not slip.is_good:
            return False
        wanted = {line.sku: line.open for line in paper.lines if line.open}
        waits = self._take(wanted, may_wait=may_wait, kept=slip.units if slip else {})
        if waits is None:
            return False
        if slip is not None:
            self._give_back(slip, "converted")
        for line in paper.lines:
            shelf = self.shelves[line.sku]
            line.waiting = waits.get(line.sku, 0)
            shelf.allocated += line.open
            shelf.waiting += line.waiting
        self._fill()
        return True

    def _take(
        self, wanted: dict[str, int], *, may_wait: bool = False, kept: dict[str, int] | None = None
    ) -> dict[str, int] | None:
        """Find units, and let go of what slips past their deadline keep only when short of them."""
        for with_due in (False, True):
            found: dict[str, tuple[int, int]] = {}
            for code, asked in wanted.items():
                missing = asked - min(asked, (kept or {}).get(code, 0))
                shelf = self.shelves[code]
                due = sum(slip.units.get(code, 0) for slip in self.due) if with_due else 0
                there = min(missing, max(0, shelf.nobodys + due))
                room = shelf.limit - shelf.waiting if may_wait else 0
                if missing - there <= room:
                    found[code] = (there, missing - there)
            if found.keys() == wanted.keys():
                for code, (there, _) in found.items():
                    self._let_go(code, there)
                return {code: waits for code, (_, waits) in found.items()}
        return None

    def _let_go(self, code: str, there: int) -> None:
        for slip in self.due:
            if there and there > self.shelves[code].nobodys:
                self.shelves[code].held -= slip.units.pop(code, 0)

    def _give_back(self, slip: Slip, state: str) -> None:
        for code, kept in slip.units.items():
            self.shelves[code].held -= kept
        slip.units = {}
        slip.state = state

    def _fill(self) -> None:
        """Give what is free to those who wait, the oldest first."""
        for code, shelf in self.shelves.items():
            free = min(shelf.waiting, max(0, shelf.there - shelf.promised))
            for line in (line for paper in self.papers for line in paper.lines if line.sku == code):
                filled = min(free, line.waiting)
                line.waiting -= filled
                shelf.waiting -= filled
                free -= filled

    def _release(self, line: Line, released: int) -> None:
        """Take a promise back: first what is waited for."""
        shelf = self.shelves[line.sku]
        given_up = min(released, line.waiting)
        line.waiting -= given_up
        shelf.waiting -= given_up
        shelf.allocated -= released

    def hold(self, cups: int, pots: int) -> Slip | None:
        slip = Slip({"CUP": cups, "POT": pots})
        if self._take(slip.units) is None:
            return None
        for code, kept in slip.units.items():
            self.shelves[code].held += kept
        self._fill()
        return slip

    def release_hold(self, slip: Slip) -> bool:
        if not slip.is_good:
            return False
        self._give_back(slip, "released")
        self._fill()
        return True

    def expire_holds(self) -> int:
        over, self.due = self.due, []
        for slip in over:
            self._give_back(slip, "expired")
        self._fill()
        return len(over)

    def load(self, code: str, loaded: int, *, is_to_barn: bool) -> Cart | None:
        shelf = self.shelves[code]
        if loaded > (shelf.there - shelf.promised if is_to_barn else shelf.barn):
            return None
        if is_to_barn:
            shelf.on_hand -= loaded
            shelf.coming_to_barn += loaded
        else:
            shelf.barn -= loaded
            shelf.coming += loaded
        return Cart(code, loaded, is_to_barn)

    def unload(self, cart: Cart, arrived: int, *, is_last: bool) -> bool:
        if not cart.is_open:
            return False
        gone = cart.units if is_last else min(arrived, cart.units)
        self._move(cart, arrived, gone, is_to_barn=cart.is_to_barn)
        return True

    def turn_back(self, cart: Cart) -> bool:
        if not cart.is_open:
            return False
        self._move(cart, cart.units, cart.units, is_to_barn=not cart.is_to_barn)
        return True

    def _move(self, cart: Cart, arrived: int, gone: int, *, is_to_barn: bool) -> None:
        shelf = self.shelves[cart.sku]
        if is_to_barn:
            shelf.barn += arrived
        else:
            shelf.on_hand += arrived
        if cart.is_to_barn:
            shelf.coming_to_barn -= gone
        else:
            shelf.coming -= gone
        cart.units -= gone
        cart.is_open = cart.units > 0
        self._fill()

    def cancel(self, paper: Paper, cuts: list[tuple[int, int]] | None) -> bool:
        if cuts is None:
            cuts = [(n, line.open) for n, line in enumerate(paper.lines) if line.open]
        if paper.status not in ("placed", "confirmed") or not cuts:
            return False
        if any(paper.lines[n].open < wanted for n, wanted in cuts):
            return False
        for n, wanted in cuts:
            self._release(paper.lines[n], wanted)
            paper.lines[n].cancelled += wanted
        paper.turn()
        self._fill()
        return True

    def send(self, paper: Paper, position: int, sent: int, short: int) -> bool:
        line = paper.lines[position]
        shelf = self.shelves[line.sku]
        gone = sent + short
        if paper.status not in ("placed", "confirmed") or (
            min(line.open - line.waiting, shelf.there) < gone
        ):
            return False
        line.sent += sent
        line.cancelled += short
        shelf.on_hand -= sent
        shelf.unavailable += short
        shelf.allocated -= gone
        paper.turn()
        return True

    def take_back(self, paper: Paper, position: int, back: int, disposition: str) -> bool:
        line = paper.lines[position]
        if paper.status not in ("confirmed", "closed") or line.sent - line.back < back:
            return False
        line.back += back
        shelf = self.shelves[line.sku]
        shelf.on_hand += back if disposition != "scrap" else 0
        shelf.unavailable += back if disposition == "quarantine" else 0
        paper.version += 1
        self._fill()
        return True

    def pay(self, paper: Paper, kind: str, amount: int) -> bool:
        if kind == "failed":
            paper.has_failed = True
        else:
            setattr(paper, kind, getattr(paper, kind) + amount)
        paper.turn()
        is_promise = kind in ("authorized", "captured")
        if paper.status == "expired" and is_promise and paper.is_covered and self._promise(paper):
            paper.status = "confirmed"
        return True

    def expire(self) -> int:
        over = [
            paper
            for paper in self.papers
            if paper.is_overdue
            and paper.status == "placed"
            and paper.payment in ("unpaid", "failed")
        ]
        for paper in over:
            for line in paper.lines:
                self._release(line, line.open)
            paper.status = "expired"
            paper.version += 1
        self._fill()
        return len(over)

    def adjust(self, code: str, delta: int) -> bool:
        shelf = self.shelves[code]
        if shelf.on_hand + delta < 0:
            return False
        shelf.on_hand += delta
        shelf.unavailable = min(shelf.unavailable, shelf.on_hand)
        self._fill()
        return True
