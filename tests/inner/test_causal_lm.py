import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForMaskedLM, T5Config, T5ForConditionalGeneration

from policylearn.arms.arms import arm_policy, other_budgets
from policylearn.arms.course import COURSES, Course, course_of
from policylearn.evaluation.identity import masks_key
from policylearn.evaluation.pretraining import pretrain
from policylearn.inner.causal_lm import CausalLM, check_looks_back
from policylearn.models.model import InnerModel
from policylearn.models.whole import inner_model
from policylearn.policy.policy import uniform_policy
from policylearn.problems.of_config import problem_of

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SHAPES = {"distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}}


def model_of(kind: str, attention: str, size: int = 60) -> InnerModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=size, pad_token_id=0, **SHAPES.get(kind, SMALL))
    return inner_model(AutoModelForMaskedLM.from_config(config, attn_implementation=attention).eval())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra", "modernbert", "albert"])
def test_every_token_is_predicted_from_those_before_it_alone(tokenizer, kind, attention):
    """The loss of a batch, padded on either side, is that of each text cut off before each of its tokens."""
    model, texts = model_of(kind, attention), [[2, 10, 11, 12, 13, 3], [2, 20, 21, 3]]
    padded = torch.tensor([texts[0], [0, 0, *texts[1]] if kind == "roberta" else [*texts[1], 0, 0]])
    policy, objective = uniform_policy(tokenizer), CausalLM()
    batch = objective.draw(policy, padded, padded != 0, 0, 0)
    found = objective(model, batch, objective.inputs(batch, torch.zeros(1)))
    losses = []
    for text in texts:
        for k in range(1, len(text) - 1):  # all but [CLS] and [SEP]
            ids = torch.tensor([text[:k]])
            logits = model.masked_logits(ids, torch.ones_like(ids, dtype=torch.bool).expand(1, k, k).tril(), ids)
            losses.append(cross_entropy(logits[-1:], torch.tensor(text[k : k + 1])))
    torch.testing.assert_close(found, torch.stack(losses).mean(), rtol=1e-4, atol=1e-5)
    assert int(batch.mask.sum()) == len(losses) == 6
    check_looks_back(model)


def test_a_model_that_cannot_be_kept_from_looking_ahead_is_refused():
    t5 = T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    for model in (model_of("deberta-v2", "eager"), inner_model(T5ForConditionalGeneration(t5).eval())):
        with pytest.raises(ValueError, match=r"a causal phase .* does not go with model type '(deberta-v2|t5)'"):
            check_looks_back(model)


def test_after_the_phase_masks_are_those_of_a_training_without(tiny_problem, monkeypatch):
    """Equal texts in every step; the steps of masks have the same masks."""
    seen: list[tuple] = []

    def spy(model, optimizer, objective, batch, *rest):
        seen.append((type(objective).__name__, batch))
        return 1.0

    monkeypatch.setattr("policylearn.inner.trajectory.plain_step", spy)
    random = arm_policy(tiny_problem, "random")
    trained = [
        pretrain(tiny_problem, tiny_problem.fresh_model(0), random, 4, 10, Course(causal)) for causal in (0.0, 0.6)
    ]
    plain, causal = seen[:10], seen[10:]
    assert [name for name, _ in causal] == ["CausalLM"] * 6 + ["MaskedLM"] * 4
    assert all(torch.equal(one.original, other.original) for (_, one), (_, other) in zip(plain, causal, strict=True))
    assert all(torch.equal(one.shown, other.shown) for (_, one), (_, other) in zip(plain[6:], causal[6:], strict=True))
    assert trained[1].masked_tokens == sum(int(batch.mask.sum()) for _, batch in causal)
    assert trained[1].masked_tokens > 3 * trained[0].masked_tokens


def test_an_arm_has_the_phase_by_its_name_and_a_key_of_its_own(tiny):
    settings = ['evaluate.arms=["random", "causal-first", "mine"]', "evaluate.custom={mine = {causal = 0.5}}"]
    problem = problem_of(tiny(*settings, "inner.steps=20"))
    config, policies = problem.config, [arm_policy(problem, arm) for arm in ("random", "causal-first", "mine")]
    courses = [course_of(config, arm) for arm in config.evaluate.arms]
    assert courses == [Course(), COURSES["causal-first"], Course(0.5)]
    assert other_budgets(config) == {"causal-first": "causal", "mine": "causal"}
    keys = [masks_key(p, problem.domain, course) for p, course in zip(policies, courses, strict=True)]
    assert len({*keys}) == 3 and keys[0] == masks_key(policies[0], problem.domain)
