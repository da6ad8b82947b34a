"""Jobs can be paused, belong to an organization's project, and send their metrics elsewhere."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("project", sa.Text()))
    op.add_column("jobs", sa.Column("wandb", sa.JSON()))
    op.add_column("jobs", sa.Column("pause_requested", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("tuned_models", sa.Column("organization", sa.Text(), nullable=False, server_default="personal"))


def downgrade() -> None:
    op.drop_column("tuned_models", "organization")
    for name in ("pause_requested", "wandb", "project"):
        op.drop_column("jobs", name)
