"""A model adapted to the label task and written down: masks of its weights, or a fine-tuned model."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console

from policylearn.adapt.chosen import Chosen, FrozenFeatures
from policylearn.adapt.downstream import SplitScores, score_chosen, subsets
from policylearn.adapt.finetune import Classifier
from policylearn.adapt.probe import readout_of
from policylearn.commands.choices import Method
from policylearn.commands.opening import open_problem
from policylearn.config import Config
from policylearn.evaluation.compare import too_few
from policylearn.models.device import device_here
from policylearn.models.model import InnerModel
from policylearn.problems.problem import Problem
from policylearn.registry.known import ADAPTATIONS
from policylearn.report.formats import score
from policylearn.report.printing import print_line
from policylearn.runs.provenance import provenance
from policylearn.storage.folder import Storage
from policylearn.tasks.labelled import class_examples
from policylearn.weight_masks.classifier import MaskedClassifier
from policylearn.weight_masks.plain import fold, plain_model, save_plain
from policylearn.weight_masks.storage import save_masks
from policylearn.weight_masks.task import learned_masks

MASKS, MODEL, RESULT = "masks.safetensors", "model", "result.json"


@dataclass(frozen=True)
class Adapted:
    """What was written, by what it is, and how good it is."""

    written: dict[str, Path]
    scores: SplitScores
    metric: str

    @property
    def numbers(self) -> dict[str, float]:
        """Scores by what they are on, test last."""
        return {"dev": self.scores.dev, **self.scores.extra, "test": self.scores.test}

    def lines(self) -> list[str]:
        """For a person; test comes last."""
        numbers = self.numbers
        width = max(map(len, [*self.written, *numbers]))
        files = [f"{what:{width}}  {path}" for what, path in self.written.items()]
        return [*files, *(f"{name:{width}}  {score(number)} {self.metric}" for name, number in numbers.items())]


def adapt(config: Config, out: Path, method: Method, folded: bool, seed: int, console: Console) -> Adapted:
    """Adapt a model to the label task of a config, write what came of it, then score it on test.

    Args:
        config: task and model; under `evaluate`, the settings of the method and how many examples have their labels.
        out: a folder that is new or empty. It gets masks.safetensors, or (fine-tuned, or `folded`) model/, which
            transformers loads, and result.json.
        method: "weight_mask" or "finetune".
        folded: whether masks are written as a plain model as well.
        seed: of the labelled subset, the initial masks and the order of examples.
        console: where progress is shown.

    Raises:
        ValueError: bad input, with what to do.
        FloatingPointError: the loss became NaN or infinite.
    """
    Storage.at(out).check_folder()
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not an empty folder: choose another --out")
    if config.patches.words:
        raise ValueError(
            "adapt is of texts, and patches.words makes this config one of pictures: `policylearn train` and "
            "`policylearn evaluate` score models of these, by evaluate.downstream"
        )
    problem = open_problem(config, console, device_here(config.cluster))
    train = problem.examples("train")
    if method == "weight_mask":
        class_examples(problem.kind, train, "adapt without --method finetune")
    for line in too_few(config.evaluate.model_copy(update={"downstream": [method]}), len(train)):
        print_line(console, line)
    model = problem.fresh_model(seed)
    if model.remark:
        print_line(console, model.remark)
    if folded or method == "finetune":
        _check_plain(problem, model)
    chosen = _train(problem, model, method, seed)
    if chosen.said:
        print_line(console, f"head  {chosen.said}")
    written = _write(problem, chosen.tuned, out, folded)
    if method == "weight_mask" and config.model.name is None:
        print_line(
            console,
            f"masks  of an encoder that is not written: model.architecture, its weights drawn from --seed {seed}; "
            "give --model for masks of one that is kept",
        )
    scores = score_chosen(problem, method, chosen)
    said = {name: told for name, told in (("remark", model.remark), ("head", chosen.said)) if told}
    (out / RESULT).write_text(json.dumps({"method": method, "seed": seed, **said, **asdict(scores)}, indent=2) + "\n")
    done = Adapted(written, scores, problem.task.metric)
    if "model" in written:
        with (written["model"] / "README.md").open("a", encoding="utf-8") as card:
            card.write("\n".join(_made_from(config, method, seed, len(next(subsets(problem, seed))), done)))
    return done


def _made_from(config: Config, method: Method, seed: int, labels: int, done: Adapted) -> list[str]:
    """What a card says of how its model came about, and how good it is."""
    known = provenance(config)
    how = "all weights trained" if method == "finetune" else "binary masks of its weights, folded into them"
    named = {name: known[name] for name in ("model", "task", "policylearn", "torch", "transformers")}
    facts = {**named, "method": how, "labelled examples of train": f"{labels:,}", "seed": seed}
    scored = {f"{name}, {done.metric}": score(number) for name, number in done.numbers.items()}
    lines = [f"- {name}: {value}" for name, value in {**facts, **scored}.items()]
    return ["", "## What it was made from", "", *lines, "", "Dev selected the epoch; test was scored at the end.", ""]


def _check_plain(problem: Problem, model: InnerModel) -> None:
    """Raises ValueError if what is learned could not be written: better before it is."""
    names = _names(problem)
    head = torch.eye(len(names), model.mlm.config.hidden_size)  # any but zero, of which all heads say the same
    plain_model(model, dict(model.named_parameters()), head, head[:, 0], names, readout_of(problem).problem_type)


def _names(problem: Problem) -> tuple[str, ...]:
    """Of what the head gives; as transformers has them, where they are no classes."""
    return tuple(problem.labels) or tuple(f"LABEL_{i}" for i in range(readout_of(problem).width))


def _train(problem: Problem, model: InnerModel, method: str, seed: int) -> Chosen:
    picked, schedules = next(subsets(problem, seed)), problem.config.evaluate
    masks, tuning = schedules.weight_mask, schedules.finetune
    epochs = masks.epochs if method == "weight_mask" else tuning.epochs * tuning.trainings
    with problem.watch.begin(f"{method}: texts", epochs * len(picked)) as progress:
        return ADAPTATIONS.get(method).fit(FrozenFeatures(problem, model), picked, seed, progress)


def _write(problem: Problem, tuned: Classifier | MaskedClassifier, out: Path, folded: bool) -> dict[str, Path]:
    written = {}
    if isinstance(tuned, MaskedClassifier):
        masks = learned_masks(tuned, problem.labels)
        written["masks"] = save_masks(out / MASKS, masks)
        if not folded:
            return written
        plain = fold(tuned.encoder, masks)
    else:
        encoder = tuned.encoder
        assert isinstance(encoder, InnerModel)
        readout = readout_of(problem)
        head = readout.plain_head(tuned.weight, tuned.bias)
        plain = plain_model(encoder, dict(encoder.named_parameters()), *head, _names(problem), readout.problem_type)
    length = problem.config.model.max_length
    words = problem.kind.name == "tagging"
    return written | {"model": save_plain(out / MODEL, plain, problem.tokenizer, length, problem.pairs, words)}
