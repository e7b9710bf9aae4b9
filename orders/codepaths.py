"""The code paths of orders: one line a version."""

from orders import placement
from rollout.codepath import CodePath

place = CodePath("orders.place", effects="write")
place.version("v1")(placement.place_alone)
place.version("v2")(placement.place_in_group)
