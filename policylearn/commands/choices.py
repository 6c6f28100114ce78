"""What is chosen by a word; apart from the commands, whose imports take seconds."""

from typing import Literal

Form = Literal["policy", "table", "annotated"]
Method = Literal["weight_mask", "finetune"]
