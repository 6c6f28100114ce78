"""Fine-tuning an encoder–decoder on questions and their answers: the loss of a step."""

from collections.abc import Callable, Iterator

from torch import Tensor

from policylearn.data.questions import AnsweredBatch


class AnswerWeights:
    """The loss of the answers given the questions, per token; x are the weights of the B questions, all 1."""

    def inputs(self, batch: AnsweredBatch, like: Tensor) -> Tensor:
        """Ones [B]."""
        return like.new_ones(len(batch.answers))

    def __call__(self, model: Callable[..., Tensor], batch: AnsweredBatch, x: Tensor) -> Tensor:
        """Σ_i x_i · -log p(answer_i | question_i) / tokens of all answers."""
        return (x * model(batch.input_ids, batch.real, answers=batch.answers)).sum() / batch.tokens

    def parts(self, batch: AnsweredBatch, x: Tensor, rows: int) -> Iterator[tuple[AnsweredBatch, Tensor, float]]:
        """Rows with their weights, and their share of the tokens."""
        for first in range(0, len(x), rows):
            tensors = (tensor[first : first + rows] for tensor in (batch.input_ids, batch.real, batch.answers))
            part = AnsweredBatch(*tensors)
            yield part, x[first : first + rows], part.tokens / batch.tokens
