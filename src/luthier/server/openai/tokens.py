"""/v1/tokenize and /v1/detokenize: ours, beside OpenAI's API."""

from fastapi import APIRouter

from luthier.server.body import JsonRoute
from luthier.server.dependencies import ServicesOf
from luthier.server.wire.tokens import DetokenizeBody, TokenizeBody, TokensList
from luthier.services.limits import usage_reporter

router = APIRouter(tags=["Tokens"], route_class=JsonRoute)


@router.post("/tokenize")
def tokenize(body: TokenizeBody, services: ServicesOf) -> TokensList:
    """The tokens of texts, as a model reads them. Ours."""
    usage_reporter()(0)  # counting takes none of a key's tokens
    return TokensList.of(services.tokens.tokenize(body.model, body.input))


@router.post("/detokenize")
def detokenize(body: DetokenizeBody, services: ServicesOf) -> TokensList:
    """The texts of token ids. Ours."""
    usage_reporter()(0)
    return TokensList.of(services.tokens.detokenize(body.model, body.token_ids))
