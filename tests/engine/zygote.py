"""Engine processes without the seconds that each start costs: ``python -m tests.engine.zygote``.

Imports what a training run imports, computes nothing, and forks a process per line of its input, which is the folder
of a run to train. Prints each one's process id, and its exit code when it has ended. A run's process is as mortal as
any.
"""

import os
import subprocess
import sys
from pathlib import Path


class Zygote:
    """The test's side of it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.zygote"],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def start(self, path: Path) -> int:
        """Begins the run in `path`; its process id."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{path}\n")
        return self._number()

    def wait(self) -> int:
        """Until it has ended: its exit code, or minus the signal that ended it."""
        return self._number()

    def close(self) -> None:
        self.process.communicate()

    def _number(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


def _main() -> None:
    import datasets  # noqa: F401
    import peft  # noqa: F401
    from trl import DPOTrainer, KTOTrainer  # noqa: F401

    from training.engine.__main__ import main

    for line in sys.stdin:
        path = Path(line.strip())
        if (child := os.fork()) == 0:
            log = os.open(path / "engine.log", os.O_WRONLY | os.O_CREAT)
            for number in (1, 2):
                os.dup2(log, number)
            os._exit(main(["train", str(path)]))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _main()
