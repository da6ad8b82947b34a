"""What waiting and running jobs and batches still need, asked in the transaction that would take it away."""

from sqlalchemy import ColumnElement, Connection, Table, select

from luthier.domain.batch import BatchStatus
from luthier.domain.job import Status
from luthier.errors import InvalidRequestError
from luthier.storage.schema import batches, jobs

_RUNNING: dict[Table, list[str]] = {
    jobs: [status for status in Status if not status.is_final],
    batches: [status for status in BatchStatus if not status.is_final],
}


def refuse_while_used(
    connection: Connection, used: ColumnElement[bool], name: str, param: str, by: Table = jobs
) -> None:
    """
    Args:
        used: condition on `by` under which one uses what is to be deleted.
        name: of what is to be deleted, for the message.
        by: the table of those that may use it.

    Raises:
        InvalidRequestError: a job or batch that waits or runs uses it.
    """
    query = select(by.c.id, by.c.status).where(by.c.status.in_(_RUNNING[by]), used)
    if users := connection.execute(query).all():
        raise InvalidRequestError(
            f"{name} is in use by {', '.join(f'{user_id} ({status})' for user_id, status in users)}. "
            "Wait for it to end, or cancel it, then delete.",
            param=param,
        )
