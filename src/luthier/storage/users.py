"""What waiting and running jobs still need, asked in the transaction that would take it away."""

from sqlalchemy import ColumnElement, Connection, select

from luthier.domain.job import Status
from luthier.errors import InvalidRequestError
from luthier.storage.schema import jobs


def refuse_while_used(connection: Connection, used: ColumnElement[bool], name: str, param: str) -> None:
    """
    Args:
        used: condition on `jobs` by which one uses what is to be deleted.
        name: of what is to be deleted, for the message.

    Raises:
        InvalidRequestError: a job that waits or runs uses it.
    """
    query = select(jobs.c.id, jobs.c.status).where(jobs.c.status.in_([Status.QUEUED, Status.RUNNING]), used)
    if users := connection.execute(query).all():
        raise InvalidRequestError(
            f"{name} is in use by {', '.join(f'{job_id} ({status})' for job_id, status in users)}. "
            "Wait for it to end, or cancel it, then delete.",
            param=param,
        )
