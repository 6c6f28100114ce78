"""Models of types whose head is not known: against what transformers says of them, and differentiated."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, DebertaConfig, DebertaForMaskedLM
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from policylearn.config import ModelConfig
from policylearn.inner.masked_lm import MaskedLM, mlm_loss
from policylearn.inner.window import Window
from policylearn.masking import IGNORED, MaskedBatch
from policylearn.metagrad.replay import input_derivatives, replay
from policylearn.models.heads import HEADS
from policylearn.models.loading import load_model
from policylearn.models.model import Blend
from policylearn.models.whole import WholeModel, WholeSeq2Seq, inner_model

SIZE, LENGTH, PAD, MASK, BOS, EOS = 30, 8, 0, 4, 1, 2
SPECIALS = {"pad_token_id": PAD, "bos_token_id": BOS, "cls_token_id": BOS, "eos_token_id": EOS, "sep_token_id": EOS}
SPECIALS |= {"mask_token_id": MASK, "vocab_size": SIZE}
DEPTH = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
COMMON = SPECIALS | DEPTH | {"max_position_embeddings": 40, "initializer_range": 0.3}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
XLM = SPECIALS | {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 40, "embed_init_std": 0.3}
FUNNEL = SPECIALS | {"d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32, "block_sizes": [1, 1]}
SMOOTH = {"initializer_range": 0.1, "hidden_act": "gelu"}
VISION = DEPTH | {"image_size": 8, "patch_size": 4}
ENCODERS = {
    "albert": COMMON | {"embedding_size": 8},
    "big_bird": COMMON | {"attention_type": "original_full"},
    "convbert": COMMON | {"embedding_size": 16},
    "data2vec-text": COMMON,
    "esm": COMMON | {"token_dropout": True},
    "esmc": COMMON,
    "eurobert": COMMON,
    "flaubert": XLM,
    "fnet": COMMON,
    "funnel": FUNNEL,
    "gte": COMMON,
    "ibert": COMMON,
    "jina_embeddings_v3": COMMON,
    "layoutlm": COMMON | {"max_2d_position_embeddings": 8},
    "longformer": COMMON | {"attention_window": 4},
    "luke": COMMON | {"entity_vocab_size": 5},
    "megatron-bert": COMMON,
    "modernvbert": {
        "initializer_range": 0.3,
        "text_config": COMMON | {"model_type": "modernbert"},
        "vision_config": VISION,
    },
    "mobilebert": COMMON | SMOOTH | {"embedding_size": 8, "intra_bottleneck_size": 8, "true_hidden_size": 8},
    "mra": COMMON,
    "neomme": COMMON | {"num_key_value_heads": 2},
    "nomic_bert": COMMON,
    "nystromformer": COMMON | {"num_landmarks": 8, "segment_means_seq_len": 8},
    "rembert": COMMON | {"input_embedding_size": 8, "output_embedding_size": 8},
    "roberta-prelayernorm": COMMON,
    "roc_bert": COMMON | {"pronunciation_vocab_size": 5, "shape_vocab_size": 5, "shape_embed_dim": 8},
    "roformer": COMMON,
    "squeezebert": COMMON | {"embedding_size": 16},
    "tapas": COMMON,
    "ultrabert": COMMON,
    "ultravbert": {
        "initializer_range": 0.3,
        "text_config": COMMON | {"model_type": "ultrabert"},
        "vision_config": VISION,
    },
    "xlm": XLM,
    "xlm-roberta-xl": COMMON | SMOOTH,
    "xmod": COMMON | {"default_language": "en_XX"},
    "yoso": COMMON,
}
READ_PADDING = ("convbert", "fnet", "funnel", "mobilebert", "nystromformer")
"""Their states depend on padding, whose embedding torch does not differentiate, though it moves with a tied head."""
NOT_BLENDED = {
    "esm": "its token dropout scales embeddings by the masked tokens that it counts among ids",
    "esmc": "it takes no embeddings",
    "neomme": "it takes none either",
    "ibert": "its table of embeddings is a quantised one, which says more than embeddings",
}
NOT_DIFFERENTIATED = {
    "mra": "its attention is a CUDA kernel of single precision, without which no token sees another",
    "yoso": "its attention brings a gradient of its own, which is no derivative, and no forward mode",
}
REFUSED = {
    "perceiver": "has no token embeddings",
    "reformer": "make sure to use `model.train\\(\\)`",  # and dropout with it, which engines cannot repeat
}
"""Types of which nothing can be learned, and what is said of them."""
RATE, FAR = 0.02, 3e-2
HALVES = {
    f"{half}_{name}": value
    for half in ("encoder", "decoder")
    for name, value in {"layers": 1, "attention_heads": 2, "ffn_dim": 16}.items()
}
BARTS = SPECIALS | HALVES | {"d_model": 8, "init_std": 0.3, "decoder_start_token_id": EOS}
BARTS |= {"activation_function": "gelu"}
T5S = SPECIALS | {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": PAD}
BOTH = {"mbart": BARTS, "pegasus": BARTS, "m2m_100": BARTS, "mvp": BARTS, "mt5": T5S, "umt5": T5S}


def build(kind):
    torch.manual_seed(0)
    fields = ENCODERS[kind] if kind in ENCODERS else BOTH[kind]
    auto = AutoModelForMaskedLM if kind in ENCODERS else AutoModelForSeq2SeqLM
    mlm = auto.from_config(AutoConfig.for_model(kind, **NO_DROPOUT, **fields), attn_implementation="eager").eval()
    for p in mlm.parameters():
        if p.ndim == 1:
            p.data += torch.randn(p.shape) / 4  # a bias or norm left out must show
    return mlm


def batch_of(seed, shortest=6):
    """Three rows of tokens, padding on the right; the first of a row is never masked."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, SIZE, (3, LENGTH), generator=draw)
    real = torch.arange(LENGTH) < torch.tensor([[LENGTH], [shortest], [LENGTH]])
    ids = ids.masked_fill(~real, PAD)
    mask = real & (torch.rand(3, LENGTH, generator=draw) < 0.4)
    mask[:, :2] = torch.tensor([False, True])
    return MaskedBatch(ids, ids.masked_fill(mask, MASK), real, ids.masked_fill(~mask, IGNORED))


