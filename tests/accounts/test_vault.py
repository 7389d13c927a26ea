from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts import vault
from accounts.vault import Secret, VaultClosed, VaultError

PUBLIC, PRIVATE = vault.generate_key_pair()


@settings(max_examples=25)
@given(plaintext=st.binary(max_size=300), info=st.binary(max_size=80))
def test_what_was_sealed_opens_with_the_private_key_and_the_same_info(plaintext: bytes, info: bytes) -> None:
    sealed = vault.seal(plaintext, public=PUBLIC, info=info)
    assert plaintext not in sealed or len(plaintext) < 8
    assert vault.open_sealed(sealed, private=PRIVATE, info=info) == plaintext


def test_sealing_twice_gives_different_bytes() -> None:
    assert vault.seal(b"same", public=PUBLIC, info=b"") != vault.seal(b"same", public=PUBLIC, info=b"")


def test_other_info_does_not_open() -> None:
    sealed = vault.seal(b"key", public=PUBLIC, info=b"user 1")
    with pytest.raises(VaultError, match="does not open"):
        vault.open_sealed(sealed, private=PRIVATE, info=b"user 2")


def test_another_private_key_does_not_open() -> None:
    sealed = vault.seal(b"key", public=PUBLIC, info=b"")
    with pytest.raises(VaultError, match="does not open"):
        vault.open_sealed(sealed, private=vault.generate_key_pair()[1], info=b"")


@pytest.mark.parametrize("damage", [b"", b"short", b"\x00" * 200])
def test_damaged_bytes_do_not_open(damage: bytes) -> None:
    with pytest.raises(VaultError, match="does not open"):
        vault.open_sealed(damage, private=PRIVATE, info=b"")


def test_a_process_without_the_private_key_cannot_open_and_says_so() -> None:
    sealed = vault.seal(b"key", public=PUBLIC, info=b"")
    with pytest.raises(VaultClosed, match="no vault private key"):
        vault.open_sealed(sealed, private=Secret(""), info=b"")


@pytest.mark.parametrize(
    "text",
    ["", "abc", vault.PUBLIC_PREFIX, vault.PUBLIC_PREFIX + "AAAA", PRIVATE.reveal()],
    ids=["blank", "no prefix", "prefix alone", "too short", "a private key"],
)
def test_an_unusable_public_key_is_refused_by_name(text: str) -> None:
    with pytest.raises(VaultError, match="NIJA_VAULT_PUBLIC_KEY"):
        vault.seal(b"key", public=text, info=b"")


def test_the_public_key_follows_from_the_private_one() -> None:
    assert vault.public_of(PRIVATE) == PUBLIC


def test_a_secret_is_masked_wherever_it_is_printed_and_is_never_pickled() -> None:
    secret = Secret("hush")
    assert "hush" not in f"{secret} {secret!r} {[secret]} {secret!s:>20}"
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(secret)
    assert secret == Secret("hush")
    assert secret != Secret("loud")
