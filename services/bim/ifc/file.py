"""An IFC4 file in the making: entities, identities that repeat, numbers without noise.

GlobalIds are UUIDs version 5 (RFC 9562) of what the element is, within a namespace of the file's content: the same building
makes the same file, byte for byte, and another building shares no identity with it.
"""

import unicodedata
import uuid
from collections.abc import Mapping, Sequence

import ifcopenshell
import ifcopenshell.guid

Entity = ifcopenshell.entity_instance
Attribute = str | float | int | bool | Entity | Sequence["Attribute"] | None

_NAMESPACE = uuid.UUID("8f0f5a3c-6a0b-4f0e-9c55-2a2f4a7be1d1")
_LENGTH_DIGITS = 6
_RATIO_DIGITS = 12
LABEL_CHARACTERS = 255
"""IfcLabel and IfcIdentifier hold no more."""


class IfcFile:
    """Entities are numbered in the order in which they are added. Lengths in metres, relative to the model's origin."""

    def __init__(self, content: str) -> None:
        """`content` stands for all that the file is made from."""
        self.file = ifcopenshell.file(schema="IFC4")
        self._namespace = uuid.uuid5(_NAMESPACE, content)
        self._identities: set[str] = set()
        self._owner: Entity | None = None
        self._shared: dict[tuple[str, tuple[float, ...]], Entity] = {}

    def own(self, owner_history: Entity) -> None:
        """Everything rooted that is added from now on was made by this owner."""
        self._owner = owner_history

    def add(self, ifc_class: str, *attributes: Attribute) -> Entity:
        """An entity that is not rooted, its attributes in the order of the schema."""
        return self.file.create_entity(ifc_class, *attributes)

    def share(self, ifc_class: str, numbers: Sequence[float]) -> Entity:
        """An entity that is nothing but these numbers, such as a direction: one for all who need it."""
        key = ifc_class, tuple(numbers)
        if key not in self._shared:
            self._shared[key] = self.file.create_entity(ifc_class, list(numbers))
        return self._shared[key]

    def root(self, ifc_class: str, key: str, attributes: Mapping[str, Attribute]) -> Entity:
        """An entity with GlobalId and owner. `key` says within the file what it is.

        Raises ValueError if the key was given before.
        """
        if key in self._identities:
            raise ValueError(f"two entities claim to be {key}")
        self._identities.add(key)
        identity = {"GlobalId": self.global_id(key), "OwnerHistory": self._owner}
        return self.file.create_entity(ifc_class, **identity, **attributes)

    def global_id(self, key: str) -> str:
        """The GlobalId, 22 characters, of what `key` stands for."""
        return str(ifcopenshell.guid.compress(uuid.uuid5(self._namespace, key).hex))


def length(value: float) -> float:
    """Micrometres are noise; and there is no negative zero."""
    return round(float(value), _LENGTH_DIGITS) + 0.0


def ratio(value: float) -> float:
    """Components of directions: exact enough for a micrometre over a kilometre."""
    return round(float(value), _RATIO_DIGITS) + 0.0


def text(value: str) -> str:
    """What a person wrote, fit for a STEP file: control characters become spaces, lone surrogates question marks."""
    printable = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in value)
    return " ".join(printable.split())


def label(value: str) -> str:
    """Text of at most 255 characters."""
    return text(value)[:LABEL_CHARACTERS]


def class_of(entity: Entity) -> str:
    """The entity's IFC class, for instance IfcWall."""
    return str(entity.is_a())
