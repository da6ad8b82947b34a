"""Batches from the file to the answers, over endpoints that are plain functions."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from luthier.config import Settings
from luthier.domain.batch import Batch, BatchStatus
from luthier.domain.file import Purpose
from luthier.errors import InvalidRequestError, NotFoundError, RateLimitError
from luthier.services import batch_runner
from luthier.services.batch_answers import Endpoint
from luthier.services.batch_runner import BatchRunner
from luthier.services.batches import BatchService, CreateBatch
from luthier.services.files import FileService
from luthier.storage.answers import AnswerLog
from luthier.storage.batches import BatchStore
from luthier.storage.blobs import Blobs
from luthier.storage.db import Database
from luthier.storage.files import FileStore

PATH = "/v1/completions"


def line(name: str, **changes: Any) -> dict[str, Any]:
    return {"custom_id": name, "method": "POST", "url": PATH, "body": {"model": "ada", "prompt": name}, **changes}


def content(*lines: dict[str, Any]) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in lines).encode()


async def echo(body: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"text": body["prompt"], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}


def check_model(name: str) -> None:
    if name != "ada":
        raise NotFoundError(f"The model '{name}' does not exist.", param="model", code="model_not_found")


class House:
    """A home with runners that come and go."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        database = Database.open(settings)
        self.blobs, self.store = Blobs(settings), BatchStore(database)
        self.file_store = FileStore(database)
        self.files = FileService(settings, self.file_store, self.blobs)
        self.runner: BatchRunner | None = None

    def start(self, endpoint: Endpoint = echo) -> None:
        self.runner = BatchRunner(self.settings, self.store, self.blobs, {PATH: endpoint}, check_model)
        self.runner.start()

    def stop(self) -> None:
        if self.runner is not None:
            self.runner.stop()
            self.runner = None

    @property
    def service(self) -> BatchService:
        return BatchService(self.settings, self.store, self.file_store, [PATH], self)

    def wake(self) -> None:
        if self.runner is not None:
            self.runner.wake()

    def create(self, *lines: dict[str, Any], **fields: Any) -> Batch:
        return self.create_from(content(*lines), **fields)

    def create_from(self, raw: bytes, **fields: Any) -> Batch:
        file = self.files.create("requests.jsonl", "batch", [raw])
        return self.service.create(CreateBatch(file.id, PATH, "24h", **fields))

    def until(self, batch: Batch, condition: Callable[[Batch], bool] = lambda batch: batch.status.is_final) -> Batch:
        end = time.monotonic() + 60
        while not condition(now := self.store.get(batch.id)):
            assert time.monotonic() < end, now
            time.sleep(0.01)
        return now

    def lines(self, file_id: str | None) -> dict[str, dict[str, Any]]:
        if file_id is None:
            return {}
        assert self.files.get(file_id).purpose is Purpose.BATCH_OUTPUT
        rows = [json.loads(one) for one in self.blobs.path(file_id).read_bytes().splitlines()]
        made = {row["custom_id"]: row for row in rows}
        assert len(made) == len(rows)
        return made


