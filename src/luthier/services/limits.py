"""Requests and tokens a minute: token buckets, one pair for each key, in this process.

A bucket holds as much as its limit and fills evenly within a minute. A request takes one from the first at once. From
the second it takes an estimate of its tokens before it is computed, and what it really used is set right afterwards,
by which the bucket may come to owe.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from luthier.domain.key import Principal
from luthier.errors import RateLimitError

Clock = Callable[[], float]

_MINUTE = 60.0
_CHARACTERS_PER_TOKEN = 4
_DEFAULT_MAX_TOKENS = 16
_TEXT_FIELDS = ("prompt", "input", "messages", "suffix", "context", "query")
_MOST_FIELDS = ("max_completion_tokens", "max_tokens", "length")
_GENERATING_FIELDS = {"prompt", "messages", "context", *_MOST_FIELDS}


class LimitReachedError(RateLimitError):
    """A key's limit. `type` says which, as in OpenAI's answers: `requests` or `tokens`."""

    def __init__(self, what: str, message: str, retry_after: float | None) -> None:
        super().__init__(message, code="rate_limit_exceeded", retry_after=retry_after)
        self.type = what


class Bucket:
    """What is left of one limit.

    Args:
        what: `requests` or `tokens`.
        limit: of one minute.
        clock: seconds that only grow.
    """

    def __init__(self, what: str, limit: int, clock: Clock = time.monotonic) -> None:
        self.what = what
        self.limit = limit
        self._clock = clock
        self._level = float(limit)
        self._at = clock()
        self._lock = threading.Lock()

    def take(self, amount: int, owner: str) -> None:
        """
        Args:
            owner: the key's name, for the message.

        Raises:
            LimitReachedError: so much is not there. Nothing is taken.
        """
        with self._lock:
            self._refill()
            if amount <= self._level:
                self._level -= amount
                return
            level = self._level
        used = min(self.limit, math.ceil(self.limit - level))
        short = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}[self.what]
        counts = f"Limit {self.limit}, Used {used}, Requested {amount}"
        if amount > self.limit:
            raise LimitReachedError(
                self.what,
                f"Request too large for key '{owner}' on {short}: {counts}. Make it smaller: fewer inputs, or a lower "
                "max_tokens.",
                None,
            )
        wait = (amount - level) * _MINUTE / self.limit
        raise LimitReachedError(
            self.what,
            f"Rate limit reached for key '{owner}' on {short}: {counts}. Please try again in {span(wait)}.",
            wait,
        )

    def correct(self, amount: int) -> None:
        """Take `amount` more, or give it back if it is negative."""
        with self._lock:
            self._refill()
            self._level = min(float(self.limit), self._level - amount)

    def headers(self) -> dict[str, str]:
        """OpenAI's three headers: the limit, what remains of it, and how long until it is full again."""
        with self._lock:
            self._refill()
            level = self._level
        return {
            f"x-ratelimit-limit-{self.what}": str(self.limit),
            f"x-ratelimit-remaining-{self.what}": str(max(0, math.floor(level))),
            f"x-ratelimit-reset-{self.what}": span((self.limit - level) * _MINUTE / self.limit),
        }

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(float(self.limit), self._level + (now - self._at) * self.limit / _MINUTE)
        self._at = now


class Allowance:
    """What one request may still use of its key's limits."""

    def __init__(self, owner: str, requests: Bucket | None, tokens: Bucket | None) -> None:
        self._owner = owner
        self._requests = requests
        self._tokens = tokens
        self._taken = 0
        self._used = 0

    def admit(self) -> None:
        """Take one request.

        Raises:
            LimitReachedError: it is one too many.
        """
        if self._requests is not None:
            self._requests.take(1, self._owner)

    def reserve(self, body: Mapping[str, Any]) -> None:
        """Take the tokens that a request with this body will use, by estimate.

        Raises:
            LimitReachedError: they are not there.
        """
        if self._tokens is not None:
            estimate = estimate_tokens(body)
            self._tokens.take(estimate, self._owner)
            self._taken += estimate

    def settle(self, used: int) -> None:
        """Set right what was taken, now that it is known. 0 for a request that came to nothing."""
        if self._tokens is not None:
            self._tokens.correct(used - self._taken)
            self._taken = used

    def report(self, tokens: int) -> None:
        """Count tokens that the request has used. The first report takes the estimate's place."""
        self._used += tokens
        self.settle(self._used)

    def headers(self) -> dict[str, str]:
        return {
            name: value
            for bucket in (self._requests, self._tokens)
            if bucket is not None
            for name, value in bucket.headers().items()
        }


class Limiter:
    """The buckets of all keys that have called."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._lock = threading.Lock()

    def of(self, principal: Principal) -> Allowance | None:
        """What a request of this caller goes by; None without limits."""
        if principal.requests_per_minute is None and principal.tokens_per_minute is None:
            return None
        return Allowance(
            principal.name,
            self._bucket(principal.id, "requests", principal.requests_per_minute),
            self._bucket(principal.id, "tokens", principal.tokens_per_minute),
        )

    def _bucket(self, owner: str, what: str, limit: int | None) -> Bucket | None:
        if limit is None:
            return None
        with self._lock:
            bucket = self._buckets.get((owner, what))
            if bucket is None:
                bucket = self._buckets[owner, what] = Bucket(what, limit, self._clock)
        return bucket


_allowance: ContextVar[Allowance | None] = ContextVar("luthier_allowance", default=None)


@contextmanager
def counted(allowance: Allowance) -> Iterator[None]:
    """Whatever runs in here, tasks and threads that it starts too, reserves and reports on this allowance."""
    token = _allowance.set(allowance)
    try:
        yield
    finally:
        _allowance.reset(token)


def reserve(body: Mapping[str, Any]) -> None:
    """Take the estimated tokens of a request's body from its key's limit, if it has one.

    Raises:
        LimitReachedError: they are not there.
    """
    if (allowance := _allowance.get()) is not None:
        allowance.reserve(body)


def usage_reporter() -> Callable[[int], None]:
    """For telling the tokens that the request at hand has used, read and generated; several reports add up."""
    allowance = _allowance.get()
    return allowance.report if allowance is not None else _ignore


def _ignore(_tokens: int) -> None:
    pass


def estimate_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of a request as OpenAI estimates them: a quarter of its characters, and all that it may generate.

    Token ids count one each. The body need not be sound: what does not fit counts nothing.
    """
    read = math.ceil(sum(_size(body.get(field)) for field in _TEXT_FIELDS))
    if "input" in body or not _GENERATING_FIELDS & body.keys():
        return read
    given = (_whole(body.get(field)) for field in _MOST_FIELDS)
    most = next((number for number in given if number is not None), _DEFAULT_MAX_TOKENS)
    prompts = body.get("prompt")
    n_prompts = 1
    if isinstance(prompts, list) and not all(type(item) is int for item in prompts):
        n_prompts = len(prompts)
    answers = max(_whole(body.get(field)) or 1 for field in ("n", "best_of", "completions"))
    return read + most * answers * n_prompts


def _whole(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _size(value: Any) -> float:
    """Tokens of all texts and ids within a value."""
    size, waiting = 0.0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            size += len(item) / _CHARACTERS_PER_TOKEN
        elif type(item) is int:
            size += 1
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            waiting += item.values()
    return size


def span(seconds: float) -> str:
    """A time as OpenAI's headers have it, Go's way: `20ms`, `8.64s`, `6m0s`, `1h0m0s`."""
    milliseconds = math.ceil(seconds * 1000 - 1e-6)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds > 0 else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
