"""An encoder–decoder as the inner model, against the losses that transformers computes of it."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import T5Config, T5ForConditionalGeneration

from policylearn.config import ModelConfig
from policylearn.data.questions import AnsweredBatch
from policylearn.masking import IGNORED
from policylearn.models.loading import load_model, text_ends
from policylearn.models.model import Blend, InnerModel
from policylearn.models.seq2seq import Seq2SeqModel
from policylearn.tasks.questions import AnswerWeights

SIZE, PAD, MASK, BOS, EOS = 30, 0, 1, 2, 3
BART = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "init_std": 0.3}
BART |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "scale_embedding": True}
T5 = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 2, "num_heads": 2}
ARCHITECTURES = {
    "bart": {"model_type": "bart", **BART},
    "t5": {"model_type": "t5", **T5},
    "t5-untied": {"model_type": "t5", **T5, "tie_word_embeddings": False},
}
ENDS = {"bos_token_id": BOS, "eos_token_id": EOS}


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    found = load_model(ModelConfig(architecture=ARCHITECTURES[request.param]), SIZE, PAD, 0, "eager", ENDS)
    if hasattr(found.mlm, "final_logits_bias"):
        found.mlm.final_logits_bias.normal_(generator=torch.Generator().manual_seed(1))
    return found


@pytest.fixture
def text():
    """Ids [3, 7], which are no padding, what is masked, and the text with masks and a random token in its place."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(4, SIZE, (3, 7), generator=draw)
    real = torch.arange(7) < torch.tensor([[7], [5], [6]])
    ids = ids.masked_fill(~real, PAD)
    mask = real & (torch.rand(3, 7, generator=draw) < 0.5)
    shown = ids.masked_fill(mask, MASK)
    first = mask.nonzero()[0]
    shown[first[0], first[1]] = 9  # one of the tenth that is replaced at random
    return ids, real, mask, shown


def test_masked_tokens_cost_what_the_model_itself_says(model, text):
    ids, real, mask, shown = text
    labels = ids.masked_fill(~real, IGNORED)
    logits = model.mlm(input_ids=shown, attention_mask=real.long(), labels=labels).logits
    found = model(shown, real, labels=ids.masked_fill(~mask, IGNORED))
    torch.testing.assert_close(found, cross_entropy(logits[mask], ids[mask], reduction="none"))


def test_the_decoder_is_given_the_original_and_the_encoder_is_not(model, text):
    """What the random token hides is seen by the decoder alone; what only labels say moves the later losses."""
    ids, real, mask, shown = text
    labels = ids.masked_fill(~mask, IGNORED)
    found = model(shown, real, labels=labels)
    assert not torch.allclose(found[1:], model(ids, real, labels=labels)[1:])
    row, place = mask.nonzero()[0]
    other = labels.clone()
    other[row, place] = 20
    later = (mask.nonzero()[:, 0] == row) & (mask.nonzero()[:, 1] > place)
    assert later.any() and not torch.allclose(found[later], model(shown, real, labels=other)[later])
    elsewhere = mask.nonzero()[:, 0] != row
    torch.testing.assert_close(found[elsewhere], model(shown, real, labels=other)[elsewhere])


def test_answers_cost_what_the_model_itself_says(model, text):
    ids, real, *_ = text
    answers = torch.tensor([[4, 5, 6, EOS], [7, EOS, IGNORED, IGNORED], [8, 9, EOS, IGNORED]])
    found = model(ids, real, answers=answers)
    batch = AnsweredBatch(ids, real, answers)
    mean = model.mlm(input_ids=ids, attention_mask=real.long(), labels=answers).loss
    torch.testing.assert_close(AnswerWeights()(model, batch, torch.ones(3)), mean)
    for i in range(3):
        alone = model.mlm(input_ids=ids[i, real[i]][None], labels=answers[i, answers[i] != IGNORED][None]).loss
        torch.testing.assert_close(found[i], alone * (answers[i] != IGNORED).sum(), rtol=1e-4, atol=1e-4)


def test_the_loss_of_answers_adds_up_over_parts_and_weighs_questions(model, text):
    ids, real, *_ = text
    answers = torch.tensor([[4, 5, 6, EOS], [7, EOS, IGNORED, IGNORED], [8, 9, EOS, IGNORED]])
    batch, x = AnsweredBatch(ids, real, answers), torch.tensor([1.0, 0.0, 3.0])
    whole, loss = AnswerWeights()(model, batch, x), AnswerWeights()
    torch.testing.assert_close(sum(share * loss(model, part, w) for part, w, share in loss.parts(batch, x, 2)), whole)
    losses = model(ids, real, answers=answers)
    torch.testing.assert_close(whole, (losses[0] + 3 * losses[2]) / 9)
    assert loss.inputs(batch, whole).tolist() == [1.0, 1.0, 1.0]


def test_features_are_the_mean_of_the_encoders_states(model, text):
    ids, real, *_ = text
    hidden = model.mlm.get_encoder()(input_ids=ids[1, :5][None]).last_hidden_state
    torch.testing.assert_close(model(ids, real)[1], hidden[0].mean(0), rtol=1e-4, atol=1e-5)


def test_blending_shows_the_encoder_other_tokens(model, text):
    ids, real, mask, shown = text
    labels = ids.masked_fill(~mask, IGNORED)
    none, all_of_it = (Blend(torch.full(ids.shape, share), to=ids, away=shown) for share in (0.0, 1.0))
    torch.testing.assert_close(model(shown, real, labels=labels, blend=none), model(shown, real, labels=labels))
    torch.testing.assert_close(model(shown, real, labels=labels, blend=all_of_it), model(ids, real, labels=labels))


def test_watching_shows_what_was_masked(model, text):
    ids, real, mask, shown = text
    seen = []
    model(shown, real, labels=ids.masked_fill(~mask, IGNORED), observe=lambda *pair: seen.append(pair))
    assert torch.equal(seen[0][0], ids[mask]) and seen[0][1].shape == ids[mask].shape


def test_where_text_begins_and_ends_is_that_of_the_tokenizer(tokenizer):
    ends = text_ends(tokenizer)
    assert ends == {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    bart, t5 = (
        load_model(ModelConfig(architecture=ARCHITECTURES[kind]), SIZE, PAD, 0, "eager", ENDS).mlm.config
        for kind in ("bart", "t5")
    )
    assert (bart.eos_token_id, bart.decoder_start_token_id, t5.decoder_start_token_id) == (EOS, EOS, PAD)


def test_checkpoints_are_loaded_as_what_they_are(model, text, tmp_path):
    ids, real, mask, shown = text
    model.mlm.save_pretrained(tmp_path)
    again = load_model(ModelConfig(name=str(tmp_path)), SIZE, PAD, 1, "eager")
    assert isinstance(again, Seq2SeqModel)
    labels = ids.masked_fill(~mask, IGNORED)
    torch.testing.assert_close(again(shown, real, labels=labels), model(shown, real, labels=labels))


def test_a_decoder_that_does_not_know_how_to_begin_is_refused():
    mlm = T5ForConditionalGeneration(T5Config(vocab_size=SIZE, **T5))
    mlm.config.decoder_start_token_id = None
    with pytest.raises(ValueError, match=r"'t5': its config\.json has no decoder_start_token_id"):
        Seq2SeqModel(mlm)


def test_masked_language_models_stay_what_they_were():
    found = load_model(ModelConfig(), SIZE, PAD, 0, "eager", ENDS)
    assert type(found) is InnerModel
