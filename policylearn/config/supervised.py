"""Policies learned from token targets."""

from typing import Literal

from pydantic import Field

from policylearn.config.places import Place
from policylearn.config.strict import Strict


class SupervisedConfig(Strict):
    """What stage "supervised" learns from, and how."""

    targets: Literal["answers", "importance"] = Field(
        "answers",
        description="tokens to be masked: answers to questions about a text, or words a classifier of the task needs",
    )
    path: Place | None = Field(
        None, description="`answers`: folder of train/dev files; a row is a question, its text and answers"
    )
    text: str = Field("context", description="`answers`: column of the text; the question is not looked at")
    answers: str = Field(
        "answers",
        description="`answers`: column of a list of answers, as they stand in the text; or of what SQuAD has there, "
        "records of `text` and `answer_start`",
    )
    answer_start: str = Field("answer_start", description="`answers`: column of the characters they begin at")
    impossible: str | None = Field(
        "is_impossible",
        description="`answers`: column that is true where there is no answer; unset, or "
        "`is_impossible` and not there: there is none",
    )
    epochs: int = Field(10, ge=1, description="passes over the texts; dev chooses among them and the prior")
    batch_size: int = Field(8, ge=1, description="texts per step")
    learning_rate: float = Field(2e-3, gt=0, description="of Adam on the policy's parameters")
