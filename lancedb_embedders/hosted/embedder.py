"""`HostedEmbedder`: what all functions share whose model is behind an API.

A subclass says how its provider's client is made and called; everything else is here or beside it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, PrivateAttr, SecretStr

from lancedb_embedders import catalog
from lancedb_embedders.batch import Batch, Partial, Role
from lancedb_embedders.cache import VectorCache, shared_cache
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.hosted import access
from lancedb_embedders.hosted.batch_api import BatchTerms
from lancedb_embedders.hosted.failures import Failure
from lancedb_embedders.hosted.fetch import Fetch
from lancedb_embedders.hosted.overflow import Overflow, Pieces, prepare_pieces
from lancedb_embedders.hosted.provider import Answer, Limits
from lancedb_embedders.hosted.refused import report_refused
from lancedb_embedders.hosted.space import describe
from lancedb_embedders.hosted.tokens import Counter, counter
from lancedb_embedders.hosted.usage import Ledger, Usage, process_ledger
from lancedb_embedders.output import Float32
from lancedb_embedders.settings import settings
from lancedb_embedders.stored import process_option, secret_option

PROBE_TEXT = "How many dimensions?"

# What models gave that neither the catalogue nor the user knows the dimensions of.
_probed: dict[str, int] = {}


class HostedEmbedder(Embedder, registry_name=None):
    """Text through a model behind an API: cached, packed, many requests at once.

    Parameters
    ----------
    name : str
        The provider's name of the model.
    dim : int, optional
        Dimensions that the provider is asked for; of a model that the catalogue does not know,
        those that it gives. None: what the catalogue says, or what the model gives, which is asked
        once and then stored. `truncate_dim` cuts what was given instead.
    base_url : str
        Where the server is.
    api_key_env : str
        Name of the environment variable that holds the key; the key itself is stored nowhere.
    api_key : str, optional
        ``"$var:name"``, a variable of LanceDB's registry, in place of the environment.
    query_prompt, document_prompt : str, optional
        Text put before each query or row. None: what the catalogue says; ``""``: none.
    max_length : int, optional
        Tokens a text may have, prompt included; None: what the catalogue says.
    on_overflow : {"error", "truncate", "chunk"}
        What a longer text does: it raises `TextTooLongError` before anything is sent, loses its
        end, or is embedded piece by piece, of which the mean is taken by tokens.
    batch_size, concurrency, request_timeout, retry_deadline, requests_per_minute
    tokens_per_minute, max_cost, on_error, cache_dir
        Options of this process, see `lancedb_embedders.settings`; never stored.

    Raises
    ------
    ConfigurationError
        Options that do not fit the model, a credential where it would be stored, or no key.
    ProviderError
        The provider gives no vectors; what was answered before is in the cache.
    InputError
        The provider refuses texts; names their rows.
    CostError
        It would cost more than `max_cost`; nothing was sent.
    """

    #: Who hosts it, as the catalogue calls it.
    provider: ClassVar[str] = ""
    #: Hosts of the provider, which may have the key; a leading dot stands for all below it.
    hosts: ClassVar[tuple[str, ...]] = ()
    #: Environment variables of the key beside `api_key_env`'s default.
    other_key_variables: ClassVar[tuple[str, ...]] = ()
    #: What a request may hold where the catalogue does not say.
    default_limits: ClassVar[Limits] = Limits(inputs=32)
    #: Whether the provider can be told to cut long texts.
    cuts_there: ClassVar[bool] = False
    #: Whether it cuts them without being told, and without a word.
    cuts_silently: ClassVar[bool] = False

    name: str
    dim: PositiveInt | None = None
    base_url: str = ""
    api_key_env: str = Field(default="", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    api_key: SecretStr | None = secret_option()
    query_prompt: str | None = None
    document_prompt: str | None = None
    max_length: PositiveInt | None = None
    on_overflow: Overflow = "error"
    batch_size: int | None = process_option(ge=1)
    concurrency: PositiveInt | None = process_option()
    request_timeout: PositiveFloat | None = process_option()
    retry_deadline: PositiveFloat | None = process_option()
    requests_per_minute: PositiveInt | None = process_option()
    tokens_per_minute: PositiveInt | None = process_option()
    max_cost: NonNegativeFloat | None = process_option()
    on_error: Literal["raise", "null"] | None = process_option()
    cache_dir: Path | None = process_option()

    _ledger: Ledger = PrivateAttr(default_factory=Ledger)

    # -- what a subclass writes -----------------------------------------------------------

    @abstractmethod
    def make_client(self, key: str | None, timeout: float) -> Any:
        """Return the provider's client, its own retries switched off."""

    @abstractmethod
    def ask(self, client: Any, texts: Sequence[str], role: Role) -> Answer:
        """Send one request.

        Parameters
        ----------
        client : object
            From `make_client`; other threads use it at the same time.
        texts : sequence of str
            As they are to be sent.
        role : {"document", "query"}
            Whether they are stored or searched for.
        """

    @abstractmethod
    def failure(self, error: Exception) -> Failure | None:
        """Say what an error of the client's means; None if it is none of the client's."""

    def kind_of(self, role: Role) -> str | None:
        """Return what the provider is told of texts of a role, if anything."""
        del role
        return None

    def batch_terms(self, role: Role) -> BatchTerms | None:
        """Return what the provider's batches are like; None if it has none."""
        del role
        return None

    def endpoint(self) -> str:
        """Return what is asked, for the cache: the server, and what of it."""
        return self.base_url

    # -- creation -------------------------------------------------------------------------

    def model_post_init(self, context: Any, /) -> None:
        """Decide what was left open, from the catalogue."""
        if self.base_url:
            self._set(base_url=access.check_url(self.base_url, str(self.registry_name)))
        if self.written_by is None:
            self._resolve_defaults()
        if self.dim is not None:
            self.column_dims(self.dim)
        super().model_post_init(context)

    def _resolve_defaults(self) -> None:
        card = self.card()
        for name in ("query_prompt", "document_prompt"):
            if getattr(self, name) is None:
                self._set(**{name: getattr(card, name) if card else ""})
        if self.max_length is None:
            self._set(max_length=(card and card.context) or self.default_limits.input_tokens)
        if self.dim is None:
            self._set(dim=card.dims if card else _probed.get(self.space("document")))

    def card(self) -> catalog.ModelCard | None:
        """Return what the catalogue knows of the model."""
        return catalog.find(self.name)

    def requested_dim(self) -> int | None:
        """Return the dimensions that the provider is to be asked for; None: the model's own."""
        card = self.card()
        if card is None or self.dim is None or self.dim == card.dims:
            return None
        if not card.truncate_dims:
            raise ConfigurationError(
                f"{self.registry_name}: {self.name} gives {card.dims} dimensions and no others; "
                "leave dim out"
            )
        return self.dim

    def ndims(self) -> int:
        """Return the size of the vector column; asks the provider only if nothing else tells."""
        return self.column_dims(self.dim or self._probe_dim())

    def resolved(self) -> dict[str, Any]:
        """Return every option that affects vectors, the model's dimensions included."""
        if self.dim is None:
            self._probe_dim()
        return super().resolved()

    def _probe_dim(self) -> int:
        space = self.space("document")
        if space not in _probed:
            found = self.embed(Batch([PROBE_TEXT], np.zeros(1, dtype=np.intp), "document"))
            assert not isinstance(found, Partial)
            _probed[space] = found.shape[1]
        self._set(dim=_probed[space])
        return _probed[space]

    # -- embedding ------------------------------------------------------------------------------

    def embed(self, batch: Batch) -> Float32 | Partial:
        """Embed texts: from the cache, and by requests for what is not there."""
        options = self.process_options()
        pieces = self.pieces(batch)
        fetch = Fetch(self, batch.role, pieces, self.open_cache(), options)
        vectors, refused = fetch.vectors()
        if not refused:
            return pieces.join(vectors)
        inputs = pieces.inputs_of(list(refused))
        who = f"{self.name} at {self.endpoint()}"
        report_refused(batch, inputs, list(refused.values()), who, options["on_error"])
        return Partial(pieces.join(vectors), inputs)

    def usage(self) -> Usage:
        """Return what this object has used so far; LanceDB makes a new one for each write."""
        return self._ledger.total

    def count(self, usage: Usage) -> None:
        """Add to what this object, and this process, have used."""
        self._ledger.add(usage)
        process_ledger(str(self.registry_name), self.name).add(usage)

    def pieces(self, batch: Batch) -> Pieces:
        """Return what is sent for the inputs of a batch."""
        return prepare_pieces(
            batch,
            prompt=self.prompt_of(batch.role),
            limit=self.max_length,
            counter=self.counter(),
            policy=self.on_overflow,
            cuts_there=self.cuts_there,
            cuts_silently=self.cuts_silently,
            model=self.name,
        )

    def prompt_of(self, role: Role) -> str:
        """Return the text that goes before texts of a role."""
        return (self.query_prompt if role == "query" else self.document_prompt) or ""

    def space(self, role: Role) -> str:
        """Return the name of the space that vectors of a role have in the cache."""
        return describe(
            provider=self.provider,
            endpoint=self.endpoint(),
            model=self.name,
            dim=self.requested_dim(),
            kind=self.kind_of(role),
            truncated=self.cuts_there and self.on_overflow == "truncate",
        )

    def counter(self) -> Counter:
        """Return what counts the model's tokens on this machine."""
        card = self.card()
        if card is None:
            return counter(None, self.name)
        return counter(card.encoding, card.tokenizer or card.name)

    def tokens_of(self, texts: Sequence[str], role: Role) -> npt.NDArray[np.int64]:
        """Return the tokens of each text as it is sent, prompt included, int64."""
        prompt = self.prompt_of(role)
        return self.counter().count([prompt + text for text in texts])

    def limits(self) -> Limits:
        """Return what a request may hold."""
        card, default = self.card(), self.default_limits
        return Limits(
            inputs=self.process_options()["batch_size"]
            or (card and card.request_inputs)
            or default.inputs,
            tokens=(card and card.request_tokens) or default.tokens,
        )

    def open_cache(self) -> VectorCache:
        """Return the cache of this process's folder."""
        return shared_cache(self.process_options()["cache_dir"], settings.cache_max_size)

    # -- access ---------------------------------------------------------------------------------

    def key_variables(self) -> tuple[str, ...]:
        """Return the environment variables that may hold the key, the first one that is set."""
        default = type(self).model_fields["api_key_env"].default
        more = self.other_key_variables if self.api_key_env == default else ()
        return (self.api_key_env, *more)

    def find_key(self) -> str | None:
        """Return the key, or None for a server that wants none; see `access.find_key`."""
        return access.find_key(
            self.api_key,
            self.key_variables(),
            self.base_url,
            self.hosts,
            settings.trusted_hosts,
            str(self.registry_name),
        )
