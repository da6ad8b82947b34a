"""The API under /openai as Azure has it: its paths, words and errors over the same services."""

from luthier.server.azure import deployments, files, fine_tunes, inference, models

ROUTERS = (
    files.imports,
    files.router,
    fine_tunes.router,
    fine_tunes.root,
    models.router,
    inference.router,
    deployments.router,
)
