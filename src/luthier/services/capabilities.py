"""What a model can be asked for."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from luthier.errors import WeightsError
from luthier.modeling.chat_template import ChatTemplate


@dataclass(frozen=True)
class Capabilities:
    """
    Args:
        fine_tune: a fine-tune can start from it.
        inference: it can be deployed.
        completion: it continues texts.
        chat_completion: it answers conversations; false too as long as its weights are not here to say so.
        embeddings: it makes vectors of texts.
    """

    fine_tune: bool = True
    inference: bool = True
    completion: bool = True
    chat_completion: bool = False
    embeddings: bool = False


@lru_cache(maxsize=64)
def chats(folder: Path) -> bool:
    """Whether the base in a folder was taught to chat."""
    try:
        return ChatTemplate.of(folder) is not None
    except WeightsError:
        return False
