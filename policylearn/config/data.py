"""Models, texts and labels."""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Discriminator, Field, ModelWrapValidatorHandler, Tag, model_validator

from policylearn.config.places import BENCHMARKS, PLANTED, PLANTED_FACTS, Place
from policylearn.config.strict import Strict
from policylearn.registry.known import KINDS, METRICS
from policylearn.registry.registry import AUTO


class ModelConfig(Strict):
    """The masked language model: a checkpoint by path or Hub name, or an architecture built from scratch."""

    name: Place | None = Field(None, description="path or Hub name of a checkpoint; unset: from `architecture`")
    tokenizer: Place | None = Field(None, description="path or Hub name; unset: the checkpoint's own")
    architecture: dict[str, Any] = Field(
        default={
            "model_type": "bert",
            "hidden_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 128,
            "initializer_range": 0.1,
        },
        description="fields of a transformers config, with its model_type; used when `name` is unset",
    )
    max_length: int = Field(
        64,
        ge=8,
        description="tokens per text, special tokens included; a labelled text that is longer is cut, one of a corpus "
        "goes on in further rows",
    )
    bf16: bool = Field(False, description="run encoder and head under bf16 autocast; not on a processor without it")
    revision: str | None = Field(
        None, description="branch, tag or commit on the Hub: of `name`, or of `tokenizer` where only that is set"
    )
    trust_remote_code: bool = Field(False, description="run Python code that comes with `name` and `tokenizer`")


class PlantedConfig(Strict):
    """The synthetic benchmark of `data.planted`."""

    classes: int = Field(2, ge=2, description="latent classes, which are the labels")
    class_words: int = Field(20, ge=2, description="words per class")
    distractor_words: int = Field(40, ge=2, description="words of the domain that tell nothing of the class")
    generic_words: int = Field(100, ge=2, description="words of any text")
    length: int = Field(24, ge=4, description="words per document")
    class_share: float = Field(0.2, gt=0, lt=1, description="share of a domain document's class words")
    distractor_share: float = Field(0.25, ge=0, lt=1, description="share of its distractor words")
    documents: int = Field(4000, ge=8, description="unlabelled domain documents (and as many general ones)")
    labelled_class_words: int = Field(2, ge=1, description="at most so many class words in a labelled document")
    train: int = Field(1000, ge=2, description="labelled documents of the split")
    dev: int = Field(1000, ge=2, description="the same")
    test: int = Field(2000, ge=2, description="the same")
    seed: int = Field(0, ge=0, lt=2**63, description="of all documents")

    @model_validator(mode="after")
    def _consistent(self) -> "PlantedConfig":
        if self.class_share + self.distractor_share > 1:
            raise ValueError("planted.class_share + planted.distractor_share must not exceed 1")
        if self.labelled_class_words > self.length:
            raise ValueError(f"planted.labelled_class_words must not exceed planted.length, {self.length}")
        return self


USUAL_KIND, USUAL_METRIC = "classification", "accuracy"
"""Of a config that names neither; they are known without importing the kind."""


def metrics_of(kind: str) -> tuple[str, ...]:
    """The metrics of a kind of task, which is imported to tell, those of others last; the first is that of a config
    which names none."""
    others = (name.removeprefix(f"{kind}.") for name in METRICS.names() if name.startswith(f"{kind}."))
    return (*KINDS.get(kind).metrics, *others)


class PlantedContextConfig(PlantedConfig):
    """The synthetic benchmark of `data.planted_context`. Shares are of the words of a domain document."""

    length: int = Field(40, ge=4, description="words per document")
    class_share: float = Field(0.2, gt=0, lt=1, description="class words of its class, each after a marker")
    alone_share: float = Field(0.3, ge=0, lt=1, description="class words of any class, after no marker")
    idle_share: float = Field(0.03, ge=0, lt=1, description="generic words after a marker")
    distractor_share: float = Field(0.12, ge=0, lt=1, description="its distractor words")
    marker_words: int = Field(4, ge=1, description="markers")
    labelled_alone_words: int = Field(1, ge=0, description="class words of any class in a labelled document, at most")
    train: int = Field(400, ge=2, description="labelled documents of the split")


AttributeName = Literal["birthplace", "profession", "employer", "prize", "spouse", "instrument", "language", "death"]
ATTRIBUTES = get_args(AttributeName)
"""What `data.planted_facts` knows of people."""


