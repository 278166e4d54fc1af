"""Files are written whole or not at all."""

import os
import uuid
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path, suffix=".part"):
    """A temporary path beside `path` to write to; it takes `path`'s name on success.

    When the body raises, or the process dies, `path` is as it was.

    Args:
        path: Where the file shall stand in the end; one that is there is replaced.
        suffix: How the temporary name ends, for a writer that looks at it.

    Raises:
        OSError: If its directory does not exist or cannot be written to.
    """
    path = Path(os.path.realpath(path))  # a link keeps leading to the file
    temporary = path.with_name(f".{uuid.uuid4().hex}{suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
