"""Vector stores, their files and batches of files."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vector_stores",
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("expires_days", sa.BigInteger()),
        sa.Column("emptied", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_active_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_vector_stores"),
        sa.UniqueConstraint("id", name="uq_vector_stores_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "vector_store_batches",
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("store_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["store_id"], ["vector_stores.id"], name="fk_vector_store_batches_store_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("position", name="pk_vector_store_batches"),
        sa.UniqueConstraint("id", name="uq_vector_store_batches_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "vector_store_files",
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(160), nullable=False),
        sa.Column("store_id", sa.String(64), nullable=False),
        sa.Column("file_id", sa.String(64), nullable=False),
        sa.Column("batch_id", sa.String(64)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("max_tokens", sa.Integer(), nullable=False),
        sa.Column("overlap_tokens", sa.Integer(), nullable=False),
        sa.Column("n_pieces", sa.BigInteger(), nullable=False),
        sa.Column("usage_bytes", sa.BigInteger(), nullable=False),
        sa.Column("error_code", sa.String(32)),
        sa.Column("error_message", sa.Text()),
        sa.Column("attempt", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["store_id"], ["vector_stores.id"], name="fk_vector_store_files_store_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("position", name="pk_vector_store_files"),
        sa.UniqueConstraint("id", name="uq_vector_store_files_id"),
        sqlite_autoincrement=True,
    )
    for table, columns in (
        ("vector_store_files", ("file_id",)),
        ("vector_store_files", ("batch_id",)),
        ("vector_store_files", ("store_id", "position")),
        ("vector_store_files", ("status", "position")),
    ):
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)


def downgrade() -> None:
    for table in ("vector_store_files", "vector_store_batches", "vector_stores"):
        op.drop_table(table)
