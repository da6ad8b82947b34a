"""Tuned models and the checkpoints that can be called."""

from sqlalchemy import delete, select

from luthier.domain.model import TunedModel
from luthier.errors import InvalidRequestError
from luthier.storage.db import Database
from luthier.storage.rows import Rows
from luthier.storage.schema import jobs, tuned_models
from luthier.storage.users import refuse_while_used

MODELS = Rows(tuned_models, TunedModel, "model", "model")


class TunedModelStore:
    """Records of what lies in `tuned_dir`, oldest first."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def renames(self) -> int:
        """Another number once names may mean something else; see `Database.renames`."""
        return self._db.renames

    def add(self, model: TunedModel) -> TunedModel:
        with self._db.write(renames=True) as connection:
            MODELS.insert(connection, model)
        return model

    def get(self, name: str) -> TunedModel:
        """
        Raises:
            NotFoundError: there is no tuned model of that name.
        """
        with self._db.read() as connection:
            return MODELS.get(connection, name)

    def find(self, name: str) -> TunedModel | None:
        """The model, or None when there is none of that name."""
        with self._db.read() as connection:
            row = connection.execute(select(tuned_models).where(tuned_models.c.id == name)).mappings().one_or_none()
        return MODELS.load(row) if row is not None else None

    def list(self, *, job_id: str | None = None) -> list[TunedModel]:
        """All, or those of one job, checkpoints included."""
        query = select(tuned_models)
        if job_id is not None:
            query = query.where(tuned_models.c.job_id == job_id)
        with self._db.read() as connection:
            return list(MODELS.page(connection, query).items)

    def delete(self, name: str) -> TunedModel:
        """Forget a model. Its folder is the caller's to remove, after this.

        Raises:
            NotFoundError: there is no tuned model of that name.
            InvalidRequestError: a job that waits or runs starts from it, or an adapter stands on its weights.
        """
        with self._db.write(renames=True) as connection:
            model = MODELS.get(connection, name, for_update=True)
            refuse_while_used(connection, jobs.c.model == name, name, "model")
            standing = select(tuned_models.c.id).where(tuned_models.c.base_folder == model.folder)
            if names := connection.execute(standing).scalars().all():
                raise InvalidRequestError(
                    f"{name} holds the weights that these models stand on: {', '.join(names)}. Delete those first.",
                    param="model",
                )
            connection.execute(delete(tuned_models).where(tuned_models.c.id == name))
        return model
