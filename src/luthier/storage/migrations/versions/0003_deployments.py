"""Deployments."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployments",
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("scale_type", sa.String(16), nullable=False),
        sa.Column("capacity", sa.BigInteger()),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("position", name="pk_deployments"),
        sa.UniqueConstraint("id", name="uq_deployments_id"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("deployments")
