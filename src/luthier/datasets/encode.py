"""Examples as token ids, ready to be trained on."""

from dataclasses import dataclass

from luthier.datasets.jsonl import Example
from luthier.types import Tokenizer


@dataclass(frozen=True)
class EncodedExample:
    """One example.

    Args:
        input_ids: (T,) prompt and completion, tokenized apart and joined, so that the border between them is always
            a border between tokens, as it is when the tuned model is asked. Of a conversation, all its turns.
        completion_mask: (T,) True where the token belongs to the completion, or to a turn that is learnt.
        completion: the completion's text, the label of a classification.
    """

    input_ids: tuple[int, ...]
    completion_mask: tuple[bool, ...]
    completion: str


@dataclass(frozen=True)
class EncodedPair:
    """Two outputs to one input: the preferred one and another. Their masks cover the outputs."""

    preferred: EncodedExample
    other: EncodedExample

    @property
    def n_tokens(self) -> int:
        return len(self.preferred.input_ids) + len(self.other.input_ids)


def encode_example(example: Example, tokenizer: Tokenizer) -> EncodedExample:
    """Tokenize one example.

    An empty prompt becomes the end-of-text token where the tokenizer has one: the completion's first token needs
    something before it to be predicted from.
    """
    prompt = [*tokenizer.start_ids, *tokenizer.encode(example.prompt)]
    if not prompt and tokenizer.eos_id is not None:
        prompt = [tokenizer.eos_id]
    completion = tokenizer.encode(example.completion)
    return EncodedExample(
        input_ids=(*prompt, *completion),
        completion_mask=(False,) * len(prompt) + (True,) * len(completion),
        completion=example.completion,
    )
