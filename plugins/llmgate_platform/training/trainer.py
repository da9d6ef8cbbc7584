"""One LoRA training run in a process of its own, by transformers' Trainer and peft.

    python trainer.py SPEC.json                 the keys of SPEC.json: `Spec`

This file imports nothing of llmgate: it runs in any environment that has the packages of the extra `training`,
on any machine that shares the folder of artifacts with the worker. What a launcher has to pass on is the whole
of the contract:

- stdout: one JSON object a line, `{"event": ..., "cpu": CPU seconds, "seconds": wall seconds, ...}`. Events:
  `converted`, `started`, `step` (with the loss), `evaluated`, `saved`, `paused`, `finished`, `failed` (with `error`,
  in words for the user). What libraries print goes to stderr.
- SIGTERM: the step in progress is ended, a checkpoint written, exit status 75. Started again with the same
  spec it goes on from there: weights, optimizer, schedule, order of the data and random state.
- The end of stdin, where that is a pipe, ends it at once: whoever has started it is gone.
- `OUT/adapter`, renamed into place last, is the result, whatever the exit status.

Checkpoints count once they hold a file COMPLETE, which is written when everything else is on the disk, so that
kill -9 costs at most the steps since the last one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import importlib.metadata
import json
import math
import os
import re
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

REMEDY = "run `pip install '.[training]'` in a checkout of llmgate"
PAUSED = 75
"""Exit status: stopped by SIGTERM, with a checkpoint to go on from (EX_TEMPFAIL of sysexits.h)."""
FAILED = 1
COMPLETE = "COMPLETE"
IGNORED = -100
"""The label of a token that is given, not learnt."""
LLAMA_SHAPED = ("llama", "mistral")
"""`model_type`s whose adapters llama.cpp takes under the names, and in the order of rows, that are written here."""
DIGIT_SPLITTING = ("smollm", "starcoder", "refact", "command-r")
"""Pre-tokenizers of llama.cpp that make each digit a token of its own, and are GPT-2's else."""
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
PLACES = ("base", "dataset", "held_out", "out", "bases")
PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors")


@dataclass(frozen=True)
class Spec:
    """What to train. `base`: a folder as transformers saves it, a GGUF file, or a Hugging Face id.

    `gguf`: also write the adapter as llama.cpp reads it. `bases`: folder that keeps what was made of GGUF files.
    `threads`: of the CPU, 0: torch chooses. `bf16`: for CPUs that have it (avx512_bf16, AMX); GPUs always use it.
    """

    base: str
    dataset: str
    out: str
    bases: str
    epochs: int = 5
    learning_rate: float = 5e-5
    batch_size: int = 4
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.1
    max_tokens: int = 512
    save_seconds: float = 60.0
    held_out: str | None = None
    held_out_examples: int = 40
    seed: int = 0
    threads: int = 0
    target_modules: str | list[str] = "all-linear"
    bf16: bool = False
    gguf: bool = False


class TrainingError(Exception):
    """What the user is told: a reason, and what to do about it. Nothing of paths or of libraries' messages."""


class Events:
    """Writes events to where stdout was; of several processes (torchrun) the first speaks for all."""

    def __init__(self) -> None:
        self._out: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # what a library prints must not be taken for an event
        self._first = os.environ.get("RANK", "0") == "0"
        self._started = time.monotonic()

    def say(self, event: str, **values: Any) -> None:
        """One line."""
        if not self._first:
            return
        spent = {"cpu": round(time.process_time(), 2), "seconds": round(time.monotonic() - self._started, 2)}
        self._out.write(json.dumps({"event": event, **spent, **values}) + "\n")
        self._out.flush()


class Stop:
    """Whether SIGTERM has come. Before training has begun there is nothing to save: the process ends at once."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.training = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        self._asked.set()
        if not self.training:
            os._exit(PAUSED)

    def __bool__(self) -> bool:
        return self._asked.is_set()


def end_with_parent() -> None:
    """Die when whoever has started this process does: nobody would read its events or know of its result."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    mode = os.fstat(0).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        threading.Thread(target=_end_with_stdin, daemon=True).start()


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


# --- examples -------------------------------------------------------------------------------------------------------

Pieces = list[tuple[str, bool]]
"""Text in its order, each piece with whether it is to be learnt."""


def pieces_of(row: dict[str, Any], render: Callable[..., str]) -> Pieces:
    """An example of any of the four formats. `render`: the tokenizer's chat template."""
    if "messages" in row:
        return list(_chat(row["messages"], render))
    if "completion" in row:
        return [(row["prompt"], False), (row["completion"], True)]
    if "instruction" in row:
        asked = "".join(f"# {line}\n" for line in row["instruction"].splitlines())
        given, output = row.get("input") or "", row["output"]
        if given and output.startswith(given):  # the answer repeats what it was given: learn the rest
            return [(asked + given, False), (output[len(given) :], True)]
        return [(asked + (given + "\n" if given else ""), False), (output, True)]
    return [(row["text"], True)]


