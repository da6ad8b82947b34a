"""The owner's own pairs on a job or batch, within OpenAI's bounds."""

from collections.abc import Mapping

from luthier.domain.filters import Scalar, is_too_large
from luthier.errors import InvalidRequestError

_MAX_PAIRS, _MAX_KEY, _MAX_VALUE = 16, 64, 512


def check_metadata(metadata: Mapping[str, str]) -> None:
    """
    Raises:
        InvalidRequestError: too many pairs, or one that is too long.
    """
    if len(metadata) > _MAX_PAIRS:
        raise InvalidRequestError(f"metadata has {len(metadata)} pairs; {_MAX_PAIRS} are the most.", param="metadata")
    for key, value in metadata.items():
        if not 0 < len(key) <= _MAX_KEY or len(value) > _MAX_VALUE:
            raise InvalidRequestError(
                f"metadata: keys have 1 to {_MAX_KEY} characters and values at most {_MAX_VALUE}; "
                f"the pair of '{key[:_MAX_KEY]}' does not.",
                param="metadata",
            )


def check_attributes(attributes: Mapping[str, Scalar]) -> None:
    """
    Raises:
        InvalidRequestError: too many attributes of a file, or one that is too long.
    """
    if len(attributes) > _MAX_PAIRS:
        raise InvalidRequestError(
            f"attributes has {len(attributes)} pairs; {_MAX_PAIRS} are the most.", param="attributes"
        )
    for key, value in attributes.items():
        if not 0 < len(key) <= _MAX_KEY or (isinstance(value, str) and len(value) > _MAX_VALUE):
            raise InvalidRequestError(
                f"attributes: keys have 1 to {_MAX_KEY} characters and texts at most {_MAX_VALUE}; the pair of "
                f"'{key[:_MAX_KEY]}' does not.",
                param="attributes",
            )
        if is_too_large(value):
            raise InvalidRequestError(f"attributes: the number of '{key}' is too large.", param="attributes")
