"""Names that the house gives: ids of jobs, files and events, and names of tuned models."""

import re
import secrets
import string
import unicodedata
from datetime import UTC, datetime

from luthier.domain.job import Dialect, Job

ID_CHARACTERS = string.ascii_letters + string.digits
MAX_SUFFIX = {Dialect.LEGACY: 40, Dialect.JOBS: 64}
JOB_PREFIX = {Dialect.LEGACY: "ft-", Dialect.JOBS: "ftjob-"}
FILE_PREFIX = "file-"
EVENT_PREFIX = "ftevent-"
BATCH_PREFIX = "batch_"
STORE_PREFIX = "vs_"
STORE_BATCH_PREFIX = "vsfb_"
ATTEMPT_PREFIX = "vsfa_"
_CHECKPOINT = re.compile(r":ckpt-step-\d+$")


def new_id(prefix: str) -> str:
    """A fresh id, `prefix` and 24 letters or digits, that nobody can guess."""
    return prefix + "".join(secrets.choice(ID_CHARACTERS) for _ in range(24))


def result_file_id(job_id: str) -> str:
    """Id of a job's result file. It bears the job's own characters: writing it twice gives one file."""
    return FILE_PREFIX + job_id.partition("-")[2]


def batch_file_id(batch_id: str, kind: str) -> str:
    """Id of a batch's file of answers (`output`) or of refusals (`errors`). Written twice, it is one file."""
    return f"{FILE_PREFIX}{batch_id.removeprefix(BATCH_PREFIX)}-{kind}"


def batch_request_id(batch_id: str, line: int) -> str:
    """Id of one request of a batch."""
    return f"batch_req_{batch_id.removeprefix(BATCH_PREFIX)}-{line:05d}"


def slug(suffix: str) -> str:
    """A suffix as it stands in a model's name: lower case letters, digits and single dashes; may come out empty."""
    plain = unicodedata.normalize("NFKD", suffix).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def model_name(job: Job, root: str, at: int) -> str:
    """Name of the model that a job makes.

    legacy: `ada:ft-personal-2023-03-14-18-36-10`, `ada:ft-personal:my-suffix-2023-03-14-18-36-10` (UTC);
    jobs: `ft:ada:personal:my-suffix:aB3dE5fG`, the last part from the job's id.
    In place of `personal` stands the organization of the request that made the job, where it named one.

    Args:
        root: name of the base, see `root_of`.
        at: Unix seconds, when the model was finished.
    """
    suffix, organization = slug(job.suffix or ""), slug(job.organization)
    if job.dialect is Dialect.JOBS:
        return f"ft:{root}:{organization}:{suffix}:{job.id[-8:]}"
    owner = f"{organization}:{suffix}" if suffix else organization
    return f"{root}:ft-{owner}-{datetime.fromtimestamp(at, UTC):%Y-%m-%d-%H-%M-%S}"


def checkpoint_name(model: str, step: int) -> str:
    """Name of an epoch's checkpoint of a tuned model."""
    return f"{model}:ckpt-step-{step}"


def root_of(model: str) -> str:
    """The base's name within a model's name: `ada` for `ada`, for its tuned models, and for models tuned from those.

    A folder is named by its last part.
    """
    name = _CHECKPOINT.sub("", model)
    if name.startswith("ft:") and name.count(":") >= 4:
        name = name.removeprefix("ft:").rsplit(":", 3)[0]
    else:
        name = name.partition(":ft-")[0]
    if name.startswith("hf:"):
        return name
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1]
