"""Every error that Luthier raises on purpose.

    LuthierError                 500  server_error
    ├── InvalidRequestError      400  invalid_request_error     a request that cannot be honoured as it stands
    │   ├── UnknownFieldError                                    a field nobody reads, with the nearest known name
    │   └── DataError                                            a data file: which line, which field, what to do
    ├── AuthenticationError      401  invalid_request_error     no key, or none that is known; the type is OpenAI's
    ├── PermissionDeniedError    403  permission_error
    ├── NotFoundError            404  invalid_request_error
    ├── ConflictError            409  conflict_error             never raised by inference: the old client would loop
    ├── PayloadTooLargeError     413  invalid_request_error
    ├── RateLimitError           429  rate_limit_error          with the seconds after which to try again
    ├── UnavailableError         503  service_unavailable_error  starting, stopping, or the model cannot be loaded now
    ├── ConfigError              500  server_error               a setting or alias file that makes no sense
    ├── WeightsError             500  server_error               weights that are missing, damaged or not loadable
    └── TrainingError            500  server_error               a run that cannot go on

Messages say what was wrong, where, and what to do. `param` names the field of the request, `code` is for programs.
"""

import difflib
from collections.abc import Iterable


class LuthierError(Exception):
    """An error with words for the user.

    Args:
        message: what was wrong, where, and what to do about it.
        param: the request's field that caused it.
        code: a stable name for programs, such as `model_not_found`.
    """

    status = 500
    type = "server_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code

    def body(self) -> dict[str, dict[str, str | None]]:
        """The error as OpenAI's API shows it."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class InvalidRequestError(LuthierError):
    status = 400
    type = "invalid_request_error"


class UnknownFieldError(InvalidRequestError):
    """A field that nothing reads. Names the nearest known one."""

    def __init__(self, name: str, known: Iterable[str], where: str = "this request") -> None:
        near = nearest(name, known)
        hint = f" Did you mean '{near}'?" if near else ""
        super().__init__(f"Unrecognized request argument supplied: {name}. {where} does not take it.{hint}", param=name)


class DataError(InvalidRequestError):
    """Data that cannot be used: the message names file, line and field."""


class AuthenticationError(LuthierError):
    status = 401
    type = "invalid_request_error"


class PermissionDeniedError(LuthierError):
    status = 403
    type = "permission_error"


class NotFoundError(LuthierError):
    status = 404
    type = "invalid_request_error"


class ConflictError(LuthierError):
    status = 409
    type = "conflict_error"


class PayloadTooLargeError(LuthierError):
    status = 413
    type = "invalid_request_error"


class RateLimitError(LuthierError):
    """Too much at once.

    Args:
        retry_after: seconds after which the same request will be taken; None when it never will.
    """

    status = 429
    type = "rate_limit_error"

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, retry_after: float | None = 1.0
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.retry_after = retry_after


class UnavailableError(LuthierError):
    status = 503
    type = "service_unavailable_error"


class ConfigError(LuthierError):
    """A setting, environment variable or alias file that makes no sense."""


class WeightsError(LuthierError):
    """Weights that are missing, damaged, or of a kind that cannot be loaded."""


def unavailable(model: str, error: WeightsError) -> UnavailableError:
    """What a request hears whose model's weights cannot be had or loaded."""
    return UnavailableError(
        f"The model '{model}' cannot answer now: {error.message}", param="model", code="model_not_available"
    )


class TrainingError(LuthierError):
    """A training run that cannot go on, with the reason for its owner."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return close[0] if close else None
