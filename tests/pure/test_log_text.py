"""What a lead sees of an engine's log: no keys, no folders, no control signs, and all the rest."""

import pytest

from training.log_text import HIDDEN, shown


@pytest.mark.parametrize(
    "line",
    [
        "login with hf_abcdefghijklmnopqrstuvwxyz123",
        "WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567",
        "{'api_key': 'very private'}",
        'Authorization: Bearer abcdef.ghijkl"',
        "sent bearer abcdefghijkl to the hub",
        "postgres://lea:very-private@db:5432/pairloop is away",
        "https://lea:pw@proxy.example.org:8080/simple",
        "the site's own key is s3cret-of-this-site, it seems",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3",
    ],
)
def test_what_looks_like_a_key_is_hidden(line: str) -> None:
    told = shown(line, secrets=["s3cret-of-this-site"])
    assert HIDDEN in told
    for part in ("hf_", "0123456789abcdef", "very", "ghijkl", "lea:", "s3cret", "eyJhb"):
        assert part not in told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('File "/opt/venv/lib/torch/nn.py", line 3, in forward', 'File "…/nn.py", line 3, in forward'),
        ("reading ~/models/tiny/config.json now", "reading …/config.json now"),
        ("saved to /data/runs/1/checkpoints", "saved to …/runs/1/checkpoints"),
        ("in /data: no space left", "in …: no space left"),
        (
            "see https://huggingface.co/docs/trl/main/en for more",
            "see https://huggingface.co/docs/trl/main/en for more",
        ),
        ("12/40 steps, 3/4 of 1e-5 and/or more", "12/40 steps, 3/4 of 1e-5 and/or more"),
    ],
)
def test_folders_are_taken_out_and_addresses_stay(line: str, told: str) -> None:
    assert shown(line, folders=["/data"]) == told


def test_bars_and_colours_are_read_as_a_terminal_would() -> None:
    assert shown("\x1b[31mred\x1b[0m\n10%\r50%\r100%\na\x00b\u202ec\r\nend\n") == "red\n100%\na\ufffdb\ufffdc\nend"


def test_only_the_end_is_shown() -> None:
    assert shown("\n".join(map(str, range(500))), lines=3) == "497\n498\n499"
