"""The training methods, in the order in which the form offers them. Importing them imports no torch."""

from training.engine.methods.base import Method
from training.engine.methods.dpo import DPO
from training.engine.methods.fdpo import FDPO
from training.engine.methods.grpo import GRPO
from training.engine.methods.kto import KTO
from training.engine.methods.reward import REWARD
from training.engine.methods.rloo import RLOO
from training.engine.methods.sft import SFT

METHODS: dict[str, Method] = {method.name: method for method in (DPO, KTO, SFT, REWARD, FDPO, RLOO, GRPO)}
# Fields of TrainSpec that belong to some methods only; elsewhere they must stay as they are by default.
OWN_KNOBS: frozenset[str] = frozenset().union(*(method.knobs for method in METHODS.values()))


def foreign_knobs(method: str) -> frozenset[str]:
    """Fields of TrainSpec that mean nothing in this method; none where it is of another release."""
    return OWN_KNOBS - METHODS[method].knobs if method in METHODS else frozenset()