def own(mlm, batch, **more):
    taken = {} if mlm.config.model_type == "fnet" else {"attention_mask": batch.real.long()}
    return mlm(input_ids=batch.shown, **taken, **more)


@pytest.mark.parametrize("kind", ENCODERS)
def test_masked_tokens_cost_what_the_model_itself_says(kind):
    mlm, batch = build(kind), batch_of(1)
    model = inner_model(mlm)
    assert type(model) is WholeModel and kind not in HEADS
    with torch.no_grad():
        losses = model(batch.shown, batch.real, labels=batch.labels)
        found = own(mlm, batch, labels=batch.labels, output_hidden_states=True)
        features = model(batch.shown, batch.real)
    assert losses.shape == (int(batch.mask.sum()),) and losses.std() > 0.01
    torch.testing.assert_close(losses.mean(), found.loss)
    last = [state[real].mean(0) for state, real in zip(found.hidden_states[-1], batch.real, strict=True)]
    torch.testing.assert_close(features, torch.stack(last))


@pytest.mark.parametrize("kind", [kind for kind in [*ENCODERS, *BOTH] if kind not in NOT_DIFFERENTIATED])
def test_credits_are_those_of_finite_differences(kind):
    """Two steps: the first is differentiated by double backward, the second in forward mode."""
    shortest = LENGTH if kind in READ_PADDING else 6
    model, batches = inner_model(build(kind).double()), [batch_of(seed, shortest) for seed in (2, 3)]
    head = torch.randn(model(batches[0].shown, batches[0].real).shape[1], 3).double()

    def outer(features):
        return cross_entropy(features(batches[0].original, batches[0].real) @ head, torch.arange(3))

    def after(weights):
        moved = copy.deepcopy(model)
        optimizer = torch.optim.SGD(moved.parameters(), lr=RATE)
        for batch, w in zip(batches, weights, strict=True):
            optimizer.zero_grad()
            mlm_loss(moved, batch, w).backward()
            optimizer.step()
        with torch.no_grad():
            return outer(moved)

    sizes = [int(batch.mask.sum()) for batch in batches]
    towards = torch.randn(sum(sizes)).double()
    points = [after((1 + by * FAR * towards).split(sizes)) for by in (-2, -1, 1, 2)]
    numeric = (points[0] - 8 * points[1] + 8 * points[2] - points[3]) / (12 * FAR)
    moved = copy.deepcopy(model)
    optimizer = torch.optim.SGD(moved.parameters(), lr=RATE)
    credits = replay(moved, optimizer, Window(batches, [RATE, RATE], MaskedLM()), outer, parameters="all")
    torch.testing.assert_close(torch.cat(credits) @ towards, numeric, rtol=1e-3, atol=1e-8)
    assert numeric.abs() > 1e-5


