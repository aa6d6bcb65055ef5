"""`StoredFunction`: what LanceDB keeps of a function with a table, and how it comes back.

Between the two lie registration under a name, creation from options, equality by
configuration, pickling, and the options of a process that no table may hold.
"""

from __future__ import annotations

import difflib
import json
import re
import typing
from typing import Any, ClassVar, cast

from lancedb.embeddings import EmbeddingFunction, get_registry
from pydantic import ConfigDict, Field, SecretStr, ValidationError
from typing_extensions import Self

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.process import recall, remember
from lancedb_embedders.settings import Settings, settings
from lancedb_embedders.version import __version__

#: Stored with a table, but no part of what makes two functions equal.
_PROVENANCE = frozenset({"signature", "written_by"})

_registered: dict[str, type[Any]] = {}


def registered() -> dict[str, type[Any]]:
    """Return the functions of this package, and those made with it, by registry name."""
    return dict(_registered)


def process_option(default: Any = None, **kwargs: Any) -> Any:
    """Declare a field that belongs to this process: it is never stored with a table."""
    return Field(default, exclude=True, json_schema_extra={"process_option": True}, **kwargs)


def secret_option() -> Any:
    """Declare a field, typed ``SecretStr | None``, that no table, repr or pickle ever shows."""
    return Field(None, exclude=True, repr=False)


