"""Embeddings that were made, to be found again by model, revision and text."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "embedding_models",
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_embedding_models"),
        sa.UniqueConstraint("model", "revision", name="uq_embedding_models_model_revision"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "cached_embeddings",
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("model", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model"],
            ["embedding_models.position"],
            name="fk_cached_embeddings_model",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("position", name="pk_cached_embeddings"),
        sa.UniqueConstraint("model", "digest", name="uq_cached_embeddings_model_digest"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("cached_embeddings")
    op.drop_table("embedding_models")
