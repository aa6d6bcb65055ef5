"""Hosted models: filling a table, filling it again from the cache, and what faults do."""
