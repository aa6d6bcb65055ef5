"""Where requests go and with which key; and that no key goes or shows where it should not."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from urllib.parse import urlsplit

from pydantic import SecretStr

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.http_rules import named

#: Names of headers and of parameters in a URL that carry credentials.
_CREDENTIAL = re.compile(
    r"auth|cookie|credential|password|passwd|secret|session|^sig$|signature|token|(^|[-_])key"
    r"|(api|access|account|master|private|shared|subscription)keys?$",
    re.IGNORECASE,
)
_BEARER = re.compile(r"^\s*(bearer|basic|digest)\s", re.IGNORECASE)
_SHOWN = 4


def check_url(url: str, function: str) -> str:
    """Return a base URL as it is stored, or raise if it is none or carries a credential.

    Raises
    ------
    ConfigurationError
        Says what is wrong without repeating a credential.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"{function}: base_url is the address of a server, like http://localhost:8080/v1"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"{function}: base_url holds a user name or password, which a table would store for "
            "all to read; leave them out and put the key into the environment variable that "
            "api_key_env names"
        )
    names = [part.partition("=")[0] for part in parts.query.split("&")]
    if any(_CREDENTIAL.search(name) for name in names):
        raise ConfigurationError(
            f"{function}: base_url holds a credential among its parameters, which a table would "
            "store for all to read; put it into the environment variable that api_key_env names"
        )
    return url.rstrip("/")


def check_headers(headers: Mapping[str, str], function: str) -> None:
    """Raise if a header that a table would store looks like a credential."""
    for name, value in headers.items():
        if _CREDENTIAL.search(name) or _BEARER.search(value) or value.startswith("$var:"):
            raise ConfigurationError(
                f"{function}: the header {name!r} looks like a credential, and headers are stored "
                "with the table for all to read; put the key into the environment variable that "
                "api_key_env names"
            )


def find_key(
    given: SecretStr | None,
    variables: Iterable[str],
    url: str,
    hosts: Iterable[str],
    trusted: Iterable[str],
    function: str,
) -> str | None:
    """Return the key for a request, or None where the server needs none.

    Parameters
    ----------
    given : SecretStr or None
        From LanceDB's ``$var:``.
    variables : iterable of str
        Environment variables, of which the first that is set counts.
    url : str
        Where the request goes.
    hosts : iterable of str
        The provider's own; a name that begins with a dot stands for all below it.
    trusted : iterable of str
        Others that this process lets have a key.
    function : str
        Registry name, for the messages.

    Raises
    ------
    ConfigurationError
        There is no key, or it would go to a host that nobody in this process has named.
    """
    names = list(variables)
    # A key is in no variable here while something is raised: tracebacks may show variables.
    source = next((name for name in names if os.environ.get(name, "").strip()), None)
    host = urlsplit(url).hostname or ""
    own = named(host, hosts)
    if given is None and source is None:
        if own:
            raise ConfigurationError(
                f"{function}: no key. Set the environment variable {' or '.join(names)} in this "
                'process, or name another one with api_key_env="..."'
            )
        return None  # servers of one's own often want none
    if not own and not _loopback(host) and not named(host, trusted):
        # A table says where to ask; whoever wrote it could have your key sent to himself.
        raise ConfigurationError(
            f"{function}: the key is not sent to {host}, which this process has not named as a "
            f"host to trust with it. If it is yours: LANCEDB_EMBEDDERS_TRUSTED_HOSTS={host} or "
            f'lancedb_embedders.settings.trusted_hosts = ["{host}"]'
        )
    if not _sendable(_value(given, source)):
        raise ConfigurationError(
            f"{function}: the key in {'api_key' if given else source} holds characters that no "
            "header can; was it copied whole, and nothing else with it?"
        )
    return _value(given, source)


def _value(given: SecretStr | None, source: str | None) -> str:
    # Keys that are read from files often end with a line break.
    return (given.get_secret_value() if given else os.environ[source or ""]).strip()


def _sendable(key: str) -> bool:
    return key.isascii() and key.isprintable() and " " not in key


def key_digest(key: str | None) -> str:
    """Return what tells keys apart without telling them."""
    return blake2b((key or "").encode(), digest_size=8).hexdigest()


def scrub(text: str, key: str | None) -> str:
    """Return `text` without the key, which careless servers repeat."""
    if not key:
        return text
    text = text.replace(key, "***")
    # OpenAI shows the ends of a key and stars between.
    if len(key) > 2 * _SHOWN:
        ends = re.escape(key[:_SHOWN]) + r"[^\s\"']*\*[^\s\"']*" + re.escape(key[-_SHOWN:])
        text = re.sub(ends, "***", text)
    return text


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
