"""A start-up line that registers the functions in every process that imports LanceDB.

A table names its function, and LanceDB looks the name up in a registry that only an import of
this package fills. Where a program cannot be given that import, a ``.pth`` file can stand in.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lancedb_embedders.errors import ConfigurationError

_STEM = "lancedb_embedders_autoload"

# These run with this package or without it, and import nothing before LanceDB is asked for.
# At every start of the interpreter, so there is little of it to compile:
_FINDER = """\
class LanceDBFinder:
    def find_spec(self, name, path=None, target=None):
        if name == "lancedb":
            exec(hook, globals())
            return find_spec(self, name, path, target)

sys.meta_path.insert(0, LanceDBFinder())
"""

# When LanceDB is looked up. The finder stays until it is imported: a spec may go unused. The
# loader is changed for one call, and not replaced, so that LanceDB's module looks as ever.
_HOOK = """\
def find_spec(self, name, path, target):
    finders = iter(sys.meta_path)
    # Those before this one have been asked; `in` stops behind it.
    for finder in finders if self in finders else ():
        find = getattr(finder, "find_spec", None)
        spec = find and find(name, path, target)
        if spec:
            watch(self, spec.loader)
            return spec

def watch(self, loader):
    def exec_module(module):
        vars(loader).pop("exec_module", None)
        loader.exec_module(module)
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        try:
            import lancedb_embedders
        except Exception as error:
            warn(error)

    # A folder without code has no loader, and a loader in C takes no attribute.
    if hasattr(loader, "exec_module") and hasattr(loader, "__dict__"):
        loader.exec_module = exec_module

def warn(error):
    import os
    import warnings
    files = [os.path.join(str(folder), __name__ + ".pth") for folder in sys.path]
    file = next(filter(os.path.isfile, files), __name__ + ".pth")
    warnings.warn(
        f"importing lancedb could not register the functions of lancedb_embedders: "
        f"{type(error).__name__}: {error}. Install that package anew, or end this with "
        f"`lancedb-embedders autoload disable` or by deleting {file}",
        stacklevel=3,
    )
"""

# Python executes a line of such a file if it begins with "import"; in a virtual environment twice.
_TEXT = f"""\
# Written by `lancedb-embedders autoload enable`; `lancedb-embedders autoload disable` deletes it.
import sys; "{_STEM}" in [type(f).__module__ for f in sys.meta_path] or \
exec({_FINDER!a}, {{"__name__": "{_STEM}", "sys": sys, "hook": {_HOOK!a}}})
""".encode("ascii")


def enable() -> Path:
    """Have every process of this environment register the functions when it imports LanceDB.

    Returns
    -------
    Path
        The file that does it; one of another version is replaced.

    Raises
    ------
    ConfigurationError
        If the environment's ``site-packages`` cannot be written to.
    """
    file = _file()
    # A process that starts meanwhile reads all files that end with .pth.
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    with _access(file):
        try:
            part.write_bytes(_TEXT)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    return file


def disable() -> Path | None:
    """Undo `enable`.

    Returns
    -------
    Path or None
        The file that was deleted, if there was one.

    Raises
    ------
    ConfigurationError
        If the environment's ``site-packages`` cannot be written to.
    """
    file = status()
    if file is not None:
        with _access(file):
            file.unlink(missing_ok=True)
    return file


def status() -> Path | None:
    """Return the file that `enable` wrote, of this version or another, or None."""
    file = _file()
    return file if file.is_file() else None


def is_current(file: Path) -> bool:
    """Whether a file is what the `enable` of this version writes."""
    return file.read_bytes() == _TEXT


def _file() -> Path:
    return Path(sysconfig.get_path("purelib"), f"{_STEM}.pth")


@contextmanager
def _access(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be written or deleted ({error.strerror}): do it as the owner of this "
            "Python, work in a virtual environment (python -m venv), or have the program import "
            "lancedb_embedders itself"
        ) from error
