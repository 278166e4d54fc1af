"""What importing says where Lava cannot be had, and what it leaves alone where it can."""

import os
import subprocess
import sys
import textwrap

import pytest

try:
    import lava_export.lava  # noqa: F401

    REASON = None
except ImportError as error:
    REASON = str(error)

needs_lava = pytest.mark.skipif(REASON is not None, reason=REASON or "")


def run(code):
    """Last line of the errors, or the output, of a Python program."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    return (finished.stderr.strip().splitlines() or [finished.stdout.strip()])[-1]


@pytest.mark.skipif(REASON is None, reason="lava-nc 0.10.0 is installed")
def test_the_reason_here():
    assert "lava-nc 0.10.0" in REASON and 'pip install "keras-spiking-rnn[lava]"' in REASON


def test_the_rest_does_not_import_lava():
    assert run("import lava_export, sys; print('lava' in sys.modules)") == "False"


def test_other_python():
    message = run(
        """
        import lava_export, sys
        sys.version_info = (3, 12, 1, "final", 0)
        import lava_export.lava
        """
    )
    assert message == (
        "ImportError: lava-nc 0.10.0 exists for Python 3.10 only, this is Python 3.12: "
        'use Python 3.10 and pip install "keras-spiking-rnn[lava]".'
    )


@pytest.mark.parametrize(
    "version, found", [("None", "is not installed"), ("'0.9.0'", "is needed, not 0.9.0")]
)
def test_other_lava(version, found):
    message = run(
        f"""
        import lava_export, sys
        from importlib import metadata

        def version(name):
            if {version} is None:
                raise metadata.PackageNotFoundError(name)
            return {version}

        sys.version_info = (3, 10, 1, "final", 0)
        metadata.version = version
        import lava_export.lava
        """
    )
    assert message == (
        f"ImportError: lava-nc 0.10.0 {found}: "
        'use Python 3.10 and pip install "keras-spiking-rnn[lava]".'
    )


@needs_lava
def test_broken_lava():
    message = run("import sys; sys.modules['lava'] = None; import lava_export.lava")
    assert message.startswith("ImportError: lava-nc 0.10.0 is installed but broken (")
    assert message.endswith('use Python 3.10 and pip install "keras-spiking-rnn[lava]".')


@needs_lava
def test_no_fork():
    message = run(
        """
        import multiprocessing
        multiprocessing.get_all_start_methods = lambda: ["spawn"]
        import lava_export.lava
        """
    )
    assert message == (
        "ImportError: lava_export.lava forks its workers, which Windows cannot: use Linux."
    )


@needs_lava
def test_quiet():
    message = run("import lava_export.lava, logging; print(logging.getLogger().handlers)")
    assert message == "[]"
