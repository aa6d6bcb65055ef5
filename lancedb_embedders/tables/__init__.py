"""Tables over time; so far: a row a chunk."""
