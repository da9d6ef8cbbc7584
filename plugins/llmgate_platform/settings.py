"""The keys of `[plugins.llmgate_platform]`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from llmgate.plugin.api import Count, Name, Seconds

Line = Annotated[str, Meta(min_length=1, max_length=256)]
Prose = Annotated[str, Meta(max_length=10_000)]


def doc(text: str) -> Meta:
    """The documentation of a setting."""
    return Meta(description=text)


class ModelSettings(Struct, frozen=True, kw_only=True):
    """A base model: `[[plugins.llmgate_platform.models]]`. The first one is model 1."""

    name: Annotated[Line, doc("What the API calls it.")]
    base_model: Annotated[Line, doc("What it is, as people search for it.")]
    upstream: Annotated[Name, doc("The [upstreams] that answers for it.")]
    upstream_model: Annotated[Line, doc("Its name there.")]
    route: Annotated[
        Name | None,
        doc("The [[routes]] whose layers requests go through; without one, the first to the upstream."),
    ] = None
    description: Annotated[Prose | None, doc("For people.")] = None
    model_size: Annotated[Line | None, doc("For people: 135M.")] = None
    train_from: Annotated[
        str | None,
        doc(
            "What is trained: a folder with a model for transformers, a GGUF file, or a Hugging Face id; "
            "without it, the model cannot be trained."
        ),
    ] = None
    serve_with: Annotated[
        Literal["vllm", "llama.cpp"] | None,
        doc(
            "What serves its adapters: vLLM, where the upstream is one, or a llama.cpp server of the platform's."
        ),
    ] = None
    gguf: Annotated[
        Path | None,
        doc(
            "The model that the platform's llama.cpp server loads; without one, train_from if that is a GGUF file."
        ),
    ] = None

    @property
    def served_by(self) -> Literal["vllm", "llama.cpp"] | None:
        """What serves its adapters; None where nothing is trained."""
        return None if self.train_from is None else self.serve_with or "vllm"

    @property
    def gguf_file(self) -> Path | None:
        """What the platform's llama.cpp server loads."""
        if self.gguf is None and self.train_from is not None and self.train_from.endswith(".gguf"):
            return Path(self.train_from)
        return self.gguf

    def __post_init__(self) -> None:
        if self.served_by == "llama.cpp" and self.gguf_file is None:
            raise ValueError(
                f'{self.name}: serve_with = "llama.cpp" needs gguf, the file that its server loads'
            )


class DatasetSettings(Struct, frozen=True, kw_only=True):
    """A data set: `[[plugins.llmgate_platform.datasets]]`, from one of `file`, `builtin` and `huggingface`."""

    name: Annotated[Line, doc("What the API calls it.")]
    file: Annotated[Path | None, doc("JSONL, an example a line.")] = None
    builtin: Annotated[
        Literal["python-stdlib"] | None,
        doc("python-stdlib: documented functions of the Python that the gate runs on (PSF-2.0)."),
    ] = None
    huggingface: Annotated[
        str | None, doc("A data set of the Hugging Face hub; needs the package `datasets` and the internet.")
    ] = None
    held_out: Annotated[
        Path | None, doc("JSONL to evaluate with; without it, a tenth of a file with 50 examples or more.")
    ] = None
    description: Annotated[Prose | None, doc("For people.")] = None
    language: Annotated[Line | None, doc("For people: python.")] = None
    dataset_type: Annotated[Line, doc("For people: code_completion, bug_fixing.")] = "code_completion"
    license: Annotated[Line | None, doc("Of its contents.")] = None

    def __post_init__(self) -> None:
        given = [name for name in ("file", "builtin", "huggingface") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"{self.name}: write one of file, builtin and huggingface")
        if self.held_out is not None and self.file is None:
            raise ValueError(f"{self.name}: held_out goes with file")


