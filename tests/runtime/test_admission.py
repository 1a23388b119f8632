"""Who is let in by which headers, and with which status everybody else is turned away."""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.access import ANONYMOUS, Access, Principal, create_access_file
from runtime.admission import Admission, admit, by_any_key, by_bearer
from runtime.refusals import Refusal
from runtime.settings import AccessSettings

ADA = Principal("ada")


class Doors:
    """The same access file behind a server that only this machine reaches, and behind one that others reach."""

    def __init__(self, folder: Path) -> None:
        settings = AccessSettings(file=folder / "access.json")
        self.key = create_access_file(settings.file, "ada").api_key
        self.open = Access(settings, "127.0.0.1")
        self.closed = Access(settings, "0.0.0.0")
        self.token = self.open.issue_token(ADA)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Doors:
    return Doors(tmp_path_factory.mktemp("access"))


def refused(headers: Mapping[str, str], access: Access, admission: Admission) -> Refusal:
    with pytest.raises(Refusal) as caught:
        admit(headers, access, admission)
    return caught.value


def test_keys_and_tokens_are_bearers_in_any_case_of_the_scheme(doors: Doors) -> None:
    for header in (f"Bearer {doors.key}", f"bearer  {doors.key} ", f"BEARER {doors.token}"):
        assert by_bearer({"Authorization": header}, doors.closed) == ADA
        assert by_any_key({"Authorization": header}, doors.closed) == ADA


def test_x_api_key_takes_keys_where_it_is_documented_and_nowhere_else(doors: Doors) -> None:
    headers = {"X-API-Key": f" {doors.key} "}
    assert admit(headers, doors.closed, Admission.KEY_UNLESS_ANONYMOUS) == ADA
    assert refused(headers, doors.closed, Admission.BEARER).status is HTTPStatus.UNAUTHORIZED
    token = {"X-API-Key": doors.token}
    assert refused(token, doors.closed, Admission.KEY_UNLESS_ANONYMOUS).status is HTTPStatus.FORBIDDEN


def test_everybody_comes_in_where_nobody_needs_a_name(doors: Doors) -> None:
    assert admit({}, doors.closed, Admission.EVERYBODY) is None
    assert admit({"Authorization": "Bearer wrong"}, doors.closed, Admission.EVERYBODY) is None


def test_where_a_key_is_demanded_every_other_credential_is_a_401(doors: Doors) -> None:
    for headers in ({"X-API-Key": doors.key}, *({"Authorization": f"Bearer {c}"} for c in (doors.key, doors.token))):
        assert admit(headers, doors.open, Admission.KEY) == ADA
    for headers in ({}, {"X-API-Key": ""}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}):
        refusal = refused(headers, doors.open, Admission.KEY)
        assert refusal.status is HTTPStatus.UNAUTHORIZED
        assert "WWW-Authenticate" in refusal.headers


def test_where_the_job_decides_nobody_is_asked_before(doors: Doors) -> None:
    assert admit({"Authorization": "Bearer wrong"}, doors.closed, Admission.BY_JOB) is None


@pytest.mark.parametrize("admission", [Admission.BEARER, Admission.KEY_UNLESS_ANONYMOUS])
@pytest.mark.parametrize("header", ["", " ", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "ald_key", "Bearer a b"])
def test_a_malformed_authorization_is_a_401_that_shows_a_right_one(
    doors: Doors, admission: Admission, header: str
) -> None:
    refusal = refused({"Authorization": header}, doors.open, admission)
    assert refusal.status is HTTPStatus.UNAUTHORIZED
    assert refusal.headers["WWW-Authenticate"].startswith("Bearer")
    assert "malformed" in refusal.message
    assert "Authorization: Bearer" in refusal.message


def test_a_missing_credential_is_a_401_that_says_what_to_send(doors: Doors) -> None:
    bearer = refused({}, doors.open, Admission.BEARER)
    any_key = refused({}, doors.closed, Admission.KEY_UNLESS_ANONYMOUS)
    assert bearer.status is any_key.status is HTTPStatus.UNAUTHORIZED
    assert "X-API-Key" not in bearer.message
    assert "X-API-Key" in any_key.message
    assert bearer.headers == any_key.headers == {"WWW-Authenticate": 'Bearer realm="alidade"'}


def test_nobody_is_let_in_without_a_name_unless_that_is_allowed_and_no_credential_came(doors: Doors) -> None:
    assert by_any_key({}, doors.open) == ANONYMOUS
    for headers in ({"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}):
        assert refused(headers, doors.open, Admission.KEY_UNLESS_ANONYMOUS).status is HTTPStatus.FORBIDDEN
    for blank in ("", "  "):
        headers = {"X-API-Key": blank, "Authorization": f"Bearer {doors.key}"}
        assert refused(headers, doors.open, Admission.KEY_UNLESS_ANONYMOUS).status is HTTPStatus.UNAUTHORIZED


def test_x_api_key_counts_first(doors: Doors) -> None:
    assert by_any_key({"X-API-Key": doors.key, "Authorization": "Bearer wrong"}, doors.closed) == ADA
    wrong = {"X-API-Key": "wrong", "Authorization": f"Bearer {doors.key}"}
    assert refused(wrong, doors.closed, Admission.KEY_UNLESS_ANONYMOUS).status is HTTPStatus.FORBIDDEN


HEADER_TEXT = st.text(st.characters(min_codepoint=0x20), max_size=60) | st.text(
    st.sampled_from("Bbearer .\udcff\udc80eyJ0"), max_size=40
)


@given(st.dictionaries(st.sampled_from(["Authorization", "X-API-Key"]), HEADER_TEXT))
def test_whatever_the_headers_hold_it_is_a_401_or_a_403(doors: Doors, headers: dict[str, str]) -> None:
    for admission in (Admission.BEARER, Admission.KEY_UNLESS_ANONYMOUS):
        assert refused(headers, doors.closed, admission).status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
