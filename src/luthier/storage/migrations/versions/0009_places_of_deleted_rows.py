"""Where deleted rows stood, so that their ids stay good as cursors."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deleted_rows",
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(160), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_deleted_rows"),
        sa.UniqueConstraint("id", name="uq_deleted_rows_id"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("deleted_rows")