class StoredFunction(EmbeddingFunction):
    """A function of which a table remembers all that makes its vectors, and nothing else.

    Fields are stored unless they are declared as `process_option` or `secret_option`.

    Parameters
    ----------
    signature : str, optional
        What the model gave for a fixed text when the table was made; see `fingerprint`.
    written_by : str, optional
        Version of this package that wrote the table.

    Raises
    ------
    ConfigurationError
        From `create`: unknown or unfit options, all named.
    TypeError
        When a subclass is defined without a name of its own.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=()
    )

    registry_name: ClassVar[str | None] = None
    #: Extra that the function needs to be installed, if any.
    extra: ClassVar[str | None] = None

    signature: str | None = None
    written_by: str | None = None
    # LanceDB's own field. Here retries are decided by what went wrong, so it has no effect.
    max_retries: int = Field(default=7, exclude=True)

    # -- what a subclass may say ------------------------------------------------------------

    def fingerprint(self) -> str | None:
        """Return a short signature of the model's vectors for the drift guard, if there is one."""
        return None

    def resolved(self) -> dict[str, Any]:
        """Return every option that affects vectors, with no default left to be decided later."""
        return self.model_dump(mode="json")

    # -- registration -------------------------------------------------------------------------

    # Pydantic hands the class's keywords to both hooks; the fields are there in the second.
    def __init_subclass__(cls, registry_name: str | None = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, registry_name: str | None = "", **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if registry_name == "":
            raise TypeError(
                f"{cls.__name__} needs a name of its own, or LanceDB would store its tables under "
                f"its parent's: class {cls.__name__}(..., registry_name="
                f'"{_kebab(cls.__name__)}")'
            )
        for name in cls.sensitive_keys():
            if not cls.model_fields[name].exclude:
                raise TypeError(
                    f"{cls.__name__}.{name} holds a secret: declare it as secret_option()"
                )
        cls.registry_name = registry_name
        if registry_name is None:
            return
        registry = get_registry()
        try:
            taken = registry.get(registry_name)
        except KeyError:
            pass
        else:
            # The same class defined anew (a reloaded module, a notebook cell) takes its place.
            if _path(taken) != _path(cls):
                raise TypeError(f"the name {registry_name!r} is taken by {_path(taken)}")
        registry.register(registry_name)(cls)
        _registered[registry_name] = cls

    # -- creation -----------------------------------------------------------------------------

    @classmethod
    def create(cls, **kwargs: Any) -> Self:
        """Make a function from options; LanceDB calls it again with what a table stored.

        Raises
        ------
        ConfigurationError
            Unknown or unfit options, all of them named; a secret that is written out.
        """
        if cls.registry_name is None:
            raise ConfigurationError(f"{cls.__name__} is a base class; create a subclass of it")
        cls._refuse_unknown(kwargs)
        cls._refuse_written_secrets(kwargs)
        try:
            return cast("Self", super().create(**kwargs))
        except ValidationError as error:
            raise ConfigurationError(_explain(cls, error)) from None
        except ConfigurationError:
            raise
        except ValueError as error:  # LanceDB: a $var: that is not set
            reason = str(error).splitlines()[0]
            raise ConfigurationError(
                f"{cls.registry_name}: {reason}; set it in this process with "
                "get_registry().set_var(name, value)"
            ) from None

    @classmethod
    def sensitive_keys(cls) -> list[str]:
        """Return the names of fields that hold secrets: those typed `SecretStr`."""
        return [
            name
            for name, field in cls.model_fields.items()
            if field.annotation is SecretStr or SecretStr in typing.get_args(field.annotation)
        ]

    @classmethod
    def _refuse_unknown(cls, kwargs: dict[str, Any]) -> None:
        unknown = [name for name in kwargs if name not in cls.model_fields]
        if not unknown:
            return
        if "trust_remote_code" in unknown:
            raise ConfigurationError(
                "trust_remote_code is never an option of a function, since a table could carry it; "
                "it is a setting of this process: LANCEDB_EMBEDDERS_TRUST_REMOTE_CODE=1 or "
                "lancedb_embedders.settings.trust_remote_code = True"
            )
        writer = kwargs.get("written_by")
        if isinstance(writer, str) and _version_key(writer) > _version_key(__version__):
            raise ConfigurationError(
                f"this table was written by lancedb-embedders {writer}, which stores options that "
                f"{__version__} does not know ({', '.join(unknown)}). Upgrade with: "
                f'pip install "lancedb-embedders>={writer}"'
            )
        known = [name for name in cls.model_fields if name not in _PROVENANCE]
        hints = [
            f"{name!r}" + (f" (did you mean {close[0]!r}?)" if close else "")
            for name in unknown
            for close in [difflib.get_close_matches(name, known, 1)]
        ]
        raise ConfigurationError(
            f"{cls.registry_name} has no option {', '.join(hints)}; it has: {', '.join(known)}"
        )

    @classmethod
    def _refuse_written_secrets(cls, kwargs: dict[str, Any]) -> None:
        for name in cls.sensitive_keys():
            value = kwargs.get(name)
            if value is None:
                continue
            if not isinstance(value, str) or not re.fullmatch(r"\$var:[^:]+", value):
                raise ConfigurationError(
                    f"{cls.registry_name}: {name} is a secret and must not be written out, nor get "
                    'a default; use the environment, or registry.set_var("key", ...) and '
                    f'{name}="$var:key"'
                )

    def model_post_init(self, context: Any, /) -> None:
        """Remember the arguments of this process for when LanceDB rebuilds the function."""
        super().model_post_init(context)
        remember(self._process_key(self.model_dump(mode="json")), self._given_options())

    # -- what a table remembers -----------------------------------------------------------------

    def safe_model_dump(self) -> dict[str, Any]:
        """Return what LanceDB stores with a table: all that makes vectors, nothing else."""
        stored = self.resolved()
        stored["signature"] = self.signature or self.fingerprint()
        stored["written_by"] = self.written_by or __version__
        stored = self._without_defaults(stored)
        remember(self._process_key(stored), self._given_options())
        return {**stored, **self._secret_references()}

    def identity(self) -> str:
        """Return what makes two functions equal: all options that affect vectors, as JSON."""
        return _as_json(self.model_dump(mode="json"))

    @classmethod
    def _without_defaults(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Leave out what is None and means "not given"; None that was chosen stays."""
        return {
            name: value
            for name, value in options.items()
            if value is not None or cls.model_fields[name].default is not None
        }

    def _process_key(self, stored: dict[str, Any], signature: bool = True) -> str:
        suffix = stored.get("signature") if signature else None
        return f"{self.registry_name}:{_as_json(stored)}:{suffix}"

    def _secret_references(self) -> dict[str, str]:
        given = getattr(self, "_original_args", None) or {}
        return {name: given[name] for name in self.sensitive_keys() if given.get(name) is not None}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoredFunction):
            return NotImplemented
        return type(self) is type(other) and self.identity() == other.identity()

    def __hash__(self) -> int:
        return hash((type(self), self.identity()))

    def __repr_args__(self) -> Any:
        shown = super().__repr_args__()
        return [(k, v) for k, v in shown if k != "max_retries" and v is not None]

    def __reduce__(self) -> tuple[Any, ...]:
        stored = self._without_defaults(self.model_dump(mode="json"))
        options = {**stored, **self._secret_references(), **self._given_options()}
        return _recreate, (type(self), options)

    # -- options of this process ----------------------------------------------------------------

    @classmethod
    def _process_options(cls) -> list[str]:
        return [
            name
            for name, field in cls.model_fields.items()
            if isinstance(field.json_schema_extra, dict)
            and field.json_schema_extra.get("process_option")
        ]

    def _given_options(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in self._process_options()}
        return {name: value for name, value in given.items() if value is not None}

    def given_options(self) -> dict[str, Any]:
        """Return the arguments of this process that the function was given.

        LanceDB rebuilds a function from what its table stores; for such a one, the arguments
        count that an equal function was given in this process.
        """
        given: dict[str, Any] = {}
        if self.written_by is not None:
            stored = self.model_dump(mode="json")
            given = recall(self._process_key(stored)) or recall(self._process_key(stored, False))
        return {**given, **self._given_options()}

    def process_options(self) -> dict[str, Any]:
        """Return the options of this process: the function's own arguments over the settings."""
        current: Settings = settings.current()
        given = self.given_options()
        return {
            name: given.get(name, getattr(current, name, None)) for name in self._process_options()
        }


def _recreate(cls: type[StoredFunction], kwargs: dict[str, Any]) -> StoredFunction:
    return cls.create(**kwargs)


def _as_json(options: dict[str, Any]) -> str:
    relevant = {k: v for k, v in options.items() if k not in _PROVENANCE and v is not None}
    return json.dumps(relevant, sort_keys=True)


def _explain(cls: type[StoredFunction], error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        cause = problem.get("ctx", {}).get("error")
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"] if cause is None else str(cause)
        problems.append(f"{where}: {message}" if where else message)
    return f"{cls.registry_name}: " + "; ".join(problems)


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name.removesuffix("Embeddings")).lower()


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
