"""Speed, latency and memory against LanceDB's own function: ``python -m benchmarks``."""
