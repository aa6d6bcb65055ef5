"""Pictures from a real server over real connections; only names are resolved by a stand-in."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lancedb_embedders.errors import ImageError
from lancedb_embedders.inputs.images.hosts import is_allowed
from lancedb_embedders.inputs.images.limits import ImageLimits
from tests.picture_server import (
    PictureServer,
    Route,
    answer,
    chunked,
    drip,
    drop,
    endless,
    first,
    raw,
    redirect,
)

pytest.importorskip("httpx", reason='needs pip install "lancedb-embedders[clip]"')

from lancedb_embedders.inputs.images import transport
from lancedb_embedders.inputs.images.web import fetch

PICTURE = bytes(range(256)) * 4
HERE = ImageLimits(hosts=("127.0.0.1",), timeout=10)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@pytest.fixture(scope="module")
def shared_server() -> Iterator[PictureServer]:
    with PictureServer() as server:
        yield server


@pytest.fixture
def server(shared_server: PictureServer) -> PictureServer:
    shared_server.reset()
    return shared_server


def refusal(url: str, limits: ImageLimits = HERE) -> str:
    with pytest.raises(ImageError) as error:
        fetch(url, limits)
    assert type(error.value) is ImageError
    return str(error.value)


# Which addresses


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.169.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450:4001::8a",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ],
)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(address, "example.com", [])


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.19.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:2::1",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "2002:c0a8:101::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_other_addresses_are_refused_until_they_are_named(address: str) -> None:
    assert not is_allowed(address, "example.com", [])
    assert is_allowed(address, "example.com", ["example.com"])
    assert is_allowed(address, "example.com", ["0.0.0.0/0", "::/0"])
    if "%" not in address:
        assert is_allowed(address, "example.com", [address])


@pytest.mark.parametrize(
    ("entry", "host", "allowed"),
    [
        ("intranet", "intranet", True),
        ("Intranet.", "INTRANET", True),
        ("intranet", "Intranet.", True),
        (" intranet ", "intranet", True),
        ("intranet", "evil-intranet", False),
        ("intranet", "intranet.example.com", False),
        (".example.com", "a.example.com", True),
        (".example.com", "a.b.Example.com.", True),
        (".example.com", "example.com", False),
        (".example.com", "badexample.com", False),
        ("bücher.example", "xn--bcher-kva.example", True),
        (".Bücher.example", "a.xn--bcher-kva.example", True),
        ("straße.example", "strasse.example", False),
        ("10.1.2.3", "any", True),
        ("10.1.2.4", "any", False),
        ("10.0.0.0/8", "any", True),
        ("10.1.2.9/8", "any", True),
        ("10.0.0.0/255.0.0.0", "any", True),
        ("11.0.0.0/8", "any", False),
        ("::/0", "any", False),
        ("[10.1.2.3]", "any", True),
        *((entry, "any", False) for entry in ("", " ", ".", "..", "*", "/", "10.0.0.0/99", "☃.é.")),
        *((entry, "any", False) for entry in ("10", "http://any", "any:80", "\ud800", "\0", "[")),
    ],
)
def test_what_an_entry_names(entry: str, host: str, allowed: bool) -> None:
    assert is_allowed("10.1.2.3", host, ["other", entry]) is allowed


def test_an_address_of_ipv4_within_one_of_ipv6_is_named_by_it() -> None:
    assert is_allowed("::ffff:10.1.2.3", "any", ["10.0.0.0/8"])
    assert is_allowed("::1", "::1", ["[::1]"])
    assert not is_allowed("64:ff9b::10.1.2.3", "any", ["10.0.0.0/8"])


# Where connections go


@pytest.mark.parametrize(
    ("host", "hosts"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("127.0.0.1", ("10.0.0.0/8", "127.0.0.0/8")),
        ("localhost", ("localhost",)),
        ("LOCALHOST", ("127.0.0.1",)),
        ("127.1", ("127.0.0.1",)),
        ("0x7f000001", ("127.0.0.1",)),
        ("2130706433", ("127.0.0.1",)),
        ("[::ffff:127.0.0.1]", ("127.0.0.1",)),
    ],
)
def test_a_host_on_this_machine_must_be_named(
    server: PictureServer, host: str, hosts: tuple[str, ...]
) -> None:
    server.serve("/a", PICTURE)
    url = f"http://{host}:{server.port}/a"
    said = refusal(url, ImageLimits())
    assert "is not on the public internet" in said
    assert "LANCEDB_EMBEDDERS_IMAGE_HOSTS" in said
    assert server.requests == 0
    assert fetch(url, ImageLimits(hosts=hosts)) == PICTURE
    # The connection is kept, but not for those who may not make it.
    assert "is not on the public internet" in refusal(url, ImageLimits(hosts=("10.0.0.1",)))
    assert server.requests == 1


def test_every_redirect_is_checked(server: PictureServer) -> None:
    target = server.serve("/a", PICTURE)
    server.route("/to-address", redirect(target))
    url = f"http://localhost:{server.port}/to-address"
    assert "127.0.0.1 is not on the public" in refusal(url, ImageLimits(hosts=("localhost",)))
    assert [seen.path for seen in server.seen] == ["/to-address"]
    assert fetch(url, ImageLimits(hosts=("localhost", "127.0.0.1"))) == PICTURE


class Names:
    """Answers for names in place of DNS, each time with the next of the answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.asked = 0
        self._answers = answers
        self._resolve = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        if not host.endswith(".test"):
            return self._resolve(host, port, *args, **kwargs)
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in answer]


