"""A server whose state lies in PostgreSQL: the main job, and no second server beside it."""

import time
from pathlib import Path

import openai
import pytest
from contract_helpers import jsonl, rows, serve
from postgresql_server import PostgresServer

from luthier.config import Settings
from luthier.errors import ConfigError
from luthier.server.wiring import open_services


def test_the_main_job(postgresql: PostgresServer, tiny_base: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", database_url=postgresql.database())
    with serve(settings) as server, openai.OpenAI(base_url=server.url, api_key="sk-test", max_retries=0) as client:
        train = client.files.create(file=("train.jsonl", jsonl(rows(8))), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(
            training_file=train.id,
            model=tiny_base.as_posix(),
            hyperparameters={"n_epochs": 1},
            metadata={"odd": "a\0b"},
        )
        deadline = time.monotonic() + 400
        while (job := client.fine_tuning.jobs.retrieve(job.id)).status in ("queued", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert job.status == "succeeded", job.error
        assert job.metadata == {"odd": "a\0b"}
        assert [one.id for one in client.fine_tuning.jobs.list(metadata={"odd": "a\0b"})] == [job.id]
        events = [event.message for event in client.fine_tuning.jobs.list_events(job.id)]
        assert (events[0], events[-1]) == ("Fine-tune succeeded", f"Created fine-tune: {job.id}")
        assert client.files.content(job.result_files[0]).text.startswith("step,")
        assert job.fine_tuned_model is not None
        assert client.completions.create(model=job.fine_tuned_model, prompt="a", max_tokens=1).usage is not None
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("ada\0")

        elsewhere = settings.model_copy(update={"home": tmp_path / "another home"})
        with pytest.raises(ConfigError, match="Another server already works on the database"):
            open_services(elsewhere).__enter__()

        assert client.models.delete(job.fine_tuned_model).deleted
    assert not (settings.home / "luthier.db").exists()
