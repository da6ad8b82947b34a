"""The services that one server's requests are given to."""

from dataclasses import dataclass
from luthier.services.completions import CompletionService
from luthier.services.files import FileService
from luthier.services.fine_tunes import FineTuneService
from luthier.services.models import ModelService


@dataclass(frozen=True)
class Services:
    files: FileService
    fine_tunes: FineTuneService
    models: ModelService
    completions: CompletionService
