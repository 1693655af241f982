"""Base of the answers' models."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Answer(BaseModel):
    """An answer in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