def test_the_address_that_is_checked_is_connected_to(
    server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    server.serve("/a", PICTURE)
    assert fetch(f"http://pictures.test:{server.port}/a", HERE) == PICTURE
    assert names.asked == 1
    assert server.seen[0].headers["host"] == f"pictures.test:{server.port}"


def test_no_address_of_a_name_goes_unchecked(
    server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    server.serve("/a", PICTURE)
    url = f"http://two.test:{server.port}/a"
    assert "(127.0.0.2, 127.0.0.1) is not on" in refusal(url, ImageLimits())
    assert server.requests == 0
    refusal(url, replace(HERE, hosts=("127.0.0.2",), timeout=1))  # where nobody listens
    assert server.requests == 0
    assert fetch(url, HERE) == PICTURE


def test_a_name_that_takes_long_to_resolve_takes_no_longer_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(5))
    assert_ends_in_time("http://pictures.test/a")


# What is asked, and of whom


def test_what_is_asked(server: PictureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    server.serve("/ä b", PICTURE)
    server.routes["/%C3%A4%20b"] = server.routes["/ä b"]
    assert fetch(f"{server.url}/ä b?q=ü&r=%20#part", HERE) == PICTURE
    assert server.seen[0].path == "/%C3%A4%20b?q=%C3%BC&r=%20"
    assert server.seen[0].headers["accept-encoding"] == "identity"
    assert server.seen[0].headers["user-agent"].startswith("lancedb-embedders/")
    assert "authorization" not in server.seen[0].headers


def test_connections_are_kept(server: PictureServer) -> None:
    for n in range(3):
        assert fetch(server.serve(f"/{n}", PICTURE), HERE) == PICTURE
    assert len({seen.client for seen in server.seen}) == 1


def test_credentials_and_cookies_stay_where_they_belong(server: PictureServer) -> None:
    server.serve("/a", PICTURE)
    server.route("/elsewhere", redirect(f"http://localhost:{server.port}/a"))
    server.route("/here", redirect("/elsewhere", cookie="id=1; Path=/"))
    url = f"http://me:s%C3%A9cret@127.0.0.1:{server.port}/here"
    assert fetch(url, replace(HERE, hosts=("127.0.0.1", "localhost"))) == PICTURE
    sent = [seen.headers.get("authorization") for seen in server.seen]
    assert sent == ["Basic bWU6c8OpY3JldA==", "Basic bWU6c8OpY3JldA==", None]
    assert not any("cookie" in seen.headers for seen in server.seen)


@pytest.mark.parametrize("route", [answer(b"", status=404), drop(), redirect("ftp://x")])
def test_no_secret_is_told(
    server: PictureServer, route: Route, caplog: pytest.LogCaptureFixture
) -> None:
    server.route("/a", route)
    with caplog.at_level(logging.DEBUG):
        said = refusal(f"http://me:secret@127.0.0.1:{server.port}/a?key=secret", HERE)
    assert server.requests
    assert "secret" not in said + caplog.text


def test_threads_share_connections_and_no_limits(server: PictureServer) -> None:
    for n in range(40):
        server.serve(f"/{n}", b"%d" % n)
    slow = server.route("/slow", drip(HEAD + PICTURE, 0.05, len(HEAD)))
    with ThreadPoolExecutor(8) as pool:
        late = pool.submit(refusal, slow, replace(HERE, timeout=0.5))
        got = list(pool.map(lambda n: fetch(f"{server.url}/{n}", HERE), range(40)))
    assert got == [b"%d" % n for n in range(40)]
    assert "not there within 0.5 s" in late.result()


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: PictureServer, status: int) -> None:
    server.serve("/b/c", PICTURE)
    assert fetch(server.route("/b/a", redirect("c", status)), HERE) == PICTURE


def test_redirects_are_counted(server: PictureServer) -> None:
    assert fetch(server.chain("/five", 5, PICTURE), HERE) == PICTURE
    assert "redirects more than 5 times" in refusal(server.chain("/six", 6, PICTURE))
    assert "redirects more than 5 times" in refusal(server.route("/loop", redirect("/loop")))
    none = replace(HERE, max_redirects=0)
    assert fetch(f"{server.url}/five/0", none) == PICTURE
    assert "redirects more than 0 times" in refusal(f"{server.url}/five/1", none)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("file:///etc/passwd", r"redirects to another kind of URL than http and https \(file:\)"),
        ("ftp://127.0.0.1/a", r"\(ftp:\)"),
        ("data:image/png;base64,AAAA", r"\(data:\)"),
        ("gopher://127.0.0.1/", r"\(gopher:\)"),
        ("http:///a", "redirects more than 5 times"),  # for browsers it is a path, too
        ("http://127.0.0.1:99999/", "redirects to a URL with the port 99999"),
        ("http://[::1/", "redirects to an invalid URL"),
        ("http://me:secret@:x/", r"redirects to an invalid URL \(Invalid port\)$"),
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254 is not on the public"),
        ("//10.0.0.1/a", "10.0.0.1 is not on the public"),
        ("", "redirects more than 5 times"),
    ],
)
def test_redirects_that_are_not_followed(server: PictureServer, location: str, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        fetch(server.route("/a", redirect(location)), HERE)


# What comes


@pytest.mark.parametrize("content_type", ["text/plain", "text/html", "", "image/png; q=\xff"])
def test_what_a_server_calls_it_counts_for_nothing(
    server: PictureServer, content_type: str
) -> None:
    assert fetch(server.serve("/a", PICTURE, content_type), HERE) == PICTURE


def test_bodies_without_a_length(server: PictureServer) -> None:
    assert fetch(server.route("/a", chunked(PICTURE, PICTURE)), HERE) == PICTURE * 2
    assert fetch(server.route("/b", raw(b"HTTP/1.0 200 OK\r\n\r\n" + PICTURE)), HERE) == PICTURE


def test_a_picture_may_have_as_many_bytes_as_the_limit(server: PictureServer) -> None:
    exactly = replace(HERE, max_bytes=len(PICTURE))
    for route in (answer(PICTURE), chunked(PICTURE[:1000], PICTURE[1000:])):
        assert fetch(server.route("/a", route), exactly) == PICTURE
    for route in (answer(PICTURE + b"x"), chunked(PICTURE, b"x")):
        assert "more than the 1,024 bytes" in refusal(server.route("/a", route), exactly)


def test_too_much_is_not_waited_for(server: PictureServer) -> None:
    server.route("/endless", endless())
    server.route("/lie", answer(PICTURE, length=10**15))
    for path in ("/endless", "/lie"):
        assert "more than the 50,000,000 bytes" in refusal(server.url + path)
    assert server.requests == 2


def test_what_is_packed_is_not_unpacked(server: PictureServer) -> None:
    bomb = gzip.compress(bytes(10**7))
    server.route("/a", answer(bomb, {"Content-Encoding": "gzip"}))
    assert "encodes it as 'gzip', though asked not to" in refusal(f"{server.url}/a")
    server.route("/b", answer(PICTURE, {"Content-Encoding": "identity"}))
    assert fetch(f"{server.url}/b", HERE) == PICTURE


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (answer(b""), "an empty file"),
        (answer(b"", status=204), "HTTP 204 No Content"),
        (answer(b"x", {"Content-Range": "bytes 0-0/9"}, 206), "HTTP 206 Partial Content"),
        (answer(b"", status=304), "HTTP 304 Not Modified"),
        (answer(b"", status=302), "HTTP 302 Found"),  # without a location
        (answer(PICTURE, status=404), "HTTP 404 Not Found"),
        (answer(b"", status=500), "HTTP 500 Internal Server Error"),
        (answer(b"", status=599), "HTTP 599$"),
        (answer(b"", {"Retry-After": "60"}, 503), "HTTP 503 Service Unavailable"),
        (answer(b"", {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}, 429), "HTTP 429"),
    ],
)
def test_what_does_not_pass_is_not_tried_again(
    server: PictureServer, route: Route, said: str
) -> None:
    with pytest.raises(ImageError, match=said):
        fetch(server.route("/a", route), HERE)
    assert server.requests == 1


