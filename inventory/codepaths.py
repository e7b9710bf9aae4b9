"""The code paths of inventory: one line a version."""

from inventory import availability as ways
from rollout.codepath import CodePath

availability = CodePath("inventory.availability", effects="read", fallback="rerun")
availability.version("v1")(ways.read_live)
availability.version("v2")(ways.read_cached)
