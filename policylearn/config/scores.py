"""Scores: what all scorers share, and a section for each scorer that has settings of its own."""

from types import new_class
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from policylearn.config.places import Place
from policylearn.config.strict import Strict
from policylearn.registry.known import SCORERS

RANK = ":rank"
"""What follows the name of a scorer that goes by rank within the text."""


class DifferenceConfig(Strict):
    """Difference-Masking: anchors, and vectors of words."""

    anchors: int = Field(80, ge=1, description="K: words most typical of the domain")
    anchor_count: int = Field(3, ge=1, description="an anchor occurs at least so often in the domain corpus")
    anchor_ratio: float = Field(
        4.0,
        ge=0,
        description="an anchor is at least so many times as frequent in the domain as in general text",
    )
    anchor_order: Literal["tficf", "icf"] = Field(
        "tficf", description="which come first: the most typical, or the rarest in general text"
    )
    anchor_share: float = Field(0.0, ge=0, lt=1, description="an anchor makes up at least this share of the domain")
    anchor_words: list[str] | None = Field(None, description="anchors by name, instead of finding them")
    embedding: Literal["input", "encoder"] = Field(
        "input", description="word vectors: the input embeddings, or the encoder run on the word alone"
    )
    embedding_model: Place | None = Field(None, description="path or Hub name of an encoder; unset: the inner model")


class EntityConfig(Strict):
    """Named entities: from a column, or found by a model."""

    column: str | None = Field(None, description="domain column of entity tags or spans, see data.columns")
    model: Place | None = Field(None, description="path or Hub name of a token classifier, where no column is")


class PosColumnConfig(Strict):
    """Parts of speech."""

    name: str = Field("pos", description="domain column of part-of-speech tags")
    weights: dict[str, float] = Field(
        {"NOUN": 1.0, "PROPN": 1.0, "VERB": 1.0, "ADJ": 1.0}, description="score of each tag; 0 where not named"
    )


class ColumnConfig(Strict):
    """Scores you bring."""

    name: str = Field("scores", description="domain column of them, see data.columns")


class PmiConfig(Strict):
    """Collocations: of the scorer `pmi`, and of `masking.unit = "collocation"`."""

    collocations: int = Field(10_000, ge=1, description="collocations kept, those of highest PMI")
    longest: int = Field(4, ge=2, le=8, description="words of the longest")
    count: int = Field(10, ge=2, description="a collocation occurs at least so often in the domain")


class AmlmConfig(Strict):
    """Weights that follow the mistakes of the model in training (AMLM)."""

    every: int = Field(200, ge=1, description="steps between two updates of the weights")


class SelectiveConfig(Strict):
    """Words that a classifier of the task needs (Train No Evil)."""

    delta: float = Field(0.01, ge=0, lt=1, description="δ of the test of importance")


class ScoresConfig(Strict):
    """Scorers: text → one real score per token type and per word. What one alone reads is in a section of its name."""

    model_config = ConfigDict(extra="allow")  # sections of others' scorers; all else is refused below

    count_on_ray: bool = Field(False, description="count corpora on the cluster, every file of a pattern by itself")
    words: int = Field(50_000, ge=1, description="words that get scores of their own, the most frequent of the domain")
    word_count: int = Field(3, ge=1, description="... that occur at least so often in it; others are scored by type")
    model_texts: int = Field(1000, ge=1, description="texts that scorers which run a model look at")
    difference: DifferenceConfig = DifferenceConfig()
    entity: EntityConfig = EntityConfig()
    pos_column: PosColumnConfig = PosColumnConfig()
    column: ColumnConfig = ColumnConfig()
    pmi: PmiConfig = PmiConfig()
    amlm: AmlmConfig = AmlmConfig()
    selective: SelectiveConfig = SelectiveConfig()

    @model_validator(mode="after")
    def _sections_of_others(self) -> "ScoresConfig":
        given = self.__pydantic_extra__ or {}
        if given:
            models = {name: model for name in given if (model := _settings_of(name))}
            fields: dict[str, Any] = {name: (_refusing(model, given[name]), ...) for name, model in models.items()}
            others: type[BaseModel] = create_model("Others", __config__=ConfigDict(extra="forbid"), **fields)
            others.model_validate(given)
            given.update({name: model.model_validate(given[name]) for name, model in models.items()})
        return self

    def of(self, scorer: str) -> Any:
        """The section of a scorer, with its defaults where the config has none.

        Raises:
            ValueError: the scorer is not known.
        """
        if scorer in type(self).model_fields or scorer in (self.__pydantic_extra__ or {}):
            return getattr(self, scorer)
        model = _settings_of(SCORERS.check(scorer))
        return None if model is None else model()


def scorer_of(name: str) -> str:
    """The scorer that an entry of the prior, or an arm, goes by.

    >>> scorer_of("difference:rank"), scorer_of("tficf")
    ('difference', 'tficf')
    """
    return name.removesuffix(RANK)


def _refusing(model: type[BaseModel], given: Any) -> type[BaseModel]:
    """Of settings that ignore what they do not know, as a plain pydantic model does, some that refuse it: nobody shall
    wonder why a setting does nothing."""
    if isinstance(given, BaseModel) or model.model_config.get("extra") in ("allow", "forbid"):
        return model
    return new_class(model.__name__, (model,), {"extra": "forbid"})


def _settings_of(scorer: str) -> type[BaseModel] | None:
    """The settings that another's scorer brings; None if it has none, or is not known."""
    return getattr(SCORERS.get(scorer), "settings", None) if scorer in SCORERS else None
