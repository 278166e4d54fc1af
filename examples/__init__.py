"""Programs to run from the project's folder, `python -m examples.NAME`."""
