"""Azure's walk by `openai==0.27.2`: files, a fine-tune, a deployment, a completion, and everything deleted again."""

import json
import re
from pathlib import Path

import pytest
from contract_helpers import OldClient, Server, write

VERSION = "2022-12-01"


@pytest.fixture(params=["azure", "azure_ad"])
def azure(request: pytest.FixtureRequest, old_python: Path, server: Server, tmp_path: Path) -> OldClient:
    """The old client, set up as for Azure: its URL has no /v1."""
    base = server.url.removesuffix("/v1")
    more = {"OPENAI_API_TYPE": request.param, "OPENAI_API_VERSION": VERSION}
    return OldClient(old_python, base, tmp_path, more)


WALK = """
from openai import cli
import time

def state(file):
    return openai.File.retrieve(file)["status"]

known = [file["id"] for file in openai.File.list().data if file["filename"] in ("training.jsonl", "validation.jsonl")]
for file in known:
    openai.File.delete(sid=file)

training, validation = (cli.FineTune._get_or_upload(name, True) for name in ("training.jsonl", "validation.jsonl"))
again = cli.FineTune._get_or_upload(training, True)
while not {state(training), state(validation)} <= {"succeeded", "failed"}:
    time.sleep(0.1)
content = openai.File.download(training).decode("utf-8")

job = openai.FineTune.create(
    training_file=training, validation_file=validation, model="babbage", compute_classification_metrics=True,
    classification_n_classes=3, n_epochs=2, batch_size=3, learning_rate_multiplier=0.3,
)
messages = [(event["created_at"], event["message"]) for event in openai.FineTune.stream_events(job["id"])]
finished = openai.FineTune.retrieve(id=job["id"])
jobs = [one["id"] for one in openai.FineTune.list().data]
events = openai.FineTune.list_events(id=job["id"]).data

model = finished["fine_tuned_model"]
made = openai.Deployment.create(model=model, scale_settings={"scale_type": "standard"})
kept = openai.Deployment.retrieve(id=made["id"])
ready = [one["id"] for one in openai.Deployment.list().data if one["status"] == "succeeded"]
answer = openai.Completion.create(
    deployment_id=made["id"], prompt="When I go home, I want a", temperature=0, stop=".", max_tokens=4
)
vectors = openai.Deployment.create(model="text-embedding-ada-002", scale_settings={"scale_type": "standard"})
embedded = openai.Embedding.create(engine=vectors["id"], input=["a", "b"])
openai.Deployment.delete(sid=vectors["id"])
streamed = openai.Completion.create(engine=made["id"], model=model, prompt="When I", max_tokens=2, stream=True)
chunks = [chunk["choices"][0]["text"] for chunk in streamed]

gone = openai.Deployment.delete(sid=made["id"])
try:
    openai.Deployment.retrieve(id=made["id"])
except openai.error.InvalidRequestError as error:
    refusal = [error.http_status, error.code]
openai.FineTune.delete(sid=job["id"])
openai.Model.delete(sid=model)
print(json.dumps({
    "deployed": made["id"], "first_status": job["status"],
    "states": [state(training), state(validation)], "same": again == training,
    "content": content, "messages": messages, "status": finished["status"], "listed": job["id"] in jobs,
    "events": [event["message"] for event in events], "model": model, "base": finished["model"],
    "deployment": made, "kept": kept == made, "ready": made["id"] in ready, "answer": answer, "chunks": chunks,
    "vectors": [vectors["status"], len(embedded.data), len(embedded.data[0]["embedding"])],
    "gone": gone, "refusal": refusal, "jobs_left": [one["id"] for one in openai.FineTune.list().data].count(job["id"]),
    "files": [file["status"] for file in finished["training_files"] + finished["result_files"]],
}))
"""


