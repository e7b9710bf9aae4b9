"""The code paths of orders: one line a version."""

from orders import placement, reading
from rollout.codepath import CodePath

place = CodePath("orders.place", effects="write")
place.version("v1")(placement.place_alone)
place.version("v2")(placement.place_in_group)

get = CodePath("orders.get", effects="read")
get.version("v1")(reading.read_from_database)
get.version("v2")(reading.read_from_cache)
