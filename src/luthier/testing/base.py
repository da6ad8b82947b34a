"""A base model so small that training and serving it takes milliseconds."""

from pathlib import Path
from typing import Any

from luthier.testing.tokenizer import EOS_TEXT, ByteTokenizer


def make_tiny_base(folder: Path, *, seed: int = 0, context_length: int = 512, chat_template: str | None = None) -> Path:
    """Write a random Llama of 2 layers as a folder that `modeling.loader.load_base` opens.

    Hidden size 32, 4 heads over 2 key-value heads, input and output embeddings tied (as in `ada`), one token a byte
    as in `ByteTokenizer`. The weights are drawn wide, so that the most likely tokens differ and are no near-ties.

    Args:
        folder: made if needed.
        seed: of the weights.
        context_length: positions that the model claims, tokens.
        chat_template: Jinja text; None for a base that was not taught to chat.

    Returns:
        `folder`.
    """
    import torch  # here and below: fakes without tensors stay quick to import
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from luthier.modeling.loader import quiet
    from luthier.modeling.tokenizer import BYTE_LEVEL_ALPHABET

    fake = ByteTokenizer()
    config = LlamaConfig(
        vocab_size=fake.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context_length,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=fake.eos_id,
        eos_token_id=fake.eos_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    with quiet():
        model.save_pretrained(folder)

    tokenizer = Tokenizer(models.BPE(vocab=dict(BYTE_LEVEL_ALPHABET), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(EOS_TEXT, special=True)])
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, eos_token=EOS_TEXT).save_pretrained(folder)
    if chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
    return folder
