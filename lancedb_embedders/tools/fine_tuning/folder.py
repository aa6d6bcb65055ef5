"""Where a training leaves its checkpoints and its model, so that a killed one can go on.

Checkpoints are in ``<output>.training``. The model comes into its folder by one rename, when it is
there as a whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.local.store import store

#: In the folder of a model that was trained here: what with, and what it came to.
RECORD = "training.json"
#: In a checkpoint that is there as a whole: a process that was killed may leave half of one.
COMPLETE = "complete"
_RUN = "run.json"


@dataclass
class Work:
    """A training under way.

    Attributes
    ----------
    folder : pathlib.Path
        Where the model goes in the end.
    finished : dict or None
        What an earlier call with the same arguments returned.
    checkpoints : pathlib.Path
        Folder of checkpoints.
    model : pathlib.Path
        Where the model is saved before it goes into place. A new name each time: models in memory
        are known by their path, and functions by the name of the folder.
    """

    folder: Path
    finished: dict[str, Any] | None
    checkpoints: Path
    model: Path
    _identity: Mapping[str, Any] = field(default_factory=dict)

    def remember(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return a value that an earlier run of this training has computed, or compute it."""
        file = self.checkpoints / _RUN
        known = json.loads(file.read_text(encoding="utf-8"))
        if name not in known["values"]:
            known["values"][name] = compute()
            _write(file, known)
        return known["values"][name]

    def finish(self, result: Mapping[str, Any]) -> None:
        """Put the model into its folder, and throw the checkpoints away."""
        _write(self.model / RECORD, {"identity": self._identity, "result": result})
        if self.folder.exists():
            self.folder.replace(self.checkpoints / "replaced")
            store.clear()  # the one in memory is known by the same path
        self.model.replace(self.folder)
        shutil.rmtree(self.checkpoints, ignore_errors=True)


@contextmanager
def opened(folder: Path, identity: Mapping[str, Any], resume: bool) -> Iterator[Work]:
    """Give the work on a model.

    Parameters
    ----------
    folder : pathlib.Path
        Where the model goes.
    identity : mapping
        All that decides what comes out, as JSON takes it.
    resume : bool
        Whether to go on with what is there, or to begin anew.

    Raises
    ------
    ConfigurationError
        The folder holds something else, another training's checkpoints are there, or another
        process is training into it.
    """
    from filelock import FileLock, Timeout

    identity = json.loads(json.dumps(identity))
    finished = _finished(folder, identity, resume)
    checkpoints = folder.with_name(f"{folder.name}.training")
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{checkpoints} cannot be made: {error.strerror}") from None
    try:
        with FileLock(checkpoints / "lock", timeout=0):
            if finished is None:
                _prepare(checkpoints, identity, resume)
            model = checkpoints / f"model-{uuid4().hex[:8]}"
            yield Work(folder, finished, checkpoints, model, identity)
            if finished is not None:
                shutil.rmtree(checkpoints, ignore_errors=True)
    except Timeout:
        raise ConfigurationError(f"another process is training into {folder}") from None


def _finished(folder: Path, identity: Mapping[str, Any], resume: bool) -> dict[str, Any] | None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    record = folder / RECORD
    if not record.is_file():
        raise ConfigurationError(f"{folder} is there and was not trained here; name a new folder")
    if not resume:
        return None
    known = json.loads(record.read_text(encoding="utf-8"))
    if known["identity"] != identity:
        raise ConfigurationError(
            f"{folder} holds a model that was trained with other arguments "
            f"({_different(known['identity'], identity)}); name another folder, or replace it with "
            "resume=False"
        )
    result: dict[str, Any] = known["result"]
    return result


def _prepare(checkpoints: Path, identity: Mapping[str, Any], resume: bool) -> None:
    run = checkpoints / _RUN
    known = json.loads(run.read_text(encoding="utf-8")) if resume and run.is_file() else None
    if known is not None and known["identity"] != identity:
        raise ConfigurationError(
            f"{checkpoints} holds checkpoints of a training with other arguments "
            f"({_different(known['identity'], identity)}); name another folder, or begin anew with "
            "resume=False"
        )
    for one in checkpoints.iterdir():
        kept = known is not None and (one.name == _RUN or (one / COMPLETE).is_file())
        if not kept and one.name != "lock":
            shutil.rmtree(one) if one.is_dir() else one.unlink()
    if known is None:
        _write(run, {"identity": identity, "values": {}})


def _different(known: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    return ", ".join(sorted(k for k in {*known, *identity} if known.get(k) != identity.get(k)))


def _write(file: Path, content: Any) -> None:
    # A reader, and a process that is killed, see the whole file or the one before.
    new = file.with_name(f"{file.name}.new")
    new.write_text(json.dumps(content, indent=2), encoding="utf-8")
    new.replace(file)
