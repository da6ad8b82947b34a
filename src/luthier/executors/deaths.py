"""Why a trainer ended, in words for the owner of its job."""

import errno
import re
import signal
from pathlib import Path

_LESS_MEMORY = (
    "What helps: shorter examples, a lower LUTHIER_TRAIN_TOKENS, a smaller base model, or more memory for the server."
)
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
_TAIL_BYTES = 4096
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")


def reason(error: Exception) -> str:
    """An unforeseen error, in words for the owner of the job."""
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text.lower() for words in _NO_MEMORY):
        return f"The training process ran out of memory. {_LESS_MEMORY}"
    if _errno(error) in _DISK_FULL or "disk is full" in text:  # the latter in SQLite's words
        return "The disk of the server is full. Make room, then create the job again."
    return f"The training process met an error that it did not expect: {type(error).__name__}: {text}"


def _errno(error: Exception) -> int | None:
    """The system's number of an error. Safetensors' own errors, which are no OSError, have it in their words."""
    if isinstance(error, OSError):
        return error.errno
    number = _RUST_ERROR.search(str(error))
    return int(number[1]) if number else None


def describe_death(exit_code: int, log: Path) -> str:
    """How a trainer ended that did not say so itself, in words for the owner of the job."""
    if exit_code < 0:
        killed = f"The training process was ended by the system (signal {-exit_code})"
        if -exit_code == getattr(signal, "SIGKILL", None):
            return f"{killed}, most likely for lack of memory. {_LESS_MEMORY}"
        return f"{killed}."
    last = _last_line(log)
    return f"The training process ended with exit code {exit_code}." + (f" Its last words: {last}" if last else "")


def _last_line(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = stream.read().decode("utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
