"""What every IFC file begins with: header, owner, units, contexts, and the tree from project down to storeys."""

from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import ifcopenshell

from contracts.building_settings import IfcSettings
from services.bim.ifc.file import Entity, IfcFile, label, length, text
from services.bim.ifc.geometry import Contexts, axes, direction, placement, point
from services.bim.model import Building

APPLICATION = "Alidade"
_VIEW = "ViewDefinition [DesignTransferView_V1.0]"
_UNKNOWN = "Unknown"
_UNNAMED = "Unnamed"
_PRECISION_M = 1e-5


@dataclass(frozen=True)
class Structure:
    """The spatial tree. `storeys`, `placements`, `elevations_m` by storey index; elevations are in the model's frame."""

    project: Entity
    site: Entity
    building: Entity
    storeys: dict[int, Entity]
    placements: dict[int, Entity]
    elevations_m: dict[int, float]


@dataclass(frozen=True)
class Foundation:
    """What everything else in the file refers to."""

    metre: Entity
    contexts: Contexts
    structure: Structure


def main(
    ifc: IfcFile, building: Building, settings: IfcSettings, created: datetime, reference_height_m: float | None
) -> Foundation:
    """Begin the file. `reference_height_m`: height above the map's datum of the lowest storey's floor, where known."""
    ifc.own(_owner_history(ifc, settings, created))
    metre, units = _units(ifc)
    project = ifc.root(
        "IfcProject",
        "project",
        {
            "Name": label(settings.project_name) or _UNNAMED,
            "LongName": None if settings.project_long_name is None else label(settings.project_long_name),
            "Description": None if settings.project_version is None else text(f"Version {settings.project_version}"),
            "UnitsInContext": units,
        },
    )
    contexts, roots = _contexts(ifc)
    project.RepresentationContexts = roots
    return Foundation(metre, contexts, _structure(ifc, project, building, settings, reference_height_m))


def software_version() -> str:
    """The version of this package; a source tree that was never installed has none."""
    try:
        return version("alidade")
    except PackageNotFoundError:
        return "0"


def write_header(ifc: IfcFile, file_name: str, settings: IfcSettings, created: datetime) -> None:
    """FILE_DESCRIPTION and FILE_NAME."""
    header = ifc.file.header
    header.file_description.description = (_VIEW,)
    header.file_name.name = text(file_name)
    header.file_name.time_stamp = created.replace(microsecond=0).isoformat()
    header.file_name.author = (_author(settings) or _UNKNOWN,)
    header.file_name.organization = (label(settings.author_organization or "") or _UNKNOWN,)
    header.file_name.preprocessor_version = f"IfcOpenShell {ifcopenshell.version}"
    header.file_name.originating_system = f"{APPLICATION} {software_version()}"
    header.file_name.authorization = ""


def _author(settings: IfcSettings) -> str:
    return label(" ".join(part for part in (settings.author_name, settings.author_surname) if part))


def _owner_history(ifc: IfcFile, settings: IfcSettings, created: datetime) -> Entity:
    given, family = label(settings.author_name or ""), label(settings.author_surname or "")
    person = ifc.file.create_entity(
        "IfcPerson", FamilyName=family or (None if given else _UNKNOWN), GivenName=given or None
    )
    organisation = ifc.file.create_entity("IfcOrganization", Name=label(settings.author_organization or "") or _UNKNOWN)
    maker = ifc.file.create_entity("IfcOrganization", Name=APPLICATION)
    user = ifc.add("IfcPersonAndOrganization", person, organisation, None)
    application = ifc.add("IfcApplication", maker, software_version(), APPLICATION, APPLICATION.lower())
    return ifc.file.create_entity(
        "IfcOwnerHistory",
        OwningUser=user,
        OwningApplication=application,
        ChangeAction="ADDED",
        LastModifiedDate=int(created.timestamp()),
        CreationDate=int(created.timestamp()),
    )


