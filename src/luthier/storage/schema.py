"""The tables. Columns bear the names of the domain's fields; migrations must arrive at exactly this."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _position() -> "Column[int]":
    """Order of insertion: what lists and cursors go by, since many things happen within one second."""
    return Column("position", Integer, primary_key=True)


def _json(name: str, *, nullable: bool = False) -> "Column[object]":
    return Column(name, JSON(none_as_null=True), nullable=nullable)


jobs = Table(
    "jobs",
    metadata,
    _position(),
    Column("id", String(64), nullable=False, unique=True),
    Column("dialect", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("model", Text, nullable=False),
    _json("hyperparameters"),
    Column("training_file", String(64), nullable=False),
    Column("validation_file", String(64)),
    Column("suffix", Text),
    Column("organization", Text, nullable=False),
    Column("project", Text),
    _json("wandb", nullable=True),
    _json("resolved", nullable=True),
    Column("base", Text),
    Column("checkpoint_step", BigInteger),
    Column("result_file", String(64)),
    Column("fine_tuned_model", Text),
    Column("trained_tokens", BigInteger),
    Column("error", Text),
    Column("cancel_requested", Boolean, nullable=False),
    Column("pause_requested", Boolean, nullable=False),
    _json("metadata"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Index(None, "status", "position"),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    _position(),
    Column("id", String(64), nullable=False, unique=True),
    Column("job_id", String(64), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("key", String(128)),
    Column("created_at", BigInteger, nullable=False),
    Column("level", String(16), nullable=False),
    Column("type", String(16), nullable=False),
    Column("message", Text, nullable=False),
    _json("data"),
    UniqueConstraint("job_id", "key"),
    Index(None, "job_id", "position"),
    sqlite_autoincrement=True,
)

files = Table(
    "files",
    metadata,
    _position(),
    Column("id", String(64), nullable=False, unique=True),
    Column("filename", Text, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("status_details", Text),
    sqlite_autoincrement=True,
)

tuned_models = Table(
    "tuned_models",
    metadata,
    _position(),
    Column("id", String(512), nullable=False, unique=True),
    Column("root", Text, nullable=False),
    Column("parent", Text, nullable=False),
    Column("method", String(16), nullable=False),
    Column("folder", String(128), nullable=False, unique=True),
    # No foreign key: a model outlives the record of the job that made it.
    Column("job_id", String(64), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("step", BigInteger),
    Column("organization", Text, nullable=False),
    Column("base_folder", String(128)),
    sqlite_autoincrement=True,
)

batches = Table(
    "batches",
    metadata,
    _position(),
    Column("id", String(64), nullable=False, unique=True),
    Column("endpoint", Text, nullable=False),
    Column("input_file", String(64), nullable=False),
    Column("completion_window", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    _json("metadata"),
    Column("model", Text),
    _json("errors"),
    Column("output_file", String(64)),
    Column("error_file", String(64)),
    Column("total", BigInteger, nullable=False),
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("in_progress_at", BigInteger),
    Column("finalizing_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("failed_at", BigInteger),
    Column("expired_at", BigInteger),
    Column("cancelling_at", BigInteger),
    Column("cancelled_at", BigInteger),
    Index(None, "status", "position"),
    sqlite_autoincrement=True,
)

deployments = Table(
    "deployments",
    metadata,
    _position(),
    Column("id", String(64), nullable=False, unique=True),
    Column("model", Text, nullable=False),
    Column("scale_type", String(16), nullable=False),
    Column("capacity", BigInteger),
    Column("status", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("error", Text),
    sqlite_autoincrement=True,
)

api_keys = Table(
    "api_keys",
    metadata,
    _position(),
    Column("id", String(64), nullable=False, unique=True),
    Column("name", String(128), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("hint", String(16), nullable=False),
    _json("scopes"),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("requests_per_minute", BigInteger),
    Column("tokens_per_minute", BigInteger),
    sqlite_autoincrement=True,
)

embedding_models = Table(
    "embedding_models",
    metadata,
    _position(),
    Column("model", Text, nullable=False),
    Column("revision", Text, nullable=False),
    UniqueConstraint("model", "revision"),
    sqlite_autoincrement=True,
)

cached_embeddings = Table(
    "cached_embeddings",
    metadata,
    _position(),
    Column("model", Integer, ForeignKey("embedding_models.position", ondelete="CASCADE"), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("vector", LargeBinary, nullable=False),
    UniqueConstraint("model", "digest"),
    sqlite_autoincrement=True,
)

vector_stores = Table(
    "vector_stores",
    metadata,
    _position(),
    Column("id", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("model", Text, nullable=False),
    _json("metadata"),
    Column("expires_days", BigInteger),
    Column("emptied", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_active_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

vector_store_batches = Table(
    "vector_store_batches",
    metadata,
    _position(),
    Column("id", String(64), nullable=False, unique=True),
    Column("store_id", String(64), ForeignKey("vector_stores.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    sqlite_autoincrement=True,
)

vector_store_files = Table(
    "vector_store_files",
    metadata,
    _position(),
    Column("id", String(160), nullable=False, unique=True),
    Column("store_id", String(64), ForeignKey("vector_stores.id", ondelete="CASCADE"), nullable=False),
    Column("file_id", String(64), nullable=False, index=True),
    Column("batch_id", String(64), index=True),
    Column("status", String(16), nullable=False),
    _json("attributes"),
    Column("max_tokens", Integer, nullable=False),
    Column("overlap_tokens", Integer, nullable=False),
    Column("n_pieces", BigInteger, nullable=False),
    Column("usage_bytes", BigInteger, nullable=False),
    Column("error_code", String(32)),
    Column("error_message", Text),
    Column("attempt", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "store_id", "position"),
    Index(None, "status", "position"),
    sqlite_autoincrement=True,
)

deleted_rows = Table(
    "deleted_rows",
    metadata,
    _position(),
    Column("id", String(160), nullable=False, unique=True),
    Column("place", Integer, nullable=False),
    sqlite_autoincrement=True,
)
