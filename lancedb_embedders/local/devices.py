"""What the setting `device` names: one device, or several that share the work."""

from __future__ import annotations

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.local.cores import cores


def device_names(setting: str) -> list[str]:
    """Return the devices that a setting names, by their names in torch.

    Parameters
    ----------
    setting : str
        ``"auto"``, a device, several of them separated by commas, or ``"cuda:*"`` for all that
        CUDA finds. A device that is named twice is used by two processes.

    Raises
    ------
    ConfigurationError
        A list with nothing between two commas, or with ``"auto"``; no CUDA device for ``"cuda:*"``.

    Examples
    --------
    >>> device_names("auto"), device_names("cuda:0, cuda:1")
    (['auto'], ['cuda:0', 'cuda:1'])
    """
    names: list[str] = []
    for part in setting.split(","):
        name = part.strip()
        names += _all_cuda() if name == "cuda:*" else [name]
    if len(names) > 1 and not {"", "auto"}.isdisjoint(names):
        raise ConfigurationError(
            f'device={setting!r} does not fit: a list names each device, like "cuda:0,cuda:1"'
        )
    return names


def threads_for(device: str, devices: list[str], threads: int | None) -> int | None:
    """Return how many cores the process of one device is to use; None: as many as it likes.

    Examples
    --------
    >>> threads_for("cpu", ["cpu", "cpu"], 8), threads_for("cuda:0", ["cpu", "cuda:0"], 8)
    (4, None)
    """
    if device != "cpu":
        return None
    return max(1, (threads or cores()) // devices.count("cpu"))


def _all_cuda() -> list[str]:
    import torch

    count = torch.cuda.device_count()
    if not count:
        raise ConfigurationError('device="cuda:*" cannot be used here: torch finds no CUDA device')
    return [f"cuda:{number}" for number in range(count)]
