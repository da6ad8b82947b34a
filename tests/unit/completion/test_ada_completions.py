"""The engine with the real weights of `ada`, against transformers in float32."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from luthier.completion.decoder import TransformerDecoder
from luthier.completion.runner import run
from luthier.completion.scheduler import Piece
from luthier.completion.sequence import Request, Weights, sequences
from luthier.domain.generation import SamplingParams
from luthier.modeling.loader import load_base
from luthier.modeling.lora import LoraConfig, LoraModel

pytestmark = pytest.mark.weights

PROMPTS = [
    "The pitcher threw the ball and the batter\n\n###\n\n baseball",
    "Wie heißt die Hauptstadt von Südkorea? 서울",
    "One, two, three, four,",
]


@pytest.fixture(scope="module")
def decoder(ada_folder: Path) -> TransformerDecoder:
    return TransformerDecoder(load_base(ada_folder, torch.float32))


@pytest.fixture(scope="module")
def reference(ada_folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(ada_folder, dtype=torch.float32).eval()


def request(decoder: TransformerDecoder, params: SamplingParams, adapter: Path | None = None) -> Request:
    prompts = tuple(tuple(decoder.tokenizer.encode(prompt)) for prompt in PROMPTS)
    return Request(Weights(Path("ada"), adapter), prompts, params, lambda _: None)


def test_scores_and_top_tokens(decoder: TransformerDecoder, reference: Any):
    scored = sequences(request(decoder, SamplingParams(0, echo=True, logprobs=3)), decoder.tokenizer, 2048)
    results = run(decoder, [Piece(sequence, 0, len(sequence.tokens)) for sequence in scored])
    for sequence, result in zip(scored, results, strict=True):
        with torch.inference_mode():
            expected = reference(torch.tensor([sequence.tokens])).logits[0].log_softmax(-1)
        for at, token in enumerate(result.scores):
            assert token.logprob == pytest.approx(expected[at, sequence.tokens[at + 1]].item(), abs=2e-4)
            values, ids = expected[at].topk(3)
            assert [id_ for id_, _ in token.top[:3]] == ids.tolist()
            assert [value for _, value in token.top[:3]] == pytest.approx(values.tolist(), abs=2e-4)


def test_greedy_decoding_from_the_cache(decoder: TransformerDecoder, reference: Any):
    running = sequences(request(decoder, SamplingParams(8, temperature=0)), decoder.tokenizer, 2048)
    starts = [0] * len(running)
    for _ in range(8):
        pieces = [Piece(s, start, len(s.tokens)) for s, start in zip(running, starts, strict=True)]
        starts = [piece.stop for piece in pieces]
        for sequence, result in zip(running, run(decoder, pieces), strict=True):
            assert result.next_token is not None
            sequence.tokens.append(result.next_token.token_id)
    for sequence in running:
        decoder.release(sequence.id)
        with torch.inference_mode():
            best = reference(torch.tensor([sequence.tokens])).logits[0].argmax(-1).tolist()
        assert sequence.tokens[sequence.n_prompt :] == best[sequence.n_prompt - 1 : -1]


def test_adapters_side_by_side(decoder: TransformerDecoder, ada_folder: Path, tmp_path: Path):
    folders: list[Path | None] = [None]
    lora = LoraModel(load_base(ada_folder, torch.float32).model)
    for seed in (1, 2):
        lora.add("made", LoraConfig(rank=8, alpha=16), seed)
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in lora.parameters("made").items():
            if "lora_B" in name or "embedding_A" in name:
                parameter.data = 0.02 * torch.randn(parameter.shape, generator=generator)
        lora.save("made", tmp_path / str(seed), "ada")
        lora.remove("made")
        folders.append(tmp_path / str(seed))
        decoder.acquire_adapter(tmp_path / str(seed))
    params = SamplingParams(0, echo=True, logprobs=0)

    def scores(wanted: list[Path | None]) -> list[list[float]]:
        pieces = []
        for folder in wanted:
            made = sequences(request(decoder, params, folder), decoder.tokenizer, 2048)
            pieces += [Piece(sequence, 0, len(sequence.tokens)) for sequence in made]
        return [[token.logprob or 0.0 for token in result.scores] for result in run(decoder, pieces)]

    together = scores(folders)
    alone = [row for folder in folders for row in scores([folder])]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=2e-4)
    assert len({json.dumps(row) for row in together}) == len(together)
