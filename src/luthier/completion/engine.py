"""The completion engine: one thread, one pass after another, requests joining and leaving between passes.

    submit ──► inbox ──► scheduler ──► run one step ──► outputs ──► the caller's `on_output`
    (any thread)         (the engine's own thread from here on)

A base is loaded when the first request names it and shared by all that follow; adapters come on top of it.
"""

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from luthier.completion.constraint import Constraint
from luthier.completion.decoder import Decoder, load_decoder
from luthier.completion.residents import Residents
from luthier.completion.runner import Result, run
from luthier.completion.scheduler import Scheduler, Step
from luthier.completion.sequence import Failed, Generated, Output, Request, Scored, Weights, cache_tokens, sequences
from luthier.completion.sequence import Sequence as Running
from luthier.config import Settings
from luthier.domain.generation import FinishReason, SamplingParams, TokenLogprob
from luthier.domain.priority import BACKGROUND
from luthier.errors import InvalidRequestError, LuthierError, RateLimitError, UnavailableError
from luthier.modeling import cores

MAX_BASES = 4  # idle ones that stay in memory, fully tuned models among them
MAX_THREADS = 16  # models of this size gain nothing from more, and threads that wait for each other cost

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Job:
    """A request inside the engine: its unfinished sequences and what it scored so far."""

    request: Request
    unfinished: set[Running] = field(default_factory=set)
    scores: dict[int, list[TokenLogprob]] = field(default_factory=dict)


class Handle:
    """A submitted request, for its caller."""

    def __init__(self, request: Request, wake: Callable[[], None]) -> None:
        self._request = request
        self._wake = wake

    def cancel(self) -> None:
        """Stop working on it; nothing more is put out after the step that runs now. From any thread, any time."""
        self._request.cancelled = True
        self._wake()


