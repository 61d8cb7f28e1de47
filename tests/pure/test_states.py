from training.states import (
    JOB_ACTIVE,
    JOB_MEANING,
    JOB_MOVES,
    JOB_TERMINAL,
    RECIPE_MEANING,
    RECIPE_MOVES,
    RUN_ACTIVE,
    RUN_MEANING,
    RUN_MOVES,
    RUN_TERMINAL,
    states_that_lead_to,
)


def test_every_state_has_a_meaning_and_is_either_active_or_terminal() -> None:
    for meaning, moves, active, terminal in (
        (RUN_MEANING, RUN_MOVES, RUN_ACTIVE, RUN_TERMINAL),
        (JOB_MEANING, JOB_MOVES, JOB_ACTIVE, JOB_TERMINAL),
        (RECIPE_MEANING, RECIPE_MOVES, ("running",), ("finished", "stopped")),
    ):
        assert set(meaning) == set(moves) == set(active) | set(terminal)
        assert not set(active) & set(terminal)


def test_what_was_achieved_is_final_and_what_was_not_can_only_be_taken_up_again() -> None:
    for moves, active, terminal, done, again in (
        (RUN_MOVES, RUN_ACTIVE, RUN_TERMINAL, "finished", {"queued", "scoring"}),
        (JOB_MOVES, JOB_ACTIVE, JOB_TERMINAL, "done", {"queued"}),
    ):
        assert not moves[done]
        assert all(moves[state] == again for state in terminal if state != done)
        assert all(moves[state] for state in active)


def test_the_tables_know_the_same_states() -> None:
    from training.models import Job, RecipeRun, Run  # noqa: PLC0415  (needs Django's settings, which pytest-django gives)

    assert set(Run.State.values) == set(RUN_MOVES)
    assert set(Job.State.values) == set(JOB_MOVES)
    assert set(RecipeRun.State.values) == set(RECIPE_MOVES)


def test_a_cancelled_run_was_active_before() -> None:
    assert set(states_that_lead_to("cancelled", RUN_MOVES)) == set(RUN_ACTIVE)
    assert set(states_that_lead_to("queued", RUN_MOVES)) == {"failed", "cancelled"}