@pytest.mark.parametrize("kind", NOT_DIFFERENTIATED)
def test_without_forward_mode_credits_are_refused_and_the_loss_is_not(kind):
    model, batch = inner_model(build(kind)), batch_of(1)
    assert model(batch.shown, batch.real, labels=batch.labels).isfinite().all()
    direction = {name: p.detach() for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match=f"'{kind}' has operations without forward-mode .* take another model"):
        input_derivatives(model, direction, Window([batch], [RATE], MaskedLM()), 0)


@pytest.mark.parametrize("kind", BOTH)
def test_an_encoder_decoder_is_given_what_it_gives_itself(kind):
    mlm, batch = build(kind), batch_of(1)
    model = inner_model(mlm)
    assert type(model) is WholeSeq2Seq
    answers = torch.tensor([[5, 6, EOS], [7, EOS, IGNORED], [8, 9, EOS]])
    with torch.no_grad():
        logits = own(mlm, batch, labels=batch.original).logits[batch.mask]
        expected = cross_entropy(logits, batch.original[batch.mask], reduction="none")
        torch.testing.assert_close(model(batch.shown, batch.real, labels=batch.labels), expected)
        found = model(batch.shown, batch.real, answers=answers)
        torch.testing.assert_close(found.sum() / 8, own(mlm, batch, labels=answers).loss)


@pytest.mark.parametrize("kind", [*ENCODERS, *BOTH])
def test_embeddings_are_blended_where_they_are_read_as_tokens_are(kind):
    model, batch = inner_model(build(kind)), batch_of(1)
    assert model.blends != (kind in NOT_BLENDED)

    def losses(share):
        blend = Blend(torch.full(batch.mask.shape, share), to=batch.original, away=batch.shown)
        return model(batch.shown, batch.real, labels=batch.labels, blend=blend)

    with torch.no_grad():
        if kind in NOT_BLENDED:
            with pytest.raises(
                ValueError, match=rf"'relaxed' .* model type '{kind}' .*: set learn\.estimator='credit'"
            ):
                losses(0.0)
            return
        masked = model(batch.shown, batch.real, labels=batch.labels)
        torch.testing.assert_close(losses(0.0), masked, rtol=1e-4, atol=1e-5)
        shown = model(batch.original, batch.real, labels=batch.labels)
        torch.testing.assert_close(losses(1.0), shown, rtol=1e-4, atol=1e-5)


def test_every_type_that_transformers_has_is_run_or_refused():
    """bart, whose encoder–decoder is a `Seq2SeqModel`, has tests of its own."""
    assert {*ENCODERS, *HEADS, *REFUSED, "bart"} >= {*MODEL_FOR_MASKED_LM_MAPPING_NAMES} - {*BOTH}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_that_reads_no_tokens_or_cannot_be_trained_is_refused(kind):
    fields = {
        "perceiver": {"d_model": 8, "d_latents": 8, "num_latents": 4},
        "reformer": {"attn_layers": ["local"], "axial_pos_embds": False, "is_decoder": False},
    }
    with pytest.raises(ValueError, match=rf"model type '{kind}' .*{REFUSED[kind]}"):
        load_model(ModelConfig(architecture={"model_type": kind, **fields[kind]}, max_length=8), SIZE, PAD, 0, "eager")


def test_a_model_that_says_nothing_of_tokens_is_refused():
    bare = build("albert").base_model
    with pytest.raises(ValueError, match=r"'albert' cannot be run on token ids alone: .*logits.*; take another model"):
        inner_model(bare)


def test_a_deberta_with_the_other_head_is_run_as_a_whole():
    torch.manual_seed(0)
    mlm, batch = DebertaForMaskedLM(DebertaConfig(**COMMON, **NO_DROPOUT, legacy=False)).eval(), batch_of(1)
    model = inner_model(mlm)
    losses = model(batch.shown, batch.real, labels=batch.labels)
    torch.testing.assert_close(losses.mean(), own(mlm, batch, labels=batch.labels).loss)
