"""The drift guard: a table's vectors and a query's must come from the same model."""

from __future__ import annotations

from collections.abc import Callable

from lancedb_embedders.errors import ConfigurationError, ModelDriftError
from lancedb_embedders.local import probe
from lancedb_embedders.local.model import LoadedModel
from lancedb_embedders.output import Float32


def guard(
    model: LoadedModel, name: str, identity: str, signature: str, embed_probe: Callable[[], Float32]
) -> None:
    """Compare a model with what a table was made with; once for each, then it is known.

    Parameters
    ----------
    model : LoadedModel
        The model as found now.
    name, identity : str
        Name of the model, and all options that affect vectors.
    signature : str
        What the table stores.
    embed_probe : callable
        Gives the vector of the probe text.

    Raises
    ------
    ModelDriftError
        They differ by more than engine and precision explain.
    """
    key = (identity, signature)
    with model.guarding:  # threads that come together wait for one of them
        if key not in model.signatures:
            model.signatures[key] = _likeness(signature, embed_probe)
    cosine, reason = model.signatures[key]
    if cosine < min(probe.MIN_COSINE, model.engine.likeness):
        raise ModelDriftError(
            f"{name} as found now ({model.location.origin}: {model.location.folder}) is "
            f"not the model that this table's vectors were made with: {reason}. Nothing was "
            "written or searched. Put the original model back, or embed the rows anew in "
            "another table"
        )


def _likeness(signature: str, embed_probe: Callable[[], Float32]) -> tuple[float, str]:
    try:
        cosine = probe.similarity(signature, embed_probe())
    except ConfigurationError as error:  # it cannot even run with the stored options
        return -1.0, str(error)
    return cosine, f"cosine {cosine:.3f} on the probe text, {probe.MIN_COSINE} expected"