class PlantedFactsConfig(Strict):
    """The synthetic benchmark of `data.planted_facts`: texts about people, and questions about some of them."""

    asked: list[AttributeName] = Field(
        ["birthplace", "profession", "employer", "prize"],
        min_length=1,
        description="attributes that questions ask for; of the others nobody ever asks",
    )
    values: int = Field(12, ge=2, description="words that an attribute may have as its value")
    texts: int = Field(4, ge=1, description="texts about every person")
    sentences: Literal[1, 2, 4, 8] = Field(4, description="attributes that a text states, of the eight there are")
    filler: int = Field(4, ge=0, le=10_000, description="words of a text that mean nothing")
    filler_words: int = Field(40, ge=1, description="those there are")
    train: int = Field(120, ge=1, description="people of the split, each asked about for every attribute in `asked`")
    dev: int = Field(20, ge=1, description="the same, other people")
    test: int = Field(60, ge=1, description="the same")
    first: int = Field(0, ge=0, description="number of the first person; before it, and after the last, are strangers")
    people: int = Field(400, ge=3, description="people whom the tokenizer knows by name, strangers included")
    seed: int = Field(0, ge=0, lt=2**63, description="of facts and texts")

    @model_validator(mode="after")
    def _consistent(self) -> "PlantedFactsConfig":
        if len(set(self.asked)) != len(self.asked):
            raise ValueError(f"planted_facts.asked {self.asked} names an attribute twice")
        if self.texts * self.sentences < len(ATTRIBUTES):
            raise ValueError(
                f"planted_facts.texts = {self.texts} of {self.sentences} sentences do not say all of a person: "
                f"raise one of them until there are {len(ATTRIBUTES)}"
            )
        if (last := self.first + self.train + self.dev + self.test) > self.people:
            raise ValueError(f"planted_facts.people = {self.people} are fewer than first, train, dev and test: {last}")
        return self


class TaskConfig(Strict):
    """The downstream task: labelled texts with the splits train, dev and test."""

    path: Place = Field(
        PLANTED,
        description='"planted", a folder of train/dev/test files (or shards, or folders of them), one file of all '
        "rows, or a Hub data set",
    )
    configuration: str | None = Field(None, description='of a Hub data set: "mrpc" of nyu-mll/glue')
    revision: str | None = Field(None, description="of a Hub data set: a branch, tag or commit")
    splits: dict[Literal["train", "dev", "test"], str] = Field(
        {},
        description='what the data set calls a split: {test = "validation_matched"}; '
        'unset: "train", "test", and for dev one of "dev", "validation", "valid", "val"',
    )
    dev_share: float = Field(
        0.15, gt=0, le=0.4, description="where there is no dev split: share of the rows of train that becomes it"
    )
    test_share: float = Field(
        0.15, gt=0, le=0.4, description="where there is no test split: share of the rows of train that becomes it"
    )
    text: str | list[str] = Field(
        "text",
        description='column of the text, or two of a pair: ["premise", "hypothesis"]; unset: "text", with "text_pair" '
        'if there is one (["text"]: alone)',
    )
    label: str = Field("label", description="column of the label; unset: `label`, or `labels` of lists")
    labels: list[str] | None = Field(
        None,
        description="the label set, in the order in which classes are counted; unset: the labels of train, in the "
        "order of the alphabet, whole numbers by size",
    )
    extra_tests: list[str] = Field([], description="further splits to score beside test")
    kind: Annotated[str, AfterValidator(KINDS.check_or_auto)] = Field(
        AUTO,
        description="what a row has: one class, a list of labels (multilabel), a number, a tag for every word (lists "
        "`tokens` and `tags`, or a text with `spans`), or (with `answers`) answers; "
        "auto: as the first rows of train have it, and said",
    )
    metric: str = Field(
        AUTO,
        description="accuracy, macro_f1, micro_f1 or mcc (Matthews' correlation); of lists of labels micro_f1, "
        "macro_f1 or average_precision; of numbers pearson, spearman or negative_rmse (minus the root mean square "
        "error: more is better); of tags span_f1 (as seqeval counts it) or accuracy; of questions likelihood (of a "
        "token of the answers, geometric mean), exact_match (of an answer written out greedily) or choice (by "
        "likelihood per token); auto: the first of the kind",
    )
    answers: str | None = Field(
        None,
        description="column of an answer or a list of them: the task is to answer the questions in `text` by heart, "
        "with an encoder–decoder",
    )
    choices: str | None = Field(None, description="column of a list of choices, one of which is an answer")
    answer_length: int = Field(16, ge=2, description="tokens per answer, special tokens included; longer is cut")

    @model_validator(mode="wrap")
    @classmethod
    def _as_given(cls, given: Any, validated: ModelWrapValidatorHandler["TaskConfig"]) -> "TaskConfig":
        """What is inferred does not count as set: of another path it would be something else."""
        if not isinstance(given, dict):
            return validated(given)
        found = validated(cls._inferred(given))
        found.model_fields_set.intersection_update(key for key, value in given.items() if value != AUTO)
        return found

    @staticmethod
    def _inferred(given: dict[str, Any]) -> dict[str, Any]:
        """Answers make a task of questions, a benchmark is one of classes, and a kind has a metric."""
        if given.get("path") == PLANTED_FACTS:
            given = {"answers": "answers", "metric": "exact_match", **given}
        kind, metric = given.get("kind", AUTO), given.get("metric", AUTO)
        if kind == AUTO and given.get("answers") is not None:
            kind = "questions"
        if kind == AUTO and given.get("path", PLANTED) in BENCHMARKS:
            kind = USUAL_KIND
        if metric == AUTO and kind != AUTO and str(kind) in KINDS:
            metric = USUAL_METRIC if kind == USUAL_KIND else metrics_of(kind)[0]
        return {**given, "kind": kind, "metric": metric}

    @model_validator(mode="after")
    def _consistent(self) -> "TaskConfig":
        if (self.answers is not None) != (self.kind == "questions"):
            raise ValueError(f'kind "{self.kind}" with task.answers {self.answers!r}: answers make a task of questions')
        known = self.kind == AUTO or (self.kind, self.metric) == (USUAL_KIND, USUAL_METRIC)
        if not known and self.metric not in (fitting := metrics_of(self.kind)):
            raise ValueError(
                f"metric {self.metric!r} with task.kind {self.kind!r}: set it to one of {', '.join(fitting)}"
            )
        if self.metric == "choice" and self.choices is None:
            raise ValueError("metric 'choice' needs task.choices, a column of choices")
        if not isinstance(self.text, str) and not len(set(self.text)) == len(self.text) in (1, 2):
            raise ValueError(f"task.text {self.text}: name one column, or the two of a pair")
        told = "label" if self.answers is None else "answers"
        if (told_by := getattr(self, told)) in ([self.text] if isinstance(self.text, str) else self.text):
            raise ValueError(
                f"task.text and task.{told} both name the column {told_by!r}: the text would hold what is to be told "
                "from it"
            )
        if self.answers is not None and not isinstance(self.text, str):
            raise ValueError(f"task.answers goes with one column of questions, not task.text {self.text}")
        if self.answers is not None and self.path in BENCHMARKS and self.path != PLANTED_FACTS:
            raise ValueError("task.answers needs task.path, a folder of train/dev/test files of questions")
        used = [self.splits.get(role, role) for role in ("train", "dev", "test")] + self.extra_tests
        if twice := next((name for name in used if used.count(name) > 1), None):
            raise ValueError(f"the split {twice!r} is used twice by task.splits or task.extra_tests: once each")
        return self


