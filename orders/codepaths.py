"""The code paths of orders: one line a version."""

from orders import placement, reading
from rollout.codepath import CodePath

place = CodePath(
    "orders.place",
    effects="write",
    classify=placement.outcome_of_batch,
    stickiness=("account+customer", "account"),
    attributes=placement.whose_orders,
)
place.version("v1")(placement.place_alone)
place.version("v2")(placement.place_in_group)

# What only reads may run again: where the cache fails an order is read from the database.
get = CodePath("orders.get", effects="read", fallback="rerun")
get.version("v1")(reading.read_from_database)
get.version("v2")(reading.read_from_cache)