TROUBLES = {
    "HTTP 429 Too Many Requests": answer(b"", status=429),
    "HTTP 503 Service Unavailable": answer(b"", {"Retry-After": "soon"}, 503),
    "its server hung up, or answers in something else than HTTP": drop(),
    "ended after 1,024 of 2,048 bytes": answer(PICTURE, length=2048),
    "ended after 1,024 bytes": chunked(PICTURE, complete=False),
}


def test_what_may_pass_is_tried_three_times(server: PictureServer) -> None:
    def outcomes(said: str) -> tuple[bytes, str]:
        path, trouble = f"/{len(said)}", TROUBLES[said]
        passing = server.route(f"{path}/passing", first(2, trouble, answer(PICTURE)))
        return fetch(passing, HERE), refusal(server.route(f"{path}/lasting", trouble))

    with ThreadPoolExecutor(len(TROUBLES)) as pool:
        found = dict(zip(TROUBLES, pool.map(outcomes, TROUBLES), strict=True))
    assert found == {said: (PICTURE, said) for said in TROUBLES}
    assert set(Counter(seen.path for seen in server.seen).values()) == {3}


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\nContent-", b"SSH-2.0-OpenSSH_9.9\r\n"])
def test_what_is_not_http(server: PictureServer, said: bytes) -> None:
    assert "its server hung up, or answers in something else" in refusal(
        server.route("/a", raw(said))
    )


