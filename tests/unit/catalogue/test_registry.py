"""Which weights stand behind a name."""

from pathlib import Path

import pytest

from luthier.catalogue.entry import FolderSource, HubSource, Kind, WheelSource
from luthier.catalogue.registry import RECORD, Registry
from luthier.config import Settings
from luthier.domain.hyperparameters import Method
from luthier.errors import ConfigError, NotFoundError

SMALL = "smollm2-135m-instruct"
WEIGHTS = '[weights.mine]\ntitle = "Mine"\nhub = { repo = "me/mine" }\n'


def with_aliases(settings: Settings, text: str) -> Registry:
    settings.home.mkdir(parents=True, exist_ok=True)
    settings.aliases_path.write_text(text, encoding="utf-8")
    return Registry.load(settings)


def put_at_hand(registry: Registry, key: str) -> None:
    folder = registry.folder(registry.entry(key))
    folder.mkdir(parents=True)
    (folder / RECORD).touch()


def test_ada_is_pinned_and_has_its_own_weights(settings: Settings) -> None:
    resolution = Registry.load(settings).resolve("ada")
    assert (resolution.name, resolution.entry.key, resolution.note) == ("ada", SMALL, None)
    assert isinstance(resolution.entry.source, WheelSource)
    assert resolution.entry.license == "Apache-2.0"
    assert set(resolution.entry.learning_rate) == {Method.LORA, Method.FULL}


NAMES = (
    "ada babbage curie davinci text-davinci-002 text-davinci-003 babbage-002 davinci-002 "
    "gpt-3.5-turbo gpt-4o gpt-4o-mini gpt-4.1 gpt-4.1-mini gpt-4.1-nano"
)


@pytest.mark.parametrize("name", NAMES.split())
def test_every_name_answers_on_a_fresh_machine(settings: Settings, name: str) -> None:
    registry = Registry.load(settings)
    assert name in registry.names()
    assert registry.resolve(name).entry.key == SMALL


@pytest.mark.parametrize("name", ["curie", "davinci", "text-davinci-003"])
def test_names_without_weights_of_their_own_say_so(settings: Settings, name: str) -> None:
    note = Registry.load(settings).resolve(name).note
    assert note is not None
    assert name in note
    assert "SmolLM2-135M-Instruct" in note


def test_a_name_falls_back_until_its_own_weights_are_there(settings: Settings) -> None:
    registry = with_aliases(settings, WEIGHTS + f'[aliases]\nbig = ["mine", "{SMALL}"]')
    before = registry.resolve("big")
    assert before.entry.key == SMALL
    assert before.note == (
        "Mine, the base of big, has not been pulled: SmolLM2-135M-Instruct stands in for it. "
        "`luthier pull big` brings it."
    )
    assert registry.entry("big").key == "mine"
    put_at_hand(registry, "mine")
    after = registry.resolve("big")
    assert (after.entry.key, after.note) == ("mine", None)
    assert registry.names_of("mine") == ["big"]


def test_weights_keys_resolve_to_themselves(settings: Settings) -> None:
    assert Registry.load(settings).resolve(SMALL).entry.key == SMALL


def test_the_users_file_overrides_ours_and_our_stand_ins(settings: Settings) -> None:
    registry = with_aliases(settings, WEIGHTS + '[aliases]\ncurie = "mine"\nada = "hf:a/b@main"\nmy-ada = "ada"')
    assert registry.resolve("curie").entry.source == HubSource("me/mine")
    assert registry.resolve("curie").note is None
    assert registry.resolve("my-ada").entry.source == HubSource("a/b", "main")
    assert registry.resolve("gpt-4o").entry.key == "hf:a/b@main"  # ours that mean ada follow


def test_the_users_weights_may_override_ours(settings: Settings) -> None:
    text = f'[weights.{SMALL}]\ntitle = "Elsewhere"\nfolder = "/weights/ada"\nlearning_rate = {{ lora = 0.5 }}'
    entry = with_aliases(settings, text).entry("ada")
    assert (entry.title, entry.source) == ("Elsewhere", FolderSource(Path("/weights/ada")))
    assert entry.learning_rate[Method.LORA] == 0.5
    assert entry.learning_rate[Method.FULL] > 0


@pytest.mark.parametrize(
    ("name", "source", "folder"),
    [
        ("hf:owner/name", HubSource("owner/name"), "hf--owner--name"),
        ("hf:owner/na.me-1@refs/pr/3", HubSource("owner/na.me-1", "refs/pr/3"), "hf--owner--na.me-1@refs--pr--3"),
    ],
)
def test_a_hub_name_needs_no_alias(settings: Settings, name: str, source: HubSource, folder: str) -> None:
    registry = Registry.load(settings)
    entry = registry.resolve(name).entry
    assert (entry.key, entry.source, entry.folder_name) == (name, source, folder)
    assert registry.folder(entry).parent == settings.models_dir


