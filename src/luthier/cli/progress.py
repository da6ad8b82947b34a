"""How far embedding is: rows, rows a second, and the time left, on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from luthier.cli import render

Report = Callable[[int, int], None]  # rows that are embedded, and rows in all

_LINE_SECONDS = 10.0  # between two lines where there is no window


@contextmanager
def progress() -> "Iterator[Report]":
    """Shows rows, rate and time left on standard error: a bar in a window, a line now and then elsewhere."""
    if sys.stderr.isatty():
        yield from _bar()
    else:
        yield _Lines()


def _bar() -> "Iterator[Report]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("Embedding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=render.console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate="")
        rate = _Rate()

        def report(done: int, total: int) -> None:
            speed = rate.of(done)
            bar.update(task, completed=done, total=total, rate=f"{speed:,.0f} rows/s" if speed else "")

        yield report


class _Lines:
    """Progress as lines; the first after a while, so that a short run says nothing."""

    def __init__(self) -> None:
        self._rate = _Rate()
        self._next = time.monotonic() + _LINE_SECONDS

    def __call__(self, done: int, total: int) -> None:
        speed = self._rate.of(done)
        if time.monotonic() < self._next or not speed or done == total:
            return
        self._next = time.monotonic() + _LINE_SECONDS
        left = render.duration((total - done) / speed)
        render.say(f"{done:,} of {total:,} rows, {speed:,.0f} rows/s, {left} left", stderr=True)


class _Rate:
    """Rows a second of this run alone."""

    def __init__(self) -> None:
        self._start: tuple[float, int] | None = None

    def of(self, done: int) -> float | None:
        """None before any row of this run is embedded."""
        if self._start is None:
            self._start = time.monotonic(), done
            return None
        began, before = self._start
        return (done - before) / max(time.monotonic() - began, 1e-6) if done > before else None
