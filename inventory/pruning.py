"""What may be forgotten of stock: ended holds, and what imports say of rows. The ledger stays."""

HOLDS = {
    "table": "inventory_hold",
    "stale": "state <> 'live' AND updated_at < now() - %(days)s * interval '1 day'",
    "with_it": {"inventory_holdline": "hold_id"},
}

TRIALS_OF_IMPORTS = {
    "table": "inventory_stockimport",
    "stale": """
        is_dry_run AND status = 'done'
        AND finished_at < now() - %(days)s * interval '1 day'""",
    "with_it": {"inventory_stockimportrow": "stock_import_id"},
}

# The import itself stays: by its digest the same file is known when it comes again.
ROWS_OF_IMPORTS = {
    "table": "inventory_stockimportrow",
    "stale": """
        stock_import_id IN (SELECT id FROM inventory_stockimport
                             WHERE status = 'done' AND NOT is_dry_run
                               AND finished_at < now() - %(days)s * interval '1 day')""",
}