@pytest.fixture
def house(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(batch_runner, "_TICK_SECONDS", 0.02)
    made = House(settings)
    yield made
    made.stop()


def test_every_request_gets_its_answer(house: House) -> None:
    house.start()
    made = house.create(*(line(f"r{n}") for n in range(30)), metadata={"for": "reviews"})
    assert made.status is BatchStatus.VALIDATING
    done = house.until(made)
    assert done.status is BatchStatus.COMPLETED
    assert (done.total, done.completed, done.failed, done.model) == (30, 30, 0, "ada")
    assert (done.input_tokens, done.output_tokens) == (60, 30)
    assert done.created_at <= (done.in_progress_at or 0) <= (done.finalizing_at or 0) <= (done.completed_at or 0)
    assert (done.expires_at - done.created_at, done.metadata) == (86_400, {"for": "reviews"})
    assert done.error_file is None
    answers = house.lines(done.output_file)
    assert answers.keys() == {f"r{n}" for n in range(30)}
    one = answers["r7"]
    assert one.keys() == {"id", "custom_id", "response", "error"}
    assert one["id"].startswith("batch_req_")
    assert one["error"] is None
    assert (one["response"]["status_code"], one["response"]["body"]["text"]) == (200, "r7")
    assert one["response"]["request_id"].startswith("req_")
    house.stop()  # which waits for the end of what is being finished
    assert not list(house.settings.batches_dir.iterdir())


def test_refusals_go_to_the_error_file(house: House) -> None:
    async def picky(body: dict[str, Any]) -> dict[str, Any]:
        if body["prompt"] == "bad":
            raise InvalidRequestError("Not this.", param="prompt", code="no")
        if body["prompt"] == "crash":
            raise RuntimeError("secret")
        return await echo(body)

    house.start(picky)
    done = house.until(house.create(line("good"), line("bad"), line("crash")))
    assert (done.status, done.completed, done.failed) == (BatchStatus.COMPLETED, 1, 2)
    assert house.lines(done.output_file).keys() == {"good"}
    refused = house.lines(done.error_file)
    assert refused["bad"]["response"]["status_code"] == 400
    assert refused["bad"]["response"]["body"] == {
        "error": {"message": "Not this.", "type": "invalid_request_error", "param": "prompt", "code": "no"}
    }
    assert refused["crash"]["response"]["status_code"] == 500
    assert "secret" not in json.dumps(refused["crash"])


def test_a_full_server_is_asked_again(house: House) -> None:
    asked: list[str] = []

    async def full_at_first(body: dict[str, Any]) -> dict[str, Any]:
        asked.append(body["prompt"])
        if len(asked) < 3:
            raise RateLimitError("Too many.")
        return await echo(body)

    house.start(full_at_first)
    assert house.until(house.create(line("a"))).completed == 1
    assert asked == ["a", "a", "a"]


def test_no_more_than_allowed_at_once(house: House) -> None:
    house.settings = house.settings.model_copy(update={"batch_concurrency": 3})
    at_once: list[int] = []
    running = 0

    async def counted(body: dict[str, Any]) -> dict[str, Any]:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0.001)
        running -= 1
        return await echo(body)

    house.start(counted)
    batches = [house.create(*(line(f"r{n}") for n in range(10))) for _ in range(2)]
    assert [house.until(batch).completed for batch in batches] == [10, 10]
    assert max(at_once) == 3


@pytest.mark.parametrize(
    ("raw", "code", "number", "param", "words"),
    [
        (b"", "empty_file", None, None, "empty"),
        (content(line("a")) + b"no json\n", "invalid_json_line", 2, None, "not JSON"),
        (content(line("a"), line("b"), line("a")), "duplicate_custom_id", 3, "custom_id", "'a' stands in line 1 too"),
        (content(line("a", url="/v1/embeddings")), "url_mismatch", 1, "url", "must be /v1/completions"),
        (content(line("a", method="GET")), "invalid_method", 1, "method", "must be POST"),
        (content(line("a", body={"model": "eve"})), "model_not_found", 1, "body.model", "'eve' does not exist"),
        (content({"custom_id": "a"}), "missing_required_parameter", 1, "method", "`method` is missing"),
    ],
)
def test_a_file_that_is_no_batch_fails_it(
    house: House, raw: bytes, code: str, number: int | None, param: str | None, words: str
) -> None:
    house.start()
    failed = house.until(house.create_from(raw))
    (error,) = failed.errors
    assert (failed.status, error.code, error.line, error.param) == (BatchStatus.FAILED, code, number, param)
    assert words in error.message
    assert (failed.total, failed.output_file, failed.in_progress_at) == (0, None, None)
    assert failed.failed_at


