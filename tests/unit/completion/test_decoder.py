"""Packed passes over cached sequences, against transformers one sequence at a time."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from luthier.completion.decoder import TransformerDecoder
from luthier.completion.engine import CompletionEngine
from luthier.completion.sequence import Generated, Output, Scored, Weights
from luthier.config import Settings
from luthier.domain.generation import SamplingParams
from luthier.errors import WeightsError
from luthier.modeling.loader import load_base
from luthier.modeling.lora import PEFT_WEIGHTS, LoraConfig, LoraModel

PROMPTS = ["The game went into extra innings", "ice", "a longer prompt that takes chunks of its own, " * 2, "zz"]
TOLERANCE = 2e-4  # float32 sums in another order, logits up to about 30


@pytest.fixture(scope="module")
def reference(tiny_base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()


@pytest.fixture
def decoder(tiny_base: Path) -> TransformerDecoder:
    return TransformerDecoder(load_base(tiny_base, torch.float32), max_adapters=1)


@pytest.fixture
def small_steps(settings: Settings, decoder: TransformerDecoder) -> Iterator[CompletionEngine]:
    engine = CompletionEngine(settings.model_copy(update={"max_batch_tokens": 40}), lambda _: decoder)
    engine.start()
    yield engine
    engine.stop()


def make_adapter(base: Path, folder: Path, seed: int) -> Path:
    """An adapter that changes a lot."""
    lora = LoraModel(load_base(base, torch.float32).model)
    lora.add("made", LoraConfig(rank=4, alpha=16, dropout=0.5), seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in lora.parameters("made").items():
        if "lora_B" in name or "embedding_A" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    lora.save("made", folder, "tiny")
    return folder


class Gathered:
    def __init__(self, engine: CompletionEngine, jobs: list[tuple[Weights, str]], params: SamplingParams, n: int = 1):
        """Submit all at once, wait for all."""
        self.outputs: dict[int, list[Output]] = {i: [] for i in range(len(jobs))}
        left = threading.Semaphore(0)

        def listen(i: int) -> Any:
            def heard(output: Output) -> None:
                self.outputs[i].append(output)
                if not isinstance(output, Scored) and getattr(output, "finish_reason", "failed"):
                    left.release()

            return heard

        for i, (weights, prompt) in enumerate(jobs):
            engine.submit(weights, [list(prompt.encode())], params, listen(i), n=n)
        for _ in range(len(jobs) * n):
            assert left.acquire(timeout=20)

    def tokens(self, i: int, choice: int = 0) -> list[int]:
        found = [one for one in self.outputs[i] if isinstance(one, Generated) and one.choice == choice]
        return [token.token_id for one in found for token in one.tokens]

    def scores(self, i: int) -> list[float | None]:
        return [t.logprob for one in self.outputs[i] if isinstance(one, Scored) for t in one.tokens]


def greedy(reference: Any, prompt: str, n: int) -> list[int]:
    ids = list(prompt.encode())
    for _ in range(n):
        with torch.inference_mode():
            ids.append(int(reference(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt.encode()) :]


def test_greedy_texts_of_many_prompts_at_once(reference: Any, small_steps: CompletionEngine):
    base = Weights(Path("tiny"))
    got = Gathered(small_steps, [(base, prompt) for prompt in PROMPTS], SamplingParams(12, temperature=0))
    for i, prompt in enumerate(PROMPTS):
        expected = greedy(reference, prompt, 12)
        assert got.tokens(i) == expected[: expected.index(256) + 1 if 256 in expected else None]


def test_echo_scores(reference: Any, small_steps: CompletionEngine):
    base, params = Weights(Path("tiny")), SamplingParams(0, echo=True, logprobs=0)
    got = Gathered(small_steps, [(base, prompt) for prompt in PROMPTS], params)
    for i, prompt in enumerate(PROMPTS):
        ids = torch.tensor([list(prompt.encode())])
        with torch.inference_mode():
            logprobs = reference(ids).logits[0].log_softmax(-1)
        first, *rest = got.scores(i)
        assert first is None
        expected = logprobs[range(ids.shape[1] - 1), ids[0, 1:]]
        torch.testing.assert_close(torch.tensor(rest), expected, atol=TOLERANCE, rtol=0)


def test_siblings_copy_the_cache(small_steps: CompletionEngine):
    base = Weights(Path("tiny"))
    got = Gathered(small_steps, [(base, PROMPTS[0])], SamplingParams(8, temperature=0), n=3)
    alone = Gathered(small_steps, [(base, PROMPTS[0])], SamplingParams(8, temperature=0))
    assert got.tokens(0, 0) == got.tokens(0, 1) == got.tokens(0, 2) == alone.tokens(0)


def test_a_sibling_that_takes_over_a_cache_gives_the_same_text(
    settings: Settings, decoder: TransformerDecoder, reference: Any
):
    prompt = PROMPTS[0]
    room = len(prompt.encode()) + 7  # for one of them at a time
    engine = CompletionEngine(settings.model_copy(update={"kv_cache_tokens": room}), lambda _: decoder)
    engine.start()
    try:
        got = Gathered(engine, [(Weights(Path("tiny")), prompt)], SamplingParams(8, temperature=0), n=3)
    finally:
        engine.stop()
    expected = greedy(reference, prompt, 8)
    expected = expected[: expected.index(256) + 1 if 256 in expected else None]
    assert [got.tokens(0, choice) for choice in range(3)] == [expected] * 3


def test_adapters_in_one_batch_equal_each_alone(tiny_base: Path, tmp_path: Path, small_steps: CompletionEngine):
    folders = [None, *(make_adapter(tiny_base, tmp_path / str(seed), seed) for seed in (1, 2))]
    params = SamplingParams(6, temperature=0)
    jobs = [(Weights(Path("tiny"), folder), prompt) for prompt in PROMPTS[:2] for folder in folders]
    together = Gathered(small_steps, jobs, params)
    for i, job in enumerate(jobs):
        assert together.tokens(i) == Gathered(small_steps, [job], params).tokens(0)
    assert len({tuple(together.tokens(i)) for i in range(3)}) == 3


def test_an_adapter_gives_what_its_merged_weights_give(tiny_base: Path, tmp_path: Path, small_steps: CompletionEngine):
    folder = make_adapter(tiny_base, tmp_path / "adapter", 5)
    plain: Any = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    plain.config.tie_word_embeddings = False  # what is added to the embedding is not added to the head
    plain.lm_head.weight = torch.nn.Parameter(plain.lm_head.weight.detach().clone())
    merged = PeftModel.from_pretrained(plain, folder).merge_and_unload().eval()
    got = Gathered(small_steps, [(Weights(Path("tiny"), folder), PROMPTS[0])], SamplingParams(8, temperature=0))
    assert got.tokens(0) == greedy(merged, PROMPTS[0], 8)


def test_an_adapter_that_is_not_there(small_steps: CompletionEngine, decoder: TransformerDecoder, tmp_path: Path):
    with pytest.raises(WeightsError, match="The adapter in nowhere cannot be loaded"):
        decoder.acquire_adapter(tmp_path / "nowhere")
    got = Gathered(small_steps, [(Weights(Path("tiny")), "ice")], SamplingParams(2, temperature=0))
    assert len(got.tokens(0)) == 2


def narrow(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weight[:, :3] if "lora_A" in name else weight for name, weight in weights.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda weights: dict(list(weights.items())[:3]), "model.layers.0"), (narrow, "made for another base")],
)
def test_an_adapter_of_another_base(
    decoder: TransformerDecoder, tiny_base: Path, tmp_path: Path, change: Any, message: str
):
    folder = make_adapter(tiny_base, tmp_path / "adapter", 5)
    weights = {name: weight.contiguous() for name, weight in change(load_file(folder / PEFT_WEIGHTS)).items()}
    save_file(weights, folder / PEFT_WEIGHTS)
    with pytest.raises(WeightsError, match=message):
        decoder.acquire_adapter(folder)


def test_a_damaged_adapter(decoder: TransformerDecoder, tiny_base: Path, tmp_path: Path):
    folder = make_adapter(tiny_base, tmp_path / "adapter", 5)
    (folder / PEFT_WEIGHTS).write_bytes(b"nothing of use")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        decoder.acquire_adapter(folder)


def test_idle_adapters_leave_for_new_ones(decoder: TransformerDecoder, tiny_base: Path, tmp_path: Path):
    first, second = (make_adapter(tiny_base, tmp_path / str(seed), seed) for seed in (1, 2))
    for folder in (first, second):
        decoder.acquire_adapter(folder)
        decoder.release_adapter(folder)
    assert len(next(iter(decoder._adapters._lora.layers.values())).configs) == 1
    decoder.evict_adapter(second)
    assert not next(iter(decoder._adapters._lora.layers.values())).configs