def _units(ifc: IfcFile) -> tuple[Entity, Entity]:
    metre = ifc.file.create_entity("IfcSIUnit", UnitType="LENGTHUNIT", Name="METRE")
    others = [
        ifc.file.create_entity("IfcSIUnit", UnitType=kind, Name=name)
        for kind, name in (
            ("AREAUNIT", "SQUARE_METRE"),
            ("VOLUMEUNIT", "CUBIC_METRE"),
            ("PLANEANGLEUNIT", "RADIAN"),
        )
    ]
    return metre, ifc.add("IfcUnitAssignment", [metre, *others])


def _contexts(ifc: IfcFile) -> tuple[Contexts, list[Entity]]:
    origin = axes(ifc, (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    model = ifc.add("IfcGeometricRepresentationContext", None, "Model", 3, _PRECISION_M, origin, None)
    flat = ifc.add("IfcAxis2Placement2D", point(ifc, (0.0, 0.0)), direction(ifc, (1.0, 0.0)))
    plan = ifc.add("IfcGeometricRepresentationContext", None, "Plan", 2, _PRECISION_M, flat, None)

    def part(parent: Entity, kind: str, identifier: str, view: str) -> Entity:
        return ifc.file.create_entity(
            "IfcGeometricRepresentationSubContext",
            ContextIdentifier=identifier,
            ContextType=kind,
            ParentContext=parent,
            TargetView=view,
        )

    contexts = Contexts(
        model=model,
        body=part(model, "Model", "Body", "MODEL_VIEW"),
        axis=part(model, "Model", "Axis", "GRAPH_VIEW"),
        box=part(model, "Model", "Box", "MODEL_VIEW"),
        footprint=part(plan, "Plan", "FootPrint", "PLAN_VIEW"),
    )
    return contexts, [model, plan]


def _structure(
    ifc: IfcFile, project: Entity, building: Building, settings: IfcSettings, reference_height_m: float | None
) -> Structure:
    """Storeys count from the lowest floor, 0.00; the building's placement lifts them into the model's frame."""
    ground_m = min((storey.floor_m for storey in building.storeys), default=0.0)
    site_at = placement(ifc, None, (0.0, 0.0, 0.0))
    site = ifc.root(
        "IfcSite",
        "site",
        {"Name": label(settings.site_name) or _UNNAMED, "ObjectPlacement": site_at, "CompositionType": "ELEMENT"},
    )
    building_at = placement(ifc, site_at, (0.0, 0.0, ground_m))
    house = ifc.root(
        "IfcBuilding",
        "building",
        {
            "Name": label(settings.building_name) or _UNNAMED,
            "ObjectPlacement": building_at,
            "CompositionType": "ELEMENT",
            "ElevationOfRefHeight": None if reference_height_m is None else length(reference_height_m),
        },
    )
    storeys: dict[int, Entity] = {}
    placements: dict[int, Entity] = {}
    for storey in building.storeys:
        elevation = length(storey.floor_m - ground_m)
        placements[storey.index] = placement(ifc, building_at, (0.0, 0.0, elevation))
        storeys[storey.index] = ifc.root(
            "IfcBuildingStorey",
            f"storey/{storey.index}",
            {
                "Name": label(storey.name) or _UNNAMED,
                "ObjectPlacement": placements[storey.index],
                "CompositionType": "ELEMENT",
                "Elevation": elevation,
            },
        )
    aggregate(ifc, "site", project, [site])
    aggregate(ifc, "building", site, [house])
    aggregate(ifc, "storeys", house, list(storeys.values()))
    return Structure(
        project, site, house, storeys, placements, {storey.index: storey.floor_m for storey in building.storeys}
    )


def aggregate(ifc: IfcFile, key: str, whole: Entity, parts: list[Entity]) -> None:
    """IfcRelAggregates; nothing where there are no parts."""
    if parts:
        ifc.root("IfcRelAggregates", f"aggregates/{key}", {"RelatingObject": whole, "RelatedObjects": parts})
