"""A file of requests for a batch: reading its lines, and what may be wrong with them."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.datasets.jsonl import json_kind, parse_object, read_lines
from luthier.domain.batch import MAX_REQUESTS, BatchError, endpoint_of
from luthier.errors import DataError, LuthierError

MAX_CUSTOM_ID = 512
_MAX_REPORTED = 100
_FIELDS = ("custom_id", "method", "url", "body")
_FORM = '{"custom_id": …, "method": "POST", "url": …, "body": …}'


@dataclass(frozen=True)
class BatchRequest:
    """One line.

    Args:
        number: of the line in its file, from 1; blank lines count.
        custom_id: the client's own name for it, which comes back with the answer.
        url: path of the endpoint, with its /v1.
        body: as it would be sent there.
    """

    number: int
    custom_id: str
    url: str
    body: dict[str, Any]


@dataclass(frozen=True)
class BatchFileReport:
    """What a look at a file of requests showed.

    Args:
        errors: the first of what is wrong.
        n_errors: how much is wrong.
        n_requests: lines that are requests.
        model: the model that all of them name, None when they name several.
    """

    errors: tuple[BatchError, ...]
    n_errors: int
    n_requests: int
    model: str | None

    @property
    def ok(self) -> bool:
        return not self.n_errors

    def summary(self, most: int = 5) -> str:
        """One paragraph for `status_details`; empty when nothing is wrong."""
        shown = self.errors[:most]
        parts = [(f"Line {error.line}: " if error.line else "") + error.message for error in shown]
        if more := self.n_errors - len(shown):
            parts.append(f"{more:,} more {'line is' if more == 1 else 'lines are'} wrong too.")
        return " ".join(parts)


def read_requests(path: Path, max_line_bytes: int, skip: frozenset[int] | set[int]) -> Iterator[BatchRequest]:
    """The requests of a checked file in its order, without those on the lines in `skip`.

    Raises:
        DataError: a line that is no request, which a checked file does not have.
    """
    for number, raw in read_lines(path, max_line_bytes):
        if number not in skip:
            yield _parse(number, raw, max_line_bytes)


def check_batch_file(
    path: Path,
    *,
    max_line_bytes: int,
    endpoints: Iterable[str],
    check_model: Callable[[str], object] | None = None,
) -> BatchFileReport:
    """Look at every line of a file of requests, holding one at a time and a digest of each `custom_id`.

    Args:
        max_line_bytes: longest line allowed; longer ones are skipped without being read into memory.
        endpoints: paths that a request may go to; all requests of a file go to one of them.
        check_model: raises an error of ours for a model that cannot be asked; called once for each name.
    """
    check = _FileCheck(tuple(endpoints), check_model)
    for number, raw in read_lines(path, max_line_bytes):
        check.n_lines += 1
        if check.n_lines > MAX_REQUESTS:
            check.tell(BatchError("too_many_tasks", f"The file has more than {MAX_REQUESTS:,} requests. Split it."))
            break
        try:
            check.request(_parse(number, raw, max_line_bytes))
        except DataError as error:
            check.tell(BatchError(error.code or "invalid_request", error.message, number, error.param))
    if not check.n_lines:
        check.tell(BatchError("empty_file", "The file is empty. It should hold one request a line."))
    model = next(iter(check.models)) if len(check.models) == 1 else None
    return BatchFileReport(tuple(check.errors), check.n_errors, check.n_requests, model)


class _FileCheck:
    """What has been seen of a file."""

    def __init__(self, endpoints: tuple[str, ...], check_model: Callable[[str], object] | None) -> None:
        self.errors: list[BatchError] = []
        self.n_errors = self.n_lines = self.n_requests = 0
        self.models: dict[str, LuthierError | None] = {}  # with what is wrong with each
        self._endpoints = endpoints
        self._check_model = check_model
        self._lines: dict[bytes, int] = {}  # digest of a custom_id → the line that has it

    def tell(self, error: BatchError) -> None:
        self.n_errors += 1
        if len(self.errors) < _MAX_REPORTED:
            self.errors.append(error)

    def request(self, request: BatchRequest) -> None:
        """
        Raises:
            DataError: it does not fit the file's other requests, or cannot be answered here.
        """
        digest = hashlib.blake2b(request.custom_id.encode(), digest_size=16).digest()
        first = self._lines.setdefault(digest, request.number)
        if first != request.number:
            raise DataError(
                f"the custom_id '{request.custom_id}' stands in line {first} too. Each must be unique in its file.",
                param="custom_id",
                code="duplicate_custom_id",
            )
        if request.url not in self._endpoints:
            raise DataError(
                f"the url is '{request.url}'; it must be {' or '.join(self._endpoints)}.",
                param="url",
                code="url_mismatch",
            )
        self._endpoints = (request.url,)
        model = request.body["model"]
        if model not in self.models:
            self.models[model] = self._wrong_with(model)
        if (wrong := self.models[model]) is not None:
            raise DataError(wrong.message, param="body.model", code=wrong.code)
        self.n_requests += 1

    def _wrong_with(self, model: str) -> LuthierError | None:
        if self._check_model is None:
            return None
        try:
            self._check_model(model)
        except LuthierError as error:
            return error
        return None


def _parse(number: int, raw: bytes | None, max_line_bytes: int) -> BatchRequest:
    """
    Raises:
        DataError: the line is no request; without its number.
    """
    if raw is None:
        raise DataError(f"it is longer than {max_line_bytes:,} bytes. Split the request.", code="line_too_long")
    try:
        value = parse_object(raw, _FORM)
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise DataError("it has a \\u escape that is half a surrogate pair.", code="invalid_json_line") from None
    except DataError as error:
        raise DataError(error.message, code="invalid_json_line") from None
    for name in _FIELDS:
        if value.get(name) is None:
            raise DataError(f"the key `{name}` is missing.", param=name, code="missing_required_parameter")
    for name in value:
        if name not in _FIELDS:
            raise DataError(
                f"the key `{name}` is unknown. A request has {', '.join(_FIELDS)}.",
                param=name,
                code="unknown_parameter",
            )
    custom_id, method, url, body = (value[name] for name in _FIELDS)
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_CUSTOM_ID:
        raise DataError(
            f"`custom_id` must be a string of 1 to {MAX_CUSTOM_ID} characters.", param="custom_id", code="invalid_value"
        )
    if method != "POST":
        raise DataError(f"`method` is {json.dumps(method)}; it must be POST.", param="method", code="invalid_method")
    if not isinstance(url, str):
        raise DataError(f"`url` is {json_kind(url)}; it must be a string.", param="url", code="invalid_value")
    if not isinstance(body, dict):
        raise DataError(f"`body` is {json_kind(body)}; it must be an object.", param="body", code="invalid_value")
    if not isinstance(body.get("model"), str):
        raise DataError("the body names no `model`.", param="body.model", code="missing_required_parameter")
    if body.get("stream"):
        raise DataError("answers of a batch are whole: leave out `stream`.", param="body.stream", code="invalid_value")
    return BatchRequest(number, custom_id, endpoint_of(url), body)
