"""`LocalTextEmbedder`: what all functions share that embed text with a model on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import PositiveInt, field_validator

from lancedb_embedders import output
from lancedb_embedders.batch import Batch, Role
from lancedb_embedders.cache import shared_cache
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.inputs.scripts import by_foreign_script
from lancedb_embedders.languages import scripts, supported
from lancedb_embedders.local import probe
from lancedb_embedders.local.declared import POOLING_MODES, Declared
from lancedb_embedders.local.defaults import forbid_prompts, known_facts, known_languages
from lancedb_embedders.local.drift import guard
from lancedb_embedders.local.kept import describe, embed_kept
from lancedb_embedders.local.locate import explicit_folder
from lancedb_embedders.local.model import Encoding, LoadedModel
from lancedb_embedders.local.reports import refuse_cut, report_overflow, report_script
from lancedb_embedders.local.store import ModelKey, model_key, store
from lancedb_embedders.multivector import MultiVectors
from lancedb_embedders.settings import EngineName, Precision, settings
from lancedb_embedders.stored import process_option


class LocalTextEmbedder(Embedder, registry_name=None):
    """Text through a sentence-transformers model on this machine.

    Parameters
    ----------
    name : str
        A name on the hub, or the path of a model's folder. A table stores the folder's name,
        never its path; another process finds it through ``LANCEDB_EMBEDDERS_MODELS``.
    revision : str, optional
        Commit, branch or tag on the hub. The commit that was loaded is what a table stores.
    pooling : str, optional
        ``"mean"``, ``"cls"``, ``"max"`` or another mode of sentence-transformers; None: the
        model's own.
    query_prompt, document_prompt : str, optional
        Text put before each query or row. None: what the model or the catalogue says; ``""``:
        none.
    max_length : int, optional
        Tokens a text may have, special tokens included; None: what the model says.
    on_overflow : {"warn", "error", "truncate"}
        What a longer text does: it is cut with one warning, raises `TextTooLongError`, or is
        cut without a word.
    dim : int, optional
        Dimensions that the model gives; known from the catalogue or the model.
    device, engine, precision, batch_tokens, folder, cache, cache_dir
        Options of this process, see `lancedb_embedders.settings`; never stored.

    Raises
    ------
    ConfigurationError
        Options that do not fit the model.
    ModelNotFoundError
        The model is nowhere; the message says where it was looked for.
    """

    #: Option that says how many tokens the model is given.
    length_option: ClassVar[str] = "max_length"

    name: str
    revision: str | None = None
    pooling: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    max_length: PositiveInt | None = None
    on_overflow: Literal["warn", "error", "truncate"] = "warn"
    dim: PositiveInt | None = None
    device: str | None = process_option()
    engine: EngineName | None = process_option()
    precision: Precision | None = process_option()
    batch_tokens: int | None = process_option(ge=1)
    folder: Path | None = process_option()
    cache: bool | None = process_option()
    cache_dir: Path | None = process_option()

    def model_post_init(self, context: Any, /) -> None:
        """Decide what was left open, from the model's folder or the catalogue."""
        self._resolve_name()
        if self.written_by is None:
            self._resolve_defaults()
        self._check()
        super().model_post_init(context)
        if settings.preload:
            store.preload(self._key())

    @field_validator("name", mode="before")
    @classmethod
    def _accept_paths(cls, name: Any) -> Any:
        return os.fspath(name) if isinstance(name, os.PathLike) else name

    @field_validator("pooling")
    @classmethod
    def _check_pooling(cls, mode: str | None) -> str | None:
        unknown = [part for part in (mode or "").split("+") if part not in POOLING_MODES]
        if mode is not None and unknown:
            raise ValueError(f"{mode!r} is not known; there are: {', '.join(POOLING_MODES)}")
        return mode

    def ndims(self) -> int:
        """Return the size of the vector column; loads the model only if nothing else tells."""
        return self.column_dims(self.dim or self._loaded().engine.facts.dim or 0)

    def embed(self, batch: Batch) -> npt.NDArray[np.float32] | MultiVectors:
        """Embed texts with the model, or find them in the cache; see `Embedder.embed`."""
        options = self.process_options()
        if not options["cache"]:
            return self._embed_now(batch, options)
        return embed_kept(
            batch,
            shared_cache(options["cache_dir"], settings.cache_max_size),
            describe(self.identity(), self.signature or self.fingerprint(), batch.role),
            lambda missing: self._embed_now(missing, options),
            self._cut,
        )

    def _embed_now(
        self, batch: Batch, options: dict[str, Any]
    ) -> npt.NDArray[np.float32] | MultiVectors:
        model = self._loaded(options)
        if self.signature is not None:
            guard(model, self.name, self.identity(), self.signature, lambda: self._probe(model))
        self._report_scripts(model, batch)
        return self._embed_with(model, batch, options)

    def _embed_with(
        self, model: LoadedModel, batch: Batch, options: dict[str, Any]
    ) -> npt.NDArray[np.float32] | MultiVectors:
        encoding = self._encoding(model, batch.role)
        if self.on_overflow == "error":
            refuse_cut(
                model.overflows(batch.inputs, encoding), encoding.max_length, self.name, batch
            )
        vectors, lengths, lost = model.encode(
            batch.inputs, encoding, options["batch_tokens"], options["progress"]
        )
        if self.on_overflow == "error":
            refuse_cut(np.flatnonzero(lost).tolist(), encoding.max_length, self.name, batch)
        elif self.on_overflow == "warn":
            report_overflow(lengths, lost, encoding.max_length, batch)
        return vectors

    def _cut(self, batch: Batch) -> list[int]:
        """Return the positions of texts that were cut off with a warning."""
        if self.on_overflow != "warn":
            return []
        model, encoding = self.prepared_model(batch.role)
        return model.overflows(batch.inputs, encoding)

    def fingerprint(self) -> str:
        """Return the signature of the model's vector of a fixed text, under these options."""
        model = self._loaded()
        key = (self.identity(),)
        if key not in model.signatures:
            model.signatures[key] = probe.signature(self._probe(model))
        return str(model.signatures[key])

    def resolved(self) -> dict[str, Any]:
        """Return every option that affects vectors, as the loaded model has them."""
        if self.written_by is not None:
            return super().resolved()
        model = self._loaded()
        facts = model.engine.facts
        if self.dim is not None and facts.dim != self.dim:
            raise ConfigurationError(
                f"{self.name} gives {facts.dim} dimensions, not {self.dim} as expected; "
                f"create the function with dim={facts.dim}"
            )
        known = {
            "revision": model.location.revision,
            "pooling": facts.pooling,
            "max_length": facts.max_length,
            "dim": facts.dim,
            "query_prompt": self._prompt(facts, "query"),
            "document_prompt": self._prompt(facts, "document"),
            "truncate_dim": facts.truncate_dim,
        }
        stored = super().resolved()
        # A branch or tag moves on; the commit that was loaded does not.
        if known["revision"] is not None:
            stored["revision"] = known["revision"]
        return {name: known.get(name) if v is None else v for name, v in stored.items()}

    def prepared_model(self, role: Role) -> tuple[LoadedModel, Encoding]:
        """Return the loaded model, and how it is to encode texts of a role."""
        model = self._loaded()
        return model, self._encoding(model, role)

    def languages(self) -> tuple[str, ...]:
        """Return the BCP 47 codes that the model's card lists; () where nobody says.

        The catalogue's card counts, else the head of the README in the model's folder.
        """
        folder = self.process_options()["folder"]
        return known_languages(self.name, self.revision, folder, settings.models)

    def supports(self, language: str) -> bool:
        """Tell whether the model was trained for a language.

        Parameters
        ----------
        language : str
            BCP 47 code, like ``"de"``, ``"pt-BR"`` or ``"zh-Hant"``.

        Raises
        ------
        ConfigurationError
            `language` is no such code, or nobody lists the model's languages.

        Examples
        --------
        >>> from lancedb.embeddings import get_registry
        >>> import lancedb_embedders
        >>> get_registry().get("multilingual").create().supports("pt-BR")
        True
        """
        return supported(language, self.languages(), self.name)

    # -- deciding what was left open --------------------------------------------------------

    def _resolve_name(self) -> None:
        if self.folder is not None:
            self._set(folder=self.folder.expanduser().resolve())
            return
        explicit = explicit_folder(self.name)
        if explicit is not None:
            name, revision, folder = explicit
            self._set(name=name, revision=self.revision or revision, folder=folder)

    def _resolve_defaults(self) -> None:
        known = known_facts(self.name, self.revision, self.folder, self.pooling, settings.models)
        forbid_prompts(self.name, self.query_prompt, self.document_prompt)
        limit = known.facts.limit
        if self.max_length is not None and limit is not None and self.max_length > limit:
            raise ConfigurationError(self._too_long(self.max_length, limit))
        decided = known.facts.model_dump(exclude={"limit"})
        given = {name: getattr(self, name) for name in decided}
        self._set(
            **{**decided, **{name: value for name, value in given.items() if value is not None}},
            revision=known.revision or self.revision,
        )

    def _check(self) -> None:
        if self.dim is not None:
            self.column_dims(self.dim)

    # -- the model ------------------------------------------------------------------------------

    def _loaded(self, options: dict[str, Any] | None = None) -> LoadedModel:
        return store.get(self._key(options))

    def _key(self, options: dict[str, Any] | None = None) -> ModelKey:
        options = options or self.process_options()
        return model_key(self.name, self.revision, self.pooling, options)

    def _encoding(self, model: LoadedModel, role: Role) -> Encoding:
        facts = model.engine.facts
        length = self._length(model)
        if length is not None and facts.limit is not None and length > facts.limit:
            raise ConfigurationError(self._too_long(length, facts.limit))
        prompt = self._prompt(facts, role)
        if length is not None and length <= model.engine.overhead(prompt):
            raise ConfigurationError(
                f"{self.length_option}={length} leaves no room for text: the {role} prompt and the "
                f"special tokens alone are {model.engine.overhead(prompt)} tokens"
            )
        return Encoding(prompt=prompt, role=role, max_length=length)

    def _length(self, model: LoadedModel) -> int | None:
        return self.max_length or model.engine.facts.max_length

    def _too_long(self, length: int, limit: int) -> str:
        return (
            f"{self.length_option}={length} is more than the {limit} tokens that {self.name} has "
            "positions for"
        )

    def _prompt(self, facts: Declared, role: Role) -> str:
        own, declared = (
            (self.query_prompt, facts.query_prompt)
            if role == "query"
            else (self.document_prompt, facts.document_prompt)
        )
        return own if own is not None else declared or ""

    def _probe(self, model: LoadedModel) -> output.Float32:
        vectors, _, _ = model.encode([probe.PROBE_TEXT], self._encoding(model, "document"))
        cut: output.Float32 = output.normalize(output.truncate(vectors, self.truncate_dim))[0]
        return cut

    # -- what a user should know of the texts ------------------------------------------------

    def _report_scripts(self, model: LoadedModel, batch: Batch) -> None:
        if model.scripts is None:
            model.scripts = scripts(self.languages())
        for script, positions in by_foreign_script(batch.inputs, model.scripts).items():
            key = (self.identity(), script)
            if key not in model.reported:
                model.reported.add(key)
                report_script(script, positions, self.name, batch)
