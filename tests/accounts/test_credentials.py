from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from accounts.models import Credential, KeyCheck
from accounts.services import credentials
from accounts.services.credentials import KeyRefused, LostRace, VaultClosed, VaultError
from tests.accounts import keys
from tests.accounts.keys import NOW

pytestmark = pytest.mark.django_db


def _promoted(credential: Credential, iban: str = "AA1") -> Credential:
    credentials.promote(credential, iban=iban, permissions=keys.PERMISSIONS, now=NOW)
    credential.refresh_from_db()
    return credential


def test_a_submitted_key_waits_sealed_and_opens_for_execution_only(settings: Settings) -> None:
    credential = keys.submitted(keys.user())
    api_key, api_secret = keys.pair("one")
    assert credential.status == Credential.Status.PENDING
    assert api_secret.encode() not in bytes(credential.sealed)
    opened = credentials.open_credential(credential.pk)
    assert (opened.api_key.reveal(), opened.api_secret.reveal()) == (api_key, api_secret)
    settings.NIJA_VAULT_PRIVATE_KEY = ""
    with pytest.raises(VaultClosed):
        credentials.open_credential(credential.pk)


def test_a_row_moved_to_another_user_does_not_open() -> None:
    credential = keys.submitted(keys.user())
    other = keys.user("other@example.com")
    Credential.objects.filter(pk=credential.pk).update(user=other)
    with pytest.raises(VaultError, match="another row"):
        credentials.open_credential(credential.pk)


def test_sealed_bytes_moved_to_another_row_do_not_open() -> None:
    mine = keys.submitted(keys.user())
    theirs = keys.submitted(keys.user("other@example.com"), "two")
    Credential.objects.filter(pk=mine.pk).update(sealed=bytes(theirs.sealed))
    with pytest.raises(VaultError, match="another row"):
        credentials.open_credential(mine.pk)


def test_a_row_given_another_version_does_not_open() -> None:
    credential = keys.submitted(keys.user())
    Credential.objects.filter(pk=credential.pk).update(version=7)
    with pytest.raises(VaultError, match="another row"):
        credentials.open_credential(credential.pk)


@pytest.mark.parametrize(
    ("api_key", "api_secret"),
    [
        ("", keys.pair("one")[1]),
        ("too short", keys.pair("one")[1]),
        ("k" * 200, keys.pair("one")[1]),
        ("k" * 30 + "\n" + "k" * 20, keys.pair("one")[1]),
        ("ключ" * 10, keys.pair("one")[1]),
        (keys.pair("one")[0], ""),
        (keys.pair("one")[0], "not base64 at all " * 4),
        (keys.pair("one")[0], "QUJD" * 8),
        (keys.pair("one")[0], "A" * 5000),
        (keys.pair("one")[1], keys.pair("one")[0]),
        (keys.pair("one")[1], keys.pair("one")[1]),
    ],
)
def test_text_that_cannot_be_a_key_is_refused_without_repeating_it(api_key: str, api_secret: str) -> None:
    with pytest.raises(KeyRefused) as refused:
        credentials.submit_key(keys.user(), api_key=api_key, api_secret=api_secret, now=NOW)
    assert not api_key or api_key not in str(refused.value)
    assert not Credential.objects.exists()
    assert not KeyCheck.objects.exists()


def test_spaces_around_a_pasted_key_do_not_matter() -> None:
    api_key, api_secret = keys.pair("one")
    credential = credentials.submit_key(keys.user(), api_key=f" {api_key}\n", api_secret=f"\t{api_secret} ", now=NOW)
    assert credentials.open_credential(credential.pk).api_key.reveal() == api_key


def test_a_key_that_another_user_has_is_refused() -> None:
    _promoted(keys.submitted(keys.user()))
    with pytest.raises(KeyRefused, match="another NIJA account"):
        keys.submitted(keys.user("other@example.com"))


def test_the_connected_key_submitted_again_is_refused() -> None:
    owner = keys.user()
    _promoted(keys.submitted(owner))
    with pytest.raises(KeyRefused, match="connected already"):
        keys.submitted(owner)


