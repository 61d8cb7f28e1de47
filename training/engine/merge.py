"""`merge`: a policy's adapter is added into its base's weights. Out: `model/`, a whole model with its tokenizer.

Merged in float32 on the CPU, then saved in the precision of the base, so that the file is as large as the base's.
"""

import shutil

from annotate.said import Said
from training.engine import rundir
from training.engine.job import Failure, Job
from training.engine.spec import MergeSpec

MODEL = "model"


def merge(job: Job, spec: MergeSpec) -> str:
    """Writes `model/` atomically, with a manifest, and returns the closing sentence. Raises Failure `not_finite`."""
    import torch
    from transformers import AutoConfig

    from training.engine.models import Device, add_adapter, all_finite, load_base, load_tokenizer

    job.events.phase("load", Said("Loading the model"))
    ref = spec.policy
    chat = load_tokenizer(ref, job)
    model = add_adapter(load_base(ref, Device("cpu", bf16=False)), ref.adapter, trainable=False)
    job.events.phase("merge", Said("Merging the adapter into the weights"))
    job.raise_if_stopped()
    merged = model.merge_and_unload(safe_merge=True)
    if not all_finite(merged.state_dict()):
        raise Failure("not_finite", Said("The merged weights hold NaN or infinity, so there is no model."))
    config = AutoConfig.from_pretrained(ref.model, revision=ref.revision or None, trust_remote_code=False)
    merged = merged.to(config.dtype or torch.float32)
    merged.config.dtype = config.dtype or torch.float32
    merged.config.name_or_path = ""  # a folder of this machine
    aside = job.path / ".model.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    merged.save_pretrained(aside)
    chat.tokenizer.save_pretrained(aside)
    about = {"revision": ref.revision, "dtype": str(merged.config.dtype)}
    job.manifest_sha256 = rundir.put_in_place(aside, job.path / MODEL, about)
    return Said("The adapter was merged into a whole model.")
