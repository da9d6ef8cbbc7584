"""A launcher such as operators have: the trainer runs in a session of its own, and is told of what happens.

python launcher.py NAME LOG -- COMMAND...

It appends NAME and the command to LOG, says what is no event, hands stdin and SIGTERM on, and, as torchrun does, ends
with 1 whatever the trainer's exit status was, if that was not 0.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

name, log, _, *command = sys.argv[1:]
with Path(log).open("a") as file:
    file.write(f"{name} {' '.join(command)}\n")
sys.stdout.write(f"{name} created\nwaiting for {name} to run\n")
sys.stdout.flush()
trainer = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
signal.signal(signal.SIGTERM, lambda *_: trainer.send_signal(signal.SIGTERM))
assert trainer.stdin is not None


def hand_on() -> None:
    assert trainer.stdin is not None
    while os.read(0, 100):
        pass
    trainer.stdin.close()


threading.Thread(target=hand_on, daemon=True).start()
sys.exit(1 if trainer.wait() else 0)