class CompletionEngine:
    """Runs completions of many requests together.

    Args:
        settings: `max_waiting`, `max_batch_tokens` and `kv_cache_tokens` bound the work and its memory.
        load: loads the base in a folder; tests give a fake.
        max_bases: how many bases stay in memory when no request uses them.
    """

    def __init__(
        self, settings: Settings, load: Callable[[Path], Decoder] = load_decoder, max_bases: int = MAX_BASES
    ) -> None:
        self._settings = settings
        self._residents = Residents(load, max_bases)
        self._scheduler = Scheduler(max_batch_tokens=settings.max_batch_tokens, cache_tokens=settings.kv_cache_tokens)
        self._jobs: dict[Request, _Job] = {}
        self._condition = threading.Condition()  # guards the fields below
        self._inbox: deque[Request] = deque()
        self._errands: deque[Callable[[], None]] = deque()  # for the engine's thread to do between two steps
        self._waiting = 0  # requests of which nothing has run yet
        self._woken = False
        self._running = False
        self._thread: threading.Thread | None = None

    @property
    def max_sequence_tokens(self) -> int:
        """Most tokens of a prompt and its completion together."""
        return self._settings.kv_cache_tokens

    def start(self) -> None:
        """Start the thread. Does nothing when it runs."""
        with self._condition:
            if self._running:
                return
            self._running = True
        self._thread = threading.Thread(target=self._loop, name="completions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the step that runs now. Unfinished requests fail with UnavailableError."""
        with self._condition:
            self._running = False
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def submit(
        self,
        weights: Weights,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        on_output: Callable[[Output], None],
        *,
        n: int = 1,
        keep_logprobs: bool = False,
        constraint: Constraint | None = None,
    ) -> Handle:
        """Queue prompts to be continued. From any thread; returns at once. Gives way where `BACKGROUND` is set.

        Args:
            weights: what answers. Loaded when it is not in memory; a failure to load comes as `Failed`.
            prompts: token ids, each at least one.
            on_output: called from the engine's thread, soon to return. For each prompt `Scored` if its tokens' log
                probabilities were asked for (`echo` with `logprobs`), before the `Generated` of its continuations, of
                which the last bears a finish reason; or `Failed`, after which nothing comes.
            n: continuations of each prompt.
            keep_logprobs: give log probabilities with the generated tokens although `params.logprobs` is None.
            constraint: what each continuation may be; it ends once nothing may follow.

        Raises:
            RateLimitError: too many requests wait.
            InvalidRequestError: a prompt and its completion are larger than the whole cache.
            UnavailableError: the engine does not run.
        """
        typed = tuple(map(tuple, prompts))
        request = Request(weights, typed, params, on_output, n, keep_logprobs, constraint, BACKGROUND.get())
        self._check_size(request)
        with self._condition:
            if not self._running:
                raise UnavailableError("The server is not running completions now. Please try again later.")
            if self._waiting >= self._settings.max_waiting:
                raise RateLimitError(
                    f"{self._waiting} completions are waiting already, which is as many as this server takes "
                    "(LUTHIER_MAX_WAITING). Please try again later."
                )
            self._waiting += 1
            self._inbox.append(request)
            self._condition.notify_all()
        return Handle(request, self._wake)

    def pin(self, weights: Weights) -> "Future[None]":
        """Load weights and keep them in memory until `unpin`, whatever else is asked for. From any thread, at once.

        Each call wants an `unpin` of its own.

        Returns:
            Done when the weights are there. Bears a LuthierError if they cannot be loaded; then nothing is pinned.
        """
        done: Future[None] = Future()
        with self._condition:
            if self._running:
                self._errands.append(partial(self._pin, weights, done))
                self._condition.notify_all()
            else:
                done.set_exception(_stopping())
        return done

    def unpin(self, weights: Weights) -> None:
        """Undo one `pin` that succeeded; weights that nobody uses any more leave memory. From any thread, at once."""
        self._send(partial(self._residents.unload, weights))

    def evict(self, folder: Path) -> None:
        """Drop an adapter or a base from memory, as soon as no request uses it. From any thread; returns at once."""
        self._send(partial(self._residents.evict, folder))

    def _send(self, errand: Callable[[], None]) -> None:
        with self._condition:
            self._errands.append(errand)
            self._condition.notify_all()

    def _check_size(self, request: Request) -> None:
        limit = self._settings.kv_cache_tokens
        needed = max(cache_tokens(request, prompt, self._settings.max_batch_tokens) for prompt in request.prompts)
        if needed > limit:
            raise InvalidRequestError(
                f"This request needs {needed} tokens of cache, and the whole cache of this server holds {limit} "
                "(LUTHIER_KV_CACHE_TOKENS). Please reduce your prompt; or completion length.",
                code="context_length_exceeded",
            )

    def _wake(self) -> None:
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    # From here on everything runs in the engine's thread.

    def _loop(self) -> None:
        cores.take(min(torch.get_num_threads(), MAX_THREADS))  # not `set_num_threads`: it holds for others too
        while self._receive():
            self._drop_cancelled()
            step = self._scheduler.next_step()
            if step is not None:
                self._step(step)
        for job in list(self._jobs.values()):
            self._fail(job, _stopping())

    def _receive(self) -> bool:
        """Take in what has arrived, waiting for it when there is no work. False when the engine is to stop."""
        with self._condition:
            while self._running and not (self._jobs or self._inbox or self._errands or self._woken):
                self._condition.wait()
            self._woken = False
            arrived, self._inbox = self._inbox, deque()
            errands, self._errands = self._errands, deque()
            running = self._running
        for errand in errands:
            errand()
        for request in arrived:
            if running:
                self._begin(request)
            else:
                self._report(request, Failed(_stopping()))
        return running

    def _pin(self, weights: Weights, done: "Future[None]") -> None:
        if not self._running:
            done.set_exception(_stopping())
            return
        try:
            self._residents.acquire(weights)
        except Exception as error:  # the boundary of one pin: the requests go on
            done.set_exception(_explain(error, "load the model"))
        else:
            done.set_result(None)

    def _begin(self, request: Request) -> None:
        """Load what a request needs, and queue its sequences."""
        job = self._jobs[request] = _Job(request)
        try:
            decoder = self._residents.acquire(request.weights)
            try:
                _check_ids(request, decoder.tokenizer.vocab_size)
            except BaseException:
                self._residents.release(request.weights)
                raise
        except Exception as error:  # the boundary of one request: the others go on
            del self._jobs[request]
            self._started(1)
            self._report(request, Failed(_explain(error, "load the model")))
            return
        for sequence in sequences(request, decoder.tokenizer, self._settings.max_batch_tokens):
            job.unfinished.add(sequence)
            self._scheduler.add(sequence)

    def _step(self, step: Step) -> None:
        decoder = self._residents[step.base]
        requests = {piece.sequence.request for piece in step.pieces}
        fresh = sum(not request.started for request in requests)
        for request in requests:
            request.started = True
        self._started(fresh)
        try:
            results = run(decoder, step.pieces)
        except Exception as error:  # the boundary of one step: the thread and the other requests go on
            explained = _explain(error, "compute this completion")
            for request in requests:
                self._fail(self._jobs[request], explained)
            return
        for piece, result in zip(step.pieces, results, strict=True):
            try:
                self._apply(piece.sequence, result, last=piece.is_last)
            except Exception as error:  # the boundary of one request, again
                if job := self._jobs.get(piece.sequence.request):
                    self._fail(job, _explain(error, "put out this completion"))

    def _apply(self, sequence: Running, result: Result, *, last: bool) -> None:
        """Put out what a step gave for one sequence, and finish the sequence when it is over."""
        request = sequence.request
        job = self._jobs[request]
        if sequence.scores_prompt and sequence.n_generated == 0:
            scores = job.scores.setdefault(sequence.prompt, [TokenLogprob(sequence.tokens[0], None)])
            scores += result.scores
            if last:
                self._report(request, Scored(sequence.prompt, tuple(job.scores.pop(sequence.prompt))))
        if not last:
            return
        token = result.next_token
        if token is None:
            self._finish(job, sequence, "", (), FinishReason.LENGTH)
            return
        sequence.tokens.append(token.token_id)
        sequence.counts[token.token_id] += 1
        ends = token.token_id in (self._residents[sequence.base].tokenizer.eos_id, *request.params.stop_ids)
        complete = False
        if sequence.constraint and not ends:
            sequence.constraint.accept(token.token_id)
            complete = sequence.constraint.complete
        text = "" if ends else sequence.text.push(token.token_id)
        if ends or complete or sequence.text.stopped:
            self._finish(job, sequence, text, (token,), FinishReason.STOP)
        elif sequence.n_generated >= request.params.max_tokens:
            self._finish(job, sequence, text, (token,), FinishReason.LENGTH)
        else:
            self._report(request, Generated(sequence.prompt, sequence.choice, text, (token,)))

    def _finish(
        self, job: _Job, sequence: Running, text: str, tokens: tuple[TokenLogprob, ...], reason: FinishReason
    ) -> None:
        heir = self._scheduler.finish(sequence)
        self._residents[sequence.base].release(sequence.id, heir)
        job.unfinished.remove(sequence)
        if not job.unfinished:
            self._forget(job)
        text += sequence.text.finish()
        self._report(job.request, Generated(sequence.prompt, sequence.choice, text, tokens, reason))

    def _fail(self, job: _Job, error: LuthierError) -> None:
        self._drop(job)
        self._report(job.request, Failed(error))

    def _drop_cancelled(self) -> None:
        for job in [job for job in self._jobs.values() if job.request.cancelled]:
            self._drop(job)

    def _drop(self, job: _Job) -> None:
        """Stop working on a request, unfinished as it is."""
        decoder = self._residents[job.request.weights.base]
        self._scheduler.drop(job.unfinished)
        for sequence in job.unfinished:
            decoder.release(sequence.id)
        self._forget(job)

    def _forget(self, job: _Job) -> None:
        """Let go of a request's weights; nothing of it runs any more."""
        request = job.request
        del self._jobs[request]
        if not request.started:
            self._started(1)
        self._residents.release(request.weights)

    def _started(self, count: int) -> None:
        with self._condition:
            self._waiting -= count

    def _report(self, request: Request, output: Output) -> None:
        """Tell the caller. One whose ear fails is treated as gone."""
        if request.cancelled:
            return
        try:
            request.on_output(output)
        except Exception:  # the boundary to the caller: its failure is not ours
            _log.exception("The receiver of a completion failed; the completion is cancelled.")
            request.cancelled = True


def _check_ids(request: Request, vocab_size: int) -> None:
    """
    Raises:
        InvalidRequestError: an id that the model has no vector for, which would fail the step of all.
    """
    last = max(itertools.chain(*request.prompts, request.params.logit_bias))
    if last >= vocab_size:
        raise InvalidRequestError(f"Token {last} is none of this model's, whose ids go from 0 to {vocab_size - 1}.")


def _stopping() -> UnavailableError:
    return UnavailableError("The server is stopping. Please try again later.")


def _explain(error: Exception, what: str) -> LuthierError:
    """The error for the caller; its details go to the log unless they were written for users."""
    if isinstance(error, LuthierError):
        return error
    _log.error("Could not %s.", what, exc_info=error)
    return LuthierError(f"The server could not {what}. Its log says why.")
