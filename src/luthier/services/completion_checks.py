"""What a request for completions must be like, each rule with the message for its breach."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from luthier.domain.generation import SamplingParams
from luthier.errors import InvalidRequestError
from luthier.services.models import ServedModel
from luthier.services.sampling_checks import check_sampling, within
from luthier.types import Tokenizer

MAX_PROMPTS = 2048
MAX_BEST_OF = 20
MAX_LOGPROBS = 5
MAX_CHOICES = 4096  # that one request may have generated, all prompts together


@dataclass(frozen=True)
class CompletionRequest:
    """What `POST /v1/completions` asks.

    Args:
        model: a name that `ModelService.resolve` knows.
        prompts: texts, or token ids of the model's own tokenizer. An empty text stands for a text's very beginning.
        params: how to continue them; `params.logit_bias` is left empty, see `logit_bias`.
        n: completions of each prompt.
        best_of: how many to generate, of which the `n` with the highest log probability for each token are returned;
            None for `n`.
        suffix: text to fill in towards; refused, as no base here can.
        logit_bias: token id as text → number added to its logit.
    """

    model: str
    prompts: tuple[str | tuple[int, ...], ...]
    params: SamplingParams = field(default_factory=SamplingParams)
    n: int = 1
    best_of: int | None = None
    suffix: str | None = None
    logit_bias: Mapping[str, float] = field(default_factory=dict)

    @property
    def n_generated(self) -> int:
        """Completions that are generated for each prompt."""
        return self.n if self.best_of is None else self.best_of


@dataclass(frozen=True)
class Prompt:
    """A prompt as the engine reads it, and as `echo` gives it back."""

    token_ids: tuple[int, ...]
    text: str

    @property
    def n_spelled(self) -> int:
        """How many of the tokens stand in the text: all, but for the one that is read in place of an empty text."""
        return len(self.token_ids) if self.text else 0


def check(request: CompletionRequest, *, stream: bool) -> None:
    """Everything that can be said without the model.

    Raises:
        InvalidRequestError: naming the field.
    """
    params = request.params
    check_sampling(params, request.n, request.logit_bias)
    if params.logprobs is not None:
        within(params.logprobs, 0, MAX_LOGPROBS, "logprobs")
    if request.best_of is not None:
        within(request.best_of, 1, max(MAX_BEST_OF, request.n), "best_of")
    if request.n > request.n_generated:
        raise InvalidRequestError(
            "You requested that the server return more choices than it will generate (HINT: you must set 'n' "
            f"(currently {request.n}) to be at most 'best_of' (currently {request.best_of}), or omit 'best_of').",
            param="best_of",
        )
    if stream and request.n_generated > request.n:
        raise InvalidRequestError(
            "A stream cannot choose the best of several completions after the fact. Leave out 'best_of' or 'stream'.",
            param="best_of",
        )
    if params.max_tokens < 0:
        raise InvalidRequestError(
            f"{params.max_tokens} is less than the minimum of 0 - 'max_tokens'", param="max_tokens"
        )
    if params.max_tokens == 0 and not params.echo:
        raise InvalidRequestError(
            "'max_tokens' of 0 asks for nothing unless 'echo' is true. Set 'echo' to score the prompt.",
            param="max_tokens",
        )
    _check_prompts(request.prompts)
    choices = len(request.prompts) * request.n_generated
    if choices > MAX_CHOICES:
        raise InvalidRequestError(
            f"{len(request.prompts)} prompts with {request.n_generated} completions each are {choices} completions, "
            f"more than the {MAX_CHOICES} of one request. Send fewer prompts at once.",
            param="best_of" if request.best_of is not None else "n",
        )


def check_suffix(request: CompletionRequest) -> None:
    """
    Raises:
        InvalidRequestError: there is text to fill in towards.
    """
    if request.suffix:
        raise InvalidRequestError(
            f"The model '{request.model}' continues texts and was not trained to fill in a gap before a 'suffix'. "
            "Leave it out.",
            param="suffix",
        )


def encode_prompts(request: CompletionRequest, model: ServedModel) -> list[Prompt]:
    """Tokenize the prompts and check their lengths.

    Raises:
        InvalidRequestError: a token that the model does not have, or more tokens than the model's context.
    """
    encoded = []
    for at, prompt in enumerate(request.prompts):
        where = f" of prompt {at}" if len(request.prompts) > 1 else " of the prompt"
        if isinstance(prompt, str):
            item = _encode_text(prompt, model)
            check_encoded(item.token_ids, model.tokenizer, where)
        else:
            _check_ids(prompt, model.tokenizer, where)
            item = Prompt(prompt, model.tokenizer.decode(prompt))
        _check_length(len(item.token_ids), request.params.max_tokens, model.context_length)
        encoded.append(item)
    return encoded


def check_encoded(ids: Sequence[int], tokenizer: Tokenizer, where: str, param: str = "prompt") -> None:
    """
    Args:
        ids: what `tokenizer` made of a text.
        where: in which text of the request, such as " of the prompt".

    Raises:
        InvalidRequestError: the text spells a token out that the tokenizer has and the model lacks.
    """
    for id_ in ids:
        if id_ >= tokenizer.vocab_size:
            raise InvalidRequestError(
                f"The text{where} holds {tokenizer.decode([id_])!r}, a token ({id_}) of the model's tokenizer that the "
                f"model itself was not made for: it has tokens 0 to {tokenizer.vocab_size - 1}. Leave it out.",
                param=param,
            )


def _encode_text(text: str, model: ServedModel) -> Prompt:
    tokens = (*model.tokenizer.start_ids, *model.tokenizer.encode(text))
    if tokens:
        return Prompt(tokens, text)
    if model.tokenizer.eos_id is None:
        raise InvalidRequestError(
            f"The prompt is empty, and '{model.id}' has no token for the beginning of a text. Give it some text.",
            param="prompt",
        )
    return Prompt((model.tokenizer.eos_id,), "")


def _check_prompts(prompts: Sequence[str | tuple[int, ...]]) -> None:
    if not prompts:
        raise InvalidRequestError("There is no prompt: the list is empty.", param="prompt")
    if len(prompts) > MAX_PROMPTS:
        raise InvalidRequestError(
            f"{len(prompts)} prompts are more than the {MAX_PROMPTS} that one request may hold.", param="prompt"
        )
    for at, prompt in enumerate(prompts):
        if not prompt and not isinstance(prompt, str):
            raise InvalidRequestError(f"Prompt {at} is an empty list of token ids.", param="prompt")


def _check_ids(ids: Sequence[int], tokenizer: Tokenizer, where: str) -> None:
    for at, id_ in enumerate(ids):
        if not 0 <= id_ < tokenizer.vocab_size:
            raise InvalidRequestError(
                f"Token {at}{where} is {id_}, but this model's token ids go from 0 to {tokenizer.vocab_size - 1}. "
                "Use the model's own tokenizer, or send text.",
                param="prompt",
            )


def _check_length(prompt: int, completion: int, context: int) -> None:
    if prompt + completion > context:
        raise InvalidRequestError(
            f"This model's maximum context length is {context} tokens, however you requested {prompt + completion} "
            f"tokens ({prompt} in your prompt; {completion} for the completion). Please reduce your prompt; or "
            "completion length.",
            param="prompt" if prompt > context else "max_tokens",
            code="context_length_exceeded",
        )
