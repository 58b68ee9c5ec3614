"""What every section of the configuration is made of: strict values, and a digest."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Strict: `true` is not 1, and "8" is not 8.
Real = Annotated[float, Field(strict=True)]
Integer = Annotated[int, Field(strict=True)]
Positive = Annotated[Real, Field(gt=0)]
Count = Annotated[Integer, Field(ge=1)]
Share = Annotated[Real, Field(ge=0, le=1)]
ImageSize = Annotated[str, Field(pattern=r"^[1-9][0-9]*x[1-9][0-9]*$")]


class Section(BaseModel):
    """A frozen section of the configuration that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def digest(self) -> str:
        """Return 32 hex digits that change with any parameter of the section."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
