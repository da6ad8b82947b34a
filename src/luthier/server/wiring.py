"""The services that one server's requests are given to, and everything below them, opened and closed as one."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from luthier.completion.engine import CompletionEngine
from luthier.config import Settings
from luthier.embedding.batcher import EmbeddingEngine
from luthier.executors.local import LocalExecutor
from luthier.modeling.bases import BaseStore
from luthier.server.batch_endpoints import batch_endpoints
from luthier.services.access import AccessService
from luthier.services.batch_runner import BatchRunner
from luthier.services.batches import BatchService
from luthier.services.chat import ChatService
from luthier.services.completions import CompletionService
from luthier.services.deployments import DeploymentService
from luthier.services.embedding_cache import EmbeddingCache
from luthier.services.embeddings import EmbeddingService
from luthier.services.file_import import FileImport
from luthier.services.files import FileService
from luthier.services.fine_tunes import FineTuneService
from luthier.services.keys import KeyService
from luthier.services.limits import Limiter
from luthier.services.models import ModelService
from luthier.services.oidc import TokenVerifier
from luthier.services.store_indexes import StoreIndexes
from luthier.services.tokens import TokenService
from luthier.services.vector_store_files import VectorStoreFileService
from luthier.services.vector_store_search import VectorStoreSearch
from luthier.services.vector_store_worker import VectorStoreWorker
from luthier.services.vector_stores import VectorStoreService
from luthier.storage.batches import BatchStore
from luthier.storage.blobs import Blobs
from luthier.storage.db import Database
from luthier.storage.deployments import DeploymentStore
from luthier.storage.embeddings import EmbeddingStore
from luthier.storage.files import FileStore
from luthier.storage.jobs import JobStore
from luthier.storage.keys import KeyStore
from luthier.storage.models import TunedModelStore
from luthier.storage.vector_stores import VectorStoreStore


@dataclass(frozen=True)
class Services:
    access: AccessService
    limits: Limiter
    files: FileService
    fine_tunes: FineTuneService
    models: ModelService
    completions: CompletionService
    embeddings: EmbeddingService
    batches: BatchService
    deployments: DeploymentService
    imports: FileImport
    tokens: TokenService
    chat: ChatService
    vector_stores: VectorStoreService
    vector_store_files: VectorStoreFileService
    vector_store_search: VectorStoreSearch


@contextmanager
def open_services(settings: Settings) -> Iterator[Services]:
    """Open the database, take up the queue, start the engine; undo it in turn.

    Raises:
        ConfigError: an alias file or database that makes no sense, or another server that runs the jobs of this home.
    """
    with ExitStack() as opened:
        tokens = TokenVerifier.of(settings)
        database = Database.open(settings)
        opened.callback(database.close)
        opened.enter_context(database.sole_server())
        jobs, files, tuned = JobStore(database), FileStore(database), TunedModelStore(database)
        bases = BaseStore(settings)
        engine = CompletionEngine(settings)
        engine.start()
        opened.callback(engine.stop)
        encoders = EmbeddingEngine(settings)
        encoders.start()
        opened.callback(encoders.stop)
        executor = LocalExecutor(settings, jobs)
        executor.start()
        opened.callback(executor.stop)
        deployed = DeploymentStore(database)
        models = ModelService(settings, bases, bases.registry, tuned, engine.evict, deployed)
        deployments = DeploymentService(settings, deployed, models, engine, encoders)
        deployments.start()
        opened.callback(deployments.close)
        completions, chat = CompletionService(models, engine), ChatService(models, engine)
        cache = None
        if settings.embedding_cache:
            cache = EmbeddingCache(EmbeddingStore(database, settings.embedding_cache_size))
        embeddings = EmbeddingService(settings, models, bases, encoders, cache)
        batches, endpoints = BatchStore(database), batch_endpoints(completions, chat, embeddings)
        runner = BatchRunner(settings, batches, Blobs(settings), endpoints, models.get)
        runner.start()
        opened.callback(runner.stop)
        stored, indexes = VectorStoreStore(database), StoreIndexes(settings)
        opened.callback(indexes.close)
        store_worker = VectorStoreWorker(stored, files, Blobs(settings), bases, embeddings, indexes)
        store_worker.start()
        opened.callback(store_worker.stop)
        stored_files = VectorStoreFileService(stored, files, Blobs(settings), indexes, store_worker.wake)
        file_service = FileService(settings, files, Blobs(settings), stored_files.forget)
        yield Services(
            access=AccessService(settings, KeyService(KeyStore(database)), tokens),
            limits=Limiter(),
            files=file_service,
            fine_tunes=FineTuneService(settings, jobs, files, tuned, executor, bases),
            models=models,
            completions=completions,
            embeddings=embeddings,
            batches=BatchService(settings, batches, files, endpoints.keys(), runner),
            deployments=deployments,
            imports=FileImport(settings, file_service),
            tokens=TokenService(models, bases),
            chat=chat,
            vector_stores=VectorStoreService(settings, stored, files, indexes, store_worker.wake),
            vector_store_files=stored_files,
            vector_store_search=VectorStoreSearch(stored, files, embeddings, indexes),
        )
