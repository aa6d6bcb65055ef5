"""`clip`: pictures and texts in one space."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np

from lancedb_embedders import output
from lancedb_embedders.batch import Batch, Partial, Role
from lancedb_embedders.cache import shared_cache
from lancedb_embedders.embedder import report_nulls
from lancedb_embedders.errors import ConfigurationError, EmbeddingWarning, ImageError, name_rows
from lancedb_embedders.extras import require
from lancedb_embedders.inputs.images import Image
from lancedb_embedders.inputs.images.accept import Source, accept_images, unique
from lancedb_embedders.inputs.images.limits import ImageLimits
from lancedb_embedders.inputs.text import is_blank
from lancedb_embedders.local import probe
from lancedb_embedders.local.defaults import card_of
from lancedb_embedders.local.drift import guard
from lancedb_embedders.local.embedder import LocalTextEmbedder
from lancedb_embedders.local.engine import ImageSide
from lancedb_embedders.local.kept import KeptPictures, describe
from lancedb_embedders.local.model import LoadedModel
from lancedb_embedders.local.pictures import PictureJob, embed_pictures
from lancedb_embedders.local.pixels import probes
from lancedb_embedders.settings import settings


class ClipEmbeddings(LocalTextEmbedder, registry_name="clip"):
    """Pictures and texts in one space, by CLIP, SigLIP, SigLIP2 or a model that is like them.

    Rows hold pictures: the bytes of files, or references (path, ``file://``, ``http(s)://``,
    ``s3://`` and other object stores, ``data:``). Queries are texts as plain strings, or pictures:
    an `Image`, a `pathlib.Path`, bytes, or an image of PIL.

    Parameters
    ----------
    source : {"image", "text", "auto"}
        What a string in the source column is: a reference to a picture, and never a text; a text;
        or ``"auto"``: a reference if it looks like one (a URL, or the name of a picture file, see
        `lancedb_embedders.inputs.images.accept.is_reference`), else a text. Bytes are always
        pictures.
    on_bad_image : {"error", "null"}
        What a picture does that cannot be had: it is an error that names row and reference, or
        gets no vector, with one warning.

    Raises
    ------
    ImageError
        A picture is not there, not allowed, too large, damaged, or none at all.

    Notes
    -----
    All other options are those of `LocalTextEmbedder` and `Embedder`. How far reading goes is a
    matter of this process: ``image_*``, ``max_image_*`` and ``max_redirects`` of
    `lancedb_embedders.settings`.

    Examples
    --------
    >>> from lancedb.embeddings import get_registry
    >>> import lancedb_embedders
    >>> get_registry().get("clip").create().ndims()
    512
    """

    extra: ClassVar[str | None] = "clip"

    name: str = "clip-ViT-B-32"
    source: Source = "image"
    on_bad_image: Literal["error", "null"] = "error"

    def batch_of(self, values: Any, role: Role) -> Batch:
        """Return what `embed` is given for `values`: texts and pictures, equal ones once."""
        items = accept_images(self._filled(values, role), self.source, role == "query")
        inputs, index = unique([self._prepared(item) for item in items])
        report_nulls(index, role, "text" if self.source == "text" else "picture")
        return Batch(inputs, index, role)

    def embed(self, batch: Batch) -> Any:
        """Embed texts and pictures with the model; see `Embedder.embed`."""
        require("clip", "clip")
        pictures = [i for i, value in enumerate(batch.inputs) if isinstance(value, Image)]
        if not pictures:
            return super().embed(batch)
        texts = np.setdiff1d(np.arange(len(batch.inputs)), pictures).tolist()
        embedded = embed_pictures([batch.inputs[i] for i in pictures], self._job())
        failed = {pictures[i]: error for i, error in embedded.failed.items()}
        if failed and (self.on_bad_image == "error" or batch.role == "query"):
            _refuse(failed, batch)
        _report(failed, batch)
        found = embedded.vectors
        from_texts = np.asarray(super().embed(batch.without(pictures))) if texts else None
        dim = next((v.shape[1] for v in (found, from_texts) if v is not None), 1)
        vectors = np.zeros((len(batch.inputs), dim), dtype=np.float32)
        if found is not None:
            vectors[pictures] = found
        if from_texts is not None:
            vectors[texts] = from_texts
        return Partial(vectors, list(failed)) if failed else vectors

    def resolved(self) -> dict[str, Any]:
        """Return every option that affects vectors, as the loaded model has them."""
        require("clip", "clip")
        return super().resolved()

    # -- deciding what was left open --------------------------------------------------------

    def _resolve_defaults(self) -> None:
        if self.source != "text" and self.query_prompt is None:
            # The prompts that models know are for texts that look for texts.
            self._set(query_prompt="")
        super()._resolve_defaults()
        card = card_of(self.name, self.dim)
        if card is not None and "image" not in card.modality:
            raise ConfigurationError(
                f"{self.name} embeds texts only; use sbert, or a model for pictures like "
                "clip-ViT-B-32"
            )
        if card is not None and self.truncate_dim is not None and not card.truncate_dims:
            warnings.warn(
                f"{self.name} was not trained to be cut (Matryoshka), so truncate_dim="
                f"{self.truncate_dim} will find less; a model that was is jinaai/jina-clip-v2",
                EmbeddingWarning,
                stacklevel=2,
            )

    def _check(self) -> None:
        super()._check()
        if self.template is not None and self.source != "text":
            raise ConfigurationError('a template makes texts: it needs source="text"')

    def _prepared(self, item: str | Image | None) -> str | Image | None:
        if not isinstance(item, str):
            return item
        prepared = self.prepare(item)
        return None if is_blank(prepared) else prepared

    # -- the model ------------------------------------------------------------------------------

    def _job(self) -> PictureJob:
        options = self.process_options()
        kept = None
        if options["cache"]:
            space = describe(self.identity(), self.signature or self.fingerprint(), "image")
            vectors = shared_cache(options["cache_dir"], settings.cache_max_size)
            kept = KeptPictures(vectors, space)
        return PictureJob(
            side=cache(lambda: self._image_side(options)),
            limits=ImageLimits.current(),
            fetches=settings.concurrency,
            batch_tokens=options["batch_tokens"],
            kept=kept,
            stop=self.on_bad_image == "error",
            progress=options["progress"],
        )

    def _image_side(self, options: dict[str, Any]) -> ImageSide:
        model = self._loaded(options)
        if self.signature is not None:
            guard(model, self.name, self.identity(), self.signature, lambda: self._probe(model))
        return model.engine.images

    def _probe(self, model: LoadedModel) -> output.Float32:
        """Return the vector of the probe text, and that of a picture behind it, both in part."""
        side = model.engine.images
        vectors = side.forward([side.prepare(next(probes()))])
        picture = output.normalize(output.truncate(vectors, self.truncate_dim))[0]
        half = probe.MAX_DIMS // 2
        return np.concatenate([super()._probe(model)[:half], picture[:half]])


def _refuse(failed: Mapping[int, ImageError], batch: Batch) -> None:
    position, error = next(iter(failed.items()))
    rows = batch.rows([position])
    reference = batch.inputs[position].reference
    if batch.role == "query":
        raise ImageError(f"the query ({reference}): {error}", rows)
    raise ImageError(
        f"{name_rows(rows)} ({reference}): {error}. Nothing was written; mend it, leave it out, or "
        'set on_bad_image="null"',
        rows,
    )


def _report(failed: Mapping[int, ImageError], batch: Batch) -> None:
    if not failed:
        return
    rows = batch.rows(list(failed))
    shown = "; ".join(
        f"{name_rows(batch.rows([position]))}, {batch.inputs[position].reference}: {error}"
        for position, error in list(failed.items())[:3]
    )
    warnings.warn(
        f"{len(rows):,} of {len(batch.index):,} pictures cannot be had and get no vector ({shown}"
        f'{"; ..." if len(failed) > 3 else ""}); add with on_bad_vectors="null" to keep their '
        'rows, or "drop" to leave them out',
        EmbeddingWarning,
        stacklevel=2,
    )
