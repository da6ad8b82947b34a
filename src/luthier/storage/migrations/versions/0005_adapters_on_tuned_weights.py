"""Adapters on the whole weights of a tuned model."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tuned_models", sa.Column("base_folder", sa.String(128)))


def downgrade() -> None:
    op.drop_column("tuned_models", "base_folder")
