"""`luthier deploy`, `deployments`, `undeploy`."""

import json

import httpx
import pytest

from luthier.cli.client import Client
from luthier.errors import UnavailableError


def deployment(**changes):
    return {
        "id": "prod",
        "model": "ada:ft-1",
        "status": "succeeded",
        "created_at": 1_700_000_000,
        "scale_settings": {"scale_type": "standard"},
    } | changes


def test_deploying(server, luthier):
    server.deployment = deployment()
    assert luthier("deploy", "prod", "ada:ft-1").output == "prod answers with ada:ft-1; it is ready.\n"
    assert server.bodies == [{"model": "ada:ft-1"}]
    server.deployment = deployment(status="running")
    assert "it is loading" in luthier("deploy", "prod", "ada:ft-1").output
    assert json.loads(luthier("deploy", "prod", "ada:ft-1", "--json").output)["status"] == "running"


def test_a_deployment_that_fails(server, luthier):
    server.deployment = deployment(status="failed", error={"code": "x", "message": "No weights."})
    result = luthier("deploy", "prod", "ada:ft-1")
    assert isinstance(result.exception, UnavailableError)
    assert result.exception.message == "prod could not be loaded: No weights."


def test_the_list(server, luthier):
    assert "luthier deploy NAME MODEL" in luthier("deployments").output
    server.deployments = [deployment(), deployment(id="old", status="failed", error={"message": "No weights."})]
    lines = luthier("deployments").output.splitlines()
    assert [line.split()[:3] for line in lines[-2:]] == [["prod", "ada:ft-1", "ready"], ["old", "ada:ft-1", "failed"]]
    assert lines[-1].endswith("No weights.")
    assert len(json.loads(luthier("deployments", "--json").output)["data"]) == 2


def test_undeploying(server, luthier):
    assert "prod is no deployment any more" in luthier("undeploy", "prod").output
    assert server.calls == ["DELETE /openai/deployments/prod"]


@pytest.mark.parametrize(
    ("base", "called"),
    [
        ("http://h:1/v1", "http://h:1/openai/deployments"),
        ("https://h/luthier/v1", "https://h/luthier/openai/deployments"),
        ("https://h/openai/v1", "https://h/openai/deployments"),
    ],
)
def test_azures_paths_stand_beside_v1(base, called):
    seen = []

    def answer(request):
        seen.append(request.url)
        return httpx.Response(200, json={})

    with Client(base, transport=httpx.MockTransport(answer)) as client:
        client.azure("GET", "deployments")
    assert str(seen[0]) == f"{called}?api-version=2022-12-01"
