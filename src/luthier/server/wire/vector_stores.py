"""What requests about vector stores say."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from luthier.domain.filters import Comparison, Compound, Filter, Op, Scalar
from luthier.domain.vector_store import Chunking
from luthier.errors import InvalidRequestError
from luthier.server.wire.base import RequestBody
from luthier.server.wire.vector_store_objects import AttributeValues, Value
from luthier.services.vector_store_checks import PutFile
from luthier.services.vector_store_search import SearchStore
from luthier.services.vector_stores import CreateStore


class ExpiresAfterBody(RequestBody):
    title = "expires_after"

    anchor: Literal["last_active_at"]
    days: int = Field(ge=1, le=365, description="Days without use after which the store expires.")


class AutoChunkingBody(RequestBody):
    title = "The chunking strategy 'auto'"

    type: Literal["auto"]

    def to_domain(self) -> Chunking:
        return Chunking()


class StaticChunkingSizes(RequestBody):
    title = "static"

    max_chunk_size_tokens: int = Field(ge=100, le=4096)
    chunk_overlap_tokens: int = Field(ge=0)


class StaticChunkingBody(RequestBody):
    title = "The chunking strategy 'static'"

    type: Literal["static"]
    static: StaticChunkingSizes

    def to_domain(self) -> Chunking:
        """
        Raises:
            InvalidRequestError: the pieces overlap by more than half.
        """
        sizes = self.static
        if 2 * sizes.chunk_overlap_tokens > sizes.max_chunk_size_tokens:
            raise InvalidRequestError(
                f"chunk_overlap_tokens is {sizes.chunk_overlap_tokens}, more than half of max_chunk_size_tokens, "
                f"{sizes.max_chunk_size_tokens}.",
                param="chunking_strategy.static.chunk_overlap_tokens",
            )
        return Chunking(sizes.max_chunk_size_tokens, sizes.chunk_overlap_tokens)


ChunkingBody = Annotated[AutoChunkingBody | StaticChunkingBody, Field(discriminator="type")]


def _put(file_id: str, attributes: Mapping[str, Scalar], chunking: ChunkingBody | None) -> PutFile:
    return PutFile(file_id, attributes, Chunking() if chunking is None else chunking.to_domain())


class CreateVectorStoreBody(RequestBody):
    title = "A vector store"

    name: str = ""
    description: str | None = None
    file_ids: list[str] = Field(default=[], description="Files of purpose `assistants` or `user_data`.")
    chunking_strategy: ChunkingBody | None = Field(default=None, description="How the files are cut.")
    expires_after: ExpiresAfterBody | None = None
    metadata: dict[str, str] = Field(default={}, description="Up to 16 pairs of your own.")

    def to_domain(self) -> CreateStore:
        """
        Raises:
            InvalidRequestError: a way of cutting that does not fit, or one without files.
        """
        if self.chunking_strategy is not None and not self.file_ids:
            raise InvalidRequestError(
                "'chunking_strategy' is for the files of 'file_ids', and there are none. Give it with the files.",
                param="chunking_strategy",
            )
        return CreateStore(
            name=self.name,
            description=self.description,
            metadata=self.metadata,
            expires_days=self.expires_after.days if self.expires_after else None,
            files=tuple(_put(one, {}, self.chunking_strategy) for one in self.file_ids),
        )


class UpdateVectorStoreBody(RequestBody):
    title = "The change of a vector store"
    nullable: ClassVar[frozenset[str]] = frozenset({"expires_after", "metadata"})

    name: str | None = None
    expires_after: ExpiresAfterBody | None = Field(default=None, description="null: it never expires.")
    metadata: dict[str, str] | None = Field(default=None, description="In place of the old; null: none.")

    def changes(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if self.name is not None:
            made["name"] = self.name
        if "expires_after" in self.model_fields_set:
            made["expires_days"] = self.expires_after.days if self.expires_after else None
        if "metadata" in self.model_fields_set:
            made["metadata"] = self.metadata or {}
        return made


class PutFileBody(RequestBody):
    title = "A file of a vector store"

    file_id: str
    attributes: AttributeValues = Field(default={}, description="Up to 16, for the filters of searches.")
    chunking_strategy: ChunkingBody | None = Field(default=None, description="By default 800 tokens, 400 shared.")

    def to_domain(self) -> PutFile:
        return _put(self.file_id, self.attributes, self.chunking_strategy)


class UpdateFileBody(RequestBody):
    title = "The change of a file's attributes"
    nullable: ClassVar[frozenset[str]] = frozenset({"attributes"})

    attributes: AttributeValues | None = Field(description="In place of the old; null: none.")


class FileBatchBody(RequestBody):
    title = "A batch of files"

    file_ids: list[str] | None = Field(default=None, description="All alike, by the two fields that follow.")
    attributes: AttributeValues = Field(default={}, description="Of all files of `file_ids`.")
    chunking_strategy: ChunkingBody | None = None
    files: list[PutFileBody] | None = Field(default=None, description="Each with attributes and pieces of its own.")

    def to_domain(self) -> tuple[list[PutFile], str]:
        """The files, and the field that names them.

        Raises:
            InvalidRequestError: both ways of naming files, or neither, or `attributes` or `chunking_strategy` beside
                `files`.
        """
        if (self.files is None) == (self.file_ids is None):
            raise InvalidRequestError("Name the files either by 'file_ids' or by 'files'.", param="file_ids")
        if self.files is None:
            return [_put(one, self.attributes, self.chunking_strategy) for one in self.file_ids or ()], "file_ids"
        for name in ("attributes", "chunking_strategy"):
            if name in self.model_fields_set:
                raise InvalidRequestError(f"'{name}' is for 'file_ids'. Give it in each of 'files'.", param=name)
        return [file.to_domain() for file in self.files], "files"


class ComparisonBody(RequestBody):
    title = "A comparison"

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: str = Field(description="Name of an attribute.")
    value: Value | list[Value] = Field(description="A list for `in` and `nin`.")

    def to_domain(self) -> Filter:
        return Comparison(self.key, Op(self.type), tuple(self.value) if isinstance(self.value, list) else self.value)


class CompoundBody(RequestBody):
    title = "A compound filter"

    type: Literal["and", "or"]
    filters: list["FilterBody"]

    def to_domain(self) -> Filter:
        return Compound(self.type == "and", tuple(one.to_domain() for one in self.filters))


FilterBody = Annotated[ComparisonBody | CompoundBody, Field(discriminator="type")]


class RankingOptionsBody(RequestBody):
    title = "ranking_options"

    ranker: str = Field(default="auto", description="`auto` and `none`, which are one here: by cosine.")
    score_threshold: float = Field(default=0.0, ge=0, le=1, description="Least score of a result.")


class SearchBody(RequestBody):
    title = "A search"

    query: str | list[str] = Field(description="One question or several; a piece counts with its best score.")
    max_num_results: int = Field(default=10, ge=1, le=50)
    filters: FilterBody | None = Field(default=None, description="On the files' attributes.")
    ranking_options: RankingOptionsBody | None = None
    rewrite_query: bool = Field(default=False, description="true is refused.")

    @property
    def queries(self) -> list[str]:
        return self.query if isinstance(self.query, list) else [self.query]

    def to_domain(self) -> SearchStore:
        """
        Raises:
            InvalidRequestError: the question is to be rewritten, or a ranker that is not here.
        """
        if self.rewrite_query:
            raise InvalidRequestError(
                "Questions are searched for as they are. Leave out 'rewrite_query', or rewrite the question by "
                "/v1/chat/completions first.",
                param="rewrite_query",
            )
        options = self.ranking_options or RankingOptionsBody()
        if options.ranker not in ("auto", "none"):
            raise InvalidRequestError(
                f"There is no ranker '{options.ranker}' here. Use 'auto' or 'none', or leave it out.",
                param="ranking_options.ranker",
            )
        filters = None if self.filters is None else self.filters.to_domain()
        return SearchStore(tuple(self.queries), self.max_num_results, filters, options.score_threshold)
