"""`?api-version=`, which every path of Azure's API wants."""

import re
from typing import Annotated

from fastapi import Depends, Query

from luthier.errors import InvalidRequestError

_VERSION = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(-[a-z0-9]+)?")
_OPENAI_WORDS_SINCE = "2024-07"


class ApiVersion(str):
    """A version such as `2022-12-01` or `2025-04-01-preview`."""

    @property
    def has_openai_statuses(self) -> bool:
        """From 2024-07-01-preview on, Azure calls a file `processed` as OpenAI does; before, `succeeded`."""
        return self >= _OPENAI_WORDS_SINCE


async def _required(
    version: Annotated[
        str, Query(alias="api-version", description="Any version of the form 2022-12-01 or 2025-04-01-preview.")
    ],
) -> ApiVersion:
    if not _VERSION.fullmatch(version):
        raise InvalidRequestError(
            f"'{version}' is no API version. It should look like 2022-12-01 or 2025-04-01-preview.",
            param="api-version",
            code="InvalidApiVersionParameter",
        )
    return ApiVersion(version)


async def _optional(
    version: Annotated[str | None, Query(alias="api-version", description="`preview`, `v1`, or a date.")] = None,
) -> None:
    """Under /openai/v1 a version may be left out, and decides nothing.

    Raises:
        InvalidRequestError: what is there is no version.
    """
    if version not in (None, "preview", "latest", "v1"):
        await _required(version or "")


WithVersion = Depends(_required)
MayHaveVersion = Depends(_optional)
VersionOf = Annotated[ApiVersion, WithVersion]
