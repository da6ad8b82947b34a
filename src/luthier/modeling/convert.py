"""From GGUF to the folder that `load_base` opens.

    python -m luthier.modeling.convert FILE.gguf FOLDER

`modeling.bases` runs it in a process of its own: the memory that it takes is given back, and a server goes on when the
system ends it for that.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from luthier.errors import WeightsError
from luthier.modeling.loader import quiet

# The weights were trained and published in bfloat16; what quantizing took from them is far more than rounding back.
# For SmolLM2-135M in Q4_1, rounding to bfloat16 moves the distribution of the next token by 7e-5 nats (mean KL, float32
# compute, newsgroup posts) where computing in bfloat16 moves it by 1.4e-3. It halves the disk and the loading time, and
# float32 and bfloat16 machines then start from the very same weights.
DTYPE = torch.bfloat16


def dequantize(gguf: Path, folder: Path) -> None:
    """Write a GGUF file's model and tokenizer as a folder of config.json, safetensors and tokenizer.json.

    Args:
        folder: made if needed.

    Raises:
        WeightsError: transformers cannot read the file.
    """
    auto: Any = AutoTokenizer
    with quiet():
        try:
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=DTYPE
            )
            tokenizer = auto.from_pretrained(gguf.parent, gguf_file=gguf.name)
        except Exception as error:  # transformers raises many kinds; all mean that the file cannot be read
            raise WeightsError(f"{gguf.name} cannot be converted: {error}") from error
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def main(gguf: str, folder: str) -> None:
    try:
        dequantize(Path(gguf), Path(folder))
    except WeightsError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main(*sys.argv[1:])
