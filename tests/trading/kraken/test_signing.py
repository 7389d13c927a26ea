from __future__ import annotations

import pickle

import pytest

from trading.kraken.errors import CredentialsRefused
from trading.kraken.signing import Credentials, sign

SAMPLE_SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="

VECTORS = {
    "V1": (
        "/0/private/AddOrder",
        "1616492376594",
        "nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25",
        "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ==",
    ),
    "V2": (
        "/0/private/Balance",
        "1616492376594",
        "nonce=1616492376594",
        "1nH4vwR+8FHiYh1QT649xXkGd3JR3x0DWkgv3u9Ed/Qqv6KPtgQpEU4m+Emb/VgpEji3j1XNwI+HCbfXxmrTOg==",
    ),
    "V3": (
        "/0/private/AddOrder",
        "1616492376594",
        '{"nonce":"1616492376594","ordertype":"limit","pair":"XBTUSD","price":"37500","type":"buy","volume":"1.25"}',
        "r/o+GpKxXjV/mls/r5CKLu5R+yzK5psqvQ4hXxMX1nzdxTBhV+ui82QGgPZMMitpFwCOAdPEZMmXgZxD2chJEg==",
    ),
    "V4": (
        "/0/private/CancelOrder",
        "1616492376595",
        "nonce=1616492376595&txid=OHYO67-6LP66-HMQ437",
        "ro9du7pEIiQ/N7U+e+B+RbxiJyx8g3O9a5c35U9MIX/PGWmfH2HZ1FxfhSp9NHmJ/9+EK2wxRhjZeK2JUPsRxg==",
    ),
    "V5": (
        "/0/private/AddOrder",
        "1616492376596",
        "nonce=1616492376596&ordertype=limit&type=buy&pair=XBTUSD&volume=0.001&price=30000"
        "&close%5Bordertype%5D=limit&close%5Bprice%5D=31000&expiretm=%2B60&timeinforce=GTD",
        "2iVZSsg7WBhKlYFY/wGK9JC/BJq928OcgvvAV78YZ0NU8B5nHdzEVN6LgHQ/Li6Q82JCqcxB9TNwNwEChKb+Qw==",
    ),
}


@pytest.mark.parametrize("vector", list(VECTORS.values()), ids=list(VECTORS))
def test_the_signature_equals_the_known_vector(vector: tuple[str, str, str, str]) -> None:
    path, nonce, body, expected = vector
    secret = Credentials.from_text("key", SAMPLE_SECRET).secret
    assert sign(path, nonce=nonce, body=body.encode(), secret=secret) == expected


def test_white_space_around_a_pasted_key_and_secret_does_not_matter() -> None:
    pasted = Credentials.from_text("  key\n", f"\t{SAMPLE_SECRET} \n")
    assert pasted == Credentials.from_text("key", SAMPLE_SECRET)


@pytest.mark.parametrize("secret", ["", "not base64!", SAMPLE_SECRET[:-3], "c2hvcnQ=", "A" * 4000, "ключ"])
def test_a_text_that_is_no_secret_is_refused_without_being_repeated(secret: str) -> None:
    with pytest.raises(CredentialsRefused) as refused:
        Credentials.from_text("key", secret)
    assert not secret or secret not in f"{refused.value} {refused.value!r}"
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None


@pytest.mark.parametrize("key", ["", "   ", "two words", "line\nbreak", "ключ", "k" * 200])
def test_a_text_that_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(CredentialsRefused):
        Credentials.from_text(key, SAMPLE_SECRET)


def test_credentials_are_never_pickled() -> None:
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(Credentials.from_text("key", SAMPLE_SECRET))
