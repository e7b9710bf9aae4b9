"""What may be forgotten of orders: results of comparing the books, but for the latest."""

RECONCILIATIONS = {
    "table": "orders_reconciliation",
    "stale": """
        ran_at < now() - %(days)s * interval '1 day'
        AND ran_at < (SELECT max(ran_at) FROM orders_reconciliation)""",
}
