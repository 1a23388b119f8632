"""Everything a person may say of a scene job: a collection of photographs that becomes point clouds."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.model import Message

Name = Annotated[str, Field(min_length=1, max_length=128)]


class SceneRequest(Message):
    """What a scene job was asked to do."""

    kind: Literal["scene"] = "scene"
    dataset_id: str
    dataset_name: Name = "custom"
    """Collections of one name share the statistics that drift is measured against."""
    scene_name: Name = "scene_01"
