"""`luthier pull` and `luthier models`, with a folder in place of weights to pull."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from luthier.catalogue.pull import PullProgress, Report, Stage
from luthier.cli.main import app
from luthier.config import Settings
from luthier.domain.hyperparameters import Method
from luthier.domain.model import TunedModel
from luthier.errors import InvalidRequestError, NotFoundError
from luthier.modeling.bases import BaseStore, LocalBase
from luthier.storage.db import Database
from luthier.storage.models import TunedModelStore


@pytest.fixture
def mine(settings: Settings, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings, in the environment too, whose alias file has the tiny base as `mine`."""
    monkeypatch.setenv("LUTHIER_HOME", str(settings.home))
    settings.home.mkdir()
    settings.aliases_path.write_text(
        "[aliases]\nmy-ada = 'mine'\n"
        f"[weights.mine]\ntitle = 'Mine'\nlicense = 'MIT'\nfolder = '{tiny_base.as_posix()}'\n"
    )
    return settings


def luthier(*words: str) -> str:
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_models_lists_names_size_licence_origin_and_folder(mine: Settings, tiny_base: Path) -> None:
    answer = json.loads(luthier("models", "--json"))
    cards = {card["key"]: card for card in answer["bases"]}
    assert cards["mine"] == {
        "key": "mine",
        "title": "Mine",
        "names": ["my-ada"],
        "pulled": True,
        "size_bytes": sum(path.stat().st_size for path in tiny_base.iterdir()),
        "context_length": None,
        "license": "MIT",
        "license_url": None,
        "accept_license": False,
        "origin": tiny_base.as_posix(),
        "revision": None,
        "pulled_at": None,
        "path": str(tiny_base),
    }
    assert cards["smollm2-135m-instruct"]["pulled"] is False
    assert answer["tuned"] == []
    assert not (mine.home / "luthier.db").exists()  # looking makes nothing


def test_models_tells_people_how_to_pull(mine: Settings) -> None:
    del mine
    text = luthier("models")
    for word in ("Mine", "my-ada", "MIT", "luthier pull smollm2-135m-instruct", "luthier pull gemma-3-270m --accept"):
        assert word in text


def test_models_shows_what_was_tuned_here(mine: Settings) -> None:
    model = TunedModel("ada:ft-personal-2023", "mine", "my-ada", Method.LORA, "a-folder", "ft-1", created_at=1)
    TunedModelStore(Database.open(mine)).add(model)
    (card,) = json.loads(luthier("models", "--json"))["tuned"]
    assert (card["id"], card["parent"], card["method"]) == ("ada:ft-personal-2023", "my-ada", "lora")
    assert card["path"] == str(mine.tuned_dir / "a-folder")
    assert "ada:ft-personal-2023" in luthier("models")


def test_models_names_what_is_damaged_and_what_to_do(mine: Settings) -> None:
    pulled = mine.models_dir / "smollm2-135m-instruct"
    pulled.mkdir(parents=True)
    (pulled / "luthier.json").write_text("{", encoding="utf-8")
    gone = mine.home / "gone"
    with mine.aliases_path.open("a", encoding="utf-8") as file:
        file.write(f"[weights.gone]\ntitle = 'Gone'\nfolder = '{gone.as_posix()}'\n")
    answer = json.loads(luthier("models", "--json"))
    assert {card["key"] for card in answer["bases"]}.isdisjoint({"smollm2-135m-instruct", "gone"})
    reasons = {card["path"]: card["reason"] for card in answer["damaged"]}
    assert reasons.keys() == {str(pulled), str(gone)}
    assert "luthier.json is damaged" in reasons[str(pulled)]
    assert "Remove its folder and pull again" in reasons[str(pulled)]
    text = luthier("models")
    assert f"{pulled} cannot be used:" in text
    assert "luthier pull smollm2-135m-instruct" not in text


def test_pull_says_what_is_here_and_where(mine: Settings, tiny_base: Path) -> None:
    del mine
    text = luthier("pull", "my-ada")
    assert "Mine is here" in text
    assert str(tiny_base) in text


def test_pull_takes_a_folder_named_from_here(mine: Settings, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del mine
    monkeypatch.chdir(tiny_base.parent)
    assert str(tiny_base) in luthier("pull", tiny_base.name)


def test_pull_shows_each_stage(mine: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    del mine
    pull = BaseStore.pull

    def slow(self: BaseStore, name: str, progress: Report, *, accept_license: bool) -> LocalBase:
        for done in (0, 5, 10):
            progress(PullProgress(Stage.DOWNLOAD, "a-wheel==1.0", done * 1_000_000, 10_000_000))
        progress(PullProgress(Stage.CONVERT, "Mine"))
        return pull(self, name, accept_license=accept_license)

    monkeypatch.setattr(BaseStore, "pull", slow)
    text = luthier("pull", "my-ada")
    for word in ("Downloading a-wheel==1.0", "10.0 MB of 10.0 MB", "Converting Mine"):
        assert word in text


def test_pull_refuses_unknown_names_and_terms_not_accepted(mine: Settings) -> None:
    del mine
    with pytest.raises(NotFoundError, match="my-ada"):
        luthier("pull", "my-adda")
    with pytest.raises(InvalidRequestError, match="--accept-license"):
        luthier("pull", "babbage")