def _chat(messages: list[dict[str, str]], render: Callable[..., str]) -> Iterator[tuple[str, bool]]:
    """Every answer of the assistant is learnt, with the mark that ends it; the rest of the conversation is given."""
    done = ""
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked = render(messages[:at], tokenize=False, add_generation_prompt=True)
        answered = render(messages[: at + 1], tokenize=False)
        if not (asked.startswith(done) and answered.startswith(asked)):
            raise TrainingError(
                "The chat template of this model rewrites earlier turns: give prompt and completion."
            )
        yield asked[len(done) :], False
        yield answered[len(asked) :], True
        done = answered


def read_rows(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and the object of each line that is not empty."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, json.loads(line)
    except FileNotFoundError:
        raise TrainingError("The file of the data set is not there.") from None
    except ValueError:
        raise TrainingError("The data set is no JSON in UTF-8, one object a line.") from None


def tokenized(tokenizer: Any, path: str, max_tokens: int) -> list[dict[str, list[int]]]:
    """Token ids and labels, each example cut to `max_tokens`; those of which nothing is left to learn are left out."""
    empty = tokenizer("")["input_ids"]
    begin = [tokenizer.bos_token_id] if empty[:1] == [tokenizer.bos_token_id] else []
    rows = []
    for number, row in read_rows(path):
        chat = "messages" in row
        if chat and not tokenizer.chat_template:
            raise TrainingError(
                "This model has no chat template: give prompt and completion instead of messages."
            )
        try:
            pieces = pieces_of(row, tokenizer.apply_chat_template)
        except (KeyError, TypeError, AttributeError):
            raise TrainingError(f"Line {number} of the data set has none of the known formats.") from None
        ids, labels = (
            ([], []) if chat else (list(begin), [IGNORED] * len(begin))
        )  # a template has its own beginning
        for text, learnt in pieces:
            tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
            ids += tokens
            labels += tokens if learnt else [IGNORED] * len(tokens)
        if not chat:
            ids.append(tokenizer.eos_token_id)
            labels.append(tokenizer.eos_token_id)
        ids, labels = ids[:max_tokens], labels[:max_tokens]
        if any(label != IGNORED for label in labels[1:]):
            rows.append({"input_ids": ids, "labels": labels})
    return rows


def padded(rows: list[dict[str, list[int]]], pad: int) -> dict[str, Any]:
    """A batch as the model takes it."""
    import torch

    longest = max(len(row["input_ids"]) for row in rows)

    def fill(name: str, value: int) -> Any:
        return torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in rows])

    mask = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
    return {
        "input_ids": fill("input_ids", pad),
        "labels": fill("labels", IGNORED),
        "attention_mask": torch.tensor(mask),
    }


# --- the base model -------------------------------------------------------------------------------------------------


def base_folder(base: str, bases: Path, events: Events) -> str:
    """What transformers loads: `base` itself, or the folder that is made of a GGUF file once (25 s for 135M)."""
    if not base.endswith(".gguf"):
        return base
    file = Path(base)
    folder = bases / sha256_of(file)[:16]
    if not folder.exists():
        bases.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="new-", dir=bases))
        try:
            _convert(file, work)
            flush(work)
            with contextlib.suppress(OSError):  # another has been quicker
                work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        events.say("converted")
    return str(folder)


def _convert(file: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
    # Trainer refuses a model that says it is quantized, though it was dequantized while it was read.
    marks: list[tuple[Any, str]] = [(model.config, "quantization_config")]
    marks += [(model, name) for name in ("hf_quantizer", "is_quantized", "quantization_method")]
    for owner, name in marks:
        if name in vars(owner):
            delattr(owner, name)
    model.save_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    _split_digits(tokenizer, file)
    tokenizer.save_pretrained(out)


def _split_digits(tokenizer: Any, file: Path) -> None:
    """Split text as llama.cpp does for the pre-tokenizer that the file names, which transformers does not look at.

    What is trained on must be cut into the same tokens as what is asked later.
    """
    import gguf
    from tokenizers import pre_tokenizers

    field = gguf.GGUFReader(file).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() in DIGIT_SPLITTING:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )


