"""What belongs to the process and never to a table: device, engine, folders, batch sizes.

A value comes from, first to last: the arguments of `create()`, a `settings.override(...)`
block or an assignment to `settings`, the environment (``LANCEDB_EMBEDDERS_*``), the default.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    ByteSize,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lancedb_embedders.errors import ConfigurationError

EngineName = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]

ENV_PREFIX = "LANCEDB_EMBEDDERS_"


class Settings(BaseSettings):
    """The settings of this process; each can be set as ``LANCEDB_EMBEDDERS_<NAME>``."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    device: str = Field(
        default="auto",
        description='Where local models run: "auto", "cpu", "cuda", "cuda:1", "mps"; several that '
        'share the work: "cuda:0,cuda:1", or "cuda:*" for all.',
    )
    engine: EngineName = Field(
        default="auto",
        description="What runs local models: auto is OpenVINO on a CPU where it is installed, "
        "else torch; vectors do not depend on it.",
    )
    precision: Precision = Field(
        default="auto",
        description="Arithmetic of local models: auto is 16 bits on a GPU and on a CPU that has "
        "instructions for them, else float32; int8 is for OpenVINO and costs accuracy.",
    )
    batch_tokens: PositiveInt | None = Field(
        default=None,
        description="Tokens, padding included, that go through a local model at once.",
    )
    threads: PositiveInt | None = Field(
        default=None, description="Cores that a local model uses on a CPU; unset: all there are."
    )
    preload: bool = Field(
        default=False,
        description="Load a local model in the background as soon as its function is created.",
    )
    models: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description=f"Folders that hold models by name, separated by {os.pathsep!r}.",
    )
    max_models: PositiveInt = Field(
        default=4, description="How many local models stay loaded; the longest unused one goes."
    )
    max_windows: PositiveInt = Field(
        default=16_384,
        description="Windows that one document may have: more of them are an error.",
    )
    cache: bool = Field(
        default=False,
        description="Keep the vectors of local models on disk; those of hosted ones always are.",
    )
    cache_dir: Path | None = Field(
        default=None, description="Folder of vectors on disk; unset: the user's cache folder."
    )
    cache_max_size: ByteSize | None = Field(
        default=None,
        description='Bytes that vectors on disk may take, like "10GB"; the oldest go first.',
    )
    concurrency: PositiveInt = Field(
        default=8, description="Requests to one hosted model, or pictures from the web, at once."
    )
    request_timeout: PositiveFloat = Field(
        default=60.0, description="Seconds that a provider may take to answer one request."
    )
    retry_deadline: PositiveFloat = Field(
        default=600.0, description="Seconds after which a request is not tried once more."
    )
    requests_per_minute: PositiveInt | None = Field(
        default=None, description="Requests a minute to one provider under one key; unset: adapts."
    )
    tokens_per_minute: PositiveInt | None = Field(
        default=None, description="Tokens a minute to one provider under one key; unset: adapts."
    )
    max_cost: NonNegativeFloat | None = Field(
        default=None,
        description="US dollars that one write, or one object of a function, may cost at most.",
    )
    on_error: Literal["raise", "null"] = Field(
        default="raise",
        description='What a text does that a provider refuses: "raise", or "null" and a warning.',
    )
    trusted_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts, beside the providers' own and this machine, that may be sent a key, "
        "separated by commas; one that begins with a dot stands for all below it.",
    )
    image_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="Folders that pictures are read from, separated as `models`; none: any folder.",
    )
    image_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts, addresses or networks (10.0.0.0/8) within this machine or its network "
        "that pictures may be fetched from, separated by commas; one that begins with a dot stands "
        "for all below it.",
    )
    max_image_bytes: ByteSize = Field(
        default=ByteSize(50_000_000), gt=0, description="Bytes that the file of a picture may have."
    )
    max_image_pixels: PositiveInt = Field(
        default=89_478_485,
        description="Pixels that a picture may have: a small file can hold many.",
    )
    image_timeout: PositiveFloat = Field(
        default=30.0, description="Seconds in which a picture must have come, redirects and all."
    )
    max_redirects: NonNegativeInt = Field(
        default=5, description="Redirects that are followed to a picture."
    )
    trust_remote_code: bool = Field(
        default=False, description="Run Python code that a model's repository brings along."
    )
    progress: bool | None = Field(
        default=None,
        description="Progress bar for work past two seconds; unset: only on a terminal.",
    )

    @field_validator("cache_dir")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    @field_validator("trusted_hosts", "image_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = value.split(",")
        return tuple(host.strip() for host in value if host.strip())

    @field_validator("models", "image_roots", mode="before")
    @classmethod
    def _split_paths(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [part for part in value.split(os.pathsep) if part]
        elif isinstance(value, Path):
            value = [value]
        return tuple(Path(part).expanduser() for part in value)


class ProcessSettings:
    """The live settings: attributes read through to overrides, environment and defaults.

    Reading ``settings.device`` looks at the environment each time, so a variable that is
    set after the import counts. Assigning validates at once; ``del settings.device``
    takes the assignment back. `override` is process-wide,
    not per thread, because LanceDB embeds on threads of its own.

    Examples
    --------
    >>> from lancedb_embedders import settings
    >>> with settings.override(batch_tokens=512):
    ...     settings.batch_tokens
    512
    """

    _assigned: dict[str, Any]
    _lock: threading.RLock
    _snapshot: tuple[Any, Settings] | None

    def __init__(self) -> None:
        object.__setattr__(self, "_assigned", {})
        object.__setattr__(self, "_lock", threading.RLock())
        object.__setattr__(self, "_snapshot", None)

    def current(self) -> Settings:
        """Return a validated snapshot of all settings."""
        # Every query asks; validating anew costs more than comparing what it depends on.
        with self._lock:
            depends_on = (dict(self._assigned), [os.environ.get(name) for name in _VARIABLES])
            if self._snapshot is None or self._snapshot[0] != depends_on:
                object.__setattr__(self, "_snapshot", (depends_on, _validated(self._assigned)))
            assert self._snapshot is not None
            return self._snapshot[1]

    def __getattr__(self, name: str) -> Any:
        if name not in Settings.model_fields:
            raise AttributeError(_unknown(name))
        return getattr(self.current(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._assign({name: value})

    def __delattr__(self, name: str) -> None:
        with self._lock:
            self._assigned.pop(name, None)

    def __dir__(self) -> list[str]:
        return [*Settings.model_fields, "current", "override"]

    def __repr__(self) -> str:
        return repr(self.current())

    @contextmanager
    def override(self, **values: Any) -> Iterator[None]:
        """Set `values` for the whole process until the block ends.

        Raises
        ------
        ConfigurationError
            A name that is no setting, or a value that does not fit.
        """
        with self._lock:
            before = dict(self._assigned)
            self._assign(values)
        try:
            yield
        finally:
            with self._lock:
                for name in values:
                    if name in before:
                        self._assigned[name] = before[name]
                    else:
                        self._assigned.pop(name, None)

    def _assign(self, values: dict[str, Any]) -> None:
        for name in values:
            if name not in Settings.model_fields:
                raise ConfigurationError(_unknown(name))
        with self._lock:
            _validated({**self._assigned, **values})
            self._assigned.update(values)


_VARIABLES = [ENV_PREFIX + name.upper() for name in Settings.model_fields]


def _validated(values: dict[str, Any]) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        where = name if name in values else ENV_PREFIX + name.upper()
        raise ConfigurationError(
            f"setting {where}={first['input']!r} does not fit: {first['msg']}"
        ) from None


def _unknown(name: str) -> str:
    return f"no setting is called {name!r}; there are: {', '.join(Settings.model_fields)}"


settings = ProcessSettings()
