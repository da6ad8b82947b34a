"""The files of vector stores: what other requests may do meanwhile."""

from luthier.config import Settings
from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.vector_store import VectorStore
from luthier.services.store_indexes import StoreIndexes
from luthier.services.vector_store_checks import PutFile
from luthier.services.vector_store_files import VectorStoreFileService
from luthier.storage.blobs import Blobs
from luthier.storage.db import Database
from luthier.storage.files import FileStore
from luthier.storage.vector_stores import VectorStoreStore


def test_a_file_is_forgotten_while_one_of_its_stores_is_deleted(settings: Settings) -> None:
    database = Database.open(settings)
    files = FileStore(database)
    files.create(File("file-a", "a.txt", Purpose.ASSISTANTS, 1, 0, FileStatus.PROCESSED))

    class Stores(VectorStoreStore):
        """Of which the first is deleted as soon as somebody knows where the file is."""

        def with_file(self, file_id):
            found = super().with_file(file_id)
            self.delete("vs_1")
            return found

    stores = Stores(database)
    service = VectorStoreFileService(stores, files, Blobs(settings), StoreIndexes(settings), lambda: None)
    for store_id in ("vs_1", "vs_2"):
        stores.create(VectorStore(store_id, "", "m", 0, 0))
        service.put_file(store_id, PutFile("file-a"))
    service.forget("file-a")
    assert service.files("vs_2").items == ()