@pytest.mark.contract("GET /openai/files", "", "honoured")
@pytest.mark.contract("POST /openai/files", ("", "file", "purpose"), "honoured")
@pytest.mark.contract("GET /openai/files/{file_id}", "", "honoured")
@pytest.mark.contract("GET /openai/files/{file_id}/content", "", "honoured")
@pytest.mark.contract("DELETE /openai/files/{file_id}", "", "honoured")
@pytest.mark.contract("POST /openai/fine-tunes", "", "honoured")
@pytest.mark.contract("POST /openai/fine-tunes", "*", "honoured", how="As `POST /v1/fine-tunes`.")
@pytest.mark.contract("GET /openai/fine-tunes", "", "honoured")
@pytest.mark.contract("GET /openai/fine-tunes/{fine_tune_id}", "", "honoured")
@pytest.mark.contract("DELETE /openai/fine-tunes/{fine_tune_id}", "", "honoured")
@pytest.mark.contract("GET /openai/fine-tunes/{fine_tune_id}/events", ("", "stream"), "honoured")
@pytest.mark.contract("GET /fine-tunes/{fine_tune_id}/events", "", "honoured")
@pytest.mark.contract(
    "POST /openai/deployments", ("", "model", "scale_settings", "scale_settings.scale_type"), "honoured"
)
@pytest.mark.contract("GET /openai/deployments", "", "honoured")
@pytest.mark.contract("GET /openai/deployments/{deployment}", "", "honoured")
@pytest.mark.contract("DELETE /openai/deployments/{deployment}", "", "honoured")
@pytest.mark.contract("POST /openai/deployments/{deployment}/completions", "", "honoured")
@pytest.mark.contract("DELETE /openai/models/{model}", "", "honoured")
def test_the_walk(azure: OldClient) -> None:
    wanted = {"store": "apple.", "work": "coffee.", "home": "soda."}
    rows = [{"prompt": f"When I go to {place}, I want", "completion": f" {thing}"} for place, thing in wanted.items()]
    for name in ("training.jsonl", "validation.jsonl"):
        (azure.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    told = json.loads(azure.run(WALK).splitlines()[-1])
    assert told["first_status"] == "notRunning"
    assert told["states"] == told["files"] == ["succeeded", "succeeded"]
    assert told["same"]
    assert told["content"] == (azure.folder / "training.jsonl").read_text(encoding="utf-8")
    assert told["messages"][0][1].startswith("Created fine-tune: ft-")
    assert told["messages"][-1][1] == "Fine-tune succeeded"
    assert told["events"] == [message for _, message in told["messages"]]
    assert (told["status"], told["base"], told["listed"], told["jobs_left"]) == ("succeeded", "babbage", True, 0)
    assert re.fullmatch(r"babbage:ft-personal(-\d\d\d\d)(-\d\d){5}", told["model"])
    deployment = told["deployment"]
    assert re.fullmatch(r"deployment-\w{24}", deployment.pop("id"))
    assert deployment.pop("created_at") <= deployment.pop("updated_at")
    assert deployment == {
        "object": "deployment",
        "model": told["model"],
        "owner": "organization-owner",
        "scale_settings": {"scale_type": "standard"},
        "status": "succeeded",
    }
    assert told["kept"]
    assert told["ready"]
    assert told["answer"]["model"] == told["deployed"]
    assert told["answer"]["usage"]["completion_tokens"] >= 1
    assert isinstance(told["chunks"], list)
    assert told["vectors"][:2] == ["succeeded", 2]
    assert told["vectors"][2] > 1
    assert told["gone"]["deleted"]
    assert told["refusal"] == [404, "DeploymentNotFound"]


REFRESH = """
import asyncio
file = openai.File.create(open("t.jsonl", "rb"), "fine-tune", user_provided_filename="t.jsonl")
made = openai.Deployment.create(model="ada", scale_settings={"scale_type": "Manual", "capacity": 2})
async def all():
    return [
        await openai.File.aretrieve(file["id"]), await openai.Deployment.aretrieve(made["id"]),
        await openai.Model.aretrieve("ada"),
    ]
print(json.dumps(asyncio.run(all())))
job = openai.FineTune.create(training_file=file["id"], model="ada")
print(json.dumps([asyncio.run(openai.FineTune.aretrieve(job["id"])), openai.FineTune.cancel(job["id"])]))
openai.Deployment.delete(sid=made["id"])
"""


@pytest.mark.contract("GET /openai/deployments/{name}/refresh", "", "honoured")
@pytest.mark.contract("POST /openai/fine-tunes/{fine_tune_id}/cancel", "", "honoured")
@pytest.mark.contract(
    "POST /openai/deployments",
    "scale_settings.capacity",
    "different",
    how="Wanted with `manual`, kept and shown; one copy of the weights serves every capacity.",
)
def test_the_async_retrieves_all_go_to_one_path(azure: OldClient) -> None:
    write(azure.folder / "t.jsonl", 4)
    first, second = azure.run(REFRESH).splitlines()
    file, deployment, model = json.loads(first)
    assert (file["object"], file["status"]) == ("file", "succeeded")
    assert (deployment["object"], deployment["scale_settings"]) == (
        "deployment",
        {"scale_type": "manual", "capacity": 2},
    )
    assert (model["object"], model["id"]) == ("model", "ada")
    job, cancelled = json.loads(second)
    assert (job["object"], job["id"]) == ("fine-tune", cancelled["id"])
    assert cancelled["status"] in ("canceled", "running")


MODELS = """
print(json.dumps([openai.Model.list().data, openai.Model.retrieve(id="ada"), openai.Model.retrieve(id="gpt-4o-mini")]))
"""
CHAT = """
chat = openai.Deployment.create(model="gpt-4o-mini", scale_settings={"scale_type": "standard"})
asked = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 4, "temperature": 0}
whole = openai.ChatCompletion.create(engine=chat["id"], **asked)
parts = list(openai.ChatCompletion.create(engine=chat["id"], stream=True, **asked))
openai.Deployment.delete(sid=chat["id"])
pieces = [part["choices"][0]["delta"].get("content") or "" for part in parts if part["choices"]]
print(json.dumps([chat["status"], whole["model"] == chat["id"], whole["choices"][0]["message"]["content"], pieces]))
"""


@pytest.mark.contract("GET /openai/models", "", "honoured")
@pytest.mark.contract("GET /openai/models/{model}", "", "honoured")
def test_models_say_what_they_can_do(azure: OldClient) -> None:
    listed, ada, mini = json.loads(azure.run(MODELS))
    assert mini["capabilities"]["chat_completion"]
    assert ada in listed
    assert ada["capabilities"] == {
        "fine_tune": True,
        "inference": True,
        "completion": True,
        "chat_completion": False,
        "embeddings": False,
        "scale_types": ["standard", "manual"],
    }
    assert (ada["status"], ada["lifecycle_status"]) == ("succeeded", "generally-available")
    assert ada["deprecation"] == {"fine_tune": None, "inference": None}


@pytest.mark.contract("POST /openai/deployments/{deployment}/chat/completions", "", "honoured")
def test_a_deployment_chats(azure: OldClient) -> None:
    status, named, content, pieces = json.loads(azure.run(CHAT))
    assert (status, named) == ("succeeded", True)
    assert "".join(pieces) == content
