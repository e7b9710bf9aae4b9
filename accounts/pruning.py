"""What may be forgotten of accounts: links that log in no more. Keys stay."""

LOGIN_LINKS = {
    "table": "accounts_loginlink",
    "stale": "used_at IS NOT NULL OR expires_at < now()",
}
