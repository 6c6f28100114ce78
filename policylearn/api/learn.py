"""Learning a policy, from Python."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from policylearn.api.evaluate import ARMS, SEEDS, compare_arms, with_chosen
from policylearn.api.inputs import withdrawn_if_refused
from policylearn.api.results import Comparison, Page, from_anywhere
from policylearn.api.settings import KEPT, Given, changed, console_of, experiment, one_by_one, tell_unread
from policylearn.api.surroundings import undisturbed
from policylearn.arms.arms import LEARNED, RANDOM
from policylearn.artefact import PolicyArtefact, load_policy
from policylearn.commands.train import train
from policylearn.config import Config, EvaluateConfig
from policylearn.runs.layout import POLICY, REPORT
from policylearn.storage.folder import Storage

ALONE = {"evaluate.seeds": 0}
"""What holds unless it is set: learning is all that is done."""


@dataclass(frozen=True)
class Learned:
    """A finished run.

    Attributes:
        out: its folder, as an absolute path, or URI; README.md says what it holds.
        config: every setting.
        result: what stands in result.json.
    """

    out: str
    config: Config = field(repr=False)
    result: Mapping[str, Any] = field(repr=False, compare=False)

    @cached_property
    def policy(self) -> PolicyArtefact:
        """The policy: for `PolicyCollator`, with `show(texts)` to look at it and `push_to_hub` to pass it on."""
        return load_policy(str(Storage.at(self.out) / POLICY))

    def report(self) -> Page:
        """The page on what was learned, on what, and how it compared."""
        storage = Storage.at(self.out)
        return Page(str(storage / REPORT), storage.read(REPORT).decode())

    @undisturbed
    def evaluate(
        self,
        arms: Sequence[str] | None = None,
        seeds: int | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        quiet: bool = False,
    ) -> Comparison:
        """Train fresh models under each arm's masks, in `evaluate` of the run's folder; what is there is not run again.

        Args:
            arms: "learned" is this policy; None: `evaluate.arms` of the settings, or else "random" and "learned".
            seeds: how many models of each arm; None: `evaluate.seeds` of the settings, or else 5.
            settings: others by dotted name, such as {"evaluate.downstream": ["probe@200"]}.
            quiet: show no progress.

        Raises:
            ValueError: bad input, with what to do.
        """
        storage = Storage.at(self.out)
        chosen = {ARMS: [RANDOM, LEARNED], SEEDS: EvaluateConfig().seeds} | with_chosen(settings, arms, seeds)
        tell_unread("evaluate", one_by_one(settings), console_of(quiet))
        config = changed(self.config, chosen)
        policies = {LEARNED: str(storage / POLICY)} if LEARNED in config.evaluate.arms else {}
        return compare_arms(config, policies, str(storage / "evaluate"), quiet)


@undisturbed
def learn(
    model: Any = None,
    task: Any = None,
    domain: Any = None,
    general: Any = None,
    *,
    tokenizer: Any = None,
    out: str | os.PathLike[str] = "runs/learn",
    config: str | os.PathLike[str] | Config | None = None,
    settings: Mapping[str, Any] | None = None,
    fresh: bool = False,
    quiet: bool = False,
) -> Learned:
    """Learn which tokens are worth masking for a task: what `policylearn train` does. Called again with the same, it
    goes on where it was stopped.

    Args:
        model: a masked language model: a name on the Hub, a folder, or a model of transformers with its `tokenizer`;
            None: as the config has it, or of the planted benchmark.
        task: labelled examples: a name, a file or folder, a `datasets.DatasetDict` or `Dataset`, a data frame, rows
            such as {"text": …, "label": …}, lists by column, or any of the last by split ("train", "dev", "test"). Of
            pictures (`patches.words`) a folder, or a `DatasetDict`, of all three splits; their corpora are a folder, an
            .npz file or a `Dataset` with a column of them.
        domain: unlabelled text of the domain: a name or file, a data set, or texts; None: the training texts of `task`.
        general: ordinary text, in the same forms, for scorers that compare the two.
        tokenizer: of the model, where that is an object or of no name.
        out: folder of the run, or a URI. Objects are written below it: the run goes on from the command line as well.
        config: a TOML file, or a `Config`; None: the recipe of `configs/own_task.toml`, which has won on real tasks.
        settings: by dotted name, such as {"inner.steps": 20}, or {"inner": {"steps": 20}}; they come last, as on the
            command line. None unsets one.
            Without any, all is done in this process, and nothing is compared: `cluster.backend` and `evaluate.seeds`.
        fresh: forget what `out` holds.
        quiet: show no progress.

    Raises:
        ValueError: bad input, with what to do.
        WorkFailed, StorageFailed, Preempted: as in `policylearn.commands.train.train`.

    >>> from tempfile import mkdtemp
    >>> from policylearn import PolicyCollator, learn
    >>> from policylearn.config import PlantedConfig
    >>> from policylearn.data.planted import planted_tokenizer
    >>> tokenizer = planted_tokenizer(PlantedConfig())  # where no model is named, a tiny one learns from scratch
    >>> rows = [{"text": f"class{i % 2}_01 generic_0{i}", "label": i % 2} for i in range(10, 90)]
    >>> short = {"inner.steps": 40, "credit.points": 1, "credit.batches": 4}
    >>> run = learn(task=rows, tokenizer=tokenizer, out=mkdtemp(), settings=short, quiet=True)
    >>> run.policy.show("class0_01 generic_003")  # doctest: +ELLIPSIS
    [class0_01 ...] generic_003
    [word .63] = the likeliest words to be masked, with their probability
    >>> collator = PolicyCollator(run.policy, tokenizer)
    >>> sorted(run.evaluate(["random", "learned"], seeds=1, quiet=True).scores)
    ['learned', 'random']
    """
    console = console_of(quiet)
    kept = f"{KEPT}; `policylearn train {out}/config.json --out {out}` goes on with the same run"
    with withdrawn_if_refused(out):
        found = experiment(
            "train", Given(model, task, domain, general, tokenizer, config, settings), out, console, ALONE, kept
        )
        result = train(found, out, console, fresh, f"policylearn.learn(out={str(out)!r}, ...)")
    return Learned(from_anywhere(out), found, result)
