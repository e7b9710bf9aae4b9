"""What may be forgotten of stock: holds that have ended. The ledger stays."""

HOLDS = {
    "table": "inventory_hold",
    "stale": "state <> 'live' AND updated_at < now() - %(days)s * interval '1 day'",
    "with_it": {"inventory_holdline": "hold_id"},
}
