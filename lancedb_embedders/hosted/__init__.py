"""Models behind an API: pack, send, limit, retry, count the cost."""
