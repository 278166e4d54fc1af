"""Whether Lava can be used here, and its import without side effects."""

import importlib
import multiprocessing
import sys
from importlib import metadata

VERSION = "0.10.0"
ADVICE = 'use Python 3.10 and pip install "keras-spiking-rnn[lava]"'


def require_lava():
    """Import Lava, or say in one sentence what is missing.

    Raises:
        ImportError: If this is not Python 3.10, lava-nc 0.10.0 is not installed, or the system
            cannot fork.
    """
    check_python(sys.version_info)
    check_version(installed_version())
    check_fork(multiprocessing.get_all_start_methods())
    import_lava()


def check_python(version):
    """Raise ImportError unless `version`, as `sys.version_info`, is Python 3.10."""
    if tuple(version[:2]) != (3, 10):
        raise ImportError(
            f"lava-nc {VERSION} exists for Python 3.10 only, this is Python "
            f"{version[0]}.{version[1]}: {ADVICE}."
        )


def installed_version():
    """The installed version of lava-nc, or None."""
    try:
        return metadata.version("lava-nc")
    except metadata.PackageNotFoundError:
        return None


def check_version(version):
    """Raise ImportError unless `version` of lava-nc is the one this package works with."""
    if version != VERSION:
        found = "is not installed" if version is None else f"is needed, not {version}"
        raise ImportError(f"lava-nc {VERSION} {found}: {ADVICE}.")


def check_fork(start_methods):
    """Raise ImportError unless processes can be forked."""
    if "fork" not in start_methods:
        raise ImportError("lava_export.lava forks its workers, which Windows cannot: use Linux.")


def import_lava():
    """Import what of Lava sets the start method of `multiprocessing`, and set it back.

    Lava calls `set_start_method("fork")`, which raises if a method was set before, and would
    keep the caller from setting one later. The workers of `lava_export.lava.session` are
    forked whatever the method is.
    """
    method = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(None, force=True)
    try:
        importlib.import_module("lava.magma.runtime.message_infrastructure.multiprocessing")
    except ImportError as error:
        raise ImportError(
            f"lava-nc {VERSION} is installed but broken ({error}): {ADVICE}."
        ) from error
    finally:
        multiprocessing.set_start_method(method, force=True)
