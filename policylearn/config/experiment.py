"""The sections together."""

from pathlib import PurePath
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ModelWrapValidatorHandler, ValidationError, model_validator

from policylearn.config.data import (
    USUAL_KIND,
    CorpusConfig,
    ModelConfig,
    PatchesConfig,
    PlantedConfig,
    PlantedContextConfig,
    PlantedFactsConfig,
    TaskConfig,
)
from policylearn.config.learning import (
    CreditConfig,
    InnerConfig,
    LearnConfig,
    OutcomesConfig,
    OuterConfig,
    StrengthConfig,
)
from policylearn.config.masking import MaskingConfig, PolicyConfig, texts_of
from policylearn.config.places import BENCHMARKS, PLANTED
from policylearn.config.pretrain import PretrainConfig
from policylearn.config.renamed import rename
from policylearn.config.running import (
    PLANTED_ONLY,
    ClusterConfig,
    DiagnoseConfig,
    EvaluateConfig,
    TrackConfig,
    ValidityConfig,
    parts_of,
)
from policylearn.config.scores import ScoresConfig, scorer_of
from policylearn.config.strict import Strict
from policylearn.config.supervised import SupervisedConfig
from policylearn.registry.known import PICTURE_SCORERS, SCORERS
from policylearn.registry.registry import AUTO, import_parts

PATCHES = "masked_patches"
"""The objective of pictures."""
OF_TEXTS = {
    "model": ("max_length", "tokenizer"),
    "task": ("configuration", "revision", "text", "dev_share", "test_share", "choices", "answer_length"),
    "domain": ("configuration", "revision", "text"),
    "general": ("configuration", "revision", "text"),
}
"""Settings that mean nothing for pictures, by section."""


def _path_of(section: Any) -> str:
    """What a section that was not looked at yet gives as its path."""
    found = section.get("path") if isinstance(section, dict) else getattr(section, "path", None)
    return found if isinstance(found, str) and found else PLANTED


def _with_path(section: Any, path: str) -> Any:
    """A section that was not looked at yet, with this path unless it gives one."""
    return {"path": path, **section} if isinstance(section, dict) else section or {"path": path}


def _tree(section: Any) -> dict[str, Any]:
    """What a section gives, as a tree."""
    return section if isinstance(section, dict) else section.model_dump() if section is not None else {}


def _has_pictures(given: dict[str, Any]) -> bool:
    """Whether a config that was not looked at yet is one of pictures."""
    return bool(_tree(given.get("patches")).get("words"))


def _imported(modules: list[str]) -> list[str]:
    """The modules, imported."""
    import_parts(modules)
    return modules


