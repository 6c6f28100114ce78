"""What all sections of a config have in common."""

from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

LARGEST = {int: 2**63 - 1, float: 3.4e38}
"""Of numbers: more fits neither into 64 bits, which counts have, nor into the 32 that tensors are computed in."""


class Strict(BaseModel):
    """Unknown keys are refused, numbers are finite and such as tensors can hold and never true, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth(cls, value: Any, field: ValidationInfo) -> Any:
        """Pydantic reads true as 1, where a number was forgotten."""
        takes = _kinds(cls.model_fields[str(field.field_name)].annotation)
        if takes & {int, float} and not takes & {bool, Any} and any(isinstance(one, bool) for one in _several(value)):
            raise ValueError("true and false are no numbers")
        return value

    @field_validator("*")
    @classmethod
    def _fits(cls, value: Any) -> Any:
        for one in _several(value):
            most = LARGEST.get(type(one))
            if most is not None and abs(one) > most:
                raise ValueError(f"{one} is too large: at most {most}")
        return value


def _several(value: Any) -> Iterable[Any]:
    """What a setting holds, or itself."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else (value,)


def _kinds(annotation: Any) -> set[Any]:
    """All types that an annotation names."""
    return {annotation}.union(*(_kinds(part) for part in get_args(annotation)))


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section, or a mapping of names to sections; None of any other."""
    kinds = [field.annotation, *(kind for kind in get_args(field.annotation))]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
