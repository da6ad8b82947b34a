"""A tiny model as GGUF, as llama.cpp lays it out, and back."""

import os
from pathlib import Path

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM

from luthier.errors import WeightsError
from luthier.modeling.convert import DTYPE, dequantize
from luthier.modeling.loader import load_base
from luthier.modeling.tokenizer import BYTE_LEVEL_ALPHABET, HFTokenizer

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(base: Path, path: Path) -> dict[str, torch.Tensor]:
    """Write the tiny base as llama.cpp would; gives its weights, rounded to what a conversion keeps."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=DTYPE)
    config, weights = model.config, {k: v.float() for k, v in model.state_dict().items() if "lm_head" not in k}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    one_byte = sorted(BYTE_LEVEL_ALPHABET, key=BYTE_LEVEL_ALPHABET.__getitem__)
    writer.add_token_list(["ab", *one_byte[1:], "<|end|>"])  # a merge must be there; the NUL byte gives way to it
    writer.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(256)
    for name, tensor in weights.items():
        writer.add_tensor(*as_llama_cpp(name, tensor, config.num_attention_heads, config.num_key_value_heads))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


def as_llama_cpp(name: str, tensor: torch.Tensor, heads: int, key_heads: int) -> tuple[str, object]:
    """Its name there, and its layout: the two halves that rotary embeddings turn are interleaved."""
    outer = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in outer:
        return outer[name], tensor.numpy()
    _, _, layer, *middle, _ = name.split(".")
    part = NAMES[".".join(middle)]
    if part in ("attn_q", "attn_k"):
        n = heads if part == "attn_q" else key_heads
        out, width = tensor.shape
        tensor = tensor.reshape(n, 2, out // n // 2, width).swapaxes(1, 2).reshape(out, width)
    return f"blk.{layer}.{part}.weight", tensor.contiguous().numpy()


def test_a_gguf_becomes_a_folder_with_the_same_weights(
    tiny_base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    del capfd  # the converter draws a bar
    weights = write_gguf(tiny_base, tmp_path / "tiny.gguf")
    dequantize(tmp_path / "tiny.gguf", tmp_path / "out")
    converted = load_base(tmp_path / "out", torch.float32)
    found = converted.model.state_dict()
    for name, expected in weights.items():
        torch.testing.assert_close(found[name], expected, rtol=0, atol=0)
    assert converted.context_length == 512
    assert HFTokenizer(tmp_path / "out").encode("éab<|end|>") == [*"é".encode(), 0, 256]


def test_what_is_no_gguf_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(os.urandom(64))
    with pytest.raises(WeightsError, match=r"a\.gguf cannot be converted"):
        dequantize(tmp_path / "a.gguf", tmp_path / "out")
