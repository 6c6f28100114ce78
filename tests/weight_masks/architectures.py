"""Tiny encoders of different architectures, three layers each."""

SMALL = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
SPECIALS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
DISTILBERT = {"vocab_size": 30, "dim": 8, "n_layers": 3, "n_heads": 2, "hidden_dim": 16}
ARCHITECTURES = {
    "bert": SMALL,
    "roberta": SMALL | {"pad_token_id": 1},
    "xlm-roberta": SMALL | {"pad_token_id": 1},  # whose embeddings go by the name of the head tied to them
    "distilbert": DISTILBERT,
    "electra": SMALL | {"embedding_size": 8},
    "modernbert": SMALL | SPECIALS,
    "deberta-v2": SMALL,
}
BART = {"vocab_size": 30, "d_model": 8, "encoder_layers": 3, "decoder_layers": 4, "encoder_ffn_dim": 16}
BART |= {"decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "pad_token_id": 0}
T5 = {"vocab_size": 30, "d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 3, "num_decoder_layers": 4}
SEQ2SEQ = {"bart": BART, "t5": T5 | {"pad_token_id": 0, "decoder_start_token_id": 0}}
