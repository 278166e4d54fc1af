"""Files are written whole or not at all."""

import os
import uuid
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path, overwrite=False):
    """A temporary path beside `path` to write to; it takes `path`'s name on success.

    When the body raises, or the process dies, `path` is as it was.

    Args:
        path: Where the file shall stand in the end.
        overwrite: Whether a file that is there already may be replaced.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is false.
        IsADirectoryError: If `path` is a directory.
        FileNotFoundError: If its directory does not exist.
        OSError: If its directory cannot be written to.
    """
    path = Path(os.path.realpath(path))  # a link keeps leading to the file
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: name a file in it.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: pass overwrite=True to replace it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no directory {path.parent}: make it first.")
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        message = f"Cannot write to {path.parent}: {error.strerror}"
        raise OSError(error.errno, message) from error
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path, text, overwrite=False):
    """Write `text` to `path`, whole or not at all."""
    with replacing(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
