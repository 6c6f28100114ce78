"""Weight masks: a task as one bit per weight of an encoder that stays as it is, instead of a fine-tuned copy of it.

After Zhao et al., Masking as an Efficient Alternative to Finetuning for Pretrained Language Models, EMNLP 2020: every
weight matrix W of the layers gets scores m of its shape, a mask M = 1[m > τ], and works as W ∘ M. Scores are learned by
gradients that pass straight through the binarisation; weights, biases, norms and embeddings never change.

- `masks`: scores and masks, pure functions; `selection`: which matrices take part
- `classifier`: a frozen encoder under masks that are being learned
- `task`, `storage`: the masks of a task, packed, and as a file
- `shared`: several tasks on one encoder; `plain`: a task as a model of transformers

Tasks that `policylearn adapt` has written, on one encoder::

    encoder = InnerModel(AutoModelForMaskedLM.from_pretrained(name).eval())
    tasks = SharedEncoder(encoder, {"intent": load_masks("intent/masks.safetensors"), "topic": load_masks(...)})
    tasks.use("intent")
    logits = tasks(input_ids, attention_mask.bool())
"""
