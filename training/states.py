"""PURE: the states of runs and jobs, what each means in a line, and the moves between them.

A move is one UPDATE filtered by the state that is left, so that of two who try, one wins. A wish to stop is a flag
(``Run.cancel_requested_at``), never a state.

    run:  queued ──claimed──> training ──policy published──> scoring ──scored──> finished
           ^ │                   ├──────reward model published─────────────────────^
           ^ │                   │                              │
           │ └─────cancel────────┴────cancel, failure───────────┴──> cancelled / failed ──┐
           └───────────────────────────a lead resumes it (services.resuming)──────────────┤
                                                 scoring <──a lead has it scored again────┘

    job:  queued ──claim──> running ──publish──> done
             ^                │ │
             └──release───────┘ └──> failed / cancelled      (an expired lease: claimed again, with a higher token)
             └──────────────a lead resumes its run──┘

    recipe run:  running ──last stage finished──> finished
                 ^     └──a stage failed, was cancelled, held back, or could not begin──> stopped ──┐
                 └──────────────────────────a lead continues it───────────────────────────────────┘
"""

RUN_MEANING: dict[str, str] = {
    "queued": "frozen and waiting for a worker",
    "training": "the engine is at work",
    "scoring": "the new policy exists and is being measured",
    "finished": "what it made exists and was measured",
    "failed": "ended without a usable result; the message says why and what to do",
    "cancelled": "ended because a lead asked for it",
}
RUN_MOVES: dict[str, frozenset[str]] = {
    "queued": frozenset({"training", "failed", "cancelled"}),
    # A reward model was measured by the run itself.
    "training": frozenset({"scoring", "finished", "failed", "cancelled"}),
    # A policy that could not be scored stays: it is only never sampled from.
    "scoring": frozenset({"finished", "failed", "cancelled"}),
    "finished": frozenset(),
    # Queued: only a run that made no policy, and that no later run follows. Scoring: one whose policy was never scored.
    "failed": frozenset({"queued", "scoring"}),
    "cancelled": frozenset({"queued", "scoring"}),
}
RUN_ACTIVE = ("queued", "training", "scoring")
RUN_TERMINAL = ("finished", "failed", "cancelled")

JOB_MEANING: dict[str, str] = {
    "queued": "waiting for a worker to hear the doorbell",
    "running": "leased to a worker until lease_until; after that anyone may claim it",
    "done": "its result was published, once",
    "failed": "ended for good; error says why",
    "cancelled": "ended because a lead asked for it",
}
JOB_MOVES: dict[str, frozenset[str]] = {
    "queued": frozenset({"running", "failed", "cancelled"}),
    "running": frozenset({"running", "queued", "done", "failed", "cancelled"}),
    "done": frozenset(),
    "failed": frozenset({"queued"}),
    "cancelled": frozenset({"queued"}),
}
JOB_ACTIVE = ("queued", "running")
JOB_TERMINAL = ("done", "failed", "cancelled")

RECIPE_MEANING: dict[str, str] = {
    "running": "the run of its stage is under way, or has just ended",
    "finished": "its last stage made a policy",
    "stopped": "a stage gave nothing to go on from; the message says why, and a lead may continue it",
}
RECIPE_MOVES: dict[str, frozenset[str]] = {
    # From one stage to the next it stays where it is: that UPDATE is filtered by the stage as well.
    "running": frozenset({"running", "finished", "stopped"}),
    "finished": frozenset(),
    "stopped": frozenset({"running"}),
}


def states_that_lead_to(target: str, moves: dict[str, frozenset[str]]) -> tuple[str, ...]:
    """The states that may be left for ``target``: what the UPDATE of a move filters by."""
    return tuple(state for state, after in moves.items() if target in after)
