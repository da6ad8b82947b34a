"""Azure's paths by today's `AzureOpenAI` and by plain HTTP."""

import json
import time
from collections.abc import Callable, Iterator

import openai
import pytest
from contract_helpers import Server, jsonl, rows

from luthier.server.openapi import document

VERSION = "2025-04-01-preview"
OLD_VERSION = "2022-12-01"
_OPTIONAL = "May be left out; a model that is neither the deployment, nor its model, nor that model's base is refused."
ENDPOINTS = [
    (method.upper(), path)
    for path, methods in json.loads(document())["paths"].items()
    if path.startswith("/openai/")
    for method in methods
]


def _of_each_endpoint(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that says something of `api-version` everywhere."""
    how = (
        "Wanted; any of the form 2022-12-01 or 2025-04-01-preview is taken, and decides how a file's status is worded."
    )
    for method, path in ENDPOINTS:
        test = pytest.mark.contract(f"{method} {path}", "api-version", "different", how=how)(test)
    return test


@pytest.fixture(scope="session")
def endpoint(server: Server) -> str:
    return server.url.removesuffix("/v1")


@pytest.fixture(scope="session")
def azure(endpoint: str) -> Iterator[openai.AzureOpenAI]:
    with openai.AzureOpenAI(azure_endpoint=endpoint, api_key="sk-test", api_version=VERSION, max_retries=0) as client:
        yield client


@pytest.fixture
def prod(server: Server, endpoint: str) -> Iterator[str]:
    """A deployment of `ada` under a name of one's own."""
    url = f"{endpoint}/openai/deployments/prod?api-version={OLD_VERSION}"
    answer = server.http.put(url, json={"model": "ada"})
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded"), answer.text
    yield "prod"
    assert server.http.delete(url).json() == {"id": "prod", "object": "deployment", "deleted": True}


def call(server: Server, method: str, path: str, version: str | None = OLD_VERSION, **options: object):
    url = server.url.removesuffix("/v1") + path
    return server.http.request(method, url, params={"api-version": version} if version else {}, **options)


@pytest.mark.contract("PUT /openai/deployments/{deployment}", ("", "model"), "honoured")
@pytest.mark.contract(
    "POST /openai/deployments/{deployment}/completions",
    "model",
    "different",
    how=_OPTIONAL,
)
def test_a_completion_of_a_deployment(azure: openai.AzureOpenAI, endpoint: str, prod: str) -> None:
    by_model = azure.completions.create(model=prod, prompt="a", max_tokens=2, temperature=0)
    assert by_model.model == prod
    with openai.AzureOpenAI(
        azure_endpoint=endpoint, azure_deployment=prod, azure_ad_token="token", api_version=VERSION
    ) as other:
        by_endpoint = other.completions.create(model="ada", prompt="a", max_tokens=2, temperature=0)
        assert by_endpoint.choices == by_model.choices
        with pytest.raises(openai.BadRequestError, match="answers with 'ada'"):
            other.completions.create(model="gpt-4o-nobody", prompt="a")
        chunks = list(other.completions.create(model="ada", prompt="a", max_tokens=2, temperature=0, stream=True))
        assert "".join(chunk.choices[0].text for chunk in chunks) == by_model.choices[0].text


@pytest.mark.contract(
    "POST /openai/deployments/{deployment}/completions", "*", "honoured", how="As `POST /v1/completions`."
)
def test_a_models_own_name_needs_no_deployment(azure: openai.AzureOpenAI, client: openai.OpenAI) -> None:
    asked = {"prompt": ["a", "b"], "max_tokens": 2, "temperature": 0, "logprobs": 2, "echo": True}
    here, there = azure.completions.create(model="ada", **asked), client.completions.create(model="ada", **asked)
    assert (here.choices, here.usage) == (there.choices, there.usage)


@pytest.mark.contract("POST /openai/deployments/{deployment}/embeddings", "", "honoured")
@pytest.mark.contract(
    "POST /openai/deployments/{deployment}/embeddings", "*", "honoured", how="As `POST /v1/embeddings`."
)
@pytest.mark.contract("POST /openai/deployments/{deployment}/embeddings", "model", "different", how=_OPTIONAL)
def test_embeddings_of_a_deployment(azure: openai.AzureOpenAI, client: openai.OpenAI, server: Server) -> None:
    put = call(server, "PUT", "/openai/deployments/vectors", json={"model": "text-embedding-ada-002"})
    assert put.json()["status"] == "succeeded", put.text
    there = client.embeddings.create(model="text-embedding-ada-002", input=["a", "b"])
    for name in ("vectors", "text-embedding-ada-002"):
        here = azure.embeddings.create(model=name, input=["a", "b"])
        assert (here.data, here.usage, here.model) == (there.data, there.usage, name)
    assert client.embeddings.create(model="vectors", input="a").data == there.data[:1]
    wrong = call(server, "POST", "/openai/deployments/vectors/embeddings", json={"model": "ada", "input": "a"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "model")
    with pytest.raises(openai.BadRequestError, match="makes embeddings"):
        azure.completions.create(model="vectors", prompt="a")
    model = call(server, "GET", "/openai/models/text-embedding-ada-002").json()
    assert model["capabilities"] == {
        **dict.fromkeys(("inference", "embeddings"), True),
        **dict.fromkeys(("fine_tune", "completion", "chat_completion"), False),
        "scale_types": ["standard", "manual"],
    }
    assert call(server, "DELETE", "/openai/deployments/vectors").json()["deleted"]


def test_a_deployed_name_is_a_model_everywhere(client: openai.OpenAI, endpoint: str, prod: str) -> None:
    assert client.completions.create(model=prod, prompt="a", max_tokens=1).model == prod
    assert client.models.retrieve(prod).to_dict()["parent"] == "ada"
    assert prod in {model.id for model in client.models.list()}
    with openai.OpenAI(base_url=f"{endpoint}/openai/v1/", api_key="sk-test") as newest:
        assert newest.completions.create(model=prod, prompt="a", max_tokens=1).model == prod
        assert prod in {model.id for model in newest.models.list()}
        assert newest.files.list().data == client.files.list().data
        assert newest.fine_tuning.jobs.list().data == client.fine_tuning.jobs.list().data


@pytest.mark.parametrize("version", [None, "preview", "v1", "2025-01-01"])
def test_under_v1_a_version_may_be_left_out(server: Server, version: str | None) -> None:
    assert call(server, "GET", "/openai/v1/models", version).status_code == 200


def test_a_deployment_that_is_not_there(azure: openai.AzureOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        azure.completions.create(model="nobody", prompt="a")
    assert refused.value.code == "DeploymentNotFound"


@pytest.mark.contract("GET /openai/files", "purpose", "honoured")
@pytest.mark.contract("POST /openai/fine_tuning/jobs", "", "honoured")
@pytest.mark.contract("POST /openai/fine_tuning/jobs", "*", "honoured", how="As `POST /v1/fine_tuning/jobs`.")
@pytest.mark.contract("GET /openai/fine_tuning/jobs", ("", "after", "limit", "metadata"), "honoured")
@pytest.mark.contract("GET /openai/fine_tuning/jobs/{job_id}", "", "honoured")
@pytest.mark.contract("POST /openai/fine_tuning/jobs/{job_id}/cancel", "", "honoured")
@pytest.mark.contract("GET /openai/fine_tuning/jobs/{job_id}/events", ("", "after", "limit"), "honoured")
@pytest.mark.contract("GET /openai/fine_tuning/jobs/{job_id}/checkpoints", ("", "after", "limit"), "honoured")
def test_files_and_jobs_of_todays_client(azure: openai.AzureOpenAI) -> None:
    file = azure.files.create(file=("t.jsonl", jsonl(rows(4))), purpose="fine-tune")
    assert azure.files.wait_for_processing(file.id, max_wait_seconds=1).status == "processed"
    assert azure.files.content(file.id).read() == jsonl(rows(4))
    assert file.id in {one.id for one in azure.files.list(purpose="fine-tune")}
    jobs = azure.fine_tuning.jobs
    job = jobs.create(training_file=file.id, model="ada", metadata={"who": "azure"})
    assert job.id.startswith("ftjob-")
    assert [one.id for one in jobs.list(limit=1, metadata={"who": "azure"}).data] == [job.id]
    assert job.id not in {one.id for one in jobs.list(after=job.id)}
    assert jobs.cancel(job.id).id == jobs.retrieve(job.id).id == job.id
    first = jobs.list_events(job.id, limit=1)
    assert first.has_more
    assert first.data[0].id not in {event.id for event in jobs.list_events(job.id, after=first.data[0].id)}
    assert jobs.checkpoints.list(job.id, limit=1).data == []
    with pytest.raises(openai.BadRequestError, match="no checkpoint"):
        jobs.checkpoints.list(job.id, after="ftckpt-none")


@pytest.mark.contract("POST /openai/fine_tuning/jobs/{job_id}/pause", "", "honoured")
@pytest.mark.contract("POST /openai/fine_tuning/jobs/{job_id}/resume", "", "honoured")
def test_a_job_is_paused_and_goes_on(azure: openai.AzureOpenAI, server: Server) -> None:
    file = azure.files.create(file=("t.jsonl", jsonl(rows(8))), purpose="fine-tune")
    jobs = azure.fine_tuning.jobs
    job = jobs.create(
        training_file=file.id, model="ada", extra_body={"hyperparameters": {"n_epochs": 50, "batch_size": 1}}
    )
    jobs.pause(job.id)
    deadline = time.monotonic() + 120
    while (job := jobs.retrieve(job.id)).status != "paused":
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
    assert call(server, "GET", f"/openai/fine-tunes/{job.id}").json()["status"] == "notRunning"
    assert jobs.resume(job.id).status == "queued"
    jobs.cancel(job.id)


@pytest.mark.contract("GET /openai/engines", "", "honoured")
@pytest.mark.contract("GET /openai/engines/{engine}", "", "honoured")
@pytest.mark.contract("POST /openai/engines/{engine}", "", "honoured")
@pytest.mark.contract("POST /openai/engines/{engine}", "*", "honoured", how="As `POST /v1/engines/{engine}`.")
@pytest.mark.contract("POST /openai/engines/{engine}/completions", "", "honoured")
@pytest.mark.contract(
    "POST /openai/engines/{engine}/completions", "*", "honoured", how="As `POST /v1/engines/{engine}/completions`."
)
@pytest.mark.contract("POST /openai/engines/{engine}/generate", "", "honoured")
@pytest.mark.contract(
    "POST /openai/engines/{engine}/generate", "*", "honoured", how="As `POST /v1/engines/{engine}/generate`."
)
@pytest.mark.contract("POST /openai/engines/{engine}/chat/completions", "", "honoured")
@pytest.mark.contract(
    "POST /openai/engines/{engine}/chat/completions",
    "*",
    "honoured",
    how="As `POST /v1/engines/{engine}/chat/completions`.",
)
@pytest.mark.contract("POST /openai/engines/{engine}/embeddings", "", "honoured")
@pytest.mark.contract(
    "POST /openai/engines/{engine}/embeddings", "*", "honoured", how="As `POST /v1/engines/{engine}/embeddings`."
)
def test_engines_are_there_too(server: Server, prod: str) -> None:
    listed = call(server, "GET", "/openai/engines").json()["data"]
    assert {"ada", prod} <= {engine["id"] for engine in listed}
    assert call(server, "GET", f"/openai/engines/{prod}").json()["ready"]
    assert call(server, "POST", f"/openai/engines/{prod}", json={"replicas": 1}).json()["id"] == prod
    made = call(server, "POST", f"/openai/engines/{prod}/completions", json={"prompt": "a", "max_tokens": 1})
    assert made.json()["model"] == prod
    generated = call(server, "POST", f"/openai/engines/{prod}/generate", json={"context": "a", "length": 1})
    assert generated.status_code == 200
    asked = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}
    answered = call(server, "POST", "/openai/engines/gpt-4o-mini/chat/completions", json=asked)
    assert answered.json()["model"] == "gpt-4o-mini"
    embedded = call(server, "POST", "/openai/engines/text-embedding-ada-002/embeddings", json={"input": "a"})
    assert embedded.json()["model"] == "text-embedding-ada-002"


@pytest.mark.contract("POST /openai/batches", "", "honoured")
@pytest.mark.contract("POST /openai/batches", "*", "honoured", how="As `POST /v1/batches`.")
@pytest.mark.contract("GET /openai/batches", ("", "after", "limit"), "honoured")
@pytest.mark.contract("GET /openai/batches/{batch_id}", "", "honoured")
@pytest.mark.contract("POST /openai/batches/{batch_id}/cancel", "", "honoured")
def test_a_batch_of_todays_client(azure: openai.AzureOpenAI, prod: str) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": prod, "prompt": "a"}}
    file = azure.files.create(file=("b.jsonl", json.dumps(line).encode() + b"\n"), purpose="batch")
    batch = azure.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
    deadline = time.monotonic() + 60
    while (batch := azure.batches.retrieve(batch.id)).status != "completed":
        assert time.monotonic() < deadline, batch
        time.sleep(0.05)
    (answer,) = azure.files.content(batch.output_file_id).text.splitlines()
    assert json.loads(answer)["response"]["body"]["model"] == prod
    assert [one.id for one in azure.batches.list(limit=1).data] == [batch.id]
    assert batch.id not in {one.id for one in azure.batches.list(after=batch.id)}
    with pytest.raises(openai.BadRequestError):
        azure.batches.cancel(batch.id)


def test_files_say_their_state_in_the_versions_words(server: Server) -> None:
    file = call(server, "POST", "/openai/files", files={"file": ("t.jsonl", b"no\n")}, data={"purpose": "fine-tune"})
    assert file.status_code == 201
    assert file.headers["location"] == f"/openai/files/{file.json()['id']}"
    assert (file.json()["status"], file.json()["error"]["code"]) == ("failed", "jsonlValidationFailed")
    for version, status in (("2024-06-01", "failed"), ("2024-07-01-preview", "error"), ("2024-10-21", "error")):
        assert call(server, "GET", file.headers["location"], version).json()["status"] == status
    assert call(server, "DELETE", file.headers["location"]).json()["deleted"]


@_of_each_endpoint
@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_each_path_wants_a_version(server: Server, method: str, path: str) -> None:
    there = path.replace("{", "").replace("}", "")
    for version in (None, "2022-13-01"):
        answer = call(server, method, there, version, **({"json": {}} if method in ("POST", "PUT") else {}))
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["target"]) == (400, "api-version", "api-version")


@pytest.mark.parametrize("version", ["", " ", "2022", "2022-12-01-", "2022-12-01 ", "latest", "v1", "2022-12-32"])
def test_versions_that_are_none(server: Server, version: str) -> None:
    url = server.url.removesuffix("/v1") + "/openai/models"
    answer = server.http.get(url, params={"api-version": version})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidApiVersionParameter")


@pytest.mark.parametrize("version", [OLD_VERSION, VERSION, "2030-01-31", "2023-09-15-preview"])
def test_any_wellformed_version_is_taken(server: Server, version: str) -> None:
    assert call(server, "GET", "/openai/models", version).status_code == 200


@pytest.mark.contract(
    "POST /openai/files/import",
    "content_url",
    "different",
    how="Refused unless its host stands in LUTHIER_IMPORT_HOSTS; the file is there with the answer.",
)
@pytest.mark.contract("POST /openai/files/import", ("", "filename", "purpose"), "honoured")
def test_a_file_from_a_url(server: Server, endpoint: str) -> None:
    there = call(server, "POST", "/openai/files", files={"file": ("a", jsonl(rows(4)))}, data={"purpose": "fine-tune"})
    source = f"{endpoint}/v1/files/{there.json()['id']}/content"
    asked = {"content_url": source, "filename": "b.jsonl", "purpose": "fine-tune"}
    made = call(server, "POST", "/openai/files/import", json=asked)
    assert made.status_code == 201, made.text
    assert (made.json()["status"], made.json()["filename"]) == ("succeeded", "b.jsonl")
    assert call(server, "GET", f"{made.headers['location']}/content").content == jsonl(rows(4))
    refused = call(server, "POST", "/openai/files/import", json={**asked, "content_url": "https://example.com/t"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    missing = call(server, "POST", "/openai/files/import", json={**asked, "content_url": f"{source}-not"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (400, "fileImportFailed")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"scale_settings": {"scale_type": "standard"}}, "model"),
        ({"model": "ada"}, "scale_settings"),
        ({"model": "ada", "scale_settings": {}}, "scale_settings.scale_type"),
        ({"model": "ada", "scale_settings": {"scale_type": "other"}}, "scale_settings.scale_type"),
        ({"model": "ada", "scale_settings": {"scale_type": "manual"}}, "scale_settings.capacity"),
        ({"model": "ada", "scale_settings": {"scale_type": "manual", "capacity": 0}}, "scale_settings.capacity"),
        ({"model": "ada", "scale_settings": {"scale_type": "standard", "capacity": 1}}, "scale_settings.capacity"),
        ({"model": "ada", "scale_settings": {"scale_type": "standard"}, "size": 1}, "size"),
    ],
)
def test_deployments_that_are_refused(server: Server, body: dict[str, object], param: str) -> None:
    answer = call(server, "POST", "/openai/deployments", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert answer.json()["error"]["code"] == "invalidPayload"


def test_a_model_that_nobody_knows_cannot_be_deployed(server: Server) -> None:
    body = {"model": "nobody", "scale_settings": {"scale_type": "standard"}}
    answer = call(server, "POST", "/openai/deployments", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.contract(
    "PUT /openai/deployments/{deployment}", ("scale_settings", "scale_settings.scale_type"), "honoured"
)
@pytest.mark.contract(
    "PUT /openai/deployments/{deployment}",
    "scale_settings.capacity",
    "different",
    how="Wanted with `manual`, kept and shown; one copy of the weights serves every capacity.",
)
def test_names_of_ones_own(server: Server, prod: str) -> None:
    scale = {"scale_type": "manual", "capacity": 3}
    again = call(server, "PUT", f"/openai/deployments/{prod}", json={"model": "babbage", "scale_settings": scale})
    assert (again.json()["model"], again.json()["scale_settings"]) == ("babbage", scale)
    for name in ("a%20b", "x" * 65, "-a"):
        assert call(server, "PUT", f"/openai/deployments/{name}", json={"model": "ada"}).status_code == 400


def test_errors_bear_what_azures_clients_read(server: Server) -> None:
    for method, path, status, code in (
        ("GET", "/openai/fine-tunes/ft-none", 404, "fine_tune_id_not_found"),
        ("GET", "/openai/nowhere", 404, "unknown_url"),
        ("PATCH", "/openai/files", 405, "method_not_allowed"),
        ("POST", "/openai/fine-tunes", 400, "invalidPayload"),
    ):
        answer = call(server, method, path)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code", "target"}
        assert answer.json()["error"]["code"] == code
