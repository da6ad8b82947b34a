"""A sentence encoder so small that embedding with it takes milliseconds, and a vocabulary to count its inputs in."""

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from luthier.testing.tokenizer import EOS_TEXT, ByteTokenizer


def make_tiny_encoder(
    folder: Path,
    *,
    family: Literal["bert", "mpnet", "roberta", "distilbert"] = "bert",
    seed: int = 0,
    max_tokens: int = 32,
    prompts: dict[str, str] | None = None,
) -> Path:
    """Write a random encoder of 2 layers as a folder that `modeling.encoder.load_encoder` opens.

    Hidden size 32, 4 heads, mean pooling, normalised; one token a byte as in `ByteTokenizer`, with one special token
    before and one after each text.

    Args:
        folder: made if needed.
        family: of the transformer.
        seed: of the weights.
        max_tokens: that the encoder reads at once, special tokens included.
        prompts: by name, texts to put before inputs.

    Returns:
        `folder`.
    """
    import torch  # here and below: fakes without tensors stay quick to import
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    from luthier.modeling.loader import quiet
    from luthier.modeling.tokenizer import BYTE_LEVEL_ALPHABET

    fake = ByteTokenizer()
    sizes = (
        {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}
        if family == "distilbert"
        else {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    )
    config = AutoConfig.for_model(
        family,
        vocab_size=fake.vocab_size,
        max_position_embeddings=max_tokens + 2,
        initializer_range=0.3,
        pad_token_id=0 if family in ("bert", "distilbert") else 1,
        **sizes,
    )
    auto: Any = AutoModel
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = auto.from_config(config)
    with quiet():
        model.save_pretrained(folder)

    tokenizer = Tokenizer(models.BPE(vocab=dict(BYTE_LEVEL_ALPHABET), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.add_special_tokens([AddedToken(EOS_TEXT, special=True)])
    around = f"{EOS_TEXT} $A {EOS_TEXT}"
    tokenizer.post_processor = processors.TemplateProcessing(around, special_tokens=[(EOS_TEXT, fake.eos_id or 0)])
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, pad_token=EOS_TEXT).save_pretrained(folder)

    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    _write(
        folder / "modules.json",
        [
            {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for at, (path, kind) in enumerate(kinds.items())
        ],
    )
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    _write(folder / "config_sentence_transformers.json", {"prompts": prompts or {}, "default_prompt_name": None})
    return folder


def make_byte_vocabulary(models_dir: Path) -> Path:
    """Put a vocabulary of single bytes where the server looks for cl100k_base, so that a token is a byte of the text.

    Args:
        models_dir: `Settings.models_dir`; made if needed.

    Returns:
        The vocabulary's file.
    """
    from luthier.catalogue.registry import RECORD
    from luthier.catalogue.vocabulary import CL100K_BASE, FILE
    from luthier.modeling.bases import Record

    folder = models_dir / CL100K_BASE.folder_name
    folder.mkdir(parents=True, exist_ok=True)
    lines = (f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256))
    (folder / FILE).write_text("".join(lines), encoding="ascii")
    key, title = CL100K_BASE.key, CL100K_BASE.title
    _write(folder / RECORD, asdict(Record(key, title, "luthier.testing", None, "", "2023-03-14T00:00:00+00:00", False)))
    return folder / FILE


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