def test_cancelling_keeps_what_is_answered(house: House) -> None:
    async def slow_after_two(body: dict[str, Any]) -> dict[str, Any]:
        if body["prompt"] not in ("r0", "r1"):
            await asyncio.sleep(1000)
        return await echo(body)

    house.start(slow_after_two)
    made = house.create(*(line(f"r{n}") for n in range(40)))
    house.until(made, lambda batch: batch.completed == 2)
    assert house.service.cancel(made.id).status is BatchStatus.CANCELLING
    done = house.until(made)
    assert (done.status, done.total, done.completed, done.failed) == (BatchStatus.CANCELLED, 40, 2, 0)
    assert done.cancelling_at
    assert done.cancelled_at
    assert house.lines(done.output_file).keys() == {"r0", "r1"}
    with pytest.raises(InvalidRequestError, match="Cannot cancel a batch with status 'cancelled'"):
        house.service.cancel(made.id)


def test_a_batch_is_cancelled_before_anything_ran(house: House) -> None:
    made = house.create(line("a"))
    house.service.cancel(made.id)
    house.start()
    done = house.until(made)
    assert (done.status, done.output_file, done.error_file) == (BatchStatus.CANCELLED, None, None)


def test_what_is_not_done_in_time_expires(house: House) -> None:
    async def never_b(body: dict[str, Any]) -> dict[str, Any]:
        if body["prompt"] == "b":
            await asyncio.sleep(1000)
        return await echo(body)

    made = house.create(line("a"), line("b"), line("c"))
    house.start(never_b)
    house.until(made, lambda batch: batch.completed == 2)
    house.store.update(made.id, expires_at=int(time.time()) - 1)
    done = house.until(made)
    assert (done.status, done.completed, done.failed) == (BatchStatus.EXPIRED, 2, 1)
    assert done.expired_at
    late = house.lines(done.error_file)
    assert late.keys() == {"b"}
    assert (late["b"]["response"], late["b"]["error"]["code"]) == (None, "batch_expired")


def stuck_after(n: int, asked: list[str]) -> Endpoint:
    """Answers that many requests, and never another."""

    async def answer(body: dict[str, Any]) -> dict[str, Any]:
        if len(asked) >= n:
            await asyncio.sleep(1000)
        asked.append(body["prompt"])
        return await echo(body)

    return answer


def test_a_cancelled_batch_goes_on_with_what_has_no_answer(house: House) -> None:
    asked: list[str] = []
    house.start(stuck_after(4, asked))
    made = house.create(*(line(f"r{n}") for n in range(20)))
    house.until(made, lambda batch: batch.completed == 4)
    house.service.cancel(made.id)
    over = house.until(made)
    assert (over.status, len(house.lines(over.output_file))) == (BatchStatus.CANCELLED, 4)
    house.store.update(made.id, expires_at=over.created_at)  # the first window is over
    house.stop()

    resumed = house.service.resume(made.id)
    assert (resumed.status, resumed.completed) == (BatchStatus.IN_PROGRESS, 4)
    assert (resumed.cancelling_at, resumed.cancelled_at, resumed.output_file) == (None, None, None)
    assert resumed.expires_at >= int(time.time()) + 86_390
    with pytest.raises(NotFoundError):  # it grows again
        house.files.get(over.output_file or "")
    with pytest.raises(InvalidRequestError, match="in use by"):
        house.files.delete(made.input_file)
    house.start(stuck_after(1000, asked))
    done = house.until(made)
    assert (done.status, done.completed, done.failed, done.input_tokens) == (BatchStatus.COMPLETED, 20, 0, 40)
    assert (done.output_file, done.cancelled_at) == (over.output_file, None)
    assert house.lines(done.output_file).keys() == {f"r{n}" for n in range(20)}
    assert sorted(asked) == sorted(f"r{n}" for n in range(20))
    house.stop()
    assert not list(house.settings.batches_dir.iterdir())


