"""A plain `DataLoader` whose workers are forked or started anew."""

import pytest
from torch.utils.data import DataLoader

from policylearn import PolicyCollator
from policylearn.config import MaskingConfig
from policylearn.policy.policy import uniform_policy


@pytest.mark.parametrize(
    "loading",
    [
        {"num_workers": 2, "multiprocessing_context": "fork"},
        {"num_workers": 2, "multiprocessing_context": "fork", "persistent_workers": True},
        {"num_workers": 1, "multiprocessing_context": "spawn", "persistent_workers": True},
    ],
)
def test_workers_hear_of_the_epoch_and_of_progress(masked_lm, seen, trained_examples, masks_of, tokenizer, loading):
    policy = uniform_policy(tokenizer, MaskingConfig(rate={"kind": "linear", "rates": [0.4, 0.1]}))
    collator, alone = (PolicyCollator(tokenizer, policy=policy) for _ in range(2))
    loader = DataLoader(trained_examples, 8, shuffle=True, collate_fn=collator, **loading)
    for epoch, progress, masked in [(4, 0.0, 8), (0, 0.5, 5), (3, 1.0, 2)]:
        for told in (collator, alone):
            told.set_epoch(epoch)
            told.set_progress(progress)
        seen.clear()
        for batch in loader:
            masked_lm(**batch).loss.backward()
        masks = masks_of(seen)
        assert len(seen) == 4 and masks == masks_of([alone(trained_examples)])
        assert all(sum(mask) == masked for mask in masks.values())