def test_a_host_that_takes_no_connection(server: PictureServer) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert "no connection" in refusal(f"http://127.0.0.1:{closed.getsockname()[1]}/a")


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_may_ask_to_wait(server: PictureServer, status: int) -> None:
    busy = answer(b"", {"Retry-After": "1"}, status)
    began = time.monotonic()
    assert fetch(server.route("/a", first(1, busy, answer(PICTURE))), HERE) == PICTURE
    assert time.monotonic() - began >= 1
    assert f"HTTP {status}" in refusal(server.route("/b", busy), replace(HERE, timeout=0.9))
    assert server.requests == 3


# Time


def assert_ends_in_time(url: str, **limits: Any) -> None:
    began = time.monotonic()
    assert "not there within 0.5 s" in refusal(url, replace(HERE, timeout=0.5, **limits))
    assert 0.4 < time.monotonic() - began < 2.5


MOVED = b"HTTP/1.1 302 Found\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "route",
    [
        drip(HEAD + PICTURE, 0.05),
        drip(HEAD + PICTURE, 0.05, at_once=len(HEAD)),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, 0.01, at_once=250_000 - 1000),
        drip(MOVED, 0.05, at_once=len(MOVED) - 3),
    ],
    ids=["header", "body", "interim answers", "redirects"],
)
def test_all_that_drips_ends_in_time(server: PictureServer, route: Route) -> None:
    assert_ends_in_time(server.route("/a", route), max_redirects=1000)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_host_that_says_nothing(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert_ends_in_time(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/a")


def test_no_time_limit_is_too_long(server: PictureServer) -> None:
    url = server.serve("/a", PICTURE)
    for timeout in (1e12, float("inf")):
        assert fetch(url, replace(HERE, timeout=timeout)) == PICTURE


# URLs


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", r"another kind of URL than http and https \(no scheme\)"),
        ("a.png", "no scheme"),
        ("file:///etc/passwd", r"\(file:\)"),
        ("http:a", "a URL without a host"),
        ("http:///a", "a URL without a host"),
        ("http://:80/", "a URL without a host"),
        ("http://127.0.0.1:0/", "the port 0, which cannot be"),
        ("http://127.0.0.1:99999/", "the port 99999, which cannot be"),
        ("http://127.0.0.1:-1/", "the port -1, which cannot be"),
        ("http://127.0.0.1:" + "9" * 5000, r"an invalid URL \(Invalid port\)$"),
        ("http://me:secret", r"an invalid URL \(Invalid port\)$"),
        ("http://127.0.0.256/", r"an invalid URL \(Invalid IPv4 address\)$"),
        ("http://[::g]/", r"an invalid URL \(Invalid IPv6 address\)$"),
        ("http://127.0.0.1\n.example.com/", "Invalid non-printable ASCII character"),
        ("http://127.0.0.1/a\r\nHost: x", "Invalid non-printable ASCII character"),
        ("http://127.0.0.1/\ud800", "an invalid URL$"),
        ("http://\ud800/", "an invalid URL"),
        ("http://\u2603.invalid/", r"an invalid URL \(Invalid IDNA hostname\)$"),
        ("http://127.0.0.1/" + "a" * 70_000, r"an invalid URL \(URL too long\)$"),
        ("http://a..b/", "no host can be called"),
        (f"http://{'a' * 64}.invalid/", "no host can be called"),
        ("http://0/", "is not on the public internet"),
        ("http://[::1]/", "is not on the public internet"),
        ("http://[::]/", "is not on the public internet"),
        ("http://[fd00:ec2::254]/", "is not on the public internet"),
        ("http://127.0.0.1@10.0.0.1/", "10.0.0.1 is not on the public internet"),
        ("http://127.0.0.1\\@10.0.0.1/", "10.0.0.1 is not on the public internet"),
        # What a resolver makes of such names depends on the machine.
        ("http://localhost./", "."),
        ("http://[fe80::1%25lo]/", "."),
        ("http://xn--a/", "."),
        ("http://b\u00fccher.invalid/", "."),
        ("http://a b.invalid/", "."),
        ("http://%00/", "."),
        ("http://./", "."),
    ],
)
def test_odd_urls_are_refused_clearly(url: str, said: str) -> None:
    with pytest.raises(ImageError, match=said) as error:
        fetch(url, replace(HERE, timeout=1))
    assert "secret" not in str(error.value)


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file of a certificate for localhost, signed by itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    key, file = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    made += " -addext subjectAltName=DNS:localhost -keyout"
    subprocess.run([*made.split(), key, "-out", file], check=True, capture_output=True)
    file.write_text(file.read_text() + key.read_text())
    return file


