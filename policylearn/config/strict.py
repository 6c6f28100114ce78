"""What all sections of a config have in common."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic.fields import FieldInfo

LARGEST = {int: 2**63 - 1, float: 3.4e38}
"""Of numbers: more fits neither into 64 bits, which counts have, nor into the 32 that tensors are computed in."""


class Strict(BaseModel):
    """Unknown keys are refused, numbers are finite and such as tensors can hold, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _fits(cls, value: Any) -> Any:
        several = value.values() if isinstance(value, dict) else value if isinstance(value, list) else (value,)
        for one in several:
            most = LARGEST.get(type(one))
            if most is not None and abs(one) > most:
                raise ValueError(f"{one} is too large: at most {most}")
        return value


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section, or a mapping of names to sections; None of any other."""
    kinds = [field.annotation, *(kind for kind in get_args(field.annotation))]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
