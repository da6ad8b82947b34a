"""Adapters against PEFT: what one writes the other reads, with the same logits."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.models.gemma3.modeling_gemma3 import Gemma3TextScaledWordEmbedding

from luthier.modeling.attention import PackedCausal
from luthier.modeling.loader import BaseModel, load_base
from luthier.modeling.lora import PEFT_CONFIG, PEFT_WEIGHTS, LoraConfig, LoraModel, Route

TABLE = torch.arange(256 * 4.0).reshape(256, 4) / 1024
IDS = list(b"a packed row of tokens")
THEIRS = ["k_proj", "o_proj", "up_proj", "embed_tokens"]


@pytest.fixture
def base(tiny_base: Path) -> BaseModel:
    return load_base(tiny_base, torch.float32)


def logits(base: BaseModel, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits of sequences packed into one row, (T, V)."""
    layout = PackedCausal([len(ids) for ids in sequences])
    row = torch.tensor([[i for ids in sequences for i in ids]])
    with torch.no_grad():
        out: torch.Tensor = base.model(
            input_ids=row, position_ids=layout.position_ids(), layout=layout, use_cache=False
        ).logits
    return out[0]


def trained(lora: LoraModel, name: str, config: LoraConfig, seed: int) -> None:
    """Add an adapter whose B is not zero any more."""
    lora.add(name, config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in lora.parameters(name).values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


def whole(name: str | None) -> list[Route]:
    return [Route(name, 0, len(IDS))]


def test_a_fresh_adapter_changes_nothing(base: BaseModel) -> None:
    before = logits(base, [IDS])
    lora = LoraModel(base.model)
    lora.add("new", LoraConfig(rank=4, alpha=8))
    lora.route(whole("new"))
    torch.testing.assert_close(logits(base, [IDS]), before)


def test_peft_opens_what_we_save_and_gives_the_same_logits(base: BaseModel, tiny_base: Path, tmp_path: Path) -> None:
    lora = LoraModel(base.model)
    trained(lora, "ours", LoraConfig(rank=4, alpha=6, targets=("q_proj", "down_proj", "embed_tokens")), seed=1)
    lora.route(whole("ours"))
    lora.save("ours", tmp_path, "tiny")
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(plain, tmp_path).eval()
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor([IDS])).logits[0]
    torch.testing.assert_close(logits(base, [IDS]), expected, rtol=1e-4, atol=1e-4)
    lora.route([])
    assert (logits(base, [IDS]) - expected).abs().max() > 0.1


def test_we_open_what_peft_saves_and_give_the_same_logits(base: BaseModel, tiny_base: Path, tmp_path: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    config = PeftConfig(r=3, lora_alpha=5, target_modules=THEIRS, init_lora_weights=False)
    torch.manual_seed(0)
    theirs = get_peft_model(plain, config).eval()
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor([IDS])).logits[0]
    lora = LoraModel(base.model)
    loaded = lora.load("theirs", tmp_path)
    lora.route(whole("theirs"))
    assert (loaded.rank, loaded.alpha, set(loaded.targets)) == (3, 5, set(THEIRS))
    torch.testing.assert_close(logits(base, [IDS]), expected, rtol=1e-4, atol=1e-4)