class Settings(Struct, frozen=True, kw_only=True):
    """The keys of `[plugins.llmgate_platform]`."""

    artifacts: Annotated[
        Path,
        doc("Folder of data sets, runs and adapters; gates, workers and engines on other hosts share it."),
    ] = Path("artifacts")
    models: Annotated[tuple[ModelSettings, ...], Meta(min_length=1), doc("The base models, in their order.")]
    datasets: Annotated[tuple[DatasetSettings, ...], doc("The data sets, in their order.")] = ()
    evaluation: Annotated[
        Line | None, doc("The data set that evaluations use if they name none; without it, the first.")
    ] = None
    registration: Annotated[
        Literal["open", "closed"], doc("closed: accounts are made by `llmgate user add` alone.")
    ] = "open"
    public_lists: Annotated[
        bool, doc("Lists of models, data sets, jobs and the like need no key, as in the guide.")
    ] = True
    rate_limit: Annotated[Count, doc("Requests a day of a key that names no limit.")] = 1000
    max_rate_limit: Annotated[Count, doc("Most requests a day that a user may give a key.")] = 100_000
    max_keys: Annotated[Count, doc("Most active keys of a user.")] = 20
    max_waiting: Annotated[Count, doc("Most training jobs of a user that are not finished.")] = 5
    max_upload: Annotated[Count, doc("Largest data set that users may upload, in bytes.")] = 100_000_000
    max_lora_r: Annotated[
        int, Meta(ge=1, le=1024), doc("Highest rank of an adapter: what vLLM calls --max-lora-rank.")
    ] = 64
    worker: Annotated[
        Literal["local", "elsewhere"],
        doc(
            "local: the gate keeps a worker that trains, at low priority; else start `llmgate train-worker`."
        ),
    ] = "elsewhere"
    train_python: Annotated[
        str | None, doc("The Python that has the packages of the extra `training`; without one, the gate's.")
    ] = None
    launcher: Annotated[
        tuple[str, ...],
        doc(
            'Stands before the trainer\'s command: ["srun", "--gres=gpu:1"], docker, kubectl, torchrun. {job}, '
            "{attempt} and {folder} in it are those of the run."
        ),
    ] = ()
    save_seconds: Annotated[Seconds, doc("Seconds between two checkpoints.")] = 60.0
    train_threads: Annotated[
        int, Meta(ge=0, le=1024), doc("CPU threads of a trainer; 0: as many as there are cores.")
    ] = 0
    max_train_tokens: Annotated[Count, doc("Tokens to which examples are cut.")] = 512
    second_price: Annotated[
        float,
        Meta(ge=0, le=1e6),
        doc(
            "Price of a second of a GPU (of the CPU, where there are none) in training, in the currency of prices."
        ),
    ] = 0.0
    engine_artifacts: Annotated[
        str | None, doc("Where vLLM sees the folder of artifacts, if not under the same path.")
    ] = None
    llama_slots: Annotated[Count, doc("Requests at once of the platform's llama.cpp server.")] = 2
    llama_context: Annotated[Count, doc("Tokens of each of them, prompt and answer together.")] = 2048
    llama_threads: Annotated[Count, doc("CPU threads of that server.")] = 1
    evaluator: Annotated[
        tuple[str, ...],
        doc("Command that gets an evaluation's prompts and answers as JSONL and prints a score, a number."),
    ] = ()

    def warnings(self, public: bool) -> Iterator[tuple[str, str]]:
        """What is good for trying and not for strangers."""
        if not public:
            return
        if self.registration == "open":
            yield (
                "registration",
                f"strangers train ({self.max_waiting} jobs each) and upload data sets: write "
                '"closed", and make accounts by `llmgate user add`',
            )
        if self.public_lists:
            yield (
                "public_lists",
                "everybody's jobs, data sets and adapters are shown without a key: write false",
            )

    def __post_init__(self) -> None:
        for what, names in (("models", self.models), ("datasets", self.datasets)):
            if len({each.name for each in names}) < len(names):
                raise ValueError(f"{what}: two have the same name")
        if self.evaluation is not None and self.evaluation not in {each.name for each in self.datasets}:
            raise ValueError(f'evaluation: no data set "{self.evaluation}"')
        if self.rate_limit > self.max_rate_limit:
            raise ValueError("rate_limit is over max_rate_limit: lower one or raise the other")
