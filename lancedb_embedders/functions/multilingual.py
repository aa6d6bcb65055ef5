"""`multilingual`: text in many languages, searched across them."""

from __future__ import annotations

import unicodedata
from typing import Literal

from lancedb_embedders.local.embedder import LocalTextEmbedder


class MultilingualEmbeddings(LocalTextEmbedder, registry_name="multilingual"):
    """Text embeddings by a model of many languages: one space, whatever a text is written in.

    All options but these are those of `LocalTextEmbedder` and `Embedder`.

    Parameters
    ----------
    unicode : {"NFC", "NFKC", None}, default "NFC"
        Unicode form that documents and queries are brought to, so that one and the same word gives
        one vector however it was typed: ``"NFC"`` joins letters with their accents, ``"NFKC"``
        also makes full-width letters, ligatures and the like plain; None leaves texts as they are.

    Examples
    --------
    >>> from lancedb.embeddings import get_registry
    >>> import lancedb_embedders
    >>> multilingual = get_registry().get("multilingual").create()
    >>> multilingual.ndims(), multilingual.supports("ja"), multilingual.supports("sw")
    (384, True, False)
    """

    name: str = "paraphrase-multilingual-MiniLM-L12-v2"
    unicode: Literal["NFC", "NFKC"] | None = "NFC"

    def prepare(self, text: str) -> str:
        """Bring `text` to its Unicode form; see `Embedder.prepare`."""
        text = super().prepare(text)
        if self.unicode is None or text.isascii():
            return text
        return unicodedata.normalize(self.unicode, text)
