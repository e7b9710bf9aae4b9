"""What may be forgotten of answers and deliveries. Events stay: they are timeline and feed."""

# A refusal is kept so that a delayed copy of its request does not succeed after its sender was
# told no. An accepted answer stays as long as what it stands for.
REFUSED_KEYS = {
    "table": "events_idempotencykey",
    "stale": "status >= 400 AND created_at < now() - %(days)s * interval '1 day'",
}

# What still has to go out stays, but not for an endpoint that was deleted.
DELIVERIES = {
    "table": "events_delivery",
    "stale": """
        (state <> 'pending'
         AND coalesce(attempted_at, created_at) < now() - %(days)s * interval '1 day')
        OR lane_id IN (SELECT lane_id FROM events_endpoint
                        WHERE disabled_reason = 'deleted'
                          AND disabled_at < now() - %(days)s * interval '1 day')""",
}
