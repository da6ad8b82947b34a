"""What all bodies share."""

from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator

from luthier.errors import UnknownFieldError

T = TypeVar("T")


class RequestBody(BaseModel):
    """A JSON object from a client. null means absent, and a field that nobody reads is refused by name.

    Where null says something of its own, a field stands in `nullable`.

    Raises:
        UnknownFieldError: from validation, past pydantic, so that the nearest known name can be told.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    title: ClassVar[str]
    """What the body is, as the start of a sentence."""
    nullable: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls_and_refuse_unknown(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for name in value:
            if name not in known:
                raise UnknownFieldError(name, known, cls.title)
        return {name: item for name, item in value.items() if item is not None or name in cls.nullable}


class Answer(BaseModel):
    """A JSON object to a client."""

    model_config = ConfigDict(frozen=True)


class Listing(Answer, Generic[T]):
    """A list that is complete as it stands, or one page of it."""

    object: Literal["list"] = "list"
    data: list[T]
    has_more: bool = False


class CursorPage(Listing[T], Generic[T]):
    """A page with the ids of its ends; go on with `after=last_id`."""

    first_id: str | None = None
    last_id: str | None = None


class Deleted(Answer):
    id: str
    object: str
    deleted: Literal[True] = True


class ErrorObject(Answer):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(Answer):
    """What every refused request gets."""

    error: ErrorObject
