"""A checkpoint to the Hub: everything is checked before anything is sent, and what is there already is not sent again.

What a folder sends is a fixed list, so that figures, contact sheets and whatever else lies beside the weights stay
where they are. The code is this package's: it is what the checks have just run.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import validate_repo_id
from huggingface_hub.utils.sha import git_hash

from fahr_hf import models
from fahr_hf.hub.cards import addressed, check_card
from fahr_hf.hub.golden import CROP_FILE, NUMBERS_FILE
from fahr_hf.hub.verify import verify
from fahr_hf.models.image_processing_fahr_face import DETECTOR_FILES

_CARD = "README.md"
_CODE = "*_fahr_face.py"
_SENT = (
    *("config.json", "preprocessor_config.json", "model*.safetensors", "model.safetensors.index.json"),
    *(NUMBERS_FILE, CROP_FILE, _CARD, "LICENSE*", "conversion.json", *DETECTOR_FILES),
)
_TAG = re.compile(r"\w[\w.-]*")


def push(
    folder: str | os.PathLike, repo: str, private: bool = False, tag: str | None = None, dry_run: bool = False
) -> str:
    """Send a checkpoint to the Hub, complete: weights, configuration, code, detector files, card and golden vectors.

    The card's lines of use are given the repository's name and the tag. A second push of the same files makes no
    commit, and one after a failure sends only what has not arrived. A tag marks a version and is never moved. Where
    the card asks who wants access and why, as that of survival weights does, access waits for the owner's approval
    before the first file is there.

    Args:
        folder: Of the checkpoint.
        repo: `org/name`; made if it does not exist.
        private: Make it private; without effect on one that exists.
        tag: Name of this version, such as `"v1"`.
        dry_run: Check everything, and send nothing; neither a token nor a network is needed.

    Returns:
        Address of the commit that holds these files; of the repository, after a dry run.

    Raises:
        ValueError: the checkpoint does not load, does not answer as its golden vectors say, or its card is not
            complete; `repo` or `tag` is no name; or the tag marks other files already.
        OSError: files are missing, or the Hub does not take them: no token, no rights, no network.
    """
    folder, api = Path(folder).resolve(), HfApi()
    _check_names(repo, tag)
    files = files_to_send(folder)
    verify(folder)
    check_card(folder)
    if dry_run:
        return f"{api.endpoint}/{repo}"
    card = files[_CARD].read_text(encoding="utf-8")
    contents: dict[str, Path | bytes] = {**files, _CARD: addressed(card, repo, tag).encode()}
    operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
    with _plain_errors(repo, api.endpoint):
        api.whoami()
        api.create_repo(repo, private=private, exist_ok=True)
        if ModelCard(card).data.get("extra_gated_fields"):
            api.update_repo_settings(repo, gated="manual")
        versions = {ref.name: ref.target_commit for ref in api.list_repo_refs(repo).tags}
        if tag is not None and tag in versions:
            _check_unchanged(api, repo, tag, operations)
            return f"{api.endpoint}/{repo}/commit/{versions[tag]}"
        message = "Checkpoint of fahr-hf" if tag is None else f"Checkpoint of fahr-hf, version {tag}"
        commit = api.create_commit(repo, operations, commit_message=message)
        if tag is not None:
            api.create_tag(repo, tag=tag, revision=commit.oid)
    return commit.commit_url


def files_to_send(folder: Path) -> dict[str, Path]:
    """What `push` sends of a checkpoint: name on the Hub, and file.

    Args:
        folder: Of the checkpoint.

    Raises:
        FileNotFoundError: no such folder, or one without weights.
    """
    package = Path(models.__file__).parent
    if not list(folder.glob("model*.safetensors")):
        raise FileNotFoundError(f"{str(folder)!r} is no checkpoint: there is no model.safetensors.")
    own = [file for file in folder.iterdir() if any(fnmatch(file.name, pattern) for pattern in _SENT)]
    code = [*package.glob(_CODE), *(package / name for name in DETECTOR_FILES)]
    # A checkpoint's own detector files come last: they are the ones that its processor was verified with.
    return {file.name: file for file in [*sorted(code), *sorted(own)]}


def _check_names(repo: str, tag: str | None) -> None:
    validate_repo_id(repo)
    if "/" not in repo:
        raise ValueError(f"The repository {repo!r} has no owner; expected a name such as 'org/{repo}'.")
    if tag is not None and not _TAG.fullmatch(tag):
        raise ValueError(f"The tag {tag!r} is no name of a version; expected letters, digits, '.', '-', such as 'v1'.")


def _check_unchanged(api: HfApi, repo: str, tag: str, operations: Sequence[CommitOperationAdd]) -> None:
    """A version that is there already holds the very same files."""
    names = [operation.path_in_repo for operation in operations]
    there = {file.path: file for file in api.get_paths_info(repo, names, revision=tag) if isinstance(file, RepoFile)}
    changed = [operation.path_in_repo for operation in operations if not _is_same(operation, there)]
    if changed:
        raise ValueError(
            f"{repo} has a version {tag} with other files ({', '.join(changed)}), and a version never changes. Choose "
            "another tag."
        )


def _is_same(operation: CommitOperationAdd, there: Mapping[str, RepoFile]) -> bool:
    file = there.get(operation.path_in_repo)
    if file is None:
        return False
    if file.lfs is not None:
        return file.lfs.sha256 == operation.upload_info.sha256.hex()
    with operation.as_file() as content:
        return file.blob_id == git_hash(content.read())


@contextmanager
def _plain_errors(repo: str, endpoint: str) -> Iterator[None]:
    """Say in one line what keeps the Hub from taking a checkpoint, and what to do."""
    try:
        yield
    except (OSError, HTTPError, RuntimeError) as error:
        # Of a file that could not be uploaded, huggingface_hub says why in the cause alone.
        cause = error.__cause__ if isinstance(error, RuntimeError) else None
        reason = _reason(cause or error, endpoint)
        raise OSError(f"{repo} was not sent, or not all of it: {reason}") from error


def _reason(error: BaseException, endpoint: str) -> str:
    if isinstance(error, LocalTokenNotFoundError):
        return "there is no token. Log in with `hf auth login`, or set HF_TOKEN to a token that may write."
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set. Unset it to send something."
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 401:
            return f"{endpoint} does not know the token. Log in again with `hf auth login`, or renew HF_TOKEN."
        if status == 403:
            return "the token may not write there. Take one with the role 'write', of an account with rights to it."
        said = error.server_message or error.response.reason_phrase
        return f"{endpoint} answered {status}, {said}. Try again later: what has arrived is not sent again."
    if isinstance(error, HTTPError):
        return f"{endpoint} cannot be reached ({error}). Try again later: what has arrived is not sent again."
    return f"{error}"
