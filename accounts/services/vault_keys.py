"""Making and checking the pair of keys that this installation's vault uses."""

from __future__ import annotations

from django.conf import settings

from accounts import vault

VaultError = vault.VaultError


def generate_key_pair() -> tuple[str, str]:
    """(NIJA_VAULT_PUBLIC_KEY, NIJA_VAULT_PRIVATE_KEY) for a new installation."""
    public, private = vault.generate_key_pair()
    return public, private.reveal()


def problem() -> str:
    """Why this process cannot use its vault keys, in a sentence; empty when all is well. Names no key."""
    try:
        vault.seal(b"", public=settings.NIJA_VAULT_PUBLIC_KEY, info=b"check")
        private = vault.Secret(settings.NIJA_VAULT_PRIVATE_KEY)
        if private.reveal() and vault.public_of(private) != settings.NIJA_VAULT_PUBLIC_KEY:
            return "NIJA_VAULT_PRIVATE_KEY and NIJA_VAULT_PUBLIC_KEY do not belong together."
    except vault.VaultError as error:
        return str(error)
    return ""
