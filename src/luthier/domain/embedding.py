"""What names of embedding models ask for: the first generation had a model for each task and size."""

import re
from dataclasses import dataclass
from enum import StrEnum

MAX_TOKENS = 8191  # of an input, as text-embedding-ada-002 and its successors took them
MAX_TOKENS_FIRST = 2046  # of the first generation

_FIRST = re.compile(
    r"text-similarity-(ada|babbage|curie|davinci)-001"
    r"|text-search-(ada|babbage|curie|davinci)-(?P<search>doc|query)-001"
    r"|code-search-(ada|babbage)-(?P<code>code|text)-001"
)
_SHORT = re.compile(
    r"(ada|babbage|curie|davinci)-(similarity|search-(?P<search>document|query))"
    r"|(ada|babbage)-code-search-(?P<code>code|text)"
)


class Side(StrEnum):
    """Which side of a search a text stands on. Some weights want to be told, by a prompt before the text."""

    QUERY = "query"
    DOCUMENT = "document"


@dataclass(frozen=True)
class Manners:
    """How a model of this name takes its inputs.

    Args:
        max_tokens: most tokens (of cl100k_base) of one input.
        takes_ids: inputs may be token ids.
        joins_lines: newlines become spaces before anything else.
        side: of a search, None for models that are for any task.
    """

    max_tokens: int = MAX_TOKENS
    takes_ids: bool = True
    joins_lines: bool = False
    side: Side | None = None


def manners_of(name: str) -> Manners:
    """The manners of a model's name, `-001` or its short form; those of today for all others."""
    first = _FIRST.fullmatch(name) or _SHORT.fullmatch(name)
    if first is None:
        return Manners()
    side = {None: None, "doc": Side.DOCUMENT, "document": Side.DOCUMENT, "query": Side.QUERY}[first["search"]]
    if first["code"]:  # code is what is searched, text is what is asked
        side = Side.DOCUMENT if first["code"] == "code" else Side.QUERY
    return Manners(MAX_TOKENS_FIRST, takes_ids=False, joins_lines=first["code"] is None, side=side)


def question_model(name: str) -> str:
    """The model that embeds questions to texts that `name` embedded: the first generation had one for each side."""
    asked = {"-doc-001": "-query-001", "-search-document": "-search-query", "-code-001": "-text-001"}
    if _FIRST.fullmatch(name) or _SHORT.fullmatch(name):
        for documents, questions in asked.items():
            if name.endswith(documents):
                return name.removesuffix(documents) + questions
        if name.endswith("-code-search-code"):
            return name.removesuffix("code") + "text"
    return name