def test_an_expired_batch_goes_on_and_refusals_stay(house: House) -> None:
    late = True
    asked: list[str] = []

    async def picky(body: dict[str, Any]) -> dict[str, Any]:
        if body["prompt"] in ("late 1", "late 2") and late:
            await asyncio.sleep(1000)
        asked.append(body["prompt"])
        if body["prompt"] == "bad":
            raise InvalidRequestError("Not this.")
        return await echo(body)

    house.start(picky)
    made = house.create(*(line(name) for name in ("a", "bad", "late 1", "late 2")))
    house.until(made, lambda batch: batch.completed + batch.failed == 2)
    house.store.update(made.id, expires_at=int(time.time()) - 1)
    over = house.until(made)
    assert (over.status, over.completed, over.failed) == (BatchStatus.EXPIRED, 1, 3)
    assert house.lines(over.error_file).keys() == {"bad", "late 1", "late 2"}

    late = False
    resumed = house.service.resume(made.id)
    assert (resumed.status, resumed.completed, resumed.failed) == (BatchStatus.IN_PROGRESS, 1, 1)
    assert resumed.expired_at is None
    done = house.until(made)
    assert (done.status, done.completed, done.failed) == (BatchStatus.COMPLETED, 3, 1)
    assert house.lines(done.output_file).keys() == {"a", "late 1", "late 2"}
    assert house.lines(done.error_file).keys() == {"bad"}
    assert sorted(asked) == ["a", "bad", "late 1", "late 2"]


def test_a_batch_that_expires_twice_counts_each_request_once(house: House) -> None:
    house.start(stuck_after(1, []))
    made = house.create(line("a"), line("b"), line("c"))
    for _ in range(2):
        house.until(made, lambda batch: batch.status is BatchStatus.IN_PROGRESS and batch.completed == 1)
        house.store.update(made.id, expires_at=int(time.time()) - 1)
        over = house.until(made)
        assert (over.status, over.completed, over.failed) == (BatchStatus.EXPIRED, 1, 2)
        assert len(house.lines(over.error_file)) == 2
        house.service.resume(made.id)


def test_a_batch_that_never_began_is_resumed_from_its_file(house: House) -> None:
    made = house.create(line("a"))
    house.service.cancel(made.id)
    house.start()
    house.until(made)
    assert house.service.resume(made.id).status is BatchStatus.VALIDATING
    assert house.until(made).status is BatchStatus.COMPLETED


def test_answers_whose_file_was_deleted_are_made_again(house: House) -> None:
    asked: list[str] = []
    house.start(stuck_after(2, asked))
    made = house.create(*(line(f"r{n}") for n in range(5)))
    house.until(made, lambda batch: batch.completed == 2)
    house.service.cancel(made.id)
    house.files.delete(house.until(made).output_file or "")
    house.stop()
    house.service.resume(made.id)
    house.start(stuck_after(1000, asked))
    done = house.until(made)
    assert (done.completed, len(asked)) == (5, 7)
    assert len(house.lines(done.output_file)) == 5


def test_what_cannot_be_resumed(house: House) -> None:
    house.start(stuck_after(1, []))
    made = house.create(line("a"), line("b"))
    house.until(made, lambda batch: batch.completed == 1)
    with pytest.raises(InvalidRequestError, match="Cannot resume a batch with status 'in_progress'"):
        house.service.resume(made.id)
    house.stop()
    house.service.cancel(made.id)
    with pytest.raises(InvalidRequestError, match="still being cancelled"):
        house.service.resume(made.id)
    house.start()
    house.until(made)
    house.stop()
    journal = house.settings.batches_dir / f"{made.id}.journal"
    kept = journal.read_bytes()
    journal.unlink()
    with pytest.raises(InvalidRequestError, match="the journal of its answers is not there"):
        house.service.resume(made.id)
    journal.write_bytes(kept)
    house.files.delete(made.input_file)
    with pytest.raises(InvalidRequestError, match="has been deleted meanwhile"):
        house.service.resume(made.id)
    with pytest.raises(NotFoundError):
        house.service.resume("batch_none")


