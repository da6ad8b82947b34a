"""The rules of sampling that completions and chat share, each with the message for its breach."""

from collections.abc import Mapping

from luthier.domain.generation import SamplingParams
from luthier.errors import InvalidRequestError
from luthier.types import Tokenizer

MAX_STOPS = 4
MAX_N = 128
_MAX_DIGITS = 10  # of a token id; Python refuses to read numbers of thousands


def within(value: float, low: float, high: float, param: str, whose: str = "") -> None:
    """
    Raises:
        InvalidRequestError: the value of `param` lies outside, or is no number.
    """
    if low <= value <= high:
        return
    bound = f"greater than the maximum of {high}" if value > high else f"less than the minimum of {low}"
    if value != value:
        bound = f"not a number from {low} to {high}"
    raise InvalidRequestError(f"{value} is {bound} - '{param}'{whose}", param=param)


def check_sampling(params: SamplingParams, n: int, logit_bias: Mapping[str, float]) -> None:
    """
    Raises:
        InvalidRequestError: naming the field.
    """
    within(params.temperature, 0, 2, "temperature")
    within(params.top_p, 0, 1, "top_p")
    within(params.presence_penalty, -2, 2, "presence_penalty")
    within(params.frequency_penalty, -2, 2, "frequency_penalty")
    within(n, 1, MAX_N, "n")
    if len(params.stop) > MAX_STOPS:
        raise InvalidRequestError(f"{len(params.stop)} stop texts are more than the {MAX_STOPS} allowed.", param="stop")
    if "" in params.stop:
        raise InvalidRequestError("A stop text must not be empty.", param="stop")
    for key, bias in logit_bias.items():
        within(bias, -100, 100, "logit_bias", f" for the token {key!r}")


def bias_by_id(bias: Mapping[str, float], tokenizer: Tokenizer) -> dict[int, float]:
    """The bias by token ids.

    Raises:
        InvalidRequestError: a key is no id of this tokenizer; the message lists the ids of that text.
    """
    by_id = {}
    for key, value in bias.items():
        if not (key.isascii() and key.isdecimal()):
            ids = ", ".join(f"{id_} ({tokenizer.decode([id_])!r})" for id_ in tokenizer.encode(key))
            raise InvalidRequestError(
                f"Invalid key in 'logit_bias': {key!r}. Keys are token ids of the model's own tokenizer. "
                f"There, this text is: {ids or 'no token at all'}.",
                param="logit_bias",
            )
        if len(key.lstrip("0")) > _MAX_DIGITS or int(key) >= tokenizer.vocab_size:
            raise InvalidRequestError(
                f"Invalid key in 'logit_bias': {key[:_MAX_DIGITS]}. Maximum value is {tokenizer.vocab_size - 1}. "
                "Token ids are the model's own; those of other tokenizers mean other texts.",
                param="logit_bias",
            )
        by_id[int(key)] = value
    return by_id
