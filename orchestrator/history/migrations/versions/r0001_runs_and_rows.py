"""Runs, rows, and what rows have in common."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # only an INTEGER counts up by itself in SQLite


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "environment",
        sa.Column("id", ID, primary_key=True),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("accelerator", sa.Text, nullable=False),
        sa.Column("verifier", sa.Text, nullable=False),
        sa.UniqueConstraint("key", name="uq_environment_key"),
    )
    op.create_table(
        "scenario",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.UniqueConstraint("name", name="uq_scenario_name"),
    )
    for name in ("reason", "behaviour"):
        op.create_table(
            name,
            sa.Column("id", ID, primary_key=True),
            sa.Column("key", sa.String(64), nullable=False),
            sa.Column("text", sa.Text, nullable=False),
            sa.UniqueConstraint("key", name=f"uq_{name}_key"),
        )
    op.create_table(
        "run",
        sa.Column("id", ID, primary_key=True),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("started", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("why", sa.Text),
        sa.Column("exit_code", sa.Integer, nullable=False),
        sa.Column("asked", sa.Integer),
        sa.Column("not_run", sa.Integer, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("environment", ID, sa.ForeignKey("environment.id", name="fk_run_environment"), nullable=False),
        sa.Column("qualifying", sa.Boolean, nullable=False),
        sa.Column("driver", sa.Text, nullable=False),
        sa.Column("driver_sha256", sa.Text, nullable=False),
        sa.Column("image_sha256", sa.Text, nullable=False),
        sa.Column("target_version", sa.Text, nullable=False),
        sa.Column("qemu", sa.Text, nullable=False),
        sa.Column("lab", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.UniqueConstraint("key", name="uq_run_key"),
    )
    op.create_index("ix_run_started", "run", ["started"])
    op.create_table(
        "result",
        sa.Column("run", ID, sa.ForeignKey("run.id", name="fk_result_run"), primary_key=True),
        sa.Column("scenario", ID, sa.ForeignKey("scenario.id", name="fk_result_scenario"), primary_key=True),
        sa.Column("repeat", sa.Integer, primary_key=True),
        sa.Column("verdict", sa.SmallInteger, nullable=False),
        sa.Column("total_ms", sa.Integer, nullable=False),
        sa.Column("run_ms", sa.Integer),
        sa.Column("restore_ms", sa.Integer),
        sa.Column("judge_ms", sa.Integer),
        sa.Column("expects", sa.String(16), nullable=False),
        sa.Column("reason", ID, sa.ForeignKey("reason.id", name="fk_result_reason")),
        sa.Column("behaviour", ID, sa.ForeignKey("behaviour.id", name="fk_result_behaviour")),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("pruned", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_result_past", "result", ["scenario", "run", "verdict", "total_ms"])


def downgrade() -> None:
    """Drop them, what depends on others first."""
    for name in ("result", "run", "behaviour", "reason", "scenario", "environment"):
        op.drop_table(name)
