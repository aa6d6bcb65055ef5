"""A function of your own: fields, `ndims` and `embed`; the rest comes with `Embedder`."""

import tempfile
import zlib

import lancedb
import numpy as np
import numpy.typing as npt
from lancedb.pydantic import LanceModel

from lancedb_embedders import Batch, Embedder


class HashedWordsEmbeddings(Embedder, registry_name="hashed-words"):
    """Count words by their hash; no model at all, and yet it finds what shares words."""

    dim: int = 256

    def ndims(self) -> int:
        return self.column_dims(self.dim)

    def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
        vectors = np.zeros((len(batch.inputs), self.dim), dtype=np.float32)
        for row, text in enumerate(batch.inputs):
            for word in text.lower().split():
                vectors[row, zlib.crc32(word.encode()) % self.dim] += 1
        return vectors


words = HashedWordsEmbeddings.create(dim=512)


class Note(LanceModel):
    text: str = words.SourceField()
    vector: words.Vector() = words.VectorField()  # type: ignore[valid-type]


with tempfile.TemporaryDirectory() as folder:
    table = lancedb.connect(folder).create_table("notes", schema=Note)
    table.add([{"text": "call the plumber on friday"}, {"text": "buy oat milk and bread"}])
    print(table.search("which bread to buy").limit(1).to_list()[0]["text"])