def test_an_absolute_path_is_a_folder_and_is_used_where_it_is(settings: Settings, tmp_path: Path) -> None:
    registry = Registry.load(settings)
    entry = registry.resolve(str(tmp_path)).entry
    assert registry.folder(entry) == tmp_path
    assert registry.resolve(entry.key).entry == entry


@pytest.mark.parametrize(
    ("name", "hint"), [("adda", "Did you mean 'ada'?"), ("zzz", "luthier models"), ("hf:", "luthier"), ("", "luthier")]
)
def test_an_unknown_name_is_not_found(settings: Settings, name: str, hint: str) -> None:
    with pytest.raises(NotFoundError, match=f"The model '{name}' does not exist") as raised:
        Registry.load(settings).resolve(name)
    assert hint in raised.value.message
    assert (raised.value.param, raised.value.code) == ("model", "model_not_found")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("aliasses = 1", r"aliasses is unknown\. Did you mean aliases\?"),
        ('[weights.x]\ntitel = "X"\nhub = { repo = "a/b" }', r"weights\.x\.titel is unknown\. Did you mean title\?"),
        ('[weights.x]\ntitle = "X"\nhub = { repos = "a/b", repo = "a/b" }', r"hub\.repos is unknown.*repo\?"),
        (
            '[weights.x]\ntitle = "X"\nzzz = 1\nhub = { repo = "a/b" }',
            r"zzz is unknown\. Known here: title, kind, license",
        ),
        ('[weights.x]\ntitle = "X"', "exactly one of wheels, hub and folder"),
        ('[weights.x]\ntitle = "X"\nhub = { repo = "a" }', r"weights\.x\.hub\.repo: "),
        ('[weights.x]\ntitle = "X"\nhub = { repo = "a/b" }\nlearning_rate = { lora = -1 }', r"learning_rate\.lora"),
        ("[aliases]\nx = []", r"aliases\.x"),
        ('[aliases]\nx = "smollm2-135m-instrukt"', "Did you mean smollm2-135m-instruct"),
        ('[aliases]\nx = "y"\ny = "x"', "x → y → x go in a circle"),
        ("[aliases", "cannot be read as TOML"),
    ],
)
def test_a_file_that_makes_no_sense_is_told(settings: Settings, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        with_aliases(settings, text)
    assert str(settings.aliases_path) in raised.value.message or "circle" in words


def test_a_file_that_the_settings_name_has_to_be_there(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="LUTHIER_ALIASES"):
        Registry.load(settings.model_copy(update={"aliases": tmp_path / "nowhere.toml"}))


@pytest.mark.parametrize(
    ("size", "title"), [("ada", "all-MiniLM-L6-v2"), ("babbage", "all-mpnet-base-v2"), ("davinci", "all-mpnet-base-v2")]
)
def test_names_of_embedding_models(settings: Settings, size: str, title: str) -> None:
    registry = Registry.load(settings)
    names = [f"text-similarity-{size}-001", f"text-search-{size}-doc-001", f"text-search-{size}-query-001"]
    names += [f"{size}-similarity", f"{size}-search-document", f"{size}-search-query"]
    for name in names:
        entry = registry.resolve(name).entry
        assert (entry.title, entry.kind) == (title, Kind.EMBEDDING)
    assert registry.resolve("text-embedding-ada-002").entry.title == "all-mpnet-base-v2"
    assert registry.resolve("ada").entry.kind is Kind.COMPLETION
    assert registry.resolve("hf:a/b").entry.kind is None


def test_an_archive_needs_the_folder_inside_it(settings: Settings) -> None:
    part = f'{{ requirement = "some-wheel==1", sha256 = "{"0" * 64}" }}'
    text = f'[weights.x]\ntitle = "X"\n[weights.x.wheels]\nfile = "a.zip"\nsha256 = "{"0" * 64}"\nparts = [{part}]'
    with pytest.raises(ConfigError, match=r"a \.zip file needs `folder`"):
        with_aliases(settings, text)


def test_unpinned_wheels_are_refused(settings: Settings) -> None:
    part = '{ requirement = "some-wheel>=1", sha256 = "00", member = "a" }'
    text = f'[weights.x]\ntitle = "X"\n[weights.x.wheels]\nfile = "a.gguf"\nsha256 = "{"0" * 64}"\nparts = [{part}]'
    with pytest.raises(ConfigError, match=r"parts\.0\.requirement"):
        with_aliases(settings, text)
