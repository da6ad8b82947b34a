"""The embedding engine: requests of many callers, batched together by length within a budget of tokens.

    submit ──► inbox ──► reader thread ──► pool of pieces ──► computer threads ──► the caller's future
    (any thread)         (tokenizes, a      (equal shares      (a pass of the weights
                          slice at a time)   for each request)  on each core)

Reading overlaps computing: tokenizers leave Python's lock alone. Passes are computed side by side, one on each core as
long as there is work for all; what is too little for that is computed with several cores a pass. An encoder is loaded
when the first request names it and stays in memory for those that follow.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from luthier.config import Settings
from luthier.domain.priority import BACKGROUND
from luthier.embedding.gathering import Gathering
from luthier.embedding.pool import Pool
from luthier.errors import LuthierError, RateLimitError, UnavailableError
from luthier.modeling import cores, heap
from luthier.modeling.encoder import SentenceEncoder, Vectors, load_encoder
from luthier.modeling.encoder_card import EncoderWeights
from luthier.modeling.pieces import Overlong, Piece
from luthier.modeling.shelf import Shelf

MAX_COMPUTERS = 16  # of a machine with more cores, the others are left to the rest of a server
MAX_ENCODERS = 4  # idle ones that stay in memory
_SLICE_TEXTS = 64  # that are tokenized in one go
_SLICE_CHARS = 100_000
_AHEAD = 4  # batches for each computer that a request may have tokenized but not computed
_LEAST = 256  # tokens worth a pass of their own

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece, and the text it belongs to."""

    text: int
    piece: Piece

    def __len__(self) -> int:
        return len(self.piece)


class _Request:
    """What one caller asked for, and how far it is."""

    def __init__(
        self, weights: EncoderWeights, texts: Sequence[str], prompt: str, overlong: Overlong, background: bool
    ) -> None:
        self.weights = weights
        self.texts = texts
        self.prompt = prompt
        self.overlong = overlong
        self.background = background
        self.future: Future[Vectors] = Future()
        self.n_read = 0
        self.encoder: SentenceEncoder | None = None
        self.holds_encoder = False
        self.gathering: Gathering | None = None

    @property
    def is_read(self) -> bool:
        return self.n_read == len(self.texts)