def load(base: str) -> tuple[Any, Any]:
    """Tokenizer and model. Raises `TrainingError` where there is no such model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gpu = torch.cuda.is_available()
    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16 if gpu else torch.float32)
    except (OSError, ValueError, ImportError) as error:
        if no_space(error):
            raise
        traceback.print_exc()
        raise TrainingError(
            "The base model could not be loaded: train_from has to be a folder with a model for transformers, "
            "a GGUF file, or a Hugging Face id that this machine can reach."
        ) from error
    return tokenizer, model.to("cuda" if gpu else "cpu")


# --- training -------------------------------------------------------------------------------------------------------


def train(spec: Spec, events: Events, stop: Stop) -> int:
    """The run, from the newest checkpoint on if there is one. Returns the exit status."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import PrinterCallback, Trainer

    if spec.threads:
        torch.set_num_threads(spec.threads)
    out = Path(spec.out)
    torch.manual_seed(spec.seed)  # before peft draws A
    base = base_folder(spec.base, Path(spec.bases), events)
    tokenizer, model = load(base)
    if spec.gguf and model.config.model_type not in LLAMA_SHAPED:
        raise TrainingError(
            f"Adapters for llama.cpp are made of {' and '.join(LLAMA_SHAPED)} models alone, this is a "
            f"{model.config.model_type} model: serve it with vLLM."
        )
    rows = tokenized(tokenizer, spec.dataset, spec.max_tokens)
    if not rows:
        raise TrainingError("The data set has no example that can be learnt from.")
    held_out = (
        tokenized(tokenizer, spec.held_out, spec.max_tokens)[: spec.held_out_examples]
        if spec.held_out
        else None
    )
    config = LoraConfig(
        r=spec.lora_r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules=spec.target_modules,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id

    class Undisturbed(Trainer):  # type: ignore[misc]
        """Evaluating draws no random numbers of training's: it may go on from a checkpoint before or behind it."""

        def evaluate(self, *args: Any, **more: Any) -> Any:
            with torch.random.fork_rng():
                return super().evaluate(*args, **more)

    trainer = Undisturbed(
        model=model,
        args=_arguments(spec),
        train_dataset=rows,
        eval_dataset=held_out,
        data_collator=lambda batch: padded(batch, pad),
        callbacks=[_control(spec, events, stop, examples=len(rows), evaluate=bool(held_out))],
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = newest_checkpoint(out)
    if held_out and checkpoint is None:
        trainer.evaluate()
    stop.training = True
    result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.state.global_step < trainer.state.max_steps:
        events.say("paused", step=trainer.state.global_step)
        return PAUSED
    if trainer.is_world_process_zero():
        save_adapter(spec, base, model, out)
    events.say("finished", step=trainer.state.global_step, loss=round(result.training_loss, 5))
    return 0


def _arguments(spec: Spec) -> Any:
    import torch
    from transformers import TrainingArguments

    gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=spec.out,
        num_train_epochs=spec.epochs,
        learning_rate=spec.learning_rate,
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=spec.batch_size,
        lr_scheduler_type="linear",
        warmup_steps=0,
        seed=spec.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # the callback says when
        save_total_limit=2,
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        bf16=spec.bf16 or gpu,
        use_cpu=not gpu,
    )


def _control(spec: Spec, events: Events, stop: Stop, *, examples: int, evaluate: bool) -> Any:
    """The callback that reports, saves and stops."""
    from transformers import TrainerCallback

    class Control(TrainerCallback):  # type: ignore[misc]
        saved_at = time.monotonic()

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.saved_at = time.monotonic()
            devices = args.world_size if args.device.type == "cuda" else 0
            events.say(
                "started", step=state.global_step, steps=state.max_steps, epochs=spec.epochs,
                examples=examples, device=args.device.type, gpus=max(devices, args.n_gpu),
            )  # fmt: skip

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                loss = float(logs["loss"])
                if not math.isfinite(loss):
                    raise TrainingError(
                        f"The loss is not finite any more at step {state.global_step}: lower the learning_rate."
                    )
                at = {"step": state.global_step, "steps": state.max_steps, "epoch": round(state.epoch, 4)}
                events.say("step", **at, loss=round(loss, 5))
            if "eval_loss" in logs:
                events.say("evaluated", step=state.global_step, loss=round(float(logs["eval_loss"]), 5))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            last = state.global_step >= state.max_steps
            due = time.monotonic() - self.saved_at >= spec.save_seconds
            control.should_save = (due or bool(stop)) and not last
            control.should_training_stop |= bool(stop)

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_evaluate = evaluate and not stop

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.saved_at = time.monotonic()
            if state.is_world_process_zero:
                folder = Path(spec.out) / f"checkpoint-{state.global_step}"
                flush(folder)
                (folder / COMPLETE).touch()
                flush(folder)
                events.say("saved", step=state.global_step)

    return Control()


def newest_checkpoint(out: Path) -> Path | None:
    """The last that is complete. Others are removed: the process was killed while it wrote them."""
    found = list(out.glob("checkpoint-*"))
    for path in found:
        if not (path / COMPLETE).exists():
            shutil.rmtree(path)
    complete = [path for path in found if path.exists()]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


# --- the result -----------------------------------------------------------------------------------------------------


def save_adapter(spec: Spec, base: str, model: Any, out: Path) -> None:
    """Write OUT/adapter: peft's format, `adapter.gguf` if asked for, and `job.json`, which says what it was made of."""
    if any(not weight.isfinite().all() for weight in model.parameters() if weight.requires_grad):
        raise TrainingError("The adapter's weights are not finite: lower the learning_rate.")
    work = out / "adapter.new"
    shutil.rmtree(work, ignore_errors=True)
    model.save_pretrained(str(work))
    if spec.gguf:
        write_gguf(work, model.config, work / "adapter.gguf")
    made_of = {
        "spec": {name: value for name, value in asdict(spec).items() if name not in PLACES},
        "base_sha256": _digest(Path(base)),
        "dataset_sha256": sha256_of(Path(spec.dataset)),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }  # fmt: skip
    (work / "job.json").write_text(json.dumps(made_of, indent=1) + "\n")
    flush(work)
    work.rename(out / "adapter")
    flush(out, recursive=False)
    for checkpoint in out.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


GGUF_NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip
LORA_WEIGHT = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(.+)\.lora_([AB])\.weight")


def write_gguf(adapter: Path, config: Any, out: Path) -> None:
    """A peft adapter as llama.cpp reads it. Rows of q's and k's B go into the order that its rotary embedding has."""
    import gguf
    import numpy as np
    from safetensors.torch import load_file

    lora = json.loads((adapter / "adapter_config.json").read_text())
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(
        gguf.Keys.Adapter.LORA_ALPHA, float(lora["lora_alpha"])
    )  # llama.cpp divides by A's rank
    heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}
    for key, tensor in load_file(adapter / "adapter_model.safetensors").items():
        match = LORA_WEIGHT.fullmatch(key)
        if match is None or match[2] not in GGUF_NAMES:
            raise TrainingError(
                "llama.cpp has no place for one of the layers that were trained: serve it with vLLM."
            )
        layer, module, half = match.groups()
        weight = tensor.float().numpy()
        if half == "B" and module in heads:
            weight = interleaved(weight, heads[module])
        name = f"blk.{layer}.{GGUF_NAMES[module]}.weight.lora_{half.lower()}"
        writer.add_tensor(name, np.ascontiguousarray(weight, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def interleaved(weight: Any, heads: int) -> Any:
    """Rows [head, half, i] -> [head, i, half]."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def _digest(base: Path) -> str | None:
    """Of all files of a folder; None for a model that has come from a hub."""
    if not base.is_dir():
        return None
    names = sorted(path for path in base.iterdir() if path.is_file())
    return hashlib.sha256("".join(f"{path.name} {sha256_of(path)}\n" for path in names).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(folder: Path, *, recursive: bool = True) -> None:
    """Wait until the folder and what is in it are on the disk."""
    for path in [*(folder.rglob("*") if recursive else ()), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# --- how it ends ----------------------------------------------------------------------------------------------------


def reason_of(error: BaseException) -> str:
    """What the user is told. Only the type of an error that is not known here: its message may hold anything."""
    import torch

    if isinstance(error, TrainingError):
        return str(error)
    if no_space(error):
        return "There is no space left on the disk of the artifacts folder."
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
        return "Out of memory: a smaller batch_size or lora_r needs less."
    return f"The trainer failed ({type(error).__name__}): the worker's log has the details."


def no_space(error: BaseException | None) -> bool:
    """Whether a full disk is behind it; libraries wrap the system's error, or quote it in words of their own."""
    while error is not None:
        words = str(error)
        if getattr(error, "errno", None) in NO_SPACE or any(
            f"os error {number}" in words for number in NO_SPACE
        ):
            return True
        if "PytorchStreamWriter failed" in words or "file write failed" in words:
            return True
        error = error.__cause__ or error.__context__
    return False


def main(path: str) -> int:
    """Returns the exit status."""
    end_with_parent()
    events, stop = Events(), Stop()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # spinning threads take five times as long on busy cores
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        return train(Spec(**json.loads(Path(path).read_text())), events, stop)
    except ImportError as error:
        traceback.print_exc()
        events.say("failed", error=f"The trainer needs the package {error.name}: {REMEDY}.")
    except Exception as error:
        traceback.print_exc()
        events.say("failed", error=reason_of(error))
    return FAILED


if __name__ == "__main__":
    sys.path.pop(0)  # the modules beside this file are not the trainer's
    sys.exit(main(sys.argv[1]))
