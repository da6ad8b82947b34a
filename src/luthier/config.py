"""One settings object, read once from the environment.

Each field is set by an environment variable `LUTHIER_<FIELD>`. An unknown one is an error that names the nearest.
"""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from luthier.errors import ConfigError, nearest

_PREFIX = "LUTHIER_"
_OTHERS = {"LUTHIER_TEST_DATA"}  # read by the tests alone


def _listed(value: Any) -> Any:
    """`a, b` as the environment has it → ("a", "b")."""
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


class Settings(BaseSettings):
    """Where things lie and how much is allowed. Frozen; sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    home: Path = Field(default=Path.home() / ".luthier", description="All state: database, files, tuned models.")
    models: Path | None = Field(default=None, description="Base weights; by default `models` inside home.")
    database_url: str | None = Field(
        default=None, description="`postgresql://user:password@host/name`; by default SQLite inside home."
    )
    aliases: Path | None = Field(
        default=None, description="TOML file of model aliases that extends ours; by default `aliases.toml` inside home."
    )
    max_file_bytes: int = Field(default=1 << 30, gt=0, description="Largest file that may be uploaded, bytes.")
    max_line_bytes: int = Field(default=4 << 20, gt=0, description="Longest line in a training or batch file, bytes.")
    max_body_bytes: int = Field(default=32 << 20, gt=0, description="Largest JSON body of a request, bytes.")
    max_waiting: int = Field(
        default=256, gt=0, description="Requests that each engine keeps waiting before callers get 429."
    )
    max_batch_tokens: int = Field(default=2048, gt=0, description="Tokens of one step of the completion engine.")
    embedding_batch_tokens: int = Field(default=2048, gt=0, description="Tokens of one pass of the embedding engine.")
    embedding_width: int | None = Field(
        default=None,
        gt=0,
        description="Embeddings that are shorter get zeros at their end up to so many numbers, such as 1536.",
    )
    embedding_cache: bool = Field(
        default=False,
        description="Keep the embeddings that the server makes, so that a text asked for again costs nothing. Commands "
        "that embed by themselves always do, unless told --no-cache.",
    )
    embedding_cache_size: int = Field(
        default=1_000_000,
        gt=0,
        description="Embeddings that are kept at most; the oldest go first. One of 768 numbers takes 3 KB.",
    )
    kv_cache_tokens: int = Field(default=65536, gt=0, description="Tokens whose keys and values are kept in memory.")
    batch_concurrency: int = Field(default=8, gt=0, description="Requests of batches that are answered at once.")
    train_tokens: int = Field(default=2048, gt=0, description="Tokens in training at a time; bounds memory.")
    checkpoint_seconds: float = Field(default=180, gt=0, description="Seconds between checkpoints within an epoch.")
    progress_seconds: float = Field(default=5, gt=0, description="Seconds between progress events of a job.")
    heartbeat_seconds: float = Field(default=15, gt=0, description="Seconds between heartbeats of an idle stream.")
    deploy_seconds: float = Field(
        default=60, ge=0, description="Seconds that creating a deployment waits until its model is in memory."
    )
    import_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = Field(
        default=(),
        description="Hosts that `POST /openai/files/import` may fetch from, separated by commas: `example.com`, "
        "`example.com:8443` for one port, `10.1.2.3` or `10.0.0.0/8` for private addresses; none by default.",
    )
    require_key: bool | None = Field(
        default=None,
        description="Ask callers for a key: `true` always, `false` never; by default once a key was made or an issuer "
        "of tokens is named.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = Field(
        default=(),
        description="Web pages that may call from a browser, such as `https://app.example.com`, with commas between; "
        "`*` for any.",
    )
    oidc_issuer: str | None = Field(default=None, description="Issuer of bearer tokens that count as keys, `iss`.")
    oidc_audience: str | None = Field(default=None, description="Audience that such tokens must be for, `aud`.")
    oidc_jwks_url: str | None = Field(default=None, description="Where the issuer publishes its keys (JWKS).")
    oidc_scopes_claim: str = Field(
        default="scope", description="Claim that holds a token's scopes; with Entra ID `scp` or `roles`."
    )
    oidc_scopes: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = Field(
        default=(),
        description="Scopes of tokens and what they stand for here, such as `Models.Use=infer,Models.Tune=train`. Our "
        "own names (read, infer, train, admin) need no entry.",
    )
    oidc_requests_per_minute: int | None = Field(
        default=None,
        gt=0,
        description="Requests a minute of each subject (`sub`) of such tokens; by default any number.",
    )
    oidc_tokens_per_minute: int | None = Field(
        default=None,
        gt=0,
        description="Tokens a minute, read and generated, of each subject of such tokens; by default any number.",
    )
    index_url: str | None = Field(
        default=None,
        description="Where vector stores and `luthier index` keep vectors: `postgresql://user:password@host/name` with "
        "pgvector, or `http://host:6333` of Qdrant; by default folders inside home.",
    )
    vector_store_model: str = Field(
        default="text-embedding-3-small", description="The model that embeds what vector stores hold."
    )
    pip_index_url: str | None = Field(default=None, description="Index that pulls ask; by default pip's own settings.")

    @property
    def models_dir(self) -> Path:
        return self.models or self.home / "models"

    @property
    def aliases_path(self) -> Path:
        return self.aliases or self.home / "aliases.toml"

    @property
    def blobs_dir(self) -> Path:
        return self.home / "files"

    @property
    def runs_dir(self) -> Path:
        """One folder a job: checkpoints, logs."""
        return self.home / "runs"

    @property
    def batches_dir(self) -> Path:
        """One journal a running batch."""
        return self.home / "batches"

    @property
    def code_dir(self) -> Path:
        """One folder an indexed repository: what code search knows of it."""
        return self.home / "code"

    @property
    def tuned_dir(self) -> Path:
        """One folder a tuned model: its adapter or weights."""
        return self.home / "tuned"

    @property
    def custom_dir(self) -> Path:
        """One folder a customized embedding model: its matrix."""
        return self.home / "custom"

    @property
    def indexes_place(self) -> str | Path:
        """Of `luthier index`."""
        return self.index_url or self.home / "indexes"

    @property
    def vector_stores_place(self) -> str | Path:
        """Of the vectors behind `/v1/vector_stores`."""
        return self.index_url or self.home / "vector_stores"

    @property
    def sqlalchemy_url(self) -> str:
        return self.database_url or f"sqlite:///{(self.home / 'luthier.db').as_posix()}"


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        ConfigError: a value of the wrong kind, or a LUTHIER_ variable that nothing reads.
    """
    known = {_PREFIX + name.upper() for name in Settings.model_fields}
    for name in os.environ:
        if name.startswith(_PREFIX) and name.upper() not in known | _OTHERS:
            near = nearest(name, known)
            raise ConfigError(
                f"The environment sets {name}, which Luthier does not know."
                + (f" Did you mean {near}?" if near else f" It knows {', '.join(sorted(known))}.")
            )
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = _PREFIX + str(first["loc"][0]).upper()
        raise ConfigError(f"The environment variable {name} has a value that does not fit: {first['msg']}.") from None