def test_a_runner_that_stops_is_gone_on_with(house: House) -> None:
    asked: list[str] = []
    enough = threading.Event()

    async def stuck_after_ten(body: dict[str, Any]) -> dict[str, Any]:
        if len(asked) >= 10:
            enough.set()
            await asyncio.sleep(1000)
        asked.append(body["prompt"])
        return await echo(body)

    made = house.create(*(line(f"r{n}") for n in range(25)))
    house.start(stuck_after_ten)
    assert enough.wait(30)
    house.stop()
    assert house.store.get(made.id).status is BatchStatus.IN_PROGRESS

    async def go_on(body: dict[str, Any]) -> dict[str, Any]:
        asked.append(body["prompt"])
        return await echo(body)

    house.start(go_on)
    done = house.until(made)
    assert (done.completed, done.input_tokens) == (25, 50)
    assert sorted(asked) == sorted(f"r{n}" for n in range(25))
    assert len(house.lines(done.output_file)) == 25


def test_a_kill_at_the_very_end_is_made_good(house: House) -> None:
    """The answers are all there and the batch is being finished when the process dies."""
    made = house.create(line("a"), line("b"))
    house.settings.batches_dir.mkdir()
    journal = house.settings.batches_dir / f"{made.id}.journal"
    output, errors = (
        house.blobs.growing(f"file-{made.id.removeprefix('batch_')}-{kind}") for kind in ("output", "errors")
    )
    with AnswerLog(journal, output, errors) as log:
        for number, name in enumerate("ab", 1):
            log.add(number, json.dumps({"custom_id": name}).encode() + b"\n", ok=True)
    house.store.update(made.id, status=BatchStatus.IN_PROGRESS, total=2)
    house.store.update(made.id, status=BatchStatus.FINALIZING)
    house.start()
    done = house.until(made)
    assert (done.status, done.completed) == (BatchStatus.COMPLETED, 2)
    assert house.lines(done.output_file).keys() == {"a", "b"}


def test_two_thousand_lines(house: House) -> None:
    house.start()
    done = house.until(house.create(*(line(f"r{n}") for n in range(2000))))
    assert (done.completed, done.total) == (2000, 2000)
    assert len(house.lines(done.output_file)) == 2000


def test_what_cannot_be_a_batch_is_refused(house: House) -> None:
    file = house.files.create("r.jsonl", "batch", [content(line("a"))]).id
    other = house.files.create("t.jsonl", "fine-tune", [b'{"prompt": "a", "completion": " b"}\n']).id
    for fields, param in (
        ((file, "/v1/moderations", "24h"), "endpoint"),
        ((file, PATH, "1h"), "completion_window"),
        (("file-none", PATH, "24h"), "input_file_id"),
        ((other, PATH, "24h"), "input_file_id"),
        ((file, PATH, "24h", {"": "x"}), "metadata"),
    ):
        with pytest.raises(InvalidRequestError) as refused:
            house.service.create(CreateBatch(*fields))
        assert refused.value.param == param


def test_a_file_in_use_stays(house: House) -> None:
    made = house.create(line("a"))
    with pytest.raises(InvalidRequestError, match=f"in use by {made.id} \\(validating\\)"):
        house.files.delete(made.input_file)
    house.start()
    house.until(made)
    house.files.delete(made.input_file)


def test_an_upload_is_looked_at(house: House) -> None:
    good = house.files.create("r.jsonl", "batch", [content(line("a"))])
    bad = house.files.create("r.jsonl", "batch", [content(line("a"), line("a"))])
    assert (good.status, good.status_details) == ("processed", None)
    assert bad.status == "error"
    assert "Line 2: the custom_id 'a' stands in line 1 too" in (bad.status_details or "")