class EmbeddingEngine:
    """Embeds texts of many requests together.

    Args:
        settings: `max_waiting` bounds the requests, `embedding_batch_tokens` one pass and its memory.
        load: loads the encoder in a folder; tests give a fake.
        max_encoders: how many stay in memory when no request uses them.
        computers: passes to compute at once, by default one for each core.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[Path], SentenceEncoder] = load_encoder,
        max_encoders: int = MAX_ENCODERS,
        computers: int | None = None,
    ) -> None:
        self._limit = settings.max_waiting
        self._budget = settings.embedding_batch_tokens
        self._computers = computers or min(cores.available(), MAX_COMPUTERS)
        self._encoders: Shelf[EncoderWeights, SentenceEncoder] = Shelf(
            lambda weights: load(weights.folder), lambda _: None, max_encoders
        )  # touched by the reader alone
        self._condition = threading.Condition()  # guards the fields below
        self._unread: deque[_Request] = deque()
        self._requests: set[_Request] = set()
        self._errands: deque[Callable[[], None]] = deque()  # for the reader to do, who alone touches the encoders
        self._pool: Pool[_Request, _Part] = Pool()
        self._computing = 0  # passes
        self._running = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads. Does nothing when they run."""
        with self._condition:
            if self._running:
                return
            self._running = True
            heap.keep_heap()
            self._threads = [
                threading.Thread(target=target, name=f"embeddings-{target.__name__.strip('_')}", daemon=True)
                for target in (self._read, *[self._compute] * self._computers)
            ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the passes that run now. Unfinished requests fail with UnavailableError."""
        with self._condition:
            self._running = False
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()
        with self._condition:
            self._threads = []
            while self._errands:
                self._errands.popleft()()
        for request in list(self._requests):
            self._finish(request, _stopping())

    def submit(
        self, weights: EncoderWeights, texts: Sequence[str], *, prompt: str = "", overlong: Overlong = Overlong.SPLIT
    ) -> "Future[Vectors]":
        """Queue texts to be embedded by an encoder. From any thread; returns at once.

        Gives way to other requests where `BACKGROUND` is set.

        Args:
            texts: at least one.
            prompt: put before each text.
            overlong: what happens to texts that are longer than the weights read.

        Returns:
            A future of the embeddings, (N, D) in the order of the texts. Cancelling it stops the work; failures to
            load or compute come as its exception.

        Raises:
            RateLimitError: too many requests wait.
            UnavailableError: the engine does not run.
        """
        request = _Request(weights, texts, prompt, overlong, BACKGROUND.get())
        with self._condition:
            if not self._running:
                raise UnavailableError("The server is not making embeddings now. Please try again later.")
            if len(self._requests) >= self._limit:
                raise RateLimitError(
                    f"{len(self._requests)} requests for embeddings are waiting already, which is as many as this "
                    "server takes (LUTHIER_MAX_WAITING). Please try again later."
                )
            self._requests.add(request)
            self._unread.append(request)
            self._condition.notify_all()
        request.future.add_done_callback(lambda _: self._wake())  # a caller that goes away is noticed at once
        return request.future

    def evict(self, weights: EncoderWeights) -> None:
        """Drop an encoder from memory, as soon as no request uses it. From any thread; returns at once."""
        self._send(partial(self._encoders.evict, weights))

    def pin(self, weights: EncoderWeights) -> "Future[None]":
        """Load an encoder and keep it in memory until `unpin`, whatever else is asked for. From any thread, at once.

        Each call wants an `unpin` of its own.

        Returns:
            Done when the encoder is there. Bears a LuthierError if it cannot be loaded; then nothing is pinned.
        """
        done: Future[None] = Future()
        self._send(partial(self._pin, weights, done))
        return done

    def unpin(self, weights: EncoderWeights) -> None:
        """Undo one `pin` that succeeded; an encoder that nobody uses any more leaves memory. From any thread."""
        self._send(partial(self._encoders.release, weights))
        self._send(partial(self._encoders.evict, weights))

    def _send(self, errand: Callable[[], None]) -> None:
        with self._condition:
            if self._threads:  # one that is to stop may still load an encoder
                self._errands.append(errand)
                self._condition.notify_all()
            else:
                errand()

    def _wake(self) -> None:
        with self._condition:
            self._condition.notify_all()

    # The reader's thread.

    def _read(self) -> None:
        while request := self._next_to_read():
            try:
                parts = self._read_slice(request)
            except Exception as error:  # the boundary of one request: the others go on
                what = "read these texts" if request.holds_encoder else "load the model"
                self._finish(request, _explain(error, what))
                continue
            with self._condition:
                if request in self._requests:
                    self._pool.add(request, request.weights, parts, background=request.background)
                    if not request.is_read:
                        self._unread.append(request)
                else:
                    self._let_go(request)  # it was cancelled while its encoder was loaded
                self._condition.notify_all()

    def _next_to_read(self) -> _Request | None:
        """The next request that is short of tokenized pieces, waited for; None when the engine is to stop."""
        while True:
            request = None
            with self._condition:
                while self._running and not self._errands and not (request := self._short_of_pieces()):
                    self._condition.wait()
                if not self._running:
                    return None
                errands, self._errands = self._errands, deque()
            for errand in errands:
                errand()
            if request:
                return request

    def _short_of_pieces(self) -> _Request | None:
        """Under the lock."""
        for _ in range(len(self._unread)):
            request = self._unread.popleft()
            if request not in self._requests:
                continue
            if self._pool.tokens(request) < _AHEAD * self._computers * self._budget:
                return request
            self._unread.append(request)
        return None

    def _pin(self, weights: EncoderWeights, done: "Future[None]") -> None:
        if not done.set_running_or_notify_cancel():  # whoever asked has gone
            return
        if not self._running:
            done.set_exception(_stopping())
            return
        try:
            self._encoders.acquire(weights)
        except Exception as error:  # the boundary of one pin: the requests go on
            done.set_exception(_explain(error, "load the model"))
        else:
            done.set_result(None)

    def _read_slice(self, request: _Request) -> list[_Part]:
        """Tokenize a request's next texts; the longest first, so that neighbours in a batch are of like length."""
        if request.encoder is None:
            request.encoder = self._encoders.acquire(request.weights)
            request.holds_encoder = True
            request.gathering = Gathering(len(request.texts), request.encoder.card)
        assert request.gathering is not None  # made with the encoder
        start = end = request.n_read
        characters = 0
        while end < len(request.texts) and end - start < _SLICE_TEXTS and characters < _SLICE_CHARS:
            characters += len(request.texts[end])
            end += 1
        pieces = request.encoder.reader.read(request.texts[start:end], request.prompt, request.overlong)
        for text, own in enumerate(pieces, start):
            request.gathering.expect(text, len(own))
        request.n_read = end
        parts = [_Part(text, piece) for text, own in enumerate(pieces, start) for piece in own]
        return sorted(parts, key=len, reverse=True)

    # The computers' threads.

    def _compute(self) -> None:
        while batch := self._next_batch():
            encoder = batch[0][0].encoder
            assert encoder is not None  # its pieces come from it
            try:
                self._scatter(batch, encoder.embed([part.piece for _, part in batch]))
            except Exception as error:  # the boundary of one pass: the thread and the other requests go on
                explained = _explain(error, "compute these embeddings")
                for request in {request: None for request, _ in batch}:
                    self._finish(request, explained)
            finally:
                with self._condition:
                    self._computing -= 1

    def _next_batch(self) -> list[tuple[_Request, _Part]]:
        """The next batch, waited for, and the cores to compute it with taken; empty when the engine is to stop."""
        with self._condition:
            while self._running:
                for request in [request for request in self._requests if request.future.cancelled()]:
                    self._forget(request)
                budget = min(self._budget, max(-(-len(self._pool) // self._computers), _LEAST))
                if batch := self._pool.take(budget):
                    self._computing += 1
                    passes = self._computing + -(-len(self._pool) // budget)
                    self._condition.notify_all()  # the reader may have waited for the pool to run low
                    cores.take(max(self._computers // passes, 1))
                    return batch
                self._condition.wait()
        return []

    def _scatter(self, batch: Sequence[tuple[_Request, _Part]], vectors: Vectors) -> None:
        with self._condition:  # another pass may have pieces of the same texts
            for (request, part), vector in zip(batch, vectors, strict=True):
                assert request.gathering is not None  # its pieces come from there
                request.gathering.add(part.text, vector, part.piece.weight)
        for request in {request: None for request, _ in batch}:
            if request.gathering is not None and request.gathering.is_complete:
                self._finish(request, request.gathering.vectors)

    # Any of the threads.

    def _finish(self, request: _Request, result: Vectors | LuthierError) -> None:
        """Forget a request and tell its caller, if there still is one."""
        with self._condition:
            if request not in self._requests:
                return
            self._forget(request)
        if not request.future.set_running_or_notify_cancel():
            return
        if isinstance(result, LuthierError):
            request.future.set_exception(result)
        else:
            request.future.set_result(result)

    def _forget(self, request: _Request) -> None:
        """Under the lock."""
        self._requests.discard(request)
        self._pool.drop(request)
        self._let_go(request)
        self._condition.notify_all()

    def _let_go(self, request: _Request) -> None:
        """Have the reader release a request's encoder, once. Under the lock."""
        if request.holds_encoder:
            request.holds_encoder = False
            self._send(partial(self._encoders.release, request.weights))


def _stopping() -> UnavailableError:
    return UnavailableError("The server is stopping. Please try again later.")


def _explain(error: Exception, what: str) -> LuthierError:
    """The error for the caller; its details go to the log unless they were written for users."""
    if isinstance(error, LuthierError):
        return error
    _log.error("Could not %s.", what, exc_info=error)
    return LuthierError(f"The server could not {what}. Its log says why.")
