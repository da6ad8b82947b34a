"""Every path that today's client can ask is either there or told to be missing: a newer client shows what is new."""

import json
import re
from pathlib import Path

import openai.resources

from luthier.server.openapi import document
from luthier.server.unoffered import why_not

_QUOTED = re.compile(r'f?"(/[a-z_]+[^"\s]*)"')
_NO_PATHS = ("/v1", "/openai")  # roots that the client itself puts before its paths


def paths_of_client() -> set[str]:
    """As they stand in its source: `/batches/{batch_id}/cancel`."""
    folder = Path(openai.resources.__path__[0])
    found = {path for file in folder.rglob("*.py") for path in _QUOTED.findall(file.read_text(encoding="utf-8"))}
    return {path.partition("?")[0] for path in found if not path.startswith(_NO_PATHS)}


def shape(path: str) -> str:
    """A path whatever its ids are called."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def test_the_clients_paths_are_found() -> None:
    assert {"/batches", "/batches/{batch_id}/cancel", "/fine_tuning/jobs", "/moderations"} <= paths_of_client()


def test_each_is_offered_or_told() -> None:
    offered = {shape(known) for known in json.loads(document())["paths"]}
    unknown = {path for path in paths_of_client() if shape(f"/v1{path}") not in offered and not why_not(f"/v1{path}")}
    assert not unknown
