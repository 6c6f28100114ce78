"""Files of policies on the Hugging Face Hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from policylearn.artefact.manifest import LIMITS


def download(name: str, revision: str | None = None) -> Path:
    """A policy's files in the Hub's cache; those there are not asked for again, and do without a network.

    Raises:
        ValueError: there is no such policy, or neither the Hub nor a copy in the cache can be reached.
    """
    with _explained(name, revision):
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(LIMITS)))


def upload(name: str, folder: Path, *, private: bool | None, revision: str | None, message: str) -> str:
    """Upload a policy's files; returns the address of the commit. Arguments and errors as of
    `PolicyArtefact.push_to_hub`."""
    api = HfApi()
    with _explained(name, revision):
        api.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        done = api.upload_folder(repo_id=name, folder_path=folder, revision=revision, commit_message=message)
    return str(done.commit_url)


@contextmanager
def _explained(name: str, revision: str | None) -> Iterator[None]:
    """What the Hub says, with what to do about it."""
    what = f"policy {name!r}" + (f", revision {revision!r}," if revision else "")
    sign_in = "sign in with `hf auth login` or set HF_TOKEN"
    try:
        yield
    except GatedRepoError as error:  # storage boundary
        raise ValueError(f"{what} is gated: ask for access on its page on the Hub, and {sign_in}") from error
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"{what} is neither a folder nor on the Hub: check the name; if it is private, {sign_in}"
        ) from error
    except RevisionNotFoundError as error:
        raise ValueError(f"{what} does not exist on the Hub: check the branch, tag or commit") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ValueError(
            f"{what} is no folder and not in the cache, and the Hub cannot be reached: connect, or unset HF_HUB_OFFLINE"
        ) from error
    except HFValidationError as error:
        raise ValueError(f"{what} is neither a folder nor a name the Hub allows: {error}") from error
    except (HTTPError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        advice = f"{sign_in}, as one who may write there" if status in (401, 403) else "try again later"
        raise ValueError(f"{what}: the Hub refuses: {' '.join(str(error).split())[:300]}; {advice}") from error
