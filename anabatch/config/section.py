"""What every section of the configuration is made of: strict values, and a digest."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError


def form(pattern: str, words: str) -> AfterValidator:
    """Return the check that a whole text fits a regular expression, which errors say in words."""
    kind: Literal["form"] = "form"

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise PydanticCustomError(kind, "{words}", {"words": words})
        return text

    return AfterValidator(check)


# Strict: `true` is not 1, and "8" is not 8.
Real = Annotated[float, Field(strict=True)]
Integer = Annotated[int, Field(strict=True)]
Positive = Annotated[Real, Field(gt=0)]
Count = Annotated[Integer, Field(ge=1)]
Share = Annotated[Real, Field(ge=0, le=1)]
ImageSize = Annotated[
    str, form(r"[1-9][0-9]*x[1-9][0-9]*", "an image's width and height, as 1388x1040")
]


class Section(BaseModel):
    """A frozen section of the configuration that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def digest(self) -> str:
        """Return 32 hex digits that change with any parameter of the section."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