def test_certificates_are_verified(
    server: PictureServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = replace(HERE, hosts=("127.0.0.1", "localhost"))
    with PictureServer(certificate) as tls:
        tls.serve("/a", PICTURE)
        tls.route("/down", redirect(server.serve("/a", PICTURE)))
        named = f"https://localhost:{tls.port}"
        server.route("/up", redirect(f"{named}/a"))
        assert "the certificate of localhost is not good: self" in refusal(f"{named}/a", limits)
        assert tls.requests == 0

        # As in a process that trusts it.
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        monkeypatch.setattr(transport, "pool", transport._new_pool())
        assert fetch(f"{named}/a", limits) == PICTURE
        assert fetch(f"{server.url}/up", limits) == PICTURE
        assert "certificate is not valid for '127.0.0.1'" in refusal(f"{tls.url}/a", limits)
        assert refusal(f"{named}/down", limits) == "redirects from https to http"
        assert [seen.path for seen in tls.seen] == ["/a", "/a", "/down"]
        assert [seen.path for seen in server.seen] == ["/up"]


# Processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own(server: PictureServer) -> None:
    url = server.serve("/a", PICTURE)
    fetch(url, HERE)
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if fetch(url, HERE) == PICTURE else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert fetch(url, HERE) == PICTURE
    before, forked, after = (seen.client for seen in server.seen)
    assert before == after != forked
