"""Serve until the standard input ends."""

from __future__ import annotations

import argparse
import sys

from tests.providers.server import ProviderServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.providers")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--vectors", choices=["minilm", "hash"], default="hash")
    parser.add_argument("--dims", type=int, default=384)
    parser.add_argument("--rate", type=float, help="texts a second that the server takes")
    parser.add_argument("--rpm", type=int, help="requests a minute; those above it get a 429")
    parser.add_argument("--tpm", type=int, default=1_000_000, help="tokens a minute, with --rpm")
    given = parser.parse_args()
    server = ProviderServer(given.vectors, given.dims, given.latency, port=given.port)
    server.processing_rate = given.rate
    server.rate = (given.rpm, given.tpm) if given.rpm else None
    with server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
