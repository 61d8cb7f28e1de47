"""`push`: a folder goes to the Hugging Face Hub, as one commit. No torch.

The token is `HF_TOKEN` of the environment, or what `hf auth login` left; it is written nowhere.
"""

from pathlib import Path

from annotate.said import Said
from training.engine.job import Failure, Job
from training.engine.spec import PushSpec


def push(job: Job, spec: PushSpec) -> str:
    """Makes the repository where there is none, uploads, and returns the closing sentence; the address is a metric.

    Raises Failure `no_token`, `hub_refused` or `hub_away`.
    """
    import httpx2
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if not get_token():
        raise Failure(
            "no_token", Said("There is no token for the Hub. Set HF_TOKEN where the worker runs, then push again.")
        )
    job.events.phase("push", Said("Pushing to %(repo)s", repo=spec.repo))
    api = HfApi(endpoint=spec.endpoint or None)
    try:
        api.create_repo(spec.repo, private=spec.private, exist_ok=True)
        job.raise_if_stopped()
        commit = api.upload_folder(
            repo_id=spec.repo, folder_path=Path(spec.folder), commit_message=spec.message, repo_type="model"
        )
    except (HFValidationError, ValueError) as error:
        raise Failure("hub_refused", Said("The Hub does not take this: %(why)s", why=_short(error))) from error
    except HfHubHTTPError as error:
        raise Failure(
            "hub_refused",
            Said(
                "The Hub refused: %(why)s. Check the token's rights and the repository's name.",
                why=_short(error),
            ),
        ) from error
    except (OfflineModeIsEnabled, httpx2.HTTPError, ConnectionError) as error:
        raise Failure(
            "hub_away", Said("The Hub cannot be reached: %(why)s. Push again later.", why=_short(error))
        ) from error
    job.metrics |= {"url": str(commit.repo_url), "commit": commit.oid}
    return Said("Pushed to %(repo)s.", repo=spec.repo)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
