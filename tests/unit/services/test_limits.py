"""Token buckets, their headers, and what a request is estimated at."""

import asyncio

import pytest

from luthier.domain.key import ANYONE, Principal
from luthier.services.limits import (
    Bucket,
    Limiter,
    LimitReachedError,
    counted,
    estimate_tokens,
    reserve,
    span,
    usage_reporter,
)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def caller(requests=None, tokens=None):
    return Principal("key_1", "laptop", frozenset(), requests, tokens)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.02, "20ms"),
        (0.0001, "1ms"),
        (1, "1s"),
        (8.64, "8.64s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (86.4, "1m26.4s"),
        (3600, "1h0m0s"),
        (7325.5, "2h2m5.5s"),
    ],
)
def test_spans_are_written_as_openai_writes_them(seconds, text):
    assert span(seconds) == text


def test_a_bucket_empties_refuses_and_fills(clock):
    bucket = Bucket("requests", 3, clock)
    for _ in range(3):
        bucket.take(1, "laptop")
    with pytest.raises(LimitReachedError) as full:
        bucket.take(1, "laptop")
    error = full.value
    assert error.message == (
        "Rate limit reached for key 'laptop' on requests per min (RPM): Limit 3, Used 3, Requested 1. "
        "Please try again in 20s."
    )
    assert (error.status, error.type, error.code, error.retry_after) == (429, "requests", "rate_limit_exceeded", 20)
    clock.now += 19.99
    with pytest.raises(LimitReachedError):
        bucket.take(1, "laptop")
    clock.now += 0.02
    bucket.take(1, "laptop")
    clock.now += 10_000
    assert bucket.headers() == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "0s",
    }


def test_headers_tell_what_remains_and_when_all_is_back(clock):
    bucket = Bucket("tokens", 6000, clock)
    bucket.take(1500, "laptop")
    assert bucket.headers() == {
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "4500",
        "x-ratelimit-reset-tokens": "15s",
    }


def test_what_can_never_fit_says_so(clock):
    with pytest.raises(LimitReachedError, match="Request too large for key 'laptop' on tokens per min") as large:
        Bucket("tokens", 100, clock).take(101, "laptop")
    assert large.value.retry_after is None


def test_an_estimate_is_set_right_by_what_was_used(clock):
    allowance = Limiter(clock).of(caller(tokens=100))
    allowance.reserve({"prompt": "x" * 40, "max_tokens": 50})
    assert allowance.headers()["x-ratelimit-remaining-tokens"] == "40"
    allowance.settle(30)
    assert allowance.headers()["x-ratelimit-remaining-tokens"] == "70"
    allowance.settle(130)
    assert allowance.headers()["x-ratelimit-remaining-tokens"] == "0"
    with pytest.raises(LimitReachedError, match=r"Please try again in 18\.6s"):
        allowance.reserve({"input": "word"})
    allowance.settle(0)
    assert allowance.headers()["x-ratelimit-remaining-tokens"] == "100"


def test_each_key_has_its_own_buckets_and_keeps_them(clock):
    limiter = Limiter(clock)
    limiter.of(caller(requests=1)).admit()
    with pytest.raises(LimitReachedError):
        limiter.of(caller(requests=1)).admit()
    limiter.of(Principal("key_2", "other", frozenset(), 1)).admit()
    assert limiter.of(ANYONE) is None


def test_reports_reach_the_request_from_its_tasks_and_threads(clock):
    limiter = Limiter(clock)

    async def request(used):
        allowance = limiter.of(Principal(f"key_{used}", "laptop", frozenset(), None, 1000))
        with counted(allowance):
            reserve({"prompt": "", "max_tokens": 900})
            await asyncio.create_task(asyncio.to_thread(lambda: usage_reporter()(used)))
        return allowance.headers()["x-ratelimit-remaining-tokens"]

    async def all_of_them():
        return await asyncio.gather(*(request(used) for used in (10, 200, 999)))

    assert asyncio.run(all_of_them()) == ["990", "800", "1"]
    reserve({"prompt": "outside of any request"})
    usage_reporter()(5)


def test_reports_of_one_request_add_up(clock):
    allowance = Limiter(clock).of(caller(tokens=100))
    allowance.reserve({"prompt": "", "max_tokens": 60})
    allowance.report(10)
    allowance.report(15)
    assert allowance.headers()["x-ratelimit-remaining-tokens"] == "75"


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, 0),
        ({"model": "ada", "max_tokens": 100}, 100),
        ({"context": "x" * 40, "length": 5, "completions": 2}, 10 + 5 * 2),
        ({"query": "x" * 40}, 10),
        ({"prompt": "x" * 41}, 11 + 16),
        ({"prompt": ["abcd", "efgh"], "max_tokens": 10}, 2 + 2 * 10),
        ({"prompt": [1, 2, 3], "max_tokens": 0}, 3),
        ({"prompt": [[1, 2], [3]], "max_tokens": 5, "n": 2, "best_of": 3}, 3 + 2 * 3 * 5),
        ({"input": ["abcd"] * 8, "max_tokens": 7}, 8),
        ({"messages": [{"role": "user", "content": "x" * 40}], "max_completion_tokens": 4}, 11 + 4),
        ({"prompt": {"odd": None}, "max_tokens": -3, "n": "many"}, 16),
    ],
)
def test_estimates(body, tokens):
    assert estimate_tokens(body) == tokens
