"""Who goes first."""

from contextvars import ContextVar

BACKGROUND: ContextVar[bool] = ContextVar("background", default=False)
"""Whether what is asked for in this context gives way to the rest: a batch does, a caller who waits does not."""