class Config(Strict):
    """A whole experiment. Sections of the TOML file are the fields of this class."""

    imports: Annotated[list[str], AfterValidator(_imported)] = Field(  # first: what they bring is named below
        [], description="modules that bring scorers, kinds of task and other parts of your own, for workers as well"
    )
    name: str = Field(PLANTED, description="of the experiment, in reports and cards; unset: that of the task")
    model: ModelConfig = ModelConfig()
    task: TaskConfig = TaskConfig()
    domain: CorpusConfig = CorpusConfig()
    general: CorpusConfig = CorpusConfig()
    patches: PatchesConfig = PatchesConfig()
    planted: PlantedConfig = PlantedConfig()
    planted_context: PlantedContextConfig = PlantedContextConfig()
    planted_facts: PlantedFactsConfig = PlantedFactsConfig()
    scores: ScoresConfig = ScoresConfig()
    policy: PolicyConfig = PolicyConfig()
    masking: MaskingConfig = MaskingConfig()
    inner: InnerConfig = InnerConfig()
    outer: OuterConfig = OuterConfig()
    credit: CreditConfig = CreditConfig()
    strength: StrengthConfig = StrengthConfig()
    outcomes: OutcomesConfig = OutcomesConfig()
    learn: LearnConfig = LearnConfig()
    supervised: SupervisedConfig = SupervisedConfig()
    cluster: ClusterConfig = ClusterConfig()
    track: TrackConfig = TrackConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    pretrain: PretrainConfig = PretrainConfig()
    diagnose: DiagnoseConfig = DiagnoseConfig()
    validity: ValidityConfig = ValidityConfig()

    @model_validator(mode="wrap")
    @classmethod
    def _of_own_data(cls, given: Any, build: ModelWrapValidatorHandler["Config"]) -> "Config":
        """The defaults are those of the planted benchmark; two of them would not be true of data of one's own."""
        if not isinstance(given, dict):
            return build(given)
        given = rename(given)  # what an earlier version left
        task = _path_of(given.get("task"))
        if task in BENCHMARKS and task != PLANTED:  # its corpora are, unless they are named, its own
            given = given | {part: _with_path(given.get(part), task) for part in ("domain", "general")}
        domain = _path_of(given.get("domain"))
        if task != PLANTED:
            given = {"name": PurePath(task.rstrip("/")).name.partition(".")[0] or task, **given}
        if _has_pictures(given):
            given = {**given, "inner": {"objective": PATCHES, **_tree(given.get("inner"))}}
        evaluate = given.get("evaluate", {})
        if domain in BENCHMARKS or not isinstance(evaluate, dict) or "arms" in evaluate:
            return build(given)
        arms = [arm for arm in EvaluateConfig().arms if arm not in PLANTED_ONLY]
        found = build({**given, "evaluate": {**evaluate, "arms": arms}})
        found.evaluate.model_fields_set.discard("arms")  # it is a default, and nobody's wish
        return found

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        texts_of(self.inner.batch_size, self.masking.copies)
        self._check_score_function()
        if "supervised" in self.learn.stages:
            self._check_supervised()
        if self.inner.objective == "masked_diffusion":
            self._check_diffusion()
        self._check_relaxed()
        if self.credit.until < self.inner.start:
            told = f"credit.until = {self.credit.until} is before inner.start = {self.inner.start}"
            raise ValueError(f"{told}: raise the one, or lower the other")
        self._check_scorers("policy.prior", self.policy.prior)
        self._check_stages()
        for arm, own in self.evaluate.custom.items():
            self._check_scorers(f"evaluate.custom.{arm}.prior", own.prior)
            self._check_masking(arm, own.masking)
        if self.task.kind == "questions":
            self._check_answers()
        if self.patches.words:
            self._check_pictures()
        elif self.inner.objective == PATCHES:
            raise ValueError(
                f'inner.objective = "{PATCHES}" is of pictures, and this config of texts: set patches.words to how '
                'many visual words there are to be, or the objective to "masked_lm"'
            )
        return self

    @property
    def has_rounds(self) -> bool:
        """Whether there are rounds of rollouts, and something for them to learn."""
        return "rounds" in self.learn.stages and self.learn.rounds > 0 and self.policy.network != "none"

    def _check_score_function(self) -> None:
        scored = self.policy.prior or "expected" in self.learn.stages
        if self.learn.estimator == "score_function" and not scored and self.masking.design != "independent":
            raise ValueError(
                'learn.estimator "score_function" cannot start from the equal probabilities of an empty policy.prior '
                f'with masking.design "{self.masking.design}", whose log-probability has a kink there: '
                'set masking.design = "independent"'
            )

    def _check_relaxed(self) -> None:
        if self.learn.estimator == "relaxed" and self.inner.objective != "masked_lm":
            raise ValueError(
                f'learn.estimator = "relaxed" does not go with inner.objective = "{self.inner.objective}": its loss is '
                'that of "masked_lm"; set "credit"'
            )

    def _check_stages(self) -> None:
        """Refuse stages that find nothing to do, or do twice what the prior does."""
        stages, prior = self.learn.stages, self.policy.prior
        if "expected" in stages and "credit" in prior:
            raise ValueError('learn.stages has "expected", which adds credit to the prior: take it out of policy.prior')
        if "rounds" in stages and len(stages) > 1 and self.policy.network == "none":
            raise ValueError(
                f'learn.stages {stages}: with policy.network "none" nothing is left to "rounds": set it to "table" or '
                '"context", or take "rounds" out'
            )
        if "outcomes" in stages and self.policy.network != "table":
            raise ValueError(
                f'learn.stages "outcomes" changes masks word by word, and policy.network is "{self.policy.network}": '
                'set it to "table"'
            )
        if stages[0] == "strength" and not prior:
            raise ValueError(
                'learn.stages "strength" needs something to follow: name scorers in policy.prior, or put "expected" or '
                '"outcomes" first'
            )

    def _check_diffusion(self) -> None:
        """Refuse what goes by one rate for all texts, or by what is shown for masked ones."""
        own = (name for arm in self.evaluate.custom.values() for name in arm.prior)
        scorers = {name.partition(":")[0] for name in (*self.policy.prior, *self.evaluate.arms, *own)}
        refused = {
            "a schedule of masking.rate, or one that is drawn: set a number, which it does not look at": not isinstance(
                self.masking.rate, float
            ),
            'masking.design = "explore": set "systematic"': self.masking.design == "explore",
            'learn.estimator = "relaxed": set "credit"': self.learn.estimator == "relaxed",
            'the scorer "amlm" in policy.prior, evaluate.arms or evaluate.custom: take it out': "amlm" in scorers,
        }
        for other, there in refused.items():
            if there:
                raise ValueError(f'inner.objective = "masked_diffusion" does not go with {other}')

    def _check_pictures(self) -> None:
        """Refuse what is of texts."""
        refused = {
            f'inner.objective = "{self.inner.objective}": set "{PATCHES}"': self.inner.objective != PATCHES,
            f'masking.unit = "{self.masking.unit}": set "token", which is a patch': self.masking.unit != "token",
            f'task.kind = "{self.task.kind}": set "classification"': self.task.kind not in (AUTO, USUAL_KIND),
            "model.bf16 = true: leave it out, such models compute in float32": self.model.bf16,
            'learn.estimator = "relaxed": set "credit"': self.learn.estimator == "relaxed",
            'learn.stages "supervised": take it out': "supervised" in self.learn.stages,
            "domain.path or task.path of a benchmark of texts: name pictures": bool(
                {self.task.path, self.domain.path} & {*BENCHMARKS}
            ),
        }
        for name, keys in OF_TEXTS.items():
            section = getattr(self, name)
            for key in keys:
                unset = type(section).model_fields[key].default
                found = getattr(section, key)
                refused[f"{name}.{key} = {found!r}: leave it out"] = found != unset
        for other, there in refused.items():
            if there:
                raise ValueError(f"patches.words, which is of pictures, does not go with {other}")

    def _check_answers(self) -> None:
        if self.outer.adaptation != "finetune":
            raise ValueError('task.answers with outer.adaptation other than "finetune": it has no classes to probe for')
        if others := [how for how in self.evaluate.downstream if parts_of(how)[0] != "finetune"]:
            raise ValueError(f'task.answers with evaluate.downstream "{others[0]}": set it to ["finetune"]')
        if "expected" in self.learn.stages:
            raise ValueError('task.answers with learn.stages "expected", which needs texts with classes: take it out')

    def _check_scorers(self, key: str, prior: dict[str, float]) -> None:
        for name in prior:  # here, and not in `PolicyConfig`: an exported policy needs its scorers no more
            try:
                (PICTURE_SCORERS if self.patches.words else SCORERS).check(scorer_of(name))
            except ValueError as error:
                own = "; one of your own is an entry point of the group policylearn.picture_scorers"
                raise ValueError(f"{key}: {error}{own if self.patches.words else ''}") from None

    def _check_masking(self, arm: str, changes: dict[str, Any]) -> None:
        try:
            own = MaskingConfig.model_validate(self.masking.model_dump() | changes)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(["evaluate.custom", arm, "masking", *map(str, first["loc"])])
            what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
            raise ValueError(f"{key}: {what}") from None
        texts_of(self.inner.batch_size, own.copies)

    def _check_supervised(self) -> None:
        if self.policy.network == "none":
            raise ValueError(
                'learn.stages "supervised" with policy.network "none" has nothing to learn: set policy.network to '
                '"context", "span" or "table"'
            )
        if self.supervised.targets == "answers" and self.supervised.path is None:
            raise ValueError(
                'supervised.targets "answers" needs supervised.path, a folder of train/dev files of questions: set it, '
                'or supervised.targets = "importance"'
            )
