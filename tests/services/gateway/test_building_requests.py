"""What `config_file` takes and refuses, setting by setting."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from contracts.building_settings import BuildingSettings, DetectionSettings, IfcSettings, PreprocessingSettings
from runtime.cloud2bim_errors import FieldRefusal
from services.gateway.building_requests import read_configuration

DOCUMENTED = """\
dilute: false
dilution_factor: 10
exterior_scan: false
pc_resolution: 0.002
preprocessing:
  voxel_size: 0.002
  noise_threshold: 0.02
detection:
  grid_coefficient: 5

bfs_thickness: 0.3
tfs_thickness: 0.4

min_wall_length: 0.10
min_wall_thickness: 0.05
max_wall_thickness: 0.75
exterior_walls_thickness: 0.3

ifc:
  project_name: "My Building Project"
"""


def refused(text: str) -> FieldRefusal:
    with pytest.raises(FieldRefusal) as caught:
        read_configuration(text.encode())
    assert caught.value.status == 422
    return caught.value


def test_the_documented_example_says_the_documented_defaults() -> None:
    found = read_configuration(DOCUMENTED.encode())
    assert found.unknown == ()
    assert found.settings == BuildingSettings(ifc=IfcSettings(project_name="My Building Project"))
    assert set(yaml.safe_load(DOCUMENTED)) == set(BuildingSettings.model_fields) - {"up_axis"}


def test_an_empty_file_asks_for_every_default() -> None:
    assert read_configuration(b"").settings == BuildingSettings()
    assert read_configuration(b"preprocessing:\nifc:\n").settings == BuildingSettings()


def test_every_setting_arrives() -> None:
    wanted = BuildingSettings(
        dilute=True,
        dilution_factor=3,
        exterior_scan=True,
        pc_resolution=0.01,
        preprocessing=PreprocessingSettings(voxel_size=0.03, noise_threshold=0.04),
        detection=DetectionSettings(grid_coefficient=7.5),
        bfs_thickness=0.2,
        tfs_thickness=0.25,
        min_wall_length=1,
        min_wall_thickness=0.06,
        max_wall_thickness=0.8,
        exterior_walls_thickness=0.45,
        up_axis="y",
        ifc=IfcSettings(project_name="P", site_name="S", building_name="B", author_name="A", crs="EPSG:5514"),
    )
    assert read_configuration(yaml.safe_dump(wanted.model_dump()).encode()).settings == wanted


def test_unknown_names_are_told_with_their_place_and_change_nothing() -> None:
    found = read_configuration(b'pc_resolution: 0.01\nvoxel: 3\ndetection:\n  cell: {size: 1}\n1: 2\n? "a\\nb"\n: 1\n')
    assert found.settings == BuildingSettings(pc_resolution=0.01)
    assert found.unknown == ("voxel", "detection.cell", "1", "a?b")


def test_a_file_of_unknown_names_is_no_configuration() -> None:
    refusal = refused("".join(f"name{n}: 1\n" for n in range(101)))
    assert "101 names that mean nothing here" in refusal.message
    assert refusal.loc == ("config_file",)


WRONG = [
    ("preprocessing:\n  voxel_size: abc", ("preprocessing", "voxel_size"), '"abc"', "a number above 0 and at most 0.5"),
    ("preprocessing: {voxel_size: -1}", ("preprocessing", "voxel_size"), "-1", "a number above 0"),
    ("preprocessing: 5", ("preprocessing",), "5", "a block of settings (voxel_size, noise_threshold)"),
    ("preprocessing: [1]", ("preprocessing",), "[1]", "a block of settings"),
    ("detection: {grid_coefficient: 0}", ("detection", "grid_coefficient"), "0", "at least 1 and at most 100"),
    ("detection: {grid_coefficient: true}", ("detection", "grid_coefficient"), "true", "a number"),
    ("dilute: 1", ("dilute",), "1", "true or false"),
    ("dilute: 'true'", ("dilute",), '"true"', "true or false"),
    ("dilution_factor: 2.5", ("dilution_factor",), "2.5", "a whole number at least 1"),
    ("dilution_factor: 0", ("dilution_factor",), "0", "a whole number at least 1"),
    ("pc_resolution:", ("pc_resolution",), "null", "a number above 0"),
    ("pc_resolution: '0.002'", ("pc_resolution",), '"0.002"', "a number above 0"),
    ("pc_resolution: .nan", ("pc_resolution",), '".nan"', "a number above 0"),
    ("pc_resolution: 1e999", ("pc_resolution",), "Infinity", "a number above 0"),
    ("min_wall_length: 2 m", ("min_wall_length",), '"2 m"', "a number above 0 and at most 100"),
    ("up_axis: x", ("up_axis",), '"x"', "one of auto, z, y"),
    ("ifc: {project_name: 5}", ("ifc", "project_name"), "5", "a string of 1 to 255 characters"),
    ("ifc: {project_name: ''}", ("ifc", "project_name"), '""', "a string of 1 to 255 characters"),
    (f"ifc: {{author_name: {'x' * 256}}}", ("ifc", "author_name"), "…", "a string of at most 255 characters or null"),
]


@pytest.mark.parametrize(("text", "path", "found", "wanted"), WRONG, ids=[text[:30] for text, *_ in WRONG])
def test_a_wrong_value_is_named_with_its_place(text: str, path: tuple[str, ...], found: str, wanted: str) -> None:
    refusal = refused(text)
    assert refusal.loc == ("config_file", *path)
    assert refusal.message.startswith(f"{'.'.join(path)} is ")
    assert found in refusal.message
    assert wanted in refusal.message


def test_every_wrong_value_is_named_and_the_first_is_the_place() -> None:
    refusal = refused("dilute: 3\nifc:\n  crs: []\npreprocessing:\n  voxel_size: 9\n")
    assert refusal.loc[1:] in {("dilute",), ("ifc", "crs"), ("preprocessing", "voxel_size")}
    for name in ("dilute is 3", "ifc.crs is []", "preprocessing.voxel_size is 9"):
        assert name in refusal.message


@pytest.mark.parametrize("text", ["min_wall_thickness: 0.8", "min_wall_thickness: 0.4\nmax_wall_thickness: 0.3"])
def test_walls_that_nothing_can_be_are_refused(text: str) -> None:
    refusal = refused(text)
    assert refusal.loc == ("config_file", "min_wall_thickness")
    assert "max_wall_thickness" in refusal.message
    assert read_configuration(b"min_wall_thickness: 0.75").settings.min_wall_thickness == 0.75


def test_what_is_no_yaml_names_the_file() -> None:
    assert refused("a: [").loc == ("config_file",)
    assert refused("- 1").loc == ("config_file",)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from([*BuildingSettings.model_fields, "voxel_size", "grid_coefficient", "else"])


@given(st.dictionaries(names, anything | st.dictionaries(names, anything, max_size=3), max_size=5))
def test_whatever_is_set_is_taken_or_refused_at_a_place_that_exists(document: dict[str, object]) -> None:
    try:
        found = read_configuration(yaml.safe_dump(document, allow_unicode=True).encode())
    except FieldRefusal as refusal:
        assert refusal.loc[0] == "config_file"
        assert len(refusal.message) < 5000
    else:
        assert found.settings.min_wall_thickness <= found.settings.max_wall_thickness
        assert 0 < found.settings.pc_resolution <= 0.5