def test_several_adapters_in_one_row_equal_each_alone(base: BaseModel) -> None:
    lora = LoraModel(base.model)
    trained(lora, "one", LoraConfig(rank=4, alpha=8), seed=1)
    trained(lora, "two", LoraConfig(rank=2, alpha=2, targets=("q_proj", "gate_proj")), seed=2)
    sequences = {None: IDS[:5], "one": IDS[5:9], "two": IDS[9:20], "one again": IDS[3:10]}
    alone = []
    for name, ids in sequences.items():
        lora.route([Route("one" if name == "one again" else name, 0, len(ids))])
        alone.append(logits(base, [ids]))
    lora.route([Route(None, 0, 5), Route("one", 5, 9), Route("two", 9, 20), Route("one", 20, 27)])
    torch.testing.assert_close(logits(base, list(sequences.values())), torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_tokens_that_no_route_names_get_the_base(base: BaseModel) -> None:
    before = logits(base, [IDS[:6], IDS[6:]])
    lora = LoraModel(base.model)
    trained(lora, "one", LoraConfig(rank=4, alpha=8), seed=1)
    lora.route([Route("one", 6, len(IDS))])
    routed = logits(base, [IDS[:6], IDS[6:]])
    torch.testing.assert_close(routed[:6], before[:6])
    assert (routed[6:] - before[6:]).abs().max() > 0.1


def test_an_embedding_that_scales_gets_what_peft_gives_it(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed_tokens = Gemma3TextScaledWordEmbedding(len(TABLE), TABLE.shape[1], 0, embed_scale=3.0)
            self.embed_tokens.weight = nn.Parameter(TABLE.clone())

        def get_decoder(self) -> nn.Module:
            return self

        def get_input_embeddings(self) -> nn.Module:
            return self.embed_tokens

        def forward(self, input_ids: torch.Tensor, **_: object) -> torch.Tensor:
            out: torch.Tensor = self.embed_tokens(input_ids)
            return out

    ours, theirs = Scaled(), Scaled()
    lora = LoraModel(ours)
    trained(lora, "one", LoraConfig(rank=2, alpha=3), seed=1)
    lora.route(whole("one"))
    lora.save("one", tmp_path, "tiny")
    assert json.loads((tmp_path / PEFT_CONFIG).read_text())["target_modules"] == ["embed_tokens"]
    ids = torch.tensor([IDS])
    peft = get_peft_model(theirs, PeftConfig(r=2, lora_alpha=3, target_modules=["embed_tokens"]))  # type: ignore[arg-type]
    missing = set_peft_model_state_dict(peft, load_file(tmp_path / PEFT_WEIGHTS))
    assert not [key for key in missing.missing_keys if "lora" in key]
    torch.testing.assert_close(ours(ids), peft(ids))


def test_a_weight_that_no_layer_takes_is_refused(base: BaseModel) -> None:
    lora = LoraModel(base.model)
    config = LoraConfig(rank=2, alpha=2)
    plain = {f"base_model.model.lm_head.lora_{side}.weight": torch.zeros(2, 2) for side in "AB"}
    trained(lora, "one", config, seed=1)
    weights = {name: weight.detach() for name, weight in lora.parameters("one").items()}
    with pytest.raises(ValueError, match="lm_head"):
        lora.put("two", config, weights | plain)


def test_a_token_that_learnt_differs_by_itself_alone(base: BaseModel) -> None:
    lora = LoraModel(base.model)
    before = logits(base, [IDS])
    lora.add("one", LoraConfig(rank=4, alpha=8))
    lora.route(whole("one"))
    first = next(i for i, token in enumerate(IDS) if token == ord("w"))
    with torch.no_grad():
        lora.parameters("one")["base_model.model.model.embed_tokens.lora_embedding_A"][:, ord("w")] = 1.0
    after = logits(base, [IDS])
    torch.testing.assert_close(after[:first], before[:first])
    assert (after[first:] - before[first:]).abs().amax(1).min() > 1e-3


def test_a_removed_adapter_leaves_the_base_and_the_others(base: BaseModel) -> None:
    lora = LoraModel(base.model)
    before = logits(base, [IDS])
    trained(lora, "one", LoraConfig(rank=4, alpha=8), seed=1)
    trained(lora, "two", LoraConfig(rank=4, alpha=8), seed=2)
    lora.route(whole("two"))
    two = logits(base, [IDS])
    lora.remove("one")
    torch.testing.assert_close(logits(base, [IDS]), two)
    assert lora.parameters("one") == {}
    lora.route(whole("one"))
    torch.testing.assert_close(logits(base, [IDS]), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_published_adapter_computes_and_learns_as_before(tiny_base: Path, dtype: torch.dtype) -> None:
    base = load_base(tiny_base, dtype)
    lora = LoraModel(base.model)
    trained(lora, "one", LoraConfig(rank=4, alpha=6), seed=1)
    routes = (whole("one"), [Route("one", 2, 9)])

    def computed() -> list[torch.Tensor]:
        found = []
        for route in routes:
            lora.route(route)
            found.append(logits(base, [IDS]))
            row = torch.tensor([IDS])
            layout = PackedCausal([len(IDS)])
            out = base.model(input_ids=row, position_ids=layout.position_ids(), layout=layout, use_cache=False).logits
            found += torch.autograd.grad(out.float().logsumexp(-1).sum(), list(lora.parameters("one").values()))
        return found

    before = computed()
    lora.publish("one")
    for published, plain in zip(computed(), before, strict=True):
        torch.testing.assert_close(published, plain)
    assert before[1].dtype == torch.float32  # a gradient


def test_what_is_published_is_what_passes_compute_with(base: BaseModel) -> None:
    lora = LoraModel(base.model)
    trained(lora, "one", LoraConfig(rank=4, alpha=6), seed=1)
    lora.route(whole("one"))
    lora.publish("one")
    before = logits(base, [IDS])
    with torch.no_grad():
        for name, parameter in lora.parameters("one").items():
            if "lora_B" in name or "embedding_B" in name:
                parameter.zero_()
    torch.testing.assert_close(logits(base, [IDS]), before)
    lora.publish("one")
    plain = logits(base, [IDS])
    assert (plain - before).abs().max() > 0.1
    trained(lora, "one", LoraConfig(rank=4, alpha=6), seed=1)  # put again under the same name
    torch.testing.assert_close(logits(base, [IDS]), before)
    lora.publish("one")
    lora.remove("one")
    torch.testing.assert_close(logits(base, [IDS]), plain)


def test_masters_are_float32_on_a_bfloat16_base(tiny_base: Path) -> None:
    base = load_base(tiny_base, torch.bfloat16)
    lora = LoraModel(base.model)
    lora.add("one", LoraConfig(rank=2, alpha=2))
    lora.route(whole("one"))
    assert {p.dtype for p in lora.parameters("one").values()} == {torch.float32}
    assert logits(base, [IDS]).dtype == torch.bfloat16


def test_only_the_adapter_learns(base: BaseModel) -> None:
    lora = LoraModel(base.model)
    lora.add("one", LoraConfig(rank=2, alpha=2))
    learning = {id(p) for p in base.model.parameters() if p.requires_grad}
    assert learning == {id(p) for p in lora.parameters("one").values()}


def test_a_fresh_adapter_is_the_same_for_the_same_seed(base: BaseModel) -> None:
    lora = LoraModel(base.model)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        lora.add(name, LoraConfig(rank=2, alpha=2), seed)
    a, b, c = (list(lora.parameters(name).values()) for name in "abc")
    assert all(map(torch.equal, a, b))
    assert not all(map(torch.equal, a, c))


def test_loading_names_the_weight_that_is_missing(base: BaseModel, tmp_path: Path) -> None:
    lora = LoraModel(base.model)
    trained(lora, "one", LoraConfig(rank=2, alpha=2, targets=("q_proj",)), seed=1)
    lora.save("one", tmp_path, "tiny")
    card = json.loads((tmp_path / PEFT_CONFIG).read_text())
    (tmp_path / PEFT_CONFIG).write_text(json.dumps(card | {"target_modules": ["v_proj"]}))
    with pytest.raises(KeyError, match=r"v_proj\.lora_A"):
        lora.load("two", tmp_path)
