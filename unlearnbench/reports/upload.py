"""From a folder on this machine to a repository on the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unlearnbench.data.hub import causes
from unlearnbench.errors import UnlearnbenchError, UsageError

Kind = Literal["model", "space"]
FLAG = "--push-to-hub"
UNKNOWN = 401  # whoever asks
FORBIDDEN = (402, 403, 404)  # an owner whose repositories one may not see is answered like one that does not exist


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository on the hub that the user may write to, as `find_repository` finds it.

    Attributes:
        name: OWNER/NAME.
        kind: kind of the repository; a space shows a static site.
        private: True hides it from others, where it does not exist yet; None leaves that to the owner's settings.
    """

    name: str
    kind: Kind
    private: bool | None = None

    def open(self) -> None:
        """Make the repository, or find that it is there and may be written to.

        Raises:
            UsageError: the hub refuses, or cannot be reached.
        """
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi()
        try:
            sdk = "static" if self.kind == "space" else None
            api.create_repo(self.name, repo_type=self.kind, private=self.private, space_sdk=sdk, exist_ok=True)
            # one that is there is found whether or not it may be written to: ask as an upload asks, and send nothing
            asked = CommitOperationAdd("README.md", b"-")
            api.preupload_lfs_files(self.name, [asked], repo_type=self.kind)
        except Exception as error:  # the hub's client raises what the HTTP library does that it happens to be built on
            raise UsageError(_refusal(self, error)) from error

    def upload(self, folder: Path, replaced: Sequence[str] = ()) -> str:
        """Upload a folder, and return its address.

        Args:
            folder: folder, all of which is uploaded.
            replaced: patterns of files that are removed from the repository where the folder has none of their name.

        Raises:
            UnlearnbenchError: the hub refuses, or is lost; the folder stays.
        """
        from huggingface_hub import HfApi

        api = HfApi()
        try:
            api.upload_folder(
                repo_id=self.name,
                folder_path=folder,
                repo_type=self.kind,
                commit_message="Upload with unlearnbench",
                delete_patterns=list(replaced),
            )
        except Exception as error:  # as above
            kind = " --repo-type space" if self.kind == "space" else ""
            raise UnlearnbenchError(
                f"{folder} is written, and not uploaded: {_refusal(self, error)} Then: `hf upload {self.name} {folder}{kind}`."
            ) from error
        return f"{api.endpoint}/{'spaces/' if self.kind == 'space' else ''}{self.name}"


def find_repository(name: str, kind: Kind, *, private: bool) -> Repository:
    """Return the repository that `--push-to-hub` names, without asking the hub.

    Raises:
        UsageError: it is no repository's name, there is no token, or the hub is not to be asked.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        name_fits = False
    else:
        name_fits = "/" in name
    if not name_fits:
        raise UsageError(f"{FLAG} takes OWNER/NAME, as in me/forgetful; got '{name}'.")
    if constants.HF_HUB_OFFLINE:
        raise UsageError(f"{FLAG} needs the hub, and HF_HUB_OFFLINE forbids it: unset it, or leave {FLAG} out.")
    if get_token() is None:
        raise UsageError(f"{FLAG} needs a token that may write: log in with `hf auth login`, or set HF_TOKEN.")
    return Repository(name=name, kind=kind, private=private or None)


def _refusal(asked: Repository, error: Exception) -> str:
    """Return the error, and what to do about it."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    refused = next((cause for cause in causes(error) if isinstance(cause, HfHubHTTPError)), None)
    if refused is None:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        return f"The hub at {constants.ENDPOINT} cannot be reached, or broke off ({reason}); try again."
    status = refused.response.status_code
    if status == UNKNOWN:
        return "The hub does not accept the token: log in again with `hf auth login`, or set HF_TOKEN."
    if status in FORBIDDEN:
        return (
            f"The hub does not let this token write to '{asked.name}': take a token with the right to write, and yourself or "
            "your organization as OWNER."
        )
    message = (refused.server_message or str(refused)).splitlines()[0].rstrip(".")
    return f"The hub refused '{asked.name}' ({status}: {message})."
