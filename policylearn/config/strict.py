"""What all sections of a config have in common."""

from typing import get_args

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Strict(BaseModel):
    """Unknown keys are refused, numbers are finite, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section, or a mapping of names to sections; None of any other."""
    kinds = [field.annotation, *(kind for kind in get_args(field.annotation))]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
