"""In which order rows are trained on: like with like in length, so that less of a batch is padding.

Importing this imports no torch.

Half of a random batch of chat answers is padding, and padding costs as much as text. As in transformers'
`LengthGroupedSampler`, rows are shuffled, cut into large pools, and sorted by length within a pool. Unlike there, the
order is a function of seed and epoch alone (a resumed run must repeat it in whatever state the generators are), the
batches are shuffled again afterwards, and a batch is all that one optimizer step sees, so that neither accumulation nor
the number of processes changes what is learnt in a step.
"""

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

# Pools of at most so many steps' rows, and at least four pools in an epoch: as transformers does it.
MOST_STEPS_A_POOL, LEAST_POOLS = 50, 4


def grouped_by_length(lengths: Sequence[int], *, step_rows: int, seed: int, epoch: int) -> list[int]:
    """Every index once; each `step_rows` in a row are of like length, and a last incomplete group stays last.

    The group with the longest row comes first, so that a lack of memory shows at once and not after an hour.
    """
    dice = random.Random(f"order {seed} {epoch}")  # not for secrets
    shuffled = list(range(len(lengths)))
    dice.shuffle(shuffled)
    steps_a_pool = max(1, min(len(shuffled) // (step_rows * LEAST_POOLS), MOST_STEPS_A_POOL))
    pool = steps_a_pool * step_rows
    groups: list[list[int]] = []
    for start in range(0, len(shuffled), pool):
        alike = sorted(shuffled[start : start + pool], key=lambda index: -lengths[index])
        groups += [alike[at : at + step_rows] for at in range(0, len(alike), step_rows)]
    short = groups.pop() if groups and len(groups[-1]) < step_rows else []
    dice.shuffle(groups)
    if groups:
        longest = max(range(len(groups)), key=lambda place: max(lengths[index] for index in groups[place]))
        groups.insert(0, groups.pop(longest))
    return [index for group in groups for index in group] + short


def repeated_prompts(prompts: int, *, group: int, step_rows: int, times: int, seed: int, epoch: int) -> list[int]:
    """Indices of prompts, for answers that are drawn `step_rows` at a time: each prompt `group` times in a row, and
    each step's `times` over (once for each batch that it is cut into), as TRL's `RepeatSampler` has them.

    Unlike there every prompt is in every epoch: a last step that is not full is filled up with the epoch's first ones.
    """
    dice = random.Random(f"prompts {seed} {epoch}")  # not for secrets
    order = list(range(prompts))
    dice.shuffle(order)
    a_step = step_rows // group
    steps = math.ceil(prompts / a_step)
    order = [order[place % prompts] for place in range(steps * a_step)]
    return [
        index
        for start in range(0, len(order), a_step)
        for _ in range(times)
        for index in order[start : start + a_step]
        for _ in range(group)
    ]


def group_prompts(trainer: Any, prompts: int, *, seed: int) -> None:
    """Gives TRL's RLOO or GRPO trainer this order, anew in each epoch.

    Theirs moves on a generator that a resumed run starts again, so that its second epoch would be the first once more;
    and it leaves out prompts that do not fill a step.
    """
    from torch.utils.data import Sampler

    args = trainer.args
    shape = {"group": args.num_generations, "step_rows": args.generation_batch_size, "times": args.steps_per_generation}
    steps_an_epoch = math.ceil(prompts / (args.generation_batch_size // args.num_generations))

    class InGroups(Sampler):  # type: ignore[misc]  # torch is not type-checked here
        def __len__(self) -> int:
            return int(steps_an_epoch * args.generation_batch_size * args.steps_per_generation)

        def __iter__(self) -> Iterator[int]:
            epoch = trainer.state.global_step // steps_an_epoch
            return iter(repeated_prompts(prompts, seed=seed, epoch=epoch, **shape))

    trainer._get_train_sampler = lambda dataset=None: InGroups()


def group_by_length(trainer: Any, lengths: Sequence[int], *, seed: int) -> None:
    """Gives TRL's trainer this order of its rows, anew in each epoch. Trainers with an order of their own keep it.

    `lengths` in tokens, one a row. KTO, GRPO and RLOO have an order of their own.
    """
    from torch.utils.data import Sampler
    from transformers import Trainer

    if type(trainer)._get_train_sampler is not Trainer._get_train_sampler:
        return
    batch = trainer.args.per_device_train_batch_size * trainer.accelerator.num_processes
    accumulated = trainer.args.gradient_accumulation_steps
    steps_an_epoch = math.ceil(math.ceil(len(lengths) / batch) / accumulated)

    class ByLength(Sampler):  # type: ignore[misc]  # torch is not type-checked here
        def __len__(self) -> int:
            return len(lengths)

        def __iter__(self) -> Iterator[int]:
            # From the steps done, which a checkpoint restores; `set_epoch` does not reach every wrapped sampler.
            epoch = trainer.state.global_step // steps_an_epoch
            return iter(grouped_by_length(lengths, step_rows=batch * accumulated, seed=seed, epoch=epoch))

    # `train_sampling_strategy="group_by_length"` would look for a column that the trainer removes.
    trainer._get_train_sampler = lambda dataset=None: ByLength()