def test_a_second_submission_takes_the_place_of_the_first() -> None:
    owner = keys.user()
    first = keys.submitted(owner)
    second = keys.submitted(owner, "two")
    assert list(owner.credentials.values_list("pk", flat=True)) == [second.pk]
    assert keys.verdict(first).accepted is False


def test_a_disconnected_key_can_be_connected_again() -> None:
    owner = keys.user()
    _promoted(keys.submitted(owner))
    assert credentials.disconnect(owner)
    again = keys.submitted(owner)
    assert again.version == 2


def test_promotion_replaces_the_active_key_and_destroys_its_text() -> None:
    owner = keys.user()
    first = _promoted(keys.submitted(owner))
    second = _promoted(keys.submitted(owner, "two"))
    first.refresh_from_db()
    assert (first.status, bytes(first.sealed)) == (Credential.Status.REPLACED, b"")
    assert (second.status, second.expires_at) == (Credential.Status.ACTIVE, None)
    with pytest.raises(Credential.DoesNotExist):
        credentials.open_credential(first.pk)


def test_a_withdrawn_key_is_not_promoted() -> None:
    credential = keys.submitted(keys.user())
    assert credentials.withdraw(credential.pk)
    with pytest.raises(LostRace):
        credentials.promote(credential, iban="AA1", permissions=(), now=NOW)
    assert not credentials.withdraw(uuid.uuid4())


def test_disconnecting_destroys_the_text_and_keeps_the_row() -> None:
    owner = keys.user()
    credential = _promoted(keys.submitted(owner))
    assert credentials.disconnect(owner)
    credential.refresh_from_db()
    assert (credential.status, bytes(credential.sealed)) == (Credential.Status.DISCONNECTED, b"")
    assert not credentials.disconnect(owner)


def test_pending_keys_are_forgotten_after_ten_minutes_and_the_owner_reads_why() -> None:
    credential = keys.submitted(keys.user())
    assert credentials.purge_expired(now=NOW + timedelta(minutes=9)) == 0
    assert credentials.purge_expired(now=NOW + timedelta(minutes=10)) == 1
    assert not Credential.objects.exists()
    assert "submit it again" in keys.verdict(credential).message


def test_one_check_of_a_key_runs_at_a_time() -> None:
    credential = keys.submitted(keys.user())
    assert credentials.claim_check(credential.pk, now=NOW) is not None
    assert credentials.claim_check(credential.pk, now=NOW + timedelta(seconds=14)) is None
    assert credentials.claim_check(credential.pk, now=NOW + timedelta(seconds=15)) is not None
    assert credentials.claim_check(credential.pk, now=NOW + timedelta(minutes=11)) is None


def test_without_a_vault_key_nothing_is_stored_and_the_reader_is_told(settings: Settings) -> None:
    settings.NIJA_VAULT_PUBLIC_KEY = ""
    with pytest.raises(KeyRefused, match="operator"):
        keys.submitted(keys.user())
    assert not Credential.objects.exists()


def test_keys_of_many_rows_are_opened_without_asking_the_database_and_one_that_was_moved_spoils_no_other(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    good, moved, gone = (keys.submitted(keys.user(f"{name}@nija.example"), name) for name in ("one", "two", "three"))
    moved.version += 1
    gone.status = Credential.Status.DISCONNECTED
    with django_assert_num_queries(0):
        opened = credentials.open_credentials([good, moved, gone])
    assert set(opened) == {good.pk, moved.pk}
    assert isinstance(opened[moved.pk], VaultError)
    key = opened[good.pk]
    assert not isinstance(key, VaultError)
    assert key.api_secret.reveal() == credentials.open_credential(good.pk).api_secret.reveal()
    assert key.api_secret.reveal() not in repr(opened)


def test_where_the_private_key_is_not_no_row_of_many_opens(settings: Settings) -> None:
    rows = [keys.submitted(keys.user())]
    settings.NIJA_VAULT_PRIVATE_KEY = ""
    assert [type(answer) for answer in credentials.open_credentials(rows).values()] == [VaultClosed]
