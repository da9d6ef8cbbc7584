"""A trainer by its contract that learns nothing: does what `script` in its spec says.

step: tells of a step · save: a checkpoint · adapter: the result · wait: until SIGTERM, then a checkpoint and 75
pid: writes it into a file · exit N · kill: dies as by the kernel · noise: prints what is no event · fail: says why,
exit 1 · hang: not even SIGTERM
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

spec = json.loads(Path(sys.argv[1]).read_text())
out = Path(spec["out"])
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
step = max((int(path.name[11:]) for path in out.glob("checkpoint-*")), default=0)


def say(event: str, **values: object) -> None:
    sys.stdout.write(json.dumps({"event": event, "cpu": 1.0 + step, "seconds": 1.0, **values}) + "\n")
    sys.stdout.flush()


def save() -> None:
    folder = out / f"checkpoint-{step}"
    folder.mkdir(exist_ok=True)
    (folder / "COMPLETE").touch()
    say("saved", step=step)


def end_with_stdin() -> None:
    while os.read(0, 100):
        pass
    os._exit(9)


threading.Thread(target=end_with_stdin, daemon=True).start()
say("started", step=step, steps=10, examples=1, gpus=0)
for command in spec["script"]:
    if command == "step":
        step += 1
        say("step", step=step, steps=10, epoch=step / 5, loss=3.0 - step / 10)
    elif command == "save":
        save()
    elif command == "adapter":
        (out / "adapter").mkdir()
        (out / "adapter" / "weights").write_text(str(step))
    elif command == "wait":
        stop.wait()
        save()
        say("paused", step=step)
        sys.exit(75)
    elif command == "pid":
        (out / "pid").write_text(str(os.getpid()))
    elif command == "hang":
        time.sleep(600)
    elif command == "noise":
        sys.stdout.write("srun: job 7 queued\n[1, 2]\n" + "x" * 100_000 + "\n")
    elif command == "fail":
        say("failed", error="The loss is not finite.")
        sys.exit(1)
    elif command == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        sys.exit(int(command))
