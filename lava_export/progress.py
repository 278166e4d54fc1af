"""Progress bars."""

from contextlib import contextmanager

from rich import progress as rich


@contextmanager
def bar(label, total, show):
    """A function to call with the number of samples done; draws a bar if `show`."""
    if not show:
        yield lambda samples: None
        return
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
    )
    with rich.Progress(*columns) as display:
        task = display.add_task(label, total=total)
        yield lambda samples: display.advance(task, samples)
