"""The engine with a decoder without weights: exact texts, admission, failures, cancelling, stopping."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from luthier.completion.decoder import Decoder
from luthier.completion.engine import CompletionEngine
from luthier.completion.fake import FakeDecoder, parrot
from luthier.completion.scheduler import Piece
from luthier.completion.sequence import Failed, Generated, Output, Scored, Weights
from luthier.config import Settings
from luthier.domain.generation import FinishReason, SamplingParams
from luthier.errors import InvalidRequestError, LuthierError, RateLimitError, UnavailableError, WeightsError
from luthier.modeling import cores
from luthier.testing import ByteTokenizer

ADA, TUNED, BROKEN = Path("ada"), Path("tuned"), Path("broken")
GREEDY = SamplingParams(temperature=0)
SECONDS = 10


class Caller:
    """Gathers what one request is told."""

    def __init__(self, expected: int = 1) -> None:
        self.outputs: list[Output] = []
        self._expected = expected
        self._over = threading.Event()

    def __call__(self, output: Output) -> None:
        self.outputs.append(output)
        finished = sum(isinstance(one, Generated) and one.finish_reason is not None for one in self.outputs)
        if finished == self._expected or isinstance(output, Failed):
            self._over.set()

    def wait(self) -> "Caller":
        assert self._over.wait(SECONDS), f"nothing but {self.outputs}"
        return self

    def text(self, prompt: int = 0, choice: int = 0) -> str:
        return "".join(one.text for one in self._of(prompt, choice))

    def tokens(self, prompt: int = 0, choice: int = 0) -> list[int]:
        return [token.token_id for one in self._of(prompt, choice) for token in one.tokens]

    def reason(self, prompt: int = 0, choice: int = 0) -> FinishReason | None:
        return self._of(prompt, choice)[-1].finish_reason

    def error(self) -> LuthierError:
        (last,) = [one for one in self.outputs if isinstance(one, Failed)]
        return last.error

    def _of(self, prompt: int, choice: int) -> list[Generated]:
        return [
            one for one in self.outputs if isinstance(one, Generated) and (one.prompt, one.choice) == (prompt, choice)
        ]


Start = Callable[..., CompletionEngine]


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    """Start an engine over a decoder, with other settings where given."""
    engines = []

    def started(decoder: Decoder | Callable[[Path], Decoder], **changes: int) -> CompletionEngine:
        load = (lambda _: decoder) if isinstance(decoder, FakeDecoder) else decoder
        engine = CompletionEngine(settings.model_copy(update=changes), load)
        engine.start()
        engines.append(engine)
        return engine

    yield started
    for engine in engines:
        engine.stop()


def ask(
    engine: CompletionEngine, *prompts: str, params: SamplingParams = GREEDY, n: int = 1, adapter: Path | None = None
) -> Caller:
    caller = Caller(len(prompts) * n)
    encoded = [ByteTokenizer().encode(prompt) for prompt in prompts]
    engine.submit(Weights(ADA, adapter), encoded, params, caller, n=n)
    return caller


def test_it_goes_on_until_the_text_ends(start: Start):
    caller = ask(start(FakeDecoder(parrot("hello"))), "hel").wait()
    assert (caller.text(), caller.reason()) == ("lo", FinishReason.STOP)
    assert caller.tokens() == [*b"lo", 256]


def test_max_tokens(start: Start):
    caller = ask(start(FakeDecoder(parrot("hello"))), "h", params=SamplingParams(2, temperature=0)).wait()
    assert (caller.text(), caller.reason(), len(caller.tokens())) == ("el", FinishReason.LENGTH, 2)


def test_stop_text(start: Start):
    params = SamplingParams(temperature=0, stop=("wor",))
    caller = ask(start(FakeDecoder(parrot("hello world"))), "h", params=params).wait()
    assert (caller.text(), caller.reason()) == ("ello ", FinishReason.STOP)
    assert caller.tokens() == [*b"ello wor"]


def test_many_prompts_of_many_lengths_together(start: Start):
    text = "the quick brown fox jumps over the lazy dog, and then it rests for a while in the sun."
    decoder = FakeDecoder(parrot(text))
    prompts = [text[:n] for n in range(5, 80)]
    engine = start(decoder, max_batch_tokens=32, kv_cache_tokens=400)
    caller = ask(engine, *prompts, params=SamplingParams(3, temperature=0)).wait()
    assert [caller.text(i) for i in range(len(prompts))] == [text[n : n + 3] for n in range(5, 80)]
    assert max(max(step) for step in decoder.steps) <= 32
    assert decoder.kept == {}


def test_long_prompts_do_not_stop_others(start: Start):
    decoder = FakeDecoder(parrot("abcdefgh"))
    engine = start(decoder, max_batch_tokens=16)
    short, long = ask(engine, "a"), ask(engine, "x" * 100 + "ab")
    assert (short.wait().text(), long.wait().text()) == ("bcdefgh", "cdefgh")


def test_siblings_share_the_reading_of_the_prompt(start: Start):
    decoder = FakeDecoder()
    params = SamplingParams(4, seed=1)
    caller = ask(start(decoder), "p" * 50, params=params, n=3).wait()
    assert sum(50 in step for step in decoder.steps) == 1
    assert sum(map(sum, decoder.steps)) == 50 + 2 + 3 * 3
    assert len({tuple(caller.tokens(choice=choice)) for choice in range(3)}) == 3


@pytest.mark.parametrize("cache", [1000, 110, 50])
def test_siblings_of_one_token_share_the_reading_of_the_prompt(start: Start, cache: int):
    """Each runs on in the cache of one before it, however few of them find room together."""
    decoder = FakeDecoder()
    engine = start(decoder, kv_cache_tokens=cache)
    caller = ask(engine, "p" * 50, params=SamplingParams(1, seed=1), n=8).wait()
    assert sum(map(sum, decoder.steps)) == 50 + 7
    assert decoder.kept == {}
    assert len({tuple(caller.tokens(choice=choice)) for choice in range(8)}) > 1


def test_siblings_that_find_no_room_beside_the_first_share_its_reading(start: Start):
    decoder = FakeDecoder()
    params = SamplingParams(4, seed=1)
    crowded = ask(start(decoder, kv_cache_tokens=60), "p" * 50, params=params, n=3).wait()
    assert sum(map(sum, decoder.steps)) == 50 + 2 + 3 * 3
    roomy = ask(start(FakeDecoder()), "p" * 50, params=params, n=3).wait()
    assert [crowded.tokens(choice=n) for n in range(3)] == [roomy.tokens(choice=n) for n in range(3)]


def test_a_seed_gives_one_text_alone_or_among_others(start: Start):
    engine = start(FakeDecoder(), max_batch_tokens=64)
    params = SamplingParams(12, seed=7)
    alone = ask(engine, "same", params=params).wait().tokens()
    crowd = [ask(engine, "other" * i, params=SamplingParams(20)) for i in range(1, 6)]
    again = ask(engine, "longer prompt before it", "same", params=params, n=2)
    another = ask(engine, "same", params=SamplingParams(12, seed=8))
    for caller in crowd:
        caller.wait()
    assert again.wait().tokens(1) == alone
    assert another.wait().tokens() != alone


def test_prompt_scores_in_one_piece_and_in_chunks(start: Start):
    params = SamplingParams(max_tokens=0, echo=True, logprobs=2)
    rule = parrot("abcdef", logit=3.0)
    whole = ask(start(FakeDecoder(rule)), "abcxef", params=params).wait()
    chunked = ask(start(FakeDecoder(rule), max_batch_tokens=4), "abcxef", params=params).wait()
    assert whole.outputs == chunked.outputs
    scored, generated = whole.outputs
    assert isinstance(scored, Scored)
    assert generated == Generated(0, 0, "", (), FinishReason.LENGTH)
    assert [token.token_id for token in scored.tokens] == [*b"abcxef"]
    assert scored.tokens[0].logprob is None
    logits = torch.zeros(257)
    logits[ord("b")] = 3.0
    assert scored.tokens[1].logprob == pytest.approx(logits.log_softmax(0)[ord("b")].item())
    logits = torch.zeros(257)
    logits[ord("d")] = 3.0
    assert dict(scored.tokens[3].top)[ord("x")] == pytest.approx(logits.log_softmax(0)[ord("x")].item())


def test_scores_come_once_for_all_continuations(start: Start):
    params = SamplingParams(max_tokens=1, echo=True, logprobs=1)
    caller = ask(start(FakeDecoder()), "abc", "xy", params=params, n=2).wait()
    assert [one.prompt for one in caller.outputs if isinstance(one, Scored)] == [0, 1]


def test_scoring_needs_no_cache(start: Start):
    engine = start(FakeDecoder(), kv_cache_tokens=10)
    assert ask(engine, "p" * 200, params=SamplingParams(0, echo=True, logprobs=0)).wait().reason()


def test_what_can_never_fit_is_refused_at_once(start: Start):
    engine = start(FakeDecoder(), kv_cache_tokens=10)
    with pytest.raises(InvalidRequestError, match=r"needs 12 tokens of cache.*holds 10"):
        ask(engine, "p" * 8, params=SamplingParams(5))


def test_a_full_queue_refuses(start: Start):
    gate = threading.Event()

    def slow(_: Path) -> FakeDecoder:
        gate.wait(SECONDS)
        return FakeDecoder(parrot("ab"))

    engine = start(slow, max_waiting=2)
    callers = [ask(engine, "a"), ask(engine, "a")]
    with pytest.raises(RateLimitError, match="2 completions are waiting already"):
        ask(engine, "a")
    gate.set()
    assert [caller.wait().text() for caller in callers] == ["b", "b"]
    assert ask(engine, "a").wait().text() == "b"


def test_an_adapter_is_held_while_it_is_used(start: Start):
    decoder = FakeDecoder(parrot("ab"))
    ask(start(decoder), "a", adapter=TUNED).wait()
    assert decoder.adapters == {TUNED: 0}


def test_a_broken_adapter_fails_its_request_alone(start: Start):
    engine = start(FakeDecoder(parrot("ab"), missing=[BROKEN]))
    broken, other = ask(engine, "a", adapter=BROKEN), ask(engine, "a", adapter=TUNED)
    assert isinstance(broken.wait().error(), WeightsError)
    assert other.wait().text() == "b"


@pytest.mark.parametrize(("prompt", "bias"), [([97, 257], {}), ([97], {257: 1.0})])
def test_an_unknown_token_fails_its_request_alone(start: Start, prompt: list[int], bias: dict[int, float]):
    engine = start(FakeDecoder(parrot("ab")))
    lost = Caller(1)
    engine.submit(Weights(ADA), [prompt], SamplingParams(logit_bias=bias), lost)
    other = ask(engine, "a")
    assert lost.wait().error().status == 400
    assert other.wait().text() == "b"


def test_a_base_that_cannot_be_loaded(start: Start):
    def fail(_: Path) -> Decoder:
        raise MemoryError

    error = ask(start(fail), "a").wait().error()
    assert (error.status, error.message) == (500, "The server could not load the model. Its log says why.")


class Stumbling(FakeDecoder):
    """Fails on prompts with an x."""

    def forward(self, pieces: list[Piece]) -> torch.Tensor:
        if any(ord("x") in piece.sequence.tokens for piece in pieces):
            raise RuntimeError("secret")
        return super().forward(pieces)


def test_a_failing_step_ends_its_requests_and_not_the_thread(start: Start):
    engine = start(Stumbling(parrot("ab")))
    error = ask(engine, "x").wait().error()
    assert "secret" not in error.message
    assert ask(engine, "a").wait().text() == "b"


def test_a_caller_that_fails_does_not_end_the_thread(start: Start):
    engine = start(FakeDecoder(parrot("ab")))

    def deaf(_: Output) -> None:
        raise RuntimeError("gone")

    engine.submit(Weights(ADA), [[97]], GREEDY, deaf)
    assert ask(engine, "a").wait().text() == "b"


def test_cancelling_frees_the_cache(start: Start):
    decoder = FakeDecoder(parrot("ab"))
    engine = start(decoder, kv_cache_tokens=5000)
    first = threading.Event()
    handle = engine.submit(Weights(ADA), [[0]], SamplingParams(5000), lambda _: first.set())
    assert first.wait(SECONDS)
    handle.cancel()
    handle.cancel()
    assert ask(engine, "a", params=SamplingParams(4000, temperature=0)).wait().text() == "b"
    assert decoder.kept == {}


def test_bases_are_loaded_once_and_evicted(start: Start):
    loaded = []

    def load(folder: Path) -> FakeDecoder:
        loaded.append(folder)
        return FakeDecoder(parrot("ab"))

    engine = start(load)
    for _ in range(3):
        ask(engine, "a").wait()
    assert loaded == [ADA]
    engine.evict(ADA)
    ask(engine, "a").wait()
    assert loaded == [ADA, ADA]


def test_evicting_an_adapter(start: Start):
    decoder = FakeDecoder(parrot("ab"))
    engine = start(decoder)
    ask(engine, "a", adapter=TUNED).wait()
    engine.evict(TUNED)
    ask(engine, "a").wait()
    assert decoder.adapters == {}


def test_stopping_fails_what_is_unfinished(settings: Settings):
    engine = CompletionEngine(settings, lambda _: FakeDecoder())
    with pytest.raises(UnavailableError):
        ask(engine, "a")
    engine.start()
    engine.start()
    caller = ask(engine, "a", params=SamplingParams(50_000))
    engine.stop()
    assert isinstance(caller.wait().error(), UnavailableError)
    with pytest.raises(UnavailableError):
        ask(engine, "a")
    engine.stop()


def test_threads_beside_it_keep_to_the_cores_they_take(start: Start):
    """In a server, passes of embeddings run beside it, a core each; MKL's own number would overrule that."""
    if "MKL_NUM_THREADS" in os.environ:
        pytest.skip("MKL_NUM_THREADS sets MKL's number")
    ask(start(FakeDecoder(parrot("ab"))), "a").wait()
    other = 1 if torch.get_num_threads() > 1 else 2
    seen: list[str] = []

    def compute() -> None:
        cores.take(other)
        seen.extend(torch.__config__.parallel_info().splitlines())

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    numbers = [line.split()[-1] for line in seen if "omp_get_max_threads" in line or "mkl_get_max_threads" in line]
    if not numbers:
        pytest.skip("PyTorch computes without OpenMP and MKL")
    assert set(numbers) == {str(other)}