class CorpusConfig(Strict):
    """A text corpus: "planted", a file (.jsonl, .json, .csv, .tsv, .txt, each also .gz; .parquet), a folder that
    `datasets` saved to disk, or a Hub data set."""

    path: Place = Field(PLANTED, description="file, Hub name, or a pattern such as texts/*.jsonl.gz for several files")
    configuration: str | None = Field(None, description='of a Hub data set: "20220301.en" of wikipedia')
    revision: str | None = Field(None, description="of a Hub data set: a branch, tag or commit")
    text: str = Field("text", description="column of the text")
    limit: int | None = Field(None, ge=1, description="read only so many documents, or pictures, the first")


Positive = Annotated[float, Field(gt=0)]
KINDS_OF_SCALE = ("number", "list")


def _kind_of(given: Any) -> str:
    """Which of the two was meant, so that a mistake is explained once."""
    return "list" if isinstance(given, list | tuple) else "number"


PerChannel = Annotated[Annotated[float, Tag("number")] | Annotated[list[float], Tag("list")], Discriminator(_kind_of)]
PositivePerChannel = Annotated[
    Annotated[Positive, Tag("number")] | Annotated[list[Positive], Tag("list")], Discriminator(_kind_of)
]


class PatchesConfig(Strict):
    """Pictures instead of texts: how they are read, and the visual words that their patches are of. How a picture is
    cut, and of what size it is, the model says."""

    words: int = Field(
        0,
        ge=0,
        description="visual words that patches are told apart by; 0: there are no pictures, all is of texts; more: "
        "domain, general and task are folders of pictures, .npz files or data sets, and so is all that is learned",
    )
    zones: int = Field(
        1, ge=1, description="fields per side of a picture, by which visual words are told apart as well"
    )
    image: str = Field("image", description="column of the picture in a data set; in an .npz file, the array")
    mean: PerChannel = Field(
        0.5, description="of pixels from 0 to 1, which is taken off them; of all channels, or a list with one for each"
    )
    std: PositivePerChannel = Field(0.5, description="of pixels, by which they are then divided, likewise")
