"""Progress bars."""

from contextlib import contextmanager

from rich import progress as rich
from rich.console import Console


@contextmanager
def bar(label, total, show):
    """A function to call with the number of samples done; draws a bar on stderr if `show`."""
    if not show:
        yield lambda samples: None
        return
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task(label, total=total)
        yield lambda samples: display.advance(task, samples)
