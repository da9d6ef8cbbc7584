"""Names of users as PRECIS has them: UsernameCaseMapped (RFC 8265). What is none, or would be another's, stays."""

import sqlalchemy as sa
from alembic import op
from precis_i18n import get_profile

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Write them anew; whoever has one logs in by any spelling of it."""
    users = sa.table(
        "users", sa.column("id", sa.Integer), sa.column("username", sa.Text), sa.column("email", sa.Text)
    )
    db = op.get_bind()
    for column in (users.c.username, users.c.email):
        rows = db.execute(sa.select(users.c.id, column).where(column.is_not(None)).order_by(users.c.id)).all()
        taken = {name for _, name in rows}
        for user_id, name in rows:
            usual = _usual(name)
            if usual not in taken:
                taken.add(usual)
                db.execute(users.update().where(users.c.id == user_id).values({column.name: usual}))


def _usual(name: str) -> str:
    profile = get_profile("UsernameCaseMapped")
    try:
        return " ".join(profile.enforce(part) for part in name.split(" "))
    except UnicodeEncodeError:
        return name
