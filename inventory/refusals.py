"""What people who work on stock are refused for, besides what inventory.rules refuses. Pure."""

from config.errors import AppError


class LocationExists(AppError):
    """Another location has this code."""

    code, kind, facts = "location_exists", "conflict", ("location",)

    def __init__(self, location: str) -> None:
        super().__init__(f"Location {location} exists already.")
        self.location = location


class NoSuchLocation(AppError):
    """The address names a location that does not exist."""

    code, kind, facts = "no_such_location", "not_found", ("location",)

    def __init__(self, location: str) -> None:
        super().__init__(f"There is no location {location}.")
        self.location = location


class StockNotFree(AppError):
    """Fewer units are free to be taken away than were asked for: the rest is promised."""

    code, kind = "stock_not_free", "conflict"
    facts = ("sku", "location", "requested", "free")

    def __init__(self, sku: str, location: str, *, requested: int, free: int) -> None:
        super().__init__(f"{sku} at {location}: {requested} requested, {free} free to leave.")
        self.sku = sku
        self.location = location
        self.requested = requested
        self.free = free


class QuarantineOutOfRange(AppError):
    """More units would be in quarantine than are on hand, or fewer than none."""

    code, kind = "quarantine_out_of_range", "conflict"
    facts = ("sku", "on_hand", "unavailable", "delta")

    def __init__(self, sku: str, *, on_hand: int, unavailable: int, delta: int) -> None:
        super().__init__(
            f"{sku}: {unavailable} of {on_hand} are in quarantine, {delta:+} is not possible."
        )
        self.sku = sku
        self.on_hand = on_hand
        self.unavailable = unavailable
        self.delta = delta


class BackorderLimitTooLow(AppError):
    """More units are waited for already than the limit would allow."""

    code, kind, facts = "backorder_limit_too_low", "conflict", ("sku", "location", "waiting")

    def __init__(self, sku: str, location: str, *, waiting: int) -> None:
        super().__init__(f"{sku} at {location}: orders wait for {waiting} units already.")
        self.sku = sku
        self.location = location
        self.waiting = waiting


class TransferNotFound(AppError):
    """No transfer has this id."""

    code, kind = "transfer_not_found", "not_found"

    def __init__(self) -> None:
        super().__init__("There is no such transfer.")


class TransferClosed(AppError):
    """Every unit of the transfer has arrived, gone back or been written off."""

    code, kind, facts = "transfer_closed", "conflict", ("transfer_id",)

    def __init__(self, transfer_id: object) -> None:
        super().__init__("Nothing of this transfer is under way any more.")
        self.transfer_id = str(transfer_id)


class SameLocation(AppError):
    """A transfer leads from a location to itself."""

    code, kind, facts = "same_location", "invalid", ("location",)

    def __init__(self, location: str) -> None:
        super().__init__(f"From {location} to {location} is no transfer.")
        self.location = location


class ReasonMissing(AppError):
    """More or fewer units arrived than are under way, and nobody said why."""

    code, kind, facts = "reason_missing", "invalid", ("under_way", "received")

    def __init__(self, *, under_way: int, received: int) -> None:
        super().__init__(f"{received} arrived of {under_way} under way: name a reason.")
        self.under_way = under_way
        self.received = received


class StocktakeNotFound(AppError):
    """No stocktake has this id."""

    code, kind = "stocktake_not_found", "not_found"

    def __init__(self) -> None:
        super().__init__("There is no such stocktake.")


class StocktakeClosed(AppError):
    """The stocktake was approved or cancelled."""

    code, kind, facts = "stocktake_closed", "conflict", ("status",)

    def __init__(self, status: str) -> None:
        super().__init__(f"This stocktake is {status}.")
        self.status = status


class StocktakeEmpty(AppError):
    """The location has no stock level of what is to be counted."""

    code, kind = "stocktake_empty", "invalid"

    def __init__(self) -> None:
        super().__init__("There is nothing to count: no such SKU has stock at this location.")


class StocktakeTooLarge(AppError):
    """More levels are to be counted than one stocktake holds: count in parts."""

    code, kind, facts = "stocktake_too_large", "invalid", ("lines_max",)

    def __init__(self, *, lines_max: int) -> None:
        super().__init__(f"One stocktake has {lines_max} lines at most: count in parts.")
        self.lines_max = lines_max


class SkuBeingCounted(AppError):
    """Another open stocktake counts the SKU at this location: its variance would count twice."""

    code, kind, facts = "sku_being_counted", "conflict", ("sku",)

    def __init__(self, sku: str) -> None:
        super().__init__(f"SKU {sku} is being counted in another stocktake.")
        self.sku = sku


class SkuNotInStocktake(AppError):
    """The SKU is not one of those that the stocktake counts."""

    code, kind, facts = "sku_not_in_stocktake", "invalid", ("sku",)

    def __init__(self, sku: str) -> None:
        super().__init__(f"SKU {sku} is not in this stocktake.")
        self.sku = sku


class ImportNotFound(AppError):
    """There is no import with this id."""

    code, kind = "import_not_found", "not_found"

    def __init__(self) -> None:
        super().__init__("There is no such import.")
